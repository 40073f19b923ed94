//! JSON: the fields of bodies and queries, its canonical form, and manifests of releases.

use crate::clock::Timestamp;
use crate::crypto::signature;
use crate::error::{Error, FieldFault, Loc};
use crate::http::fields::Fields;
use crate::http::form;
use crate::inputs;
use crate::json;
use crate::model::ids;
use crate::model::release::{Manifest, Version};
use serde_json::Value;

/// Checks that faults are few, short, and valid JSON.
fn check_faults(faults: &[FieldFault], length: usize) {
    assert!(faults.len() <= 101, "{} faults", faults.len());
    for fault in faults {
        let json = serde_json::to_string(fault).expect("a fault can be written as JSON");
        // A key chosen by a client may be part of the location.
        assert!(json.len() <= 4096 + 6 * length, "a fault is longer than what is wrong");
        assert!(!fault.loc.is_empty() && !fault.kind.is_empty() && !fault.msg.is_empty());
        if fault.kind == "json_invalid" {
            assert!(matches!(fault.loc[..], [_, Loc::Index(at)] if at <= length), "{:?}", fault.loc);
        }
    }
}

fn read_all(f: &mut Fields) {
    assert!(f.text("text", 1..=8).optional().is_none_or(|t| (1..=8).contains(&t.chars().count())));
    let name = f.name("name").required();
    assert!(name.chars().count() <= 128 && !name.chars().any(char::is_control));
    let id: String = f.id("id").required();
    assert!(id.is_empty() || ids::is_id(&id));
    assert!(f.int("int", -5..=86_400).optional().is_none_or(|n| (-5..=86_400).contains(&n)));
    f.int("any", i64::MIN..=i64::MAX).optional();
    f.flag("flag").or(false);
    f.word("word", &["a", "b"], |w| ["a", "b"].contains(&w).then_some(())).optional();
    f.object("object").optional();
    if let Some(moment) = f.moment("since").optional() {
        assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment), "a moment reads as it is written");
    }
    assert!(f.labels("labels").optional().is_none_or(|l| l.len() <= 64));
    let words = f.words("words").optional().unwrap_or_default();
    assert!(words.len() <= 32 && words.iter().all(|w| (1..=64).contains(&w.chars().count())));
    assert!(f.lenient_count("count", 1000).is_none_or(|n| (0..=1000).contains(&n)));
    let list = f.list("list", 4, |f, item| f.int("int", 0..=9).or(item.is_object().into())).optional();
    assert!(list.is_none_or(|l| l.len() <= 4 && l.iter().all(|n| (0..=9).contains(n))));
    inputs::specs::spec(f);
}

/// Fields of JSON bodies and of queries.
pub fn fields(bytes: &[u8]) {
    let plain: Option<Value> = serde_json::from_slice(crate::text::without_mark(bytes)).ok();
    match Fields::of_body(bytes) {
        Ok(mut f) => {
            let read: Option<Value> =
                serde_json::to_string(f.whole()).ok().and_then(|text| serde_json::from_str(&text).ok());
            assert_eq!(read, plain, "it is read as others read it");
            for (name, value) in f.whole() {
                let raw = f.raw(name).and_then(|raw| json::kept(raw).ok());
                assert_eq!(raw.as_ref(), Some(value), "the text of a field is that of its value");
            }
            let kept = serde_json::to_string(f.whole()).expect("what was read can be written");
            let answer = format!("[{{\"a\":[{{\"a\":[{kept}]}}]}}]");
            assert!(serde_json::from_str::<Value>(&answer).is_ok(), "what is kept can be read in an answer");
            read_all(&mut f);
            if let Err(e) = f.finish() {
                let Error::Invalid(faults) = e else { panic!("{e:?}") };
                check_faults(&faults, bytes.len());
            }
        }
        Err(Error::Invalid(faults)) => check_faults(&faults, bytes.len()),
        Err(e) => panic!("{e:?}"),
    }
    let mut f = Fields::of_query(form::parse(bytes));
    read_all(&mut f);
    if let Err(Error::Invalid(faults)) = f.finish() {
        check_faults(&faults, bytes.len());
    }
}

