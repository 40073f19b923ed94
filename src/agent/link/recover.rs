//! Recovery from refusals, and renewal of the identity in time.

use super::{AgentError, Link, Linked, enrol};
use crate::client::CallError;
use crate::clock::{self, Timestamp};
use crate::model::node_api::Reason;
use std::time::Duration;

/// Tries of a heartbeat whose signing time was used already, each a second newer: fewer than a clock may be off.
pub const REPLAYS_MAX: u32 = 8;
/// Wait after a failed renewal of the certificate: there are weeks left.
const RENEWAL_RETRY: Duration = Duration::from_secs(600);

impl Link {
    /// Removes the cause of a refusal, and beats once more.
    pub(super) fn recover(&mut self, reason: Option<Reason>, server_time: Option<Timestamp>) -> Linked<()> {
        self.learn(server_time);
        match reason {
            Some(Reason::ClockSkew) => self.clock.forget_signed(),
            Some(Reason::Replayed) => return self.outrun_replays(),
            // The lease token has ended, is of another time of the cluster, or an answer with a newer one was lost.
            None
            | Some(
                Reason::LeaseExpired
                | Reason::IdentityReplaced
                | Reason::CertificateExpired
                | Reason::IdentityExpired
                | Reason::BadSignature
                | Reason::AnotherRun,
            ) => self.prove_identity()?,
            Some(Reason::Unknown(word)) => {
                log::warn!(
                    target: "agent", event = "agent.reason_unknown", node_id = self.identity.node_id, reason = word;
                    "The control plane refused for a reason unknown to this version; renewing the identity"
                );
                self.prove_identity()?;
            }
        }
        self.beat()
    }

    /// Beats with newer signing times: an agent that was restarted several times within a second has run ahead.
    fn outrun_replays(&mut self) -> Linked<()> {
        let mut result = self.beat();
        for _ in 1..REPLAYS_MAX {
            match &result {
                Err(e) if e.reason() == Some(&Reason::Replayed) => result = self.beat(),
                _ => break,
            }
        }
        result
    }

    /// Renews by the node's key, which needs no disk. If that is refused, takes the identity that a join has put beside
    /// the running agent.
    fn prove_identity(&mut self) -> Linked<()> {
        let Err(e) = self.renew() else { return Ok(()) };
        if e.status() != Some(401) {
            return Err(e);
        }
        if let Some(current) = self.identity.replaced() {
            self.identity = current;
            self.reconnect();
            return Ok(());
        }
        if e.reason().is_none() {
            log::error!(
                target: "agent", event = "agent.not_enrolled", node_id = self.identity.node_id;
                "The control plane does not know this node's key: it was removed or replaced. Join again with a new \
                    token"
            );
        }
        Err(e)
    }

    /// Renews the certificate once half of its life is over.
    pub(super) fn renew_certificate(&mut self) {
        let waiting = self.renewal_tried.is_some_and(|at| at.elapsed() < RENEWAL_RETRY);
        if waiting || !enrol::renewal_is_due(&self.identity.cert_pem, self.clock.now()) {
            return;
        }
        self.renewal_tried = Some(clock::tick());
        if let Err(e) = self.renew() {
            log::warn!(
                target: "agent", event = "agent.renew_failed", node_id = self.identity.node_id, error:% = e;
                "Could not renew the certificate; it will be retried"
            );
        }
    }

    /// Renews certificate and lease token; with the server's time, where the local clock turns out to be off.
    pub(super) fn renew(&mut self) -> Linked<()> {
        let mut result = enrol::renew(&self.api, &mut self.identity, self.clock.sign_at());
        if let Err(AgentError::Call(CallError::Refused { reason: Some(reason), server_time, .. })) = &result
            && matches!(reason, Reason::ClockSkew | Reason::Replayed)
        {
            if *reason == Reason::ClockSkew {
                self.clock.forget_signed();
            }
            let server_time = *server_time;
            self.learn(server_time);
            result = enrol::renew(&self.api, &mut self.identity, self.clock.sign_at());
        }
        if result.is_ok() {
            self.reconnect();
            self.publish();
            log::info!(
                target: "agent", event = "agent.renewed", node_id = self.identity.node_id;
                "Renewed the certificate and the lease token"
            );
        }
        result
    }
}
