//! No process of the tests runs for ever: what is overdue is told, with what each of its threads waits for, and ended,
//! so that its test fails instead of holding up all others.

use std::fs;
use std::process;
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

/// How long a process that a test started may run. The longest take two minutes.
const PROCESS: Duration = Duration::from_secs(400);
/// How long all tests may take together, on a machine that is several times slower than usual.
const ALL: Duration = Duration::from_secs(40 * 60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_secs(10);
/// Units of a start time in `/proc/PID/stat`: USER_HZ, which is 100 on every architecture of Linux that is built for.
const TICKS_PER_S: f64 = 100.0;

/// Starts the watch, once for all tests.
pub fn watch() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        thread::spawn(|| {
            let started = Instant::now();
            loop {
                thread::sleep(LOOK);
                let whole = started.elapsed() > ALL;
                for (pid, age) in descendants().into_iter().filter(|(_, age)| whole || *age > PROCESS) {
                    eprintln!("OVERDUE after {} s and ended: {}", age.as_secs(), described(pid));
                    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                    }
                }
                if whole {
                    eprintln!("OVERDUE: the tests themselves: {}", described(process::id().cast_signed()));
                    process::abort();
                }
            }
        });
    });
}

/// The processes below this one, and their ages.
fn descendants() -> Vec<(i32, Duration)> {
    let uptime: f64 = first(&fs::read_to_string("/proc/uptime").unwrap_or_default()).parse().unwrap_or(0.0);
    let all: Vec<(i32, i32, f64)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // A name may hold blanks and brackets: what follows its last bracket is numbers.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split(' ').collect();
            let started: f64 = fields.get(20)?.parse().ok()?;
            Some((first(&stat).parse().ok()?, fields.get(2)?.parse().ok()?, started / TICKS_PER_S))
        })
        .collect();
    let mut found = vec![process::id().cast_signed()];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(all.iter().filter(|one| one.1 == parent).map(|one| one.0));
        at += 1;
    }
    let age = |pid| all.iter().find(|one| one.0 == pid).map(|one| Duration::from_secs_f64((uptime - one.2).max(0.0)));
    found[1..].iter().filter_map(|pid| Some((*pid, age(*pid)?))).collect()
}

fn first(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// Its command line, and of each thread the name and where in the kernel it waits.
fn described(pid: i32) -> String {
    let read = |path: String| fs::read_to_string(path).unwrap_or_default().replace('\0', " ").trim().to_string();
    let mut text = format!("{pid} {}", read(format!("/proc/{pid}/cmdline")));
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let task = task.path().display().to_string();
        let call = read(format!("{task}/syscall"));
        text += &format!("\n    {}: {} {call}", read(format!("{task}/comm")), read(format!("{task}/wchan")));
    }
    text
}

#[test]
fn what_runs_below_the_tests_is_found_with_its_age_and_what_it_waits_for() {
    let mut child = process::Command::new("sleep").arg("60").spawn().unwrap();
    let pid = child.id().cast_signed();
    let (_, age) = descendants().into_iter().find(|one| one.0 == pid).unwrap();
    assert!(age < Duration::from_secs(60), "{age:?}");
    assert!(described(pid).contains("sleep"), "{}", described(pid));
    child.kill().unwrap();
    child.wait().unwrap();
}
