//! Drivers that end, are killed, and work for other users.

use super::{Machine, config, lives, processes, script, shim, spec};
use crate::support::{Dir, PATIENCE};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use uptimemesh::runner::process::Processes;
use uptimemesh::runner::run::{RunId, RunState};

/// Variable that says in which directory a test that is run by another one works.
const AT: &str = "RUNNER_TEST_AT";
/// A user that no machine has.
const STRANGER: u32 = 12346;

pub fn is_root() -> bool {
    let is = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is {
        eprintln!("left out: this needs root");
    }
    is
}

/// This program as a process that runs one ignored test.
fn alone(test: &str, at: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = format!("runner_process::drivers::{test}");
    command.args([&name, "--exact", "--ignored", "--nocapture"]).env(AT, at);
    command
}

/// The directory of a test that is run by another one.
fn here() -> Option<PathBuf> {
    std::env::var_os(AT).map(PathBuf::from)
}

#[test]
fn a_driver_that_comes_back_finds_every_run_as_it_is() {
    let mut machine = Machine::new();
    let going = machine.start(script("i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"));
    let gone = machine.start(script("exit 5"));
    let pid = machine.pid(&going);
    machine.exit(&gone);
    machine.says(&going, "o F 3");
    machine.reopen();
    assert_eq!(machine.pid(&going), pid, "the same process");
    assert_eq!(machine.exit(&gone).code, Some(5));
    let last = machine.lines(&going).len();
    machine.says(&going, &format!("o F {}", last + 5));
    machine.driver().stop(&going, "TERM", Duration::from_secs(600)).unwrap();
    assert_eq!(machine.exit(&going).signal, Some(15), "it is woken by runs that it did not start");
    let numbers: Vec<String> = (0..machine.lines(&going).len()).map(|n| format!("o F {n}")).collect();
    assert_eq!(machine.lines(&going), numbers, "no line is missing");
}

#[test]
fn a_run_that_ends_without_a_driver_is_ended_for_the_next_one() {
    let mut machine = Machine::new();
    let id = machine.start(script("exec sleep 600"));
    let pid = machine.pid(&id);
    let shim = shim(&machine, &id);
    machine.driver = None;
    super::signal(pid, "TERM");
    crate::support::until("its shim ends", || (!lives(shim)).then_some(()));
    machine.reopen();
    assert!(matches!(machine.seen(&id).unwrap().state, RunState::Ended(_)));
}

#[test]
fn rests_are_swept() {
    let mut machine = Machine::new();
    let living = machine.start(script("exec sleep 600"));
    let pid = machine.pid(&living);
    machine.driver = None;
    let runs = machine.dir.join("runs");
    for rest in ["0123456789ab.new", "0123456789ac"] {
        fs::create_dir(runs.join(rest)).unwrap();
        fs::write(runs.join(rest).join("spec.json"), "{").unwrap();
    }
    machine.reopen();
    let left: Vec<String> =
        fs::read_dir(&runs).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.len() == 2 && left.contains(&living.to_string()), "{left:?}");
    assert_eq!(machine.pid(&living), pid);
    assert!(machine.driver().start(&machine.seen(&living).unwrap().spec).is_err(), "a name is used once");
    assert_eq!(machine.pid(&living), pid);
}

#[test]
fn a_driver_killed_at_any_moment_leaves_no_orphan_and_no_double() {
    let dir = Dir::new();
    let mut moment = u64::from(std::process::id());
    for _ in 0..50 {
        let mut driver = alone("start_runs_until_killed", dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with("ready")), "the driver works");
        // Any spread will do, and an even one is what this gives.
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((moment >> 33) % 30_000));
        driver.kill().unwrap();
        driver.wait().unwrap();
    }
    let machine = Machine::open(dir, PathBuf::from("/sys/fs/cgroup"));
    let ids: Vec<RunId> = machine.driver().list().unwrap().into_iter().map(|seen| seen.spec.id).collect();
    assert!(ids.len() > 10, "some runs were started: {}", ids.len());
    let mut pids: Vec<u32> = ids.iter().map(|id| machine.pid(id)).collect();
    pids.sort_unstable();
    let mut marked = processes(&format!("sleep 600.{}", std::process::id()));
    marked.sort_unstable();
    assert_eq!(marked, pids, "every process is a run's, and every run has one");
    let shims = processes(&format!("run-shim {}/", machine.dir.join("runs").display()));
    assert_eq!(shims.len(), ids.len(), "one shim each");
}

