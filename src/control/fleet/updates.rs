//! Updates of the fleet, ring by ring; halted if nodes fail or are lost. Nodes only get the target version and channel:
//! source and method belong to their own settings, and they install only what the release key has signed.

use crate::clock::Timestamp;
use crate::control::once::{Created, Once};
use crate::control::versions::Versioned;
use crate::control::{Control, guard};
use crate::crypto;
use crate::error::{Error, Result};
use crate::model::events::catalogue::{
    Kind, UPDATE_CANCELLED, UPDATE_COMPLETED, UPDATE_HALTED, UPDATE_PAUSED, UPDATE_RESUMED, UPDATE_RING, UPDATE_STARTED,
};
use crate::model::ids::{NodeId, UpdateId};
use crate::model::leases::LeaseState;
use crate::model::updates::{EVERYBODY_ELSE, Member, NewUpdate, Request, Update, UpdateState};
use crate::model::{Page, Paging};
use crate::store::{Read, Write, events, updates};
use crate::thread::{Watch, lock};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Maximum number of failed nodes that an event or a reason names.
const NAMED_MAX: usize = 10;

/// The current request for nodes, available to every heartbeat without a query. Clones share it.
#[derive(Clone)]
pub struct Updates {
    current: Arc<Mutex<Option<Current>>>,
    /// Set when an update begins, or is resumed.
    pub news: Watch<()>,
}

impl Default for Updates {
    fn default() -> Updates {
        Updates { current: Arc::default(), news: Watch::new(()) }
    }
}

struct Current {
    request: Request,
    nodes: HashSet<NodeId>,
}

impl Updates {
    /// The request for this node.
    pub(in crate::control) fn request_for(&self, node_id: &NodeId) -> Option<Request> {
        lock(&self.current)
            .as_ref()
            .filter(|current| current.nodes.contains(node_id))
            .map(|current| current.request.clone())
    }

    fn set(&self, current: Option<Current>) {
        *lock(&self.current) = current;
    }

    /// Clears the request once the transaction that ends or pauses the update is durable.
    fn clear_on_commit(&self, write: &Write) {
        let updates = self.clone();
        write.on_commit(move || updates.set(None));
    }

    /// Wakes the pass once the transaction that begins or resumes the update is durable.
    fn wake_on_commit(&self, write: &Write) {
        let news = self.news.clone();
        write.on_commit(move || news.set(()));
    }
}

/// The nodes with an identity, with the state of their leases.
type Leases = HashMap<NodeId, LeaseState>;

fn lives(leases: &Leases, node_id: &NodeId) -> bool {
    leases.get(node_id) == Some(&LeaseState::Alive)
}

/// Next step of a running update.
#[derive(Debug, PartialEq)]
enum Next {
    /// No change.
    Same,
    /// Too many nodes failed or are lost; the reason.
    Halt(String),
    /// The whole ring has the target version, or no longer has it.
    RingDone(bool),
    /// The wait after the ring is over.
    WaitOver,
}

/// Decides the next step from the current state.
fn next(update: &Update, members: &[Member], leases: &Leases, now: Timestamp) -> Next {
    let request_id = update.request().id;
    let reached = |m: &&Member| {
        leases.contains_key(&m.node_id) && update.ring_of(m.label.as_deref()).is_some_and(|ring| ring <= update.ring)
    };
    let failed: Vec<&Member> = members.iter().filter(reached).filter(|m| m.has_failed(&request_id)).collect();
    let is_failed = |id: &NodeId| failed.iter().any(|m| m.node_id == *id);
    // A deleted node is not lost: an operator did that.
    let gone = |id: &&NodeId| matches!(leases.get(*id), Some(LeaseState::Dead | LeaseState::Unknown));
    let lost: Vec<&NodeId> = update.watched.iter().filter(gone).filter(|id| !is_failed(id)).collect();
    if (failed.len() + lost.len()) as i64 > update.lost_max {
        let reason =
            |m: &Member| m.reason.as_deref().filter(|r| !r.is_empty()).map_or(String::new(), |r| format!(" ({r})"));
        let words = failed
            .iter()
            .map(|m| format!("{}: {}{}", m.node_id, m.request_state.as_deref().unwrap_or_default(), reason(m)));
        let words = words.chain(lost.iter().map(|id| format!("{id}: lost")));
        let named: Vec<String> = words.take(NAMED_MAX).collect();
        return Next::Halt(format!("{} nodes failed, {} are lost: {}", failed.len(), lost.len(), named.join("; ")));
    }
    let wanted = |m: &&Member| {
        let watched = update.watched.contains(&m.node_id) && !lost.contains(&&m.node_id);
        (watched || lives(leases, &m.node_id)) && !is_failed(&m.node_id)
    };
    let done =
        members.iter().filter(reached).filter(wanted).all(|m| m.is_at(&update.version) && lives(leases, &m.node_id));
    match update.ring_done_at {
        Some(since) if done && now.0 >= since.plus_secs(update.wait_seconds).0 => Next::WaitOver,
        since if since.is_some() != done => Next::RingDone(done),
        _ => Next::Same,
    }
}

