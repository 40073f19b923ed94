//! Reads a request's fields one by one, with their bounds, and collects EVERY fault with its place before anything is done.
//!
//! ```text
//! let mut f = Fields::of_body(&request.body)?;
//! let id = f.id("id").required();
//! let ttl_s = f.int("ttl_seconds", 60..=86_400).or(1800);
//! f.finish()?;
//! ```
//! A value that is wrong stands as an empty one until `finish` refuses the request. Unknown fields are ignored; `null`
//! counts as absent for an optional field, and as a wrong type for a required one.

use crate::error::{Error, FieldFault, Loc, Result};
use crate::model::{Object, ids};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::num::IntErrorKind;
use std::ops::RangeInclusive;

/// Text of a faulty input that is shown back.
const INPUT_CHARS_MAX: usize = 200;
/// Faults that are reported at once.
const FAULTS_MAX: usize = 100;

/// Where fields come from, and what is wrong with them.
pub struct Fields<'b> {
    place: &'static str,
    values: Object,
    raw: &'b [u8],
    faults: Vec<FieldFault>,
}

/// A field that was read; say what its absence means.
pub struct Got<'f, 'b, T> {
    fields: &'f mut Fields<'b>,
    name: &'static str,
    value: Option<T>,
    /// What came instead of a value, if a fault was found already.
    faulty: bool,
    null: Option<(&'static str, &'static str)>,
}

impl<T> Got<'_, '_, T> {
    /// The value; absent is fine.
    pub fn optional(self) -> Option<T> {
        self.value
    }

    /// The value, or this.
    pub fn or(self, default: T) -> T {
        self.value.unwrap_or(default)
    }

    /// The value; absent is a fault.
    pub fn required(self) -> T
    where
        T: Default,
    {
        self.required_with(T::default())
    }

    /// The value; absent is a fault, and this stands in its place until `finish` refuses the request.
    pub fn required_with(self, stand_in: T) -> T {
        if self.value.is_none() && !self.faulty {
            match self.null {
                Some((kind, msg)) => self.fields.fault(kind, vec![self.name.into()], msg.to_string(), &Value::Null),
                None => {
                    let input = Value::Object(self.fields.values.clone());
                    self.fields.fault("missing", vec![self.name.into()], "Field required".into(), &input);
                }
            }
        }
        self.value.unwrap_or(stand_in)
    }
}

impl From<&str> for Loc {
    fn from(name: &str) -> Loc {
        Loc::Name(name.to_string())
    }
}

