//! Removes known texts from output, in every form in which they may appear.

use crate::percent;
use std::collections::HashMap;

/// Replacement for a known text.
pub const MARK: &str = "[redacted]";
/// Minimum length of a known text, in bytes: a shorter one would be found in every other word.
const KNOWN_BYTES_MIN: usize = 4;
/// Maximum number of known texts: four thousand services with twenty values each.
const KNOWN_MAX: usize = 100_000;
/// Length of the prefix by which known texts are found, in bytes.
const HEAD: usize = 4;

/// Known texts: secrets of the server, or text that people wrote.
#[derive(Default)]
pub struct Redactor {
    by_head: HashMap<[u8; HEAD], Vec<Vec<u8>>>,
    count: usize,
}

impl Redactor {
    /// Adds a text, in every form in which it may appear.
    pub fn add(&mut self, text: &str) {
        let text = text.trim();
        let json = serde_json::to_string(text).unwrap_or_default();
        let logged: String = text
            .chars()
            .map(|c| if c == ' ' || c.is_ascii_graphic() { c.to_string() } else { c.escape_default().to_string() })
            .collect();
        for form in [text, json.trim_matches('"'), &logged, &percent::encode(text)] {
            self.keep(form.as_bytes());
        }
    }

    fn keep(&mut self, form: &[u8]) {
        let Some(head) = form.first_chunk::<HEAD>() else { return };
        if form.len() < KNOWN_BYTES_MIN || self.count >= KNOWN_MAX {
            return;
        }
        let same = self.by_head.entry(*head).or_default();
        if !same.iter().any(|known| known == form) {
            // The longest is tried first, because one may be the beginning of another.
            let at = same.partition_point(|known| known.len() > form.len());
            same.insert(at, form.to_vec());
            self.count += 1;
        }
    }

    /// Replaces known texts.
    pub fn redact(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
        while at < bytes.len() {
            let rest = &bytes[at..];
            let found = rest
                .first_chunk::<HEAD>()
                .and_then(|head| self.by_head.get(head)?.iter().find(|known| rest.starts_with(known)));
            match found {
                Some(known) => {
                    out.extend_from_slice(MARK.as_bytes());
                    at += known.len();
                }
                None => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn known_text_is_found_in_every_form() {
        let secret = "p\"\u{e4}ss word/1\\";
        let mut redactor = Redactor::default();
        redactor.add(secret);
        for text in [
            secret.to_string(),
            json!({"a": secret}).to_string(),
            "x p\"\\u{e4}ss word/1\\ y".to_string(),
            percent::encode(secret),
        ] {
            let shown = redactor.redact(&text);
            assert!(
                shown.contains(MARK) && !shown.contains("ss word") && !shown.contains("ss%20word"),
                "{text}: {shown}"
            );
        }
        redactor.add("hunter2");
        redactor.add("hunter2-longer");
        assert_eq!(redactor.redact("hunter2-longer hunter2 hunt"), "[redacted] [redacted] hunt");
    }
}
