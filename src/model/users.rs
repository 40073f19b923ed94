//! People: who they are and what they may do.

use crate::clock::Timestamp;
use serde::Serialize;

/// What somebody may do; each role includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Works with nodes, services and replicas.
    Operator,
    /// Manages people, tokens and settings.
    Admin,
}

impl Role {
    /// Every role's word.
    pub const WORDS: &'static [&'static str] = &["viewer", "operator", "admin"];

    /// The role of a word.
    pub fn parse(word: &str) -> Option<Role> {
        match word {
            "viewer" => Some(Role::Viewer),
            "operator" => Some(Role::Operator),
            "admin" => Some(Role::Admin),
            _ => None,
        }
    }

    /// The word of a role.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// What somebody showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A session of this id: a person signed in.
    Session(String),
    /// An API token of this id: a program of theirs.
    ApiToken(String),
    /// The server's local credential: a command on its machine, run by root or by the owner of its data.
    Local,
}

/// Why a session may do nothing yet but change the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// An admin set the password, and knows it.
    MustChange,
    /// It is the password that everybody knows, used from elsewhere than the machine itself: only who can read the setup code there
    /// may change it.
    NeedsSetupCode,
}

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub struct User {
    /// The name, in lower case.
    pub name: String,
    /// What may be done under this credential.
    pub role: Role,
    /// What was shown.
    pub credential: Credential,
    /// What holds it back.
    pub restriction: Option<Restriction>,
}

impl User {
    /// As events name it.
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
            Credential::Session(id) | Credential::ApiToken(id) => id,
            Credential::Local => "local",
        }
    }

    /// Whether a person is there, and not a program.
    pub fn is_person(&self) -> bool {
        matches!(self.credential, Credential::Session(_))
    }

    /// The session's id; empty where it is a token.
    pub fn session_id(&self) -> &str {
        match &self.credential {
            Credential::Session(id) => id,
            Credential::ApiToken(_) | Credential::Local => "",
        }
    }
}

/// A user as admins see it.
#[derive(Debug, Clone, Serialize)]
pub struct Person {
    /// The name, in lower case.
    pub name: String,
    /// What this user may do.
    pub role: Role,
    /// Whether nothing else is possible until the password is changed.
    pub must_change_password: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What the store knows of a user. Holds a hash, so it has no Debug.
pub struct Account {
    /// The user.
    pub person: Person,
    /// Argon2id, PHC string format.
    pub password_hash: String,
    /// Raised with every change of the password.
    pub password_version: i64,
    /// Whether the password is the one of the seed, which everybody knows.
    pub password_is_seeded: bool,
}
