//! Calls that a node signs. They are signed also where the connection shows the node's certificate: a proxy may end TLS
//! on the way.

use super::{Api, Called};
use crate::clock::Timestamp;
use crate::crypto::pki::NodeKey;
use crate::crypto::signature::NodeCall;
use crate::error::Result;
use crate::model::ids::NodeId;
use crate::model::node_calls::{self, LEASE_TOKEN, RUN, SIGNATURE, SIGNED_AT};
use crate::model::node_runs::AgentRun;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::time::Duration;

/// Key and token that a node signs with.
pub struct Signer<'s> {
    /// The node.
    pub node_id: &'s NodeId,
    /// Its lease token.
    pub lease_token: &'s str,
    /// Its key.
    pub key: &'s NodeKey,
    /// The run of its agent, where it is known.
    pub run: Option<&'s AgentRun>,
}

/// A call that is ready to be sent, once.
pub struct SignedCall<'s> {
    method: &'s str,
    path: &'s str,
    body: Option<String>,
    headers: Vec<(&'static str, String)>,
}

/// An answer, and the pause that the server requests after it.
pub struct Paused<T> {
    /// The answer.
    pub answer: T,
    /// Time until the next call, if it was sent.
    pub retry_after: Option<Duration>,
}

impl Signer<'_> {
    /// Signs a call of this path, which is what follows the server's URL. `at`, by the server's clock, must be another
    /// for each call.
    pub fn sign<'s>(
        &self,
        method: &'s str,
        path: &'s str,
        body: Option<String>,
        at: Timestamp,
    ) -> Result<SignedCall<'s>> {
        let run = self.run.map(node_calls::run_text).unwrap_or_default();
        let call = NodeCall {
            node_id: self.node_id.as_str(),
            lease_token: self.lease_token,
            signed_at_ms: at.0.div_euclid(1000),
            run: &run,
            method,
            target: path,
            body: body.as_deref().unwrap_or_default().as_bytes(),
        };
        let mut headers = vec![
            (LEASE_TOKEN, self.lease_token.to_string()),
            (SIGNED_AT, call.signed_at_ms.to_string()),
            (SIGNATURE, BASE64_STANDARD.encode(self.key.sign(&call.message())?)),
        ];
        if !run.is_empty() {
            headers.push((RUN, run));
        }
        Ok(SignedCall { method, path, body, headers })
    }
}

impl Api {
    /// Makes a call that a node has signed.
    pub fn send(&self, signed: SignedCall) -> Called<Value> {
        self.send_pausing(signed).map(|paused| paused.answer)
    }

    /// The same, with the pause that the server requests. An answer without a body is null.
    pub fn send_pausing(&self, signed: SignedCall) -> Called<Paused<Value>> {
        let headers: Vec<(&str, &str)> = signed.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = self.call(signed.method, signed.path, signed.body, &headers)?;
        Ok(Paused { answer: answer.body, retry_after: answer.retry_after })
    }
}
