//! Relays in memory: what nodes post for readers that wait here. A reader that is behind holds its nodes back, and what
//! has ended on one side ends on the other.

use crate::bell::Bell;
use crate::clock;
use crate::control::fleet::work::Work;
use crate::crypto;
use crate::model::ids::NodeId;
use crate::model::relay::{LogLine, RelayState};
use crate::thread::lock;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Maximum number of relays at once.
const RELAYS_MAX: usize = 64;
/// Maximum number of relays of one node at once.
const RELAYS_PER_NODE_MAX: usize = 4;
/// Size of waiting lines at which the node has to wait, in bytes.
const HELD_BYTES_MAX: usize = 256 << 10;
/// Memory of a line beside its text, in bytes.
const LINE_BYTES: usize = std::mem::size_of::<LogLine>();
/// Time for the first post of a node.
const FIRST_POST_TIME: Duration = Duration::from_secs(10);
/// Time between two posts of a node that is not held back.
const POST_TIME: Duration = Duration::from_secs(30);

/// The relays of all readers.
pub struct Relays {
    all: Mutex<HashMap<String, Arc<Relay>>>,
    work: Arc<Work>,
}

/// A relay.
pub struct Relay {
    node_id: NodeId,
    reader: Bell,
    state: Mutex<State>,
}

/// The lines that wait, and how far the node is.
struct State {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// Number of the next post.
    next: u64,
    said: Said,
    /// Rung when there is room.
    writer: Option<Bell>,
    /// Time by which the node has to post.
    until: Instant,
    has_reader: bool,
}

/// State of a relay by the last post of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Nothing,
    More,
    Live,
    End,
    Failed(String),
}

/// A post of a node.
pub struct Post {
    /// Its number, from 0.
    pub seq: u64,
    /// State of the relay after it.
    pub state: RelayState,
    /// Its lines.
    pub lines: Vec<LogLine>,
    /// The reason, if the node cannot send more.
    pub reason: String,
}

/// Outcome of a post.
pub enum Offered {
    /// It was taken, now or before.
    Taken,
    /// There is no room until the bell rings.
    Full(Post, Bell),
    /// It does not follow the last one.
    OutOfOrder,
    /// The reader has left.
    Unread,
}

/// Why a relay is not opened.
#[derive(Debug, PartialEq, Eq)]
pub enum Busy {
    /// There are as many as there may be.
    All,
    /// The node has as many as it may have.
    Node,
}

impl Relays {
    /// No relays; `work` has the requests that nodes have not fetched.
    pub fn new(work: Arc<Work>) -> Relays {
        Relays { all: Mutex::default(), work }
    }

    /// Opens a relay for a reader with this bell.
    pub fn open(self: &Arc<Relays>, node_id: &NodeId, reader: &Bell) -> Result<Source, Busy> {
        let mut all = lock(&self.all);
        if all.len() >= RELAYS_MAX {
            return Err(Busy::All);
        }
        if all.values().filter(|relay| relay.node_id == *node_id).count() >= RELAYS_PER_NODE_MAX {
            return Err(Busy::Node);
        }
        let state = State {
            lines: VecDeque::new(),
            bytes: 0,
            next: 0,
            said: Said::Nothing,
            writer: None,
            until: clock::tick() + FIRST_POST_TIME,
            has_reader: true,
        };
        let relay = Arc::new(Relay { node_id: node_id.clone(), reader: reader.clone(), state: Mutex::new(state) });
        let id = crypto::random_hex(16);
        all.insert(id.clone(), Arc::clone(&relay));
        Ok(Source { id, relay, relays: Arc::clone(self) })
    }

    /// The relay of this id, if it is one of the node.
    pub fn of_node(&self, id: &str, node_id: &NodeId) -> Option<Arc<Relay>> {
        lock(&self.all).get(id).filter(|relay| relay.node_id == *node_id).map(Arc::clone)
    }

    /// Number of relays.
    pub fn count(&self) -> usize {
        lock(&self.all).len()
    }
}

