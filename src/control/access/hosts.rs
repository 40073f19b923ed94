//! Under which names this server is known. A page of another site can let its own name point at our address and read what we answer,
//! as if we were its own server; but its requests say the name that the browser believes in, and that one we do not know.

use crate::config::Config;
use crate::sys::host;
use std::net::{IpAddr, Ipv6Addr};

/// The names of this server.
pub struct Hosts(Vec<String>);

impl Hosts {
    pub(in crate::control) fn new(config: &Config) -> Hosts {
        let mut names = vec![config.server_host.to_ascii_lowercase()];
        if let Some(own) = host::name().map(|name| name.as_str().to_ascii_lowercase()) {
            // The name that machines of one network call each other by.
            names.push(format!("{own}.local"));
            names.push(own);
        }
        names.extend(config.tls_names.iter().cloned());
        names.extend(config.advertised.iter().map(|(host, _)| host.clone()));
        Hosts(names)
    }

    /// Whether a request for this host, with or without a port, may be meant for this server. An address is nobody's name. A name
    /// without a dot is given by a network's own administrator (`localhost`, a container's name) and never by a stranger's DNS.
    pub fn know(&self, host: &str) -> bool {
        let name = name_of(host).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let is_named = |own: &String| match own.strip_prefix("*.") {
            Some(domain) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == domain),
            None => own == name,
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        !name.contains(['.', ':']) || bare.parse::<IpAddr>().is_ok() || self.0.iter().any(is_named)
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    if host.parse::<Ipv6Addr>().is_ok() {
        return host;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_to_its_own_names_only() {
        let hosts = Hosts(["0.0.0.0", "pi.local", "mesh.example", "*.nodes.example"].map(String::from).to_vec());
        for known in [
            "",
            "localhost:8000",
            "LOCALHOST",
            "control-plane",
            "127.0.0.1:8000",
            "203.0.113.9",
            "[::1]:8000",
            "::1",
            "[fd00::1]",
            "pi.local",
            "Mesh.Example.:443",
            "a.nodes.example:1",
        ] {
            assert!(hosts.know(known), "{known}");
        }
        for strange in [
            "evil.example",
            "evil.example:8000",
            "mesh.example.evil.example",
            "xmesh.example",
            "a.b.nodes.example",
            "nodes.example",
            ".nodes.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:x",
            "[::1]evil.example",
        ] {
            assert!(!hosts.know(strange), "{strange}");
        }
    }
}
