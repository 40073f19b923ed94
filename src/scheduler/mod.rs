//! The scheduler keeps services running on nodes where they fit. `view` is its input, `plan` its decision (both pure),
//! `place` chooses nodes, `apply` carries plans out, `brake` stops it when most of the fleet falls silent at once. This
//! file orders the work: who plans, when, and that no reconcile acts on data that another has changed.

mod apply;
mod brake;
mod explain;
mod place;
pub mod plan;
mod rebalance;
mod rhythm;
mod seen;
pub mod step;
mod view;

#[cfg(test)]
mod tests;

pub use explain::{Explanation, NodeAnswer};
pub use seen::Seen;

use crate::clock::{self, Timestamp};
use crate::control::fleet::leases::{Leases, SeenLease};
use crate::control::{Control, settings};
use crate::error::{Error, Result};
use crate::model::events::catalogue::{SCHEDULER_BRAKE_OFF, SCHEDULER_BRAKE_ON, SCHEDULER_GRACE};
use crate::model::ids::ServiceId;
use crate::model::leases::LeaseState;
use crate::store::{Read, Store, Write, events};
use crate::thread::{aside, lock};
use brake::{Brake, Change};
use plan::Plan;
use rhythm::Rhythm;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use view::View;

/// Grace period after a start in which replicas of nodes that were silent before it stay: agents that lost their
/// control plane try at least every thirty seconds.
const GRACE: Duration = Duration::from_secs(60);
/// Interval of full runs, with or without changes.
const EVERY: Duration = Duration::from_secs(30);
/// Time after which a failed run is repeated.
const RETRY: Duration = Duration::from_secs(1);
/// Attempts with an outdated view before the plan is made inside the transaction, where nothing else can change.
const TRIES: usize = 3;

/// Warning in plans while the brake is on.
const BRAKED: &str = "most nodes fell silent together, so the control plane may be cut off (set the cluster setting \
    scheduler_brake to off to go on)";

/// Scope of a reconcile.
#[derive(Clone)]
enum Scope {
    All,
    One(ServiceId),
    Rebalance(usize),
}

/// State of the scheduler between two plans.
pub struct Scheduler {
    lane: Lane,
    brake: Arc<Mutex<Brake>>,
    started: Instant,
    /// True once it is logged that silent nodes keep their replicas for a while.
    grace_logged: AtomicBool,
    rhythm: Mutex<Rhythm>,
    last: seen::Last,
    /// Counters.
    pub stats: Stats,
}

/// Counters of the scheduler.
#[derive(Default)]
pub struct Stats {
    /// Plans applied, including empty ones.
    pub runs: AtomicU64,
    /// Actions in them.
    pub actions: AtomicU64,
    /// Views that were outdated before their plan was applied.
    pub conflicts: AtomicU64,
}

/// Plans of all services.
#[derive(serde::Serialize)]
pub struct Plans {
    /// True if nothing is applied.
    pub dry_run: bool,
    /// Time of the plans.
    pub generated_at: Timestamp,
    /// Warnings that concern all of them.
    pub warnings: Vec<String>,
    /// One plan per service, by id.
    pub results: Vec<Plan>,
}

/// Serializes reconciles of the loop and of requests, in order of arrival.
#[derive(Default)]
struct Lane {
    /// The next number to give, and the number whose turn it is.
    turn: Mutex<(u64, u64)>,
    next: Condvar,
}

/// One turn in the lane; dropping it starts the next.
struct LaneTurn<'l>(&'l Lane);

impl Lane {
    fn enter(&self) -> LaneTurn<'_> {
        let mut turn = lock(&self.turn);
        let mine = turn.0;
        turn.0 += 1;
        while turn.1 != mine {
            turn = aside(|| self.next.wait(turn)).unwrap_or_else(PoisonError::into_inner);
        }
        LaneTurn(self)
    }

    fn waiting(&self) -> u64 {
        let turn = lock(&self.turn);
        turn.0 - turn.1
    }
}

impl Drop for LaneTurn<'_> {
    fn drop(&mut self) {
        lock(&self.0.turn).1 += 1;
        self.0.next.notify_all();
    }
}

impl Scheduler {
    /// Loads the scheduler, with the brake as it was when the server stopped.
    pub fn load(store: &Store) -> Result<Scheduler> {
        let brake = Arc::new(Mutex::new(Brake::of(store.read(brake::fleet)?)));
        let (lane, rhythm) = (Lane::default(), Mutex::default());
        let last = seen::Last::default();
        Ok(Scheduler {
            last,
            lane,
            brake,
            started: clock::tick(),
            grace_logged: AtomicBool::new(false),
            rhythm,
            stats: Stats::default(),
        })
    }

