//! The scheduler: keeps services running where they fit. `view` is what it sees, `plan` what it would do (both pure), `place` where a
//! replica goes, `apply` what carries it out, `brake` what holds it when most of the fleet falls silent at once. This file is the
//! order of it all: who plans, when, and that of two reconciles none acts on what the other has changed.

mod apply;
mod brake;
mod explain;
mod place;
pub mod plan;
mod rebalance;
mod seen;
pub mod step;
mod view;

#[cfg(test)]
mod tests;

pub use explain::{Explanation, NodeAnswer};
pub use seen::Seen;

use crate::clock::{self, Timestamp};
use crate::control::fleet::leases::Leases;
use crate::control::{Control, settings};
use crate::error::{Error, Result};
use crate::model::events::catalogue::{SCHEDULER_BRAKE_OFF, SCHEDULER_BRAKE_ON, SCHEDULER_GRACE};
use crate::model::ids::ServiceId;
use crate::model::leases::LeaseState;
use crate::store::{Read, Store, Write, events};
use crate::thread::lock;
use brake::{Brake, Turn};
use plan::Plan;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use view::View;

/// After a start nodes get so long to be heard of before replicas leave them: longer than the usual lease.
const GRACE: Duration = Duration::from_secs(60);
/// The loop acts once nothing has changed for so long, so that somebody's several changes are seen as one.
const SETTLE: Duration = Duration::from_secs(3);
/// And at the latest so long after the first change.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// The loop looks at everything this often, changes or not.
const EVERY: Duration = Duration::from_secs(30);
/// Views that turn out to be old before the plan is made inside the transaction, where nothing else can change anything.
const TRIES: usize = 3;

/// What plans say while the brake is on.
const BRAKED: &str =
    "most nodes fell silent together, so the control plane may be cut off (set the cluster setting scheduler_brake to off to go on)";

/// What is asked of a plan.
#[derive(Clone)]
enum Scope {
    All,
    One(ServiceId),
    Rebalance(usize),
}

/// What the scheduler keeps between two plans.
pub struct Scheduler {
    lane: Lane,
    brake: Arc<Mutex<Brake>>,
    started: Instant,
    /// Whether it was told that silent nodes keep their replicas for a while.
    told_grace: AtomicBool,
    rhythm: Mutex<Rhythm>,
    last: seen::Last,
    /// Figures of its work.
    pub stats: Stats,
}

/// Figures of the scheduler's work.
#[derive(Default)]
pub struct Stats {
    /// Plans that were carried out, empty ones too.
    pub runs: AtomicU64,
    /// Actions in them.
    pub actions: AtomicU64,
    /// Views that had become old before their plan was applied.
    pub conflicts: AtomicU64,
}

/// Where the loop is.
#[derive(Default)]
struct Rhythm {
    /// Changes that the last run had seen.
    seen: u64,
    /// Changes at the last look.
    count: u64,
    /// When the first and the last change came that no run has seen.
    unseen: Option<(Instant, Instant)>,
    /// When the next run is due though nothing changes.
    due: Option<Instant>,
}

impl Rhythm {
    /// Whether it is time for a run.
    fn is_time(&mut self, count: u64, now: Instant) -> bool {
        if count != self.count {
            self.count = count;
            let first = self.unseen.map_or(now, |(first, _)| first);
            self.unseen = (count > self.seen).then_some((first, now));
        }
        let settled = |(first, last): (Instant, Instant)| now - last >= SETTLE || now - first >= SETTLE_MAX;
        self.unseen.is_some_and(settled) || self.due.is_none_or(|due| now >= due)
    }

    /// A run has seen so many changes.
    fn ran(&mut self, seen: u64, now: Instant, due_in: Duration) {
        self.seen = seen;
        self.count = seen;
        self.unseen = None;
        self.due = Some(now + due_in);
    }
}

