//! Waiting calls of nodes that broke off. A fresh call within the grace makes up for it; many together are a fault of
//! the control plane's own network. What is left is a hint that the node died.

use crate::clock;
use crate::model::ids::NodeId;
use crate::thread::{Watch, lock};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Time for a fresh call: an agent calls again within a second, and people see the rest within two.
const GRACE: Duration = Duration::from_millis(1800);
/// Shortest time between two decisions, so that a storm is decided in batches.
const BATCH: Duration = Duration::from_millis(50);
/// Nodes whose calls broke off within one grace are many if they are at least this number, and more than this part of
/// those that had a call.
const MANY_MIN: usize = 3;
const MANY_PART: usize = 3;
/// Wait for news while there is nothing to decide.
const REST: Duration = Duration::from_secs(3600);

/// Calls that broke off. Clones share them.
#[derive(Clone)]
pub struct Losses {
    /// Set after the first loss, and when a suspicion ends.
    pub news: Watch<()>,
    recent: Arc<Mutex<Recent>>,
}

/// The oldest first.
#[derive(Default)]
struct Recent {
    open: VecDeque<Loss>,
    decided: VecDeque<Loss>,
}

struct Loss {
    node_id: NodeId,
    at: Instant,
    /// Nodes that had a call at that moment.
    waiting: usize,
}

impl Default for Losses {
    fn default() -> Losses {
        Losses { news: Watch::new(()), recent: Arc::default() }
    }
}

impl Losses {
    /// Notes a node whose call broke off, as one of `waiting`.
    pub(super) fn note(&self, node_id: &NodeId, waiting: usize) {
        let mut recent = lock(&self.recent);
        let is_first = recent.open.is_empty();
        recent.open.push_back(Loss { node_id: node_id.clone(), at: clock::tick(), waiting });
        drop(recent);
        if is_first {
            self.news.set(());
        }
    }

    /// Takes the nodes whose grace is over at `now`, with the time of the loss, unless many were lost together.
    pub(super) fn due(&self, now: Instant) -> Vec<(NodeId, Instant)> {
        let mut recent = lock(&self.recent);
        let Recent { open, decided } = &mut *recent;
        let Some(first) = open.front().map(|loss| loss.at) else { return Vec::new() };
        while decided.front().is_some_and(|loss| loss.at + GRACE < first) {
            decided.pop_front();
        }
        let together = || decided.iter().chain(open.iter());
        let nodes: HashSet<&NodeId> = together().map(|loss| &loss.node_id).collect();
        let most = together().map(|loss| loss.waiting).max().unwrap_or(0);
        let are_many = nodes.len() >= MANY_MIN && nodes.len() * MANY_PART > most;
        let mut due = Vec::new();
        let count = open.partition_point(|loss| loss.at + GRACE <= now);
        for loss in open.drain(..count) {
            due.push((loss.node_id.clone(), loss.at));
            decided.push_back(loss);
        }
        if are_many && !due.is_empty() {
            log::info!(
                target: "cluster", event = "node.calls_lost", nodes = due.len();
                "Calls of many nodes broke off together; none of the nodes is suspect for it"
            );
            due.clear();
        }
        due
    }

    /// Time until there may be something to decide.
    pub(super) fn next(&self, now: Instant) -> Duration {
        let recent = lock(&self.recent);
        recent.open.front().map_or(REST, |loss| (loss.at + GRACE).saturating_duration_since(now).max(BATCH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(nodes: &[&str], waiting: usize) -> Losses {
        let losses = Losses::default();
        nodes.iter().for_each(|id| losses.note(&(*id).into(), waiting));
        losses
    }

    fn due(losses: &Losses, at: Instant) -> Vec<String> {
        losses.due(at).into_iter().map(|(id, _)| id.to_string()).collect()
    }

    #[test]
    fn a_loss_is_due_once_after_its_grace() {
        let losses = noted(&["a"], 1);
        let now = clock::tick();
        assert!(losses.next(now) <= GRACE);
        assert_eq!(due(&losses, now), [] as [&str; 0], "an agent calls again");
        let end = clock::tick() + GRACE;
        assert_eq!(due(&losses, end), ["a"]);
        assert_eq!((due(&losses, end), losses.next(end)), (Vec::new(), REST));
    }

    #[test]
    fn many_together_are_the_fault_of_the_control_plane() {
        for (nodes, waiting, suspects) in
            [(&["a", "b", "c"][..], 8, 0), (&["a", "b", "c"], 9, 3), (&["a", "b"], 2, 2), (&["a", "a", "a", "b"], 4, 4)]
        {
            let losses = noted(nodes, waiting);
            let end = clock::tick() + GRACE;
            assert_eq!(losses.due(end).len(), suspects, "{nodes:?} of {waiting}");
        }
        // Those that are decided count for the later ones.
        let losses = noted(&["a", "b"], 4);
        let end = clock::tick() + GRACE;
        assert_eq!(losses.due(end).len(), 2);
        losses.note(&"c".into(), 2);
        assert_eq!(losses.due(end + GRACE).len(), 0);
    }
}
