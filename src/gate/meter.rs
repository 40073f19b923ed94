//! What calls are counted by, and what they cost. A route's line says which of these holds for it.

use super::{Reply, node};
use crate::control::Control;
use crate::control::access::throttle;
use crate::error::{Error, Result};
use crate::http::Request;
use crate::model::address;
use crate::model::ids::NodeId;

/// How calls of a route are counted. Signed-in callers are counted by their session or token, whatever the route; this
/// is about all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meter {
    /// Only signed-in callers get through. An address that was refused too often waits.
    Caller,
    /// Each call costs its address one of those that anonymous callers have. It is open also where the address was
    /// refused too often: the neighbours of a bad client must not lose it.
    Address,
    /// As [`Meter::Address`], and a page of another site may not cause it: it would sign a browser in as a user of its
    /// choice. Sign-in has a lock of its own.
    SignIn,
    /// Each call costs its address one, but a success is free. An address that was refused too often waits: join tokens
    /// are guessed here.
    Join,
    /// As [`Meter::Join`], but open also where the address was refused too often: the key of the node proves it.
    Renewal,
    /// As [`Meter::Join`], but by the node whose genuine lease token the body shows, where its address has nothing
    /// left: the neighbours of a node that misbehaves must not lose their leases.
    SealedByBody,
    /// As [`Meter::SealedByBody`], but by the lease token in the headers, or the client certificate.
    Node,
}

impl Meter {
    /// Its word in the list of routes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Meter::Caller => "caller",
            Meter::Address => "address",
            Meter::SignIn => "sign-in",
            Meter::Join => "join",
            Meter::Renewal => "renewal",
            Meter::SealedByBody => "sealed-by-body",
            Meter::Node => "node",
        }
    }

    /// True if it is open also to addresses that were refused too often.
    pub(super) fn spares_refused(self) -> bool {
        matches!(self, Meter::Address | Meter::SignIn | Meter::Renewal)
    }

    /// True if a success costs nothing.
    fn frees_success(self) -> bool {
        matches!(self, Meter::Join | Meter::Renewal | Meter::SealedByBody | Meter::Node)
    }

    /// The node that a call is counted by, known by the seal of its lease token or by its certificate, before anything
    /// else is proven.
    pub(super) fn node(self, control: &Control, request: &Request) -> Option<NodeId> {
        match self {
            Meter::SealedByBody => throttle::node_of_beat(control, &request.body),
            Meter::Node => node::sealed(control, request),
            Meter::Caller | Meter::Address | Meter::SignIn | Meter::Join | Meter::Renewal => None,
        }
    }

    /// Counts a call by an anonymous caller, makes it, and gives back what it took where it was free after all.
    pub(super) fn count(self, control: &Control, request: &Request, call: impl FnOnce() -> Reply) -> Reply {
        let (source, open) = (address::client(request.client), &control.throttle.open);
        let taken = match open.take(source) {
            Ok(_) => true,
            Err(wait_s) => {
                let node = self.node(control, request).ok_or_else(|| throttle::too_many(wait_s))?;
                // Not of what the node itself may do: who shows its token need not be it.
                control.throttle.callers.take(format!("seal:{node}")).map_err(throttle::too_many)?;
                false
            }
        };
        let reply = call();
        if taken && self.is_free(control, request, &reply) {
            open.give_back(source);
        }
        reply
    }

    fn is_free(self, control: &Control, request: &Request, reply: &Reply) -> bool {
        match reply {
            Ok(response) => (200..300).contains(&response.status) && self.frees_success(),
            // After a long absence a whole fleet behind one address is told why its heartbeats are refused. One node is
            // not told so for ever.
            Err(Error::Unauthenticated { reason: Some(_), .. }) => {
                self.node(control, request).is_some_and(|node| control.throttle.refused_nodes.take(node.to_string()).is_ok())
            }
            Err(_) => false,
        }
    }
}

/// Counts a call of a node that has proven itself.
pub(super) fn take_of_node(control: &Control, node_id: &NodeId) -> Result<()> {
    control.throttle.callers.take(format!("node:{node_id}")).map(drop).map_err(throttle::too_many)
}
