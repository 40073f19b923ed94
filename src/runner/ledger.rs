//! Knowledge of a runner with a directory of its own: which cluster and node it belongs to, the work that it was given
//! last, and the highest number of work that it has seen. It believes what was signed, and not who hands it over: an
//! agent in wrong hands can withhold work, and nothing else.

use super::held::{Held, NotTaken, Refusal, Taken, prove};
use super::kept::Kept;
use crate::crypto::{pki, work};
use crate::error::{Doing, Error, Result};
use crate::files::{self, PRIVATE};
use crate::model::ids::NodeId;
use crate::model::node_work::{Document, NodeWork, WorkVersion};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Directory of the ledger, in the runner's.
const DIR: &str = "work";
/// File of the trust.
const TRUST: &str = "trust.json";
/// File of the highest number.
const HIGHEST: &str = "highest";
/// Most authorities of a cluster: one, and another during a rotation.
const AUTHORITIES_MAX: usize = 8;

/// The node that this machine is, and the authorities that its work is proven by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// The node.
    pub node_id: NodeId,
    /// Certificates of the authorities, PEM.
    pub authorities: Vec<String>,
}

impl Trust {
    /// Trust in these authorities.
    ///
    /// # Errors
    /// Fails if there is none, or too many, or one is not a certificate.
    pub fn new(node_id: NodeId, authorities: Vec<String>) -> Result<Trust> {
        let is_certificate = |pem: &String| pki::fingerprint_hex(pem).is_some();
        let is_fit = (1..=AUTHORITIES_MAX).contains(&authorities.len()) && authorities.iter().all(is_certificate);
        let why = || Error::fault("trust an authority", "it is not a certificate in PEM");
        is_fit.then_some(Trust { node_id, authorities }).ok_or_else(why)
    }

    /// The authorities in one text, PEM.
    fn pem(&self) -> String {
        self.authorities.concat()
    }

    /// SHA-256 of each certificate, for people to compare.
    pub fn fingerprints(&self) -> Vec<String> {
        self.authorities.iter().filter_map(|pem| pki::fingerprint_hex(pem)).collect()
    }
}

/// The ledger, in a directory of its owner's.
pub struct Ledger {
    dir: PathBuf,
    kept: Kept,
    trust: Option<Trust>,
    /// The work; `None` before it is known whose.
    held: Option<Held>,
    highest: Option<WorkVersion>,
}

impl Ledger {
    /// The ledger in the directory of a runner.
    pub fn open(runner_dir: &Path) -> Result<Ledger> {
        let dir = runner_dir.join(DIR);
        files::private_dir(&dir)?;
        let (kept, trust) = Kept::load(dir.join(TRUST), read_trust);
        let highest = files::read(&dir.join(HIGHEST))?.and_then(|text| WorkVersion::parse(text.trim()));
        let held = trust.as_ref().map(|trust| {
            // What this file holds was proven once, perhaps under an authority that was replaced since.
            let former = kept.previous(read_trust).map_or(String::new(), |former| former.pem());
            Held::load(&dir, &(trust.pem() + &former), &trust.node_id)
        });
        let mut ledger = Ledger { dir, kept, trust, held, highest };
        // A crash may have come between work and what it says about the authorities.
        if let Some((work, document)) = ledger.held.as_ref().and_then(|held| held.work().zip(held.document())) {
            let (work, document) = (work.clone(), document.clone());
            ledger.learn(&work, &document)?;
        }
        Ok(ledger)
    }

