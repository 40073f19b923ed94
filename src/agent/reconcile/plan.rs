//! Steps on this machine, from the wanted and the present state. Pure: no file, no clock.

use crate::agent::ledger::Heard;
use crate::model::node_api::Part;
use crate::model::release::Version;
use crate::model::updates::{Request, State};
use std::time::{Duration, Instant};

/// Time after which an unanswered request is written again. What waits for the file sees it change and nothing else: a
/// change while an update runs, or before a power cut, is lost to it.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Request this update from the updater.
    RequestUpdate(Request),
    /// Log why what is wanted cannot be done.
    RefuseUpdate(String),
}

/// State of this machine.
pub struct Seen<'a> {
    /// The version of this program.
    pub version: &'a str,
    /// The updater's state.
    pub updater: Option<&'a State>,
    /// The request of this run, and when it was written.
    pub asked: Option<&'a (Request, Instant)>,
}

/// The steps from what is there to what is wanted.
pub fn plan(wanted: &Heard, seen: &Seen) -> Vec<Step> {
    let request: Request = match &wanted.update {
        None => return Vec::new(),
        Some(Part::Unknown(why)) => return vec![Step::RefuseUpdate(why.clone())],
        Some(Part::Known(update)) => update.clone().into(),
    };
    let faults = request.faults();
    if !faults.is_empty() {
        return vec![Step::RefuseUpdate(faults.join("; "))];
    }
    let is_made = Version::parse(seen.version) >= Version::parse(&request.version);
    let is_answered = seen.updater.is_some_and(|state| state.update_id == request.id && state.is_final());
    // A request that the control plane has withdrawn is not repeated.
    let is_asked = seen.asked.is_some_and(|(asked, at)| *asked == request && wanted.tick < *at + ASKED_AGAIN_AFTER);
    if is_made || is_answered || is_asked { Vec::new() } else { vec![Step::RequestUpdate(request)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::model::node_api::UpdateRequest;

    const OWN: &str = "2.0.0";

    fn update(version: &str) -> UpdateRequest {
        UpdateRequest { id: "update-1.1".into(), channel: "stable".into(), version: version.into() }
    }

    fn heard(update: Option<Part<UpdateRequest>>) -> Heard {
        Heard { update, at: clock::now(), tick: clock::tick() }
    }

    fn state(state: &str, update_id: &str) -> State {
        serde_json::from_value(serde_json::json!({"state": state, "update_id": update_id})).expect("a state")
    }

    fn steps(wanted: &Heard, updater: Option<&State>, asked: Option<&(Request, Instant)>) -> Vec<Step> {
        plan(wanted, &Seen { version: OWN, updater, asked })
    }

    #[test]
    fn the_updater_is_asked_until_it_has_answered() {
        let mut wanted = heard(Some(Part::Known(update("99.0.0"))));
        let request = Request::from(update("99.0.0"));
        let asks = vec![Step::RequestUpdate(request.clone())];
        assert_eq!(steps(&wanted, None, None), asks);
        let asked = (request.clone(), wanted.tick);
        assert_eq!(steps(&wanted, None, Some(&asked)), []);
        let running = state("running", "update-1.1");
        wanted.tick += ASKED_AGAIN_AFTER - Duration::from_secs(1);
        assert_eq!(steps(&wanted, Some(&running), Some(&asked)), []);
        wanted.tick += Duration::from_secs(1);
        assert_eq!(steps(&wanted, Some(&running), Some(&asked)), asks, "it was cut off, or another update ran");
        for (answer, expected) in [("update-1.1", vec![]), ("update-0.1", asks.clone())] {
            assert_eq!(steps(&wanted, Some(&state("failed", answer)), None), expected, "an answer to {answer}");
        }
        let other = (Request { id: "update-1.2".into(), ..request }, wanted.tick);
        assert_eq!(steps(&wanted, None, Some(&other)), asks, "another attempt");
    }

    #[test]
    fn only_a_newer_version_is_asked_for_and_only_a_sound_request() {
        assert_eq!(steps(&heard(None), None, None), []);
        for version in ["1.9.9", OWN] {
            assert_eq!(steps(&heard(Some(Part::Known(update(version)))), None, None), [], "{version}");
        }
        let unsound = steps(&heard(Some(Part::Known(update("next")))), None, None);
        assert!(matches!(&unsound[..], [Step::RefuseUpdate(why)] if why.contains("version")), "{unsound:?}");
        let unknown = steps(&heard(Some(Part::Unknown("missing field".into()))), None, None);
        assert_eq!(unknown, [Step::RefuseUpdate("missing field".into())]);
    }
}