    fn in_grace(&self) -> bool {
        clock::tick().duration_since(self.started) < GRACE
    }

    /// Number of waiting and running reconciles.
    pub fn waiting(&self) -> u64 {
        self.lane.waiting()
    }

    /// True if the brake is on.
    pub fn is_braked(&self) -> bool {
        lock(&self.brake).is_on()
    }
}

impl Scheduler {
    /// The plan for one service, not applied.
    pub fn plan_one(&self, control: &Control, id: &ServiceId) -> Result<Plan> {
        let seen = seen::now(self, control)?;
        let service = seen.view.service(id).ok_or_else(|| missing(id))?;
        Ok(plan::one(&seen.view, service))
    }

    /// The plans for all services, not applied.
    pub fn plan_all(&self, control: &Control) -> Result<Arc<Seen>> {
        seen::now(self, control)
    }

    /// Plans that balance the load, with at most `moves_max` moves, not applied.
    pub fn plan_rebalance(&self, control: &Control, moves_max: usize) -> Result<Plans> {
        let seen = seen::now(self, control)?;
        let view = &seen.view;
        Ok(Plans {
            dry_run: true,
            generated_at: view.now,
            warnings: held(view),
            results: rebalance::plan(view, moves_max),
        })
    }

    /// Explains the placement of a service's replicas.
    pub fn explain(&self, control: &Control, id: &ServiceId) -> Result<Explanation> {
        let seen = seen::now(self, control)?;
        let service = seen.view.service(id).ok_or_else(|| missing(id))?;
        Ok(explain::service(&seen.view, service))
    }

    /// Plans and applies one service.
    pub fn reconcile_one(&self, control: &Control, id: &ServiceId, by: &str) -> Result<Plan> {
        let plans = self.reconcile(control, Scope::One(id.clone()), by)?;
        plans.results.into_iter().next().ok_or_else(|| missing(id))
    }

    /// Plans and applies all services.
    pub fn reconcile_all(&self, control: &Control, by: &str) -> Result<Plans> {
        self.reconcile(control, Scope::All, by)
    }

    /// Balances the load with at most `moves_max` moves.
    pub fn rebalance(&self, control: &Control, moves_max: usize, by: &str) -> Result<Plans> {
        self.reconcile(control, Scope::Rebalance(moves_max), by)
    }
}

fn missing(id: &ServiceId) -> Error {
    Error::NotFound(format!("Service not found: {id}"))
}

/// Inputs of a view besides the database.
struct Surroundings {
    leases: Leases,
    brake: Option<String>,
    grace: bool,
}

impl Scheduler {
    fn surroundings(&self, control: &Control, read: &Read) -> Result<Surroundings> {
        let grace = self.in_grace();
        // Between two turns of the loop the leases themselves decide.
        let on = self.is_braked() || Brake::default().update(&control.leases.silence()) != Change::Same;
        let brake = (on && settings::word(read, settings::SCHEDULER_BRAKE)? == "on").then(|| BRAKED.to_string());
        Ok(Surroundings { leases: control.leases.clone(), brake, grace })
    }

    /// The cluster now, with the change count that it includes.
    fn view(&self, control: &Control) -> Result<(u64, View)> {
        // The count first: a change in between makes the view look older than it is, never newer.
        let count = control.store.changes.count();
        let view = control.store.read(|r| {
            let around = self.surroundings(control, r)?;
            View::load(r, &around.leases, clock::now(), around.brake, around.grace)
        })?;
        Ok((count, view))
    }
}

fn plans_of(view: &View, scope: &Scope) -> Result<Vec<Plan>> {
    Ok(match scope {
        Scope::All => plan::all(view),
        Scope::One(id) => vec![plan::one(view, view.service(id).ok_or_else(|| missing(id))?)],
        Scope::Rebalance(moves_max) => rebalance::plan(view, *moves_max),
    })
}

