//! One request, as handlers see it.

use crate::http::{cookie, form};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tiny_http::Method;

/// A complete request. It has no `Debug`: its headers hold cookies and tokens.
pub struct Request {
    /// The method. Handle `HEAD` like `GET`; the front omits the body.
    pub method: Method,
    /// The target before `?`, still percent-encoded.
    pub path: String,
    /// The target after `?`, still percent-encoded; empty without one.
    pub query: String,
    /// Names as received, values trimmed. A value that is not UTF-8 is read as Latin-1.
    pub headers: Vec<(String, String)>,
    /// The body, whole and not longer than the front allows.
    pub body: Vec<u8>,
    /// The sender: an IPv4 client of an IPv6 listener has its IPv4 address.
    pub peer: SocketAddr,
    /// The client: the peer, or the client named by a trusted proxy.
    pub client: IpAddr,
    /// The word that a trusted proxy sends in place of the client's address.
    pub unnamed: Option<String>,
    /// True if it came over TLS, to here or to a trusted proxy.
    pub secure: bool,
    /// True if it was forwarded by a trusted proxy that says so.
    pub by_proxy: bool,
    /// The client's certificate (DER), whose key the client has proven to hold.
    pub certificate: Option<Arc<[u8]>>,
    /// The requested host, with its port if given: of this request, or of the one that a trusted proxy received.
    pub host: String,
    /// The client's `X-Request-ID`, or a new UUID.
    pub request_id: String,
    /// Path below which the caller sees this server, `/mesh`; empty if it has the whole host.
    pub base: String,
    /// Path arguments, filled in by the router.
    pub args: Vec<String>,
}

impl Request {
    /// An empty request for this path.
    pub fn empty(method: Method, path: &str) -> Request {
        let peer = SocketAddr::from(([127, 0, 0, 1], 0));
        Request {
            method,
            path: path.to_string(),
            query: String::new(),
            headers: Vec::new(),
            body: Vec::new(),
            peer,
            client: peer.ip(),
            unnamed: None,
            secure: false,
            by_proxy: false,
            certificate: None,
            host: String::new(),
            request_id: String::new(),
            base: String::new(),
            args: Vec::new(),
        }
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers_named(name).next()
    }

    /// The values of all headers of that name, as one list with commas.
    pub fn list(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.headers_named(name).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// True if it comes from this machine. A forwarded one does not, whatever the proxy's address.
    pub fn is_local(&self) -> bool {
        self.direct_peer().is_some_and(|peer| peer.is_loopback())
    }

    /// Address at the other end of the connection; `None` where a proxy passed the request on.
    pub fn direct_peer(&self) -> Option<IpAddr> {
        (!self.is_passed_on()).then(|| self.peer.ip().to_canonical())
    }

    /// True if it was forwarded by a proxy that says so.
    pub fn is_passed_on(&self) -> bool {
        let begins =
            |name: &str, with: &str| name.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
        let says_so = |name: &str| {
            begins(name, "x-forwarded")
                || ["x-real-ip", "forwarded", "via"].iter().any(|n| name.eq_ignore_ascii_case(n))
        };
        self.headers.iter().any(|(name, _)| says_so(name))
    }

    /// The first cookie of that name.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.headers_named("cookie").find_map(|value| cookie::find(value, name))
    }

    /// All cookies of that name.
    pub fn cookies(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers_named("cookie").flat_map(move |value| cookie::all(value, name))
    }

    /// Its bearer tokens.
    pub fn bearers(&self) -> impl Iterator<Item = &str> {
        self.headers_named("authorization").flat_map(|line| line.split(',')).filter_map(|value| {
            let (scheme, token) = value.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        })
    }

    /// The query's decoded pairs, in order.
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        form::parse(self.query.as_bytes())
    }

    /// The values of all headers of that name, in any case.
    pub fn headers_named<'r>(&'r self, name: &str) -> impl Iterator<Item = &'r str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
