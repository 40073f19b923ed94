//! The form of a line, in which no input can forge a line or a field.

use super::{Notice, REQUEST_ID};
use crate::clock::Timestamp;
use log::kv::{Key, Value, VisitSource};
use log::{Level, Record};
use std::fmt::Write as _;

/// Maximum bytes of a line, including its end. Longer ones are truncated and marked.
pub(super) const LINE_BYTES_MAX: usize = 8 << 10;
/// Maximum bytes of a field's value: a long path must not displace the other fields.
const VALUE_BYTES_MAX: usize = 2 << 10;

/// Formats a record as a line.
pub(super) fn line(record: &Record, at: Timestamp) -> String {
    let mut fields = Fields { event: String::new(), rest: String::new(), request_id: false };
    // The visitor never fails.
    let _ = record.key_values().visit(&mut fields);
    if !fields.request_id {
        REQUEST_ID.with_borrow(|id| {
            if !id.is_empty() {
                fields.rest.insert_str(0, &field("request_id", id));
            }
        });
    }
    let mut out = String::with_capacity(256);
    begin(&mut out, record.level(), record.target(), &fields.event, at);
    escape(&record.args().to_string(), VALUE_BYTES_MAX, &mut out);
    out.push_str(&fields.rest);
    if out.len() >= LINE_BYTES_MAX {
        out.truncate(LINE_BYTES_MAX - 4);
        out.push_str("...");
    }
    out.push('\n');
    out
}

/// Formats a warning or an error for a person.
pub(super) fn notice(record: &Record, at: Timestamp) -> Notice {
    let mut fields = Fields { event: String::new(), rest: String::new(), request_id: true };
    // The visitor never fails.
    let _ = record.key_values().visit(&mut fields);
    let mut text = String::new();
    escape(&record.args().to_string(), VALUE_BYTES_MAX, &mut text);
    if let Some(rest) = fields.rest.strip_prefix(" | ") {
        // No `|` remains in a value.
        let _ = write!(text, " ({})", rest.replace(" | ", ", "));
    }
    Notice { at, level: record.level(), event: fields.event, text }
}

/// Appends the time, level, category and event of a line.
pub(super) fn begin(out: &mut String, level: Level, category: &str, event: &str, at: Timestamp) {
    let (year, month, day, hour, minute, second, micros) = at.parts();
    let (word, symbol) = match level {
        Level::Error => ("ERROR", "(x)"),
        Level::Warn => ("WARNING", "(!)"),
        Level::Info => ("INFO", "(*)"),
        Level::Debug | Level::Trace => ("DEBUG", "(?)"),
    };
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03} | {word:<8} | ",
        micros / 1000
    );
    escape(category, 64, out);
    let _ = write!(out, " | {symbol} ");
    escape(if event.is_empty() { "log" } else { event }, 64, out);
    out.push_str(" | ");
}

struct Fields {
    event: String,
    rest: String,
    request_id: bool,
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> std::result::Result<(), log::kv::Error> {
        let text = value.to_string();
        if key.as_str() == "event" {
            self.event = text;
        } else {
            self.request_id |= key.as_str() == "request_id";
            self.rest.push_str(&field(key.as_str(), &text));
        }
        Ok(())
    }
}

fn field(name: &str, value: &str) -> String {
    let mut out = String::with_capacity(name.len() + value.len() + 5);
    out.push_str(" | ");
    out.push_str(name);
    out.push_str(": ");
    escape(value, VALUE_BYTES_MAX, &mut out);
    out
}

/// Appends text as printable ASCII of at most `bytes_max` bytes. Escapes `|` too, because it separates fields.
fn escape(text: &str, bytes_max: usize, out: &mut String) {
    let end = out.len() + bytes_max;
    for c in text.chars() {
        if out.len() >= end {
            out.push_str("...");
            return;
        }
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            '|' => out.push_str("\\x7c"),
            ' '..='~' => out.push(c),
            _ => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logger::Context;

    fn said(level: Level, target: &str, message: &str, fields: &[(&str, &str)]) -> String {
        let at = Timestamp::parse("2026-11-23T20:12:26.900008Z").expect("a moment");
        line(
            &Record::builder().level(level).target(target).args(format_args!("{message}")).key_values(&fields).build(),
            at,
        )
    }

    #[test]
    fn a_line_has_the_wires_form() {
        assert_eq!(
            said(
                Level::Info,
                "api",
                "Completed",
                &[("method", "GET"), ("event", "request.complete"), ("status_code", "200")]
            ),
            "2026-11-23 20:12:26.900 | INFO     | api | (*) request.complete | Completed | method: GET | status_code: \
                200\n"
        );
        assert!(said(Level::Warn, "x", "", &[]).contains("| WARNING  | x | (!) log | "));
        assert!(said(Level::Error, "x", "", &[]).contains("| ERROR    | x | (x) "));
        assert!(said(Level::Debug, "x", "", &[]).contains("| DEBUG    | x | (?) "));
    }

    #[test]
    fn a_notice_is_one_line_of_text() {
        let fields = [("event", "tls.expired"), ("path", "a|b\n"), ("days", "3")];
        let record =
            Record::builder().level(Level::Warn).args(format_args!("It has expired")).key_values(&fields).build();
        let said = notice(&record, Timestamp(0));
        assert_eq!((said.event.as_str(), said.level), ("tls.expired", Level::Warn));
        assert_eq!(said.text, "It has expired (path: a\\x7cb\\n, days: 3)");
        let bare = notice(&Record::builder().level(Level::Error).args(format_args!("It failed")).build(), Timestamp(0));
        assert_eq!(bare.text, "It failed");
    }

    #[test]
    fn no_input_can_forge_a_line_or_a_field() {
        let line = said(
            Level::Info,
            "api",
            "a\nb",
            &[("path", "/\r\n2026 | ERROR | \u{e9}\u{1f600}\0\x1b[31m"), ("event", "x\ny")],
        );
        assert!(line.is_ascii() && line.matches('\n').count() == 1 && line.ends_with('\n'), "{line:?}");
        assert!(
            line.contains(
                "| (*) x\\ny | a\\nb | path: /\\r\\n2026 \\x7c ERROR \\x7c \\u{e9}\\u{1f600}\\u{0}\\u{1b}[31m\n"
            ),
            "{line}"
        );
    }

    #[test]
    fn a_line_is_bounded() {
        let long = "x".repeat(100_000);
        let line =
            said(Level::Info, "api", &long, &[("a", &long), ("b", &long), ("c", &long), ("d", &long), ("e", &long)]);
        assert!(line.len() <= LINE_BYTES_MAX && line.ends_with("...\n"), "{}", line.len());
    }

    #[test]
    fn a_thread_names_its_request_until_it_is_done_with_it() {
        let context = Context::request("req-1");
        assert!(said(Level::Info, "api", "m", &[("a", "b")]).ends_with("| m | request_id: req-1 | a: b\n"));
        assert!(said(Level::Info, "api", "m", &[("request_id", "own")]).ends_with("| m | request_id: own\n"));
        drop(context);
        assert!(said(Level::Info, "api", "m", &[]).ends_with("| m\n"));
    }
}
