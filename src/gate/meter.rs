//! Metering of calls: the bucket that pays for a call, and the price. Each route's line names its meter.

use super::{Reply, node};
use crate::control::Control;
use crate::control::access::throttle;
use crate::error::{Error, Result};
use crate::http::Request;
use crate::model::address;
use crate::model::ids::NodeId;

/// Metering of a route's anonymous calls. Signed-in callers are counted by their session or token, whatever the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meter {
    /// Only signed-in callers get through. An address that was refused too often must wait.
    Caller,
    /// Each call takes one from the address's budget for anonymous callers. Stays open for an address that was refused
    /// too often: the neighbours of a bad client must not lose it.
    Address,
    /// Like [`Meter::Address`], but another site's page may not cause the call: it would sign a browser in as a user of
    /// its choice. Sign-in has a lock of its own.
    SignIn,
    /// Each call takes one from the address's budget, but a success is free. An address that was refused too often must
    /// wait: join tokens could be guessed here.
    Join,
    /// Like [`Meter::Join`], but open even for an address that was refused too often: the key of the node proves the
    /// call.
    Renewal,
    /// Like [`Meter::Join`], but paid for by the node with the genuine lease token in the body once its address has
    /// nothing left: the neighbours of a misbehaving node must not lose their leases.
    SealedByBody,
    /// Like [`Meter::SealedByBody`], but by the lease token in the headers, or the client certificate.
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

    /// True if it stays open for addresses that were refused too often.
    pub(super) fn admits_refused(self) -> bool {
        matches!(self, Meter::Address | Meter::SignIn | Meter::Renewal)
    }

    /// True if a successful call is free.
    fn frees_success(self) -> bool {
        matches!(self, Meter::Join | Meter::Renewal | Meter::SealedByBody | Meter::Node)
    }

    /// The node that pays for a call, known by the seal of its lease token or by its certificate, before anything else
    /// is proven.
    pub(super) fn node(self, control: &Control, request: &Request) -> Option<NodeId> {
        match self {
            Meter::SealedByBody => throttle::node_of_beat(control, &request.body),
            Meter::Node => node::sealed(control, request),
            Meter::Caller | Meter::Address | Meter::SignIn | Meter::Join | Meter::Renewal => None,
        }
    }

    /// Charges an anonymous caller, makes the call, and refunds the charge if the call turns out to be free.
    pub(super) fn count(self, control: &Control, request: &Request, call: impl FnOnce() -> Reply) -> Reply {
        let (source, open) = (address::client(request.client), &control.throttle.open);
        let taken = match open.take(source) {
            Ok(_) => true,
            Err(wait_s) => {
                let node = self.node(control, request).ok_or_else(|| throttle::too_many(wait_s))?;
                // Not charged to the node's own budget: the caller who shows its token need not be the node.
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
            // After a long absence a whole fleet behind one address may learn why its heartbeats are refused. A single
            // node may not go on with this for ever.
            Err(Error::Unauthenticated { reason: Some(_), .. }) => {
                let refused = &control.throttle.refused_nodes;
                self.node(control, request).is_some_and(|node| refused.take(node.to_string()).is_ok())
            }
            Err(_) => false,
        }
    }
}

/// Returns to a node the charge of a call that waits: it is counted by its answer to come, not by its number.
pub fn refund_node(control: &Control, node_id: &NodeId) {
    control.throttle.callers.give_back(format!("node:{node_id}"));
}

/// Charges a node that has proven itself.
pub(super) fn charge_node(control: &Control, node_id: &NodeId) -> Result<()> {
    control.throttle.callers.take(format!("node:{node_id}")).map(drop).map_err(throttle::too_many)
}
