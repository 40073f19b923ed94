//! Messages between an agent and a runner that is a service of its own: lines of JSON over a socket of this machine.

use crate::error::{Doing, Error, Result};
use crate::model::ids::ReplicaId;
use crate::model::node_status::NodeStatus;
use crate::model::node_work::NodeWork;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{BufRead, Read, Write};

/// Version of the messages.
pub const VERSION: u32 = 1;
/// Longest message in bytes: a document of 4 MiB, each byte of which may be escaped, in its envelope.
const LINE_BYTES_MAX: u64 = (8 << 20) + (64 << 10);
const DOING: &str = "talk between agent and runner";

/// A message to the runner, with one of its fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToRunner {
    /// [`VERSION`] of the sender.
    pub v: u32,
    /// Work, exactly as the control plane sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<NodeWork>,
    /// Stops all work until the runner starts again, within this number of seconds. Only root may say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_all: Option<u64>,
}

/// A message of the runner, with one of its fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FromRunner {
    /// [`VERSION`] of the sender.
    pub v: u32,
    /// Abilities of the node, at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abilities: Option<Value>,
    /// The replicas: all at the beginning and when one is gone, otherwise those that have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<NodeStatus>,
    /// The answer to `stop_all`: replicas that still run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Vec<ReplicaId>>,
    /// Reason why the runner does not listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl ToRunner {
    /// Hands over work.
    pub fn work(work: NodeWork) -> ToRunner {
        ToRunner { v: VERSION, work: Some(work), ..ToRunner::default() }
    }

    /// Stops all work.
    pub fn stop_all(at_most_s: u64) -> ToRunner {
        ToRunner { v: VERSION, stop_all: Some(at_most_s), ..ToRunner::default() }
    }
}

impl FromRunner {
    /// A message without content.
    pub fn empty() -> FromRunner {
        FromRunner { v: VERSION, ..FromRunner::default() }
    }
}

/// Writes a message.
pub fn write<M: Serialize>(stream: &mut impl Write, message: &M) -> Result<()> {
    let mut line = serde_json::to_vec(message).map_err(|e| Error::fault(DOING, e.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).doing(DOING)
}

/// Reads a message; `None` at the end.
///
/// # Errors
/// Fails if it is too long, incomplete, or not a message.
pub fn read<M: DeserializeOwned>(stream: &mut impl BufRead) -> Result<Option<M>> {
    let mut line = Vec::new();
    stream.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).doing(DOING)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(Error::fault(DOING, "a message is too long, or broke off".to_string()));
    }
    serde_json::from_slice(&line).map(Some).map_err(|e| Error::fault(DOING, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::node_work::WorkVersion;
    use crate::runner::held::DOCUMENT_BYTES_MAX;

    #[test]
    fn the_longest_document_fits_and_longer_messages_do_not() {
        let work = |document: String| NodeWork {
            node_id: "n1".parse().expect("an id"),
            version: WorkVersion { epoch: 1, version: 2 },
            document,
            signature: String::new(),
            key_pem: String::new(),
            key_certificate: String::new(),
        };
        let sent = ToRunner::work(work("\"".repeat(DOCUMENT_BYTES_MAX)));
        let mut line = Vec::new();
        write(&mut line, &sent).expect("written");
        assert_eq!(read::<ToRunner>(&mut line.as_slice()).expect("read"), Some(sent));
        line.clear();
        write(&mut line, &ToRunner::work(work("\"".repeat(DOCUMENT_BYTES_MAX + (64 << 10))))).expect("written");
        assert!(read::<ToRunner>(&mut line.as_slice()).is_err());
    }

    #[test]
    fn a_message_that_breaks_off_is_not_one() {
        let mut line = Vec::new();
        write(&mut line, &ToRunner::stop_all(7)).expect("written");
        write(&mut line, &FromRunner::empty()).expect("written");
        let mut stream = line.as_slice();
        assert_eq!(read::<ToRunner>(&mut stream).expect("read"), Some(ToRunner::stop_all(7)));
        assert_eq!(read::<FromRunner>(&mut stream).expect("read"), Some(FromRunner::empty()));
        assert_eq!(read::<FromRunner>(&mut stream).expect("the end"), None);
        for bad in ["{\"v\":1}", "{\"v\":1\n", "[]\n", "\n", "\u{7f}\n"] {
            assert!(read::<ToRunner>(&mut bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