impl Relay {
    /// Takes a post of the node if there is room for it.
    pub fn offer(&self, post: Post) -> Offered {
        let mut state = lock(&self.state);
        if !state.has_reader || state.is_over() {
            return Offered::Unread;
        }
        state.until = clock::tick() + POST_TIME;
        // The answer to the first try was lost.
        if state.next.checked_sub(1) == Some(post.seq) {
            return Offered::Taken;
        }
        if post.seq != state.next {
            return Offered::OutOfOrder;
        }
        if state.bytes >= HELD_BYTES_MAX {
            let bell = Bell::default();
            let older = state.writer.replace(bell.clone());
            drop(state);
            older.iter().for_each(Bell::ring);
            return Offered::Full(post, bell);
        }
        state.next += 1;
        state.bytes += post.lines.iter().map(size).sum::<usize>();
        state.lines.extend(post.lines);
        state.said = match post.state {
            RelayState::More => Said::More,
            RelayState::Live => Said::Live,
            RelayState::End => Said::End,
            RelayState::Failed => Said::Failed(post.reason),
        };
        drop(state);
        self.reader.ring();
        Offered::Taken
    }
}

impl State {
    fn is_over(&self) -> bool {
        matches!(self.said, Said::End | Said::Failed(_))
    }
}

fn size(line: &LogLine) -> usize {
    line.text.len() + LINE_BYTES
}

/// The reader's end of a relay. The relay ends when it is dropped.
pub struct Source {
    /// Id of the relay.
    pub id: String,
    relay: Arc<Relay>,
    relays: Arc<Relays>,
}

impl Source {
    /// Locks the relay for a reading.
    pub fn lock(&self) -> Held<'_> {
        Held(lock(&self.relay.state))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        lock(&self.relays.all).remove(&self.id);
        self.relays.work.withdraw(&self.relay.node_id, &self.id);
        let mut state = lock(&self.relay.state);
        state.has_reader = false;
        state.lines = VecDeque::new();
        let writer = state.writer.take();
        drop(state);
        writer.iter().for_each(Bell::ring);
    }
}

/// A relay while its reader takes from it: the node's posts wait.
pub struct Held<'r>(MutexGuard<'r, State>);

/// Outlook of a relay without a waiting line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// More of what is there already will come.
    Behind,
    /// Only new lines will come.
    Live,
    /// All has come.
    Over,
    /// Nothing more will come, and the reason.
    Lost(String),
}

