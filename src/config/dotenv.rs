//! Settings files: `.env`, and that of an installed service. This is the only parser of the format; scripts use
//! `uptimemesh config get`.
//!
//! A line is `NAME=value`, optionally after `export`, with optional spaces and tabs around name and value. An unquoted
//! value ends at the end of the line or at a `#` after a space or tab. Single quotes are literal; double quotes allow
//! the escapes `\\`, `\"`, `\$`, `` \` ``, `\n`, `\r` and `\t`. Nothing is expanded. The last of several lines counts.
//! Ambiguous lines are refused.

use super::SETTINGS;
use crate::error::{Doing, Error, Result};
use crate::files;
use crate::text::{edit_distance, is_invisible};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Bytes of a file: a hundred settings with their comments have ten thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Maximum lines whose faults are reported at once.
const FAULTS_MAX: usize = 50;
/// Maximum names in one note.
const LISTED_MAX: usize = 10;

/// Our variables that are not settings of the server.
const OTHERS: &[&str] = &[
    "UPTIMEMESH_NODE_ID",
    "UPTIMEMESH_API_URL",
    "UPTIMEMESH_CONTEXT",
    "UPTIMEMESH_CA_FILE",
    "UPTIMEMESH_USERNAME",
    "UPTIMEMESH_PASSWORD",
    "UPTIMEMESH_NEW_PASSWORD",
    "UPTIMEMESH_API_TOKEN",
    "UPTIMEMESH_JOIN",
    "UPTIMEMESH_TOKEN",
    "UPTIMEMESH_LEASE_TOKEN",
    "VERSION_URL",
    "UPDATE_CHANNEL",
    "RELEASE_KEY_FILE",
];

/// A parsed settings file.
#[derive(Debug, Default, PartialEq)]
pub struct Dotenv {
    /// Values by their names in upper case.
    pub values: BTreeMap<String, String>,
    /// Faults, each a sentence with file and line. If there are any, no value of the file may be used.
    pub faults: Vec<String>,
    /// Notes about valid but ambiguous lines, each a sentence with file and line.
    pub notes: Vec<String>,
}

impl Dotenv {
    /// Reads a file; `None` if it does not exist.
    pub fn read(path: &Path) -> Result<Option<Dotenv>> {
        let at = |e| Error::fault("read settings", format!("{}: {e}", path.display()));
        // A file hidden by /dev/null counts as empty.
        if path.canonicalize().is_ok_and(|real| real == Path::new("/dev/null")) {
            return Ok(Some(Dotenv::default()));
        }
        let file = match files::open_regular(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(at(e)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).doing("read settings")?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(at(std::io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes"))));
        }
        Ok(Some(Dotenv::parse(&path.display().to_string(), &bytes)))
    }

    /// Parses the bytes of a file of this name.
    pub fn parse(file: &str, bytes: &[u8]) -> Dotenv {
        let mut read = Dotenv::default();
        let (mut lines_of, mut strangers) = (BTreeMap::new(), Vec::new());
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        for (number, line) in (1..).zip(bytes.split(|b| *b == b'\n')) {
            let at = format!("{file} line {number}");
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let said =
                str::from_utf8(line).map_err(|_| "it is not UTF-8: save the file as UTF-8".to_string()).and_then(entry);
            match said {
                Ok(None) => {}
                Err(why) if read.faults.len() < FAULTS_MAX => read.faults.push(format!("{at}: {why}")),
                Err(_) => {}
                Ok(Some(Entry { name, value, seems_expanded })) => {
                    if seems_expanded {
                        read.notes.push(format!(
                            "{at}: {name} is taken as it is written: $, ` and ~ stand for nothing in this file"
                        ));
                    }
                    if let Some(before) = lines_of.insert(name.clone(), number) {
                        read.notes.push(format!("{at}: {name} stands in line {before} already; this line counts"));
                    }
                    if !is_known(&name) && !strangers.contains(&name) {
                        strangers.push(name.clone());
                    }
                    read.values.insert(name, value);
                }
            }
        }
        if !strangers.is_empty() {
            let more = if strangers.len() > LISTED_MAX { ", ..." } else { "" };
            strangers.truncate(LISTED_MAX);
            read.notes.push(format!("{file}: no settings of UptimeMesh: {}{more}", strangers.join(", ")));
        }
        read
    }

    /// The value of a name, trimmed; empty if it is not set.
    pub fn get(&self, name: &str) -> &str {
        self.values.get(&name.to_ascii_uppercase()).map_or("", |value| value.trim())
    }
}

/// True if a value yields to one from a weaker source: an empty line of a template must not hide it. An empty log file
/// is a choice.
pub fn is_unset(name: &str, value: &str) -> bool {
    value.trim().is_empty() && name != "LOG_FILE"
}

/// True if an upper-case name is one of ours, a setting or not.
pub fn is_known(name: &str) -> bool {
    known().any(|known| known == name)
}

fn known() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|s| s.name).chain(OTHERS.iter().copied())
}

