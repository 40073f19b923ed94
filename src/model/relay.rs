//! Relays: a node accepts no calls, so what a reader requests of it is signed and given in the answer to `GET
//! /node/work`, and the node posts what it has to `POST /node/relay/{relay_id}`.

use crate::clock::Timestamp;
use crate::model::ids::{NodeId, ReplicaId};
use crate::model::node_work::NodeWork;
use crate::model::words::words;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Form of the requests that this version writes and reads.
pub const FORM: u32 = 1;
/// Time for which a request is valid, in seconds.
pub const TERM_S: i64 = 60;
/// Maximum bytes of one post.
pub const POST_BYTES_MAX: usize = 64 << 10;
/// Maximum number of replicas in a request.
pub const REPLICAS_MAX: usize = 1000;

/// A node's work, and the relays that are requested of the node now.
#[derive(Debug, Serialize)]
pub struct WorkAnswer {
    /// The work.
    #[serde(flatten)]
    pub work: NodeWork,
    /// The requests, each given once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relay_requests: Vec<SignedRequest>,
}

/// The same answer, as far as relays go. An answer without any has none.
#[derive(Debug, Default, Deserialize)]
pub struct Requests {
    /// The requests.
    #[serde(default)]
    pub relay_requests: Vec<SignedRequest>,
}

/// A request, signed by the key that signs the node's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRequest {
    /// JSON of a [`RelayRequest`], exactly as it was signed.
    pub document: String,
    /// Signature of the document, base64.
    pub signature: String,
}

/// A reader's request to a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayRequest {
    /// Form of the request, [`FORM`].
    pub v: u32,
    /// Id of the relay, used once.
    pub relay_id: String,
    /// The node.
    pub node_id: NodeId,
    /// End of the time in which a node may begin with it.
    pub expires_at: Timestamp,
    /// The thing to send.
    pub wants: Wants,
}

/// The thing that a node should send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wants {
    /// Output of replicas.
    Logs {
        /// The replicas. A line names its replica by the position in this list.
        replicas: Vec<ReplicaId>,
        /// The part of their output.
        #[serde(flatten)]
        part: LogPart,
    },
}

/// A part of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPart {
    /// Only lines of this time and later ones.
    pub since: Option<Timestamp>,
    /// Maximum number of lines of each replica, the newest; `None` for all.
    pub tail: Option<u64>,
    /// True to continue with new lines.
    pub follow: bool,
}

words! {
    /// State of a relay, as the node says it with each post.
    pub enum RelayState {
        /// More of what is there follows at once.
        More = "more",
        /// All that was there has been sent; what is new follows.
        Live = "live",
        /// All has been sent.
        End = "end",
        /// The node cannot send it: the body is the reason.
        Failed = "failed",
    }
}

words! {
    /// Output that a line was written to.
    pub enum LogStream {
        /// Standard output.
        Out = "stdout",
        /// Standard error.
        Err = "stderr",
    }
}

/// A line of a replica's output. In a post: `REPLICA TIME STREAM TAG TEXT`, where REPLICA is a position, STREAM `o` or
/// `e`, and TAG `P` for a line that continues in the next one, else `F`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Position of the replica in the request.
    pub replica: usize,
    /// Time of the line, by the clock of the node.
    pub at: Timestamp,
    /// The output.
    pub stream: LogStream,
    /// True for a part of a long line that is not the last part.
    pub is_partial: bool,
    /// The text, without its end of line.
    pub text: String,
}

impl LogLine {
    /// Reads a line of a post, without its end; `None` if it is malformed.
    pub fn parse(line: &str) -> Option<LogLine> {
        let (replica, rest) = line.split_once(' ')?;
        let replica = replica.parse().ok().filter(|_| replica.bytes().all(|b| b.is_ascii_digit()))?;
        LogLine::parse_kept(replica, rest)
    }

    /// Reads a line as it is kept on disk: without the replica.
    pub fn parse_kept(replica: usize, line: &str) -> Option<LogLine> {
        let (at, rest) = line.split_once(' ')?;
        let (stream, rest) = rest.split_once(' ')?;
        let (tag, text) = rest.split_once(' ')?;
        let stream = match stream {
            "o" => LogStream::Out,
            "e" => LogStream::Err,
            _ => return None,
        };
        let is_partial = match tag {
            "P" => true,
            "F" => false,
            _ => return None,
        };
        Some(LogLine { replica, at: Timestamp::parse(at)?, stream, is_partial, text: text.to_string() })
    }

    /// Appends the line to a post.
    pub fn write(&self, post: &mut String) {
        let stream = if self.stream == LogStream::Out { 'o' } else { 'e' };
        let tag = if self.is_partial { 'P' } else { 'F' };
        // Writing to a String cannot fail.
        let _ = writeln!(post, "{} {} {stream} {tag} {}", self.replica, self.at, self.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        for text in ["", "well", " two  words ", "caf\u{e9} \u{1b}[1m"] {
            let at = Timestamp(1_764_390_000_000_001);
            let line = LogLine { replica: 12, at, stream: LogStream::Err, is_partial: true, text: text.to_string() };
            let mut post = String::new();
            line.write(&mut post);
            assert_eq!(LogLine::parse(post.strip_suffix('\n').expect("a line")), Some(line));
        }
        let time = "2026-11-29T08:00:00Z";
        for bad in [
            String::new(),
            "0".to_string(),
            format!("-1 {time} o F x"),
            format!("+1 {time} o F x"),
            format!("0 {time} x F x"),
            format!("0 {time} o X x"),
            format!("0 {time} o F"),
            "0 today o F x".to_string(),
        ] {
            assert_eq!(LogLine::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_request_is_read_as_it_was_written_and_unknown_ones_are_not() {
        let part = LogPart { since: Some(Timestamp(7)), tail: Some(3), follow: true };
        let request = RelayRequest {
            v: FORM,
            relay_id: "r1".to_string(),
            node_id: "n1".into(),
            expires_at: Timestamp(60_000_000),
            wants: Wants::Logs { replicas: vec!["s-1".into()], part },
        };
        let text = serde_json::to_string(&request).expect("JSON");
        assert_eq!(serde_json::from_str::<RelayRequest>(&text).expect("a request"), request);
        assert!(serde_json::from_str::<RelayRequest>(&text.replace("\"logs\"", "\"exec\"")).is_err());
        assert!(serde_json::from_str::<Requests>("{}").expect("none").relay_requests.is_empty());
    }
}
