//! Taking secrets out of what is given away: by the name they stand under, by the shape they have, and by value wherever else they turn up.
//!
//! What is redacted once too often costs a reader a guess; what is forgotten costs a cluster. So every value of an environment goes,
//! whatever its name, and whatever was found to be a secret in one place goes in all places.

use crate::crypto::token;
use crate::percent;
use serde_json::Value;
use std::collections::HashMap;

/// What stands in a secret's place.
pub const MARK: &str = "[redacted]";
/// A value of fewer bytes is taken out where it stands and not looked for elsewhere: it would be found in every other word.
const KNOWN_BYTES_MIN: usize = 6;
/// Values that are looked for; those beyond are still taken out where they stand. Four thousand services with five secrets each.
const KNOWN_MAX: usize = 100_000;
/// First bytes by which known values are found.
const HEAD: usize = 4;
/// Levels of JSON that are looked into; what is deeper goes as a whole.
const DEPTH_MAX: usize = 64;

/// A name is that of a secret if, without its punctuation, it has one of these in it ...
const WORDS: [&str; 21] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "authorization",
    "cookie",
    "connectionstring",
    "databaseurl",
    "dsn",
    "setupcode",
    "webhook",
    "signature",
];
/// ... or ends with one of these.
const ENDS: [&str; 6] = ["pass", "key", "auth", "pin", "pw", "jwt"];
/// Tokens of widely used services tell by their beginning what they are; they are at least so long.
const TOKEN_BEGINNINGS: [&str; 15] = [
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "sk_live_",
    "rk_live_",
    "AKIA",
    "ASIA",
    "AGE-SECRET-KEY-",
    "hvs.",
];
const TOKEN_BYTES_MIN: usize = 16;
/// These look like it and are not: ids and names of things.
const HARMLESS: [&str; 9] =
    ["key", "publickey", "wgpublickey", "tokenid", "jointokenid", "apitokenid", "tokens", "apitokens", "jointokens"];
/// Everything under these is taken for a secret.
const ENVIRONMENTS: [&str; 4] = ["env", "environment", "envs", "envvars"];

/// What a value stands under.
#[derive(Clone, Copy, PartialEq)]
enum Under {
    Nothing,
    Environment,
    Secret,
}

/// The secrets that are known, and the art of finding more.
#[derive(Default)]
pub struct Redactor {
    by_head: HashMap<[u8; HEAD], Vec<Vec<u8>>>,
    count: usize,
}