/// The known name nearest to a misspelt one.
pub fn nearest_setting(name: &str) -> Option<&'static str> {
    const SHORT: usize = 5;
    let name = name.to_ascii_uppercase();
    let bare = name.strip_prefix("UPTIMEMESH_").unwrap_or(&name);
    let close = |known: &&str| {
        *known == bare || (known.len() > SHORT && edit_distance(&name, known).min(edit_distance(bare, known)) <= 2)
    };
    known().filter(close).min_by_key(|known| edit_distance(bare, known))
}

/// The content of a line.
struct Entry {
    name: String,
    value: String,
    /// True if a shell would expand the value.
    seems_expanded: bool,
}

const BLANK: [char; 2] = [' ', '\t'];

/// Reads a line; nothing stands in an empty one and in a comment.
fn entry(line: &str) -> std::result::Result<Option<Entry>, String> {
    let line = line.trim_matches(BLANK);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if let Some(c) = line.chars().find(|c| is_unseen(*c)) {
        return Err(format!("it has a character that cannot be seen (U+{:04X}): write the line again", u32::from(c)));
    }
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with(BLANK) => rest.trim_start_matches(BLANK),
        _ => line,
    };
    let (name, value) = line.split_once('=').ok_or("expected NAME=value")?;
    let (name, value) = (name.trim_end_matches(BLANK), value.trim_start_matches(BLANK));
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.is_empty();
    if !is_name || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("expected NAME=value; a name has letters, digits and underscores only, the first no digit".into());
    }
    let name = name.to_ascii_uppercase();
    if let (false, Some(meant)) = (is_known(&name), nearest_setting(&name)) {
        return Err(format!("{name} is not a setting; {meant} is: correct the name, or put a # before the line"));
    }
    // The first space of the value belongs to a comment that begins immediately.
    let before = line.len() - value.len();
    let (value, seems_expanded) = match value.chars().next() {
        Some('\'') => single(value)?,
        Some('"') => double(value)?,
        Some('#') if line[..before].ends_with(BLANK) => (String::new(), false),
        Some('\u{2018}'..='\u{201f}') => return Err("it has typographic quotes: write ' or \"".into()),
        _ => bare(value)?,
    };
    Ok(Some(Entry { name, value, seems_expanded }))
}

/// True for characters that editors do not show, so that a reader cannot see whether they belong to a value: controls,
/// spaces of other scripts, marks.
fn is_unseen(c: char) -> bool {
    let space = c.is_whitespace() && !BLANK.contains(&c);
    space || is_invisible(c) || (c.is_control() && c != '\t')
}

fn seems_expanded(value: &str) -> bool {
    let after_dollar = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '{' | '(');
    let home = value.strip_prefix('~').is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    home || value.contains('`') || value.split('$').skip(1).any(|rest| rest.starts_with(after_dollar))
}

/// An unquoted value.
fn bare(value: &str) -> std::result::Result<(String, bool), String> {
    let comment =
        value.match_indices('#').find(|(at, _)| value[..*at].ends_with(BLANK)).map_or(value.len(), |(at, _)| at);
    let value = value[..comment].trim_end_matches(BLANK);
    if value.ends_with('\\') {
        return Err(
            "it ends in \\, but values have one line: put the value into single quotes if the \\ belongs to it".into(),
        );
    }
    Ok((value.to_string(), seems_expanded(value)))
}

fn single(value: &str) -> std::result::Result<(String, bool), String> {
    let (value, rest) = value[1..].split_once('\'').ok_or("a quote is not closed in its line")?;
    only_comment(rest)?;
    Ok((value.to_string(), false))
}

fn double(quoted: &str) -> std::result::Result<(String, bool), String> {
    // Looks for unescaped text that a shell would expand.
    let (mut value, mut plain) = (String::new(), String::new());
    let mut chars = quoted[1..].chars();
    loop {
        match chars.next().ok_or("a quote is not closed in its line")? {
            '"' => break,
            '\\' => {
                plain.push(' ');
                value.push(match chars.next() {
                    Some(c @ ('\\' | '"' | '$' | '`')) => c,
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(c) => {
                        return Err(format!(
                            "\\{c} is not an escape: write \\\\ for a \\, or put the value into single quotes"
                        ));
                    }
                    None => return Err("a quote is not closed in its line".into()),
                });
            }
            c => {
                plain.push(c);
                value.push(c);
            }
        }
    }
    only_comment(chars.as_str())?;
    Ok((value, seems_expanded(&plain)))
}

