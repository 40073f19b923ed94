//! Two holders of one identity: a copied card or image sends heartbeats as the same node. The accepted runs of an agent
//! are kept with the lease. A restart, which is another run too, differs from a copy in this: the old run of a restart
//! never comes back.

use crate::clock::Timestamp;
use crate::control::fleet::nodes as rules;
use crate::control::{Control, guard};
use crate::error::{Chain, Error, Result};
use crate::model::events::catalogue::{NODE_KEEP_RUN, NODE_TWO_HOLDERS};
use crate::model::ids::NodeId;
use crate::model::node_runs::{AgentRun, Conflict, Holder};
use crate::store::{events, node_runs, nodes};
use serde_json::json;

/// Maximum number of remembered runs of a node, and of refused ones.
const RUNS_MAX: usize = 8;
/// Seconds after a newer run's first heartbeat from which a heartbeat of an older run proves that both are alive. One
/// that was under way when its agent ended was signed earlier, by at most as many seconds ahead as an agent's clock may
/// run ahead.
const OVERLAP_S: i64 = 10;
/// Number of such heartbeats needed as proof.
const RETURNS_MIN: u32 = 2;

/// The runs of one node's agent.
#[derive(Clone, Default)]
pub(in crate::control) struct Runs {
    /// In the order of their first heartbeats.
    seen: Vec<Seen>,
    conflict: Option<Conflict>,
    news: Option<News>,
}

#[derive(Clone)]
struct Seen {
    holder: Holder,
    first_signed_at: i64,
    /// Heartbeats that prove that it runs beside a newer one.
    returns: u32,
}

/// The state before an operator's decision, as far as it changes that.
pub(in crate::control) struct Undecided {
    /// Id of the run that was kept.
    kept: String,
    decided_at: Option<Timestamp>,
    /// Time of the decision itself.
    decided_now: Timestamp,
    seen: Vec<Seen>,
    news: Option<News>,
}

/// News that is not recorded yet.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::control) enum News {
    /// A conflict was found.
    Found,
    /// The kept run was restarted.
    Restarted,
}

impl Runs {
    /// The runs as they were before the server started.
    pub(in crate::control) fn of(conflict: Option<Conflict>) -> Runs {
        Runs { conflict, ..Runs::default() }
    }

    /// The conflict, if there is one.
    pub(in crate::control) fn conflict(&self) -> Option<&Conflict> {
        self.conflict.as_ref()
    }

    /// True if a heartbeat of this run, signed at this time (epoch seconds), is accepted. `alive` is true if the lease
    /// is valid.
    pub(in crate::control) fn admit(&mut self, holder: &Holder, signed_at: i64, alive: bool) -> bool {
        match &mut self.conflict {
            Some(conflict) if conflict.refuses(&holder.run) => return false,
            Some(conflict) if conflict.decided_at.is_none() && conflict.kept.run.id != holder.run.id => {
                // It could belong to either machine: it waits until the kept one is silent, as after a restart of its
                // machine.
                if alive && !conflict.is_kept_again(&holder.run) {
                    return false;
                }
                conflict.kept = holder.clone();
                self.news = self.news.or(Some(News::Restarted));
            }
            _ => {}
        }
        self.follow(holder, signed_at);
        true
    }

    /// True if calls of this run are refused: of two machines with one identity the other one stays, or may stay. A
    /// call that names no run could come from either.
    pub(super) fn refuses(&self, run: Option<&AgentRun>) -> bool {
        let Some(conflict) = &self.conflict else { return false };
        let Some(run) = run else { return true };
        let kept = &conflict.kept.run;
        if run.id == kept.id {
            // A copied disk has the name of the other's run, but a boot of its own.
            return run.boot != kept.boot;
        }
        conflict.refuses(run) || conflict.decided_at.is_none() && !conflict.is_kept_again(run)
    }

    /// Notes a run, and an older one that should have ended when this one began.
    fn follow(&mut self, holder: &Holder, signed_at: i64) {
        let Some(at) = self.seen.iter().position(|seen| seen.holder.run.id == holder.run.id) else {
            self.seen.push(Seen { holder: holder.clone(), first_signed_at: signed_at, returns: 0 });
            let surplus = self.seen.len().saturating_sub(RUNS_MAX);
            self.seen.drain(..surplus);
            return;
        };
        let Some(next) = self.seen.get(at + 1) else { return };
        if signed_at < next.first_signed_at + OVERLAP_S {
            return;
        }
        self.seen[at].returns += 1;
        if self.seen[at].returns < RETURNS_MIN {
            return;
        }
        let later = self.seen.split_off(at + 1).into_iter().map(|seen| seen.holder);
        let known = self.conflict.take().map(|conflict| conflict.refused).unwrap_or_default();
        let mut refused: Vec<Holder> =
            known.into_iter().chain(later).filter(|other| other.run.id != holder.run.id).collect();
        refused.drain(..refused.len().saturating_sub(RUNS_MAX));
        let kept = self.seen[at].holder.clone();
        self.seen = vec![Seen { holder: kept.clone(), first_signed_at: signed_at, returns: 0 }];
        self.conflict = Some(Conflict { kept, refused, found_at: crate::clock::now(), decided_at: None });
        self.news = Some(News::Found);
    }

