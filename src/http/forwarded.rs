//! Reads what proxies report about the requests they forward: `X-Forwarded-*` or `Forwarded` (RFC 7239), in every form
//! that proxies write. Only trusted proxies are believed.

use super::Request;
use crate::model::address::{self, Network};
use crate::model::base_path;
use std::net::{IpAddr, Ipv6Addr};

/// Proxies' reports about a request.
struct Reported {
    /// The client: the first address that is not a trusted proxy, or the word in its place.
    pub client: Result<IpAddr, String>,
    /// Scheme of the client's connection, `https`.
    pub scheme: Option<String>,
    /// The requested host.
    pub host: Option<String>,
    /// Path below which the proxy serves this server.
    pub prefix: Option<String>,
}

/// One proxy's report: who sent it the request, and how.
#[derive(Debug, Default, PartialEq)]
struct Hop {
    /// True if it is not empty: an element of a list may be.
    is_there: bool,
    node: String,
    scheme: Option<String>,
    host: Option<String>,
}

impl Request {
    /// Applies a trusted proxy's report of the client, scheme and host. A request whose client is unknown belongs to
    /// [`address::UNNAMED`], never to the proxy itself.
    pub fn believe(&mut self, trusted: &[Network]) {
        let trusts = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        if !trusts(self.peer.ip()) {
            return;
        }
        let Some(Reported { client, scheme, host, prefix }) = read(self, trusts) else { return };
        self.by_proxy = true;
        self.client = client.unwrap_or_else(|word| {
            self.unnamed = Some(word);
            address::UNNAMED
        });
        self.secure |= scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        if let Some(host) = host.filter(|host| !host.is_empty()) {
            self.host = host;
        }
        // Chained proxies append the part that each has stripped.
        let prefix = prefix.and_then(|all| all.split(',').map(base_path::parse).collect::<Option<String>>());
        self.base = prefix.unwrap_or_default();
    }
}

/// Reports about this address and those before it; `None` if no proxy forwarded the request. Each proxy appends its
/// own, so those after the first foreign address are from trusted proxies, and those before it are the client's claims.
fn read(request: &Request, trusts: impl Fn(IpAddr) -> bool) -> Option<Reported> {
    let has = |name: &str| request.header(name).is_some();
    let by_x = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].into_iter().any(has);
    let prefix = request.list("x-forwarded-prefix");
    if by_x {
        // A proxy that sets these lines passes on a client's own `Forwarded`.
        let nodes = request.list("x-forwarded-for").unwrap_or_default();
        let hops: Vec<Hop> = nodes
            .split(',')
            .map(trim)
            .map(|node| Hop { is_there: !node.is_empty(), node: node.to_string(), ..Hop::default() })
            .collect();
        let last =
            |name| request.list(name).and_then(|all| all.rsplit(',').next().map(|value| trim(value).to_string()));
        let client = client(&hops, trusts).map(|(address, _)| address);
        return Some(Reported { client, scheme: last("x-forwarded-proto"), host: last("x-forwarded-host"), prefix });
    }
    if has("forwarded") {
        let said = request.list("forwarded").unwrap_or_default();
        let Some(mut hops) = hops_in(&said) else {
            return Some(Reported { client: Err(said), scheme: None, host: None, prefix });
        };
        let found = client(&hops, trusts);
        // Our first proxy's report says how the request reached us.
        let ours = hops.split_off(found.as_ref().map_or(hops.len().saturating_sub(1), |(_, at)| *at));
        let (scheme, host) =
            (ours.iter().find_map(|hop| hop.scheme.clone()), ours.iter().find_map(|hop| hop.host.clone()));
        return Some(Reported { client: found.map(|(address, _)| address), scheme, host, prefix });
    }
    request.is_passed_on().then(|| Reported { client: Err(String::new()), scheme: None, host: None, prefix })
}

