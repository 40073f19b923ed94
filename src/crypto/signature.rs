//! The bytes that a node signs, and the canonical form of JSON in them.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Maximum nesting depth; request bodies allow less.
const DEPTH_MAX: usize = 127;

/// The bytes under a heartbeat's signature: `node_id LF lease_token LF signed_at LF ttl_seconds LF
/// canonical(status_patch)`.
pub fn heartbeat_message(node_id: &str, lease_token: &str, signed_at: i64, ttl_s: i64, canonical: &str) -> Vec<u8> {
    format!("{node_id}\n{lease_token}\n{signed_at}\n{ttl_s}\n{canonical}").into_bytes()
}

/// The bytes under a renewal's signature: `node_id LF renew LF signed_at LF sha256hex(csr_pem)`.
pub fn renewal_message(node_id: &str, signed_at: i64, csr_pem: &str) -> Vec<u8> {
    format!("{node_id}\nrenew\n{signed_at}\n{}", super::sha256_hex(csr_pem.as_bytes())).into_bytes()
}

/// A call that a node signs, with parts that both ends know exactly.
pub struct NodeCall<'c> {
    /// The node.
    pub node_id: &'c str,
    /// Its lease token.
    pub lease_token: &'c str,
    /// Signing time in epoch milliseconds.
    pub signed_at_ms: i64,
    /// The agent's run as in `model::node_calls`; empty if there is none.
    pub run: &'c str,
    /// The method in upper case.
    pub method: &'c str,
    /// Path and query exactly as sent, without the base path below which a proxy serves the server: a proxy may strip
    /// it, so it is the only part of the target that the two ends see differently.
    pub target: &'c str,
    /// The body as it is sent.
    pub body: &'c [u8],
}

impl NodeCall<'_> {
    /// The signed bytes: `node_id LF request LF lease_token LF signed_at_ms LF run LF method LF target LF
    /// sha256hex(body)`. The second line distinguishes it from heartbeats and renewals, which the same key signs.
    pub fn message(&self) -> Vec<u8> {
        let NodeCall { node_id, lease_token, signed_at_ms, run, method, target, body } = self;
        let digest = super::sha256_hex(body);
        format!("{node_id}\nrequest\n{lease_token}\n{signed_at_ms}\n{run}\n{method}\n{target}\n{digest}").into_bytes()
    }
}

/// Canonical JSON: compact, keys sorted by code point at every depth, every non-ASCII character and DEL as `\uHHHH`,
/// numbers exactly as written. Fails with a sentence on JSON that two readers could interpret differently.
pub fn canonical(json: &str) -> Result<String, String> {
    let mut out = String::with_capacity(json.len());
    write(json, &mut out, DEPTH_MAX)?;
    Ok(out)
}

/// The canonical form that agents of 2.0.0 signed, if it differs: they did not escape DEL.
pub fn with_bare_del(canonical: &str) -> Option<String> {
    let (mut out, mut rest) = (String::with_capacity(canonical.len()), canonical);
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix("u007f") {
            out.push('\u{7f}');
            rest = after;
        } else {
            // Skips the escaped character too, because it may be a backslash. The form is ASCII.
            let (escaped, after) = after.split_at(after.len().min(1));
            out.push('\\');
            out.push_str(escaped);
            rest = after;
        }
    }
    out.push_str(rest);
    (out != canonical).then_some(out)
}

fn write(json: &str, out: &mut String, depth: usize) -> Result<(), String> {
    let json = json.trim_matches([' ', '\t', '\n', '\r']);
    let deeper = || depth.checked_sub(1).ok_or("JSON is nested too deep");
    match json.as_bytes().first() {
        Some(b'{') => {
            let Entries(entries) = parse(json)?;
            let depth = deeper()?;
            out.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                text(key, out);
                out.push(':');
                write(value.get(), out, depth)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = parse(json)?;
            let depth = deeper()?;
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item.get(), out, depth)?;
            }
            out.push(']');
        }
        Some(b'"') => text(&parse::<String>(json)?, out),
        _ => {
            let _: &RawValue = parse(json)?;
            out.push_str(json);
        }
    }
    Ok(())
}

fn parse<'j, T: Deserialize<'j>>(json: &'j str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|e| e.to_string())
}

