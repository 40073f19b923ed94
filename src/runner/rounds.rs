//! Rounds of the runner, on its thread: look at the runs, decide for each replica, carry it out, and publish what is
//! there.

use super::decide::{self, Action, Decision, Memory, Now, Wanted};
use super::drivers::Drivers;
use super::health::Verdict;
use super::old_logs;
use super::policy::Policy;
use super::probe::Probe;
use super::probes::Probes;
use super::run::{RunState, SeenRun};
use super::wanted;
use super::{Reports, RunnerConfig};
use crate::clock;
use crate::error::{Chain, Result};
use crate::model::ids::ReplicaId;
use crate::model::node_status::{ReplicaReport, ReplicaStatus, RunWord, WorkRefusal};
use crate::model::node_work::{Assignment, Document};
use crate::model::workload::Driver;
use crate::sys::accounts::Account;
use crate::sys::run::Like;
use crate::thread::{Stop, Watch};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait between two rounds: the policy may have changed.
const ROUND_EVERY: Duration = Duration::from_secs(30);
/// Interval of looking for old logs.
const LOGS_EVERY: Duration = Duration::from_secs(600);
/// Wait after a step that failed.
const RETRY: Duration = Duration::from_secs(5);

/// The runs on disk, by replica.
type Runs = BTreeMap<ReplicaId, Vec<SeenRun>>;

/// Instructions of the runner for its rounds.
pub struct Wants {
    /// The work.
    pub document: Watch<Option<Arc<Document>>>,
    /// The work that the node does not act on.
    pub refused: Watch<Option<WorkRefusal>>,
    /// Raised once all replicas are to be stopped.
    pub halt: Stop,
}

/// The state of the rounds.
pub struct Rounds {
    config: RunnerConfig,
    drivers: Drivers,
    probes: Probes,
    document: Watch<Option<Arc<Document>>>,
    refused: Watch<Option<WorkRefusal>>,
    /// Raised once the document says that all replicas are to be stopped.
    halt: Stop,
    is_halted: bool,
    reports: Watch<Arc<Reports>>,
    policy: Option<Policy>,
    /// The last fault of the policy; each is logged once.
    policy_fault: Option<String>,
    followed: Option<Followed>,
    replicas: BTreeMap<ReplicaId, Replica>,
    /// Number of the last report.
    seq: u64,
    logs_due: Duration,
}

/// Sources of what is wanted, until they are looked at again: users of the machine come and go.
struct Followed {
    document: Arc<Document>,
    policy: Policy,
    until: Duration,
}

/// A replica as it is wanted.
struct Assigned {
    assignment: Assignment,
    wanted: Wanted,
    probe: Option<Probe>,
}

/// Knowledge of one replica.
#[derive(Default)]
struct Replica {
    memory: Memory,
    wanted: Option<Assigned>,
    report: Option<ReplicaReport>,
    /// The last step that failed; each fault is logged once.
    fault: Option<String>,
}

impl Rounds {
    /// Rounds for what is wanted.
    pub fn new(
        config: RunnerConfig,
        drivers: Drivers,
        probes: Probes,
        wants: Wants,
        reports: Watch<Arc<Reports>>,
    ) -> Rounds {
        let Wants { document, refused, halt } = wants;
        Rounds {
            config,
            drivers,
            probes,
            document,
            refused,
            halt,
            is_halted: false,
            reports,
            policy: None,
            policy_fault: None,
            followed: None,
            replicas: BTreeMap::new(),
            seq: 0,
            logs_due: Duration::ZERO,
        }
    }

    /// One round. Returns the wait until the next one.
    pub fn turn(&mut self) -> Duration {
        self.load_policy();
        self.is_halted = self.halt.is_raised();
        // Without either of them nothing is known to be unwanted, so nothing is stopped.
        let (Some(document), Some(policy)) = (self.document.get(), self.policy.clone()) else { return ROUND_EVERY };
        match self.round(&document, &policy) {
            Ok(wait) => wait,
            Err(e) => {
                log::error!(
                    target: "runner", event = "runner.round_failed", error:% = Chain(&e);
                    "The runner could not look after its replicas; it tries again"
                );
                ROUND_EVERY
            }
        }
    }

    fn load_policy(&mut self) {
        let fault = match Policy::load(&self.config.policy) {
            Ok(policy) => {
                self.policy = Some(policy);
                None
            }
            Err(e) => Some(Chain(&e).to_string()),
        };
        if let Some(error) = fault.as_ref().filter(|_| fault != self.policy_fault) {
            log::error!(
                target: "runner", event = "runner.policy_invalid", error:%;
                "The runner's policy cannot be used; the last one that could be used stays, and without one nothing is \
                    started or stopped"
            );
        }
        self.policy_fault = fault;
    }