impl Scheduler {
    /// Plans and applies. The plan is made outside the writer thread and is valid only if nothing has changed since;
    /// after some attempts it is made inside.
    fn reconcile(&self, control: &Control, scope: Scope, by: &str) -> Result<Plans> {
        let _turn = self.lane.enter();
        let stats = &self.stats;
        for _ in 0..TRIES {
            let (count, view) = self.view(control)?;
            let plans = plans_of(&view, &scope)?;
            let has_news = apply::drains_changed(&view, &plans) || apply::has_late_rollouts(&view, &plans);
            let quiet = plans.iter().all(|p| p.actions.is_empty()) && !has_news;
            if quiet && !matches!(scope, Scope::One(_)) {
                control.store.read(may_run)?;
                stats.runs.fetch_add(1, Relaxed);
                return Ok(applied(&view, plans));
            }
            let (by, scope) = (by.to_string(), scope.clone());
            let done = control.store.write(move |w| {
                if w.changes() != count {
                    return Ok(None);
                }
                carry_out(w, &view, &plans, &by, &scope)?;
                Ok(Some(applied(&view, plans)))
            })?;
            if let Some(plans) = done {
                stats.count(&plans);
                return Ok(plans);
            }
            stats.conflicts.fetch_add(1, Relaxed);
        }
        self.reconcile_inside(control, scope, by)
    }

    /// The same with the view read inside the transaction: this blocks all other writes while it plans.
    fn reconcile_inside(&self, control: &Control, scope: Scope, by: &str) -> Result<Plans> {
        let by = by.to_string();
        let around = control.store.read(|r| self.surroundings(control, r))?;
        let plans = control.store.write(move |w| {
            let view = View::load(w, &around.leases, w.now, around.brake, around.grace)?;
            let plans = plans_of(&view, &scope)?;
            carry_out(w, &view, &plans, &by, &scope)?;
            Ok(applied(&view, plans))
        })?;
        self.stats.count(&plans);
        Ok(plans)
    }
}

fn carry_out(write: &Write, view: &View, plans: &[Plan], by: &str, scope: &Scope) -> Result<()> {
    may_run(write)?;
    apply::plans(write, view, plans)?;
    // For a single requested service, an empty plan is recorded too.
    for plan in plans.iter().filter(|p| matches!(scope, Scope::One(_)) || !p.actions.is_empty()) {
        apply::record(write, plan, by)?;
    }
    apply::record_late_rollouts(write, view, plans)?;
    if matches!(scope, Scope::All) { apply::update_drains(write, view, plans) } else { Ok(()) }
}

/// Fails while an operator has paused the scheduler.
fn may_run(read: &Read) -> Result<()> {
    crate::control::guard::check(read)?;
    match settings::word(read, settings::SCHEDULER_MODE)? {
        "paused" => Err(Error::Conflict("The scheduler is paused: set scheduler_mode to auto or manual.".to_string())),
        _ => Ok(()),
    }
}

fn applied(view: &View, mut results: Vec<Plan>) -> Plans {
    results.iter_mut().for_each(|plan| plan.dry_run = false);
    Plans { dry_run: false, generated_at: view.now, warnings: held(view), results }
}

/// Warnings about what holds back all plans.
fn held(view: &View) -> Vec<String> {
    view.brake.iter().map(|brake| format!("Nothing is moved: {brake}")).collect()
}

impl Stats {
    /// Counts applied plans.
    fn count(&self, plans: &Plans) {
        self.runs.fetch_add(1, Relaxed);
        self.actions.fetch_add(plans.results.iter().map(|p| p.actions.len() as u64).sum(), Relaxed);
    }
}

impl Scheduler {
    /// One turn of the loop: updates the brake, and reconciles if it is due. Returns the time until the next turn,
    /// unless something changes before.
    pub fn turn(&self, control: &Control) -> Result<Duration> {
        self.last.forget(control);
        let (began, count) = (clock::tick(), control.store.changes.count());
        let due = lock(&self.rhythm).next(count, began);
        if due > began {
            return Ok(due - began);
        }
        self.brake_turn(control)?;
        self.grace_turn(control)?;
        let runs =
            control.store.read(|r| Ok(may_run(r).is_ok() && settings::word(r, settings::SCHEDULER_MODE)? == "auto"))?;
        let done = if runs {
            self.reconcile(control, Scope::All, "scheduler").map(|plans| plans.results)
        } else {
            Ok(Vec::new())
        };
        let plans = done.as_deref().unwrap_or_default();
        let due_in_s = plans.iter().filter_map(|p| p.due_in_s).min();
        let longest = if done.is_ok() { EVERY } else { RETRY };
        let due_in = due_in_s.map_or(longest, |s| longest.min(Duration::from_secs(s.max(1).unsigned_abs())));
        let ended = clock::tick();
        let mut rhythm = lock(&self.rhythm);
        rhythm.ran(count, (began, ended), due_in, plans.iter().flat_map(|p| &p.actions).map(|a| &a.replica_id));
        let next = rhythm.next(control.store.changes.count(), ended);
        done.map(|_| next.saturating_duration_since(ended))
    }