impl Held<'_> {
    /// The next line.
    pub fn peek(&self) -> Option<&LogLine> {
        self.0.lines.front()
    }

    /// Takes the next line. Adds the bell of a node that has room again; it is rung when nothing is locked.
    pub fn take(&mut self, freed: &mut Vec<Bell>) -> Option<LogLine> {
        let line = self.0.lines.pop_front()?;
        self.0.bytes -= size(&line);
        if self.0.bytes < HELD_BYTES_MAX / 2 {
            freed.extend(self.0.writer.take());
        }
        Some(line)
    }

    /// Outlook after the waiting lines.
    pub fn standing(&self, now: Instant) -> Standing {
        let is_late = self.0.until <= now && self.0.writer.is_none();
        match &self.0.said {
            Said::End => Standing::Over,
            Said::Failed(reason) => Standing::Lost(reason.clone()),
            Said::Nothing if is_late => Standing::Lost(format!("no answer within {} s", FIRST_POST_TIME.as_secs())),
            _ if is_late => Standing::Lost(format!("silent for {} s", POST_TIME.as_secs())),
            Said::Nothing | Said::More => Standing::Behind,
            Said::Live => Standing::Live,
        }
    }

    /// Time by which the node has to post.
    pub fn until(&self) -> Instant {
        self.0.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::control::fleet::losses::Losses;
    use crate::model::relay::LogStream;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn line(text: String) -> LogLine {
        LogLine { replica: 0, at: Timestamp(1), stream: LogStream::Out, is_partial: false, text }
    }

    fn post(seq: u64, lines: Vec<LogLine>) -> Post {
        Post { seq, state: RelayState::More, lines, reason: String::new() }
    }

    fn relays() -> Arc<Relays> {
        Arc::new(Relays::new(Arc::new(Work::new(7, Losses::default()))))
    }

    fn taken(source: &Source) -> Option<LogLine> {
        let mut freed = Vec::new();
        let line = source.lock().take(&mut freed);
        freed.iter().for_each(Bell::ring);
        line
    }

    fn opened(relays: &Arc<Relays>, node: &str) -> (Source, Arc<Relay>) {
        let source = relays.open(&node.into(), &Bell::default()).expect("room");
        let relay = relays.of_node(&source.id, &node.into()).expect("just opened");
        (source, relay)
    }

    #[test]
    fn relays_are_bounded_and_of_one_node() {
        let relays = relays();
        let bell = Bell::default();
        let open = |node: &str| relays.open(&node.into(), &bell);
        let of_one: Vec<Source> = (0..RELAYS_PER_NODE_MAX).map(|_| open("a").expect("room")).collect();
        assert_eq!(open("a").map(drop), Err(Busy::Node));
        let rest = RELAYS_PER_NODE_MAX..RELAYS_MAX;
        let of_others: Vec<Source> = rest.map(|n| open(&format!("n{n}")).expect("room")).collect();
        assert_eq!(open("b").map(drop), Err(Busy::All));
        assert!(relays.of_node(&of_one[0].id, &"b".into()).is_none(), "another node's");
        assert!(relays.of_node("0", &"a".into()).is_none());
        drop((of_one, of_others));
        assert_eq!(relays.count(), 0);
    }

    #[test]
    fn a_post_is_taken_once_and_in_order() {
        let (source, relay) = opened(&relays(), "a");
        let texts = || -> Vec<String> { std::iter::from_fn(|| taken(&source).map(|line| line.text)).collect() };
        assert!(matches!(relay.offer(post(1, vec![line("early".into())])), Offered::OutOfOrder));
        for _ in 0..2 {
            assert!(matches!(relay.offer(post(0, vec![line("first".into())])), Offered::Taken));
        }
        assert_eq!(texts(), ["first"]);
        assert_eq!(source.lock().standing(clock::tick()), Standing::Behind);
        let last = Post { state: RelayState::End, ..post(1, vec![line("last".into())]) };
        assert!(matches!(relay.offer(last), Offered::Taken));
        assert_eq!((texts(), source.lock().standing(clock::tick())), (vec!["last".to_string()], Standing::Over));
        assert!(matches!(relay.offer(post(2, Vec::new())), Offered::Unread), "it has ended");
    }

    #[test]
    fn a_reader_that_is_behind_holds_the_node_back_and_one_that_leaves_frees_it() {
        let (source, relay) = opened(&relays(), "a");
        let mut seq = 0;
        let waiting = loop {
            let lines = vec![line("x".repeat(1000)); 32];
            match relay.offer(post(seq, lines)) {
                Offered::Taken => seq += 1,
                Offered::Full(post, bell) => break (post, bell),
                Offered::OutOfOrder | Offered::Unread => panic!("post {seq}"),
            }
        };
        assert!(lock(&relay.state).bytes < HELD_BYTES_MAX + 40_000 && seq > 5);
        let rung = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&rung);
        assert!(waiting.1.on_ring(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        })));
        let later = clock::tick() + POST_TIME * 2;
        assert_eq!(source.lock().standing(later), Standing::Behind, "it is silent because it waits");
        while rung.load(Ordering::SeqCst) == 0 {
            assert!(taken(&source).is_some(), "rung before all is taken");
        }
        assert!(lock(&relay.state).bytes > HELD_BYTES_MAX / 3);
        assert!(matches!(relay.offer(waiting.0), Offered::Taken));
        assert_eq!(source.lock().standing(later), Standing::Lost("silent for 30 s".to_string()));
        let full = loop {
            seq += 1;
            if let Offered::Full(_, bell) = relay.offer(post(seq, vec![line("x".repeat(60_000))])) {
                break bell;
            }
        };
        drop(source);
        assert!(!full.on_ring(Box::new(|| {})), "rung when the reader left");
        assert_eq!(lock(&relay.state).lines.capacity(), 0);
        assert!(matches!(relay.offer(post(seq, Vec::new())), Offered::Unread));
    }
}
