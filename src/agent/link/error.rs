//! Errors of the link: each says whether the call failed or this machine did.

use crate::client::CallError;
use crate::error::{Chain, Error};
use crate::model::node_api::Reason;
use std::fmt;

/// Why the link could not do its work.
#[derive(Debug)]
pub enum AgentError {
    /// The control plane did not answer, or refused.
    Call(CallError),
    /// This machine failed: a key cannot sign, a file cannot be written.
    Local(Error),
}

/// Result of the link's work.
pub type Linked<T> = Result<T, AgentError>;

impl AgentError {
    /// The reason of a refusal.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            AgentError::Call(CallError::Refused { reason, .. }) => reason.as_ref(),
            AgentError::Call(CallError::Unreachable(_)) | AgentError::Local(_) => None,
        }
    }

    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            AgentError::Call(CallError::Refused { status, .. }) => Some(*status),
            AgentError::Call(CallError::Unreachable(_)) | AgentError::Local(_) => None,
        }
    }

    /// True if the control plane answered.
    pub fn is_refusal(&self) -> bool {
        matches!(self, AgentError::Call(e) if e.is_refusal())
    }
}

impl From<CallError> for AgentError {
    fn from(e: CallError) -> AgentError {
        AgentError::Call(e)
    }
}

impl From<Error> for AgentError {
    fn from(e: Error) -> AgentError {
        AgentError::Local(e)
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AgentError::Call(e) => e.fmt(f),
            AgentError::Local(e) => Chain(e).fmt(f),
        }
    }
}

impl std::error::Error for AgentError {}
