//! Readers of one field each, by kind of value: texts, ids, words, times, numbers, flags, labels.

use super::{Fields, Got, NO_LIST, NO_OBJECT, WrongType};
use crate::clock::Timestamp;
use crate::error::Loc;
use crate::json::float;
use crate::model::ids::{self, Id};
use crate::model::specs::count_of;
use crate::text::is_invisible;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::IntErrorKind;
use std::ops::RangeInclusive;

/// Maximum labels of an object.
const LABELS_MAX: usize = 64;
/// Maximum words of a list.
const WORDS_MAX: usize = 32;
/// Below this, a whole float is exact.
const WHOLE_MAX: f64 = 9e15;

const NO_TEXT: WrongType = ("string_type", "Input should be a valid string");
const NO_INT: WrongType = ("int_type", "Input should be a valid integer");
const NO_FLAG: WrongType = ("bool_type", "Input should be a valid boolean");

impl<'b> Fields<'b> {
    /// A text of bounded length.
    pub fn text(&mut self, name: &'static str, chars: RangeInclusive<usize>) -> Got<'_, 'b, String> {
        self.note(name, || chars_schema(&chars));
        self.read(name, NO_TEXT, |f, v| match v {
            Value::String(text) => f.bounded(&text, chars, vec![name.into()]).then_some(text),
            other => f.wrong(NO_TEXT, vec![name.into()], &other),
        })
    }

    /// A name for people: printable, and not only spaces.
    pub fn name(&mut self, name: &'static str) -> Got<'_, 'b, String> {
        self.printable(name, 1..=128)
    }

    /// A printable text of bounded length.
    pub fn printable(&mut self, name: &'static str, chars: RangeInclusive<usize>) -> Got<'_, 'b, String> {
        self.note(name, || chars_schema(&chars));
        self.read(name, NO_TEXT, |f, v| match v {
            Value::String(text) if !f.bounded(&text, chars, vec![name.into()]) => None,
            Value::String(text) if text.chars().any(unprintable) || (!text.is_empty() && text.trim().is_empty()) => {
                let msg = "String should have printable characters only, and one at least that is not a space";
                f.wrong(("string_pattern_mismatch", msg), vec![name.into()], &Value::String(text))
            }
            Value::String(text) => Some(text),
            other => f.wrong(NO_TEXT, vec![name.into()], &other),
        })
    }

    /// An id.
    pub fn id<I: Id>(&mut self, name: &'static str) -> Got<'_, 'b, I> {
        self.note(name, || json!({ "type": "string", "pattern": ids::PATTERN }));
        self.read(name, NO_TEXT, |f, v| match v {
            Value::String(text) if !f.bounded(&text, 1..=64, vec![name.into()]) => None,
            Value::String(t) => I::parse(&t).or_else(|| f.mismatch(ids::PATTERN, vec![name.into()], &Value::String(t))),
            other => f.wrong(NO_TEXT, vec![name.into()], &other),
        })
    }

    /// One of several words.
    pub fn word<T>(&mut self, name: &'static str, words: &[&str], parse: impl Fn(&str) -> Option<T>) -> Got<'_, 'b, T> {
        self.note(name, || json!({ "type": "string", "enum": words }));
        self.read(name, NO_TEXT, |f, v| match v {
            Value::String(text) => match parse(&text) {
                Some(value) => Some(value),
                None => f.mismatch(&format!("^({})$", words.join("|")), vec![name.into()], &Value::String(text)),
            },
            other => f.wrong(NO_TEXT, vec![name.into()], &other),
        })
    }

    /// A time in RFC 3339.
    pub fn moment(&mut self, name: &'static str) -> Got<'_, 'b, Timestamp> {
        self.note(name, || json!({ "type": "string", "format": "date-time" }));
        self.read(name, NO_TEXT, |f, v| match &v {
            // In a query an unencoded plus sign has become a space.
            Value::String(text) => {
                Timestamp::parse(&text.replace(' ', "+")).or_else(|| Timestamp::parse(text)).or_else(|| {
                    let msg = "Input should be an RFC 3339 time, such as 2026-11-23T20:12:26Z";
                    f.wrong(("string_pattern_mismatch", msg), vec![name.into()], &v)
                })
            }
            other => f.wrong(NO_TEXT, vec![name.into()], other),
        })
    }

