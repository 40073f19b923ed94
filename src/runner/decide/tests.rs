//! Decisions by cases, and a property: in any order of events there are never two live runs of a replica, and a program
//! that works runs in the end.

use super::*;
use crate::model::Object;
use crate::runner::run::{Asked, LogBounds, RunSpec};
use crate::runner::run::{Limits, RunId};
use serde_json::json;

fn at(s: u64) -> Now {
    Now { boot: Duration::from_secs(1000 + s), wall: Timestamp::from_secs(1_790_000_000 + s as i64) }
}

fn wanted(digest: &str, more: serde_json::Value) -> Wanted {
    let mut spec: Object = json!({"command": ["/x"]}).as_object().expect("an object").clone();
    spec.extend(more.as_object().expect("an object").clone());
    let workload = Workload::read(&spec).expect("a workload");
    Wanted { workload, generation: 1, digest: digest.to_string(), runs: true, refused: None }
}

fn run(digest: &str, restarts: u64, streak: u32, state: RunState) -> SeenRun {
    numbered(restarts, digest, restarts, streak, state)
}

fn numbered(sequence: u64, digest: &str, restarts: u64, streak: u32, state: RunState) -> SeenRun {
    let spec = RunSpec {
        v: 1,
        id: RunId::random(),
        replica_id: "r".parse().expect("an id"),
        service_id: "s".parse().expect("an id"),
        generation: 1,
        digest: digest.to_string(),
        command: vec!["/x".to_string()],
        environment: Default::default(),
        working_dir: None,
        user: None,
        limits: Limits::default(),
        logs: LogBounds::default(),
        stop: StopSpec { signal: "SIGINT".to_string(), grace_s: 7 },
        sequence,
        restarts,
        streak,
    };
    SeenRun { spec, state }
}

fn running(now: Now) -> RunState {
    RunState::Running { pid: 5, started_at: now.wall }
}

fn ended(code: i32, asked: Option<Asked>, now: Now) -> RunState {
    let (started_at, ended_at) = (now.wall, now.wall);
    let code = Some(code);
    RunState::Ended(Exit { code, signal: None, oom: false, asked, started_at, ended_at, lines_lost: 0, failure: None })
}

/// The decision, its state as a word.
fn word(wanted: &Wanted, runs: &[SeenRun], memory: &mut Memory, now: Now) -> (&'static str, Decision) {
    let decision = decide(Some(wanted), runs, &Verdict::Unknown, memory, now);
    (decision.status.as_ref().expect("a status").state.as_str(), decision)
}

const START: Action = Action::Start { sequence: 0, restarts: 0, streak: 0 };

/// A start, whatever its place.
fn start_of(actions: &[Action]) -> Option<(u64, u32)> {
    if let [Action::Start { restarts, streak, .. }] = actions { Some((*restarts, *streak)) } else { None }
}

#[test]
fn a_wanted_replica_is_started_adopted_and_healthy_in_time() {
    let (w, mut memory) = (wanted("a", json!({})), Memory::default());
    let (state, decision) = word(&w, &[], &mut memory, at(0));
    assert_eq!((state, decision.actions), ("starting", vec![START]));
    let mut runs = [run("a", 0, 0, RunState::Starting)];
    assert_eq!(word(&w, &runs, &mut memory, at(0)).0, "starting");
    runs[0].state = running(at(0));
    let (state, decision) = word(&w, &runs, &mut memory, at(0));
    assert_eq!((state, &decision.actions[..], decision.wake_at), ("running", &[][..], Some(at(10).boot)));
    assert_eq!(word(&w, &runs, &mut memory, at(9)).0, "running");
    let (_, decision) = word(&w, &runs, &mut memory, at(10));
    let status = decision.status.expect("a status");
    assert_eq!((status.state, status.healthy, status.pid), (RunWord::Healthy, Some(true), Some(5)));
    // A runner that starts now sees how long it has been running.
    let (state, decision) = word(&w, &runs, &mut Memory::default(), at(60));
    assert_eq!((state, decision.actions.len()), ("healthy", 0));
    // Another generation with the same digest changes nothing but the number.
    let later = Wanted { generation: 2, ..w };
    let (state, decision) = word(&later, &runs, &mut memory, at(70));
    let applied = decision.status.and_then(|status| status.applied_generation);
    assert_eq!((state, decision.actions.len(), applied), ("healthy", 0, Some(2)));
}