    fn round(&mut self, document: &Arc<Document>, policy: &Policy) -> Result<Duration> {
        let listed = self.drivers.list()?;
        let runs = by_replica(listed.runs);
        let now = Now { boot: clock::since_boot(), wall: clock::now() };
        self.follow(document, policy, &runs, now);
        let mut decided = Vec::new();
        for (id, replica) in &mut self.replicas {
            let of_replica = runs.get(id).map_or(&[][..], Vec::as_slice);
            let verdict = alive(of_replica).map_or(Verdict::Unknown, |run| self.probes.verdict(&run.spec.id));
            let wanted = replica.wanted.as_ref().map(|wanted| &wanted.wanted);
            let is_container = wanted.is_some_and(|wanted| wanted.workload.driver == Driver::Container);
            let mut decision = match listed.unknown.as_ref().filter(|_| is_container) {
                Some(why) => unknown(replica.report.as_ref(), why),
                None => decide::decide(wanted, of_replica, &verdict, &mut replica.memory, now),
            };
            let progress = alive(of_replica).and_then(|run| self.drivers.progress(&run.spec.id));
            if let (Some(status), Some(progress)) = (&mut decision.status, progress) {
                (status.state, status.message) = (RunWord::Pulling, Some(progress));
            }
            decided.push((id.clone(), decision));
        }
        let mut wait = decided.iter().filter_map(|(_, decision)| decision.wake_at).min();
        for (id, decision) in decided {
            if let Some(again) = self.carry_out(&id, decision) {
                let at = clock::since_boot() + again;
                wait = Some(wait.map_or(at, |other| other.min(at)));
            }
        }
        self.check_health(&runs, now)?;
        self.publish(document);
        self.sweep_logs(&runs, now);
        Ok(wait.map_or(ROUND_EVERY, |at| at.saturating_sub(clock::since_boot()).min(ROUND_EVERY)))
    }

    /// Takes over what is wanted, and forgets replicas that are not wanted and have no run.
    fn follow(&mut self, document: &Arc<Document>, policy: &Policy, runs: &Runs, now: Now) {
        let is_same = self.followed.as_ref().is_some_and(|followed| {
            Arc::ptr_eq(&followed.document, document) && followed.policy == *policy && now.boot < followed.until
        });
        if !is_same {
            let drivers = self.drivers.names();
            let found = document
                .replicas
                .iter()
                .filter_map(|assignment| Some((assignment, assigned(assignment, policy, &drivers)?)));
            let mut found: BTreeMap<&ReplicaId, Assigned> = found.map(|(a, found)| (&a.replica_id, found)).collect();
            for id in found.keys() {
                self.replicas.entry((*id).clone()).or_default();
            }
            for (id, replica) in &mut self.replicas {
                replica.wanted = found.remove(id);
            }
            let (document, policy, until) = (Arc::clone(document), policy.clone(), now.boot + ROUND_EVERY);
            self.followed = Some(Followed { document, policy, until });
        }
        for id in runs.keys().filter(|id| !self.replicas.contains_key(*id)).collect::<Vec<_>>() {
            self.replicas.insert(id.clone(), Replica::default());
        }
        self.replicas.retain(|id, replica| replica.wanted.is_some() || runs.contains_key(id));
    }

    /// Carries out a decision. Returns the wait after which another one is due because of it.
    fn carry_out(&mut self, id: &ReplicaId, decision: Decision) -> Option<Duration> {
        let replica = self.replicas.get_mut(id)?;
        let mut again = None;
        for action in &decision.actions {
            match step(&self.drivers, replica, action) {
                Ok(()) => {
                    replica.fault = None;
                    if matches!(action, Action::EndLost(_)) {
                        again = Some(Duration::ZERO);
                    }
                    note(id, action);
                }
                Err(e) => {
                    again = Some(RETRY);
                    let fault = Some(Chain(&e).to_string());
                    if let Some(error) = fault.as_ref().filter(|_| fault != replica.fault) {
                        log::error!(
                            target: "runner", event = "runner.step_failed", replica_id = id, error:%;
                            "A step for a replica failed; it is tried again"
                        );
                    }
                    replica.fault = fault;
                }
            }
        }
        match decision.status {
            Some(status) if replica.report.as_ref().is_some_and(|report| report.status == status) => {}
            status => {
                self.seq += 1;
                let replica_id = id.clone();
                replica.report = status.map(|status| ReplicaReport { replica_id, seq: self.seq, status });
            }
        }
        again
    }

