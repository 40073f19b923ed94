//! Control groups of runs, one a run, below `uptimemesh` beside systemd's slices: groups inside of a unit would end
//! with the unit, or keep it from starting. Version 2 where it has all controllers, else version 1, else none.

use super::run::{Limits, RunId};
use crate::clock;
use crate::error::{Doing, Result};
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kernel's control groups.
pub const ROOT: &str = "/sys/fs/cgroup";
/// Our group in each hierarchy.
const OURS: &str = "uptimemesh";
/// Group of the shims in version 2, where a group with groups below it has no processes.
const SHIMS: &str = "shims";
/// Controllers that limit a run.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// The controller of version 1 that stops all processes of a group together.
const FREEZER: &str = "freezer";
/// Hierarchies in which systemd follows processes, where version 1 has the controllers.
const FOLLOWED: [&str; 2] = ["systemd", "unified"];
/// Period over which processor time is counted, in microseconds.
const PERIOD_US: u64 = 100_000;
/// The smallest part of it that the kernel accepts.
const QUOTA_US_MIN: u64 = 1_000;
/// Time in which a group is empty after its processes were killed.
const DEATH: Duration = Duration::from_secs(2);
/// Interval for looking at a group that is not empty yet.
const LOOK: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Version {
    Two,
    One,
    None,
}

/// The control groups of the runs in one directory.
pub struct Cgroups {
    root: PathBuf,
    version: Version,
    /// Part of the names of groups that distinguishes them from those of other directories of runs.
    tag: String,
}

impl Cgroups {
    /// Finds out what the machine has, and prepares our group.
    pub fn probe(root: &Path, tag: String) -> Cgroups {
        let version = match () {
            () if prepare_two(root) => Version::Two,
            () if prepare_one(root) => Version::One,
            () => Version::None,
        };
        Cgroups { root: root.to_path_buf(), version, tag }
    }

    /// `v2`, `v1` or `none`.
    pub fn name(&self) -> &'static str {
        match self.version {
            Version::Two => "v2",
            Version::One => "v1",
            Version::None => "none",
        }
    }

    /// Our group in each hierarchy.
    fn ours(&self) -> Vec<PathBuf> {
        match self.version {
            Version::Two => vec![self.root.join(OURS)],
            Version::One => {
                CONTROLLERS.iter().chain(&[FREEZER]).map(|controller| self.root.join(controller).join(OURS)).collect()
            }
            Version::None => Vec::new(),
        }
    }

    /// Groups for shims, so that the limits and the end of the runner's unit are not theirs.
    pub fn of_shims(&self) -> Vec<PathBuf> {
        match self.version {
            Version::Two => vec![self.root.join(OURS).join(SHIMS)],
            Version::One => {
                let followed = FOLLOWED.iter().map(|name| self.root.join(name).join(OURS));
                self.ours().into_iter().chain(followed.filter(|dir| dir.exists())).collect()
            }
            Version::None => Vec::new(),
        }
    }

    /// Groups of a run.
    pub fn of_run(&self, id: &RunId) -> Vec<PathBuf> {
        let name = format!("{id}-{}", self.tag);
        self.ours().into_iter().map(|dir| dir.join(&name)).collect()
    }

    /// Creates the groups of a run, with its limits.
    ///
    /// # Errors
    /// Fails if the kernel does not accept a limit.
    pub fn create(&self, id: &RunId, limits: &Limits) -> Result<Vec<PathBuf>> {
        let groups = self.of_run(id);
        for group in &groups {
            fs::create_dir(group).doing("create a control group")?;
        }
        for (file, value) in files_of(self.version, limits) {
            let Some(group) = groups.iter().find(|group| group.join(file).exists()) else { continue };
            fs::write(group.join(file), value).doing("set a limit of a control group")?;
        }
        Ok(groups)
    }

    /// Runs that have groups here.
    pub fn runs(&self) -> Vec<RunId> {
        let entries = self.ours().into_iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let ours = names.filter_map(|name| {
            let (id, tag) = name.split_once('-')?;
            RunId::parse(id).filter(|_| tag == self.tag)
        });
        let mut runs: Vec<RunId> = ours.collect();
        runs.sort();
        runs.dedup();
        runs
    }
}

