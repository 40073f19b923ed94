//! Where the control plane is reached, as it tells its nodes with their heartbeats: signed by an authority that they trust, because over plain
//! HTTP anybody could answer.

use crate::model::join_string::ADDRESSES_MAX;
use serde::{Deserialize, Serialize};

/// Bytes of a URL of a control plane.
const URL_BYTES_MAX: usize = 300;

/// Where the control plane is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Addresses {
    /// Its URLs, the likeliest to work first.
    pub urls: Vec<String>,
    /// Epoch seconds at which they were found: of two lists the newer one holds.
    pub at: i64,
    /// Base64 of the authority's signature over [`Addresses::message`], ECDSA-SHA256 in ASN.1 DER.
    pub signature: String,
}

impl Addresses {
    /// The bytes under the signature.
    pub fn message(urls: &[String], at: i64) -> Vec<u8> {
        format!("uptimemesh-addresses\n{at}\n{}", urls.join("\n")).into_bytes()
    }

    /// Whether a node can use it: as many URLs as a join string has, each of HTTPS, in one line.
    pub fn is_sound(&self) -> bool {
        let sound = |url: &String| url.len() <= URL_BYTES_MAX && url.starts_with("https://") && url.bytes().all(|b| b.is_ascii_graphic());
        (1..=ADDRESSES_MAX).contains(&self.urls.len()) && self.urls.iter().all(sound)
    }
}
