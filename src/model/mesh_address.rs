//! The address of a node inside the mesh.

use serde::{Deserialize, Serialize, Serializer};
use std::net::IpAddr;

/// An IP address with or without the length of its prefix, such as `10.42.0.7` or `fd00::7/64`. It is parsed once, and
/// stored and shown as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct MeshAddress {
    text: String,
    /// `None` for a text that is not an address.
    address: Option<IpAddr>,
}

impl MeshAddress {
    /// Parses an address.
    pub fn parse(text: &str) -> Option<MeshAddress> {
        Some(MeshAddress::from(text.to_string())).filter(|mesh| mesh.address.is_some())
    }

    /// Its text, as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address in its canonical form, without the prefix length; `None` for a text that is not an address.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

/// Accepts any text: a row of an older version must stay readable, and what a command line gives is for the server to
/// refuse.
impl From<String> for MeshAddress {
    fn from(text: String) -> MeshAddress {
        let address = address_of(&text);
        MeshAddress { text, address }
    }
}

impl Serialize for MeshAddress {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

fn address_of(text: &str) -> Option<IpAddr> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().ok()?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let fits = |prefix: &str| prefix.parse::<u8>().is_ok_and(|bits| bits <= bits_max);
    prefix.is_none_or(fits).then(|| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_parsed_once_and_shown_as_it_was_given() {
        for (given, address) in [
            ("10.42.0.7", Some("10.42.0.7")),
            ("10.42.0.7/24", Some("10.42.0.7")),
            ("FD00:0::7/64", Some("fd00::7")),
            ("::ffff:10.0.0.1/128", Some("10.0.0.1")),
            ("10.42.0.7/33", None),
            ("fd00::7/129", None),
            ("10.42.0.7/", None),
            ("10.42.0.7/24/8", None),
            ("10.42.0", None),
            ("", None),
        ] {
            let address = address.map(|text| text.parse::<IpAddr>().expect("an address"));
            assert_eq!(MeshAddress::parse(given).and_then(|mesh| mesh.address()), address, "{given}");
            let row = serde_json::to_string(given).expect("JSON");
            let read: MeshAddress = serde_json::from_str(&row).expect("any text is read");
            assert_eq!((read.address(), serde_json::to_string(&read).expect("JSON")), (address, row));
        }
    }
}