/// True if version 2 has the controllers for our groups.
fn prepare_two(root: &Path) -> bool {
    let ours = root.join(OURS);
    if !has_all(&root.join("cgroup.controllers")) || !create_writable(&ours) || !create_writable(&ours.join(SHIMS)) {
        return false;
    }
    for dir in [root, &ours] {
        for controller in CONTROLLERS {
            // One at a time: the kernel refuses all of a write for one of them. What counts is read below.
            let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    has_all(&ours.join("cgroup.subtree_control"))
}

/// Creates a group that may have groups of ours. One that exists may be another user's.
fn create_writable(group: &Path) -> bool {
    fs::create_dir_all(group).is_ok() && access(group, Access::WRITE_OK).is_ok()
}

fn has_all(list: &Path) -> bool {
    let text = fs::read_to_string(list).unwrap_or_default();
    CONTROLLERS.iter().all(|controller| text.split_whitespace().any(|word| word == *controller))
}

/// True if version 1 has the controllers, and lets us have groups.
fn prepare_one(root: &Path) -> bool {
    let create = |name: &str| {
        let hierarchy = root.join(name);
        hierarchy.join("cgroup.procs").exists() && create_writable(&hierarchy.join(OURS))
    };
    // Where systemd follows processes, it is only better with us.
    let _ = FOLLOWED.map(create);
    CONTROLLERS.into_iter().chain([FREEZER]).all(create)
}

/// The files that set these limits. Some exist only on some kernels.
fn files_of(version: Version, limits: &Limits) -> Vec<(&'static str, String)> {
    let bytes = limits.memory_mb.map(|mb| mb.saturating_mul(1 << 20).to_string());
    let quota = limits.cpu_millis.map(|millis| (millis.saturating_mul(PERIOD_US) / 1000).max(QUOTA_US_MIN));
    let pids = limits.pids.map(|pids| ("pids.max", pids.to_string()));
    let mut files = Vec::new();
    match version {
        Version::Two => {
            files.extend(bytes.map(|bytes| ("memory.max", bytes)));
            // What does not fit into memory would slow down the machine.
            files.extend(limits.memory_mb.map(|_| ("memory.swap.max", "0".to_string())));
            files.extend(quota.map(|quota| ("cpu.max", format!("{quota} {PERIOD_US}"))));
        }
        Version::One => {
            files.extend(bytes.clone().map(|bytes| ("memory.limit_in_bytes", bytes)));
            files.extend(bytes.map(|bytes| ("memory.memsw.limit_in_bytes", bytes)));
            files.extend(quota.map(|_| ("cpu.cfs_period_us", PERIOD_US.to_string())));
            files.extend(quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string())));
        }
        Version::None => {}
    }
    files.extend(pids);
    files
}

/// Moves this process into these groups.
pub fn join(groups: &[PathBuf]) -> std::io::Result<()> {
    groups.iter().try_for_each(|group| fs::write(group.join("cgroup.procs"), "0"))
}

/// Kills every process in these groups: with one write in version 2; frozen, killed and thawed in version 1, so that
/// nothing starts meanwhile.
pub fn kill(groups: &[PathBuf]) {
    for group in groups {
        if fs::write(group.join("cgroup.kill"), "1").is_ok() {
            continue;
        }
        let has_frozen = set_frozen(group, true);
        for pid in processes(group) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        if has_frozen {
            set_frozen(group, false);
        }
    }
}

/// Freezes or thaws a group of version 1.
fn set_frozen(group: &Path, frozen: bool) -> bool {
    let state = group.join("freezer.state");
    state.exists() && fs::write(state, if frozen { "FROZEN" } else { "THAWED" }).is_ok()
}

fn processes(group: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

/// True if no process is in these groups, or will be soon: it waits for those that were killed.
pub fn are_empty(groups: &[PathBuf]) -> bool {
    let end = clock::tick() + DEATH;
    loop {
        let is_empty = groups.iter().all(|group| processes(group).is_empty());
        if is_empty || clock::tick() >= end {
            return is_empty;
        }
        std::thread::sleep(LOOK);
    }
}

/// Removes these groups, once they are empty.
///
/// # Errors
/// Fails if processes are left that do not die.
pub fn remove(groups: &[PathBuf]) -> Result<()> {
    are_empty(groups);
    for group in groups {
        match fs::remove_dir(group) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.doing("remove a control group")?,
        }
    }
    Ok(())
}