impl<'b> Fields<'b> {
    /// The fields of a JSON body, which is required.
    pub fn of_body(body: &'b [u8]) -> Result<Fields<'b>> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(invalid("missing", vec!["body".into()], "Field required", Value::Null));
        }
        match parse(body)? {
            Value::Object(values) => Ok(Fields { place: "body", values, raw: body, faults: Vec::new() }),
            other => {
                let msg = "Input should be a valid dictionary or object to extract fields from";
                Err(invalid("model_attributes_type", vec!["body".into()], msg, shown(&other)))
            }
        }
    }

    /// The fields of a JSON body under a path with an id: the faults of both are told together.
    pub fn of_body_at(name: &str, id: &str, body: &'b [u8]) -> Result<Fields<'b>> {
        match (Fields::path_id(name, id), Fields::of_body(body)) {
            (Err(Error::Invalid(path)), Ok(mut fields)) => {
                fields.faults = path;
                Ok(fields)
            }
            (Err(Error::Invalid(mut path)), Err(Error::Invalid(body))) => {
                path.extend(body);
                Err(Error::Invalid(path))
            }
            (_, fields) => fields,
        }
    }

    /// The fields of a JSON body that may be absent.
    pub fn of_optional_body(body: &'b [u8]) -> Result<Fields<'b>> {
        match body.iter().all(u8::is_ascii_whitespace) || body == b"null" {
            true => Ok(Fields { place: "body", values: Object::new(), raw: b"{}", faults: Vec::new() }),
            false => Fields::of_body(body),
        }
    }

    /// The parameters of a query, as text; of a repeated one the last counts.
    pub fn of_query(pairs: Vec<(String, String)>) -> Fields<'static> {
        let values = pairs.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
        Fields { place: "query", values, raw: b"", faults: Vec::new() }
    }

    /// An argument of the path, which must be an id.
    pub fn path_id(name: &str, text: &str) -> Result<()> {
        if ids::is_id(text) {
            return Ok(());
        }
        let msg = format!("String should match pattern '{}'", ids::PATTERN);
        Err(invalid("string_pattern_mismatch", vec!["path".into(), name.into()], &msg, shown(&Value::String(text.into()))))
    }

    /// Refuses the request if anything was wrong.
    pub fn finish(self) -> Result<()> {
        if self.faults.is_empty() { Ok(()) } else { Err(Error::Invalid(self.faults)) }
    }

    /// Reports a fault that only the caller can see.
    pub fn fault(&mut self, kind: &'static str, at: Vec<Loc>, msg: String, input: &Value) {
        if self.faults.len() < FAULTS_MAX {
            let mut loc = vec![self.place.into()];
            loc.extend(at);
            self.faults.push(FieldFault { kind, loc, msg, input: shown(input) });
        }
    }

    /// A text of so many characters.
    pub fn text(&mut self, name: &'static str, chars: RangeInclusive<usize>) -> Got<'_, 'b, String> {
        self.read(name, ("string_type", "Input should be a valid string"), |f, v| match v {
            Value::String(text) => f.bounded(&text, chars, vec![name.into()]).then_some(text),
            other => f.wrong("string_type", vec![name.into()], "Input should be a valid string", &other),
        })
    }

    /// A name that people read: printable, and not only spaces.
    pub fn name(&mut self, name: &'static str) -> Got<'_, 'b, String> {
        self.printable(name, 1..=128)
    }

    /// A text of so many printable characters.
    pub fn printable(&mut self, name: &'static str, chars: RangeInclusive<usize>) -> Got<'_, 'b, String> {
        self.read(name, ("string_type", "Input should be a valid string"), |f, v| match v {
            Value::String(text) if !f.bounded(&text, chars, vec![name.into()]) => None,
            Value::String(text) if text.chars().any(unprintable) || (!text.is_empty() && text.trim().is_empty()) => {
                let msg = "String should have printable characters only, and one at least that is not a space";
                f.wrong("string_pattern_mismatch", vec![name.into()], msg, &Value::String(text))
            }
            Value::String(text) => Some(text),
            other => f.wrong("string_type", vec![name.into()], "Input should be a valid string", &other),
        })
    }

    /// An id.
    pub fn id(&mut self, name: &'static str) -> Got<'_, 'b, String> {
        self.read(name, ("string_type", "Input should be a valid string"), |f, v| match v {
            Value::String(text) if !f.bounded(&text, 1..=64, vec![name.into()]) => None,
            Value::String(text) if ids::is_id(&text) => Some(text),
            Value::String(text) => {
                let msg = format!("String should match pattern '{}'", ids::PATTERN);
                f.wrong("string_pattern_mismatch", vec![name.into()], &msg, &Value::String(text))
            }
            other => f.wrong("string_type", vec![name.into()], "Input should be a valid string", &other),
        })
    }

    /// One word of several.
    pub fn word<T>(&mut self, name: &'static str, words: &[&str], parse: impl Fn(&str) -> Option<T>) -> Got<'_, 'b, T> {
        self.read(name, ("string_type", "Input should be a valid string"), |f, v| match v {
            Value::String(text) => match parse(&text) {
                Some(value) => Some(value),
                None => {
                    let msg = format!("String should match pattern '^({})$'", words.join("|"));
                    f.wrong("string_pattern_mismatch", vec![name.into()], &msg, &Value::String(text))
                }
            },
            other => f.wrong("string_type", vec![name.into()], "Input should be a valid string", &other),
        })
    }

    /// A whole number within bounds; a text that holds one is taken too.
    pub fn int(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Got<'_, 'b, i64> {
        self.read(name, ("int_type", "Input should be a valid integer"), |f, v| {
            let number =
                match &v {
                    Value::Number(n) => match n.as_i64().or_else(|| whole(n.as_f64())) {
                        Some(n) => n,
                        // Whole, but beyond 64 bits: out of any bounds.
                        None if n.as_u64().is_some() || n.as_f64().is_some_and(|x| x.fract() == 0.0) => {
                            if n.as_f64().is_some_and(|x| x < 0.0) { i64::MIN } else { i64::MAX }
                        }
                        None => return f.wrong("int_type", vec![name.into()], "Input should be a valid integer", &v),
                    },
                    Value::String(text) => match text.trim().parse::<i64>() {
                        Ok(n) => n,
                        Err(e) if *e.kind() == IntErrorKind::PosOverflow => i64::MAX,
                        Err(e) if *e.kind() == IntErrorKind::NegOverflow => i64::MIN,
                        Err(_) => {
                            let msg = "Input should be a valid integer, unable to parse string as an integer";
                            return f.wrong("int_parsing", vec![name.into()], msg, &v);
                        }
                    },
                    _ => return f.wrong("int_type", vec![name.into()], "Input should be a valid integer", &v),
                };
            if number < *range.start() {
                let msg = format!("Input should be greater than or equal to {}", range.start());
                return f.wrong("greater_than_equal", vec![name.into()], &msg, &v);
            }
            if number > *range.end() {
                let msg = format!("Input should be less than or equal to {}", range.end());
                return f.wrong("less_than_equal", vec![name.into()], &msg, &v);
            }
            Some(number)
        })
    }

    /// True or false; in a query their words.
    pub fn flag(&mut self, name: &'static str) -> Got<'_, 'b, bool> {
        let in_query = self.place == "query";
        self.read(name, ("bool_type", "Input should be a valid boolean"), |f, v| match &v {
            Value::Bool(b) => Some(*b),
            Value::String(word) if in_query && (word == "true" || word == "1") => Some(true),
            Value::String(word) if in_query && (word == "false" || word == "0") => Some(false),
            _ => f.wrong("bool_type", vec![name.into()], "Input should be a valid boolean", &v),
        })
    }

    /// A JSON object of any content.
    pub fn object(&mut self, name: &'static str) -> Got<'_, 'b, Object> {
        self.read(name, ("dict_type", "Input should be a valid dictionary"), |f, v| match v {
            Value::Object(map) => Some(map),
            other => f.wrong("dict_type", vec![name.into()], "Input should be a valid dictionary", &other),
        })
    }

    /// The text of a field exactly as it stands in the body.
    pub fn raw(&self, name: &str) -> Option<&'b str> {
        let all: BTreeMap<String, &'b RawValue> = serde_json::from_slice(self.raw).ok()?;
        all.get(name).map(|raw| raw.get())
    }

    /// Labels: at most 64, keys of 1 to 64 characters, values of up to 256.
    pub fn labels(&mut self, name: &'static str) -> Got<'_, 'b, BTreeMap<String, String>> {
        self.read(name, ("dict_type", "Input should be a valid dictionary"), |f, v| {
            let Value::Object(map) = v else {
                return f.wrong("dict_type", vec![name.into()], "Input should be a valid dictionary", &v);
            };
            if map.len() > 64 {
                return f.wrong("dict_type", vec![name.into()], "Dictionary should have at most 64 items", &map.len().into());
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
                    other => f.wrong("string_type", at(), "Input should be a valid string", &other).unwrap_or(()),
                }
            }
            Some(labels)
        })
    }

    /// A list of at most 32 words of 1 to 64 characters.
    pub fn words(&mut self, name: &'static str) -> Got<'_, 'b, Vec<String>> {
        self.read(name, ("list_type", "Input should be a valid list"), |f, v| {
            let Value::Array(items) = v else {
                return f.wrong("list_type", vec![name.into()], "Input should be a valid list", &v);
            };
            if items.len() > 32 {
                return f.wrong("list_type", vec![name.into()], "List should have at most 32 items", &items.len().into());
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
                    other => f.wrong("string_type", at(), "Input should be a valid string", &other).unwrap_or(()),
                }
            }
            Some(words)
        })
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        null: (&'static str, &'static str),
        parse: impl FnOnce(&mut Self, Value) -> Option<T>,
    ) -> Got<'_, 'b, T> {
        let before = self.faults.len();
        let came = self.values.get(name).cloned();
        let null = (came == Some(Value::Null)).then_some(null);
        let value = came.filter(|v| !v.is_null()).and_then(|v| parse(self, v));
        let faulty = self.faults.len() > before;
        Got { fields: self, name, value, faulty, null }
    }

    fn wrong<T>(&mut self, kind: &'static str, at: Vec<Loc>, msg: &str, input: &Value) -> Option<T> {
        self.fault(kind, at, msg.to_string(), input);
        None
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

fn whole(x: Option<f64>) -> Option<i64> {
    x.filter(|x| x.fract() == 0.0 && x.abs() < 9e15).map(|x| x as i64)
}

/// Control characters, and those that reorder or hide text.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn invalid(kind: &'static str, loc: Vec<Loc>, msg: &str, input: Value) -> Error {
    Error::Invalid(vec![FieldFault { kind, loc, msg: msg.to_string(), input }])
}

