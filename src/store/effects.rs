//! Effects of writes on memory, bound to their transaction: undone if it fails, carried out if it commits.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A change in memory.
type Effect = Box<dyn FnOnce()>;

/// The effects registered by the writes of one transaction.
#[derive(Default)]
pub(super) struct Effects {
    on_rollback: RefCell<Vec<Effect>>,
    on_commit: RefCell<Vec<Effect>>,
}

/// A position in the order of effects: the start of a write.
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

    /// Undoes what was registered since the mark, newest first.
    pub(super) fn roll_back_to(&self, mark: Mark) {
        self.on_commit.borrow_mut().truncate(mark.commits);
        let undone = self.on_rollback.borrow_mut().split_off(mark.rollbacks);
        undone.into_iter().rev().for_each(run);
    }

    /// Undoes everything: the transaction failed.
    pub(super) fn roll_back(self) {
        self.roll_back_to(Mark { rollbacks: 0, commits: 0 });
    }

    /// Carries out the effects of a committed transaction, oldest first.
    pub(super) fn commit(self) {
        self.on_commit.into_inner().into_iter().for_each(run);
    }
}

/// Runs one effect. A panic ends only this one: the other effects and the answers concern other callers.
fn run(effect: Effect) {
    if catch_unwind(AssertUnwindSafe(effect)).is_err() {
        log::error!(target: "store", event = "store.effect_panicked"; "An in-memory effect of a transaction panicked; \
            memory may differ from the database until the next start");
    }
}
