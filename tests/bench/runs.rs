//! Plain processes under their shims: starting, seeing their ends, and what a shim costs.

use crate::line;
use crate::server::temporary_dir;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use uptimemesh::runner::process::{ProcessConfig, Processes};
use uptimemesh::runner::run::{RunId, RunSpec, RunState};

/// Processes on one node.
const RUNS: usize = 200;
/// Ends that are measured one by one.
const ENDS: usize = 50;
/// Time in which the shims rest.
const REST: Duration = Duration::from_secs(5);
/// Bytes of output.
const OUTPUT: u64 = 200_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

pub fn runs() {
    let dir = temporary_dir("runs");
    let driver = Processes::open(ProcessConfig {
        runs_dir: dir.join("runs"),
        logs_dir: dir.join("logs"),
        program: PathBuf::from(env!("CARGO_BIN_EXE_uptimemesh")),
    })
    .unwrap();
    let bare = bare_starts();
    let begun = Instant::now();
    for _ in 0..RUNS {
        driver.start(&spec("exec sleep 600")).unwrap();
    }
    until(&driver, |states| states.iter().all(|state| matches!(state, RunState::Running { .. })));
    let took = begun.elapsed();
    line(
        "200 processes started, all known to run",
        format!("{:.2} s", took.as_secs_f64()),
        format!("{:.2} s without shims", bare.as_secs_f64()),
        "at most 2 s",
        took <= Duration::from_secs(2),
    );
    at_rest();
    ends(&driver);
    stop_all(&driver);
    output(&driver, &dir);
    let _ = fs::remove_dir_all(dir);
}

fn spec(script: &str) -> RunSpec {
    let id = RunId::random();
    let of = json!({
        "v": 1, "id": id, "replica_id": "web-1", "service_id": "web", "generation": 1, "digest": "d",
        "command": ["/bin/sh", "-c", script],
    });
    serde_json::from_value(of).unwrap()
}

/// Waits by the driver's wake-ups until the states of all runs are as wanted.
fn until(driver: &Processes, are: impl Fn(&[RunState]) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let states: Vec<RunState> = driver.list().unwrap().into_iter().map(|seen| seen.state).collect();
        if are(&states) {
            return;
        }
        assert!(Instant::now() < end, "waited in vain: {states:?}");
        driver.wait_for_change(Duration::from_secs(1)).unwrap();
    }
}

/// Time for as many processes that are only started.
fn bare_starts() -> Duration {
    let begun = Instant::now();
    let start = |_| Command::new("/bin/sh").args(["-c", "exec sleep 600"]).stdout(Stdio::null()).spawn().unwrap();
    let children: Vec<Child> = (0..RUNS).map(start).collect();
    let took = begun.elapsed();
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    took
}

/// Memory and processor time of shims that wait.
fn at_rest() {
    let shims: Vec<u32> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text.contains("run-shim")))
        .collect();
    let private: u64 = shims.iter().map(|pid| private_kib(*pid)).sum::<u64>() / shims.len() as u64;
    line(
        "memory of a shim that is its own",
        format!("{private} KiB"),
        format!("{} KiB of this program", private_kib(std::process::id())),
        "at most 512 KiB",
        private <= 512,
    );
    let ticks = || shims.iter().map(|pid| ticks(*pid)).sum::<u64>();
    let before = ticks();
    std::thread::sleep(REST);
    let used = ticks() - before;
    line(
        "processor time of 200 shims in 5 s",
        format!("{} ms", used * 10),
        format!("{} shims", shims.len()),
        "0 ms",
        used == 0,
    );
}

fn private_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let of = |line: &str| line.strip_prefix("Private_")?.split_whitespace().nth(1)?.parse::<u64>().ok();
    text.lines().filter_map(of).sum()
}

/// Processor time of a process in hundredths of a second.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Time from the death of a process until its exit is known, beside all the others.
fn ends(driver: &Processes) {
    let running: Vec<u32> = driver
        .list()
        .unwrap()
        .into_iter()
        .filter_map(|seen| match seen.state {
            RunState::Running { pid, .. } => Some(pid),
            _ => None,
        })
        .take(ENDS)
        .collect();
    let mut times: Vec<Duration> = Vec::new();
    for (number, pid) in running.iter().enumerate() {
        while driver.wait_for_change(Duration::ZERO).unwrap() {}
        let begun = Instant::now();
        assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
        until(driver, |states| states.iter().filter(|s| matches!(s, RunState::Ended(_))).count() == number + 1);
        times.push(begun.elapsed());
    }
    times.sort();
    let (median, worst) = (times[ENDS / 2], times[ENDS - 1]);
    line(
        "a crash until its exit is known, of 200",
        format!("{:.1} ms", median.as_secs_f64() * 1000.0),
        format!("{:.1} ms the slowest of {ENDS}", worst.as_secs_f64() * 1000.0),
        "at most 30 ms",
        median <= Duration::from_millis(30),
    );
}

fn stop_all(driver: &Processes) {
    let begun = Instant::now();
    let runs: Vec<RunId> = driver.list().unwrap().into_iter().map(|seen| seen.spec.id).collect();
    for id in &runs {
        driver.stop(id, "TERM", PATIENCE).unwrap();
    }
    until(driver, |states| states.iter().all(|state| matches!(state, RunState::Ended(_))));
    let took = begun.elapsed();
    let begun = Instant::now();
    for id in &runs {
        driver.remove(id).unwrap();
    }
    line(
        "150 processes stopped, all known to have ended",
        format!("{:.2} s", took.as_secs_f64()),
        format!("{:.2} s to remove all 200", begun.elapsed().as_secs_f64()),
        "at most 2 s",
        took <= Duration::from_secs(2),
    );
}

/// Output through a shim into bounded files.
fn output(driver: &Processes, dir: &Path) {
    let write = format!("yes 'a line of output that is about as long as most' | head -c {OUTPUT}");
    let into_file = {
        let begun = Instant::now();
        let script = format!("{write} > {}", dir.join("direct").display());
        assert!(Command::new("/bin/sh").args(["-c", &script]).status().unwrap().success());
        begun.elapsed()
    };
    let begun = Instant::now();
    driver.start(&spec(&write)).unwrap();
    until(driver, |states| matches!(states, [RunState::Ended(_)]));
    let rate = |took: Duration| OUTPUT as f64 / 1e6 / took.as_secs_f64();
    line(
        "output through a shim",
        format!("{:.0} MB/s", rate(begun.elapsed())),
        format!("{:.0} MB/s into a file without bounds", rate(into_file)),
        "at least 50 MB/s",
        rate(begun.elapsed()) >= 50.0,
    );
    let seen = driver.list().unwrap().remove(0);
    driver.remove(&seen.spec.id).unwrap();
}
