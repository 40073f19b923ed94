//! One error type for the whole program: what went wrong, who should act on it, and its HTTP status.
//!
//! A variant exists only where a caller acts differently on it. Foreign errors never convert implicitly: they enter
//! with the name of the action, `fs::read(&path).doing("read node key")?`. The cause of a [`Fault`] goes to the log; a
//! client sees only `Internal error` and its request id.

use std::fmt;

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Seconds after which a temporarily impossible request may be retried.
const RETRY_AFTER_S: u64 = 5;

/// Every error, sorted by who can fix it.
#[derive(Debug)]
pub enum Error {
    /// 400: well-formed but not sensible here; the sentence says why.
    Malformed(String),
    /// 401: not authenticated; `reason` is given only to a partly authenticated caller.
    Unauthenticated {
        /// The sentence for the client.
        detail: &'static str,
        /// Machine-readable reason that lets a node recover by itself.
        reason: Option<Reason>,
    },
    /// 403: known, but not allowed.
    Forbidden(&'static str),
    /// 404: the sentence names the kind of object.
    NotFound(String),
    /// 405: the value of the `Allow` header.
    MethodNotAllowed(String),
    /// 409: conflicts with the current state.
    Conflict(String),
    /// 412: the object is not the version that the caller knows.
    PreconditionFailed,
    /// 413: longer than this route accepts.
    TooLarge,
    /// 422: every fault of the request's fields at once.
    Invalid(Vec<FieldFault>),
    /// 429: too many requests.
    RateLimited {
        /// The sentence for the client.
        detail: String,
        /// Seconds until a retry is worthwhile.
        retry_after_s: u64,
    },
    /// 503: temporarily impossible; the sentence says why.
    Unavailable(String),
    /// 500: a bug or a failure of the machine; details go to the log only.
    Fault(Fault),
}

/// Why a node is refused, in the contract's words. An unknown reason keeps its word.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The lease token has expired.
    LeaseExpired,
    /// The node is enrolled with another identity.
    IdentityReplaced,
    /// The certificate of the connection has expired.
    CertificateExpired,
    /// The certificate expired too long ago to be renewed.
    IdentityExpired,
    /// The signing time is too far from the server's time.
    ClockSkew,
    /// The signing time was already used.
    Replayed,
    /// The signature does not match the node's key.
    BadSignature,
    /// Another machine holds this identity.
    AnotherRun,
    /// A reason of a newer control plane.
    #[serde(untagged)]
    Unknown(String),
}

/// A fault of one field, in the shape of the contract's 422.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FieldFault {
    /// Kind of the fault, `missing`, `string_type`, ...
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Location: `body`, `query` or `path`, then field names and list positions.
    pub loc: Vec<Loc>,
    /// A sentence for a person.
    pub msg: String,
    /// The received value, truncated.
    pub input: serde_json::Value,
}

/// A step of a [`FieldFault`]'s location.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Loc {
    /// A field name.
    Name(String),
    /// A position: in a list, or a byte offset.
    Index(usize),
}

/// An unexpected failure.
#[derive(Debug)]
pub struct Fault {
    /// The action that failed, "read node key".
    pub doing: &'static str,
    /// The underlying error.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    /// The HTTP status of this error.
    pub fn status(&self) -> u16 {
        match self {
            Error::Malformed(_) => 400,
            Error::Unauthenticated { .. } => 401,
            Error::Forbidden(_) => 403,
            Error::NotFound(_) => 404,
            Error::MethodNotAllowed(_) => 405,
            Error::Conflict(_) => 409,
            Error::PreconditionFailed => 412,
            Error::TooLarge => 413,
            Error::Invalid(_) => 422,
            Error::RateLimited { .. } => 429,
            Error::Unavailable(_) => 503,
            Error::Fault(_) => 500,
        }
    }

    /// The sentence that a client may see.
    pub fn detail(&self) -> String {
        match self {
            Error::Malformed(s) | Error::NotFound(s) | Error::Conflict(s) | Error::Unavailable(s) => s.clone(),
            Error::Unauthenticated { detail, .. } => (*detail).to_string(),
            Error::Forbidden(s) => (*s).to_string(),
            Error::MethodNotAllowed(_) => "Method Not Allowed".to_string(),
            Error::PreconditionFailed => "The object has changed since it was read; read it again".to_string(),
            Error::TooLarge => "Request body too large".to_string(),
            Error::Invalid(faults) => {
                let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
                all.join("; ")
            }
            Error::RateLimited { detail, .. } => detail.clone(),
            Error::Fault(_) => "Internal error".to_string(),
        }
    }

    /// Seconds until a retry is worthwhile, if a retry may help.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Error::RateLimited { retry_after_s, .. } => Some(*retry_after_s),
            Error::Unavailable(_) => Some(RETRY_AFTER_S),
            _ => None,
        }
    }

    /// The contract's answer to unauthenticated callers.
    pub fn unauthenticated() -> Error {
        Error::Unauthenticated { detail: "Authentication required", reason: None }
    }

    /// `<what> not found`.
    pub fn not_found(what: &str) -> Error {
        Error::NotFound(format!("{what} not found"))
    }

    /// A fault without an underlying error.
    pub fn fault(doing: &'static str, why: impl Into<String>) -> Error {
        Error::Fault(Fault { doing, source: why.into().into() })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        serde::Serialize::serialize(self, f)
    }
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.loc.iter().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            match step {
                Loc::Name(n) => write!(f, "{dot}{n}")?,
                Loc::Index(n) => write!(f, "{dot}{n}")?,
            }
        }
        write!(f, ": {}", self.msg)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Fault(fault) => f.write_str(fault.doing),
            other => f.write_str(&other.detail()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Fault(fault) => Some(&*fault.source),
            _ => None,
        }
    }
}

/// Names what was being done, so that no bare library error crosses a module.
pub trait Doing<T> {
    /// Turns a foreign error into a [`Fault`] of this action.
    fn doing(self, what: &'static str) -> Result<T>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T> {
        self.map_err(|e| Error::Fault(Fault { doing, source: Box::new(e) }))
    }
}

/// An error with all its causes on one line, for the log and the command line.
pub struct Chain<'a>(pub &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(e) = next {
            write!(f, ": {e}")?;
            next = e.source();
        }
        Ok(())
    }
}
