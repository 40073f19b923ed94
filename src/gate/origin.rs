//! Checks which site caused a request. A browser sends its cookies along whichever site caused the request, and names
//! that site.

use crate::error::{Error, Result};
use crate::http::Request;

/// The refusal; the operator of a proxy reads it too.
const ELSEWHERE: &str = "Another site caused this request. If it is your own site behind a proxy: let the proxy \
    forward the Host header, or list it in TRUSTED_PROXIES and let it set X-Forwarded-Host and X-Forwarded-Proto.";

/// Refuses a request that another site caused, as the browser says. A client that does not name a site is not a modern
/// browser.
pub fn check(request: &Request) -> Result<()> {
    let fine = match (request.header("sec-fetch-site"), request.header("origin")) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => is_own(origin, &request.host, request.secure),
        (None, None) => true,
    };
    if fine { Ok(()) } else { Err(Error::Forbidden(ELSEWHERE)) }
}

/// True if an origin, `https://host:port`, is the requested host. Over TLS an origin without TLS is foreign.
fn is_own(origin: &str, host: &str, secure: bool) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "https" => ":443",
        "http" if !secure => ":80",
        _ => return false,
    };
    // A proxy that ends TLS and is not listed looks like plain HTTP to us: then the default port may be either.
    let own = [":443", ":80"].iter().find_map(|port| host.strip_suffix(port)).unwrap_or(host);
    !own.is_empty() && authority.strip_suffix(default_port).unwrap_or(authority).eq_ignore_ascii_case(own)
}

#[cfg(test)]
mod tests {
    use super::is_own;

    #[test]
    fn an_origin_is_ours_by_host_and_port() {
        for (origin, host, secure) in [
            ("http://a.example", "a.example", false),
            ("http://A.example", "a.example:80", false),
            ("http://a.example:8000", "a.example:8000", false),
            ("https://a.example", "a.example", true),
            ("https://a.example", "a.example:443", true),
            ("https://a.example", "a.example", false),
            ("http://[::1]:8000", "[::1]:8000", false),
        ] {
            assert!(is_own(origin, host, secure), "{origin} {host}");
        }
        for (origin, host, secure) in [
            ("null", "a.example", false),
            ("", "a.example", false),
            ("http://", "", false),
            ("http://a.example", "a.example", true),
            ("http://b.example", "a.example", false),
            ("http://a.example.evil.example", "a.example", false),
            ("http://a.example:8001", "a.example:8000", false),
            ("http://a.example", "a.example:8000", false),
            ("ftp://a.example", "a.example", false),
            ("http://a.example/", "a.example", false),
        ] {
            assert!(!is_own(origin, host, secure), "{origin} {host}");
        }
    }
}
