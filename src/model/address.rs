//! Client addresses: which of them belong to one client, and networks of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Stands for all clients that a trusted proxy passes on without naming them. No machine has this address.
pub const UNNAMED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A network of addresses, `10.0.0.0/8`; a single address is a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl Network {
    /// Parses an address, or an address, `/` and the length of its prefix.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = text.trim().split_once('/').map_or((text.trim(), None), |(a, b)| (a, Some(b)));
        let first: IpAddr = address.parse().ok()?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(longest), |b| b.parse().ok()).filter(|b| *b <= longest)?;
        Some(Network { first, bits })
    }

    /// True if the network contains an address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u32::from(a) ^ u32::from(b)).checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (u128::from(a) ^ u128::from(b)).checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// True if only this machine or its private network can reach an address: loopback, RFC 1918, link-local, RFC 4193.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// True if an address may belong to a mesh: RFC 1918, 100.64.0.0/10 or RFC 4193.
pub fn is_mesh(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || is_carrier_nat(address),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// True for an address in 100.64.0.0/10, which carriers and overlay networks share out behind their NAT (RFC 6598).
pub fn is_carrier_nat(address: IpAddr) -> bool {
    matches!(address.to_canonical(), IpAddr::V4(v4) if v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 0x40)
}

/// Parses a name or an address, with or without a port: `cp.example:443`, `[fd00::1]:443`, `fd00::1`.
pub fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let host = |text: &str| match text.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner?.parse::<Ipv6Addr>().ok().map(|ip| ip.to_string()),
        None => match text.parse::<IpAddr>() {
            Ok(ip) => Some(ip.to_canonical().to_string()),
            Err(_) => is_host_name(text).then(|| text.to_ascii_lowercase()),
        },
    };
    if let Some(whole) = host(text) {
        return Some((whole, None));
    }
    let (before, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    // Without brackets the last part of an IPv6 address would be taken for a port.
    (!before.contains(':') || before.starts_with('[')).then(|| host(before)).flatten().map(|host| (host, Some(port)))
}

/// True if a text is a valid host name.
pub fn is_host_name(name: &str) -> bool {
    let label =
        |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    name.len() <= 253
        && name.split('.').all(label)
        && !name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

/// A host and a port, joined as in a URL.
pub fn at_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// An IPv4 address, or the /64 network that an IPv6 client chooses its addresses from.
pub fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

/// Prefix lengths of the networks from which one IPv6 client may choose its addresses: a link, a household, a site.
const IPV6_BITS: [u8; 3] = [64, 56, 48];

/// Networks by which an address is counted, narrowest first: an IPv4 address alone; for IPv6 the /64, the /56 and the
/// /48.
pub fn networks(address: IpAddr) -> Vec<Network> {
    match address.to_canonical() {
        IpAddr::V6(v6) => IPV6_BITS
            .iter()
            .map(|&bits| {
                let rest = 128 - u32::from(bits);
                Network { first: IpAddr::V6((u128::from(v6) >> rest << rest).into()), bits }
            })
            .collect(),
        v4 => vec![Network { first: v4, bits: 32 }],
    }
}

#[cfg(test)]
mod tests {
    use super::{Network, client, host_and_port, is_private, networks};

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let within = |network: &str, address: &str| {
            let network = Network::parse(network).expect("a network");
            network.contains(address.parse().expect("an address"))
        };
        for (network, address) in [
            ("10.0.0.0/8", "10.9.8.7"),
            ("10.0.0.1", "10.0.0.1"),
            ("0.0.0.0/0", "8.8.8.8"),
            ("::1", "::1"),
            ("fd00::/8", "fd12::1"),
        ] {
            assert!(within(network, address), "{address} in {network}");
        }
        assert!(within("127.0.0.0/8", "::ffff:127.0.0.1"));
        for (network, address) in
            [("10.0.0.0/8", "11.0.0.0"), ("10.0.0.1", "10.0.0.2"), ("::/0", "10.0.0.1"), ("fd00::/8", "fe00::1")]
        {
            assert!(!within(network, address), "{address} in {network}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "x", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_host_is_read_with_its_port_and_without() {
        for (text, host, port) in [
            ("cp.Example", "cp.example", None),
            ("cp.example:443", "cp.example", Some(443)),
            ("203.0.113.7", "203.0.113.7", None),
            ("203.0.113.7:8443", "203.0.113.7", Some(8443)),
            ("fd00:0::1", "fd00::1", None),
            ("[fd00::1]", "fd00::1", None),
            ("[fd00::1]:443", "fd00::1", Some(443)),
        ] {
            assert_eq!(host_and_port(text), Some((host.to_string(), port)), "{text}");
        }
        for bad in [
            "",
            ":1",
            "a b",
            "cp.example:0",
            "cp.example:70000",
            "cp.example:x",
            "https://cp.example",
            "[fd00::1",
            "[x]:1",
            "256.1.1.1",
            "*.example",
            "a:b:1",
        ] {
            assert_eq!(host_and_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn private_and_public_addresses_are_distinguished() {
        for (address, private) in [
            ("127.0.0.1", true),
            ("192.168.1.1", true),
            ("fd00::1", true),
            ("0.0.0.0", false),
            ("8.8.8.8", false),
            ("::", false),
        ] {
            assert_eq!(is_private(address.parse().expect("an address")), private, "{address}");
        }
    }

    #[test]
    fn an_address_is_counted_by_the_networks_around_it() {
        let of = |s: &str| networks(s.parse().expect("an address")).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("2001:db8:1:2f3:4::5"), ["2001:db8:1:2f3::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"]);
        assert_eq!(of("::1"), ["::/64", "::/56", "::/48"]);
        assert_eq!(
            (of("10.1.2.3"), of("::ffff:10.1.2.3")),
            (vec!["10.1.2.3/32".to_string()], vec!["10.1.2.3/32".to_string()])
        );
    }

    #[test]
    fn one_ipv6_network_is_one_client() {
        let parse = |s: &str| client(s.parse().expect("an address"));
        assert_eq!(parse("2001:db8::1:2:3:4"), parse("2001:db8::ffff"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
        assert_ne!(parse("::ffff:10.0.0.1"), parse("10.0.0.2"));
    }
}