/// What all services' plans say.
#[derive(serde::Serialize)]
pub struct Plans {
    /// Whether nothing is done.
    pub dry_run: bool,
    /// When.
    pub generated_at: Timestamp,
    /// What somebody should know of all of them.
    pub warnings: Vec<String>,
    /// One plan a service, by id.
    pub results: Vec<Plan>,
}

/// One reconcile after the other, in the order in which they asked: the loop and requests alike.
#[derive(Default)]
struct Lane {
    /// The next number to give, and the number whose turn it is.
    turn: Mutex<(u64, u64)>,
    next: Condvar,
}

/// The turn of one.
struct Turnstile<'l>(&'l Lane);

impl Lane {
    fn enter(&self) -> Turnstile<'_> {
        let mut turn = lock(&self.turn);
        let mine = turn.0;
        turn.0 += 1;
        while turn.1 != mine {
            turn = self.next.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        Turnstile(self)
    }

    fn waiting(&self) -> u64 {
        let turn = lock(&self.turn);
        turn.0 - turn.1
    }
}

impl Drop for Turnstile<'_> {
    fn drop(&mut self) {
        lock(&self.0.turn).1 += 1;
        self.0.next.notify_all();
    }
}

impl Scheduler {
    /// A scheduler whose brake is as it was when the server stopped.
    pub fn load(store: &Store) -> Result<Scheduler> {
        let brake = Arc::new(Mutex::new(Brake::of(store.read(brake::fleet)?)));
        let (lane, rhythm) = (Lane::default(), Mutex::default());
        let last = seen::Last::default();
        Ok(Scheduler { last, lane, brake, started: clock::tick(), told_grace: AtomicBool::new(false), rhythm, stats: Stats::default() })
    }

    fn in_grace(&self) -> bool {
        clock::tick().duration_since(self.started) < GRACE
    }

    /// Reconciles that wait or run.
    pub fn waiting(&self) -> u64 {
        self.lane.waiting()
    }

    /// Whether the brake is on.
    pub fn is_braked(&self) -> bool {
        lock(&self.brake).is_on()
    }
}

impl Scheduler {
    /// What would be done about a service.
    pub fn plan_one(&self, control: &Control, id: &ServiceId) -> Result<Plan> {
        let seen = seen::now(self, control)?;
        let service = seen.view.service(id).ok_or_else(|| missing(id))?;
        Ok(plan::one(&seen.view, service))
    }

    /// What would be done about all of them.
    pub fn plan_all(&self, control: &Control) -> Result<Arc<Seen>> {
        seen::now(self, control)
    }

    /// What would even out the load, in at most so many moves.
    pub fn plan_rebalance(&self, control: &Control, moves_max: usize) -> Result<Plans> {
        let seen = seen::now(self, control)?;
        let view = &seen.view;
        Ok(Plans { dry_run: true, generated_at: view.now, warnings: held(view), results: rebalance::plan(view, moves_max) })
    }

    /// Why a service's replicas are where they are.
    pub fn explain(&self, control: &Control, id: &ServiceId) -> Result<Explanation> {
        let seen = seen::now(self, control)?;
        let service = seen.view.service(id).ok_or_else(|| missing(id))?;
        Ok(explain::service(&seen.view, service))
    }

    /// Does what the plan of a service says.
    pub fn reconcile_one(&self, control: &Control, id: &ServiceId, by: &str) -> Result<Plan> {
        let plans = self.reconcile(control, Scope::One(id.clone()), by)?;
        plans.results.into_iter().next().ok_or_else(|| missing(id))
    }

    /// Does what the plans of all services say.
    pub fn reconcile_all(&self, control: &Control, by: &str) -> Result<Plans> {
        self.reconcile(control, Scope::All, by)
    }

    /// Evens out the load, in at most so many moves.
    pub fn rebalance(&self, control: &Control, moves_max: usize, by: &str) -> Result<Plans> {
        self.reconcile(control, Scope::Rebalance(moves_max), by)
    }
}