/// The living nodes of the rings up to this one.
fn living(update: &Update, members: &[Member], leases: &Leases) -> Vec<NodeId> {
    let reached = |m: &&Member| {
        update.ring_of(m.label.as_deref()).is_some_and(|ring| ring <= update.ring) && lives(leases, &m.node_id)
    };
    members.iter().filter(reached).map(|m| m.node_id.clone()).collect()
}

/// Interval between looks at a running update: nodes take minutes.
const LOOK: Duration = Duration::from_secs(2);
/// Interval without one, which `news` ends.
const REST: Duration = Duration::from_secs(600);

/// Advances the running update. Returns the time until the next turn, unless one begins before.
pub fn turn(control: &Control) -> Result<Duration> {
    let is_running = advance(control)?;
    Ok(if is_running { LOOK } else { REST })
}

/// Advances the running update. Returns true if there is one.
fn advance(control: &Control) -> Result<bool> {
    let Some(update) = control.store.read(updates::open)?.filter(|u| u.state == UpdateState::Running) else {
        control.updates.set(None);
        return Ok(false);
    };
    let leases: Leases = control.leases.states().into_iter().collect();
    let members = control.store.read(|r| updates::members(r, &update.ring_label))?;
    let reached = |m: &&Member| update.ring_of(m.label.as_deref()).is_some_and(|ring| ring <= update.ring);
    let behind = members.iter().filter(reached).filter(|m| !m.is_at(&update.version));
    control
        .updates
        .set(Some(Current { request: update.request(), nodes: behind.map(|m| m.node_id.clone()).collect() }));
    let decided = next(&update, &members, &leases, crate::clock::now());
    if decided == Next::Same {
        return Ok(true);
    }
    let updates = control.updates.clone();
    control.store.write(move |w| {
        // An operator may have been faster.
        let same = |u: &Update| u.id == update.id && u.state == update.state && u.attempt == update.attempt;
        let Some(mut update) = updates::open(w)?.filter(same) else { return Ok(()) };
        match decided {
            Next::Same => return Ok(()),
            Next::Halt(reason) => {
                update.state = UpdateState::Halted;
                events::record(
                    w,
                    UPDATE_HALTED
                        .with(json!({"update_id": update.id, "ring": update.rings[update.ring], "reason": reason})),
                )?;
                update.reason = Some(reason);
                updates.clear_on_commit(w);
            }
            Next::RingDone(done) => update.ring_done_at = done.then_some(w.now),
            Next::WaitOver if update.ring + 1 == update.rings.len() => {
                update.state = UpdateState::Completed;
                record(w, UPDATE_COMPLETED, &update)?;
            }
            Next::WaitOver => {
                update.ring += 1;
                update.ring_done_at = None;
                update.watched = living(&update, &members, &leases);
                record(w, UPDATE_RING, &update)?;
            }
        }
        updates::put(w, &update)
    })?;
    Ok(true)
}

fn record(write: &Write, event: Kind, update: &Update) -> Result<()> {
    let ring = update.rings.get(update.ring);
    let fields = json!({"update_id": update.id, "version": update.version, "channel": update.channel, "ring": ring});
    events::record(write, event.with(fields)).map(drop)
}

