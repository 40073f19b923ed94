//! The version of each node's work, and the one call of the node that waits for a newer one.

use crate::bell::Bell;
use crate::clock::{self, Timestamp};
use crate::control::fleet::losses::Losses;
use crate::model::ids::NodeId;
use crate::model::node_work::WorkVersion;
use crate::model::relay::SignedRequest;
use crate::thread::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Answers a second beyond which nodes get a pause before their next call: a change for the whole fleet makes all of
/// them call again at once.
const ANSWERS_PER_S: u32 = 1000;
/// Longest time to come back, in seconds: later changes must not wait for it.
const RETRY_AFTER_S_MAX: u64 = 10;

/// The work of all nodes, as far as waiting for it goes.
pub struct Work {
    epoch: u64,
    table: Mutex<Table>,
    /// Time until which answers have been given at the allowed rate.
    paced_until: Mutex<Instant>,
    /// Calls that broke off.
    losses: Losses,
}

#[derive(Default)]
struct Table {
    /// Number of the last change of any node: a forgotten node never gets an old number again.
    newest: u64,
    nodes: HashMap<NodeId, Entry>,
    /// Version of a node without an entry: a deleted node that joins again holds an older one.
    floor: u64,
    /// Number of calls that wait.
    waiting: usize,
}

struct Entry {
    version: u64,
    waiting: Option<Bell>,
    held: Option<Held>,
    /// Requested relays that the node has not fetched, by id.
    requests: Vec<(String, SignedRequest)>,
}

/// The state of its work that a node said it holds on its disk, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// The state.
    pub version: WorkVersion,
    /// Time of the call that said it.
    pub at: Timestamp,
}

impl Table {
    fn version(&self, node_id: &NodeId) -> u64 {
        self.nodes.get(node_id).map_or(self.floor, |entry| entry.version)
    }

    fn entry(&mut self, node_id: &NodeId) -> &mut Entry {
        let version = self.floor;
        self.nodes.entry(node_id.clone()).or_insert(Entry { version, waiting: None, held: None, requests: Vec::new() })
    }
}

impl Work {
    /// The work of a run of the control plane, by its number; `losses` gets the calls that break off.
    pub fn new(epoch: u64, losses: Losses) -> Work {
        Work { epoch, table: Mutex::default(), paced_until: Mutex::new(clock::tick()), losses }
    }

    /// Gives these nodes a new version, and wakes exactly those of their calls that wait.
    pub fn touch(&self, nodes: &[NodeId]) {
        let mut bells = Vec::with_capacity(nodes.len());
        let mut table = lock(&self.table);
        for node_id in nodes {
            table.newest += 1;
            let version = table.newest;
            let entry = table.entry(node_id);
            entry.version = version;
            bells.extend(entry.waiting.take());
        }
        table.waiting -= bells.len();
        drop(table);
        bells.iter().for_each(Bell::ring);
    }

    /// Gives every node a new version, and wakes all that wait: for what every document says, such as the authorities.
    pub fn touch_all(&self) {
        let mut table = lock(&self.table);
        table.newest += 1;
        table.floor = table.newest;
        let newest = table.newest;
        let bells: Vec<Bell> = table
            .nodes
            .values_mut()
            .filter_map(|entry| {
                entry.version = newest;
                entry.waiting.take()
            })
            .collect();
        table.waiting -= bells.len();
        drop(table);
        bells.iter().for_each(Bell::ring);
    }

    /// Forgets a node that was deleted, and ends its call.
    pub fn forget(&self, node_id: &NodeId) {
        let mut table = lock(&self.table);
        table.newest += 1;
        table.floor = table.newest;
        let bell = table.nodes.remove(node_id).and_then(|entry| entry.waiting);
        table.waiting -= usize::from(bell.is_some());
        drop(table);
        bell.iter().for_each(Bell::ring);
    }

    /// Ends the call of a node that waits under an identity which is no longer its own.
    pub fn end_call(&self, node_id: &NodeId) {
        let mut table = lock(&self.table);
        let bell = table.nodes.get_mut(node_id).and_then(|entry| entry.waiting.take());
        table.waiting -= usize::from(bell.is_some());
        drop(table);
        bell.iter().for_each(Bell::ring);
    }

    /// Requests a relay of a node, and wakes its call.
    pub fn request(&self, node_id: &NodeId, relay_id: String, request: SignedRequest) {
        let mut table = lock(&self.table);
        let entry = table.entry(node_id);
        entry.requests.push((relay_id, request));
        let bell = entry.waiting.take();
        table.waiting -= usize::from(bell.is_some());
        drop(table);
        bell.iter().for_each(Bell::ring);
    }

    /// Withdraws the request of a relay that has ended.
    pub fn withdraw(&self, node_id: &NodeId, relay_id: &str) {
        if let Some(entry) = lock(&self.table).nodes.get_mut(node_id) {
            entry.requests.retain(|(id, _)| id != relay_id);
        }
    }