#[test]
fn another_digest_stops_first_and_starts_when_all_is_over() {
    let (w, mut memory) = (wanted("b", json!({"stop": {"grace_seconds": 3}})), Memory::default());
    let mut runs = [run("a", 4, 3, running(at(0)))];
    let (state, decision) = word(&w, &runs, &mut memory, at(0));
    let how = |signal: &str, grace_s| StopSpec { signal: signal.to_string(), grace_s };
    let id = runs[0].spec.id.clone();
    assert_eq!((state, decision.actions), ("stopping", vec![Action::Stop(id.clone(), how("SIGTERM", 3))]));
    assert_eq!(word(&w, &runs, &mut memory, at(12)).1.actions, [], "once");
    assert_eq!(word(&w, &runs, &mut memory, at(13)).1.actions, [Action::Stop(id.clone(), how("SIGTERM", 0))]);
    runs[0].state = ended(0, Some(Asked::Stop), at(14));
    let (state, decision) = word(&w, &runs, &mut memory, at(14));
    assert_eq!((state, decision.actions), ("starting", vec![Action::Start { sequence: 5, restarts: 0, streak: 0 }]));
    let runs = [runs[0].clone(), numbered(5, "b", 0, 0, running(at(14)))];
    assert_eq!(word(&w, &runs, &mut memory, at(14)).1.actions, [], "the last end stays known");
    let exit = decide(Some(&w), &runs, &Verdict::Unknown, &mut Memory::default(), at(15)).status.and_then(|s| s.exit);
    assert_eq!(exit.map(|exit| exit.words), Some("ended with status 0, as requested".to_string()));
    // The clock may have been set back meanwhile.
    let older = run("a", 3, 3, ended(0, Some(Asked::Stop), at(99)));
    let (_, decision) = word(&w, &[runs[0].clone(), older.clone(), runs[1].clone()], &mut memory, at(15));
    assert_eq!(decision.actions, [Action::Remove(older.spec.id)]);
}

#[test]
fn what_is_not_wanted_is_stopped_and_removed() {
    let mut memory = Memory::default();
    let mut runs = [run("a", 0, 0, running(at(0)))];
    let id = runs[0].spec.id.clone();
    let mut none = |runs: &[SeenRun], now| decide(None, runs, &Verdict::Unknown, &mut memory, now);
    let how = runs[0].spec.stop.clone();
    let decision = none(&runs, at(0));
    assert_eq!((decision.actions, decision.status), (vec![Action::Stop(id.clone(), how)], None));
    runs[0].state = ended(0, Some(Asked::Stop), at(1));
    assert_eq!(none(&runs, at(1)).actions, [Action::Remove(id)]);
    // Stopped but kept: nothing is removed, and it starts again without a wait.
    let stopped = Wanted { runs: false, ..wanted("a", json!({})) };
    let mut memory = Memory::default();
    let (state, decision) = word(&stopped, &runs, &mut memory, at(2));
    assert_eq!((state, decision.actions), ("stopped", vec![]));
    let (state, decision) = word(&wanted("a", json!({})), &runs, &mut memory, at(3));
    assert_eq!((state, start_of(&decision.actions)), ("starting", Some((1, 0))));
}

#[test]
fn failures_back_off_and_become_a_crash_loop() {
    let (w, mut memory) = (wanted("a", json!({})), Memory::default());
    let mut second = 0;
    let mut last: Option<SeenRun> = None;
    for (streak, (delay, state)) in
        [(1, "backing_off"), (2, "backing_off"), (4, "backing_off"), (8, "backing_off"), (60, "crashloop")]
            .into_iter()
            .enumerate()
    {
        let runs: Vec<SeenRun> = last.iter().cloned().collect();
        let (_, decision) = word(&w, &runs, &mut memory, at(second));
        let (restarts, streak) = (streak as u64, streak as u32);
        assert_eq!(start_of(&decision.actions), Some((restarts, streak)), "at {second}");
        let dead = [run("a", restarts, streak, ended(1, None, at(second)))];
        let (found, decision) = word(&w, &dead, &mut memory, at(second));
        assert_eq!((found, decision.wake_at), (state, Some(at(second + delay).boot)), "{streak}");
        let message = decision.status.and_then(|status| status.message).expect("words");
        assert_eq!(message, format!("ended with status 1; started again {delay} s after its end"));
        // A runner that starts meanwhile waits as long.
        let (_, again) = word(&w, &dead, &mut Memory::default(), at(second));
        assert_eq!(again.wake_at, Some(at(second + delay).boot));
        second += delay;
        last = Some(dead[0].clone());
    }
}

