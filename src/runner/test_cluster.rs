//! A cluster that signs work, for the tests of this module.

use crate::crypto::pki::{CLUSTER, Ca};
use crate::crypto::work::WorkKey;
use crate::files;
use crate::model::Object;
use crate::model::ids::NodeId;
use crate::model::node_work::{Assignment, Document, FORM, NodeWork, WorkVersion};
use std::path::Path;

/// An authority, and a key that it certifies.
pub struct Cluster {
    /// The authority.
    pub authority: Ca,
    key: WorkKey,
}

impl Cluster {
    /// A new cluster, with its authority in this directory.
    pub fn new(dir: &Path) -> Cluster {
        files::private_dir(dir).expect("a directory");
        let authority = Ca::create(dir, &CLUSTER).expect("an authority");
        Cluster { authority, key: WorkKey::generate().expect("a key").0 }
    }

    /// The public key, PEM.
    pub fn key_pem(&self) -> String {
        self.key.public_pem()
    }

    /// Signs any text as work of this version.
    pub fn signed(&self, text: String, version: WorkVersion) -> NodeWork {
        NodeWork {
            node_id: node("n1"),
            version,
            signature: self.key.sign(&text),
            document: text,
            key_pem: self.key.public_pem(),
            key_certificate: self.key.certify(&self.authority).expect("certified"),
        }
    }

    /// Signed work without replicas, which names this cluster's authority.
    pub fn work(&self, node_id: &str, epoch: u64, version: u64) -> NodeWork {
        self.work_of(node_id, epoch, version, &[])
    }

    /// Signed work with a replica of each of these services.
    pub fn work_of(&self, node_id: &str, epoch: u64, version: u64, services: &[&str]) -> NodeWork {
        self.work_under(node_id, epoch, version, services, &[self])
    }

    /// The same, naming the authorities of these clusters.
    pub fn work_under(
        &self,
        node_id: &str,
        epoch: u64,
        version: u64,
        services: &[&str],
        authorities: &[&Cluster],
    ) -> NodeWork {
        let version = WorkVersion { epoch, version };
        let assignment = |service: &&str| Assignment {
            replica_id: format!("{service}-1").parse().expect("an id"),
            service_id: service.parse().expect("an id"),
            generation: 1,
            desired_state: "running".to_string(),
            spec: Object::new(),
        };
        let replicas = services.iter().map(assignment).collect();
        let authorities = authorities.iter().map(|of| of.authority.cert_pem().to_string()).collect();
        let document = Document { v: FORM, node_id: node(node_id), version, replicas, authorities };
        self.signed(serde_json::to_string(&document).expect("JSON"), version)
    }
}

/// A node.
pub fn node(id: &str) -> NodeId {
    id.parse().expect("an id")
}