impl Redactor {
    /// Learns a secret, in every form in which it may be written down.
    pub fn know(&mut self, secret: &str) {
        let secret = secret.trim();
        let json = serde_json::to_string(secret).unwrap_or_default();
        let logged: String =
            secret.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c.to_string() } else { c.escape_default().to_string() }).collect();
        for form in [secret, json.trim_matches('"'), &logged, &percent::encode(secret)] {
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
            // The longest is tried first: one secret may be the beginning of another.
            let at = same.partition_point(|known| known.len() > form.len());
            same.insert(at, form.to_vec());
            self.count += 1;
        }
    }

    /// Learns what stands in secret places of a value.
    pub fn learn(&mut self, value: &Value) {
        let mut found = Vec::new();
        let mut copy = value.clone();
        walk(&mut copy, Under::Nothing, 0, &mut |text, under| match under {
            Under::Secret => found.push(text.clone()),
            Under::Environment if looks_random(text) => found.push(text.clone()),
            Under::Environment | Under::Nothing => drop(shaped(text, &mut found)),
        });
        found.iter().for_each(|secret| self.know(secret));
    }

    /// Learns what has the shape of a secret in a text.
    pub fn learn_text(&mut self, text: &str) {
        let mut found = Vec::new();
        for line in text.lines() {
            shaped(line, &mut found);
        }
        found.iter().for_each(|secret| self.know(secret));
    }

    /// The value without its secrets.
    pub fn value(&self, mut value: Value) -> Value {
        let mut change = |text: &mut String, under| *text = if under == Under::Nothing { self.text(text) } else { MARK.to_string() };
        walk(&mut value, Under::Nothing, 0, &mut change);
        value
    }

    /// The text without its secrets.
    pub fn text(&self, text: &str) -> String {
        let known = self.known(text);
        shaped(&known, &mut Vec::new())
    }

    /// The text without the secrets that are known by value. The last pass over everything, names of fields too.
    pub fn known(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
        while at < bytes.len() {
            let rest = &bytes[at..];
            let found = rest.first_chunk::<HEAD>().and_then(|head| self.by_head.get(head)?.iter().find(|known| rest.starts_with(known)));
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

/// Whether what has this name is a secret.
pub fn is_secret_name(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    !HARMLESS.contains(&plain.as_str())
        && (plain == "sig" || WORDS.iter().any(|word| plain.contains(word)) || ENDS.iter().any(|end| plain.ends_with(end)))
}

/// Whether a value of an environment whose name says nothing is to be looked for elsewhere: keys are long and mixed, and names of nodes and
/// regions, which would be taken out everywhere, are not.
fn looks_random(text: &str) -> bool {
    let has = |is: fn(&char) -> bool| text.chars().any(|c| is(&c));
    text.len() >= 16 && has(char::is_ascii_digit) && has(char::is_ascii_alphabetic) && !text.contains(['/', ' '])
}

/// Whether a value that follows a secret's name in a text is to be looked for elsewhere: `password: should have ...` is no secret.
fn is_more_than_a_word(text: &str) -> bool {
    text.len() >= 12 || text.chars().any(|c| !c.is_ascii_lowercase())
}

/// Shows every text of a value to `visit`, with what it stands under.
fn walk(value: &mut Value, under: Under, depth: usize, visit: &mut dyn FnMut(&mut String, Under)) {
    if depth > DEPTH_MAX {
        *value = Value::from(MARK);
        return;
    }
    match value {
        Value::String(text) => visit(text, under),
        Value::Number(number) if under != Under::Nothing => {
            let mut text = number.to_string();
            visit(&mut text, under);
            *value = text.into();
        }
        Value::Array(items) => {
            // `["--password", "x"]`: a flag speaks of what follows it.
            let mut after_flag = false;
            for item in items {
                let flag = item.as_str().is_some_and(|t| t.starts_with('-') && !t.contains('=') && is_secret_name(t));
                match item {
                    // `["NAME=value"]`
                    Value::String(text) if under == Under::Environment && text.contains('=') => {
                        let (name, secret) = text.split_once('=').unwrap_or_default();
                        let (name, mut secret) = (name.to_string(), secret.to_string());
                        visit(&mut secret, if is_secret_name(&name) { Under::Secret } else { under });
                        *text = format!("{name}={secret}");
                    }
                    _ => walk(item, if after_flag { Under::Secret } else { under }, depth + 1, visit),
                }
                after_flag = flag;
            }
        }
        Value::Object(fields) => {
            // `{"name": "DB_PASSWORD", "value": "x"}`: one field names the other.
            let named = ["name", "key"].iter().find_map(|key| fields.get(*key)?.as_str().map(str::to_string));
            let pair = named.is_some() && fields.contains_key("value");
            let secret_pair = named.as_deref().is_some_and(is_secret_name);
            for (key, inside) in fields {
                let plain = key.to_ascii_lowercase();
                let under = match under {
                    Under::Secret => Under::Secret,
                    _ if pair && (plain == "name" || plain == "key") => Under::Nothing,
                    _ if pair && plain == "value" && secret_pair => Under::Secret,
                    Under::Environment if is_secret_name(key) => Under::Secret,
                    Under::Environment => Under::Environment,
                    Under::Nothing if ENVIRONMENTS.contains(&plain.as_str()) => Under::Environment,
                    Under::Nothing if is_secret_name(key) => Under::Secret,
                    Under::Nothing => Under::Nothing,
                };
                walk(inside, under, depth + 1, visit);
            }
        }
        _ => {}
    }
}

/// Whether a byte may stand in a name, a token or a flag.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Whether an unquoted value ends before this byte. A comma or a quote may be a part of it, so it goes with it.
fn is_end(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'&' | b'<' | b'>')
}

/// What of an unquoted value may be a sign after it.
const SIGNS: [char; 9] = [',', ';', '|', '\'', ')', '}', ']', '\\', '.'];

/// The text without what has the shape of a secret: private keys, the user's part of URLs, `name=value` and `name: value` under a secret's
/// name, what follows `Bearer`, and tokens of ours. What is taken out is put into `found`.
fn shaped(text: &str, found: &mut Vec<String>) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let rest = &text[at..];
        if let Some(end) = private_key(rest) {
            out.push_str(MARK);
            at += end;
        } else if let Some(authority) = rest.strip_prefix("://") {
            out.push_str("://");
            at += 3;
            let end = authority.find(|c: char| matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | '|') || c.is_whitespace());
            if let Some(user) = authority[..end.unwrap_or(authority.len())].rfind('@') {
                // The password alone may turn up elsewhere too.
                let (name, password) = authority[..user].split_once(':').unwrap_or((&authority[..user], ""));
                found.push(if password.is_empty() { name.to_string() } else { password.to_string() });
                out.push_str(MARK);
                at += user;
            }
        } else if is_word(bytes[at]) {
            let end = at + bytes[at..].iter().take_while(|b| is_word(**b)).count();
            let word = &text[at..end];
            let value = secret_after(word, &text[end..]).map(|(from, to)| (end + from, end + to));
            if let Some((from, to)) = value.filter(|(from, to)| to > from) {
                let (whole, bare) = (&text[from..to], text[from..to].split(SIGNS).next().unwrap_or_default());
                let forms = [whole, whole.trim_end_matches(SIGNS), bare];
                found.extend(forms.iter().filter(|value| is_more_than_a_word(value)).map(|value| value.to_string()));
                out.push_str(&text[at..from]);
                out.push_str(MARK);
                at = to;
            } else {
                let ours = is_token(word);
                if ours {
                    found.push(word.to_string());
                }
                out.push_str(if ours { MARK } else { word });
                at = end;
            }
        } else {
            let c = rest.chars().next().unwrap_or_default();
            out.push(c);
            at += c.len_utf8();
        }
    }
    out
}

