//! Updates: of the fleet, ring by ring; the agent's request to the updater of its machine; the updater's report.

use super::release::Version;
use crate::clock::Timestamp;
use crate::model::ids::{NodeId, UpdateId};
use crate::model::words::words;
use serde::{Deserialize, Serialize};

/// Maximum size of a request, in bytes. One has a few hundred.
pub const REQUEST_BYTES_MAX: u64 = 1024;
/// Maximum size of a state, in bytes. One has a few hundred; its reason is cut at five hundred.
pub const STATE_BYTES_MAX: u64 = 4096;
/// Maximum length of a channel's name, in bytes.
const CHANNEL_BYTES_MAX: usize = 32;
/// Maximum length of an update's id, in bytes.
const ID_BYTES_MAX: usize = 64;

words! {
    /// State of a fleet update.
    pub enum UpdateState {
        /// The nodes of its ring are being updated.
        Running = "running",
        /// An operator paused it.
        Paused = "paused",
        /// It stopped by itself, because nodes failed or were lost.
        Halted = "halted",
        /// The last ring is done.
        Completed = "completed",
        /// An operator ended it.
        Cancelled = "cancelled",
    }
}

/// The ring of all nodes that are in no other ring.
pub const EVERYBODY_ELSE: &str = "*";

/// An update as an operator requests it.
#[derive(Debug, Clone)]
pub struct NewUpdate {
    /// Its id; `None` to generate one.
    pub id: Option<UpdateId>,
    /// The channel of the release manifest.
    pub channel: String,
    /// The target version.
    pub version: String,
    /// The label whose value is a node's ring.
    pub ring_label: String,
    /// Its values, in the order in which rings are updated.
    pub rings: Vec<String>,
    /// Seconds between the end of one ring and the start of the next.
    pub wait_s: i64,
    /// Maximum number of nodes that may fail or be lost.
    pub lost_max: i64,
}

/// An update of the fleet.
#[derive(Debug, Clone, Serialize)]
pub struct Update {
    /// `update-...`.
    pub id: UpdateId,
    /// The channel of the release manifest.
    pub channel: String,
    /// The target version.
    pub version: String,
    /// The label whose value is a node's ring.
    pub ring_label: String,
    /// Its values, in the order in which rings are updated.
    pub rings: Vec<String>,
    /// Seconds between the end of one ring and the start of the next.
    pub wait_seconds: i64,
    /// Maximum number of nodes that may fail or be lost.
    pub lost_max: i64,
    /// Its state.
    pub state: UpdateState,
    /// Reason for a halt.
    pub reason: Option<String>,
    /// Index of the current ring, from 0.
    pub ring: usize,
    /// Number of starts and resumes.
    pub attempt: i64,
    /// Nodes that were alive when their ring began.
    #[serde(skip)]
    pub watched: Vec<NodeId>,
    /// Time at which the whole ring had the target version.
    pub ring_done_at: Option<Timestamp>,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl Update {
    /// The request that nodes get.
    pub fn request(&self) -> Request {
        Request {
            id: format!("{}.{}", self.id, self.attempt),
            channel: self.channel.clone(),
            version: self.version.clone(),
        }
    }

    /// Index of the ring for a node with this value of the label.
    pub fn ring_of(&self, label: Option<&str>) -> Option<usize> {
        let own = label
            .filter(|value| *value != EVERYBODY_ELSE)
            .and_then(|value| self.rings.iter().position(|ring| ring == value));
        own.or_else(|| self.rings.iter().position(|ring| ring == EVERYBODY_ELSE))
    }
}

/// The part of a node's report that matters to an update.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its id.
    pub node_id: NodeId,
    /// The value of the ring label.
    pub label: Option<String>,
    /// Version of its agent.
    pub version: Option<String>,
    /// The last request that its updater worked on.
    pub request_id: Option<String>,
    /// Result of that request.
    pub request_state: Option<String>,
    /// Reason for that result.
    pub reason: Option<String>,
}

