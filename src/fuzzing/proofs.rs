//! Proofs of identity: tokens, join strings, certificates and the requests for them.

use super::scratch;
use crate::clock::{self, Timestamp};
use crate::crypto::lease::{self, LeaseClaims};
use crate::crypto::pki::{self, Ca, Csr, NodeKey, PublicKey};
use crate::crypto::token;
use crate::model::join_string::JoinString;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::sync::OnceLock;

/// Lease tokens, session tokens and join strings.
pub fn tokens(bytes: &[u8]) {
    const KEY: &[u8] = b"a key that only the fuzzer knows.";
    let text = String::from_utf8_lossy(bytes);
    let (as_lease, as_session) = (lease::open(KEY, &text), token::open(KEY, &text));
    assert!(as_lease.is_none() || as_session.is_none(), "one token is of one kind");
    if let Some(claims) = as_lease {
        assert_eq!(lease::mint(KEY, &claims), text, "a token has one form");
    }
    if let Some(claims) = as_session {
        assert_eq!(token::mint(KEY, &claims.session, claims.exp), text, "a token has one form");
    }
    if let Some((numbers, rest)) = bytes.split_first_chunk::<9>() {
        let (exp, at) =
            (i64::from_le_bytes(*numbers.first_chunk().expect("nine are more than eight")), usize::from(numbers[8]));
        let rest = String::from_utf8_lossy(rest);
        let (n, fp) = rest.split_at(rest.ceil_char_boundary(at.min(rest.len())));
        let claims = LeaseClaims { exp, fp: fp.into(), iat: !exp, n: n.into() };
        let (leased, session) = (lease::mint(KEY, &claims), token::mint(KEY, n, exp));
        if leased.len() <= 2048 && session.len() <= 2048 {
            assert_eq!(lease::open(KEY, &leased).as_ref(), Some(&claims));
            assert!(token::open(KEY, &session).is_some_and(|c| c.session == n && c.exp == exp));
        }
        assert!(
            lease::open(KEY, &session).is_none()
                && token::open(KEY, &leased).is_none()
                && lease::open(b"other", &leased).is_none()
        );
        let mut altered = leased.into_bytes();
        let at = at % altered.len();
        altered[at] ^= 1 + (numbers[0] & 0x3f);
        assert!(lease::open(KEY, &String::from_utf8_lossy(&altered)).is_none(), "an altered token opens");
    }
    if let Ok(join) = JoinString::parse(&text) {
        assert_eq!(join.text(), text.trim(), "a join string has one form");
        assert!(JoinString::parse(&join.text()).is_ok_and(|again| again == join));
        assert!((1..=16).contains(&join.addresses.len()) && join.authority.len() == 64);
        assert!(join.urls().iter().all(|url| url.matches('/').count() == 2));
    }
}

/// DER: a tag, the length, the content.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).expect("inputs are short").to_be_bytes();
    [&[tag, 0x82, length[0], length[1]], &content[..]].concat()
}

/// A signing request with this subject and these attributes, whose signature holds: further in than a mutation gets.
fn signed_request(key: &NodeKey, subject: &[u8], attributes: &[u8]) -> String {
    const ECDSA_WITH_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    static SPKI: OnceLock<Vec<u8>> = OnceLock::new();
    let spki = SPKI.get_or_init(|| {
        let csr = key.csr_pem("n", &[]).expect("a request");
        Csr::parse(&csr).expect("a sound request").public_key().spki_der().to_vec()
    });
    let info = tlv(0x30, &[b"\x02\x01\x00", &tlv(0x30, &[subject]), spki, &tlv(0xa0, &[attributes])]);
    let signature = key.sign(&info).expect("a signature");
    pem("CERTIFICATE REQUEST", &tlv(0x30, &[&info, ECDSA_WITH_SHA256, &tlv(0x03, &[&[0], &signature])]))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Certificates and signing requests: PEM (first byte `p`), DER (`d`), or the parts of a request that is then signed
/// (`s`, the length of its subject, subject, attributes).
pub fn certificates(bytes: &[u8]) {
    static AUTHORITY: OnceLock<(Ca, NodeKey)> = OnceLock::new();
    let (ca, key) = AUTHORITY.get_or_init(|| {
        let dir = scratch("ca");
        let ca = Ca::create(&dir, &pki::CLUSTER).expect("a new authority");
        std::fs::remove_dir_all(dir).expect("the directory is ours");
        (ca, NodeKey::generate().expect("a key"))
    });
    let request = |pem: &str| {
        let Ok(csr) = Csr::parse(pem) else { return };
        csr.common_name();
        csr.public_key().verify(b"message", b"signature");
        let own = ["node-a", "node-a.mesh.internal", "10.42.0.7", "fd00::7"].map(String::from);
        let issued = ca.issue(&csr, "node-a", &own, 30, clock::now()).expect("a sound request gets its certificate");
        assert!(
            pki::names(&issued.cert_pem).iter().all(|name| own.contains(name)),
            "a node got a name that is not its own"
        );
        assert!(pki::validity(&issued.cert_pem).is_some_and(|(_, end)| end == issued.not_after));
    };
    match bytes.split_first() {
        Some((b'p', rest)) => {
            let text = String::from_utf8_lossy(rest);
            request(&text);
            pki::names(&text);
            pki::validity(&text);
            pki::subject_der(&text);
            pki::fingerprint_hex(&text);
        }
        Some((b'd', der)) => {
            request(&pem("CERTIFICATE REQUEST", der));
            pki::names(&pem("CERTIFICATE", der));
            for moment in pki::validity_der(der).into_iter().flat_map(|(from, until)| [from, until]) {
                assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment), "a moment reads as it is written");
            }
            for spki in pki::spki_of(der).into_iter().chain([der]) {
                if let Some(key) = PublicKey::from_spki(spki) {
                    assert_eq!(key.spki_der(), spki);
                    assert!(!key.verify(b"message", der), "an invalid signature verifies");
                }
            }
        }
        Some((b's', [length, rest @ ..])) if rest.len() < 8192 => {
            let (subject, attributes) = rest.split_at(usize::from(*length).min(rest.len()));
            request(&signed_request(key, subject, attributes));
        }
        _ => {}
    }
}
