//! Addresses of the control plane, sent to nodes with heartbeat answers. The authority that nodes trust signs them,
//! because over plain HTTP anyone on the path could answer.

use crate::model::join_string::ADDRESSES_MAX;
use serde::{Deserialize, Serialize};

/// Maximum length of a control plane URL, in bytes.
const URL_BYTES_MAX: usize = 300;

/// Signed list of the control plane's URLs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Addresses {
    /// The URLs, the most likely to work first.
    pub urls: Vec<String>,
    /// Epoch seconds at which they were found; of two lists the newer one wins.
    pub at: i64,
    /// Base64 of the authority's signature over [`Addresses::message`], ECDSA-SHA256 in ASN.1 DER.
    pub signature: String,
}

impl Addresses {
    /// The bytes that are signed.
    pub fn message(urls: &[String], at: i64) -> Vec<u8> {
        format!("uptimemesh-addresses\n{at}\n{}", urls.join("\n")).into_bytes()
    }

    /// True if a node can use it: no more URLs than a join string has, each of them HTTPS and on one line.
    pub fn is_sound(&self) -> bool {
        let sound = |url: &String| {
            url.len() <= URL_BYTES_MAX && url.starts_with("https://") && url.bytes().all(|b| b.is_ascii_graphic())
        };
        (1..=ADDRESSES_MAX).contains(&self.urls.len()) && self.urls.iter().all(sound)
    }
}
