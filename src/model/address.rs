//! Which addresses are one client.

use std::net::IpAddr;

/// An IPv4 address, or the /64 network that an IPv6 client chooses its addresses from.
pub fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::client;

    #[test]
    fn one_ipv6_network_is_one_client() {
        let parse = |s: &str| client(s.parse().expect("an address"));
        assert_eq!(parse("2001:db8::1:2:3:4"), parse("2001:db8::ffff"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
        assert_ne!(parse("::ffff:10.0.0.1"), parse("10.0.0.2"));
    }
}