/// The nearest untrusted address, or the first of all, and its position; or an unreadable word that comes before it.
fn client(hops: &[Hop], trusts: impl Fn(IpAddr) -> bool) -> Result<(IpAddr, usize), String> {
    let mut found = Err(String::new());
    for (at, hop) in hops.iter().enumerate().rev().filter(|(_, hop)| hop.is_there) {
        let address = address_of(&hop.node).ok_or_else(|| hop.node.clone())?;
        found = Ok((address, at));
        if !trusts(address) {
            break;
        }
    }
    found
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The address in a word: with or without a port, in brackets or quotes, with a zone. `None` for `unknown`, `_hidden`
/// and the unspecified address.
fn address_of(word: &str) -> Option<IpAddr> {
    let word = trim(word);
    let word = trim(word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(word));
    let parse = |host: &str| match host.split_once('%') {
        Some((host, zone)) if !zone.is_empty() => host.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => host.parse().ok(),
    };
    let address = match word.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(bracketed) => bracketed
            .filter(|(_, port)| port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
            .map(|(host, _)| host),
        None => Some(word),
    }?;
    // Without brackets, a port is recognised only if the address is complete without it.
    let without_port = || address.rsplit_once(':').filter(|(_, port)| is_port(port)).and_then(|(host, _)| parse(host));
    let address = parse(address).or_else(without_port)?.to_canonical();
    (!address.is_unspecified()).then_some(address)
}

/// True for a port or a word that hides one.
fn is_port(port: &str) -> bool {
    let is_hidden =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    port.parse::<u16>().is_ok_and(|_| port.bytes().all(|b| b.is_ascii_digit()))
        || port.strip_prefix('_').is_some_and(is_hidden)
}

/// The elements of `Forwarded` in order; `None` if it violates RFC 7239, because then their ends are ambiguous.
fn hops_in(said: &str) -> Option<Vec<Hop>> {
    let (mut hops, mut hop, mut rest) = (Vec::new(), Hop::default(), trim(said));
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(';') {
            rest = trim(after);
        } else if let Some(after) = rest.strip_prefix(',') {
            hops.push(std::mem::take(&mut hop));
            rest = trim(after);
        } else {
            let (name, after) = rest.split_once('=')?;
            let (value, after) = value_in(trim(after))?;
            match trim(name).to_ascii_lowercase().as_str() {
                "for" if hop.node.is_empty() && !value.is_empty() => hop.node = value,
                "proto" if hop.scheme.is_none() => hop.scheme = Some(value),
                "host" if hop.host.is_none() => hop.host = Some(value),
                "for" | "proto" | "host" => return None,
                name if name.bytes().any(|b| !b.is_ascii_alphanumeric() && b != b'-' && b != b'_') => return None,
                _ => {}
            }
            hop.is_there = true;
            rest = trim(after);
            if !rest.is_empty() && !rest.starts_with([';', ',']) {
                return None;
            }
        }
    }
    hops.push(hop);
    Some(hops)
}

