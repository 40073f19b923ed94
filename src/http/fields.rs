//! Reads a request's fields one by one, with their bounds, and collects EVERY fault with its place before any action.
//!
//! ```text
//! let mut f = Fields::of_body(&request.body)?;
//! let id = f.id("id").required();
//! let ttl_s = f.int("ttl_seconds", 60..=86_400).or(1800);
//! f.finish()?;
//! ```
//! A wrong value is replaced by an empty one until `finish` refuses the request. Unknown fields are ignored; `null`
//! counts as absent for an optional field and as a wrong type for a required one.

use super::describe;
use super::json::{self, invalid};
use crate::clock::Timestamp;
use crate::error::{Error, FieldFault, Loc, Result};
use crate::json::float;
use crate::model::Object;
use crate::model::ids::{self, Id};
use crate::model::specs::count_of;
use crate::text::{self, is_invisible};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::IntErrorKind;
use std::ops::RangeInclusive;

/// Maximum length of a faulty input in the answer.
const INPUT_CHARS_MAX: usize = 200;
/// Faults reported at once.
const FAULTS_MAX: usize = 100;
/// Maximum labels of an object.
const LABELS_MAX: usize = 64;
/// Maximum words of a list.
const WORDS_MAX: usize = 32;

/// Type and sentence for a value of the wrong type.
type WrongType = (&'static str, &'static str);
const NO_TEXT: WrongType = ("string_type", "Input should be a valid string");
const NO_INT: WrongType = ("int_type", "Input should be a valid integer");
const NO_FLAG: WrongType = ("bool_type", "Input should be a valid boolean");
const NO_OBJECT: WrongType = ("dict_type", "Input should be a valid dictionary");
const NO_LIST: WrongType = ("list_type", "Input should be a valid list");

/// The fields of a request and their faults.
pub struct Fields<'b> {
    place: &'static str,
    /// Location of these fields in the body.
    inside: Vec<Loc>,
    values: Object,
    raw: &'b [u8],
    faults: Vec<FieldFault>,
}

/// A field that was read; the caller says what its absence means.
pub struct Got<'f, 'b, T> {
    fields: &'f mut Fields<'b>,
    name: &'static str,
    value: Option<T>,
    /// Set if a fault was already found; the invalid input.
    faulty: bool,
    null: Option<WrongType>,
}

impl<T> Got<'_, '_, T> {
    /// The value, if present.
    pub fn optional(self) -> Option<T> {
        self.value
    }

    /// The value, or a default.
    pub fn or(self, default: T) -> T {
        self.value.unwrap_or(default)
    }

    /// The value; its absence is a fault.
    pub fn required(self) -> T
    where
        T: Default,
    {
        self.required_with(T::default())
    }

