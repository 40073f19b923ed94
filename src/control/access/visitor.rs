//! A client and its place, before its credential is checked.

use std::net::IpAddr;

/// Origin of a request, as far as it affects permissions.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The client's address.
    pub address: IpAddr,
    /// True for this machine itself.
    pub is_local: bool,
    /// Address at the other end of the connection; `None` if a proxy passed the request on.
    pub direct: Option<IpAddr>,
}

/// A client that signs in.
pub struct Visitor {
    /// Origin of its request.
    pub place: Place,
    /// Its `User-Agent`.
    pub user_agent: String,
}
