//! Effects of jobs on memory, which belong to their transaction: undone where it fails, carried out where it stands.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A change in memory.
type Effect = Box<dyn FnOnce()>;

/// The effects that the jobs of one transaction have registered so far.
#[derive(Default)]
pub(super) struct Effects {
    on_rollback: RefCell<Vec<Effect>>,
    on_commit: RefCell<Vec<Effect>>,
}

/// A place in the order of effects: where a job begins.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    rollbacks: usize,
    commits: usize,
}

impl Effects {
    pub(super) fn on_rollback(&self, effect: impl FnOnce() + 'static) {
        self.on_rollback.borrow_mut().push(Box::new(effect));
    }

    pub(super) fn on_commit(&self, effect: impl FnOnce() + 'static) {
        self.on_commit.borrow_mut().push(Box::new(effect));
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { rollbacks: self.on_rollback.borrow().len(), commits: self.on_commit.borrow().len() }
    }

    /// What was registered since the mark is undone, newest first.
    pub(super) fn roll_back_to(&self, mark: Mark) {
        self.on_commit.borrow_mut().truncate(mark.commits);
        let undone = self.on_rollback.borrow_mut().split_off(mark.rollbacks);
        undone.into_iter().rev().for_each(run);
    }

    /// The transaction failed as a whole.
    pub(super) fn roll_back(self) {
        self.roll_back_to(Mark { rollbacks: 0, commits: 0 });
    }

    /// The transaction stands: its effects are carried out, oldest first.
    pub(super) fn commit(self) {
        self.on_commit.into_inner().into_iter().for_each(run);
    }
}

/// Runs one effect. A panic ends it and nothing else: the other effects and the answers are owed to other callers.
fn run(effect: Effect) {
    if catch_unwind(AssertUnwindSafe(effect)).is_err() {
        log::error!(target: "store", event = "store.effect_panicked"; "An in-memory effect of a transaction panicked; memory may differ from the database until the next start");
    }
}