    /// True if there is news to record.
    pub(in crate::control) fn has_news(&self) -> bool {
        self.news.is_some() && self.conflict.is_some()
    }

    /// Takes the news to record; it counts as recorded from now on.
    pub(in crate::control) fn take_news(&mut self) -> Option<(News, Conflict)> {
        Some((self.news.take()?, self.conflict.clone()?))
    }

    /// Restores news that could not be recorded after all.
    pub(in crate::control) fn restore_news(&mut self, news: News) {
        self.news = self.news.or(Some(news));
    }

    /// Applies an operator's decision about which run stays; `None` if that is not a holder.
    pub(super) fn decide(&mut self, run_id: &str, now: Timestamp) -> Option<(Conflict, Undecided)> {
        let conflict = self.conflict.as_mut()?;
        let undecided = Undecided {
            kept: conflict.kept.run.id.clone(),
            decided_at: conflict.decided_at,
            decided_now: now,
            seen: self.seen.clone(),
            news: self.news,
        };
        if !conflict.keep(run_id) {
            return None;
        }
        conflict.decided_at = Some(now);
        self.seen.clear();
        self.news = None;
        Some((conflict.clone(), undecided))
    }

    /// Undoes a decision that could not be stored. What heartbeats have changed since stays.
    pub(super) fn undo(&mut self, undecided: Undecided) {
        // A conflict found since is another one.
        if let Some(conflict) = self.conflict.as_mut().filter(|c| c.decided_at == Some(undecided.decided_now)) {
            conflict.keep(&undecided.kept);
            conflict.decided_at = undecided.decided_at;
            let since = std::mem::replace(&mut self.seen, undecided.seen);
            for seen in since {
                self.follow(&seen.holder, seen.first_signed_at);
            }
            self.news = self.news.or(undecided.news);
        }
    }
}

/// Records news from heartbeats. If that fails, the next heartbeat tries again.
pub(in crate::control) fn record(control: &Control, node_id: &NodeId) {
    let (table, id) = (control.leases.clone(), node_id.clone());
    let written = control.store.write(move |w| {
        let Some((news, conflict)) = table.take_run_news(w, &id) else { return Ok(None) };
        let Some(node) = nodes::by_id(w, &id)? else { return Ok(None) };
        node_runs::put(w, node.seq, &conflict)?;
        if news == News::Restarted {
            return Ok(None);
        }
        let fields = json!({"node_id": id, "kept": conflict.kept, "refused": conflict.refused});
        events::record(w, NODE_TWO_HOLDERS.with(fields))?;
        Ok(Some(conflict))
    });
    match written {
        Ok(None) => {}
        Ok(Some(conflict)) => {
            log::warn!(
                target: "cluster", event = "node.two_holders", node_id, kept = conflict.kept.run.id,
                address = conflict.kept.address;
                "Two machines send heartbeats as the same node; the later one is refused until an operator decides"
            )
        }
        Err(e) => {
            log::warn!(
                target: "cluster", event = "node.holders_unwritten", node_id, error:% = Chain(&e);
                "Two machines send heartbeats as the same node, but this could not be stored; the next heartbeat \
                    retries"
            );
        }
    }
}

/// The conflict about a node's identity, if there is one. 404 for an unknown node.
pub fn show(control: &Control, node_id: &NodeId) -> Result<Option<Conflict>> {
    control.store.read(|r| nodes::by_id(r, node_id))?.ok_or_else(rules::missing)?;
    Ok(control.leases.conflict(node_id))
}

/// Keeps one run, and refuses the others.
pub fn keep(control: &Control, node_id: NodeId, run_id: String) -> Result<Conflict> {
    let table = control.leases.clone();
    control.store.write(move |w| {
        guard::check(w)?;
        let node = nodes::by_id(w, &node_id)?.ok_or_else(rules::missing)?;
        let conflict = table
            .keep_run(w, &node_id, &run_id)
            .ok_or_else(|| Error::NotFound("This node has no such run; GET its runs lists them".into()))?;
        node_runs::put(w, node.seq, &conflict)?;
        let fields = json!({"node_id": node_id, "run": run_id, "refused": conflict.refused});
        events::record(w, NODE_KEEP_RUN.with(fields))?;
        Ok(conflict)
    })
}

