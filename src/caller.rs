//! For whom this thread works: who asked, from where. The gate says it once a request, and whatever is recorded on the way,
//! here or in the writer thread, carries it. Work that nobody asked for is the system's own.

use std::cell::RefCell;
use std::net::IpAddr;

/// Who caused what is being done.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `user:alice`, `token:ut-...`, `local:machine`, `node:node-a`, `join-token:jt-...`, or `nobody` as long as nobody has proven anything.
    pub actor: String,
    /// Where the request came from.
    pub address: IpAddr,
}

/// The actor of whoever has proven nothing.
pub const NOBODY: &str = "nobody";

thread_local! {
    static CALLER: RefCell<Option<Caller>> = const { RefCell::new(None) };
}

/// Ends with the work that it stands for, and brings back what was before.
pub struct Scope(Option<Caller>);

/// From here on this thread works for this caller.
pub fn begin(caller: Option<Caller>) -> Scope {
    Scope(CALLER.replace(caller))
}

/// The caller has proven who it is.
pub fn is(actor: &str) {
    CALLER.with_borrow_mut(|caller| {
        if let Some(caller) = caller {
            actor.clone_into(&mut caller.actor);
        }
    });
}

/// For whom this thread works; `None`: for nobody but the server itself.
pub fn current() -> Option<Caller> {
    CALLER.with_borrow(Clone::clone)
}

impl Drop for Scope {
    fn drop(&mut self) {
        CALLER.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_known_until_its_work_ends() {
        let actor = || current().map(|c| c.actor);
        let scope = begin(Some(Caller { actor: NOBODY.into(), address: [127, 0, 0, 1].into() }));
        is("user:alice");
        assert_eq!(actor().as_deref(), Some("user:alice"));
        {
            let _own = begin(None);
            is("user:bob");
            assert_eq!(actor(), None);
        }
        assert_eq!(actor().as_deref(), Some("user:alice"));
        drop(scope);
        assert_eq!(actor(), None);
    }
}
