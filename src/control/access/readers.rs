//! The credential of a reader whose answer outlives its request.

use super::sessions::Sessions;
use super::visitor::Place;
use crate::control::Control;
use crate::model::users::Role;
use crate::store::Store;
use std::sync::Arc;

/// A credential and its origin, to check that they are still valid.
pub struct ReaderCredential {
    shown: String,
    place: Place,
    role: Role,
    sessions: Arc<Sessions>,
    store: Arc<Store>,
}

impl ReaderCredential {
    /// The credential that was shown from this place, for what this role may read.
    pub fn new(control: &Control, (shown, place): (String, Place), role: Role) -> ReaderCredential {
        ReaderCredential {
            shown,
            place,
            role,
            sessions: Arc::clone(&control.sessions),
            store: Arc::clone(&control.store),
        }
    }

    /// True if it is still valid and sufficient. Reading counts as a use, like any other request.
    pub fn is_valid(&self) -> bool {
        let user = self.sessions.holder(&self.store, &self.shown, self.place);
        user.is_ok_and(|user| user.is_some_and(|user| user.restriction.is_none() && user.role >= self.role))
    }
}
