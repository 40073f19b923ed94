//! JSON whose numbers keep their text: `1.0`, `1E5`, `-0.0`, `1e400` and thirty digits are written as they were read.
//!
//! serde_json writes `1E5` as `1e+5`, whatever its features, so values of people and nodes are read here. Code that
//! reads JSON only for its own use may use serde_json.

use serde_json::{Map, Number, Value};

/// Nesting depth of stored JSON: serde_json reads as much.
const DEPTH_KEPT_MAX: usize = 127;

/// Keys with this prefix have a special meaning in serde_json: its readers would misread the value.
const RESERVED: &str = "$serde_json::private::";

/// A parse error and its position.
#[derive(Debug, PartialEq)]
pub struct Flaw {
    /// Byte offset where parsing stopped.
    pub at: usize,
    /// A few words.
    pub why: String,
}

/// Parses untrusted JSON: at most `values_max` values, at most `depth_max` deep, no repeated keys.
pub fn strict(text: &[u8], values_max: usize, depth_max: usize) -> Result<Value, Flaw> {
    let mut reader = Reader { text, at: 0, values_left: values_max };
    let value = reader.value(depth_max)?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => reader.flaw("trailing characters"),
    }
}

/// Parses stored JSON, or that of an answer.
pub fn kept(text: &str) -> Result<Value, Flaw> {
    strict(text.as_bytes(), usize::MAX, DEPTH_KEPT_MAX)
}

/// Parses a stored object; an empty one if it is anything else.
pub fn kept_object(text: &str) -> Map<String, Value> {
    match kept(text) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// A number for calculating; infinite where it is beyond 64 bits.
pub fn float(number: &Number) -> f64 {
    number.as_str().parse().unwrap_or(f64::NAN)
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.why, self.at)
    }
}

impl std::error::Error for Flaw {}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    values_left: usize,
}

