//! All that a run has started: by its control groups, else as the descendants of its shim, to which whatever loses its
//! parent falls, else by the mark in their environment.

use super::cgroup;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Variable in the environment of everything that a run starts; its value is the name of the run.
pub const MARK: &str = "UPTIMEMESH_RUN";
/// Turns after which processes that appear faster than they are killed are left to the next call.
const TURNS_MAX: u32 = 50;

/// Kills all processes of these groups, and all descendants of this process.
pub fn kill_descendants(groups: &[PathBuf]) {
    cgroup::kill(groups);
    kill_all(|| descendants(std::process::id()));
}

/// Kills all processes of these groups, and all that have the mark of this run. True if none is left.
pub fn kill_marked(groups: &[PathBuf], run: &str) -> bool {
    cgroup::kill(groups);
    kill_all(|| marked(run)) && cgroup::are_empty(groups)
}

/// Kills what is found until nothing is.
fn kill_all(find: impl Fn() -> Vec<Pid>) -> bool {
    for _ in 0..TURNS_MAX {
        let found = find();
        if found.is_empty() {
            return true;
        }
        for pid in found {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    false
}

/// Every process of the machine that this process can see.
fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Living descendants of a process.
fn descendants(of: u32) -> Vec<Pid> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in processes() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(parent) = living_parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.remove(&of).unwrap_or_default();
    let mut at = 0;
    while at < found.len() {
        found.extend(children.remove(&found[at]).unwrap_or_default());
        at += 1;
    }
    found.into_iter().filter_map(pid_of).collect()
}

/// The parent in the text of `/proc/PID/stat`, unless the process has ended. The name before may contain anything.
fn living_parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let is_dead = matches!(fields.next()?, "Z" | "X");
    fields.next().filter(|_| !is_dead)?.parse().ok()
}

/// Processes with the mark of this run. Those that have ended have no environment.
fn marked(run: &str) -> Vec<Pid> {
    let mark = format!("{MARK}={run}");
    let has_mark = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|b| *b == 0).any(|variable| variable == mark.as_bytes())
    };
    processes().filter(has_mark).filter_map(pid_of).collect()
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(living_parent("7 (sh) S 3 7 7 0"), Some(3));
        assert_eq!(living_parent("7 (a) S 9 (b c) R 4 7"), Some(4));
        assert_eq!(living_parent("7 (sh) Z 3 7"), None);
        assert_eq!(living_parent(""), None);
    }
}
