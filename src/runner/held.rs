//! The node's work on its own disk: what was proven last, and what may replace it.

use super::kept::Kept;
use crate::crypto::work;
use crate::error::Error;
use crate::model::ids::NodeId;
use crate::model::node_work::{Document, FORM, NodeWork, WorkVersion};
use serde::Deserialize;
use std::fmt;
use std::path::Path;

/// File of the work.
pub const WORK: &str = "work.json";
/// Longest document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// Why a document was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The key is not one of this cluster's.
    Uncertified,
    /// The signature does not belong to the document.
    Unsigned,
    /// The document is too long.
    TooLong,
    /// The document is in a form that this version does not know.
    Form,
    /// The document is for another node, or of another state than its envelope says.
    Foreign,
    /// The document is older than the one that the node holds.
    Older,
    /// The document has the number of the one that the node holds, and says something else.
    Forked,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Refusal::Uncertified => "its key was not certified by an authority that this node trusts",
            Refusal::Unsigned => "its signature is not genuine",
            Refusal::TooLong => "it is longer than 4 MiB",
            Refusal::Form => "it is in a form that this version does not know: update this node's program",
            Refusal::Foreign => "it is the work of another node",
            Refusal::Older => "it is older than the work that this node holds",
            Refusal::Forked => {
                "it has the number of the work that this node holds, and says something else: do two control planes \
                    sign for this cluster?"
            }
        })
    }
}

/// Proves signed work, and returns its document.
pub fn prove(work: &NodeWork, authorities_pem: &str, node_id: &NodeId) -> std::result::Result<Document, Refusal> {
    /// The part of every form that says which one it is.
    #[derive(Deserialize)]
    struct Form {
        v: u32,
    }
    if work.document.len() > DOCUMENT_BYTES_MAX {
        return Err(Refusal::TooLong);
    }
    if !work::is_certified(authorities_pem, &work.key_pem, &work.key_certificate) {
        return Err(Refusal::Uncertified);
    }
    if !work::is_signed(&work.document, &work.signature, &work.key_pem) {
        return Err(Refusal::Unsigned);
    }
    if serde_json::from_str::<Form>(&work.document).map_or(0, |form| form.v) != FORM {
        return Err(Refusal::Form);
    }
    let document: Document = serde_json::from_str(&work.document).map_err(|_| Refusal::Form)?;
    let is_own = document.node_id == *node_id && document.version == work.version;
    if is_own { Ok(document) } else { Err(Refusal::Foreign) }
}

/// The work that the node holds, and its file.
pub struct Held {
    kept: Kept,
    held: Option<(NodeWork, Document)>,
}

impl Held {
    /// The work in a directory. A file that does not prove itself is reported, and the previous one counts.
    pub fn load(dir: &Path, authorities_pem: &str, node_id: &NodeId) -> Held {
        let (kept, held) = Kept::load(dir.join(WORK), |text| {
            let work: NodeWork =
                serde_json::from_str(text).map_err(|e| Error::fault("read the node's work", e.to_string()))?;
            let document = prove(&work, authorities_pem, node_id)
                .map_err(|why| Error::fault("prove the node's work", why.to_string()))?;
            Ok((work, document))
        });
        Held { kept, held }
    }

    /// Its state, as far as these authorities prove it: work of another cluster says nothing about this one's.
    pub fn version(&self, authorities_pem: &str) -> Option<WorkVersion> {
        let (work, document) = self.held.as_ref()?;
        work::is_certified(authorities_pem, &work.key_pem, &work.key_certificate).then_some(document.version)
    }

    /// Takes newer work, and writes it down first. Returns false if the node holds it already.
    pub fn take(&mut self, work: &NodeWork, authorities_pem: &str, node_id: &NodeId) -> Taken {
        let document = prove(work, authorities_pem, node_id).map_err(NotTaken::Refused)?;
        match self.version(authorities_pem) {
            Some(held) if held > document.version => return Err(NotTaken::Refused(Refusal::Older)),
            Some(held) if held == document.version => return self.again(work),
            Some(_) | None => {}
        }
        let text = serde_json::to_string(work)
            .map_err(|e| NotTaken::Unwritten(Error::fault("write the node's work", e.to_string())))?;
        self.kept.write(&text).map_err(NotTaken::Unwritten)?;
        self.held = Some((work.clone(), document));
        Ok(true)
    }

    /// Work with the number of what is held must be the same.
    fn again(&self, work: &NodeWork) -> Taken {
        let is_same = self.held.as_ref().is_some_and(|(held, _)| held.document == work.document);
        if is_same { Ok(false) } else { Err(NotTaken::Refused(Refusal::Forked)) }
    }

