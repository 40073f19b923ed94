//! Updates of nodes: what an agent asks the updater of its machine for, and what that updater tells of itself.

use super::release::Version;
use serde::{Deserialize, Serialize};

/// A request has some hundred bytes.
pub const REQUEST_BYTES_MAX: u64 = 1024;
/// A state has some hundred bytes; its reason is cut at five hundred.
pub const STATE_BYTES_MAX: u64 = 4096;
/// Bytes of a channel's name.
const CHANNEL_BYTES_MAX: usize = 32;
/// Bytes of an update's id.
const ID_BYTES_MAX: usize = 64;

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
