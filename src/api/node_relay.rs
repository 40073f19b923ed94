//! `POST /node/relay/{relay_id}`: a node sends what a reader has requested. The answer waits while the reader is
//! behind.

use super::{arg_id, body_at};
use crate::clock;
use crate::control::fleet::relays::{Offered, Post, Relay};
use crate::gate::Handler::ByNode;
use crate::gate::{self, NodeCaller, Reply, Route, route};
use crate::http::later::Later;
use crate::http::{Request, Response};
use crate::model::relay::{LogLine, POST_BYTES_MAX, RelayState};
use crate::upkeep::App;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tiny_http::Method;

/// Longest wait for room.
const WAIT: Duration = Duration::from_secs(25);
/// Maximum length of a reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Method::Post, "/node/relay/{relay_id}", ByNode(take))
    .gives(204, "")
    .conflicts("It does not follow the last post.")
    .says(
        "Send what a reader has requested of the calling node. While the reader is behind, the answer waits; 503 then \
            means that the post was not taken and should be sent again. 410 means that the reader has left.",
    )];

fn take(app: &App, request: &Request, caller: &NodeCaller) -> Reply {
    let mut f = body_at(request, "relay_id")?;
    let seq = f.int("seq", 0..=i64::MAX).required().unsigned_abs();
    let state = f.word("state", RelayState::WORDS, RelayState::parse).required_with(RelayState::Failed);
    let text = f.text("text", 0..=POST_BYTES_MAX).or(String::new());
    let lines: Vec<Option<LogLine>> = text.lines().map(LogLine::parse).collect();
    if lines.iter().any(Option::is_none) {
        let msg = "Each line should be REPLICA TIME STREAM TAG TEXT".to_string();
        f.fault("string_pattern_mismatch", vec!["text".into()], msg, &Value::String(text));
    }
    let reason = f.text("reason", 0..=REASON_CHARS_MAX).or(String::new());
    f.finish()?;
    let id: String = arg_id(request)?;
    let Some(relay) = app.control.relays.of_node(&id, &caller.node_id) else { return Ok(unread()) };
    // What a reader has requested costs the node nothing.
    gate::refund_node(&app.control, &caller.node_id);
    let post = Post { seq, state, lines: lines.into_iter().flatten().collect(), reason };
    Ok(match relay.offer(post) {
        Offered::Full(post, bell) => {
            let answer = Box::new(move || offer_again(&relay, post));
            Response::later(Later { bell, until: clock::tick() + WAIT, answer })
        }
        offered => answer(offered),
    })
}

fn offer_again(relay: &Arc<Relay>, post: Post) -> Response {
    answer(relay.offer(post))
}

fn answer(offered: Offered) -> Response {
    match offered {
        Offered::Taken => Response::empty(204),
        Offered::Full(..) => {
            Response::error(503, "The reader is behind; send it again.").with("Retry-After", "0".to_string())
        }
        Offered::OutOfOrder => Response::error(409, "This post does not follow the last one."),
        Offered::Unread => unread(),
    }
}

fn unread() -> Response {
    Response::error(410, "The reader of this relay has left, or there is no such relay of this node.")
}