    /// The signed work.
    pub fn work(&self) -> Option<&NodeWork> {
        self.held.as_ref().map(|(work, _)| work)
    }

    /// The document.
    pub fn document(&self) -> Option<&Document> {
        self.held.as_ref().map(|(_, document)| document)
    }
}

/// True if it was new.
pub type Taken = std::result::Result<bool, NotTaken>;

/// Why work was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// It must not be believed.
    Refused(Refusal),
    /// The disk did not take it.
    Unwritten(Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Chain;
    use crate::files::{self, PRIVATE};
    use crate::runner::test_cluster::{Cluster, node};

    fn refusal(taken: Taken) -> Option<Refusal> {
        match taken {
            Err(NotTaken::Refused(why)) => Some(why),
            Err(NotTaken::Unwritten(e)) => panic!("{}", Chain(&e)),
            Ok(_) => None,
        }
    }

    #[test]
    fn older_foreign_and_altered_work_is_refused_and_what_is_held_stays() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-held-{}", std::process::id()));
        let (ours, theirs) = (Cluster::new(&dir.join("a")), Cluster::new(&dir.join("b")));
        let own = dir.join("n1");
        files::private_dir(&own).expect("a directory");
        let (pem, id) = (ours.authority.cert_pem(), node("n1"));
        let mut held = Held::load(&own, pem, &id);
        assert!(held.document().is_none());
        assert!(held.take(&ours.work("n1", 5, 2), pem, &id).expect("taken"));
        assert!(!held.take(&ours.work("n1", 5, 2), pem, &id).expect("the same"));
        let altered = NodeWork { document: ours.work("n1", 5, 3).document, ..ours.work("n1", 5, 4) };
        let other_state = NodeWork { version: WorkVersion { epoch: 5, version: 9 }, ..ours.work("n1", 5, 8) };
        let other_key = NodeWork { key_pem: theirs.key_pem(), ..ours.work("n1", 5, 8) };
        let future = ours.signed(r#"{"v":2,"work":[]}"#.to_string(), WorkVersion { epoch: 9, version: 9 });
        let long = ours.signed(" ".repeat(DOCUMENT_BYTES_MAX + 1), WorkVersion { epoch: 9, version: 9 });
        for (work, why) in [
            (ours.work("n1", 5, 1), Refusal::Older),
            (ours.work("n1", 4, 100), Refusal::Older),
            (ours.work("n2", 6, 1), Refusal::Foreign),
            (ours.work_of("n1", 5, 2, &["s1"]), Refusal::Forked),
            (other_state, Refusal::Foreign),
            (altered, Refusal::Unsigned),
            (theirs.work("n1", 6, 1), Refusal::Uncertified),
            (other_key, Refusal::Uncertified),
            (future, Refusal::Form),
            (long, Refusal::TooLong),
        ] {
            assert_eq!(refusal(held.take(&work, pem, &id)), Some(why), "{work:?}");
        }
        let version = |held: &Held, pem| held.version(pem).map(|version| version.to_string());
        assert_eq!(version(&held, pem), Some("5.2".to_string()));
        assert!(held.take(&ours.work("n1", 6, 0), pem, &id).expect("a later run"));
        let again = Held::load(&own, pem, &id);
        assert_eq!((version(&again, pem), again.document()), (Some("6.0".to_string()), held.document()));
        // Another cluster's work is none, and its own may have any number.
        assert_eq!(version(&Held::load(&own, theirs.authority.cert_pem(), &id), theirs.authority.cert_pem()), None);
        assert!(held.take(&theirs.work("n1", 1, 0), theirs.authority.cert_pem(), &id).expect("the first of its own"));
        files::write(&own.join(WORK), b"{", PRIVATE).expect("written");
        assert_eq!(version(&Held::load(&own, pem, &id), pem), Some("6.0".to_string()), "the previous one");
        files::write(&own.join("work.previous.json"), b"{", PRIVATE).expect("written");
        assert!(Held::load(&own, pem, &id).document().is_none(), "both are damaged");
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }

    #[test]
    fn what_the_disk_does_not_take_is_not_held() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-unheld-{}", std::process::id()));
        let ours = Cluster::new(&dir);
        let (pem, id) = (ours.authority.cert_pem(), node("n1"));
        let mut held = Held::load(&dir.join("missing"), pem, &id);
        assert!(matches!(held.take(&ours.work("n1", 1, 1), pem, &id), Err(NotTaken::Unwritten(_))));
        assert_eq!(held.version(pem), None);
        std::fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