impl Reader<'_> {
    fn flaw<T>(&self, why: &str) -> Result<T, Flaw> {
        Err(Flaw { at: self.at.min(self.text.len()), why: why.to_string() })
    }

    /// The next byte that is not white space, without consuming it.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Result<Value, Flaw> {
        match self.values_left.checked_sub(1) {
            Some(left) => self.values_left = left,
            None => return self.flaw("too many values in one body"),
        }
        match self.peek() {
            Some(b'{') => self.object(depth).map(Value::Object),
            Some(b'[') => self.list(depth).map(Value::Array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => self.flaw("expected value"),
            None => self.flaw("the text ends too early"),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Flaw> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return self.flaw("expected value");
        }
        self.at += word.len();
        Ok(value)
    }

    /// Consumes the opening bracket and returns the remaining depth.
    fn enter(&mut self, depth: usize) -> Result<usize, Flaw> {
        let Some(inside) = depth.checked_sub(1) else { return self.flaw("values are nested too deep") };
        self.at += 1;
        Ok(inside)
    }

    /// Consumes what follows an item; true if another item follows.
    fn has_next(&mut self, end: u8) -> Result<bool, Flaw> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => self.flaw("expected a comma or the end of the list or object"),
            None => self.flaw("the text ends too early"),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, Flaw> {
        let inside = self.enter(depth)?;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            items.push(self.value(inside)?);
            if !self.has_next(b']')? {
                return Ok(items);
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Map<String, Value>, Flaw> {
        let inside = self.enter(depth)?;
        let mut object = Map::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(object);
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.flaw("expected a key, a text in double quotes");
            }
            let key = self.string()?;
            if key.starts_with(RESERVED) {
                return self.flaw("a key is reserved");
            }
            if self.peek() != Some(b':') {
                return self.flaw("expected a colon");
            }
            self.at += 1;
            let value = self.value(inside)?;
            if object.insert(key, value).is_some() {
                return self.flaw("a key stands twice in one object");
            }
            if !self.has_next(b'}')? {
                return Ok(object);
            }
        }
    }

    /// A string; serde_json decodes its escapes.
    fn string(&mut self) -> Result<String, Flaw> {
        let start = self.at;
        self.at += 1;
        let mut is_plain = true;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_plain = false;
                    self.at += 2;
                }
                Some(0..b' ') => return self.flaw("a control character stands in a text as it is"),
                Some(_) => self.at += 1,
                None => return self.flaw("the text ends too early"),
            }
        }
        self.at += 1;
        let bare = &self.text[start + 1..self.at - 1];
        let read = match (std::str::from_utf8(bare), is_plain) {
            (Ok(text), true) => Ok(text.to_string()),
            (Ok(_), false) => serde_json::from_slice(&self.text[start..self.at]).map_err(|_| self.at - 1),
            (Err(e), _) => Err(start + 1 + e.valid_up_to()),
        };
        read.or_else(|at| {
            self.at = at;
            self.flaw("a string is not valid Unicode, or has an invalid escape")
        })
    }

    fn number(&mut self) -> Result<Number, Flaw> {
        let start = self.at;
        self.at += usize::from(self.text[self.at] == b'-');
        match self.text.get(self.at) {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.text.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        let text = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
        // Any other constructor would write the exponent differently.
        Ok(Number::from_string_unchecked(text))
    }

    /// One digit at least.
    fn digits(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { self.flaw("invalid number") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_as_they_were_written() {
        for number in [
            "0",
            "-0",
            "-0.0",
            "1.0",
            "1.10",
            "1E5",
            "1e5",
            "1e+5",
            "0.1e+1",
            "1E-0400",
            "1e400",
            "-1e-400",
            "18446744073709551616",
            "-123456789012345678901234567890",
            "0.30000000000000000000000000000004",
        ] {
            let text = format!("{{\"a\":[{number}],\"b\":{number}}}");
            let value = kept(&text).expect("sound JSON");
            assert_eq!(value.to_string(), text);
            assert_eq!(kept(&format!(" {number}\n")).expect("sound JSON").to_string(), number);
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "others read it too");
            assert_eq!(kept(&serde_json::to_string_pretty(&value).expect("JSON")), Ok(value));
        }
        let float = |text: &str| kept(text).ok().and_then(|v| v.as_number().map(float));
        assert_eq!(
            (float("1e400"), float("-1E400"), float("1E2")),
            (Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(100.0))
        );
    }

    /// Valid or not, serde_json agrees and reads the same value.
    #[test]
    fn what_is_sound_json_is_as_others_see_it() {
        for text in [
            "{}",
            "[]",
            " [ ] ",
            "{ }",
            "null",
            "true",
            "false",
            "\"\"",
            "[1,2]",
            "[[],{}]",
            "{\"a\":{\"b\":[null]}}",
            "\"\\u00e9\\n\\\\\"",
            "\"\\ud83d\\ude00\"",
            "\"\u{e9}\u{7f}\u{10ffff}\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "nul",
            "tru",
            "truex",
            "nan",
            "NaN",
            "Infinity",
            "-",
            "+1",
            "01",
            "-01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1.e5",
            "0x1",
            "1 2",
            "\"",
            "\"\\",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\n\"",
            "\"\0\"",
            "[",
            "{",
            "]",
            "}",
            "",
            " ",
            "[1}",
            "{\"a\":1]",
            "\u{a0}1",
            "1\u{a0}",
            "/**/1",
            "\"a\" \"b\"",
            "[\"\\u0000\"]",
            "--1",
            "1e5.0",
            "1ee5",
            "[-]",
            "{\"\":0}",
            "[1\u{b}]",
        ] {
            let plain = serde_json::from_str::<Value>(text);
            assert_eq!(kept(text).is_ok(), plain.is_ok(), "{text:?}");
            if let (Ok(own), Ok(plain)) = (kept(text), plain) {
                assert_eq!(own, plain, "{text:?}");
            }
        }
        assert!(strict(b"\"\xff\"", 9, 9).is_err() && strict(b"\"\\\"\xc3\"", 9, 9).is_err());
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let said = |text: &str| strict(text.as_bytes(), 5, 2).err().map(|flaw| (flaw.why, flaw.at));
        assert_eq!(said("[[1,2,3]]"), None);
        assert_eq!(said("[[1,2,3,4]]"), Some(("too many values in one body".into(), 8)));
        assert_eq!(said("[[[]]]"), Some(("values are nested too deep".into(), 2)));
        assert_eq!(said("{\"a\":1,\"\\u0061\":2}"), Some(("a key stands twice in one object".into(), 17)));
        assert_eq!(
            said("{\"$serde_json::private::Number\":\"1\"}").map(|said| said.0),
            Some("a key is reserved".into())
        );
        assert!(kept(&"[".repeat(100_000)).is_err());
    }
}
