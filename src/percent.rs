//! Percent-encoding of URL parts. The callers split a path or a query into parts first: decoding earlier would let
//! `%2F` change the meaning of a path.

use std::fmt::Write;

/// Decodes one part of a path. `None` for a malformed escape or for bytes that are not UTF-8.
pub fn decode(part: &str) -> Option<String> {
    let mut out = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            out.push(escaped(tail)?);
            rest = &tail[2..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(out).ok()
}

/// Decodes one name or value of a form or a query: `+` is a space, a malformed escape is kept, and bytes that are not
/// UTF-8 become U+FFFD. Browsers do the same, and the value is validated later anyway.
pub fn decode_form(part: &[u8]) -> String {
    let mut out = Vec::with_capacity(part.len());
    let mut rest = part;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match escaped(tail) {
                Some(value) => {
                    out.push(value);
                    rest = &tail[2..];
                }
                None => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Encodes text as one path segment or query value: escapes everything except unreserved characters, including `/`.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The byte of two hexadecimal digits.
fn escaped(digits: &[u8]) -> Option<u8> {
    let nibble = |i: usize| char::from(*digits.get(i)?).to_digit(16);
    u8::try_from(nibble(0)? * 16 + nibble(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        for text in ["", "node-a", "/ui?x=1&y", "100 %", "ä\u{1F600}\0"] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
        assert_eq!(encode("/ui"), "%2Fui");
    }

    #[test]
    fn a_path_refuses_what_a_form_tolerates() {
        for bad in ["%", "%4", "%zz", "%+1", "a%ff"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(decode("a+b").as_deref(), Some("a+b"));
        assert_eq!(decode_form(b"a+b%20c%2b%zz%4"), "a b c+%zz%4");
        assert_eq!(decode_form(b"%ff"), "\u{fffd}");
    }
}
