//! Line of a fault in the text of a spec, found by the fault's path.

use crate::error::{FieldFault, Loc};

/// Line, from 0, on which a value of a JSON text begins. If the path leads further, the line of its nearest parent.
/// The text is JSON.
pub(super) fn line_of(text: &str, path: &[Loc]) -> usize {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    scan.space();
    let mut best = scan.at;
    for step in path {
        let found = match step {
            Loc::Name(name) => scan.enter_object(name),
            Loc::Index(index) => scan.enter_list(*index),
        };
        if !found {
            break;
        }
        best = scan.at;
    }
    line_at(text, best)
}

/// The line of a byte.
pub(super) fn line_at(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
}

/// Path of a fault inside the spec; `None` for a fault elsewhere.
pub(super) fn inside(fault: &FieldFault) -> Option<&[Loc]> {
    match fault.loc.get(..2) {
        Some([Loc::Name(body), Loc::Name(spec)]) if body == "body" && spec == "spec" => Some(&fault.loc[2..]),
        _ => None,
    }
}

struct Scan<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Scan<'_> {
    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn is(&self, byte: u8) -> bool {
        self.bytes.get(self.at) == Some(&byte)
    }

    /// Moves to the value of a field; stays if there is none.
    fn enter_object(&mut self, name: &str) -> bool {
        let start = self.at;
        if !self.is(b'{') {
            return false;
        }
        self.at += 1;
        while self.at < self.bytes.len() {
            self.space();
            if !self.is(b'"') {
                break;
            }
            let key_at = self.at;
            self.value();
            let key = serde_json::from_slice::<String>(&self.bytes[key_at..self.at]).unwrap_or_default();
            self.space();
            self.at += 1;
            self.space();
            if key == name {
                return true;
            }
            self.value();
            self.space();
            self.at += 1;
        }
        self.at = start;
        false
    }

    /// Moves to an item of a list; stays if there is none.
    fn enter_list(&mut self, index: usize) -> bool {
        let start = self.at;
        if !self.is(b'[') {
            return false;
        }
        self.at += 1;
        self.space();
        for _ in 0..index {
            self.value();
            self.space();
            if !self.is(b',') {
                self.at = start;
                return false;
            }
            self.at += 1;
            self.space();
        }
        true
    }

    /// Moves past a value.
    fn value(&mut self) {
        let mut depth = 0;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    while self.at < self.bytes.len() && !self.is(b'"') {
                        self.at += if self.is(b'\\') { 2 } else { 1 };
                    }
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => return,
                b'}' | b']' => depth -= 1,
                b',' | b':' if depth == 0 => return,
                byte if depth == 0 && byte.is_ascii_whitespace() => return,
                _ => {}
            }
            let ends = depth == 0 && matches!(byte, b'"' | b'}' | b']');
            self.at = (self.at + 1).min(self.bytes.len());
            if ends {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_line() {
        let text = "{\n  \"a\\\"\": [1, {\"x\": \"}\"}],\n  \"ports\": [\n    80,\n    {\n      \"host_port\": 0\n    \
            }\n  ],\n  \"b\": {}\n}";
        let name = |n: &str| Loc::Name(n.to_string());
        for (path, line) in [
            (vec![name("ports"), Loc::Index(0)], 3),
            (vec![name("ports"), Loc::Index(1), name("host_port")], 5),
            (vec![name("ports"), Loc::Index(1), name("absent")], 4),
            (vec![name("ports"), Loc::Index(9)], 2),
            (vec![name("b")], 8),
            (vec![name("a\""), Loc::Index(1), name("x")], 1),
            (vec![name("none")], 0),
            (vec![], 0),
        ] {
            assert_eq!(line_of(text, &path), line, "{path:?}");
        }
        for text in ["", "{", "[", "{\"a\"", "{\"a\":", "{\"a\":[", "\"", "{\"\\"] {
            line_of(text, &[name("a"), Loc::Index(1)]);
        }
    }
}
