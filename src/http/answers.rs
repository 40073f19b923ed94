//! The memory of answers that wait to be taken: a budget for all, of which each caller has a share, so that whoever asks and does not
//! read costs nobody else anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::thread::lock;

/// Answers up to this cost nothing: refusals, heartbeats and single objects must not wait for whoever takes lists slowly.
const FREE_BYTES: usize = 16 << 10;

/// One caller may have one of so many parts.
const SHARES: usize = 4;

/// What all answers and those of each caller hold.
pub(crate) struct Answers {
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    /// Callers that hold something: no more than there are connections.
    by_caller: HashMap<String, usize>,
}

/// The right to keep an answer in memory; given back when dropped.
pub(crate) struct Share {
    answers: Arc<Answers>,
    caller: String,
    bytes: usize,
}

impl Answers {
    /// A budget of so many bytes.
    pub fn new(bytes_max: usize) -> Arc<Answers> {
        Arc::new(Answers { bytes_max, held: Mutex::default() })
    }

    /// Room for an answer of so many bytes; `None` where there is none now. What alone is more than a share is let through when the
    /// caller has nothing else: it could never be had otherwise. What is `owed` is counted and never refused: it tells of something that
    /// was done, and a caller who is told to try again would do it twice.
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

    /// Bytes that are held now.
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
        let mut of_alice: Vec<Share> = (0..2).map(|_| answers.admit("alice", large, false).expect("within the share")).collect();
        assert!(answers.admit("alice", large, false).is_none(), "more than a quarter");
        assert!(answers.admit("alice", small, false).is_some(), "what is small is free");
        assert!(answers.admit("alice", large, true).is_some(), "what was done is told");
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
