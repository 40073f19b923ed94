//! Text written by people: the only place that strips what editors and other systems add.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The byte order mark that some editors write before UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// True for an invisible character: it changes the direction of a line, joins its characters, or hides in a name.
/// Variation selectors are none: names in Japanese have them.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Strips a UTF-8 byte order mark.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// True if bytes are UTF-16 or UTF-32 text: marked as such, or every other byte at the beginning is NUL.
pub fn is_wide(bytes: &[u8]) -> bool {
    let nul = |at: usize| bytes.get(at) == Some(&0);
    bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || (bytes.len() > 1 && nul(0) != nul(1) && bytes[..2] != [0, 0])
}

/// Decodes UTF-8 without its byte order mark. Fails with the end of a sentence that says what to do. Line ends are
/// kept: JSON, PEM and `str::lines` accept those of Windows too.
pub fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if is_wide(&bytes) {
        return Err(
            "is UTF-16 or UTF-32, not UTF-8: save it as UTF-8 (in PowerShell: Set-Content -Encoding utf8)".to_string()
        );
    }
    let bytes = if bytes.starts_with(MARK) { without_mark(&bytes).to_vec() } else { bytes };
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        format!("is not UTF-8 (line {line}): save it as UTF-8")
    })
}

/// Reads a text of at most `bytes_max` bytes from a file. Fails with a sentence.
pub fn file(path: &Path, bytes_max: usize) -> Result<String, String> {
    from(&path.display().to_string(), bytes_max, || File::open(path))
}

/// The same; `-` is standard input.
pub fn file_or_stdin(path: &str, bytes_max: usize) -> Result<String, String> {
    match path {
        "-" => from("standard input", bytes_max, || Ok(io::stdin())),
        path => file(Path::new(path), bytes_max),
    }
}

fn from<R: Read>(name: &str, bytes_max: usize, open: impl FnOnce() -> io::Result<R>) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = open().and_then(|source| source.take(bytes_max as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|e| format!("{name} cannot be read: {e}"))?;
    if bytes.len() > bytes_max {
        return Err(format!("{name} is too long: at most {bytes_max} bytes"));
    }
    decode(bytes).map_err(|why| format!("{name} {why}"))
}

/// A secret without trailing line breaks, which editors add. Spaces belong to it.
pub fn secret(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

/// PEM without spaces and byte order marks around its lines: chains are concatenated from files with a mark each.
pub fn pem(text: &str) -> Cow<'_, str> {
    let around = |c: char| c == '\u{feff}' || c.is_whitespace();
    if text.split('\n').all(|line| line.trim_matches(around) == line) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<&str> = text.lines().map(|line| line.trim_matches(around)).collect();
    Cow::Owned(lines.join("\n") + "\n")
}

/// The known word nearest to an unknown one; `None` if all are too different.
pub fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    const SHORT: usize = 3;
    let far = if word.len() <= SHORT { 1 } else { 2 };
    let near = known.map(|known| (edit_distance(word, known), known)).filter(|(distance, _)| *distance <= far);
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// Bytes to insert, delete or change to turn one word into another.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_text_and_other_encodings_are_named() {
        assert_eq!(without_mark(b"\xef\xbb\xbf{}"), b"{}");
        assert_eq!(without_mark(b"\xef\xbb"), b"\xef\xbb");
        assert_eq!(decode(b"\xef\xbb\xbfa\r\n".to_vec()).as_deref(), Ok("a\r\n"));
        assert_eq!(decode("ä\u{feff}".into()).as_deref(), Ok("ä\u{feff}"));
        assert_eq!(decode(Vec::new()).as_deref(), Ok(""));
        let said = |bytes: &[u8]| decode(bytes.to_vec()).err().unwrap_or_default();
        for wide in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}", b"{\0}\0", b"\0{\0}", b"\xff\xfe\0\0{\0\0\0"] {
            assert!(said(wide).contains("UTF-16"), "{wide:?}");
        }
        assert_eq!(said(b"a\nb\xe4"), "is not UTF-8 (line 2): save it as UTF-8");
    }

    #[test]
    fn a_secret_loses_line_breaks_and_pem_all_that_is_around_its_lines() {
        for (text, want) in [("s\n", "s"), ("s\r\n", "s"), (" s \n", " s "), ("s\n\n", "s"), ("a\nb\n", "a\nb")] {
            assert_eq!(secret(text), want);
        }
        assert_eq!(
            pem("\u{feff}-----BEGIN A-----\r\nQQ== \r\n\u{feff}  -----END A-----"),
            "-----BEGIN A-----\nQQ==\n-----END A-----\n"
        );
        assert!(matches!(pem("-----BEGIN A-----\nQQ==\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_file_is_bounded_and_named() {
        let said = file_or_stdin("/dev/zero", 10).err().unwrap_or_default();
        assert_eq!(said, "/dev/zero is too long: at most 10 bytes");
        assert!(
            file(Path::new("/nowhere/at/all"), 10)
                .err()
                .unwrap_or_default()
                .starts_with("/nowhere/at/all cannot be read: ")
        );
    }
}