    /// The value; its absence is a fault, and `stand_in` replaces it until `finish` refuses the request.
    pub fn required_with(self, stand_in: T) -> T {
        if describe::is_active() {
            describe::require(self.fields.place, &self.fields.path_of(self.name));
        } else if self.value.is_none() && !self.faulty {
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
    fn new(place: &'static str, values: Object, raw: &'b [u8]) -> Fields<'b> {
        Fields { place, inside: Vec::new(), values, raw, faults: Vec::new() }
    }

    /// Fields of a required JSON body.
    pub fn of_body(body: &'b [u8]) -> Result<Fields<'b>> {
        if describe::is_active() {
            describe::note("body", Vec::new, || Value::Null, true);
            return Ok(Fields::new("body", Object::new(), b"{}"));
        }
        if is_blank(body) {
            return Err(invalid("missing", vec!["body".into()], "Field required", Value::Null));
        }
        match json::parse(body)? {
            Value::Object(values) => Ok(Fields::new("body", values, text::without_mark(body))),
            other => {
                let msg = "Input should be a valid dictionary or object to extract fields from";
                Err(invalid("model_attributes_type", vec!["body".into()], msg, shown(&other)))
            }
        }
    }

    /// Fields of an optional JSON body.
    pub fn of_optional_body(body: &'b [u8]) -> Result<Fields<'b>> {
        if describe::is_active() {
            describe::note("body", Vec::new, || Value::Null, false);
            return Ok(Fields::new("body", Object::new(), b"{}"));
        }
        match is_blank(body) || text::without_mark(body).trim_ascii() == b"null" {
            true => Ok(Fields::new("body", Object::new(), b"{}")),
            false => Fields::of_body(body),
        }
    }

    /// Parameters of a query, as text; the last of repeated ones counts.
    pub fn of_query(pairs: Vec<(String, String)>) -> Fields<'static> {
        let values = pairs.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
        Fields::new("query", values, b"")
    }

    /// These fields, below a path with an id: faults of both are reported together.
    pub fn at(fields: Result<Fields<'b>>, name: &str, id: &str) -> Result<Fields<'b>> {
        let path = match path_fault(name, id) {
            None => return fields,
            Some(fault) => fault,
        };
        match fields {
            Ok(mut fields) => {
                fields.faults.push(path);
                Ok(fields)
            }
            Err(Error::Invalid(of_fields)) => Err(Error::Invalid([vec![path], of_fields].concat())),
            Err(other) => Err(other),
        }
    }

    /// Checks an id in the path.
    pub fn path_id<I: Id>(name: &str, text: &str) -> Result<I> {
        if let Some(fault) = path_fault(name, text) {
            return Err(Error::Invalid(vec![fault]));
        }
        I::parse(text).filter(|_| !describe::is_active()).ok_or(Error::Invalid(Vec::new()))
    }

    /// Refuses the request if there are faults.
    pub fn finish(self) -> Result<()> {
        if self.faults.is_empty() && !describe::is_active() { Ok(()) } else { Err(Error::Invalid(self.faults)) }
    }

    /// Adds a fault that only the caller can detect.
    pub fn fault(&mut self, kind: &'static str, at: Vec<Loc>, msg: String, input: &Value) {
        if self.faults.len() < FAULTS_MAX {
            let mut loc = vec![self.place.into()];
            loc.extend(self.inside.iter().cloned());
            loc.extend(at);
            self.faults.push(FieldFault { kind, loc, msg, input: shown(input) });
        }
    }

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

    /// A JSON object with any content.
    pub fn object(&mut self, name: &'static str) -> Got<'_, 'b, Object> {
        self.note(name, || json!({ "type": "object" }));
        self.read(name, NO_OBJECT, |f, v| match v {
            Value::Object(map) => Some(map),
            other => f.wrong(NO_OBJECT, vec![name.into()], &other),
        })
    }

    /// A JSON object whose fields are read by `read`; other fields are kept and ignored.
    pub fn nested<T>(&mut self, name: &'static str, mut read: impl FnMut(&mut Fields) -> T) -> Got<'_, 'b, T> {
        self.note(name, || json!({ "type": "object" }));
        if describe::is_active() {
            self.inner(vec![name.into()], Object::new(), &mut read);
        }
        self.read(name, NO_OBJECT, |f, v| match v {
            Value::Object(map) => Some(f.inner(vec![name.into()], map, &mut read)),
            other => f.wrong(NO_OBJECT, vec![name.into()], &other),
        })
    }

    /// Like [`Fields::nested`], but a value of another type counts as absent.
    pub fn lenient_nested<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Fields) -> T) -> Option<T> {
        self.note(name, || json!({}));
        match self.values.get(name) {
            _ if describe::is_active() => Some(self.inner(vec![name.into()], Object::new(), read)),
            Some(Value::Object(map)) => {
                let map = map.clone();
                Some(self.inner(vec![name.into()], map, read))
            }
            _ => None,
        }
    }

    /// A list of at most `items_max` items, each read by `read`.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        items_max: usize,
        mut read: impl FnMut(&mut Fields, Value) -> T,
    ) -> Got<'_, 'b, Vec<T>> {
        self.note(name, || json!({ "type": "array", "maxItems": items_max }));
        if describe::is_active() {
            self.inner(vec![name.into(), "[]".into()], Object::new(), |f| read(f, Value::Object(Object::new())));
        }
        self.read(name, NO_LIST, |f, v| {
            let Value::Array(items) = v else { return f.wrong(NO_LIST, vec![name.into()], &v) };
            if items.len() > items_max {
                let msg = format!("List should have at most {items_max} items");
                return f.wrong(("list_type", &msg), vec![name.into()], &items.len().into());
            }
            let mut all = Vec::with_capacity(items.len());
            for (i, item) in items.into_iter().enumerate() {
                let values = item.as_object().cloned().unwrap_or_default();
                all.push(f.inner(vec![name.into(), Loc::Index(i)], values, |f| read(f, item)));
            }
            Some(all)
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

    /// All values as received.
    pub fn whole(&self) -> &Object {
        &self.values
    }

    /// Describes an item of a list, in addition to the fields read from it.
    pub fn describe_item(&self, schema: impl FnOnce() -> Value) {
        let (place, mut at) = (self.place, self.path_of(""));
        at.pop();
        describe::note(place, || at, schema, false);
    }

    /// The raw text of a field in the body.
    pub fn raw(&self, name: &str) -> Option<&'b str> {
        let all: BTreeMap<String, &'b RawValue> = serde_json::from_slice(self.raw).ok()?;
        all.get(name).map(|raw| raw.get())
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

    fn read<T>(
        &mut self,
        name: &'static str,
        null: WrongType,
        parse: impl FnOnce(&mut Self, Value) -> Option<T>,
    ) -> Got<'_, 'b, T> {
        let before = self.faults.len();
        let came = self.values.get(name).cloned();
        let null = (came == Some(Value::Null)).then_some(null);
        let value = came.filter(|v| !v.is_null()).and_then(|v| parse(self, v));
        let faulty = self.faults.len() > before;
        Got { fields: self, name, value, faulty, null }
    }

    /// Reads the fields of a nested object and collects its faults here.
    fn inner<T>(&mut self, at: Vec<Loc>, values: Object, read: impl FnOnce(&mut Fields) -> T) -> T {
        let inside = self.inside.iter().cloned().chain(at).collect();
        let mut inner =
            Fields { place: self.place, inside, values, raw: b"", faults: std::mem::take(&mut self.faults) };
        let value = read(&mut inner);
        self.faults = inner.faults;
        value
    }

    /// Names of the path to a field.
    fn path_of(&self, name: &str) -> Vec<String> {
        let step = |loc: &Loc| match loc {
            Loc::Name(name) => name.clone(),
            Loc::Index(_) => "[]".to_string(),
        };
        self.inside.iter().map(step).chain([name.to_string()]).collect()
    }

    fn note(&self, name: &str, schema: impl FnOnce() -> Value) {
        describe::note(self.place, || self.path_of(name), schema, false);
    }

    fn wrong<T>(&mut self, (kind, msg): (&'static str, &str), at: Vec<Loc>, input: &Value) -> Option<T> {
        self.fault(kind, at, msg.to_string(), input);
        None
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

/// The fault of an id in the path, if any.
fn path_fault(name: &str, text: &str) -> Option<FieldFault> {
    describe::note("path", || vec![name.to_string()], || json!({ "type": "string", "pattern": ids::PATTERN }), true);
    if describe::is_active() || ids::is_id(text) {
        return None;
    }
    let msg = format!("String should match pattern '{}'", ids::PATTERN);
    Some(FieldFault {
        kind: "string_pattern_mismatch",
        loc: vec!["path".into(), name.into()],
        msg,
        input: shown(&Value::String(text.into())),
    })
}

/// True if a body is empty.
fn is_blank(body: &[u8]) -> bool {
    text::without_mark(body).iter().all(u8::is_ascii_whitespace)
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

/// Below this, a whole float is exact.
const WHOLE_MAX: f64 = 9e15;

/// Control characters, and those that reorder or hide text.
fn unprintable(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

/// A faulty input, shortened for the answer.
fn shown(input: &Value) -> Value {
    let long = |text: &str| text.chars().count() > INPUT_CHARS_MAX;
    match input {
        Value::String(text) if long(text) => {
            Value::String(text.chars().take(INPUT_CHARS_MAX).chain("...".chars()).collect())
        }
        Value::Array(_) | Value::Object(_) if long(&input.to_string()) => Value::String("(long)".into()),
        other => other.clone(),
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
            Err(Error::Invalid(faults)) => faults
                .iter()
                .map(|f| format!("{} {}", f.kind, serde_json::to_string(&f.loc).unwrap_or_default()))
                .collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let body =
            r#"{"id": "a b", "ttl": 5, "labels": {"k": 1, "": "v"}, "roles": ["x", 2], "flag": "yes", "big": 1e300}"#;
        let found = faults(body, |f| {
            f.id::<String>("id").required();
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
            ("{\n\"a\": 1e}", r#"json_invalid ["body",9]"#),
        ] {
            assert_eq!(faults(body, |_| ()), [want], "{body}");
        }
        assert_eq!(faults(&deep, |_| ()), [r#"json_invalid ["body",100]"#]);
        assert_eq!(faults("\u{feff}{\"a\":NaN}", |_| ()), [r#"json_invalid ["body",8]"#]);
        assert_eq!(faults("\u{feff}\u{feff}{}", |_| ()), [r#"json_invalid ["body",3]"#]);
        assert_eq!(faults("\u{feff} \r\n", |_| ()), [r#"missing ["body"]"#]);
        let values = |count: usize| format!("{{\"a\":[{}0]}}", "{\"\":0},".repeat(count / 2));
        assert_eq!(faults(&values(19_000), |_| ()), [""; 0]);
        assert!(faults(&values(21_000), |_| ())[0].starts_with("json_invalid"), "small values take much memory");
    }

    #[test]
    fn a_byte_order_mark_before_a_body_is_no_part_of_it() {
        let body = "\u{feff}{\r\n\"patch\": {\"a\": 1E5}}\r\n".as_bytes();
        let fields = Fields::of_body(body).expect("a sound body");
        assert_eq!(fields.raw("patch"), Some(r#"{"a": 1E5}"#));
        assert!(Fields::of_optional_body("\u{feff}null\r\n".as_bytes()).is_ok());
        let wide: Vec<u8> = "{\"a\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for body in [&wide[..], &[&b"\xff\xfe"[..], &wide].concat()] {
            let Err(Error::Invalid(said)) = Fields::of_body(body) else { panic!("it was accepted") };
            assert!(said[0].kind == "json_invalid" && said[0].msg.contains("UTF-16"), "{}", said[0].msg);
        }
    }

    #[test]
    fn null_is_absent_where_absence_is_allowed() {
        assert_eq!(faults(r#"{"a": null}"#, |f| assert_eq!(f.int("a", 0..=1).optional(), None)), [""; 0]);
        assert_eq!(faults(r#"{"a": null}"#, |f| drop(f.name("a").required())), [r#"string_type ["body","a"]"#]);
    }
}