/// The value at the front, a token or a quoted string, and the rest.
fn value_in(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find([';', ',', ' ', '\t']).unwrap_or(text.len()));
        return (!value.contains('"')).then(|| (value.to_string(), rest));
    };
    let (mut value, mut chars) = (String::new(), quoted.char_indices());
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &quoted[at + 1..])),
            (_, '\\') => value.push(chars.next()?.1),
            (_, c) => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{Parsed, parse};
    use crate::http::limits::Limits;
    use std::net::SocketAddr;

    fn request(text: &str) -> Request {
        match parse(text.as_bytes(), text.len(), &Limits::default(), SocketAddr::from(([127, 0, 0, 1], 9))) {
            Parsed::Whole(head, _) => head.request,
            Parsed::Partial | Parsed::Refused(..) => panic!("no whole head: {text:?}"),
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted = ["127.0.0.1", "10.0.0.0/8"].map(|n| Network::parse(n).expect("a network"));
        let asked = |trusted: &[Network], lines: &str| {
            let mut request = request(&format!("GET / HTTP/1.1\r\nHost: inner\r\n{lines}\r\n"));
            request.believe(trusted);
            (request.client.to_string(), request.secure, request.host.clone(), request.is_local())
        };
        let said = "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.3\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: \
            outer:8443\r\n";
        assert_eq!(asked(&trusted, said), ("2.2.2.2".into(), true, "outer:8443".into(), false));
        assert_eq!(asked(&[], said), ("127.0.0.1".into(), false, "inner".into(), false));
        assert_eq!(asked(&trusted, ""), ("127.0.0.1".into(), false, "inner".into(), true));
        assert_eq!(asked(&[], ""), ("127.0.0.1".into(), false, "inner".into(), true));
        assert!(!asked(&trusted, "X-Forwarded-Proto: https, http\r\n").1);
    }

    #[test]
    fn the_nearest_address_that_is_not_a_proxys_is_the_clients() {
        let trusted = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"].map(|n| Network::parse(n).expect("a network"));
        let client = |lines: &str| {
            let lines: String = lines.split('|').map(|line| format!("{line}\r\n")).collect();
            let mut request = request(&format!("GET / HTTP/1.1\r\nHost: inner\r\n{lines}\r\n"));
            request.believe(&trusted);
            assert!(!request.is_local() && request.by_proxy, "{lines}");
            (request.client.to_string(), request.unnamed, request.secure, request.host)
        };
        for (lines, address) in [
            ("X-Forwarded-For: 6.6.6.6, 1.2.3.4:567, 10.0.0.3:80", "1.2.3.4"),
            ("X-Forwarded-For: junk, [2001:db8::1]:80", "2001:db8::1"),
            ("X-Forwarded-For: 6.6.6.6|X-Forwarded-For: 1.2.3.4|x-forwarded-for:  , [fd00::1]:9 ,,", "1.2.3.4"),
            ("X-Forwarded-For: ::ffff:1.2.3.4, ::ffff:10.0.0.3", "1.2.3.4"),
            ("X-Forwarded-For: 10.0.0.9, 10.0.0.3", "10.0.0.9"),
            ("X-Forwarded-For: 1.2.3.4|Forwarded: for=6.6.6.6", "1.2.3.4"),
            ("Forwarded: for=6.6.6.6, for=\"1.2.3.4:567\", for=10.0.0.3", "1.2.3.4"),
            ("Forwarded: for=unknown|forwarded: FOR=\"[2001:db8::1]\";by=_a", "2001:db8::1"),
        ] {
            assert_eq!(client(lines).0, address, "{lines}");
        }
        for (lines, word) in [
            ("X-Forwarded-For: 1.2.3.4, unknown, 10.0.0.3", "unknown"),
            ("X-Forwarded-For: 1.2.3.4, _hidden", "_hidden"),
            ("X-Forwarded-For: 127.0.0.1, x", "x"),
            ("X-Forwarded-For: ", ""),
            ("X-Forwarded-For: ,, ,", ""),
            ("X-Forwarded-For: 0.0.0.0", "0.0.0.0"),
            ("X-Forwarded-Proto: https", ""),
            ("Via: 1.1 proxy", ""),
            ("Forwarded: for=1.2.3.4, for=unknown", "unknown"),
            ("Forwarded: for=1.2.3.4, proto=https", ""),
            ("Forwarded: for=1.2.3.4, by=10.0.0.3", ""),
            ("Forwarded: for=\", for=1.2.3.4", "for=\", for=1.2.3.4"),
        ] {
            let (address, unnamed, ..) = client(lines);
            assert_eq!((address.as_str(), unnamed.as_deref()), ("0.0.0.0", Some(word)), "{lines}");
        }
        let (_, _, secure, host) = client(
            "Forwarded: for=9.9.9.9;proto=http;host=evil, for=1.2.3.4;proto=HTTPS;host=\"outer:8443\", for=10.0.0.3;proto=http;host=inner",
        );
        assert_eq!((secure, host.as_str()), (true, "outer:8443"));
    }

    #[test]
    fn an_address_is_read_in_every_form() {
        for (word, address) in [
            ("1.2.3.4", "1.2.3.4"),
            (" 1.2.3.4:567\t", "1.2.3.4"),
            ("\"1.2.3.4:567\"", "1.2.3.4"),
            ("1.2.3.4:_port", "1.2.3.4"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("\"[2001:DB8::1]:_x.y\"", "2001:db8::1"),
            ("2001:db8:0:0:0:0:0:1:4711", "2001:db8::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:80", "1.2.3.4"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
            ("[1.2.3.4]:80", "1.2.3.4"),
        ] {
            assert_eq!(address_of(word).map(|a| a.to_string()).as_deref(), Some(address), "{word}");
        }
        for word in [
            "",
            "unknown",
            "_hidden",
            "-",
            "(null)",
            "localhost",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:65536",
            "1.2.3.4:+1",
            "1.2.3.4%eth0",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]80",
            "[]",
            "[]:80",
            "0.0.0.0",
            "::",
            "[::]:80",
            "::ffff:0.0.0.0",
            "01.2.3.4",
            "\"1.2.3.4",
            "fe80::1%",
            "1.2.3.4 5.6.7.8",
            "\u{e9}",
            "::1:80:90:",
            "%eth0",
        ] {
            assert_eq!(address_of(word), None, "{word}");
        }
    }

    #[test]
    fn forwarded_is_read_as_it_is_specified() {
        let hop = |node: &str, scheme: Option<&str>, host: Option<&str>| Hop {
            is_there: true,
            node: node.into(),
            scheme: scheme.map(str::to_string),
            host: host.map(str::to_string),
        };
        for (said, hops) in [
            ("for=1.2.3.4", vec![hop("1.2.3.4", None, None)]),
            (
                "For=\"[2001:db8::1]:80\";PROTO=https ; host=\"a.example:1\"",
                vec![hop("[2001:db8::1]:80", Some("https"), Some("a.example:1"))],
            ),
            (
                "for=unknown, for=_a;by=_b,for=\"\\1.2.3.4\"",
                vec![hop("unknown", None, None), hop("_a", None, None), hop("1.2.3.4", None, None)],
            ),
            ("host=\"a,b;c\\\"\";for=x", vec![hop("x", None, Some("a,b;c\""))]),
            (", ;for=1.2.3.4;,", vec![Hop::default(), hop("1.2.3.4", None, None), Hop::default()]),
        ] {
            assert_eq!(hops_in(said), Some(hops), "{said}");
        }
        for bad in [
            "for",
            "for=\"1.2.3.4",
            "for=1.2.3.4;for=5.6.7.8",
            "for=\"a\"b",
            "for=a b",
            "a b=c",
            "for=a\"b",
            "for=",
            "for=\"\\",
            "1.2.3.4",
        ] {
            assert_eq!(hops_in(bad), None, "{bad}");
        }
    }
}
