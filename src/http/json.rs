//! JSON as it comes from strangers: read strictly, with the place of what is wrong.

use super::fields::invalid;
use crate::error::{Loc, Result};
use crate::model::Object;
use crate::text;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::cell::Cell;
use std::fmt;

/// Values in one body: each takes up to some hundred bytes of memory, so that a small body of nothing but `{"":0}` would take a
/// hundred times its own size. The largest sound body, a spec with a thousand pinned replicas, has some four thousand.
const VALUES_MAX: usize = 20_000;

/// Lists and objects inside each other. Readers of our answers take some 127, and an answer puts a few around what is kept: a node could
/// otherwise say of itself what no client can read in a list of nodes.
const DEPTH_MAX: usize = 100;

/// Keys that begin so mean something of their own to serde_json when it reads what is kept: the value would come back as another, or
/// not at all, and with it the whole list that it stands in.
const RESERVED: &str = "$serde_json::private::";

/// Parses JSON strictly: a repeated key is an error, because two readers of the same body must not disagree on what it says.
/// A byte order mark before it is no part of it.
pub fn parse(body: &[u8]) -> Result<Value> {
    let (text, faulty) = (text::unmarked(body), |offset: usize, why: &str| {
        invalid("json_invalid", vec!["body".into(), Loc::Index(offset)], &format!("JSON decode error: {why}"), Value::Object(Object::new()))
    });
    if text::is_wide(body) {
        return Err(faulty(0, "the body is UTF-16 or UTF-32, it should be UTF-8"));
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let left = Cell::new(VALUES_MAX);
    let parsed = Strict { left: &left, depth: DEPTH_MAX }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    parsed.map_err(|e| {
        let offset = body.len() - text.len() + byte_offset(text, e.line(), e.column());
        faulty(offset, without_place(&e.to_string()))
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

/// Builds a [`Value`] of at most so many values, at most so deep inside each other, refusing repeated keys.
#[derive(Clone, Copy)]
struct Strict<'c> {
    left: &'c Cell<usize>,
    depth: usize,
}

impl Strict<'_> {
    /// The same for what is one deeper.
    fn inside<E: serde::de::Error>(self) -> std::result::Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("values are nested too deep"))?;
        Ok(Strict { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> std::result::Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values in one body"))?;
        self.left.set(left);
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
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
        let (inside, mut list) = (self.inside()?, Vec::new());
        while let Some(item) = items.next_element_seed(inside)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Value, A::Error> {
        let (inside, mut map) = (self.inside()?, Object::new());
        while let Some(key) = entries.next_key::<String>()? {
            if key.starts_with(RESERVED) {
                return Err(A::Error::custom("a key is reserved"));
            }
            let value = entries.next_value_seed(inside)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice in one object"));
            }
        }
        Ok(Value::Object(map))
    }
}