/// A faulty input, short enough to be sent back.
fn shown(input: &Value) -> Value {
    let long = |text: &str| text.chars().count() > INPUT_CHARS_MAX;
    match input {
        Value::String(text) if long(text) => Value::String(text.chars().take(INPUT_CHARS_MAX).chain("...".chars()).collect()),
        Value::Array(_) | Value::Object(_) if long(&input.to_string()) => Value::String("(long)".into()),
        other => other.clone(),
    }
}

/// Parses JSON strictly: a repeated key is an error, because two readers of the same body must not disagree on what it says.
pub fn parse(text: &[u8]) -> Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let parsed = Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    parsed.map_err(|e| {
        let offset = byte_offset(text, e.line(), e.column());
        let msg = format!("JSON decode error: {}", without_place(&e.to_string()));
        invalid("json_invalid", vec!["body".into(), Loc::Index(offset)], &msg, Value::Object(Object::new()))
    })
}

fn without_place(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |i| &message[..i])
}

fn byte_offset(text: &[u8], line: usize, column: usize) -> usize {
    let start = match line {
        0 | 1 => 0,
        _ => text.iter().enumerate().filter(|(_, c)| **c == b'\n').nth(line - 2).map_or(0, |(i, _)| i + 1),
    };
    (start + column.saturating_sub(1)).min(text.len())
}

