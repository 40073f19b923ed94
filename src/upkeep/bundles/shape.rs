//! Shapes in place of foreign values: their kind and length.

use super::forms::Form::{self, Either, Flag, List, Number, Object, Sentence, Time};
use super::forms::{CLIENTS_EVENT, LEVEL, LOG_FIELDS, OWN_EVENT, fits, is_name, is_path_word};
use super::redact::Redactor;
use crate::clock::Timestamp;
use crate::config::SETTINGS;
use crate::control::settings;
use serde_json::{Map, Value};
use std::net::IpAddr;

/// Maximum depth of JSON to descend into.
const DEPTH_MAX: usize = 64;
/// Maximum number of list items, and of object keys, with a shape of their own.
const ITEMS_MAX: usize = 100;
/// Maximum number of characters shown of a foreign key.
const KEY_CHARS_MAX: usize = 40;
/// Maximum number of digits in such a key: a random key has more.
const KEY_DIGITS_MAX: usize = 4;

/// Replaces foreign values, and remembers them, so that they are found in our own sentences too.
pub struct Closer<'r> {
    /// Text that people wrote, as found so far.
    pub words: &'r mut Redactor,
    /// True during the first reading, which only collects: text may appear in an earlier part than the one that
    /// identifies it.
    pub learning: bool,
}

impl Closer<'_> {
    /// Reduces a value to what has this form.
    pub fn value(&mut self, value: Value, form: &Form) -> Value {
        match (value, form) {
            (Value::Null, _) => Value::Null,
            (Value::Object(fields), Object(known)) => self.object(fields, known),
            (Value::Array(items), List(form)) => items.into_iter().map(|item| self.value(item, form)).collect(),
            (value, Either(forms)) => match forms.iter().find(|form| fits(&value, form)) {
                Some(form) => self.value(value, form),
                None => self.shape(value, 0),
            },
            (Value::Object(fields), Form::Event) => {
                let own = fields.get("category").and_then(Value::as_str).is_some_and(crate::model::events::is_own);
                self.value(Value::Object(fields), if own { &OWN_EVENT } else { &CLIENTS_EVENT })
            }
            (Value::Object(fields), Form::Setting { key, value }) => self.setting(fields, key, value),
            (Value::String(text), Sentence) if self.learning => Value::String(text),
            (Value::String(text), Sentence) => self.words.redact(&text).into(),
            (value, form) if fits(&value, form) => value,
            (value, _) => self.shape(value, 0),
        }
    }

    fn object(&mut self, fields: Map<String, Value>, known: &[(&str, Form)]) -> Value {
        let mut out = Map::new();
        for (key, value) in fields {
            match known.iter().find(|(name, _)| *name == key) {
                Some((_, form)) => out.insert(key, self.value(value, form)),
                None => out.insert(self.key(key, &out), self.shape(value, 0)),
            };
        }
        Value::Object(out)
    }

    fn setting(&mut self, fields: Map<String, Value>, key: &str, value: &str) -> Value {
        let name = fields.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        let mut out = Map::new();
        for (field, inside) in fields {
            let shown = match field.as_str() {
                f if f == key => self.key(name.clone(), &Map::new()).into(),
                f if f == value => match inside {
                    Value::String(text) if is_closed_setting(&name, &text) => Value::String(text),
                    inside => self.shape(inside, 0),
                },
                _ => self.value(inside, &Time),
            };
            out.insert(field, shown);
        }
        Value::Object(out)
    }

    /// Kind and length of a value.
    fn shape(&mut self, value: Value, depth: usize) -> Value {
        match value {
            Value::Null => Value::Null,
            Value::Bool(_) => "<true or false>".into(),
            Value::Number(_) => "<number>".into(),
            Value::String(text) => self.text(&text).into(),
            Value::Array(items) if depth == DEPTH_MAX => format!("<list of {}>", items.len()).into(),
            Value::Object(fields) if depth == DEPTH_MAX => format!("<object of {}>", fields.len()).into(),
            Value::Array(items) => {
                let more = items.len().saturating_sub(ITEMS_MAX);
                let mut out: Vec<Value> =
                    items.into_iter().take(ITEMS_MAX).map(|item| self.shape(item, depth + 1)).collect();
                if more > 0 {
                    out.push(format!("<{more} more>").into());
                }
                Value::Array(out)
            }
            Value::Object(fields) => {
                let more = fields.len().saturating_sub(ITEMS_MAX);
                let mut out = Map::new();
                for (key, inside) in fields.into_iter().take(ITEMS_MAX) {
                    let inside = self.shape(inside, depth + 1);
                    out.insert(self.key(key, &out), inside);
                }
                if more > 0 {
                    out.insert(format!("<{more} more>"), Value::Null);
                }
                Value::Object(out)
            }
        }
    }

    /// Shape of a text. The number of an operating system error is kept: it is ours, and explains most failures.
    fn text(&mut self, text: &str) -> String {
        if self.learning {
            self.words.add(text);
        }
        let count = text.chars().count();
        match os_error(text) {
            Some(number) => format!("<text, {count} characters, os error {number}>"),
            None => format!("<text, {count} characters>"),
        }
    }

    /// A foreign key: shown if it looks like a name, otherwise only its length.
    fn key(&mut self, key: String, beside: &Map<String, Value>) -> String {
        if is_plain_key(&key) && !beside.contains_key(&key) {
            return key;
        }
        if self.learning {
            self.words.add(&key);
        }
        let shape = format!("<key, {} characters>", key.chars().count());
        let numbered = |n: usize| if n == 1 { shape.clone() } else { format!("{shape} {n}") };
        (1..).map(numbered).find(|name| !beside.contains_key(name)).unwrap_or_default()
    }

    /// A line of the log. Only lines that this program wrote have this form; of any other only the length is shown.
    pub fn line(&mut self, line: &str) -> String {
        let mut parts = line.split(" | ");
        let (time, level, category, event) = (parts.next(), parts.next(), parts.next(), parts.next());
        let ours = time.is_some_and(is_log_time)
            && level.is_some_and(|l| LEVEL.contains(&l.trim_end().to_ascii_lowercase().as_str()))
            && category.is_some_and(is_name)
            && event.and_then(|e| e.get(..4)).is_some_and(|s| ["(*) ", "(!) ", "(x) ", "(?) ", "(X) "].contains(&s));
        let event = event.unwrap_or_default();
        if !ours || !is_name(event.get(4..).unwrap_or_default()) {
            return self.text(line);
        }
        let mut out = [time, level, category, Some(event)].map(Option::unwrap_or_default).join(" | ");
        for (i, part) in parts.enumerate() {
            out.push_str(" | ");
            match part.split_once(": ") {
                // The message. Text of a library is not a sentence of ours.
                _ if i == 0 && event.ends_with(") log") => out.push_str(&self.text(part)),
                _ if i == 0 => out.push_str(&self.sentence(part)),
                Some((key, value)) if is_name(key) => {
                    out.push_str(key);
                    out.push_str(": ");
                    out.push_str(&self.log_value(key, value));
                }
                _ => out.push_str(&self.text(part)),
            }
        }
        out
    }

    fn sentence(&self, text: &str) -> String {
        if self.learning { text.to_string() } else { self.words.redact(text) }
    }

    fn log_value(&mut self, key: &str, value: &str) -> String {
        if key == "path" {
            return self.path(value);
        }
        match LOG_FIELDS.iter().find(|(name, _)| *name == key) {
            Some((_, Sentence)) => value.to_string(),
            Some((_, Number)) if value.parse::<f64>().is_ok() => value.to_string(),
            Some((_, Flag)) if ["true", "false"].contains(&value) => value.to_string(),
            Some((_, form)) if fits(&Value::from(value), form) => value.to_string(),
            _ => self.text(value),
        }
    }

    /// The path of a request or a file: our words are shown, and placeholders for the rest.
    fn path(&mut self, path: &str) -> String {
        let part = |part: &str| match part.is_empty() || is_path_word(part) {
            true => part.to_string(),
            false => "{...}".to_string(),
        };
        path.split('/').map(part).collect::<Vec<_>>().join("/")
    }
}