/// Whether a word is a token of ours, or one made alike: sealed claims (JSON in base64url begins so), an API token, a join string; or one
/// of a service that many use.
fn is_token(word: &str) -> bool {
    let foreign = word.len() >= TOKEN_BYTES_MIN && TOKEN_BEGINNINGS.iter().any(|begin| word.starts_with(begin));
    foreign
        || word.len() >= 24 && word.starts_with("eyJ") && word.contains('.')
        || word.match_indices("um_").any(|(at, _)| word.get(at..at + 46).is_some_and(token::is_api_secret))
        || word.len() > 40 && word.starts_with("umj1")
}

/// Bytes of the private key in PEM that a text begins with; one whose end is missing goes to the end.
fn private_key(text: &str) -> Option<usize> {
    let head = text.strip_prefix("-----BEGIN ")?;
    let label = head.split("-----").next()?;
    if !label.ends_with("PRIVATE KEY") {
        return None;
    }
    let end = format!("-----END {label}-----");
    Some(text.find(&end).map_or(text.len(), |at| at + end.len()))
}

/// Where the value is, in the text after a word, that the word says is a secret.
fn secret_after(word: &str, rest: &str) -> Option<(usize, usize)> {
    let bytes = rest.as_bytes();
    let blanks = |from: usize| from + bytes[from.min(bytes.len())..].iter().take_while(|b| **b == b' ').count();
    let scheme = ["bearer", "basic"].iter().any(|s| word.eq_ignore_ascii_case(s));
    if !scheme && !is_secret_name(word) {
        return None;
    }
    // The name may be quoted itself, and its quotes escaped.
    let closed = bytes.iter().take_while(|b| matches!(b, b'"' | b'\'' | b'\\')).count();
    let sign = blanks(closed);
    let from = match bytes.get(sign) {
        Some(b'=' | b':') => blanks(sign + 1),
        // `Bearer x`, `--password x`: a blank is enough there.
        Some(_) if (scheme || word.starts_with('-')) && sign > 0 && closed == 0 => sign,
        _ => return None,
    };
    let slashes = bytes[from.min(bytes.len())..].iter().take_while(|b| **b == b'\\').count();
    let quote = bytes.get(from + slashes).copied().filter(|b| matches!(b, b'"' | b'\''));
    let begin = if quote.is_some() { from + slashes + 1 } else { from };
    let value = bytes.get(begin..)?;
    let length = match quote {
        None => value.iter().take_while(|b| !is_end(**b)).count(),
        // `"a\"b"`: a quote behind a backslash does not end it, unless it began with one such.
        Some(q) if slashes == 0 => {
            let mut escaped = false;
            value
                .iter()
                .take_while(|b| {
                    let goes_on = escaped || **b != q;
                    escaped = !escaped && **b == b'\\';
                    goes_on
                })
                .count()
        }
        Some(q) => value.windows(2).position(|two| two == [b'\\', q]).unwrap_or(value.len()),
    };
    if rest[begin..].starts_with(MARK) {
        // It is taken out already.
        return None;
    }
    let mut end = begin + length;
    // `Authorization: Bearer x`: the scheme is not the secret.
    let value = &rest[begin..end];
    if quote.is_none() && ["bearer", "basic"].iter().any(|s| value.eq_ignore_ascii_case(s)) {
        let next = blanks(end);
        end = next + bytes.get(next..)?.iter().take_while(|b| !is_end(**b)).count();
        return Some((next, end));
    }
    Some((begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECRET: &str = "hunter2-of-the-hills-1";

    #[test]
    fn a_secret_is_found_by_its_place() {
        for value in [
            json!({"password": SECRET}),
            json!({"DB_PASS": SECRET, "other": "x"}),
            json!({"env": {"HARMLESS_NAME": SECRET}}),
            json!({"env": [format!("HARMLESS_NAME={SECRET}")]}),
            json!({"env": [{"name": "HARMLESS_NAME", "value": SECRET}]}),
            json!({"environment": {"A": {"b": [SECRET]}}}),
            json!({"settings": [{"key": "smtp_pass", "value": SECRET}]}),
            json!({"labels": {"api-key": SECRET}}),
            json!({"smtp_pw": SECRET}),
            json!({"slack_webhook": SECRET}),
            json!({"url": format!("https://files.example/a?X-Amz-Signature={SECRET}&x=y")}),
            json!({"url": format!("https://files.example/a?sv=1&sig={SECRET}")}),
            json!({"args": ["--password", SECRET]}),
            json!({"args": [format!("--token={SECRET}")]}),
            json!({"secrets": {"a": [{"b": SECRET}]}}),
            json!({"url": format!("postgres://user:{SECRET}@db/x")}),
            json!({"command": format!("mysql --password {SECRET} -h x")}),
            json!({"command": format!("PGPASSWORD='{SECRET}' psql")}),
            json!({"text": format!("{{\"password\": \"{SECRET}\"}}")}),
            json!({"text": format!("Authorization: Bearer {SECRET}")}),
            json!({"text": format!("curl -H 'X-Api-Key: {SECRET}'")}),
        ] {
            let redactor = Redactor::default();
            let shown = redactor.value(value.clone()).to_string();
            assert!(!shown.contains(SECRET), "{value} became {shown}");
            assert!(shown.contains(MARK), "{shown}");
            // And what was found in one place is found in every other.
            let mut redactor = Redactor::default();
            redactor.learn(&value);
            let elsewhere = redactor.text(&format!("a line with {SECRET} in it"));
            assert_eq!(elsewhere, format!("a line with {MARK} in it"), "{value}");
        }
    }

    #[test]
    fn what_is_known_is_found_in_every_writing() {
        let secret = "p\"\u{e4}ss word/1\\";
        let mut redactor = Redactor::default();
        redactor.know(secret);
        for text in [secret.to_string(), json!({"a": secret}).to_string(), "x p\"\\u{e4}ss word/1\\ y".to_string(), percent::encode(secret)]
        {
            let shown = redactor.known(&text);
            assert!(shown.contains(MARK) && !shown.contains("ss word") && !shown.contains("ss%20word"), "{text}: {shown}");
        }
        redactor.know("with a blank");
        assert_eq!(redactor.text("password=with a blank; password: \"with a blank\""), "password=[redacted]; password: \"[redacted]\"");
        redactor.know("hunter2");
        redactor.know("hunter2-longer");
        assert_eq!(redactor.known("hunter2-longer hunter2"), "[redacted] [redacted]");
    }

    #[test]
    fn odd_characters_do_not_let_the_end_of_a_secret_through() {
        for (text, shown) in [
            (r#"password=a,b;c'd\e)f x"#, "password=[redacted] x"),
            (r#"{"password": "a\"b\\", "user": "x"}"#, r#"{"password": "[redacted]", "user": "x"}"#),
            (r#"{\"password\": \"abc\", \"user\": \"x\"}"#, r#"{\"password\": \"[redacted]\", \"user\": \"x\"}"#),
            (r#"password="" user="x""#, r#"password="" user="x""#),
            (r#"password="never ended"#, r#"password="[redacted]"#),
            ("?token=abc&x=y", "?token=[redacted]&x=y"),
            ("password='it is' x", "password='[redacted]' x"),
        ] {
            assert_eq!(Redactor::default().text(text), shown, "{text}");
        }
    }

    #[test]
    fn what_is_harmless_stays() {
        let value = json!({
            "key": "scheduler_mode", "value": "auto", "token_id": "jt-1", "wg_public_key": "abc", "must_change_password": true,
            "message": "Node not found: n1", "time": "2026-11-23T20:12:26Z", "url": "https://example.org/a@b", "generation": 3,
            "name": "web", "labels": {"zone": "eu-1"}, "tokens": 5,
        });
        assert_eq!(Redactor::default().value(value.clone()), value);
        let line = "2026-11-23 20:12:26.900 | INFO | api | (*) join_token.create | Made | token_id: jt-1 | request_id: r-1";
        assert_eq!(Redactor::default().text(line), line);
    }

    #[test]
    fn keys_and_tokens_are_known_by_their_shape() {
        let pem = "a -----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY----- b";
        assert_eq!(Redactor::default().text(pem), "a [redacted] b");
        assert_eq!(Redactor::default().text("-----BEGIN PRIVATE KEY-----\nabc"), MARK);
        let api = token::api_secret();
        let sealed = token::mint(b"k", "s", 1);
        let foreign = ["ghp_", "sk_live_", "AKIA", "glpat-"].map(|begin| format!("{begin}0123456789ABCDEF"));
        for secret in [api, sealed].into_iter().chain(foreign) {
            assert_eq!(Redactor::default().text(&format!("x {secret} y")), "x [redacted] y");
        }
    }

    #[test]
    fn no_text_of_any_kind_breaks_it() {
        for text in [
            "password=",
            "password: ",
            "--token",
            "://",
            "://@",
            "\u{e9}password=\u{e9}\u{e9}",
            "password=\"",
            "secret\\\":\\\"",
            "Bearer ",
            "auth:\u{1f600}",
        ] {
            Redactor::default().text(text);
            let mut redactor = Redactor::default();
            redactor.learn_text(text);
        }
        let mut deep = json!("x");
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert!(Redactor::default().value(deep).to_string().contains(MARK));
    }
}
