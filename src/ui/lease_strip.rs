//! The lease of a node over the last day, drawn as a strip from the events of its transitions.

use crate::clock::{self, Timestamp};
use crate::control::{Control, events};
use crate::error::Result;
use crate::html::{Html, page};
use crate::model::Paging;
use crate::model::events::EventFilter;
use crate::model::leases::LeaseState;
use crate::model::nodes::Node;

/// Seconds that the strip covers.
const SPAN_S: i64 = 86_400;
/// Width of the strip: one unit per minute.
const WIDTH: i64 = SPAN_S / 60;
/// Events that are read; of a node that flaps more often the oldest part is unknown.
const EVENTS_MAX: usize = 500;
const TRANSITION: &str = "node.lease.";

/// A period in one state.
#[derive(Debug, PartialEq)]
struct Part {
    from: Timestamp,
    to: Timestamp,
    state: LeaseState,
}

/// Strip of a node; `state` is the state of its lease now.
pub(super) fn strip(control: &Control, node: &Node, state: LeaseState) -> Result<Html> {
    let now = clock::now();
    let since = now.plus_secs(-SPAN_S);
    let filter = EventFilter {
        category: Some("nodes".to_string()),
        node_id: Some(node.id.to_string()),
        since: Some(since),
        ..EventFilter::default()
    };
    let found = events::list(control, &Paging::first(EVENTS_MAX), &filter)?.items;
    let word = |event: &crate::model::events::Event, key: &str| {
        event
            .fields
            .get(key)
            .and_then(serde_json::Value::as_str)
            .and_then(LeaseState::parse)
            .unwrap_or(LeaseState::Unknown)
    };
    let transitions: Vec<(Timestamp, LeaseState)> =
        found.iter().filter(|e| e.name.starts_with(TRANSITION)).map(|e| (e.created_at, word(e, "from"))).collect();
    let parts = parts(&transitions, state, since.max(node.created_at), now);
    let x = |at: Timestamp| (at.secs() - since.secs()) / 60;
    let draw = |part: &Part| {
        let time = |at: Timestamp| Timestamp::from_secs(at.secs()).to_string();
        page!(
            "strip_part.html",
            state = part.state.as_str(),
            x = &x(part.from).to_string(),
            // Periods below a minute stay visible.
            width = &(x(part.to) - x(part.from)).max(2).to_string(),
            title = &format!("{} from {} to {}", part.state.as_str(), time(part.from), time(part.to)),
        )
    };
    let label = format!("Lease over the last 24 hours, {}", crate::ui::parts::count(transitions.len(), "transition"));
    Ok(page!(
        "strip.html",
        width = &WIDTH.to_string(),
        label = &label,
        parts = &Html::concat(parts.iter().map(draw).collect())
    ))
}

/// Periods between transitions, newest first. Each transition names the state that it ended.
fn parts(transitions: &[(Timestamp, LeaseState)], now_is: LeaseState, begin: Timestamp, now: Timestamp) -> Vec<Part> {
    let (mut parts, mut state, mut to) = (Vec::new(), now_is, now);
    for (at, before) in transitions {
        parts.push(Part { from: *at, to, state });
        (state, to) = (*before, *at);
    }
    if begin < to {
        parts.push(Part { from: begin, to, state });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_cut_at_its_transitions() {
        let at = Timestamp::from_secs;
        let cut = parts(&[(at(70), LeaseState::Stale), (at(50), LeaseState::Alive)], LeaseState::Dead, at(10), at(100));
        let part = |from, to, state| Part { from: at(from), to: at(to), state };
        assert_eq!(
            cut,
            [part(70, 100, LeaseState::Dead), part(50, 70, LeaseState::Stale), part(10, 50, LeaseState::Alive)]
        );
        assert_eq!(parts(&[], LeaseState::Alive, at(10), at(100)), [part(10, 100, LeaseState::Alive)]);
    }
}