/// Checks that only a comment follows a closing quote, after a space.
fn only_comment(rest: &str) -> std::result::Result<(), String> {
    let comment = rest.trim_start_matches(BLANK);
    let sound = comment.is_empty() || (comment.starts_with('#') && comment.len() < rest.len());
    if sound {
        Ok(())
    } else {
        Err("there is text after the closing quote: put the whole value into the quotes, and # after a blank".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_hidden_says_nothing() {
        let link = std::env::temp_dir().join(format!("uptimemesh-dotenv-{}", std::process::id()));
        std::os::unix::fs::symlink("/dev/null", &link).expect("a link");
        assert_eq!(Dotenv::read(&link).expect("it is hidden"), Some(Dotenv::default()));
        std::fs::remove_file(&link).expect("it is ours");
        assert!(Dotenv::read(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn a_line_is_read_fully_or_refused() {
        let table = include_str!("../../tests/golden/dotenv.txt");
        let mut count = 0;
        for row in table.lines().filter(|row| !row.is_empty() && !row.starts_with("// ")) {
            let (line, wanted) = row.split_once(" => ").unwrap_or_else(|| panic!("no row: {row}"));
            // Rust's escapes stand for characters that an editor would not show.
            let plain = |text: &str| {
                text.replace("<tab>", "\t")
                    .replace("<cr>", "\r")
                    .replace("<lf>", "\n")
                    .replace("<nbsp>", "\u{a0}")
                    .replace("<nothing>", "")
            };
            let read = Dotenv::parse("file", plain(line).as_bytes());
            match wanted.strip_prefix("refused: ") {
                Some(why) => {
                    assert!(read.faults.iter().any(|f| f.contains(why)) && read.values.is_empty(), "{row}\n{read:?}")
                }
                None => assert_eq!(
                    (read.faults.as_slice(), read.get("APP_NAME")),
                    (&[][..], plain(wanted).as_str()),
                    "{row}\n{read:?}"
                ),
            }
            count += 1;
        }
        assert!(count > 40, "the table is read");
    }

    #[test]
    fn every_fault_is_told_with_its_line_and_no_secret() {
        let text = b"\xef\xbb\xbfAPP_NAME=x\r\nwhat\nAUTH_SECRET_KEY=\"hunter2\nA\xff=1\n9X=1\nDATA_DIRR=/x\n\
            UPTIMEMESH_DATA_DIR=/x\n";
        let read = Dotenv::parse("/etc/x.env", text);
        let lines: Vec<&str> = read.faults.iter().map(|f| f.split(": ").next().unwrap_or_default()).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7].map(|n| format!("/etc/x.env line {n}")), "{read:?}");
        assert!(read.faults[4].contains("DATA_DIR is") && read.faults[5].contains("DATA_DIR is"), "{read:?}");
        assert!(!format!("{:?}", read.faults).contains("hunter2"));
        assert_eq!(read.get("app_name"), "x");
        assert_eq!(Dotenv::parse("x", "nonsense\n".repeat(1000).as_bytes()).faults.len(), FAULTS_MAX);
    }

    #[test]
    fn what_may_be_meant_otherwise_is_said_once() {
        let text = "DATA_DIR=~/data\nAPP_NAME=\"${HOME}\"\nLOG_FILE='$x'\nSERVER_HOST=\"\\$x\"\napp_name=b\n\
            PGHOST=x\nPGHOST=y\nTLS_NAMES=a$\n";
        let read = Dotenv::parse("f", text.as_bytes());
        assert_eq!(read.faults, [""; 0]);
        let begins = [
            "f line 1: DATA_DIR is taken as",
            "f line 2: APP_NAME is taken as",
            "f line 5: APP_NAME stands in line 2",
            "f line 7: PGHOST stands in line 6",
            "f: no settings of UptimeMesh: PGHOST",
        ];
        assert_eq!(read.notes.len(), begins.len(), "{:?}", read.notes);
        for (note, begin) in read.notes.iter().zip(begins) {
            assert!(note.starts_with(begin), "{note}");
        }
        assert_eq!((read.get("DATA_DIR"), read.get("APP_NAME"), read.get("SERVER_HOST")), ("~/data", "b", "$x"));
    }

    #[test]
    fn names_that_look_like_ours_lead_to_ours() {
        for (name, ours) in [
            ("DATADIR", Some("DATA_DIR")),
            ("data_dri", Some("DATA_DIR")),
            ("UPTIMEMESH_SERVER_PORT", Some("SERVER_PORT")),
            ("UPTIMEMESH_TLS", Some("TLS")),
            ("UPTIMEMESH_NODEID", Some("UPTIMEMESH_NODE_ID")),
            ("APP_KEY", None),
            ("TLD", None),
            ("XDG_DATA_DIRS", None),
            ("POSTGRES_PASSWORD", None),
        ] {
            assert_eq!(nearest_setting(name), ours, "{name}");
        }
    }
}
