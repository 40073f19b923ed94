//! The caller that this thread works for. The gate sets it once per request, and everything recorded on the way, here
//! or in the writer thread, carries it. Work without a caller is the server's own.

use std::cell::RefCell;
use std::net::IpAddr;

/// The origin of an action.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `user:alice`, `token:ut-...`, `local:machine`, `node:node-a`, `join-token:jt-...`, or `nobody` until the caller
    /// is authenticated.
    pub actor: String,
    /// Address that the request came from.
    pub address: IpAddr,
}

/// The actor of an unauthenticated caller.
pub const NOBODY: &str = "nobody";

thread_local! {
    static CALLER: RefCell<Option<Caller>> = const { RefCell::new(None) };
}

/// Restores the previous caller when dropped.
pub struct Scope(Option<Caller>);

/// Makes this thread work for `caller` until the scope is dropped.
pub fn enter(caller: Option<Caller>) -> Scope {
    Scope(CALLER.replace(caller))
}

/// Sets the actor once the caller is authenticated.
pub fn set_actor(actor: &str) {
    CALLER.with_borrow_mut(|caller| {
        if let Some(caller) = caller {
            actor.clone_into(&mut caller.actor);
        }
    });
}

/// The caller that this thread works for; `None` for the server's own work.
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
        let scope = enter(Some(Caller { actor: NOBODY.into(), address: [127, 0, 0, 1].into() }));
        set_actor("user:alice");
        assert_eq!(actor().as_deref(), Some("user:alice"));
        {
            let _own = enter(None);
            set_actor("user:bob");
            assert_eq!(actor(), None);
        }
        assert_eq!(actor().as_deref(), Some("user:alice"));
        drop(scope);
        assert_eq!(actor(), None);
    }
}