impl Member {
    /// True if its agent has this version or a newer one.
    pub fn is_at(&self, version: &str) -> bool {
        let of = |text: &str| Version::parse(text);
        self.version.as_deref().and_then(of).is_some_and(|own| of(version).is_some_and(|wanted| own >= wanted))
    }

    /// True if its updater has given up on this request.
    pub fn has_failed(&self, request_id: &str) -> bool {
        let bad = ["failed", "rolled_back", "rolled_back_unhealthy", "stuck"];
        self.request_id.as_deref() == Some(request_id)
            && self.request_state.as_deref().is_some_and(|state| bad.contains(&state))
    }
}

/// An agent's request for an update. It names the target, but neither source nor method: those belong to the settings
/// and the updater.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The update that it belongs to.
    pub id: String,
    /// The channel of the release manifest.
    pub channel: String,
    /// The version that the channel must have.
    pub version: String,
}

impl Request {
    /// Parses a request that an unprivileged program has written. The error lists every fault, each a sentence.
    pub fn parse(text: &str) -> Result<Request, Vec<String>> {
        let request: Request =
            serde_json::from_str(text).map_err(|e| vec![format!("the request is not sound: {e}")])?;
        let faults = request.faults();
        if faults.is_empty() { Ok(request) } else { Err(faults) }
    }

    /// Faults of the request, each a sentence.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !super::ids::is_id(&self.id) || self.id.len() > ID_BYTES_MAX {
            faults.push(format!(
                "id must be 1 to {ID_BYTES_MAX} characters of A-Z a-z 0-9 . _ : -, the first a letter or digit"
            ));
        }
        if !is_channel(&self.channel) {
            faults.push(format!("channel must be 1 to {CHANNEL_BYTES_MAX} characters of a-z 0-9 -, the first not a -"));
        }
        if Version::parse(&self.version).is_none() {
            faults.push("version must be a version, like 2.1.0".to_string());
        }
        faults
    }
}

/// True if a text is a valid channel name.
pub fn is_channel(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=CHANNEL_BYTES_MAX).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(plain)
}

/// The updater's report of its last run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `running`, `updated`, `failed`, `rolled_back`, `rolled_back_unhealthy` or `stuck`.
    pub state: String,
    /// The previous version; empty if there was none.
    #[serde(default)]
    pub from: String,
    /// The target version; empty if it was not known yet.
    #[serde(default)]
    pub to: String,
    /// The channel.
    #[serde(default)]
    pub channel: String,
    /// The update that requested it; empty for an operator on the machine.
    #[serde(default)]
    pub update_id: String,
    /// Reason for a failure; else empty.
    #[serde(default)]
    pub reason: String,
    /// Time of writing.
    #[serde(default)]
    pub at: String,
}

impl State {
    /// True if the run has ended.
    pub fn is_final(&self) -> bool {
        self.state != "running"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_and_nothing_else() {
        let sound = r#"{"id": "update-1", "channel": "stable", "version": "2.1.0"}"#;
        assert_eq!(Request::parse(sound).map(|r| r.version), Ok("2.1.0".to_string()));
        for bad in [
            "",
            "[]",
            r#"{"id": "a", "channel": "stable"}"#,
            r#"{"id": "a", "channel": "stable", "version": "2.1.0", "url": "http://x/"}"#,
            r#"{"id": "a", "channel": "stable", "version": "2.1.0", "version": "2.1.0"}"#,
            r#"{"id": "--bin=/x", "channel": "stable", "version": "2.1.0"}"#,
            r#"{"id": "a", "channel": "--recover", "version": "2.1.0"}"#,
            r#"{"id": "a", "channel": "stable", "version": "2.1.0; reboot"}"#,
        ] {
            assert!(Request::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Request::parse(r#"{"id": "", "channel": "", "version": ""}"#).map_err(|f| f.len()), Err(3));
    }
}
