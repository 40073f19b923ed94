//! Memory of answers that wait to be sent: a total budget with a share per caller, so that a caller who requests much
//! and reads nothing does not affect others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::thread::lock;

/// Answers up to this size are free: refusals, heartbeats and single objects must not wait for slow readers of lists.
const FREE_BYTES: usize = 16 << 10;

/// One caller may use the budget divided by this.
const SHARES: usize = 4;

/// Memory held by all answers and per caller.
pub(crate) struct Answers {
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    /// Callers that hold memory: at most as many as connections.
    by_caller: HashMap<String, usize>,
}

/// The right to keep an answer in memory; released when dropped.
pub(crate) struct Share {
    answers: Arc<Answers>,
    caller: String,
    bytes: usize,
}

impl Answers {
    /// A budget of `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Arc<Answers> {
        Arc::new(Answers { bytes_max, held: Mutex::default() })
    }

    /// Reserves memory for an answer; `None` if there is not enough now. An answer larger than a share is admitted if
    /// the caller holds nothing else, because it could never be admitted otherwise. An `owed` answer is counted but
    /// never refused: it reports a completed action, and a caller that retried would repeat it.
    pub fn admit(self: &Arc<Answers>, caller: &str, bytes: usize, owed: bool) -> Option<Share> {
        let charged = if bytes <= FREE_BYTES { 0 } else { bytes };
        if charged > 0 {
            let mut held = lock(&self.held);
            let own = held.by_caller.get(caller).copied().unwrap_or(0);
            let fits_share = own == 0 || own + charged <= self.bytes_max / SHARES;
            let fits_all = held.bytes == 0 || held.bytes + charged <= self.bytes_max;
            if !(owed || fits_share && fits_all) {
                return None;
            }
            held.bytes += charged;
            *held.by_caller.entry(caller.to_string()).or_default() += charged;
        }
        Some(Share { answers: Arc::clone(self), caller: caller.to_string(), bytes: charged })
    }

    /// Bytes held now.
    #[cfg(any(test, fuzzing))]
    pub fn held_bytes(&self) -> usize {
        lock(&self.held).bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = lock(&self.answers.held);
        held.bytes -= self.bytes;
        if let Some(own) = held.by_caller.get_mut(&self.caller) {
            *own -= self.bytes;
            if *own == 0 {
                held.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_share_and_all_have_a_budget() {
        let answers = Answers::new(400 << 10);
        let (large, small) = (50 << 10, FREE_BYTES);
        let mut of_alice: Vec<Share> =
            (0..2).map(|_| answers.admit("alice", large, false).expect("within the share")).collect();
        assert!(answers.admit("alice", large, false).is_none(), "more than a quarter");
        assert!(answers.admit("alice", small, false).is_some(), "what is small is free");
        assert!(answers.admit("alice", large, true).is_some(), "a completed action is reported");
        let of_bob = answers.admit("bob", 250 << 10, false).expect("one answer that is more than a share");
        assert!(answers.admit("carol", 60 << 10, false).is_none(), "more than all may have");
        let of_carol = answers.admit("carol", large, false).expect("the rest");
        assert_eq!(answers.held_bytes(), 400 << 10);
        of_alice.pop();
        of_alice.push(answers.admit("alice", large, false).expect("what was given back"));
        drop((of_alice, of_bob, of_carol));
        assert_eq!((answers.held_bytes(), lock(&answers.held).by_caller.len()), (0, 0));
        assert!(answers.admit("alice", 1 << 30, false).is_some(), "alone, whatever its size");
    }
}
