//! Names and addresses that a node's certificate may contain. A machine names itself, and people may trust the
//! authority that signs it: so it gets nothing by which it could pass for another machine, in this cluster or outside
//! of it.

use crate::model::address::is_mesh;
use crate::model::mesh_address::MeshAddress;
use std::net::IpAddr;

/// Single-label domains that the public DNS does not have (RFC 6761, RFC 6762 appendix G, ICANN's `internal`).
const PRIVATE_DOMAINS: &[&str] =
    &["internal", "local", "localdomain", "lan", "home", "corp", "private", "intranet", "mesh", "test"];
/// Maximum length of a DNS name, and of one of its labels, in characters.
const NAME_CHARS_MAX: usize = 253;
const LABEL_CHARS_MAX: usize = 63;

/// The cluster's knowledge when it issues a certificate.
pub struct Known<'k> {
    /// The node's id.
    pub node_id: &'k str,
    /// The domain of node names inside the mesh.
    pub domain: &'k str,
    /// The mesh address of the node from an operator or the join token, with or without a prefix length.
    pub given: Option<&'k MeshAddress>,
    /// The control plane's own names and addresses.
    pub servers: &'k [String],
    /// Id and name of each older node that may clash with this one, in lower case.
    pub earlier: &'k [(String, String)],
    /// Mesh addresses of other nodes.
    pub others: &'k [MeshAddress],
}

/// The name of a node in the mesh's domain.
pub fn full(node_id: &str, domain: &str) -> String {
    format!("{node_id}.{domain}")
}

/// The names and addresses that are the node's own.
pub fn own(known: &Known) -> Vec<String> {
    let mut own = Vec::new();
    let id = known.node_id;
    let full = full(id, known.domain);
    if is_private_domain(known.domain) && full.len() <= NAME_CHARS_MAX && full.split('.').all(is_label) {
        own.push(full);
    }
    if is_label(id) && !is_number(id) {
        own.push(id.to_string());
    }
    let of_another = |name: &String| {
        let lower = name.to_ascii_lowercase();
        known.earlier.iter().any(|(id, name)| *id == lower || *name == lower)
            || known.servers.iter().any(|s| is_same(s, name))
    };
    own.retain(|name| !of_another(name));
    // Another node whose id differs only in case has the same names in the DNS.
    if known.earlier.iter().any(|(other, _)| *other == id.to_ascii_lowercase()) {
        own.clear();
    }
    let of_servers = known.servers.iter().filter_map(|name| name.parse().ok()).map(|ip: IpAddr| ip.to_canonical());
    let mut taken = of_servers.chain(known.others.iter().filter_map(MeshAddress::address));
    if let Some(ip) = known.given.and_then(MeshAddress::address).filter(|ip| is_mesh(*ip))
        && !taken.any(|other| other == ip)
    {
        own.push(ip.to_string());
    }
    own
}

/// True if a domain has at least two labels, like an operator's own domain, or will never exist in the public DNS.
fn is_private_domain(domain: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    !domain.rsplit('.').next().is_some_and(is_number)
        && (domain.contains('.') || PRIVATE_DOMAINS.contains(&domain.as_str()))
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_CHARS_MAX).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// True if programs read a label as an IPv4 address, or as the end of one: `134744072`, `0x08080808`.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|b| b.is_ascii_digit()) || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// True if a name of the server, which may begin with `*`, covers this one.
fn is_same(servers: &str, name: &str) -> bool {
    match servers.strip_prefix('*') {
        Some(domain) => name.len() > domain.len() && name.to_ascii_lowercase().ends_with(domain),
        None => servers.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known<'k>(node_id: &'k str, given: Option<&'k MeshAddress>) -> Known<'k> {
        Known { node_id, domain: "mesh.internal", given, servers: &[], earlier: &[], others: &[] }
    }

    fn mesh(text: &str) -> MeshAddress {
        text.to_string().into()
    }

    #[test]
    fn an_id_is_a_name_only_if_no_outsider_could_have_it() {
        for (id, names) in [
            ("node-a", &["node-a.mesh.internal", "node-a"][..]),
            ("www.example.com", &["www.example.com.mesh.internal"]),
            ("8.8.8.8", &["8.8.8.8.mesh.internal"]),
            ("fritz.box", &["fritz.box.mesh.internal"]),
            ("b.mesh.internal", &["b.mesh.internal.mesh.internal"]),
            ("134744072", &["134744072.mesh.internal"]),
            ("0x08080808", &["0x08080808.mesh.internal"]),
            ("fd00::1", &[]),
            ("a..b", &[]),
            ("a.", &[]),
            ("a-", &[]),
        ] {
            assert_eq!(own(&known(id, None)), names, "{id}");
        }
        for (domain, names) in
            [("dev", 1), ("com", 1), ("lan", 2), ("nodes.example.org", 2), ("", 1), ("8.8", 1), ("a b.c", 1)]
        {
            assert_eq!(own(&Known { domain, ..known("web", None) }).len(), names, "{domain}");
        }
    }

    #[test]
    fn an_address_is_a_nodes_only_where_it_was_given_and_is_private() {
        for (given, address) in [
            ("10.42.0.7", Some("10.42.0.7")),
            ("192.168.1.7/24", Some("192.168.1.7")),
            ("172.31.0.1", Some("172.31.0.1")),
            ("100.64.0.1", Some("100.64.0.1")),
            ("FD00:0::7/64", Some("fd00::7")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("8.8.8.8", None),
            ("::ffff:8.8.8.8", None),
            ("127.0.0.1", None),
            ("::1", None),
            ("169.254.1.1", None),
            ("fe80::1", None),
            ("2001:db8::1", None),
            ("100.128.0.1", None),
            ("0.0.0.0", None),
            ("nonsense", None),
        ] {
            let found = own(&known("n", Some(&mesh(given))));
            assert_eq!(found.get(2).map(String::as_str), address, "{given}: {found:?}");
        }
    }

    #[test]
    fn names_of_other_nodes_are_not_given_twice() {
        let text = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let servers = text(&["cp.example.org", "*.nodes.example.org", "core", "10.0.0.1", "fd00::1"]);
        let of = |known: Known| own(&Known { servers: &servers, ..known });
        assert_eq!(of(known("Core", None)), ["Core.mesh.internal"]);
        assert_eq!(of(Known { domain: "example.org", ..known("cp", None) }), ["cp"]);
        assert_eq!(of(Known { domain: "nodes.example.org", ..known("n", None) }), ["n"]);
        for given in ["10.0.0.1", "::ffff:10.0.0.1", "fd00:0::1/64"] {
            assert_eq!(of(known("n", Some(&mesh(given)))).len(), 2, "{given}");
        }
        let earlier = [("pi", "web"), ("db1", "db.mesh.internal")].map(|(id, name)| (id.to_string(), name.to_string()));
        let others = [mesh("10.42.0.7/24")];
        let of = |known: Known| own(&Known { earlier: &earlier, others: &others, ..known });
        assert_eq!(of(known("PI", None)), [""; 0]);
        assert_eq!(of(known("db", None)), ["db"]);
        assert_eq!(of(known("Web", None)), ["Web.mesh.internal"]);
        assert_eq!(of(known("n", Some(&mesh("10.42.0.7")))).len(), 2);
        assert_eq!(of(known("n", Some(&mesh("10.42.0.8")))).len(), 3);
    }
}