/// A page of updates, newest first.
pub fn list(control: &Control, paging: &Paging) -> Result<Page<Update>> {
    control.store.read(|r| updates::page(r, paging))
}

/// One update.
pub fn show(control: &Control, id: &UpdateId) -> Result<Versioned<Update>> {
    Versioned::of(control.store.read(|r| found(r, id))?)
}

/// Begins an update. Only one runs at a time: with two, the target version of a node would be ambiguous.
pub fn create(control: &Control, once: Once, new: NewUpdate) -> Result<Created> {
    let leases: Leases = control.leases.states().into_iter().collect();
    let live = control.updates.clone();
    control.store.write(move |w| {
        guard::check(w)?;
        live.wake_on_commit(w);
        once.create(w, |w| {
            if let Some(open) = updates::open(w)? {
                let why =
                    format!("The update {} is {}; cancel it before another begins.", open.id, open.state.as_str());
                return Err(Error::Conflict(why));
            }
            let id = new.id.clone().unwrap_or_else(|| UpdateId::of_row(format!("update-{}", crypto::random_hex(8))));
            if updates::by_id(w, &id)?.is_some() {
                return Err(Error::Conflict("Update id already exists".to_string()));
            }
            updates::insert(w, &id, &new, &[])?;
            let mut update = found(w, &id)?;
            let members = updates::members(w, &update.ring_label)?;
            // A ring without nodes would be done at once, and a trial on a few nodes would reach all others next.
            let lives_in = |at: usize| {
                members.iter().any(|m| lives(&leases, &m.node_id) && update.ring_of(m.label.as_deref()) == Some(at))
            };
            if let Some(at) = (0..update.rings.len()).find(|at| update.rings[*at] != EVERYBODY_ELSE && !lives_in(*at)) {
                let (label, ring) = (&update.ring_label, &update.rings[at]);
                return Err(Error::Conflict(format!(
                    "No live node has the label {label}={ring}: label one, or leave that ring out."
                )));
            }
            update.watched = living(&update, &members, &leases);
            updates::put(w, &update)?;
            record(w, UPDATE_STARTED, &update)?;
            Ok(update)
        })
    })
}

/// Pauses an update: nodes get no request until it is resumed.
pub fn pause(control: &Control, id: UpdateId) -> Result<Versioned<Update>> {
    change(control, id, UPDATE_PAUSED, |update, _| match update.state {
        UpdateState::Running => Ok(UpdateState::Paused),
        other => Err(other),
    })
}

/// Resumes an update; failed nodes try again, and nodes that are lost by now are not waited for.
pub fn resume(control: &Control, id: UpdateId) -> Result<Versioned<Update>> {
    change(control, id, UPDATE_RESUMED, |update, living| match update.state {
        UpdateState::Paused | UpdateState::Halted => {
            update.attempt += 1;
            update.reason = None;
            update.ring_done_at = None;
            update.watched = living;
            Ok(UpdateState::Running)
        }
        other => Err(other),
    })
}

/// Ends an update; updated nodes stay updated.
pub fn cancel(control: &Control, id: UpdateId) -> Result<Versioned<Update>> {
    change(control, id, UPDATE_CANCELLED, |update, _| match update.state {
        UpdateState::Running | UpdateState::Paused | UpdateState::Halted => Ok(UpdateState::Cancelled),
        other => Err(other),
    })
}

/// Changes the state of an update, or names the state that does not allow it.
fn change(
    control: &Control,
    id: UpdateId,
    event: Kind,
    to: impl FnOnce(&mut Update, Vec<NodeId>) -> std::result::Result<UpdateState, UpdateState> + Send + 'static,
) -> Result<Versioned<Update>> {
    let leases: Leases = control.leases.states().into_iter().collect();
    let updates = control.updates.clone();
    control.store.write(move |w| {
        guard::check(w)?;
        let mut update = found(w, &id)?;
        let living = living(&update, &updates::members(w, &update.ring_label)?, &leases);
        let refused = |state: UpdateState| {
            Error::Conflict(format!("This update is {}: it cannot be {}.", state.as_str(), event.verb()))
        };
        update.state = to(&mut update, living).map_err(refused)?;
        updates::put(w, &update)?;
        record(w, event, &update)?;
        if update.state != UpdateState::Running {
            updates.clear_on_commit(w);
        } else {
            updates.wake_on_commit(w);
        }
        update.updated_at = w.now;
        Versioned::of(update)
    })
}