#[test]
fn a_long_time_of_health_resets_the_wait() {
    let (w, mut memory) = (wanted("a", json!({"restart": {"reset_after_seconds": 100}})), Memory::default());
    let mut runs = [run("a", 9, 9, running(at(0)))];
    word(&w, &runs, &mut memory, at(0));
    word(&w, &runs, &mut memory, at(10));
    let short = &mut memory.clone();
    runs[0].state = ended(1, None, at(109));
    assert_eq!(word(&w, &runs, short, at(109)).0, "crashloop");
    runs[0].state = ended(1, None, at(110));
    let (state, decision) = word(&w, &runs, &mut memory, at(110));
    assert_eq!((state, decision.wake_at), ("backing_off", Some(at(111).boot)));
}

#[test]
fn the_policy_decides_about_another_start() {
    for (policy, code, want) in [
        ("always", 0, "backing_off"),
        ("always", 1, "backing_off"),
        ("on_failure", 0, "completed"),
        ("on_failure", 1, "backing_off"),
        ("never", 0, "completed"),
        ("never", 1, "failed"),
    ] {
        let w = wanted("a", json!({"restart": {"policy": policy}}));
        let runs = [run("a", 0, 0, ended(code, None, at(0)))];
        let (state, decision) = word(&w, &runs, &mut Memory::default(), at(0));
        assert_eq!((state, decision.actions.len()), (want, 0), "{policy} {code}");
    }
}

#[test]
fn a_lost_run_is_ended_before_the_next_start() {
    let (w, mut memory) = (wanted("a", json!({})), Memory::default());
    let runs = [run("a", 0, 0, RunState::Lost)];
    let id = runs[0].spec.id.clone();
    let (state, decision) = word(&w, &runs, &mut memory, at(0));
    assert_eq!((state, decision.actions), ("stopping", vec![Action::EndLost(id.clone())]));
    memory.lost_ended(&id);
    assert_eq!(word(&w, &runs, &mut memory, at(0)).0, "backing_off");
    let (_, decision) = word(&w, &runs, &mut memory, at(1));
    assert_eq!(start_of(&decision.actions), Some((1, 1)));
}

#[test]
fn an_unhealthy_run_is_restarted_and_counts_as_a_failure() {
    let (w, mut memory) = (wanted("a", json!({"health": {"tcp": {"port": 80}}})), Memory::default());
    let mut runs = [run("a", 0, 0, running(at(0)))];
    let unhealthy = |is_lasting| Verdict::Unhealthy { why: "refused".to_string(), is_lasting };
    let decision = decide(Some(&w), &runs, &unhealthy(false), &mut memory, at(50));
    let status = decision.status.expect("a status");
    assert_eq!((status.state, status.healthy, decision.actions.len()), (RunWord::Unhealthy, Some(false), 0));
    let decision = decide(Some(&w), &runs, &unhealthy(true), &mut memory, at(80));
    assert!(matches!(&decision.actions[..], [Action::Stop(..)]), "{decision:?}");
    runs[0].state = ended(0, Some(Asked::Stop), at(81));
    let (state, decision) = word(&w, &runs, &mut memory, at(81));
    assert_eq!(state, "backing_off");
    let message = decision.status.and_then(|status| status.message).expect("words");
    assert!(message.starts_with("unhealthy, then ended with status 0"), "{message}");
}

#[test]
fn a_refused_replica_is_stopped_with_its_reason() {
    let w = Wanted { refused: Some("no".to_string()), ..wanted("a", json!({})) };
    let mut runs = [run("a", 0, 0, running(at(0)))];
    let mut memory = Memory::default();
    assert!(matches!(&word(&w, &runs, &mut memory, at(0)).1.actions[..], [Action::Stop(..)]));
    runs[0].state = ended(0, Some(Asked::Stop), at(0));
    let (state, decision) = word(&w, &runs, &mut memory, at(0));
    let status = decision.status.expect("a status");
    assert_eq!((state, status.message.as_deref(), status.healthy), ("refused", Some("no"), Some(false)));
}

#[test]
fn a_start_that_fails_waits_too() {
    let (w, mut memory) = (wanted("a", json!({})), Memory::default());
    assert_eq!(word(&w, &[], &mut memory, at(0)).1.actions, [START]);
    memory.start_failed("cannot start: the disk is full".to_string(), &w.workload.restart, at(0));
    let (state, decision) = word(&w, &[], &mut memory, at(0));
    assert_eq!((state, decision.wake_at), ("backing_off", Some(at(1).boot)));
    assert_eq!(start_of(&word(&w, &[], &mut memory, at(1)).1.actions), Some((1, 1)));
}

/// Random numbers, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A machine with one replica.
struct Machine {
    runs: Vec<SeenRun>,
    /// Lost runs whose processes are gone.
    ended: Vec<RunId>,
    memory: Memory,
    wanted: Option<Wanted>,
    now: Now,
}

