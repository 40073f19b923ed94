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

mod got;
mod kinds;

pub use got::Got;

use super::describe;
use super::json::{self, invalid};
use crate::error::{Error, FieldFault, Loc, Result};
use crate::model::Object;
use crate::model::ids::{self, Id};
use crate::text;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Maximum length of a faulty input in the answer.
const INPUT_CHARS_MAX: usize = 200;
/// Faults reported at once.
const FAULTS_MAX: usize = 100;
/// Type and sentence for a value of the wrong type.
type WrongType = (&'static str, &'static str);
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

    /// Describes a field that [`Fields::whole`] gives, by its path in these fields.
    pub fn describe_field(&self, path: &str, schema: impl FnOnce() -> Value) {
        let inside = || self.path_of(path).iter().flat_map(|name| name.split('.')).map(str::to_string).collect();
        describe::note(self.place, inside, schema, false);
    }

    /// The raw text of a field in the body.
    pub fn raw(&self, name: &str) -> Option<&'b str> {
        let all: BTreeMap<String, &'b RawValue> = serde_json::from_slice(self.raw).ok()?;
        all.get(name).map(|raw| raw.get())
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
