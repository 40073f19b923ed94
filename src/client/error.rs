//! Failures of calls, as sentences.

use crate::clock::Timestamp;
use crate::model::node_api::{Reason, Refusal};
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// Failure of a call.
#[derive(Debug)]
pub enum CallError {
    /// No answer: the server is away, or something between is broken.
    Unreachable(String),
    /// An answer that is an error.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The sentence, or all the faults.
        detail: String,
        /// Why a node was refused.
        reason: Option<Reason>,
        /// The server's time, if it was sent.
        server_time: Option<Timestamp>,
        /// Time until the call can be tried again, if it was sent.
        retry_after: Option<Duration>,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Unreachable(why) => f.write_str(why),
            CallError::Refused { status, detail, reason: Some(reason), .. } => {
                write!(f, "{detail} ({reason}, HTTP {status})")
            }
            CallError::Refused { status, detail, .. } => write!(f, "{detail} (HTTP {status})"),
        }
    }
}

impl std::error::Error for CallError {}

impl CallError {
    /// True if the server answered and refused.
    pub fn is_refusal(&self) -> bool {
        matches!(self, CallError::Refused { .. })
    }
}

/// Result of a call.
pub type Called<T> = Result<T, CallError>;

/// The error for a refusal.
pub(super) fn refusal(status: u16, refused: Refusal, retry_after: Option<Duration>) -> CallError {
    let Refusal { detail, reason, server_time } = refused;
    let detail = detail.as_str().map_or_else(|| faults(&detail), str::to_string);
    CallError::Refused { status, detail, reason, server_time, retry_after }
}

/// The faults of a 422, on one line.
fn faults(detail: &Value) -> String {
    let one = |fault: &Value| {
        let place: Vec<String> = fault["loc"]
            .as_array()
            .into_iter()
            .flatten()
            .skip(1)
            .map(|s| s.as_str().map_or(s.to_string(), str::to_string))
            .collect();
        format!("{}: {}", place.join("."), fault["msg"].as_str().unwrap_or("is wrong"))
    };
    detail.as_array().map_or_else(|| detail.to_string(), |all| all.iter().map(one).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_is_a_sentence_whatever_its_shape() {
        let said = |body: Value| refusal(422, serde_json::from_value(body).expect("a refusal"), None).to_string();
        assert_eq!(said(json!({"detail": "No."})), "No. (HTTP 422)");
        let faults = json!({"detail": [{"loc": ["body", "labels", 0], "msg": "is long"}, {"loc": ["body", "id"],
            "msg": "Field required"}]});
        assert_eq!(said(faults), "labels.0: is long; id: Field required (HTTP 422)");
    }
}
