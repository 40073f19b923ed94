//! Output of the command line: tables and fields for people, tabs and JSON for programs, and nothing that could steer
//! a terminal.

mod age;
mod colour;
mod fields;
mod style;
mod table;
mod text;

pub use age::phrase;
pub use colour::{Tone, painted};
pub use style::{COLOR, FORMAT, Format, JSON, OUTPUT, QUIET, Style, check, of as style};
pub use table::{Kind, Look, Table, column, found, made};
pub use text::{ascii, cut, drawable, wrapped};

use super::args::Args;
use crate::clock::Timestamp;
use crate::sys::terminal;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

/// Prints text. A reader that went away (`| head`) is not an error.
pub fn print(text: &str) {
    try_print(text);
}

/// Prints text; false if its reader has gone away, so that a command that follows something can end.
pub fn try_print(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => true,
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => false,
        Err(e) => {
            eprintln!("error: cannot write the output: {e}");
            std::process::exit(1);
        }
    }
}

/// Prints text for people; on a terminal its lines are broken between words.
pub fn prose(text: &str) {
    print(&terminal::size().map_or_else(|| text.to_string(), |size| text::wrapped(text, size.columns)));
}

/// Prints JSON with two spaces a level and sorted keys, in ASCII.
pub fn json(value: &Value) {
    print(&in_ascii(&serde_json::to_string_pretty(value).unwrap_or_default()));
}

/// JSON in ASCII, as lines.
fn in_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out.push('\n');
    out
}

/// An object as one line of JSON.
pub fn json_line(object: &Value) -> String {
    in_ascii(&object.to_string())
}

/// Prints a list in the form that its reader wants.
pub fn list(args: &Args, table: &Table, list: Vec<Value>) {
    let style = style(args);
    match style.list {
        Format::Table | Format::Wide if list.is_empty() => {
            eprintln!("{}", painted(format!("No {}.", table.noun), Tone::Quiet, style.look().has_colour));
        }
        Format::Table | Format::Wide => print(&(table.lines(&list, &style.look()).join("\n") + "\n")),
        Format::Tabs => {
            print(&(table.tabs_header() + &list.iter().map(|object| table.tabs_row(object)).collect::<String>()))
        }
        Format::Json => json(&Value::Array(list)),
        Format::JsonLines => print(&list.iter().map(json_line).collect::<String>()),
        Format::Names => print(&list.iter().map(|object| table.id_of(object) + "\n").collect::<String>()),
        Format::Nothing => {}
    }
}

/// Prints an object, field by field or as JSON.
pub fn object(args: &Args, object: &Value) {
    let style = style(args);
    match style.object {
        Format::Table | Format::Wide => print(&fields::for_people(object, &style.look())),
        Format::Tabs => print(&fields::exact(object)),
        Format::Json => json(object),
        Format::JsonLines => print(&json_line(object)),
        Format::Names => print(&(name_of(object) + "\n")),
        Format::Nothing => {}
    }
}

/// Prints what a command changed: on a terminal a sentence, in a pipe the object as JSON.
pub fn done(args: &Args, object: &Value, sentence: &str) {
    match style(args).object {
        Format::Table | Format::Wide => prose(&(drawable(sentence) + "\n")),
        Format::Tabs | Format::Json => json(object),
        Format::JsonLines => print(&json_line(object)),
        Format::Names => print(&(name_of(object) + "\n")),
        Format::Nothing => {}
    }
}

/// Prints what a command created that has a secret, which is shown this once. With `--quiet` it is all that is printed.
pub fn secret(args: &Args, object: &Value, key: &str) {
    let style = style(args);
    match style.object {
        Format::Table | Format::Wide => print(&fields::for_people(object, &style.look())),
        Format::Tabs | Format::Json => json(object),
        Format::JsonLines => print(&json_line(object)),
        Format::Names => print(&(name_of(object) + "\n")),
        Format::Nothing => print(&(text::printable(&table::cell(object, key)) + "\n")),
    }
}

/// True if a program reads JSON.
pub fn wants_json(args: &Args) -> bool {
    matches!(style(args).object, Format::Json | Format::JsonLines)
}

/// Prints JSON as its reader wants it: indented, or on one line.
pub fn structured(args: &Args, value: &Value) {
    if style(args).object == Format::JsonLines { print(&json_line(value)) } else { json(value) }
}

/// Prints a sentence, unless `--quiet` is given.
pub fn say(args: &Args, sentence: &str) {
    if !args.has("quiet") {
        prose(&format!("{sentence}\n"));
    }
}

/// Prints what became of the object with this id: a sentence, or with `-o name` the id.
pub fn outcome(args: &Args, id: &str, sentence: &str) {
    if style(args).object == Format::Names { print(&(text::printable(id) + "\n")) } else { say(args, sentence) }
}

/// The name of an object of any kind.
fn name_of(object: &Value) -> String {
    let name = ["id", "node_id", "key", "name"].into_iter().map(|key| found(object, key)).find_map(Value::as_str);
    text::printable(name.unwrap_or("-"))
}

/// A state's word in its colour.
pub fn state(word: &str, look: &Look) -> String {
    painted(drawable(word), colour::tone(word.trim()), look.has_colour)
}

/// A moment without its fraction of a second, where the text is one.
pub fn moment(text: &str) -> String {
    Timestamp::parse(text).map_or(text.to_string(), age::exact)
}

/// Prints a sentence to stderr; on a terminal it is broken between words.
pub fn remark(sentence: &str) {
    let sentence = ascii(sentence);
    if io::stderr().is_terminal() {
        eprintln!("{}", text::wrapped(&sentence, terminal::size().unwrap_or(terminal::UNKNOWN).columns));
    } else {
        eprintln!("{sentence}");
    }
}

/// Says something beside the output, unless `--quiet` is given.
pub fn note(args: &Args, sentence: &str) {
    if !args.has("quiet") {
        remark(sentence);
    }
}
