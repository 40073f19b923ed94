//! The join string: one line that lets a machine join this cluster and no other.
//!
//! `umj1:<role>:<fingerprint>:<secret>:<address>,<address>`: the version of this format; the role; the SHA-256 (hex) of
//! the certificate of the cluster's authority, by which the server proves itself before the secret is sent; the join
//! token's secret; the addresses of the server.

/// Version of the format.
const VERSION: &str = "umj1";
/// Maximum length of a join string, in bytes.
const BYTES_MAX: usize = 2048;
/// Maximum number of addresses in a join string; each is tried until one answers.
pub const ADDRESSES_MAX: usize = 16;

/// Parts of a join string. Holds a secret, so it has neither Debug nor Display.
#[derive(PartialEq)]
pub struct JoinString {
    /// The role that the token admits.
    pub role: String,
    /// SHA-256 of the authority's certificate, lower-case hex.
    pub authority: String,
    /// The join token's secret.
    pub token: String,
    /// `host:port`, the most likely to work first.
    pub addresses: Vec<String>,
}

impl JoinString {
    /// Parses a join string. The error is a sentence that does not repeat the secret.
    pub fn parse(text: &str) -> Result<JoinString, &'static str> {
        let text = text.trim();
        let parts: Vec<&str> = text.splitn(5, ':').collect();
        if text.len() > BYTES_MAX || parts[0] != VERSION {
            return Err(
                "this is not a join string: it begins with umj1: (create one: uptimemesh token create --role worker \
                    --join-string)",
            );
        }
        let [_, role, authority, token, addresses] = parts[..] else { return Err("the join string is cut off") };
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let word =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let addresses: Vec<String> = addresses.split(',').map(str::to_string).collect();
        let sound = word(role)
            && authority.len() == 64
            && authority.bytes().all(hex)
            && word(token)
            && addresses.len() <= ADDRESSES_MAX
            && addresses.iter().all(|a| is_address(a));
        if !sound {
            return Err("the join string is damaged: copy it again, whole");
        }
        Ok(JoinString { role: role.into(), authority: authority.into(), token: token.into(), addresses })
    }

    /// Formats the join string.
    pub fn text(&self) -> String {
        format!("{VERSION}:{}:{}:{}:{}", self.role, self.authority, self.token, self.addresses.join(","))
    }

    /// The URLs of its addresses.
    pub fn urls(&self) -> Vec<String> {
        self.addresses.iter().map(|a| format!("https://{a}")).collect()
    }
}

/// True if a text is `host:port`, the host a name, an IPv4 address, or an IPv6 address in brackets.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let v6 = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .is_some_and(|h| h.parse::<std::net::Ipv6Addr>().is_ok());
    let name = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    (v6 || name) && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_string_reads_as_it_was_written() {
        let addresses = ["cp.example:8000", "192.0.2.7:8000", "[2001:db8::1]:443"].map(String::from).to_vec();
        let written =
            JoinString { role: "worker".into(), authority: "0a".repeat(32), token: "AZaz09-_".into(), addresses };
        let text = format!(" {}\n", written.text());
        let read = JoinString::parse(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
        assert!(read == written);
        assert_eq!(read.urls()[2], "https://[2001:db8::1]:443");
    }

    #[test]
    fn an_invalid_one_is_refused_without_its_secret() {
        let (fingerprint, long) = ("0a".repeat(32), "x".repeat(3000));
        let with = |parts: [&str; 5]| parts.join(":");
        for bad in [
            String::new(),
            "s3cret".into(),
            with(["umj2", "worker", &fingerprint, "s3cret", "a:1"]),
            with(["umj1", "", &fingerprint, "s3cret", "a:1"]),
            with(["umj1", "worker", "0a", "s3cret", "a:1"]),
            with(["umj1", "worker", &fingerprint.to_uppercase(), "s3cret", "a:1"]),
            with(["umj1", "worker", &fingerprint, "", "a:1"]),
            with(["umj1", "worker", &fingerprint, "s3 cret", "a:1"]),
            with(["umj1", "worker", &fingerprint, "s3cret", ""]),
            with(["umj1", "worker", &fingerprint, "s3cret", "a"]),
            with(["umj1", "worker", &fingerprint, "s3cret", "a:0"]),
            with(["umj1", "worker", &fingerprint, "s3cret", "a:+1"]),
            with(["umj1", "worker", &fingerprint, "s3cret", "a:70000"]),
            with(["umj1", "worker", &fingerprint, "s3cret", "a/b:1"]),
            with(["umj1", "worker", &fingerprint, "s3cret", "[::x]:1"]),
            with(["umj1", "worker", &fingerprint, "s3cret", "a:1,"]),
            with(["umj1", "worker", &fingerprint, &long, "a:1"]),
            with(["umj1", "worker", &fingerprint, "s3cret", &["a:1"; 17].join(",")]),
        ] {
            let why = JoinString::parse(&bad).err().unwrap_or_else(|| panic!("taken: {bad}"));
            assert!(!why.contains("s3cret"));
        }
    }
}
