//! Users and their roles.

use crate::clock::Timestamp;
use crate::model::ids::{ApiTokenId, SessionId, UserName};
use crate::model::words::words;
use serde::Serialize;

words! {
    /// Role of a user; each role includes the previous ones.
    pub enum Role {
        /// May read.
        Viewer = "viewer",
        /// May manage nodes, services and replicas.
        Operator = "operator",
        /// May manage users, tokens and settings.
        Admin = "admin",
    }
}

/// Credential of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A session with this id: a person signed in.
    Session(SessionId),
    /// An API token with this id: a program of a user.
    ApiToken(ApiTokenId),
    /// The server's local credential: a command on its machine, run by root or by the owner of its data.
    Local,
}

/// Reason why a session may only change the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// An admin set the password, and knows it.
    MustChange,
    /// It is the well-known first password, used from another machine: only a person who can read the setup code on
    /// this machine may change it.
    NeedsSetupCode,
}

/// A signed-in user.
#[derive(Debug, Clone)]
pub struct User {
    /// The name, in lower case.
    pub name: UserName,
    /// The role under this credential.
    pub role: Role,
    /// The credential.
    pub credential: Credential,
    /// The restriction of a session, if any.
    pub restriction: Option<Restriction>,
}

impl User {
    /// The name in events.
    pub fn actor(&self) -> String {
        match &self.credential {
            Credential::Session(_) => format!("user:{}", self.name),
            Credential::ApiToken(id) => format!("token:{id} ({})", self.name),
            Credential::Local => "local:machine".to_string(),
        }
    }

    /// The id of the session or the token.
    pub fn credential_id(&self) -> &str {
        match &self.credential {
            Credential::Session(id) => id.as_str(),
            Credential::ApiToken(id) => id.as_str(),
            Credential::Local => "local",
        }
    }

    /// True for a person, false for a program.
    pub fn is_person(&self) -> bool {
        matches!(self.credential, Credential::Session(_))
    }

    /// The session's id; `None` for a token.
    pub fn session_id(&self) -> Option<&SessionId> {
        match &self.credential {
            Credential::Session(id) => Some(id),
            Credential::ApiToken(_) | Credential::Local => None,
        }
    }
}

/// A user as admins see it.
#[derive(Debug, Clone, Serialize)]
pub struct Person {
    /// The name, in lower case.
    pub name: UserName,
    /// The user's role.
    pub role: Role,
    /// True if the user must change the password before anything else.
    pub must_change_password: bool,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// The stored account of a user. Holds a hash, so it has no Debug.
pub struct Account {
    /// The user.
    pub person: Person,
    /// Argon2id, PHC string format.
    pub password_hash: String,
    /// Increases with every change of the password.
    pub password_version: i64,
    /// True if the password is the well-known one of the seed.
    pub password_is_seeded: bool,
}
