//! A node's work: the answer to `GET /node/work`.

use super::Object;
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest text of a version: an epoch, a point and a number.
pub const VERSION_CHARS_MAX: usize = 64;

/// Most replicas of a document.
pub const REPLICAS_MAX: u32 = 1000;
/// Longest JSON of the replicas of a document, in bytes.
pub const REPLICAS_BYTES_MAX: usize = 3 << 20;

/// Form of the documents that this version writes and reads.
pub const FORM: u32 = 1;

/// A state of a node's work. Later states compare as greater: numbers grow within an epoch, which is one run of the
/// control plane, and epochs grow from run to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkVersion {
    /// Number of the run.
    pub epoch: u64,
    /// Number of the last change, 0 before the first one.
    pub version: u64,
}

impl WorkVersion {
    /// Reads `EPOCH.VERSION`.
    pub fn parse(text: &str) -> Option<WorkVersion> {
        let number = |part: &str| part.parse().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit()));
        let (epoch, version) = text.split_once('.')?;
        Some(WorkVersion { epoch: number(epoch)?, version: number(version)? })
    }
}

impl fmt::Display for WorkVersion {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.version)
    }
}

/// A node's work, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWork {
    /// The node.
    pub node_id: NodeId,
    /// State of the work.
    #[serde(flatten)]
    pub version: WorkVersion,
    /// JSON of a [`Document`], exactly as it was signed.
    pub document: String,
    /// Signature of the document, base64.
    pub signature: String,
    /// Public key that proves the signature, PEM.
    pub key_pem: String,
    /// Signature of the cluster's authority over that key, base64.
    pub key_certificate: String,
}

/// A node's work.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Form of the document, [`FORM`].
    pub v: u32,
    /// The node.
    pub node_id: NodeId,
    /// State of the work.
    #[serde(flatten)]
    pub version: WorkVersion,
    /// The replicas that the node should run.
    pub replicas: Vec<Assignment>,
    /// Certificates (PEM) of the authorities that this cluster trusts: who believes this document believes them next.
    #[serde(default)]
    pub authorities: Vec<String>,
}

/// A replica that a node should run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The replica.
    pub replica_id: ReplicaId,
    /// Its service.
    pub service_id: ServiceId,
    /// Generation of the service whose spec this is.
    pub generation: i64,
    /// Desired state.
    pub desired_state: String,
    /// The spec, as the operator wrote it.
    pub spec: Object,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_an_epoch_and_a_number() {
        let read = |text: &str| WorkVersion::parse(text).map(|version| version.to_string());
        assert_eq!(read("1764390000.12"), Some("1764390000.12".to_string()));
        for bad in ["", ".", "1.", ".1", "1.-1", "1.+1", "1.1.2", "a.1", "1.99999999999999999999", "1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let version = |text| WorkVersion::parse(text).expect("a version");
        assert!(version("2.1") > version("1.9") && version("1.10") > version("1.9"));
    }

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let document = Document {
            v: FORM,
            node_id: "n1".parse().expect("an id"),
            version: WorkVersion { epoch: 7, version: 3 },
            replicas: Vec::new(),
            authorities: vec!["PEM".to_string()],
        };
        let text = serde_json::to_string(&document).expect("JSON");
        assert!(text.contains("\"epoch\":7,\"version\":3"), "{text}");
        assert_eq!(serde_json::from_str::<Document>(&text).expect("a document"), document);
        let older = text.replace(r#","authorities":["PEM"]"#, "");
        assert_ne!(older, text);
        assert!(serde_json::from_str::<Document>(&older).expect("an older document").authorities.is_empty());
    }
}
