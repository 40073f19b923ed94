//! Limits that the kernel enforces, where it has control groups.

use super::{Machine, script};
use serde_json::json;
use std::fs;
use std::path::Path;

/// A machine with limits, if this one has them.
fn limited() -> Option<Machine> {
    let machine = Machine::new();
    let has_limits = machine.driver().limits() != "none";
    if !has_limits {
        eprintln!("left out: this machine has no control groups for us");
    }
    has_limits.then_some(machine)
}

#[test]
fn too_much_memory_is_the_end_and_is_named() {
    let Some(machine) = limited() else { return };
    let mut of = script("exec tail /dev/zero");
    of["limits"] = json!({"memory_mb": 30});
    let exit = machine.exit(&machine.start(of));
    assert_eq!((exit.signal, exit.oom), (Some(9), true), "{exit:?}");

    let mut child = script("tail /dev/zero; echo $?; exit 4");
    child["limits"] = json!({"memory_mb": 30});
    let exit = machine.exit(&machine.start(child));
    assert_eq!((exit.code, exit.oom), (Some(4), true), "a child was killed");
}

#[test]
fn the_number_of_processes_is_limited() {
    let Some(machine) = limited() else { return };
    let mut of = script("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 600 & done; wait");
    of["limits"] = json!({"pids": 6});
    let id = machine.start(of);
    let exit = machine.exit(&id);
    assert_ne!(exit.code, Some(0));
    assert!(machine.lines(&id).iter().any(|line| line.contains("fork")), "{:?}", machine.lines(&id));
}

#[test]
fn groups_are_removed_with_their_runs() {
    let Some(mut machine) = limited() else { return };
    let mut of = script("cat /proc/self/cgroup; exec sleep 600");
    of["limits"] = json!({"cpu_millis": 250, "memory_mb": 64, "pids": 20});
    let id = machine.start(of);
    machine.pid(&id);
    let groups = || groups_of(id.as_str());
    let found = groups();
    assert!(!found.is_empty(), "it has groups");
    let quota = found.iter().find_map(|group| fs::read_to_string(group.join("cpu.cfs_quota_us")).ok());
    let max = found.iter().find_map(|group| fs::read_to_string(group.join("cpu.max")).ok());
    let cpu = max.or(quota).unwrap();
    assert_eq!(cpu.split_whitespace().next(), Some("25000"));

    machine.reopen();
    assert_eq!(groups(), found, "a living run keeps its groups");
    machine.driver().stop(&id, "KILL", std::time::Duration::ZERO).unwrap();
    machine.exit(&id);
    machine.driver().remove(&id).unwrap();
    assert_eq!(groups(), Vec::<std::path::PathBuf>::new());
}

/// Groups with this text in their name, in any hierarchy.
fn groups_of(name: &str) -> Vec<std::path::PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path()).chain([root.to_path_buf()]);
    let ours = hierarchies.filter_map(|dir| fs::read_dir(dir.join("uptimemesh")).ok()).flatten().flatten();
    let mut found: Vec<_> = ours.map(|e| e.path()).filter(|p| p.to_string_lossy().contains(name)).collect();
    found.sort();
    found
}