/// Canonical JSON with a zero for every number: numbers keep their text, which plain readers do not.
fn without_numbers(json: &str) -> String {
    let mut out = String::new();
    let (mut in_text, mut escaped, mut in_number) = (false, false, false);
    for c in json.chars() {
        let number = !in_text && (c.is_ascii_digit() || (in_number && "+-.eE".contains(c)) || c == '-');
        if number && !in_number {
            out.push('0');
        }
        if !number {
            out.push(c);
        }
        in_number = number;
        if c == '"' && !escaped {
            in_text = !in_text;
        }
        escaped = in_text && c == '\\' && !escaped;
    }
    out
}

/// The canonical form of JSON under a heartbeat's signature.
pub fn canonical(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let plain: Option<Value> = serde_json::from_str(text).ok();
    let form = signature::canonical(text);
    let strict = Fields::of_body(bytes);
    assert!(strict.is_err() || form.is_ok(), "a body that is taken has a canonical form");
    let Ok(form) = form else { return };
    assert!(form.is_ascii() && !form.bytes().any(|b| b < b' '), "it is one line of ASCII");
    assert_eq!(signature::canonical(&form).as_ref(), Ok(&form), "the canonical form is its own");
    if let Some(bare) = signature::with_bare_del(&form) {
        assert_eq!(signature::canonical(&bare).as_ref(), Ok(&form), "DEL as it is says the same");
    }
    // Plain readers take what stands under such a key for something else, which is why no body may have one.
    let Some(plain) = plain.filter(|_| !form.contains("\"$serde_json::private::")) else { return };
    assert_eq!(serde_json::from_str::<Value>(&form).ok().as_ref(), Some(&plain), "it says the same");
    let pretty = serde_json::to_string_pretty(&plain).expect("what was read can be written");
    let again = signature::canonical(&pretty).expect("and has a canonical form");
    assert_eq!(without_numbers(&form), without_numbers(&again), "however it was spaced, ordered and escaped");
    let small = bytes.iter().filter(|b| b",[{".contains(b)).count() < 100;
    assert!(!plain.is_object() || !small || strict.is_ok(), "both refuse the same keys");
}

/// A release's manifest, and versions.
pub fn manifest(bytes: &[u8]) {
    match Manifest::parse(bytes) {
        Ok(manifest) => {
            assert!(
                !manifest.channels.is_empty()
                    && Version::parse(&manifest.version.to_string()).as_ref() == Some(&manifest.version)
            );
            for channel in manifest.channels.values() {
                let sums = [&channel.bootstrap.sha256, &channel.updater.sha256]
                    .into_iter()
                    .chain(channel.artifacts.values().map(|a| &a.sha256));
                assert!(sums.into_iter().all(|sum| sum.len() == 64));
                let places = [&channel.bootstrap.path, &channel.updater.path]
                    .into_iter()
                    .chain(channel.artifacts.values().map(|a| &a.url));
                for place in places {
                    let is_url = place.starts_with("https://") || place.starts_with("http://");
                    assert!(place.bytes().all(|b| b.is_ascii_graphic()), "{place}");
                    assert!(
                        is_url || !(place.starts_with('/') || place.split('/').any(|n| n == "..")),
                        "it leads out of its directory: {place}"
                    );
                }
            }
        }
        Err(faults) => assert!(!faults.is_empty() && faults.iter().all(|f| !f.is_empty())),
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let versions: Vec<Version> = text.lines().take(3).filter_map(Version::parse).collect();
    if let [a, b, c] = &versions[..] {
        assert!(a.cmp(b) == b.cmp(a).reverse() && (a > b || b > c || a <= c), "versions have an order");
    }
}