    /// A whole number within bounds, also as text.
    pub fn int(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Got<'_, 'b, i64> {
        self.note(name, || int_schema(&range));
        self.read(name, NO_INT, |f, v| {
            let at = || vec![name.into()];
            let number = match int_of(&v) {
                Ok(n) => n,
                Err(wrong) => return f.wrong(wrong, at(), &v),
            };
            if number < *range.start() {
                let msg = format!("Input should be greater than or equal to {}", range.start());
                return f.wrong(("greater_than_equal", &msg), at(), &v);
            }
            if number > *range.end() {
                let msg = format!("Input should be less than or equal to {}", range.end());
                return f.wrong(("less_than_equal", &msg), at(), &v);
            }
            Some(number)
        })
    }

    /// True or false; in a query the words.
    pub fn flag(&mut self, name: &'static str) -> Got<'_, 'b, bool> {
        let in_query = self.place == "query";
        self.note(name, || match in_query {
            true => json!({ "enum": [true, false, 0, 1] }),
            false => json!({ "type": "boolean" }),
        });
        self.read(name, NO_FLAG, |f, v| match &v {
            Value::Bool(b) => Some(*b),
            Value::String(word) if in_query && (word == "true" || word == "1") => Some(true),
            Value::String(word) if in_query && (word == "false" || word == "0") => Some(false),
            _ => f.wrong(NO_FLAG, vec![name.into()], &v),
        })
    }

    /// A whole number of at most `max`; numbers in texts count, negative ones are 0, any other type is absent.
    pub fn lenient_count(&mut self, name: &'static str, max: i64) -> Option<i64> {
        self.note(name, || json!({ "maximum": max }));
        let value = self.values.get(name)?.clone();
        let count = count_of(&value)?;
        if count > max {
            let msg = format!("Input should be less than or equal to {max}");
            self.fault("less_than_equal", vec![name.into()], msg, &value);
        }
        Some(count.min(max))
    }

    /// Labels: at most 64, keys of 1 to 64 characters, values of up to 256.
    pub fn labels(&mut self, name: &'static str) -> Got<'_, 'b, BTreeMap<String, String>> {
        self.note(name, || {
            let (key, value) = (chars_schema(&(1..=64)), chars_schema(&(0..=256)));
            json!({ "type": "object", "maxProperties": LABELS_MAX, "propertyNames": key,
                "additionalProperties": value })
        });
        self.read(name, NO_OBJECT, |f, v| {
            let Value::Object(map) = v else { return f.wrong(NO_OBJECT, vec![name.into()], &v) };
            if map.len() > LABELS_MAX {
                let msg = format!("Dictionary should have at most {LABELS_MAX} items");
                return f.wrong(("dict_type", &msg), vec![name.into()], &map.len().into());
            }
            let mut labels = BTreeMap::new();
            for (key, value) in map {
                let at = || vec![name.into(), key.as_str().into()];
                let key_fits = f.bounded(&key, 1..=64, at());
                match value {
                    Value::String(text) => {
                        if f.bounded(&text, 0..=256, at()) && key_fits {
                            labels.insert(key, text);
                        }
                    }
                    other => f.wrong(NO_TEXT, at(), &other).unwrap_or(()),
                }
            }
            Some(labels)
        })
    }

    /// A list of at most 32 words of 1 to 64 characters.
    pub fn words(&mut self, name: &'static str) -> Got<'_, 'b, Vec<String>> {
        self.note(name, || json!({ "type": "array", "maxItems": WORDS_MAX, "items": chars_schema(&(1..=64)) }));
        self.read(name, NO_LIST, |f, v| {
            let Value::Array(items) = v else { return f.wrong(NO_LIST, vec![name.into()], &v) };
            if items.len() > WORDS_MAX {
                let msg = format!("List should have at most {WORDS_MAX} items");
                return f.wrong(("list_type", &msg), vec![name.into()], &items.len().into());
            }
            let mut words = Vec::with_capacity(items.len());
            for (i, item) in items.into_iter().enumerate() {
                let at = || vec![name.into(), Loc::Index(i)];
                match item {
                    Value::String(word) => {
                        if f.bounded(&word, 1..=64, at()) {
                            words.push(word);
                        }
                    }
                    other => f.wrong(NO_TEXT, at(), &other).unwrap_or(()),
                }
            }
            Some(words)
        })
    }

    fn mismatch<T>(&mut self, pattern: &str, at: Vec<Loc>, input: &Value) -> Option<T> {
        self.wrong(("string_pattern_mismatch", &format!("String should match pattern '{pattern}'")), at, input)
    }

    fn bounded(&mut self, text: &str, chars: RangeInclusive<usize>, at: Vec<Loc>) -> bool {
        let count = text.chars().count();
        let (kind, word, bound) = if count < *chars.start() {
            ("string_too_short", "at least", *chars.start())
        } else if count > *chars.end() {
            ("string_too_long", "at most", *chars.end())
        } else {
            return true;
        };
        let s = if bound == 1 { "" } else { "s" };
        self.fault(kind, at, format!("String should have {word} {bound} character{s}"), &Value::String(text.into()));
        false
    }
}

fn chars_schema(chars: &RangeInclusive<usize>) -> Value {
    json!({ "type": "string", "minLength": chars.start(), "maxLength": chars.end() })
}

fn int_schema(range: &RangeInclusive<i64>) -> Value {
    let mut number = json!({ "type": "integer" });
    if *range.start() > i64::MIN {
        number["minimum"] = (*range.start()).into();
    }
    if *range.end() < i64::MAX {
        number["maximum"] = (*range.end()).into();
    }
    json!({ "anyOf": [number, { "type": "string", "pattern": "^\\s*[+-]?[0-9]+\\s*$" }] })
}

/// The whole number in a value, if it is one or a text of one.
fn int_of(value: &Value) -> std::result::Result<i64, WrongType> {
    match value {
        Value::Number(n) => match (n.as_i64(), float(n)) {
            (Some(n), _) => Ok(n),
            // Whole, but beyond 64 bits: outside any bounds.
            (None, x) if x.abs() >= WHOLE_MAX => Ok(if x < 0.0 { i64::MIN } else { i64::MAX }),
            (None, x) if x.fract() == 0.0 => Ok(x as i64),
            (None, _) => Err(NO_INT),
        },
        Value::String(text) => match text.trim().parse::<i64>() {
            Ok(n) => Ok(n),
            Err(e) if *e.kind() == IntErrorKind::PosOverflow => Ok(i64::MAX),
            Err(e) if *e.kind() == IntErrorKind::NegOverflow => Ok(i64::MIN),
            Err(_) => Err(("int_parsing", "Input should be a valid integer, unable to parse string as an integer")),
        },
        _ => Err(NO_INT),
    }
}

/// Control characters, and those that reorder or hide text.
fn unprintable(c: char) -> bool {
    c.is_control() || is_invisible(c)
}
