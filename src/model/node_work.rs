//! A node's work: the answer to `GET /node/work`.

use crate::model::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest text of a version: an epoch, a point and a number.
pub const VERSION_CHARS_MAX: usize = 64;

/// A state of a node's work. Numbers grow within an epoch, which is one run of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WorkVersion {
    /// Name of the run.
    pub epoch: String,
    /// Number of the last change, 0 before the first one.
    pub version: u64,
}

impl WorkVersion {
    /// Reads `EPOCH.VERSION`.
    pub fn parse(text: &str) -> Option<WorkVersion> {
        let (epoch, version) = text.split_once('.')?;
        let is_number = version.bytes().all(|b| b.is_ascii_digit());
        let read = WorkVersion { epoch: epoch.to_string(), version: version.parse().ok().filter(|_| is_number)? };
        Some(read).filter(|read| text.len() <= VERSION_CHARS_MAX && read.is_sound())
    }

    /// True if it can be read again from its text.
    pub fn is_sound(&self) -> bool {
        let is_name = !self.epoch.is_empty() && self.epoch.bytes().all(|b| b.is_ascii_alphanumeric());
        is_name && self.to_string().len() <= VERSION_CHARS_MAX
    }
}

impl fmt::Display for WorkVersion {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.version)
    }
}

/// A part of a node's work. There is no kind of it yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Assignment {}

/// A node's work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeWork {
    /// The node.
    pub node_id: NodeId,
    /// Run of the control plane that counts the versions.
    pub epoch: String,
    /// Number of the node's last change in this epoch.
    pub version: u64,
    /// Its parts.
    pub assignments: Vec<Assignment>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_an_epoch_and_a_number() {
        let read = |text: &str| WorkVersion::parse(text).map(|version| version.to_string());
        assert_eq!(read("0a1b.12"), Some("0a1b.12".to_string()));
        let long = format!("{}.1", "a".repeat(VERSION_CHARS_MAX));
        for bad in ["", ".", "a.", ".1", "a.-1", "a.+1", "a.1.2", "a b.1", "a.99999999999999999999", "a", &long] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
