//! HTTP/1.1 as a server: from accepted sockets to [`Request`] values, and from [`Response`] values back to bytes.
//!
//! Everything a client can do wrong on the wire is decided here, so that a handler sees only whole, bounded and
//! well-formed requests. Which path means what, who may call it and what an answer says is left to the router and
//! the gate: nothing here knows a route or a resource.

pub(crate) mod answers;
pub mod cookie;
pub mod describe;
pub(crate) mod exchange;
pub mod fields;
pub mod form;
mod forwarded;
pub(crate) mod head;
mod json;
pub mod limits;
pub mod listen;
pub mod request;
pub mod response;
pub(crate) mod slots;
pub mod table;
pub(crate) mod transport;

pub use limits::Limits;
pub use request::Request;
pub use response::{Response, Sink};