/// The run of a heartbeat as it is remembered.
pub(in crate::control) fn holder(run: AgentRun, now: Timestamp) -> Holder {
    Holder { run, address: crate::control::access::throttle::source().to_string(), since: now }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(id: &str, boot: &str) -> Holder {
        Holder {
            run: AgentRun { id: id.into(), boot: boot.into() },
            address: String::new(),
            since: Timestamp::from_secs(0),
        }
    }

    /// True for each accepted heartbeat (run, boot, signing time) while the lease is valid.
    fn admissions(runs: &mut Runs, beats: &[(&str, &str, i64)]) -> Vec<bool> {
        beats.iter().map(|(id, boot, at)| runs.admit(&holder(id, boot), *at, true)).collect()
    }

    #[test]
    fn a_restart_is_not_a_second_holder() {
        let mut runs = Runs::default();
        // Repeated restarts, also within a second; late heartbeats of ended runs, also of one that ran ahead of the
        // clock.
        let beats = [
            ("a", "1", 100),
            ("b", "1", 101),
            ("a", "1", 105),
            ("b", "1", 106),
            ("a", "1", 108),
            ("b", "1", 120),
            ("c", "2", 121),
        ];
        let late = [
            ("b", "1", 125),
            ("c", "2", 140),
            ("d", "2", 141),
            ("e", "3", 142),
            ("e", "3", 200),
            ("f", "3", 201),
            ("f", "3", 300),
        ];
        assert!(admissions(&mut runs, &[&beats[..], &late].concat()).iter().all(|admitted| *admitted));
        // A single late heartbeat is one too few.
        assert_eq!(admissions(&mut runs, &[("e", "3", 301), ("f", "3", 302)]), [true, true]);
        assert!(runs.conflict().is_none());
    }

    #[test]
    fn of_two_that_alternate_the_later_is_refused() {
        let mut runs = Runs::default();
        let beats: Vec<(&str, &str, i64)> =
            (0..6).flat_map(|i| [("a", "1", 100 + 4 * i), ("b", "2", 102 + 4 * i)]).collect();
        let admitted = admissions(&mut runs, &beats);
        assert_eq!(admitted.iter().filter(|a| !**a).count(), 2, "{admitted:?}");
        let conflict = runs.conflict().expect("two holders").clone();
        assert_eq!(
            (conflict.kept.run.id.as_str(), conflict.refused[0].run.id.as_str(), conflict.decided_at),
            ("a", "b", None)
        );
        assert!(runs.take_news().is_some_and(|(news, _)| news == News::Found) && runs.take_news().is_none());
        // Its next run is refused too; a restart of the kept one is not; one from an unknown boot could belong to
        // either.
        let more = [("b2", "2", 200), ("a2", "1", 201), ("c", "3", 202), ("a2", "1", 203), ("a", "1", 204)];
        assert_eq!(admissions(&mut runs, &more), [false, true, false, true, true]);
        assert!(runs.admit(&holder("c", "3"), 300, false), "the one that stayed is silent");
        assert!(!runs.admit(&holder("b", "2"), 301, false));
    }

    #[test]
    fn calls_are_answered_to_the_machine_that_stays() {
        let run = |id: &str, boot: &str| AgentRun { id: id.into(), boot: boot.into() };
        let mut runs = Runs::default();
        assert!(
            !runs.refuses(None) && !runs.refuses(Some(&run("a", "1"))),
            "without two holders every run is answered"
        );
        let beats: Vec<(&str, &str, i64)> =
            (0..6).flat_map(|i| [("a", "1", 100 + 4 * i), ("b", "2", 102 + 4 * i)]).collect();
        admissions(&mut runs, &beats);
        let refused = |runs: &Runs| {
            [
                None,
                Some(run("a", "1")),
                Some(run("a2", "1")),
                Some(run("b", "2")),
                Some(run("b2", "2")),
                Some(run("a", "2")),
                Some(run("c", "3")),
            ]
            .map(|run| runs.refuses(run.as_ref()))
        };
        assert_eq!(refused(&runs), [true, false, false, true, true, true, true], "no decision yet");
        assert!(runs.decide("b", Timestamp::from_secs(1000)).is_some());
        assert_eq!(refused(&runs), [true, true, true, false, false, true, false], "the other one stays");
    }

    #[test]
    fn three_holders_and_one_that_crashes_again_and_again_are_found() {
        let mut runs = Runs::default();
        let beats: Vec<_> =
            (0..6).flat_map(|i| [("a", "1", 100 + 9 * i), ("b", "2", 103 + 9 * i), ("c", "3", 106 + 9 * i)]).collect();
        admissions(&mut runs, &beats);
        let refused: Vec<String> = runs.conflict().expect("holders").refused.iter().map(|h| h.run.id.clone()).collect();
        assert_eq!(refused, ["b", "c"]);
        let mut runs = Runs::default();
        for i in 0..20 {
            runs.admit(&holder("steady", "1"), 100 + 10 * i, true);
            runs.admit(&holder(&format!("crash{i}"), "2"), 105 + 10 * i, true);
        }
        assert_eq!(runs.conflict().expect("holders").kept.run.id, "steady");
    }

    #[test]
    fn an_operator_decides() {
        let mut runs = Runs::default();
        let beats: Vec<(&str, &str, i64)> =
            (0..6).flat_map(|i| [("a", "1", 100 + 4 * i), ("b", "2", 102 + 4 * i)]).collect();
        admissions(&mut runs, &beats);
        let now = Timestamp::from_secs(1000);
        assert!(runs.decide("c", now).is_none() && runs.conflict().is_some_and(|c| c.decided_at.is_none()));
        assert!(runs.decide("b", now).is_some());
        assert_eq!(
            admissions(
                &mut runs,
                &[("a", "1", 200), ("b", "2", 201), ("a2", "1", 202), ("b2", "9", 203), ("b2", "9", 230)]
            ),
            [false, true, false, true, true]
        );
        assert!(runs.decide("a", now).is_some(), "and may change his mind");
        assert_eq!(admissions(&mut runs, &[("a", "1", 300), ("b", "2", 301)]), [true, false]);
        // Another copy is found in the same way.
        let beats: Vec<(&str, &str, i64)> =
            (0..6).flat_map(|i| [("a", "1", 400 + 4 * i), ("x", "7", 402 + 4 * i)]).collect();
        admissions(&mut runs, &beats);
        let conflict = runs.conflict().expect("holders");
        assert!(conflict.decided_at.is_none() && conflict.refused.len() == 2, "{conflict:?}");
    }

    #[test]
    fn a_run_is_taken_out_of_a_patch_and_nothing_else_is() {
        let patch = |run: serde_json::Value| {
            json!({"ready": true, "uptimemesh_run": run}).as_object().cloned().unwrap_or_default()
        };
        let mut sound = patch(json!({"id": "a1", "boot": ""}));
        assert_eq!(AgentRun::take(&mut sound), Some(AgentRun { id: "a1".into(), boot: String::new() }));
        assert_eq!(sound.len(), 1);
        let long = "a".repeat(65);
        for other in [
            json!("x"),
            json!({"id": "a"}),
            json!({"id": "", "boot": ""}),
            json!({"id": "a b", "boot": ""}),
            json!({"id": long, "boot": ""}),
        ] {
            let mut other = patch(other);
            assert_eq!((AgentRun::take(&mut other), other.len()), (None, 2));
        }
    }

    /// Runs with a conflict between `a`, which is kept, and `b`.
    fn in_conflict() -> Runs {
        let mut runs = Runs::default();
        let beats: Vec<_> = (0..6).flat_map(|i| [("a", "1", 100 + 4 * i), ("b", "2", 102 + 4 * i)]).collect();
        admissions(&mut runs, &beats);
        runs
    }

    #[test]
    fn of_a_decision_that_is_not_stored_nothing_stays_but_what_heartbeats_brought_meanwhile() {
        let mut runs = in_conflict();
        let before = runs.clone();
        let (decided, undecided) = runs.decide("b", Timestamp::from_secs(200)).expect("a holder");
        assert_eq!(decided.kept.run.id, "b");
        assert_eq!(admissions(&mut runs, &[("b2", "2", 201), ("a", "1", 202)]), [true, false]);
        runs.undo(undecided);
        assert_eq!(runs.conflict(), before.conflict());
        assert!(runs.has_news(), "the conflict is still to be recorded");
        let seen: Vec<_> = runs.seen.iter().map(|seen| seen.holder.run.id.as_str()).collect();
        assert_eq!(seen, ["a", "b2"]);

        let mut runs = in_conflict();
        let (_, undecided) = runs.decide("b", Timestamp::from_secs(200)).expect("a holder");
        admissions(&mut runs, &[("b", "2", 201), ("c", "3", 202), ("b", "2", 220), ("b", "2", 224)]);
        let found = runs.conflict().cloned();
        assert!(found.as_ref().is_some_and(|conflict| conflict.decided_at.is_none()), "another conflict");
        runs.undo(undecided);
        assert_eq!(runs.conflict(), found.as_ref());
    }
}