fn found(read: &Read, id: &UpdateId) -> Result<Update> {
    updates::by_id(read, id)?.ok_or_else(|| Error::not_found("Update"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update() -> Update {
        let at = Timestamp::from_secs(1000);
        Update {
            id: "u".into(),
            channel: "stable".into(),
            version: "2.1.0".into(),
            ring_label: "ring".into(),
            rings: vec!["1".into(), "*".into()],
            wait_seconds: 60,
            lost_max: 0,
            state: UpdateState::Running,
            reason: None,
            ring: 0,
            attempt: 1,
            watched: vec!["a".into()],
            ring_done_at: None,
            created_at: at,
            updated_at: at,
        }
    }

    fn member(id: &str, label: Option<&str>, version: &str) -> Member {
        let (label, version) = (label.map(String::from), Some(version.to_string()));
        Member { node_id: id.into(), label, version, request_id: None, request_state: None, reason: None }
    }

    fn leases(all: &[(&str, LeaseState)]) -> Leases {
        all.iter().map(|(id, state)| ((*id).into(), *state)).collect()
    }

    #[test]
    fn a_ring_is_done_when_all_of_it_are_at_the_version_and_stay_for_the_wait() {
        let (mut update, now) = (update(), Timestamp::from_secs(2000));
        let alive = leases(&[("a", LeaseState::Alive), ("b", LeaseState::Alive)]);
        let members = |a: &str| [member("a", Some("1"), a), member("b", None, "2.0.0")];
        assert_eq!(next(&update, &members("2.0.0"), &alive, now), Next::Same);
        assert_eq!(next(&update, &members("2.1.0"), &alive, now), Next::RingDone(true));
        update.ring_done_at = Some(now);
        assert_eq!(next(&update, &members("2.2.0"), &alive, now.plus_secs(59)), Next::Same);
        assert_eq!(next(&update, &members("2.0.0"), &alive, now.plus_secs(59)), Next::RingDone(false));
        assert_eq!(next(&update, &members("2.1.0"), &alive, now.plus_secs(60)), Next::WaitOver);
        let stale = leases(&[("a", LeaseState::Stale)]);
        assert_eq!(
            next(&update, &members("2.1.0"), &stale, now.plus_secs(60)),
            Next::RingDone(false),
            "it is waited for"
        );
    }

    #[test]
    fn nodes_that_fail_or_are_lost_stop_it() {
        let (mut update, now) = (update(), Timestamp::from_secs(2000));
        let alive = leases(&[("a", LeaseState::Alive), ("b", LeaseState::Alive)]);
        let mut failed = member("a", Some("1"), "2.0.0");
        failed.request_id = Some("u.1".into());
        failed.request_state = Some("rolled_back".into());
        failed.reason = Some("it did not answer".into());
        let halt = Next::Halt("1 nodes failed, 0 are lost: a: rolled_back (it did not answer)".into());
        assert_eq!(next(&update, &[failed.clone()], &alive, now), halt);
        update.attempt = 2;
        assert_eq!(next(&update, &[failed.clone()], &alive, now), Next::Same, "that was the attempt before");
        update.attempt = 1;
        update.lost_max = 1;
        assert_eq!(next(&update, &[failed.clone()], &alive, now), Next::RingDone(true), "one may fail");
        let dead = leases(&[("a", LeaseState::Dead)]);
        update.lost_max = 0;
        let members = [member("a", Some("1"), "2.1.0")];
        assert_eq!(next(&update, &members, &dead, now), Next::Halt("0 nodes failed, 1 are lost: a: lost".into()));
        update.watched.clear();
        assert_eq!(next(&update, &members, &dead, now), Next::RingDone(true), "it was dead before");
        assert_eq!(next(&update, &[], &leases(&[]), now), Next::RingDone(true), "a ring may be empty");
    }
}