    /// Checks the health of the runs that are wanted and alive.
    fn check_health(&self, runs: &Runs, now: Now) -> Result<()> {
        let mut checked = Vec::new();
        for (id, replica) in &self.replicas {
            let Some(Assigned { wanted, probe: Some(probe), .. }) = &replica.wanted else { continue };
            let run = runs.get(id).and_then(|runs| alive(runs)).filter(|run| run.spec.digest == wanted.digest);
            if let Some(SeenRun { spec, state: RunState::Running { started_at, .. } }) = run {
                let since = replica.memory.since(&spec.id, *started_at, now);
                checked.push((spec.id.clone(), probe.clone(), since));
            }
        }
        self.probes.follow(checked)
    }

    /// Publishes the reports if one has changed.
    fn publish(&self, document: &Document) {
        let before = self.reports.get();
        let reports = self.replicas.iter().filter_map(|(id, replica)| Some((id.clone(), replica.report.clone()?)));
        let now = Reports {
            run: before.run.clone(),
            held: Some(document.version),
            refused: self.refused.get(),
            is_halted: self.is_halted,
            replicas: reports.collect(),
        };
        if now != *before {
            self.reports.set(Arc::new(now));
        }
    }

    fn sweep_logs(&mut self, runs: &Runs, now: Now) {
        if now.boot < self.logs_due {
            return;
        }
        self.logs_due = now.boot + LOGS_EVERY;
        let kept = runs.values().flatten().map(|run| run.spec.id.as_str()).collect();
        if let Err(e) = old_logs::sweep(&self.config.logs_dir, &kept, now.wall) {
            log::warn!(
                target: "runner", event = "runner.logs_unswept", error:% = Chain(&e); "Could not remove old logs"
            );
        }
    }
}

fn by_replica(runs: Vec<SeenRun>) -> Runs {
    let mut found = Runs::new();
    for run in runs {
        found.entry(run.spec.replica_id.clone()).or_default().push(run);
    }
    found
}

/// The decision while nothing is known of a replica's runs: no action, and its last status with the reason.
fn unknown(last: Option<&ReplicaReport>, why: &str) -> Decision {
    let status = last.map_or_else(|| ReplicaStatus::of(RunWord::Waiting), |report| report.status.clone());
    let status = Some(ReplicaStatus { message: Some(why.to_string()), ..status });
    Decision { actions: Vec::new(), status, wake_at: None }
}

/// The live run of a replica.
fn alive(runs: &[SeenRun]) -> Option<&SeenRun> {
    runs.iter().find(|run| matches!(run.state, RunState::Starting | RunState::Running { .. }))
}

/// A replica as it is wanted here, with the probe of its health; `None` for a record.
fn assigned(assignment: &Assignment, policy: &Policy, drivers: &[Driver]) -> Option<Assigned> {
    let wanted = wanted::wanted(assignment, policy, drivers)?;
    let user = wanted.workload.user.as_deref().map(Account::find);
    // A check must not get the runner's rights because its user has gone.
    let has_user = !matches!(user, Some(None));
    let like = Like {
        environment: wanted.workload.environment.clone(),
        working_dir: wanted.workload.working_dir.clone(),
        user: user.flatten().map(|account| (account.uid, account.gid())),
    };
    let probe = wanted.workload.health.clone().filter(|_| has_user).map(|health| Probe { health, like });
    Some(Assigned { assignment: assignment.clone(), wanted, probe })
}

fn step(drivers: &Drivers, replica: &mut Replica, action: &Action) -> Result<()> {
    match action {
        Action::Start { sequence, restarts, streak } => {
            let Some(Assigned { assignment, wanted, .. }) = &replica.wanted else { return Ok(()) };
            let started = drivers.start(&wanted::run_spec(assignment, wanted, *sequence, *restarts, *streak));
            started.inspect_err(|e| {
                let now = Now { boot: clock::since_boot(), wall: clock::now() };
                let why = format!("cannot start: {}", Chain(e));
                replica.memory.start_failed(why, &wanted.workload.restart, now);
            })
        }
        Action::Stop(run, how) => drivers.stop(run, &how.signal, Duration::from_secs(how.grace_s)),
        Action::EndLost(run) => drivers.end_lost(run).map(|()| replica.memory.lost_ended(run)),
        Action::Remove(run) => drivers.remove(run),
    }
}

/// Logs a step.
fn note(replica_id: &ReplicaId, action: &Action) {
    match action {
        Action::Start { restarts, .. } => {
            log::info!(target: "runner", event = "runner.start", replica_id, restarts; "Started a replica")
        }
        Action::Stop(run, how) => log::info!(
            target: "runner", event = "runner.stop", replica_id, run:%, signal = how.signal, grace_s = how.grace_s;
            "Requested the end of a replica's run"
        ),
        Action::EndLost(run) => log::warn!(
            target: "runner", event = "runner.lost", replica_id, run:%; "The process that watched a run is gone; ended \
                what the run had left"
        ),
        Action::Remove(run) => {
            log::debug!(target: "runner", event = "runner.remove", replica_id, run:%; "Removed a run that is over")
        }
    }
}