    /// The relays that are requested of a node, each once.
    pub fn take_requests(&self, node_id: &NodeId) -> Vec<SignedRequest> {
        let mut table = lock(&self.table);
        let requests = table.nodes.get_mut(node_id).map(|entry| std::mem::take(&mut entry.requests));
        requests.unwrap_or_default().into_iter().map(|(_, request)| request).collect()
    }

    /// The present state of a node's work.
    pub fn version(&self, node_id: &NodeId) -> WorkVersion {
        WorkVersion { epoch: self.epoch, version: lock(&self.table).version(node_id) }
    }

    /// Notes the state that a node holds.
    pub fn note_held(&self, node_id: &NodeId, version: WorkVersion) {
        let held = Held { version, at: clock::now() };
        let earlier = lock(&self.table).entry(node_id).held.replace(held);
        if version.epoch > self.epoch && earlier.is_none() {
            log::warn!(
                target: "cluster", event = "work.later_epoch", node_id, held:% = version, epoch = self.epoch;
                "A node holds work of a later run than this one and refuses older work: either this machine's clock \
                    went back before the last start, or another control plane with the same authority is running"
            );
        }
    }

    /// The state that a node holds, as far as it has called in this run.
    pub fn held(&self, node_id: &NodeId) -> Option<Held> {
        lock(&self.table).nodes.get(node_id)?.held
    }

    /// Waits for a version other than the one seen, or for the request of a relay; `None` if there is one already. An
    /// older call of the node that waits is ended: the node has lost it.
    pub fn wait(self: &Arc<Work>, node_id: &NodeId, seen: &WorkVersion) -> Option<Waiting> {
        let mut table = lock(&self.table);
        let version = table.version(node_id);
        let has_requests = table.nodes.get(node_id).is_some_and(|entry| !entry.requests.is_empty());
        if has_requests || *seen != (WorkVersion { epoch: self.epoch, version }) {
            return None;
        }
        let bell = Bell::default();
        let older = table.entry(node_id).waiting.replace(bell.clone());
        table.waiting += usize::from(older.is_none());
        drop(table);
        older.iter().for_each(Bell::ring);
        let (work, node_id, is_first) = (Arc::clone(self), node_id.clone(), older.is_none());
        Some(Waiting { work, node_id, bell, is_first, is_answered: false })
    }

    /// Number of calls that wait.
    pub fn waiting(&self) -> usize {
        lock(&self.table).waiting
    }

    /// True if a call of the node waits.
    pub fn is_waiting(&self, node_id: &NodeId) -> bool {
        lock(&self.table).nodes.get(node_id).is_some_and(|entry| entry.waiting.is_some())
    }

    /// Notes an answer. Returns the seconds after which the node should call again, if the whole fleet is calling.
    pub fn retry_after_s(&self) -> Option<u64> {
        let now = clock::tick();
        let mut until = lock(&self.paced_until);
        *until = (*until).max(now) + Duration::from_secs(1) / ANSWERS_PER_S;
        // What was given within the last second is no storm.
        let late_s = until.duration_since(now).as_secs();
        *until = (*until).min(now + Duration::from_secs(RETRY_AFTER_S_MAX));
        (late_s > 0).then_some(late_s.min(RETRY_AFTER_S_MAX))
    }
}

/// A node's call that waits; dropped when it is answered, or when the node is gone.
pub struct Waiting {
    work: Arc<Work>,
    node_id: NodeId,
    /// Rung when there is a newer version, the request of a relay, or another call of the node.
    pub bell: Bell,
    /// False if an older call of the node was ended for it.
    pub is_first: bool,
    is_answered: bool,
}