    /// Records an event when the brake comes on or goes off.
    fn brake_turn(&self, control: &Control) -> Result<()> {
        let allowed = control.store.read(|r| Ok(settings::word(r, settings::SCHEDULER_BRAKE)? == "on"))?;
        // Only the loop changes the brake, so a copy stays correct until the change is written.
        let mut brake = lock(&self.brake).clone();
        let turn = match allowed {
            true => brake.update(&control.leases.silence()),
            false if brake.release() => Change::Off,
            false => Change::Same,
        };
        let event = match turn {
            Change::Same => return Ok(()),
            Change::On { fleet, silent } => {
                SCHEDULER_BRAKE_ON.with(json!({"nodes": fleet, "silent": silent, "reason": BRAKED}))
            }
            Change::Off => SCHEDULER_BRAKE_OFF.with(json!({})),
        };
        let live = Arc::clone(&self.brake);
        control.store.write(move |w| {
            brake::keep(w, &brake.fleet())?;
            events::record(w, event)?;
            w.on_commit(move || *lock(&live) = brake);
            Ok(())
        })?;
        if let Change::On { fleet, silent } = turn {
            log::error!(target: "scheduler", event = "scheduler.brake_on", fleet, silent; "{BRAKED}");
        }
        Ok(())
    }

    /// Logs once after a start that replicas of silent nodes stay for a while, if there are such nodes.
    fn grace_turn(&self, control: &Control) -> Result<()> {
        if self.grace_logged.load(Relaxed) || !self.in_grace() {
            return Ok(());
        }
        let is_silent = |lease: &SeenLease| lease.state != LeaseState::Alive && !lease.heard;
        let silent = control.leases.seen().into_iter().filter(|(_, lease)| is_silent(lease)).count();
        if silent > 0 {
            let fields = json!({"silent": silent, "seconds": GRACE.as_secs()});
            control.store.write(move |w| events::record(w, SCHEDULER_GRACE.with(fields)).map(drop))?;
        }
        self.grace_logged.store(true, Relaxed);
        Ok(())
    }
}

/// Status of the scheduler.
#[derive(serde::Serialize)]
pub struct Status {
    /// `auto`, `manual` or `paused`.
    pub mode: &'static str,
    /// True if the brake is on.
    pub braked: bool,
    /// Number of waiting and running reconciles.
    pub waiting: u64,
    /// Plans applied.
    pub runs: u64,
    /// Actions in them.
    pub actions: u64,
}

/// Health of a service, with its plan.
pub struct ServiceHealth {
    /// Its plan, not applied.
    pub plan: Plan,
    /// Healthy replicas, and records that nothing speaks against.
    pub running: usize,
    /// Replicas that their nodes have not reported as well yet.
    pub pending: usize,
    /// Replicas that are unhealthy, or on an unhealthy node.
    pub failing: usize,
    /// Replicas that do not run the newest generation yet.
    pub outdated: usize,
}

impl Scheduler {
    /// Health of every service, by id.
    pub fn health(&self, control: &Control) -> Result<Vec<ServiceHealth>> {
        let seen = seen::now(self, control)?;
        let view = &seen.view;
        let of = |(i, service): (usize, &view::ServiceView)| {
            let keeps = |node: Option<view::NodeIndex>| node.is_some_and(|i| view.nodes[i as usize].may_keep());
            let fails = |r: &&view::ReplicaView| view.sickness(&service.policy, r).is_some() || !keeps(r.node);
            let failing = service.replicas.iter().filter(fails).count();
            let waits = |r: &&view::ReplicaView| r.unavailable_since.is_some() && !fails(r);
            let pending = service.replicas.iter().filter(waits).count();
            ServiceHealth {
                running: service.replicas.len() - failing - pending,
                pending,
                failing,
                outdated: service.replicas.iter().filter(|r| r.is_outdated(service.generation)).count(),
                plan: seen.plan_of(i).clone(),
            }
        };
        Ok(view.services.iter().enumerate().map(of).collect())
    }

    /// Current status.
    pub fn status(&self, control: &Control) -> Result<Status> {
        let (mode, braked) = control.store.read(|r| {
            Ok((settings::word(r, settings::SCHEDULER_MODE)?, self.surroundings(control, r)?.brake.is_some()))
        })?;
        let (runs, actions) = (self.stats.runs.load(Relaxed), self.stats.actions.load(Relaxed));
        Ok(Status { mode, braked, waiting: self.waiting(), runs, actions })
    }
}