impl Machine {
    fn live(&self) -> usize {
        let has_processes = |run: &&SeenRun| match run.state {
            RunState::Starting | RunState::Running { .. } => true,
            RunState::Lost => !self.ended.contains(&run.spec.id),
            RunState::Ended(_) => false,
        };
        self.runs.iter().filter(has_processes).count()
    }

    /// Decides, and carries out each action, or some of them if the runner dies at this step.
    fn turn(&mut self, dies_after: Option<usize>, start_fails: bool) {
        let wanted = self.wanted.clone();
        let decision = decide(wanted.as_ref(), &self.runs, &Verdict::Unknown, &mut self.memory, self.now);
        for action in decision.actions.into_iter().take(dies_after.unwrap_or(usize::MAX)) {
            match action {
                Action::Start { sequence, restarts, streak } => {
                    let wanted = wanted.as_ref().expect("only what is wanted is started");
                    assert_eq!(self.live(), 0, "two at once: {:?}", self.runs);
                    match start_fails {
                        true => self.memory.start_failed("no".into(), &wanted.workload.restart, self.now),
                        false => {
                            self.runs.push(numbered(sequence, &wanted.digest, restarts, streak, RunState::Starting))
                        }
                    }
                }
                Action::Stop(id, _) => self.end(&id, Some(Asked::Stop)),
                Action::EndLost(id) => {
                    self.memory.lost_ended(&id);
                    self.ended.push(id);
                }
                Action::Remove(id) => {
                    let at = self.runs.iter().position(|run| run.spec.id == id).expect("a run");
                    assert!(is_over(&self.runs[at], &self.memory), "only what is over is removed");
                    self.runs.remove(at);
                }
            }
        }
        if dies_after.is_some() {
            self.memory = Memory::default();
        }
    }

    fn end(&mut self, id: &RunId, asked: Option<Asked>) {
        let now = self.now;
        for run in self.runs.iter_mut().filter(|run| run.spec.id == *id && is_alive(run)) {
            run.state = ended(i32::from(asked.is_none()), asked, now);
        }
    }

    fn event(&mut self, random: &mut Random) {
        let digests = ["a", "b", "c"];
        let digest = digests[random.below(3) as usize];
        let policy = ["always", "on_failure", "never"][random.below(3) as usize];
        match random.below(9) {
            0 => self.wanted = None,
            1 => self.wanted = Some(wanted(digest, json!({"restart": {"policy": policy}}))),
            2 => self.wanted.iter_mut().for_each(|wanted| wanted.runs = !wanted.runs),
            3 => self.memory = Memory::default(),
            4 | 5 => {
                let now = self.now;
                for run in self.runs.iter_mut().filter(|run| is_alive(run)) {
                    run.state = running(now);
                }
            }
            6 => {
                let alive: Vec<RunId> =
                    self.runs.iter().filter(|run| is_alive(run)).map(|run| run.spec.id.clone()).collect();
                alive.iter().for_each(|id| self.end(id, None));
            }
            7 => self.runs.iter_mut().filter(|run| is_alive(run)).for_each(|run| run.state = RunState::Lost),
            _ => {
                let s = random.below(100);
                self.now.boot += Duration::from_secs(s);
                // The wall clock may be set to anything.
                self.now.wall = Timestamp::from_secs(1_790_000_000 + random.below(2000) as i64);
            }
        }
    }
}

#[test]
fn there_are_never_two_live_runs_and_what_is_wanted_runs_in_the_end() {
    for seed in 0..3000 {
        let mut random = Random(seed);
        let mut machine =
            Machine { runs: Vec::new(), ended: Vec::new(), memory: Memory::default(), wanted: None, now: at(0) };
        for _ in 0..60 {
            machine.event(&mut random);
            let dies_after = (random.below(8) == 0).then(|| random.below(3) as usize);
            machine.turn(dies_after, random.below(10) == 0);
            assert!(machine.live() <= 1, "seed {seed}");
            assert!(machine.runs.len() <= 3, "seed {seed}: {:?}", machine.runs);
        }
        machine.wanted = Some(wanted("last", json!({})));
        for _ in 0..12 {
            machine.now.boot += Duration::from_secs(61);
            machine.turn(None, false);
        }
        let alive: Vec<&str> =
            machine.runs.iter().filter(|run| is_alive(run)).map(|run| run.spec.digest.as_str()).collect();
        assert_eq!((alive, machine.runs.len() <= 2), (vec!["last"], true), "seed {seed}");
        machine.wanted = None;
        for _ in 0..3 {
            machine.turn(None, false);
        }
        assert_eq!(machine.runs.len(), 0, "seed {seed}");
    }
}
