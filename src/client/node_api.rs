//! The calls of a node.

use super::{Api, CallError, Called};
use crate::model::node_api::{Enrolment, HeartbeatAnswer, HeartbeatRequest, JoinRequest, RenewalRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An answer as it is understood, and as it came.
pub struct Answered<T> {
    /// The part that this version knows.
    pub known: T,
    /// All of it.
    pub whole: Value,
}

impl Api {
    /// Enrols a machine.
    pub fn join(&self, request: &JoinRequest) -> Called<Answered<Enrolment>> {
        self.exchange("/cluster/join", request)
    }

    /// Sends a heartbeat.
    pub fn heartbeat(&self, request: &HeartbeatRequest) -> Called<Answered<HeartbeatAnswer>> {
        self.exchange("/cluster/heartbeat", request)
    }

    /// Renews a node's identity.
    pub fn renew(&self, request: &RenewalRequest) -> Called<Enrolment> {
        self.exchange("/cluster/renew", request).map(|answer| answer.known)
    }

    fn exchange<T: DeserializeOwned>(&self, path: &str, request: &impl Serialize) -> Called<Answered<T>> {
        let whole = self.post(path, request)?;
        let known = T::deserialize(&whole).map_err(|e| {
            let url = self.url();
            CallError::Unreachable(format!("{url}{path} answered in a form that this version does not know: {e}"))
        })?;
        Ok(Answered { known, whole })
    }
}
