//! Answers that wait for something: one that is given later, and one that grows for as long as its reader stays.
//! Neither has a thread while it waits.

use crate::bell::Bell;
use std::time::Instant;

/// An answer that is given when a bell rings, or at a time.
pub struct Later<A> {
    /// Rung by the thread that changes what the answer is about.
    pub bell: Bell,
    /// Time of the answer if it does not ring.
    pub until: Instant,
    /// Creates the answer. It must not wait; dropping it unused means that the client is gone.
    pub answer: Box<dyn FnOnce() -> A + Send>,
}

impl<A: 'static> Later<A> {
    /// The same, changed by `change` when it is given.
    pub fn map(self, change: impl FnOnce(A) -> A + Send + 'static) -> Later<A> {
        let answer = self.answer;
        Later { answer: Box::new(move || change(answer())), ..self }
    }
}

/// An answer without an end, such as a stream of events.
pub trait Feed: Send {
    /// Rung by the thread that has more for the reader.
    fn bell(&self) -> &Bell;

    /// The next piece. It must not wait.
    fn next(&mut self) -> Piece;
}

/// A piece of a growing answer.
pub enum Piece {
    /// Bytes to send, at most some hundred kilobytes: they stay in memory until the reader has taken them.
    Bytes(Vec<u8>),
    /// Nothing until the bell rings, or until this time.
    Silence(Instant),
    /// The end of the answer.
    End,
}
