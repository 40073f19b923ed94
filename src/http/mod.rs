//! HTTP/1.1 as a server: from accepted sockets to [`Request`] values, and from [`Response`] values back to bytes.
//!
//! Handles everything a client can do wrong on the wire, so that handlers see only complete, bounded and well-formed
//! requests. The router and the gate decide what paths mean, who may call them and what answers say: nothing here knows
//! a route or a resource.

pub(crate) mod answers;
pub mod cookie;
pub mod describe;
pub(crate) mod exchange;
pub mod fields;
pub mod form;
mod forwarded;
pub(crate) mod head;
mod json;
pub mod later;
pub mod limits;
pub mod listen;
mod parked;
mod pool;
pub mod request;
pub mod response;
pub(crate) mod slots;
mod socket;
pub mod table;
pub(crate) mod transport;

pub use limits::Limits;
pub use request::Request;
pub use response::{Response, Sink};
