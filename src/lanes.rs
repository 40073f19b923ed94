//! Lanes: each holder may do few things at once; the others wait in order, and only a few may wait.

use crate::thread::{aside, lock};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// One lane per holder with work.
pub struct Lanes<K: Hash + Eq + Clone> {
    at_once: usize,
    waiting_max: usize,
    lanes: Mutex<HashMap<K, Lane>>,
}

#[derive(Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<Sender<()>>,
}

/// A turn in a lane; ends when dropped.
pub struct Turn<'l, K: Hash + Eq + Clone> {
    lanes: &'l Lanes<K>,
    key: K,
}

impl<K: Hash + Eq + Clone> Lanes<K> {
    /// `at_once` turns per holder, and `waiting_max` that wait.
    pub fn new(at_once: usize, waiting_max: usize) -> Lanes<K> {
        Lanes { at_once, waiting_max, lanes: Mutex::new(HashMap::new()) }
    }

    /// Waits for a turn for up to `at_most`; `None` on timeout or if too many wait already.
    pub fn enter(&self, key: K, at_most: Duration) -> Option<Turn<'_, K>> {
        let (sender, called) = channel();
        {
            let mut lanes = lock(&self.lanes);
            let lane = lanes.entry(key.clone()).or_default();
            if lane.running < self.at_once {
                lane.running += 1;
                return Some(Turn { lanes: self, key });
            }
            if lane.waiting.len() >= self.waiting_max {
                return None;
            }
            lane.waiting.push_back(sender);
        }
        let in_time = aside(|| called.recv_timeout(at_most)).is_ok();
        // The turn may be given at the last moment. Remove the receiver under the lock: a turn given to a waiter that
        // has just given up would never end.
        let lanes = lock(&self.lanes);
        let is_called = in_time || called.try_recv().is_ok();
        drop(called);
        drop(lanes);
        is_called.then(|| Turn { lanes: self, key })
    }
}

impl<K: Hash + Eq + Clone> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        let mut lanes = lock(&self.lanes.lanes);
        let Some(lane) = lanes.get_mut(&self.key) else { return };
        while let Some(next) = lane.waiting.pop_front() {
            // A waiter that has given up does not receive it.
            if next.send(()).is_ok() {
                return;
            }
        }
        lane.running -= 1;
        if lane.running == 0 {
            lanes.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::spawn;
    use std::sync::Arc;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn turns_come_in_order_and_not_too_many_wait() {
        let lanes = Arc::new(Lanes::new(1, 3));
        let first = lanes.enter("alice", PATIENCE).expect("a free lane");
        let (sender, order) = channel();
        let mut threads = Vec::new();
        for i in 0..3 {
            let (waiting, sender) = (Arc::clone(&lanes), sender.clone());
            let work = move || {
                let _turn = waiting.enter("alice", PATIENCE).expect("a turn");
                sender.send(i).expect("a reader");
            };
            threads.push(spawn("turn", None, work).expect("a thread"));
            let end = Instant::now() + PATIENCE;
            while lock(&lanes.lanes)["alice"].waiting.len() <= i {
                assert!(Instant::now() < end, "{i} does not wait");
                std::thread::yield_now();
            }
        }
        assert!(lanes.enter("alice", PATIENCE).is_none(), "too many wait");
        drop(lanes.enter("bob", PATIENCE).expect("a lane of another"));
        drop(first);
        threads.into_iter().for_each(|thread| thread.join().expect("a turn"));
        assert_eq!(order.try_iter().collect::<Vec<usize>>(), [0, 1, 2]);
        assert!(lock(&lanes.lanes).is_empty());
    }

    #[test]
    fn no_turn_is_lost_to_who_gives_up_at_the_last_moment() {
        let lanes = Arc::new(Lanes::new(1, 64));
        let work = |lanes: Arc<Lanes<&'static str>>| {
            move || (0..20_000).for_each(|i| drop(lanes.enter("alice", Duration::from_micros(i % 3))))
        };
        let threads: Vec<_> =
            (0..6).map(|_| spawn("turn", None, work(Arc::clone(&lanes))).expect("a thread")).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("turns"));
        drop(lanes.enter("alice", PATIENCE).expect("a turn after all of them"));
        assert!(lock(&lanes.lanes).is_empty());
    }

    #[test]
    fn who_gives_up_is_passed_over() {
        let lanes = Lanes::new(1, 3);
        let first = lanes.enter("alice", PATIENCE).expect("a free lane");
        assert!(lanes.enter("alice", Duration::from_millis(1)).is_none());
        drop(first);
        assert!(lock(&lanes.lanes).is_empty());
    }

    /// Turns are given while waiters give up; none may be lost, or the lane would stay closed.
    #[test]
    fn no_turn_is_lost_to_who_gives_up() {
        let lanes = Arc::new(Lanes::new(1, 64));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let lanes = Arc::clone(&lanes);
                let work = move || {
                    for i in 0..30_000 {
                        drop(lanes.enter("alice", Duration::from_micros(i % 40)));
                    }
                };
                spawn("turn", None, work).expect("a thread")
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("turns"));
        assert!(lock(&lanes.lanes).is_empty(), "a turn was lost");
    }
}