fn missing(id: &ServiceId) -> Error {
    Error::NotFound(format!("Service not found: {id}"))
}

/// What a view needs beside the database.
struct Surroundings {
    leases: Leases,
    brake: Option<String>,
    grace: bool,
}

impl Scheduler {
    fn surroundings(&self, control: &Control, read: &Read) -> Result<Surroundings> {
        let grace = self.in_grace();
        // Between two looks of the loop the leases themselves are asked.
        let on = self.is_braked() || Brake::default().look(&control.leases.silence()) != Turn::Same;
        let brake = (on && settings::word(read, settings::SCHEDULER_BRAKE)? == "on").then(|| BRAKED.to_string());
        Ok(Surroundings { leases: control.leases.clone(), brake, grace })
    }

    /// The cluster now, with the count of changes that it stands for.
    fn view(&self, control: &Control) -> Result<(u64, View)> {
        // The count first: a change after it makes the view older than it is, never younger.
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
    /// Plans and applies. The plan is made outside of the writer thread and holds only if nothing has changed since; after some tries it
    /// is made inside.
    fn reconcile(&self, control: &Control, scope: Scope, by: &str) -> Result<Plans> {
        let _turn = self.lane.enter();
        let stats = &self.stats;
        for _ in 0..TRIES {
            let (count, view) = self.view(control)?;
            let plans = plans_of(&view, &scope)?;
            let told = apply::drains_changed(&view, &plans) || apply::rollouts_changed(&view, &plans);
            let quiet = plans.iter().all(|p| p.actions.is_empty()) && !told;
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

    /// The same with the view taken inside of the transaction: it holds up all other writes for as long as planning takes.
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
    // Where one service was asked for, an empty plan is an answer too.
    for plan in plans.iter().filter(|p| matches!(scope, Scope::One(_)) || !p.actions.is_empty()) {
        apply::tell(write, plan, by)?;
    }
    apply::rollouts(write, view, plans)?;
    if matches!(scope, Scope::All) { apply::drains(write, view, plans) } else { Ok(()) }
}

/// Refuses while an operator has paused the scheduler.
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

/// What holds all plans.
fn held(view: &View) -> Vec<String> {
    view.brake.iter().map(|brake| format!("Nothing is moved: {brake}")).collect()
}

impl Stats {
    /// Counts plans that were carried out.
    fn count(&self, plans: &Plans) {
        self.runs.fetch_add(1, Relaxed);
        self.actions.fetch_add(plans.results.iter().map(|p| p.actions.len() as u64).sum(), Relaxed);
    }
}

impl Scheduler {
    /// One turn of the loop, a few times a second: looks at the brake, and reconciles when it is time.
    pub fn turn(&self, control: &Control) -> Result<()> {
        self.brake_turn(control)?;
        self.grace_turn(control)?;
        self.last.forget(control);
        let (now, count) = (clock::tick(), control.store.changes.count());
        if !lock(&self.rhythm).is_time(count, now) {
            return Ok(());
        }
        let runs = control.store.read(|r| Ok(may_run(r).is_ok() && settings::word(r, settings::SCHEDULER_MODE)? == "auto"))?;
        let mut due_in = EVERY;
        let done = if runs {
            self.reconcile(control, Scope::All, "scheduler").map(|plans| {
                let due_in_s = plans.results.iter().filter_map(|p| p.due_in_s).min();
                due_in = due_in.min(Duration::from_secs(due_in_s.map_or(u64::MAX, |s| s.max(1).unsigned_abs())));
            })
        } else {
            Ok(())
        };
        // What it changed itself is a change too: a drain goes on, and a run that has nothing left to do ends it.
        lock(&self.rhythm).ran(count, clock::tick(), due_in);
        done
    }

    /// Tells when the brake comes on or goes off: one event each time.
    fn brake_turn(&self, control: &Control) -> Result<()> {
        let allowed = control.store.read(|r| Ok(settings::word(r, settings::SCHEDULER_BRAKE)? == "on"))?;
        // Only the loop changes the brake, so a copy is what it is until the change is written.
        let mut brake = lock(&self.brake).clone();
        let turn = match allowed {
            true => brake.look(&control.leases.silence()),
            false if brake.release() => Turn::Off,
            false => Turn::Same,
        };
        let event = match turn {
            Turn::Same => return Ok(()),
            Turn::On { fleet, silent } => SCHEDULER_BRAKE_ON.with(json!({"nodes": fleet, "silent": silent, "reason": BRAKED})),
            Turn::Off => SCHEDULER_BRAKE_OFF.with(json!({})),
        };
        let live = Arc::clone(&self.brake);
        control.store.write(move |w| {
            brake::keep(w, &brake.fleet())?;
            events::record(w, event)?;
            w.on_commit(move || *lock(&live) = brake);
            Ok(())
        })?;
        if let Turn::On { fleet, silent } = turn {
            log::error!(target: "scheduler", event = "scheduler.brake_on", fleet, silent; "{BRAKED}");
        }
        Ok(())
    }

    /// Tells once after a start that replicas of nodes that are silent stay for a while, where there are such nodes.
    fn grace_turn(&self, control: &Control) -> Result<()> {
        if self.told_grace.load(Relaxed) || !self.in_grace() {
            return Ok(());
        }
        let silent = control.leases.states().into_iter().filter(|(_, state)| *state != LeaseState::Alive).count();
        if silent > 0 {
            let fields = json!({"silent": silent, "seconds": GRACE.as_secs()});
            control.store.write(move |w| events::record(w, SCHEDULER_GRACE.with(fields)).map(drop))?;
        }
        self.told_grace.store(true, Relaxed);
        Ok(())
    }
}

/// What the scheduler is doing.
#[derive(serde::Serialize)]
pub struct Status {
    /// `auto`, `manual` or `paused`.
    pub mode: &'static str,
    /// Whether the brake holds it.
    pub braked: bool,
    /// Reconciles that wait or run.
    pub waiting: u64,
    /// Plans that were carried out.
    pub runs: u64,
    /// Actions in them.
    pub actions: u64,
}

/// How a service is, beside what is planned for it.
pub struct ServiceHealth {
    /// What the scheduler would do about it.
    pub plan: Plan,
    /// Replicas that nothing speaks against.
    pub running: usize,
    /// Replicas that are not well, or on a node that is not.
    pub failing: usize,
    /// Replicas that do not run the newest generation yet.
    pub outdated: usize,
}

impl Scheduler {
    /// How every service is, by id.
    pub fn health(&self, control: &Control) -> Result<Vec<ServiceHealth>> {
        let seen = seen::now(self, control)?;
        let view = &seen.view;
        let of = |(i, service): (usize, &view::ServiceView)| {
            let keeps = |node: Option<view::NodeIndex>| node.is_some_and(|i| view.nodes[i as usize].may_keep());
            let failing = service.replicas.iter().filter(|r| r.facts.sickness().is_some() || !keeps(r.node)).count();
            let newest = |r: &&view::ReplicaView| r.facts.applied_generation == Some(service.generation.into());
            let outdated = service.replicas.len() - service.replicas.iter().filter(newest).count();
            ServiceHealth { running: service.replicas.len() - failing, failing, outdated, plan: seen.plan_of(i).clone() }
        };
        Ok(view.services.iter().enumerate().map(of).collect())
    }

    /// What the scheduler is doing.
    pub fn status(&self, control: &Control) -> Result<Status> {
        let (mode, braked) =
            control.store.read(|r| Ok((settings::word(r, settings::SCHEDULER_MODE)?, self.surroundings(control, r)?.brake.is_some())))?;
        let (runs, actions) = (self.stats.runs.load(Relaxed), self.stats.actions.load(Relaxed));
        Ok(Status { mode, braked, waiting: self.waiting(), runs, actions })
    }
}