/// True if the kernel killed a process in these groups for want of memory.
pub fn had_oom(groups: &[PathBuf]) -> bool {
    let files = groups.iter().flat_map(|group| [group.join("memory.events"), group.join("memory.oom_control")]);
    files.into_iter().any(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like the kernel's, with these files.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str, files: &[(&str, &str)]) -> Fake {
            let root = std::env::temp_dir().join(format!("uptimemesh-groups-{name}-{}", std::process::id()));
            for (file, text) in files {
                fs::create_dir_all(root.join(file).parent().expect("a directory")).expect("it is created");
                fs::write(root.join(file), text).expect("it is written");
            }
            fs::create_dir_all(&root).expect("it is created");
            Fake(root)
        }

        fn read(&self, file: &str) -> String {
            fs::read_to_string(self.0.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn version_two_is_used_where_it_has_all_controllers() {
        let all = "cpuset cpu io memory pids\n";
        let files = [("cgroup.controllers", all), ("uptimemesh/cgroup.subtree_control", "cpu memory pids\n")];
        let fake = Fake::new("two", &files);
        // The kernel answers a write with the list; a file keeps what was written, so it is read before.
        assert!(has_all(&fake.0.join("uptimemesh/cgroup.subtree_control")));
        for (name, controllers) in [("some", "cpu memory\n"), ("alike", "cpuset memory_old pids\n"), ("none", "")] {
            let fake = Fake::new(name, &[("cgroup.controllers", controllers)]);
            assert_eq!(Cgroups::probe(&fake.0, "t".to_string()).name(), "none", "{controllers}");
        }
        assert!(!prepare_two(&fake.0), "what was not enabled does not count");
        assert_eq!(fake.read("cgroup.subtree_control"), "+pids", "each controller by a write of its own");
    }

    #[test]
    fn version_one_is_used_where_all_hierarchies_are_there() {
        let procs = ["memory", "cpu", "pids", "freezer"].map(|name| format!("{name}/cgroup.procs"));
        let files: Vec<(&str, &str)> = procs.iter().map(|file| (file.as_str(), "")).collect();
        let fake = Fake::new("one-part", &files[1..]);
        assert_eq!(Cgroups::probe(&fake.0, "t".to_string()).name(), "none");
        let fake = Fake::new("one", &files);
        let groups = Cgroups::probe(&fake.0, "t".to_string());
        assert_eq!(groups.name(), "v1");
        let id = RunId::random();
        let made = groups.create(&id, &Limits::default()).expect("groups are created");
        assert_eq!(made.len(), 4);
        fs::create_dir(fake.0.join("cpu/uptimemesh/0123456789ab-u")).expect("another's");
        assert_eq!(groups.runs(), [id], "only those of the same directory of runs");
        join(&made).expect("they are joined");
        assert_eq!(fs::read_to_string(made[3].join("cgroup.procs")).ok().as_deref(), Some("0"));
    }

    #[test]
    fn limits_are_written_as_each_version_has_them() {
        let limits = Limits { cpu_millis: Some(1500), memory_mb: Some(64), pids: Some(20) };
        let two =
            [("memory.max", "67108864"), ("memory.swap.max", "0"), ("cpu.max", "150000 100000"), ("pids.max", "20")];
        let one = [
            ("memory.limit_in_bytes", "67108864"),
            ("memory.memsw.limit_in_bytes", "67108864"),
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "150000"),
            ("pids.max", "20"),
        ];
        let of = |version| files_of(version, &limits);
        assert_eq!(of(Version::Two), two.map(|(file, value)| (file, value.to_string())));
        assert_eq!(of(Version::One), one.map(|(file, value)| (file, value.to_string())));
        assert_eq!(files_of(Version::Two, &Limits::default()), []);
        let little = Limits { cpu_millis: Some(1), ..Limits::default() };
        assert_eq!(files_of(Version::Two, &little), [("cpu.max", "1000 100000".to_string())]);
        let much = Limits { memory_mb: Some(u64::MAX), cpu_millis: Some(u64::MAX), pids: None };
        assert_eq!(files_of(Version::Two, &much).len(), 3, "no overflow");
    }

    #[test]
    fn an_end_for_want_of_memory_is_read_in_both_versions() {
        for (name, file, text, had) in [
            ("oom-two", "memory.events", "oom 1\noom_kill 1\noom_group_kill 0\n", true),
            ("oom-two-none", "memory.events", "oom 3\noom_kill 0\n", false),
            ("oom-one", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", true),
            ("oom-one-none", "memory.oom_control", "oom_kill_disable 0\noom_kill 0\n", false),
        ] {
            let fake = Fake::new(name, &[(file, text)]);
            assert_eq!(had_oom(&[fake.0.join("no-such-group"), fake.0.clone()]), had, "{text}");
        }
    }
}