/// True for letters of any language with a few digits, `DB_PASSWORD`, `app.kubernetes.io/name`; false for anything
/// random.
fn is_plain_key(key: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    let digits = key.chars().filter(|c| c.is_numeric()).count();
    (1..=KEY_CHARS_MAX).contains(&key.chars().count()) && key.chars().all(plain) && digits <= KEY_DIGITS_MAX
}

/// The number in `(os error 28)`.
fn os_error(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("(os error ")?;
    rest.split_once(')')?.0.parse().ok()
}

/// True for `2026-11-23 20:12:26.900`.
fn is_log_time(text: &str) -> bool {
    const PATTERN: &[u8] = b"0000-00-00 00:00:00.000";
    text.len() == PATTERN.len()
        && text.bytes().zip(PATTERN).all(|(b, p)| if *p == b'0' { b.is_ascii_digit() } else { b == *p })
}

/// True if a setting's value consists only of what the server understands: a number, a word of its own, an address, or
/// its default.
fn is_closed_setting(name: &str, value: &str) -> bool {
    const WORDS: [&str; 17] = [
        "",
        "on",
        "off",
        "true",
        "false",
        "(set)",
        "(not set)",
        "DEBUG",
        "INFO",
        "WARNING",
        "ERROR",
        "CRITICAL",
        "dev",
        "prod",
        "production",
        "unknown",
        "ok",
    ];
    let ours = SETTINGS.iter().find(|setting| setting.name == name).map(|setting| setting.default);
    let of_cluster = settings::allowed(name).is_some()
        || ["cluster_bootstrapped", "cluster_bootstrapped_at", "etcd_status"].contains(&name);
    let closed = WORDS.contains(&value)
        || value.len() <= 20 && value.parse::<i64>().is_ok()
        || value.parse::<IpAddr>().is_ok()
        || Timestamp::parse(value).is_some()
        || settings::words(name).is_some_and(|words| words.contains(&value))
        || name == "etcd_status" && ["down", "unavailable", "stale"].contains(&value);
    (ours.is_some() || of_cluster) && (closed || ours.is_some_and(|default| default == value))
}
