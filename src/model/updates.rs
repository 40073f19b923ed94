//! Updates: of the fleet, ring after ring; what a node's agent asks the updater of its machine for; what that updater tells of itself.

use super::release::Version;
use crate::clock::Timestamp;
use crate::model::ids::NodeId;
use serde::{Deserialize, Serialize};

/// A request has some hundred bytes.
pub const REQUEST_BYTES_MAX: u64 = 1024;
/// A state has some hundred bytes; its reason is cut at five hundred.
pub const STATE_BYTES_MAX: u64 = 4096;
/// Bytes of a channel's name.
const CHANNEL_BYTES_MAX: usize = 32;
/// Bytes of an update's id.
const ID_BYTES_MAX: usize = 64;

/// How far an update of the fleet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateState {
    /// Nodes of its ring are told.
    Running,
    /// An operator stopped it for now.
    Paused,
    /// It stopped by itself, because nodes failed or were lost.
    Halted,
    /// The last ring is done.
    Completed,
    /// An operator ended it.
    Cancelled,
}

impl UpdateState {
    /// The state of a word.
    pub fn parse(word: &str) -> Option<UpdateState> {
        use UpdateState::{Cancelled, Completed, Halted, Paused, Running};
        [Running, Paused, Halted, Completed, Cancelled].into_iter().find(|s| s.as_str() == word)
    }

    /// The word of a state.
    pub fn as_str(self) -> &'static str {
        match self {
            UpdateState::Running => "running",
            UpdateState::Paused => "paused",
            UpdateState::Halted => "halted",
            UpdateState::Completed => "completed",
            UpdateState::Cancelled => "cancelled",
        }
    }
}

/// The ring of every node that is in no other.
pub const EVERYBODY_ELSE: &str = "*";

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct NewUpdate {
    /// Its id; made where none is given.
    pub id: Option<String>,
    /// The channel of the release manifest.
    pub channel: String,
    /// The version that nodes are to have.
    pub version: String,
    /// The label that tells a node's ring.
    pub ring_label: String,
    /// Its values, in the order in which rings are updated.
    pub rings: Vec<String>,
    /// Seconds between one ring's end and the next one's begin.
    pub wait_s: i64,
    /// So many nodes may fail or be lost.
    pub lost_max: i64,
}

/// An update of the fleet.
#[derive(Debug, Clone, Serialize)]
pub struct Update {
    /// `update-...`.
    pub id: String,
    /// The channel of the release manifest.
    pub channel: String,
    /// The version that nodes are to have.
    pub version: String,
    /// The label that tells a node's ring.
    pub ring_label: String,
    /// Its values, in the order in which rings are updated.
    pub rings: Vec<String>,
    /// Seconds between one ring's end and the next one's begin.
    pub wait_seconds: i64,
    /// So many nodes may fail or be lost.
    pub lost_max: i64,
    /// How far it is.
    pub state: UpdateState,
    /// Why it halted.
    pub reason: Option<String>,
    /// The ring that is updated now, from 0.
    pub ring: usize,
    /// How often it was begun or resumed.
    pub attempt: i64,
    /// The nodes that lived when their ring began.
    #[serde(skip)]
    pub watched: Vec<NodeId>,
    /// Since when all of the ring is at the version.
    pub ring_done_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Update {
    /// What nodes are told.
    pub fn request(&self) -> Request {
        Request { id: format!("{}.{}", self.id, self.attempt), channel: self.channel.clone(), version: self.version.clone() }
    }

    /// The number of the ring that a node with this value of the label is in.
    pub fn ring_of(&self, label: Option<&str>) -> Option<usize> {
        let own = label.filter(|value| *value != EVERYBODY_ELSE).and_then(|value| self.rings.iter().position(|ring| ring == value));
        own.or_else(|| self.rings.iter().position(|ring| ring == EVERYBODY_ELSE))
    }
}

/// What a node tells that matters to an update.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its id.
    pub node_id: NodeId,
    /// The value of the label that tells its ring.
    pub label: Option<String>,
    /// The version that its agent is.
    pub version: Option<String>,
    /// The request that its updater worked on last.
    pub request_id: Option<String>,
    /// How that went.
    pub request_state: Option<String>,
    /// Why it went so.
    pub reason: Option<String>,
}

impl Member {
    /// Whether its agent is this version, or a newer one.
    pub fn is_at(&self, version: &str) -> bool {
        let of = |text: &str| Version::parse(text);
        self.version.as_deref().and_then(of).is_some_and(|own| of(version).is_some_and(|wanted| own >= wanted))
    }

    /// Whether its updater has given up on this request.
    pub fn has_failed(&self, request_id: &str) -> bool {
        let bad = ["failed", "rolled_back", "rolled_back_unhealthy", "stuck"];
        self.request_id.as_deref() == Some(request_id) && self.request_state.as_deref().is_some_and(|state| bad.contains(&state))
    }
}

/// What an agent asks for. It names what is wanted and never where from or how: that is the settings' and the updater's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The update that it is a part of.
    pub id: String,
    /// The channel of the release manifest.
    pub channel: String,
    /// The version that the channel must have.
    pub version: String,
}

impl Request {
    /// Reads one that an unprivileged program has written; fails with every fault, each a sentence.
    pub fn parse(text: &str) -> Result<Request, Vec<String>> {
        let request: Request = serde_json::from_str(text).map_err(|e| vec![format!("the request is not sound: {e}")])?;
        let faults = request.faults();
        if faults.is_empty() { Ok(request) } else { Err(faults) }
    }

    /// What is wrong with it.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !super::ids::is_id(&self.id) || self.id.len() > ID_BYTES_MAX {
            faults.push(format!("id must be 1 to {ID_BYTES_MAX} characters of A-Z a-z 0-9 . _ : -, the first a letter or digit"));
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

/// Whether a text can be the name of a channel.
pub fn is_channel(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=CHANNEL_BYTES_MAX).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(plain)
}

/// What the updater tells of its last run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `running`, `updated`, `failed`, `rolled_back`, `rolled_back_unhealthy` or `stuck`.
    pub state: String,
    /// The version from before; empty where there was none.
    #[serde(default)]
    pub from: String,
    /// The version that was wanted; empty where it was not known yet.
    #[serde(default)]
    pub to: String,
    /// The channel.
    #[serde(default)]
    pub channel: String,
    /// Who asked for it; empty where it was an operator on the machine.
    #[serde(default)]
    pub update_id: String,
    /// Why it is so, where it is not well.
    #[serde(default)]
    pub reason: String,
    /// When it was written.
    #[serde(default)]
    pub at: String,
}

impl State {
    /// Whether the run has ended.
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
