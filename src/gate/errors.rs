//! Turns an [`Error`] into the contract's answer. The details of a fault go to the log only, with the request id.

use crate::clock;
use crate::error::{Chain, Error};
use crate::http::Response;
use crate::model::node_api::Refusal;
use serde_json::json;
use std::collections::BTreeMap;

/// The answer for an error.
pub fn answer(error: &Error) -> Response {
    error
        .retry_after_s()
        .into_iter()
        .fold(without_wait(error), |answer, wait_s| answer.with("Retry-After", wait_s.to_string()))
}

fn without_wait(error: &Error) -> Response {
    let status = error.status();
    match error {
        Error::Invalid(faults) => Response::json(status, &BTreeMap::from([("detail", faults)])),
        Error::Unauthenticated { detail, reason: Some(reason) } => {
            let reason = Some(reason.clone());
            Response::json(status, &Refusal { detail: (*detail).into(), reason, server_time: Some(clock::now()) })
        }
        Error::MethodNotAllowed(allow) => plain(error).with("Allow", allow.clone()),
        Error::Fault(_) => {
            log::error!(
                target: "api", event = "request.fault", error:% = Chain(error);
                "A request failed with an internal error"
            );
            plain(error)
        }
        Error::Malformed(_)
        | Error::Unauthenticated { reason: None, .. }
        | Error::Forbidden(_)
        | Error::NotFound(_)
        | Error::Conflict(_)
        | Error::PreconditionFailed
        | Error::TooLarge
        | Error::RateLimited { .. }
        | Error::Unavailable(_) => plain(error),
    }
}

fn plain(error: &Error) -> Response {
    Response::json(error.status(), &json!({ "detail": error.detail() }))
}