#[test]
#[ignore = "run by a_driver_killed_at_any_moment_leaves_no_orphan_and_no_double"]
fn start_runs_until_killed() {
    let Some(at) = here() else { return };
    let driver = Processes::open(config(&at)).unwrap();
    println!("ready");
    let parent = std::os::unix::process::parent_id();
    for _ in 0..8 {
        driver.start(&spec(script(&format!("exec sleep 600.{parent}")))).unwrap();
    }
    std::thread::sleep(PATIENCE);
}

#[test]
fn another_user_s_driver_works_without_root() {
    if !is_root() {
        return;
    }
    let dir = Dir::new();
    chown(dir.path(), Some(STRANGER), Some(STRANGER)).unwrap();
    let output = alone("work_without_root", dir.path()).uid(STRANGER).gid(STRANGER).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "it was run");
}

#[test]
#[ignore = "run by another_user_s_driver_works_without_root"]
fn work_without_root() {
    let Some(at) = here() else { return };
    let dir = Dir::new();
    let machine = Machine::open(dir, PathBuf::from("/sys/fs/cgroup"));
    assert_eq!(machine.driver().limits(), "none");
    drop(at);
    let mut own = script("id -u; (setsid sleep 600 &); exit 3");
    own["user"] = json!(STRANGER.to_string());
    own["limits"] = json!({"memory_mb": 50});
    let id = machine.start(own);
    assert_eq!(machine.exit(&id).code, Some(3));
    assert_eq!(machine.lines(&id), [format!("o F {STRANGER}")]);
    let mut other = script("id -u");
    other["user"] = json!("root");
    let failure = machine.exit(&machine.start(other)).failure.unwrap();
    assert!(failure.contains("only a runner of root's can"), "{failure}");
    let lost = machine.start(script("(setsid sleep 600 &); exec sleep 600"));
    machine.pid(&lost);
    super::signal(shim(&machine, &lost), "KILL");
    machine.wait(&lost, |state| (*state == RunState::Lost).then_some(()));
    machine.driver().end_lost(&lost).unwrap();
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    if !crate::trouble::can_mount() {
        return;
    }
    let dir = Dir::new();
    let test = alone("log_to_a_small_disk", dir.path());
    let mount = "mkdir logs && mount -t tmpfs -o size=256k tmpfs logs && exec \"$@\"";
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "sh", "-ec", mount, "sh"]).arg(test.get_program()).args(test.get_args());
    let output = outer.env(AT, dir.path()).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "it was run");
}

#[test]
#[ignore = "run by a_full_disk_costs_lines_and_nothing_else"]
fn log_to_a_small_disk() {
    let Some(at) = here() else { return };
    let driver = Processes::open(config(&at)).unwrap();
    let many = "i=0; while [ $i -lt 8000 ]; do echo \"$i of many lines that do not fit onto this disk\"; i=$((i+1)); \
                done; exit 9";
    let spec = spec(script(many));
    driver.start(&spec).unwrap();
    let exit = loop {
        match driver.list().unwrap().remove(0).state {
            RunState::Ended(exit) => break exit,
            _ => driver.wait_for_change(PATIENCE).unwrap(),
        };
    };
    assert_eq!(exit.code, Some(9), "it ran to its end");
    let lines = super::lines(&driver.log_dir(&spec.replica_id, &spec.id));
    assert_eq!(lines.len() as u64 + exit.lines_lost, 8000, "every line is logged or counted");
    assert!(exit.lines_lost > 0 && lines.iter().all(|line| line.ends_with("onto this disk")), "whole lines");
    driver.remove(&spec.id).unwrap();
}