    /// Trusts these authorities from now on, whatever was trusted and seen before: a decision of root's.
    pub fn pin(&mut self, trust: Trust) -> Result<()> {
        self.write_trust(trust)?;
        self.highest = None;
        match fs::remove_file(self.dir.join(HIGHEST)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e).doing("forget the highest number of work"),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The trust, once there is any.
    pub fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// The work to do, once there is any.
    pub fn document(&self) -> Option<&Document> {
        self.held.as_ref()?.document()
    }

    /// Takes newer work, and writes it down first. The first work of all decides which cluster is trusted, unless root
    /// has decided. Returns false if it is held already.
    pub fn take(&mut self, work: &NodeWork) -> Taken {
        let trust = match &self.trust {
            Some(trust) => trust.clone(),
            None => self.trust_first(work)?,
        };
        let pem = trust.pem();
        let document = prove(work, &pem, &trust.node_id).map_err(NotTaken::Refused)?;
        if self.highest.is_some_and(|highest| document.version < highest) {
            return Err(NotTaken::Refused(Refusal::Older));
        }
        if self.highest != Some(document.version) {
            let text = format!("{}\n", document.version);
            files::write(&self.dir.join(HIGHEST), text.as_bytes(), PRIVATE).map_err(NotTaken::Unwritten)?;
            self.highest = Some(document.version);
        }
        let dir = &self.dir;
        let held = self.held.get_or_insert_with(|| Held::load(dir, &pem, &trust.node_id));
        let is_new = held.take(work, &pem, &trust.node_id)?;
        self.learn(work, &document).map_err(NotTaken::Unwritten)?;
        Ok(is_new)
    }

    /// Trusts the cluster of the first work that proves itself by what it says.
    fn trust_first(&mut self, work: &NodeWork) -> std::result::Result<Trust, NotTaken> {
        let document: Document = serde_json::from_str(&work.document).map_err(|_| NotTaken::Refused(Refusal::Form))?;
        let trust =
            Trust::new(document.node_id, document.authorities).map_err(|_| NotTaken::Refused(Refusal::Uncertified))?;
        prove(work, &trust.pem(), &trust.node_id).map_err(NotTaken::Refused)?;
        log::warn!(
            target: "runner", event = "runner.trust_first", node_id:% = trust.node_id,
            authority:% = trust.fingerprints().join(" ");
            "Trusts the cluster of the first work that was handed over: compare its authority with `uptimemesh ca show`"
        );
        self.write_trust(trust.clone()).map_err(NotTaken::Unwritten)?;
        Ok(trust)
    }

    /// Follows the authorities that proven work names: those of its cluster, during and after a rotation. A list
    /// without the authority of the work's own key does not count.
    fn learn(&mut self, work: &NodeWork, document: &Document) -> Result<()> {
        let Ok(trust) = Trust::new(document.node_id.clone(), document.authorities.clone()) else { return Ok(()) };
        let is_whole = work::is_certified(&trust.pem(), &work.key_pem, &work.key_certificate);
        if !is_whole || self.trust.as_ref() == Some(&trust) {
            return Ok(());
        }
        log::info!(
            target: "runner", event = "runner.trust", node_id:% = trust.node_id,
            authorities:% = trust.fingerprints().join(" ");
            "The cluster has other authorities; its work named them"
        );
        self.write_trust(trust)
    }

    fn write_trust(&mut self, trust: Trust) -> Result<()> {
        let text = serde_json::to_string(&trust).map_err(|e| Error::fault("write the trust", e.to_string()))?;
        self.kept.write(&text)?;
        self.trust = Some(trust);
        Ok(())
    }
}

fn read_trust(text: &str) -> Result<Trust> {
    let Trust { node_id, authorities } =
        serde_json::from_str(text).map_err(|e| Error::fault("read the trust", e.to_string()))?;
    Trust::new(node_id, authorities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::test_cluster::{Cluster, node};

    fn refusal(taken: Taken) -> Refusal {
        match taken {
            Err(NotTaken::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    fn version(ledger: &Ledger) -> Option<String> {
        ledger.document().map(|document| document.version.to_string())
    }

    /// Directories of two clusters, and of a runner.
    fn set(name: &str) -> (PathBuf, Cluster, Cluster, PathBuf) {
        let dir = std::env::temp_dir().join(format!("uptimemesh-ledger-{name}-{}", std::process::id()));
        let clusters = (Cluster::new(&dir.join("a")), Cluster::new(&dir.join("b")));
        let own = dir.join("runner");
        (dir, clusters.0, clusters.1, own)
    }

    #[test]
    fn the_first_work_decides_the_cluster_and_no_other_is_believed() {
        let (dir, ours, theirs, own) = set("first");
        let mut ledger = Ledger::open(&own).expect("a ledger");
        assert_eq!((ledger.trust(), version(&ledger)), (None, None));
        let lying = theirs.work_under("n1", 1, 1, &[], &[&ours]);
        assert_eq!(refusal(ledger.take(&lying)), Refusal::Uncertified, "it names another authority than its own");
        assert_eq!(refusal(ledger.take(&ours.work_under("n1", 1, 1, &[], &[]))), Refusal::Uncertified, "it names none");
        assert!(ledger.take(&ours.work("n1", 5, 2)).expect("taken"));
        for (work, why) in [
            (theirs.work("n1", 9, 9), Refusal::Uncertified),
            (ours.work("n2", 9, 9), Refusal::Foreign),
            (ours.work("n1", 5, 1), Refusal::Older),
            (ours.work("n1", 4, 7), Refusal::Older),
            (ours.work_of("n1", 5, 2, &["s1"]), Refusal::Forked),
        ] {
            assert_eq!(refusal(ledger.take(&work)), why);
            assert_eq!(refusal(Ledger::open(&own).expect("a ledger").take(&work)), why, "after a restart");
        }
        assert!(!ledger.take(&ours.work("n1", 5, 2)).expect("the same"));
        // Root may decide otherwise.
        let trust = Trust::new(node("n2"), vec![theirs.authority.cert_pem().to_string()]).expect("a trust");
        ledger.pin(trust).expect("pinned");
        let mut ledger = Ledger::open(&own).expect("a ledger");
        assert_eq!(version(&ledger), None, "the work of the former node is not this one's");
        assert_eq!(refusal(ledger.take(&ours.work("n1", 5, 3))), Refusal::Uncertified);
        assert!(ledger.take(&theirs.work("n2", 1, 1)).expect("taken"));
        fs::remove_dir_all(dir).expect("the directory is ours");
    }

    #[test]
    fn what_root_trusts_comes_before_the_first_work() {
        let (dir, ours, theirs, own) = set("pinned");
        let trust = Trust::new(node("n1"), vec![ours.authority.cert_pem().to_string()]).expect("a trust");
        Ledger::open(&own).expect("a ledger").pin(trust).expect("pinned");
        let mut ledger = Ledger::open(&own).expect("a ledger");
        assert_eq!(refusal(ledger.take(&theirs.work("n1", 9, 9))), Refusal::Uncertified);
        assert_eq!(refusal(ledger.take(&ours.work("n2", 9, 9))), Refusal::Foreign);
        assert!(ledger.take(&ours.work("n1", 1, 1)).expect("taken"));
        for bad in [vec![], vec!["PEM".to_string()]] {
            assert!(Trust::new(node("n1"), bad).is_err());
        }
        fs::remove_dir_all(dir).expect("the directory is ours");
    }

    #[test]
    fn a_rotation_of_the_authority_is_followed() {
        let (dir, old, new, own) = set("rotated");
        let mut ledger = Ledger::open(&own).expect("a ledger");
        assert!(ledger.take(&old.work("n1", 1, 1)).expect("taken"));
        assert_eq!(refusal(ledger.take(&new.work("n1", 1, 2))), Refusal::Uncertified);
        // The old authority vouches for both, until it is dropped.
        assert!(ledger.take(&old.work_under("n1", 1, 2, &[], &[&new, &old])).expect("taken"));
        assert!(ledger.take(&new.work("n1", 1, 3)).expect("the new one is trusted"));
        assert_eq!(refusal(ledger.take(&old.work("n1", 1, 4))), Refusal::Uncertified, "the old one is dropped");
        let newest = own.join(DIR).join("work.json");
        fs::write(&newest, "{").expect("written");
        let mut ledger = Ledger::open(&own).expect("a ledger");
        assert_eq!(version(&ledger), Some("1.2".to_string()), "the last work of the old authority still counts");
        assert_eq!(refusal(ledger.take(&new.work("n1", 1, 2))), Refusal::Older, "a higher number was seen");
        assert!(ledger.take(&new.work("n1", 1, 3)).expect("taken again"));
        fs::remove_dir_all(dir).expect("the directory is ours");
    }

    #[test]
    fn work_that_a_crash_separated_from_its_authorities_is_learnt_from_at_the_next_start() {
        let (dir, old, new, own) = set("crash");
        let mut ledger = Ledger::open(&own).expect("a ledger");
        assert!(ledger.take(&old.work("n1", 1, 1)).expect("taken"));
        let (trust, before) = (own.join(DIR).join(TRUST), own.join("before"));
        fs::copy(&trust, &before).expect("copied");
        assert!(ledger.take(&old.work_under("n1", 1, 2, &[], &[&new, &old])).expect("taken"));
        fs::copy(&before, &trust).expect("copied back");
        assert!(Ledger::open(&own).expect("a ledger").take(&new.work("n1", 1, 3)).expect("it is trusted"));
        fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