impl Waiting {
    /// Ends the wait. Returns the node if its work has changed since the call, or relays are requested.
    pub fn answer(mut self, seen: &WorkVersion) -> Option<NodeId> {
        self.is_answered = true;
        let has_requests =
            lock(&self.work.table).nodes.get(&self.node_id).is_some_and(|entry| !entry.requests.is_empty());
        (has_requests || self.work.version(&self.node_id) != *seen).then(|| self.node_id.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut table = lock(&self.work.table);
        let floor = table.floor;
        let Some(entry) = table.nodes.get_mut(&self.node_id) else { return };
        if entry.waiting.as_ref().is_some_and(|bell| bell.is(&self.bell)) {
            entry.waiting = None;
            let is_unused = entry.version <= floor && entry.held.is_none() && entry.requests.is_empty();
            if !self.is_answered {
                self.work.losses.note(&self.node_id, table.waiting);
            }
            table.waiting -= 1;
            if is_unused {
                table.nodes.remove(&self.node_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn node(id: &str) -> NodeId {
        id.parse().expect("an id")
    }

    fn seen(work: &Work, id: &str) -> WorkVersion {
        work.version(&node(id))
    }

    #[test]
    fn a_change_wakes_exactly_those_who_wait_for_it() {
        let work = Arc::new(Work::new(7, Losses::default()));
        let rung = Arc::new(AtomicUsize::new(0));
        let wait = |id: &str| {
            let waiting = work.wait(&node(id), &seen(&work, id)).expect("nothing new");
            let rung = Arc::clone(&rung);
            let count = move || {
                rung.fetch_add(1, Ordering::SeqCst);
            };
            assert!(waiting.bell.on_ring(Box::new(count)));
            waiting
        };
        let old = seen(&work, "a");
        let (a, b) = (wait("a"), wait("b"));
        assert_eq!((work.waiting(), a.is_first), (2, true));
        work.touch(&[node("a"), node("c")]);
        assert_eq!((rung.load(Ordering::SeqCst), work.waiting()), (1, 1));
        assert_eq!((a.answer(&old), work.version(&node("a")).version), (Some(node("a")), 1));
        assert!(work.wait(&node("a"), &old).is_none(), "it has a newer version already");
        let elsewhere = WorkVersion { epoch: 6, ..seen(&work, "a") };
        assert!(work.wait(&node("a"), &elsewhere).is_none(), "of another run");
        let newer = wait("b");
        assert_eq!((rung.load(Ordering::SeqCst), work.waiting(), newer.is_first), (2, 1, false));
        assert!(b.answer(&seen(&work, "b")).is_none(), "ended for the newer call, without news");
        assert_eq!(work.waiting(), 1, "the newer one still waits");
        drop(newer);
        assert_eq!((work.waiting(), lock(&work.table).nodes.len()), (0, 2), "what never changed is forgotten");
        let held = seen(&work, "a");
        work.forget(&node("a"));
        assert!(seen(&work, "a") > held, "if it joins again, its work is newer than what it holds");
        work.touch(&[node("a")]);
        assert_eq!(seen(&work, "a").version, 4, "no number comes twice");
        let before = (seen(&work, "a"), seen(&work, "never-seen"));
        let (_a, count) = (wait("a"), rung.load(Ordering::SeqCst));
        work.touch_all();
        assert_eq!((rung.load(Ordering::SeqCst), work.waiting()), (count + 1, 0));
        assert!(seen(&work, "a") > before.0 && seen(&work, "never-seen") > before.1, "every node");
        assert_eq!(work.held(&node("b")), None);
        work.note_held(&node("b"), elsewhere);
        assert_eq!(work.held(&node("b")).map(|held| held.version), Some(elsewhere));
    }

    #[test]
    fn a_requested_relay_wakes_the_call_and_is_given_once() {
        let work = Arc::new(Work::new(7, Losses::default()));
        let old = seen(&work, "a");
        let request = SignedRequest { document: "d".to_string(), signature: "s".to_string() };
        let waiting = work.wait(&node("a"), &old).expect("nothing new");
        work.request(&node("a"), "r1".to_string(), request.clone());
        assert_eq!((waiting.answer(&old), work.waiting()), (Some(node("a")), 0), "the version is the same");
        assert!(work.wait(&node("a"), &old).is_none(), "it is not fetched yet");
        assert_eq!(work.take_requests(&node("b")), []);
        assert_eq!(work.take_requests(&node("a")), std::slice::from_ref(&request));
        assert_eq!(work.take_requests(&node("a")), []);
        drop(work.wait(&node("a"), &old).expect("nothing new"));
        work.request(&node("a"), "r2".to_string(), request);
        work.withdraw(&node("a"), "r2");
        assert!(work.wait(&node("a"), &old).is_some(), "its reader has left");
    }

    #[test]
    fn only_a_call_that_breaks_off_is_a_loss() {
        let losses = Losses::default();
        let work = Arc::new(Work::new(7, losses.clone()));
        let wait = || work.wait(&node("a"), &seen(&work, "a")).expect("nothing new");
        let lost = || losses.due(clock::tick() + Duration::from_secs(60)).len();
        assert!(wait().answer(&seen(&work, "a")).is_none());
        assert_eq!((lost(), work.is_waiting(&node("a"))), (0, false), "its time was over");
        let (older, newer) = (wait(), wait());
        drop(older);
        assert_eq!((lost(), work.is_waiting(&node("a"))), (0, true), "ended for a newer one");
        drop(newer);
        assert_eq!((lost(), work.waiting()), (1, 0));
        let rung = wait();
        work.touch(&[node("a")]);
        drop(rung);
        let of_a_deleted_node = wait();
        work.forget(&node("a"));
        drop(of_a_deleted_node);
        assert_eq!((lost(), work.waiting()), (0, 0), "both were rung");
    }

    #[test]
    fn a_storm_is_spread_over_seconds() {
        let work = Work::new(7, Losses::default());
        let told: Vec<Option<u64>> = (0..3 * ANSWERS_PER_S).map(|_| work.retry_after_s()).collect();
        assert!(told[..ANSWERS_PER_S as usize / 2].iter().all(Option::is_none), "a few are no storm");
        assert!(told.last().expect("an answer").is_some_and(|s| s <= RETRY_AFTER_S_MAX), "{told:?}");
    }
}
