//! Form of a command's output: format, width, colours. Its options, the environment and the terminal
//! decide.

use super::table::Look;
use crate::cli::args::{Args, Opt, opt};
use crate::clock;
use crate::sys::terminal::{self, Size};

/// The form of output.
pub const FORMAT: Opt =
    opt("format", "FORMAT", "table, wide, json, jsonl or name (default: table; in a pipe tab-separated)").short('o');
/// The older word for one form.
pub const JSON: Opt = opt("json", "", "print JSON, as -o json");
/// Less output.
pub const QUIET: Opt = opt("quiet", "", "print ids only of a list, else only errors and new secrets").short('q');
/// Colours.
pub const COLOR: Opt = opt("color", "WHEN", "auto, always or never (default auto: on a terminal without NO_COLOR)");

/// Options of commands that print and call no API; those that do have them with the options of signing in.
pub const OUTPUT: &[Opt] = &[FORMAT, JSON, QUIET, COLOR];

const FORMATS: &[(&str, Format)] = &[
    ("table", Format::Table),
    ("wide", Format::Wide),
    ("json", Format::Json),
    ("jsonl", Format::JsonLines),
    ("name", Format::Names),
];
const COLOURS: &[&str] = &["auto", "always", "never"];
/// A narrower terminal is taken as this wide: a table in less is not readable.
const COLUMNS_MIN: usize = 20;

/// A form of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns, ages and colours.
    Table,
    /// The same with more columns, never cut.
    Wide,
    /// Tab-separated columns with exact values.
    Tabs,
    /// One indented JSON value.
    Json,
    /// A JSON object a line.
    JsonLines,
    /// Ids, one a line.
    Names,
    /// Nothing.
    Nothing,
}

/// Form of a command's output.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// The form of a list.
    pub list: Format,
    /// The form of one object.
    pub object: Format,
    /// The terminal that it prints to; `None` in a pipe or a file.
    pub terminal: Option<Size>,
    /// Codes for colours and for moving the cursor may be used.
    pub is_capable: bool,
    has_colour: bool,
    width: Option<usize>,
}

/// Notes faults in the options of output.
pub fn check(args: &Args) {
    let one_of = |name: &str, words: Vec<&str>| {
        if let Some(word) = args.get(name).filter(|word| !words.contains(word)) {
            args.fault(format!("--{name} must be one of {}, not {word:?}", words.join(", ")));
        }
    };
    one_of("format", FORMATS.iter().map(|(word, _)| *word).collect());
    one_of("color", COLOURS.to_vec());
    if args.has("json") && args.get("format").is_some_and(|format| !format.starts_with("json")) {
        args.fault("--json and --format contradict each other: give one of them".to_string());
    }
}

/// Form of the output with these options.
pub fn of(args: &Args) -> Style {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    decide(args, terminal::size(), &env)
}

fn decide(args: &Args, terminal: Option<Size>, env: &dyn Fn(&str) -> Option<String>) -> Style {
    let named =
        args.get("format").and_then(|word| FORMATS.iter().find(|(name, _)| *name == word)).map(|(_, format)| *format);
    let named = named.or(args.has("json").then_some(Format::Json));
    let usual = if terminal.is_some() { Format::Table } else { Format::Tabs };
    let (quiet_list, quiet_object) = if args.has("quiet") { (Format::Names, Format::Nothing) } else { (usual, usual) };
    let is_capable = terminal.is_some() && env("TERM").is_none_or(|term| term != "dumb");
    let columns = env("COLUMNS").and_then(|text| text.parse().ok()).or(terminal.map(|size| size.columns));
    Style {
        list: named.unwrap_or(quiet_list),
        object: named.unwrap_or(quiet_object),
        terminal,
        is_capable,
        has_colour: match args.get("color") {
            Some("always") => true,
            Some("never") => false,
            _ => is_capable && env("NO_COLOR").is_none(),
        },
        width: columns.map(|columns: usize| columns.max(COLUMNS_MIN)),
    }
}

impl Style {
    /// True if people read the list, who also see what other lists say of its objects.
    pub fn is_for_people(&self) -> bool {
        matches!(self.list, Format::Table | Format::Wide)
    }

    /// Appearance of tables at this moment.
    pub fn look(&self) -> Look {
        let is_wide = self.list == Format::Wide;
        Look { is_wide, width: self.width.filter(|_| !is_wide), has_colour: self.has_colour, now: clock::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args;

    const TERMINAL: Option<Size> = Some(Size { columns: 100, lines: 30 });

    fn read(line: &[&str]) -> Args {
        args::read(line.iter().map(std::ffi::OsString::from), &[], OUTPUT)
    }

    fn style(line: &[&str], terminal: Option<Size>, env: &[(&str, &str)]) -> Style {
        let value = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        decide(&read(line), terminal, &value)
    }

    #[test]
    fn people_get_tables_and_pipes_what_scripts_cut() {
        for (line, terminal, list, object) in [
            (&[][..], TERMINAL, Format::Table, Format::Table),
            (&[], None, Format::Tabs, Format::Tabs),
            (&["--format", "wide"], None, Format::Wide, Format::Wide),
            (&["--json"], TERMINAL, Format::Json, Format::Json),
            (&["--quiet"], TERMINAL, Format::Names, Format::Nothing),
            (&["--quiet"], None, Format::Names, Format::Nothing),
            (&["--quiet", "--format", "jsonl"], None, Format::JsonLines, Format::JsonLines),
        ] {
            let style = style(line, terminal, &[]);
            assert_eq!((style.list, style.object), (list, object), "{line:?}");
        }
    }

    #[test]
    fn colours_are_for_terminals_that_have_and_people_who_want_them() {
        for (line, terminal, env, wanted) in [
            (&[][..], TERMINAL, &[][..], true),
            (&[], None, &[], false),
            (&[], TERMINAL, &[("NO_COLOR", "1")], false),
            (&[], TERMINAL, &[("TERM", "dumb")], false),
            (&["--color", "never"], TERMINAL, &[], false),
            (&["--color", "always"], None, &[("NO_COLOR", "1")], true),
        ] {
            assert_eq!(style(line, terminal, env).look().has_colour, wanted, "{line:?} {env:?}");
        }
    }

    #[test]
    fn the_environment_says_the_width_before_the_terminal_does() {
        assert_eq!(style(&[], TERMINAL, &[]).look().width, Some(100));
        assert_eq!(style(&[], TERMINAL, &[("COLUMNS", "90")]).look().width, Some(90));
        assert_eq!(style(&[], TERMINAL, &[("COLUMNS", "x")]).look().width, Some(100));
        assert_eq!(style(&[], TERMINAL, &[("COLUMNS", "3")]).look().width, Some(COLUMNS_MIN));
        assert_eq!(style(&["--format", "wide"], TERMINAL, &[]).look().width, None);
        assert_eq!(style(&[], None, &[]).look().width, None);
    }

    #[test]
    fn wrong_words_and_contradictions_are_faults() {
        for (line, fault) in [
            (&["--format", "yaml"][..], "--format must be one of table, wide, json, jsonl, name, not \"yaml\""),
            (&["--color", "red"], "--color must be one of auto, always, never, not \"red\""),
            (&["--json", "--format", "wide"], "--json and --format contradict each other: give one of them"),
        ] {
            let args = read(line);
            check(&args);
            assert_eq!(args.finish(), Err(args::Failure::Usage(vec![fault.to_string()])), "{line:?}");
        }
        let args = read(&["--json", "--format", "jsonl"]);
        check(&args);
        assert_eq!(args.finish(), Ok(()));
    }
}