/// An object's entries by key. Rust compares strings by their UTF-8 bytes, which is code point order.
struct Entries<'j>(BTreeMap<String, &'j RawValue>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    if entries.insert(key, value).is_some() {
                        return Err(serde::de::Error::custom("a key stands twice in one object"));
                    }
                }
                Ok(Entries(entries))
            }
        }
        d.deserialize_map(Visitor)
    }
}

fn text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_is_that_of_the_contract() {
        for (json, want) in [
            (" { \"b\" : 1 , \"a\" : [ true , null , { } ] } ", r#"{"a":[true,null,{}],"b":1}"#),
            (
                r#"{"n":[1.0,1e5,1E+2,-0,0.10,123456789012345678901234567890]}"#,
                r#"{"n":[1.0,1e5,1E+2,-0,0.10,123456789012345678901234567890]}"#,
            ),
            (
                "\"\u{e9}\u{1f600}/\u{7f}\\u0001\\b\\f\\n\\r\\t\\\"\\\\\"",
                "\"\\u00e9\\ud83d\\ude00/\\u007f\\u0001\\b\\f\\n\\r\\t\\\"\\\\\"",
            ),
            // By code point U+FFFF comes before U+1F600; by UTF-16 unit it would not.
            ("{\"\u{1f600}\":1,\"\u{ffff}\":2,\"\\u0061\":3}", r#"{"a":3,"\uffff":2,"\ud83d\ude00":1}"#),
            (r#"{"a":{"c":1,"b":{"e":1,"d":2}}}"#, r#"{"a":{"b":{"d":2,"e":1},"c":1}}"#),
        ] {
            assert_eq!(canonical(json).as_deref(), Ok(want), "{json}");
        }
    }

    /// The table was generated with Python's `json.dumps`, as it says itself.
    #[test]
    fn the_canonical_form_is_that_of_v1s_clients() {
        let table = include_str!("../../tests/canonical/python.txt");
        let (mut count, mut all) = (0, Vec::new());
        for (code, want) in table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '))
        {
            let json = match u32::from_str_radix(code, 16).ok().and_then(char::from_u32) {
                None => format!("{{{}}}", all.join(",")),
                Some(c) => {
                    let escaped: String =
                        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect();
                    assert_eq!(canonical(&format!("{{\"{escaped}\":[\"{escaped}\"]}}")).as_deref(), Ok(want), "{code}");
                    let bare = serde_json::to_string(&c).expect("a text");
                    all.insert(count / 2, format!("{bare}:\"{code}\""));
                    format!("{{{bare}:[{bare}]}}")
                }
            };
            assert_eq!(canonical(&json).as_deref(), Ok(want), "{code}");
            count += 1;
        }
        assert_eq!(count, 256 + 5 + 1);
    }

    #[test]
    fn agents_of_2_0_0_sign_del_as_it_is() {
        let form = canonical(r#"{"\u007f":"\\u007f\u007F\\\u007f\"\u0080"}"#).expect("sound JSON");
        assert_eq!(form, r#"{"\u007f":"\\u007f\u007f\\\u007f\"\u0080"}"#);
        assert_eq!(with_bare_del(&form).as_deref(), Some("{\"\u{7f}\":\"\\\\u007f\u{7f}\\\\\u{7f}\\\"\\u0080\"}"));
        assert_eq!(with_bare_del(r#"{"a":"\\u007f\n"}"#), None);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            "",
            "{",
            "NaN",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1,\"\\u0061\":2}",
            "\"\\ud800\"",
            "[1,]",
            "01",
            "1 2",
            "{'a':1}",
            &"[".repeat(100_000),
        ] {
            assert!(canonical(bad).is_err(), "{bad}");
        }
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(canonical(&nested(120)).is_ok() && canonical(&nested(200)).is_err());
    }

    #[test]
    fn a_call_is_signed_with_all_that_it_says() {
        let call = NodeCall {
            node_id: "n",
            lease_token: "t.s",
            signed_at_ms: 5,
            run: "a/b",
            method: "GET",
            target: "/node/self?x=1",
            body: b"abc",
        };
        let digest = crate::crypto::sha256_hex(b"abc");
        assert_eq!(call.message(), format!("n\nrequest\nt.s\n5\na/b\nGET\n/node/self?x=1\n{digest}").into_bytes());
    }

    #[test]
    fn a_heartbeat_message_is_five_lines() {
        assert_eq!(heartbeat_message("n", "t", 5, 45, "{}"), b"n\nt\n5\n45\n{}");
    }
}