/// Builds a [`Value`], refusing repeated keys.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> std::result::Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, b: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> std::result::Result<Value, E> {
        Ok(n.into())
    }

    fn visit_u64<E>(self, n: u64) -> std::result::Result<Value, E> {
        Ok(n.into())
    }

    fn visit_f64<E>(self, n: f64) -> std::result::Result<Value, E> {
        Ok(n.into())
    }

    fn visit_str<E>(self, s: &str) -> std::result::Result<Value, E> {
        Ok(s.into())
    }

    fn visit_string<E>(self, s: String) -> std::result::Result<Value, E> {
        Ok(Value::String(s))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Value, A::Error> {
        let mut map = Object::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Strict)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice in one object"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: &str, read: impl FnOnce(&mut Fields)) -> Vec<String> {
        let result = Fields::of_body(body.as_bytes()).and_then(|mut f| {
            read(&mut f);
            f.finish()
        });
        match result {
            Err(Error::Invalid(faults)) => {
                faults.iter().map(|f| format!("{} {}", f.kind, serde_json::to_string(&f.loc).unwrap_or_default())).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let body = r#"{"id": "a b", "ttl": 5, "labels": {"k": 1, "": "v"}, "roles": ["x", 2], "flag": "yes", "big": 1e300}"#;
        let found = faults(body, |f| {
            f.id("id").required();
            f.int("ttl", 60..=100).or(60);
            f.labels("labels").optional();
            f.words("roles").optional();
            f.flag("flag").optional();
            f.int("big", 0..=9).optional();
            f.name("name").required();
        });
        assert_eq!(
            found,
            [
                r#"string_pattern_mismatch ["body","id"]"#,
                r#"greater_than_equal ["body","ttl"]"#,
                r#"string_too_short ["body","labels",""]"#,
                r#"string_type ["body","labels","k"]"#,
                r#"string_type ["body","roles",1]"#,
                r#"bool_type ["body","flag"]"#,
                r#"less_than_equal ["body","big"]"#,
                r#"missing ["body","name"]"#,
            ]
        );
    }

    #[test]
    fn hostile_json_is_named_and_refused() {
        let deep = "[".repeat(200_000);
        for (body, want) in [
            ("", r#"missing ["body"]"#),
            ("[1]", r#"model_attributes_type ["body"]"#),
            ("{\"a\":NaN}", r#"json_invalid ["body",5]"#),
            ("{\"a\":1,\"a\":2}", r#"json_invalid ["body",12]"#),
            ("{\"a\":\"\\ud800\"}", r#"json_invalid ["body",12]"#),
            ("{\"a\":1} x", r#"json_invalid ["body",8]"#),
            ("{\n\"a\": 1e999}", r#"json_invalid ["body",11]"#),
        ] {
            assert_eq!(faults(body, |_| ()), [want], "{body}");
        }
        assert_eq!(faults(&deep, |_| ()), [r#"json_invalid ["body",127]"#]);
        assert!(faults("\u{feff}{}", |_| ())[0].starts_with("json_invalid"));
    }

    #[test]
    fn null_is_absent_where_absence_is_allowed() {
        assert_eq!(faults(r#"{"a": null}"#, |f| assert_eq!(f.int("a", 0..=1).optional(), None)), [""; 0]);
        assert_eq!(faults(r#"{"a": null}"#, |f| drop(f.name("a").required())), [r#"string_type ["body","a"]"#]);
    }
}
