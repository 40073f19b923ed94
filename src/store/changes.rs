//! Effects of committed writes for those who wait: a counter of changes relevant to the scheduler, the nodes whose
//! replicas changed, and the newest events.

use crate::model::events::Event;
use crate::model::ids::NodeId;
use crate::thread::{Watch, lock};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Events kept in memory for readers of the stream; a reader that is further behind reads from the database.
const TAIL_MAX: usize = 1024;

/// Counts committed changes of nodes, services, replicas and settings, and wakes who waits for one.
pub struct Changes {
    count: AtomicU64,
    /// Set after each group of changes.
    pub news: Watch<()>,
    placed: OnceLock<Listener>,
}

/// Called with nodes; must not wait.
type Listener = Box<dyn Fn(&[NodeId]) + Send + Sync>;

impl Default for Changes {
    fn default() -> Changes {
        Changes { count: AtomicU64::default(), news: Watch::new(()), placed: OnceLock::new() }
    }
}

impl Changes {
    /// The current count.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Sets what is called, once it is durable, with the nodes of each group of writes that lost, got or keep a changed
    /// replica. Only the first call counts.
    pub fn on_placed(&self, listener: impl Fn(&[NodeId]) + Send + Sync + 'static) {
        self.placed.get_or_init(|| Box::new(listener));
    }

    pub(super) fn add(&self, changes: u64) {
        if changes > 0 {
            self.count.fetch_add(changes, Ordering::SeqCst);
            self.news.set(());
        }
    }

    pub(super) fn placed(&self, mut nodes: Vec<NodeId>) {
        if let Some(listener) = self.placed.get().filter(|_| !nodes.is_empty()) {
            nodes.sort_unstable();
            nodes.dedup();
            listener(&nodes);
        }
    }
}

/// A committed event.
pub struct Frame {
    /// Its sequence number, which only grows.
    pub seq: i64,
    /// The event.
    pub event: Event,
    /// The event as JSON, serialized once for all readers.
    pub json: String,
}

/// The newest events, available as soon as they are committed.
pub struct Tail {
    state: Mutex<State>,
    more: Condvar,
}

struct State {
    frames: VecDeque<Arc<Frame>>,
    /// Number of the newest event, in the frames or before them.
    newest: i64,
    closed: bool,
}

/// Result of waiting for events.
pub enum Next {
    /// New events.
    Frames(Vec<Arc<Frame>>),
    /// Nothing yet.
    Silence,
    /// The next events are no longer in memory.
    Behind,
    /// The server stops.
    Closed,
}

impl Tail {
    pub(super) fn new(newest: i64) -> Tail {
        Tail { state: Mutex::new(State { frames: VecDeque::new(), newest, closed: false }), more: Condvar::new() }
    }

    pub(super) fn publish(&self, frames: Vec<Frame>) {
        if frames.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        for frame in frames {
            // Events recorded by another process are only in the database; readers fetch them from there.
            if frame.seq != state.newest + 1 {
                state.frames.clear();
            }
            state.newest = frame.seq;
            state.frames.push_back(Arc::new(frame));
        }
        let surplus = state.frames.len().saturating_sub(TAIL_MAX);
        state.frames.drain(..surplus);
        drop(state);
        self.more.notify_all();
    }

    /// Number of the newest event.
    pub fn newest(&self) -> i64 {
        lock(&self.state).newest
    }

    /// Waits for an event after number `seq`, and returns the number of the newest; `None` when closed.
    pub fn beyond(&self, seq: i64) -> Option<i64> {
        let mut state = lock(&self.state);
        while state.newest <= seq && !state.closed {
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (!state.closed).then_some(state.newest)
    }

    /// The events after number `seq`; waits for up to `at_most`.
    pub fn after(&self, seq: i64, at_most: Duration) -> Next {
        let state = lock(&self.state);
        let quiet = |s: &mut State| s.newest <= seq && !s.closed;
        let state = self.more.wait_timeout_while(state, at_most, quiet).unwrap_or_else(PoisonError::into_inner).0;
        if state.closed {
            return Next::Closed;
        }
        if state.newest <= seq {
            return Next::Silence;
        }
        match state.frames.front() {
            Some(first) if first.seq <= seq + 1 => {
                let from = state.frames.partition_point(|f| f.seq <= seq);
                Next::Frames(state.frames.range(from..).cloned().collect())
            }
            _ => Next::Behind,
        }
    }

    /// Ends every reader.
    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.more.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::Object;

    fn frame(seq: i64) -> Frame {
        let now = Timestamp(seq);
        let word = || "x".to_string();
        let event = Event {
            id: word(),
            category: word(),
            name: word(),
            level: word(),
            fields: Object::new(),
            created_at: now,
            updated_at: now,
            actor: None,
            address: None,
            request_id: None,
        };
        Frame { seq, event, json: String::new() }
    }

    fn said(next: Next) -> String {
        match next {
            Next::Frames(frames) => frames.iter().map(|f| f.seq.to_string()).collect::<Vec<_>>().join(","),
            Next::Silence => "silence".into(),
            Next::Behind => "behind".into(),
            Next::Closed => "closed".into(),
        }
    }

    #[test]
    fn a_reader_gets_what_comes_after_what_it_has() {
        let tail = Tail::new(4);
        let after = |seq| said(tail.after(seq, Duration::ZERO));
        assert_eq!((after(4), after(3)), ("silence".into(), "behind".into()));
        tail.publish(vec![frame(5), frame(6)]);
        assert_eq!(
            (after(3), after(4), after(5), after(6)),
            ("behind".into(), "5,6".into(), "6".into(), "silence".into())
        );
        tail.publish((7..7 + TAIL_MAX as i64).map(frame).collect());
        assert_eq!(after(5), "behind");
        assert_eq!(after(TAIL_MAX as i64 + 5), (TAIL_MAX + 6).to_string());
        tail.close();
        assert_eq!(after(0), "closed");
    }
}
