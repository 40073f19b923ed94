//! Facts about this machine: its name and its figures from the kernel and `df`.

use super::run;
use crate::model::Object;
use crate::model::ids::NodeId;
use crate::model::status_keys;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

/// Time limit for the disk's figures: a dead network mount must not delay a command.
pub const DISK_TIME: Duration = Duration::from_secs(2);

/// Backlog of a listener. With std's 128 a burst of clients would lose a second each until they retry.
const NEWCOMERS_MAX: i32 = 1024;
/// Number of files that a process may open where nothing else is said.
const DESCRIPTORS: u64 = 1024;

/// Raises the backlog of a listener above std's, if the kernel allows it.
pub fn raise_backlog(listener: &TcpListener) {
    // On failure std's backlog stays.
    let _ = rustix::net::listen(listener, NEWCOMERS_MAX);
}

/// Raises the number of files that this process may open to what its user may allow it.
pub fn raise_descriptors() {
    let now = getrlimit(Resource::Nofile);
    // On failure the limit stays, and the server takes fewer connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, ..now });
}

/// Lowers the number of files that this process may open to what programs expect, of which some look at each. They may
/// raise it again.
pub fn usual_descriptors() {
    let now = getrlimit(Resource::Nofile);
    let usual = now.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    // On failure the limit stays, as it was for the starter of this process.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(usual), ..now });
}

/// The machine's name; `None` if it is not a valid id.
pub fn name() -> Option<NodeId> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    name.trim().parse().ok()
}

/// Id of this boot, unique even among copies of a machine; empty if unknown.
pub fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect()
}

/// Facts about the machine and the file system of `dir`, whose figures may take `disk_time`. Unreadable ones are left
/// out.
pub fn facts(dir: &Path, disk_time: Duration) -> Object {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut facts = Object::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            facts.insert(key.to_string(), value);
        }
    };
    put(status_keys::ARCHITECTURE, Some(std::env::consts::ARCH.into()));
    put(status_keys::CPUS, std::thread::available_parallelism().ok().map(|n| n.get().into()));
    put(status_keys::KERNEL, Some(read("/proc/sys/kernel/osrelease").trim().into()).filter(|k| k != ""));
    put(status_keys::UPTIME_SECONDS, first_number(&read("/proc/uptime")).map(|s| (s as u64).into()));
    put(status_keys::LOAD_1M, first_number(&read("/proc/loadavg")).map(Value::from));
    let memory = read("/proc/meminfo");
    put(status_keys::MEMORY_TOTAL_BYTES, kib(&memory, "MemTotal:"));
    put(status_keys::MEMORY_AVAILABLE_BYTES, kib(&memory, "MemAvailable:"));
    put(status_keys::CAPACITY, capacity(&memory));
    let disk = disk_within(dir, disk_time);
    put(status_keys::DISK_TOTAL_BYTES, disk.map(|d| d.0.into()));
    put(status_keys::DISK_AVAILABLE_BYTES, disk.map(|d| d.1.into()));
    facts
}

/// The machine's resources minus a reserve for the machine itself: a tenth of memory, at least 64 MiB (an idle small
/// Debian with the agent) and at most 1 GiB; a twentieth of the processor, at most half a core.
fn capacity(memory: &str) -> Option<Value> {
    let cpu_millis = std::thread::available_parallelism().ok()?.get() as u64 * 1000;
    let memory_mb = kib(memory, "MemTotal:")?.as_u64()? >> 20;
    let (system_cpu_millis, system_memory_mb) = ((cpu_millis / 20).min(500), (memory_mb / 10).clamp(64, 1024));
    Some(json!({
        "cpu_millis": cpu_millis, "memory_mb": memory_mb,
        "system_cpu_millis": system_cpu_millis, "system_memory_mb": system_memory_mb,
    }))
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// A line of `/proc/meminfo`, in bytes.
fn kib(text: &str, name: &str) -> Option<Value> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    Some((line.split_whitespace().next()?.parse::<u64>().ok()? * 1024).into())
}

/// Total and available bytes, from `df -Pk` (POSIX).
pub fn disk(dir: &Path) -> Option<(u64, u64)> {
    disk_within(dir, DISK_TIME)
}

fn disk_within(dir: &Path, at_most: Duration) -> Option<(u64, u64)> {
    let text = run::output("df", &["-Pk", dir.to_str()?], at_most).ok()?;
    let columns: Vec<&str> = text.lines().nth(1)?.split_whitespace().collect();
    let kib = |i: usize| columns.get(i)?.parse::<u64>().ok().map(|n| n * 1024);
    Some((kib(1)?, kib(3)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_crowd_of_newcomers_finds_room_to_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        raise_backlog(&listener);
        let address = listener.local_addr().expect("it has one");
        // The kernel drops a connection when the backlog is full, and the client retries after a second at the
        // earliest.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900)).expect("room to wait");
        let waiting: Vec<TcpStream> = (0..300).map(connect).collect();
        assert_eq!(waiting.len(), 300);
    }

    #[test]
    fn a_linux_machine_tells_all_its_facts() {
        let facts = facts(Path::new("/"), DISK_TIME);
        for key in [
            "architecture",
            "cpus",
            "kernel",
            "uptime_seconds",
            "load_1m",
            "memory_total_bytes",
            "memory_available_bytes",
            "disk_total_bytes",
            "disk_available_bytes",
            "capacity",
        ] {
            assert!(facts.contains_key(key), "{key}");
        }
        assert!(facts["memory_available_bytes"].as_u64() < facts["memory_total_bytes"].as_u64());
        assert!(facts["disk_available_bytes"].as_u64() <= facts["disk_total_bytes"].as_u64());
    }
}
