//! Checks a machine: its clock, disk and kernel, and who may read its secrets.

use super::run;
use crate::clock;
use crate::model::findings::Finding;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Time limit of programs that we run: they answer at once, or are stuck.
const RUN_TIME: Duration = Duration::from_secs(5);

/// Number of measured flushes; the median of nine is not affected by four that coincide with another program's writes.
const FLUSHES: usize = 9;
/// A disk that takes longer than this in total counts as slow after fewer.
const FLUSHES_TIME: Duration = Duration::from_secs(5);
/// Size of each: a page of the database.
const FLUSH_BYTES: usize = 4096;
/// A slower flush counts as slow: good SD cards need 5 to 20 ms, SSDs 1, and etcd requires less than 10. Each
/// acknowledged write waits for one.
const FLUSH_SLOW: Duration = Duration::from_millis(50);
/// With a slower flush, the background passes, which write every second, fall behind.
const FLUSH_BROKEN: Duration = Duration::from_secs(1);

/// With less free space the next upgrade, backup or checkpoint of the write-ahead log does not fit.
const SPACE_BYTES_MIN: u64 = 64 << 20;
/// A smaller free share of the disk is a warning.
const SPACE_PERCENT_LOW: u64 = 10;
/// Minimum free inodes: the program creates some dozens of files.
const INODES_MIN: u64 = 100;
const INODES_PERCENT_LOW: u64 = 5;

/// A lower limit of open files reduces the number of connections; below the other one the server hardly works.
const FILES_LOW: u64 = 1024;
const FILES_MIN: u64 = 256;

/// Checks everything about the machine; `dir` contains our data.
pub fn machine(dir: &Path) -> Vec<Finding> {
    vec![clock_plausible(), clock_sync(), flush_time(dir), space(dir), inodes(dir), open_files(), wireguard()]
}

/// Compares the clock with the time when this program was built or installed.
fn clock_plausible() -> Finding {
    const CHECK: &str = "clock.plausible";
    let installed = std::env::current_exe().and_then(fs::metadata).and_then(|m| m.modified());
    let installed_s =
        installed.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_secs() as i64);
    let now = clock::now();
    let installed = clock::Timestamp::from_secs(installed_s).max(clock::built_at());
    let installed_s = installed.secs();
    match now.secs() + 60 < installed_s {
        true => Finding::fail(
            CHECK,
            format!("this machine's clock shows {now}, but the program was installed at {installed}"),
            format!("set the clock by hand, date -u -s 'YYYY-MM-DD HH:MM:SS', and keep it right: {NTP}"),
        ),
        false => Finding::ok(CHECK, format!("it is {now}, after the program was installed")),
    }
}

/// Commands that set the clock from the network on common distributions.
const NTP: &str = "timedatectl set-ntp true; where there is none: apt-get install -y chrony, or apk add chrony && \
    rc-service chronyd start";

/// Checks that the clock is synchronised, with the means of this machine.
fn clock_sync() -> Finding {
    const CHECK: &str = "clock.sync";
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Finding::ok(CHECK, "systemd-timesyncd has set the clock since the start");
    }
    if let Ok(text) = run::output("chronyc", &["-n", "tracking"], RUN_TIME) {
        return match text.lines().find(|line| line.starts_with("Leap status")) {
            Some(line) if line.ends_with("Normal") => Finding::ok(CHECK, "chrony keeps the clock"),
            _ => Finding::warn(
                CHECK,
                "chrony runs and has not set the clock yet",
                "chronyc -n sources; chronyc makestep",
            ),
        };
    }
    match run::output("timedatectl", &["show", "--property=NTPSynchronized", "--value"], RUN_TIME)
        .as_deref()
        .map(str::trim)
    {
        Ok("yes") => Finding::ok(CHECK, "the kernel says that the clock is synchronised"),
        Ok("no") => Finding::warn(CHECK, "the kernel says that nothing synchronises the clock", NTP),
        _ => Finding::skipped(
            CHECK,
            "neither systemd-timesyncd, chrony nor timedatectl answers here; a container has its host's clock",
        ),
    }
}

/// Measures how long the disk takes to make a write durable, with an unlinked file in our directory.
fn flush_time(dir: &Path) -> Finding {
    const CHECK: &str = "disk.fsync";
    let timed = match flushes(dir) {
        Ok(timed) if !timed.is_empty() => timed,
        Ok(_) => return Finding::skipped(CHECK, "not checked: out of time"),
        Err(e) => {
            let seen = format!("cannot write to {}: {e}", dir.display());
            return Finding::fail(CHECK, seen, format!("ls -ld {0}; df -h {0}; mount | grep -w ro", dir.display()));
        }
    };
    let median = timed[timed.len() / 2];
    let seen = format!(
        "a flush of 4 KiB takes {:.1} ms (median of {}, longest {:.1} ms)",
        ms(median),
        timed.len(),
        ms(timed[timed.len() - 1])
    );
    let to_do = format!(
        "put {} on a faster disk (an SSD instead of a card), or see what else writes: iostat -x 1",
        dir.display()
    );
    match median {
        m if m > FLUSH_BROKEN => Finding::fail(CHECK, seen, to_do),
        m if m > FLUSH_SLOW => Finding::warn(CHECK, seen, to_do),
        _ => Finding::ok(CHECK, seen),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Durations of some flushes, the shortest first.
fn flushes(dir: &Path) -> std::io::Result<Vec<Duration>> {
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    // Root does this in another user's directory: it must not write through a link there.
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    // Without a name nothing is left behind, however this ends.
    fs::remove_file(&path)?;
    let end = clock::tick() + FLUSHES_TIME;
    let mut timed = Vec::with_capacity(FLUSHES);
    while timed.len() < FLUSHES && clock::tick() < end {
        let began: Instant = clock::tick();
        file.write_all(&[0x5a; FLUSH_BYTES])?;
        file.sync_all()?;
        timed.push(began.elapsed());
    }
    timed.sort_unstable();
    Ok(timed)
}

/// Total and available units from `df` with this flag, which counts kilobytes or inodes.
fn df(dir: &Path, flag: &str) -> Option<(u64, u64)> {
    let text = run::output("df", &["-P", flag, dir.to_str()?], RUN_TIME).ok()?;
    let columns: Vec<&str> = text.lines().nth(1)?.split_whitespace().collect();
    Some((columns.get(1)?.parse().ok()?, columns.get(3)?.parse().ok()?))
}

fn space(dir: &Path) -> Finding {
    const CHECK: &str = "disk.space";
    let Some((total, free)) = df(dir, "-k") else { return Finding::skipped(CHECK, "df does not report it here") };
    let seen = format!("{} MiB of {} MiB are free in {}", free >> 10, total >> 10, dir.display());
    let to_do = format!("du -xh {} | sort -h | tail; old logs and backups are the first to go", dir.display());
    match free << 10 {
        bytes if bytes < SPACE_BYTES_MIN => Finding::fail(CHECK, seen, to_do),
        _ if free * 100 < total * SPACE_PERCENT_LOW => Finding::warn(CHECK, seen, to_do),
        _ => Finding::ok(CHECK, seen),
    }
}

fn inodes(dir: &Path) -> Finding {
    const CHECK: &str = "disk.inodes";
    let Some((total, free)) = df(dir, "-i").filter(|(total, _)| *total > 0) else {
        return Finding::skipped(CHECK, "this file system does not count inodes, or df does not report them");
    };
    let seen = format!("{free} of {total} inodes are free in {}", dir.display());
    let to_do = format!("du -x --inodes {} | sort -n | tail", dir.display());
    match free {
        free if free < INODES_MIN => Finding::fail(CHECK, seen, to_do),
        free if free * 100 < total * INODES_PERCENT_LOW => Finding::warn(CHECK, seen, to_do),
        _ => Finding::ok(CHECK, seen),
    }
}

fn open_files() -> Finding {
    const CHECK: &str = "files.limit";
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let word = line.and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    let Ok(limit) = word.parse::<u64>() else {
        return match word {
            "unlimited" => Finding::ok(CHECK, "open files are not limited"),
            _ => Finding::skipped(CHECK, "the kernel does not report it here"),
        };
    };
    let seen = format!("{limit} files may be open at once, for what is started from here");
    let to_do = "LimitNOFILE=65536 in the unit of the service (systemctl edit uptimemesh), or ulimit -n 65536 before a \
        start by hand";
    match limit {
        n if n < FILES_MIN => Finding::fail(CHECK, seen, to_do),
        n if n < FILES_LOW => Finding::warn(CHECK, seen, to_do),
        _ => Finding::ok(CHECK, seen),
    }
}

fn wireguard() -> Finding {
    const CHECK: &str = "kernel.wireguard";
    if Path::new("/sys/module/wireguard").exists() {
        return Finding::ok(CHECK, "the kernel has WireGuard");
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = PathBuf::from("/lib/modules").join(release.trim());
    let listed = |name: &str| fs::read_to_string(modules.join(name)).is_ok_and(|text| text.contains("/wireguard.ko"));
    if listed("modules.builtin") || listed("modules.dep") {
        return Finding::ok(CHECK, "the kernel has WireGuard as a module that it loads when it is needed");
    }
    if Path::new("/dev/net/tun").exists() {
        return Finding::ok(
            CHECK,
            "the kernel has no WireGuard; /dev/net/tun is there, so a user-space WireGuard works",
        );
    }
    let to_do = "modprobe wireguard || apt-get install -y wireguard (Linux 5.6 and newer have it); or, for one in user \
        space: modprobe tun";
    Finding::warn(CHECK, "the kernel has neither WireGuard nor /dev/net/tun: no private network is possible", to_do)
}

/// Checks that only the directory's owner owns and can read these files and directories.
pub fn private(check: &'static str, dir: &Path, paths: &[PathBuf]) -> Finding {
    let owner = fs::metadata(dir).map(|m| m.uid()).ok();
    let (mut open, mut foreign, mut seen) = (Vec::new(), Vec::new(), 0);
    for path in paths {
        let Ok(metadata) = fs::metadata(path) else { continue };
        seen += 1;
        if metadata.mode() & 0o077 != 0 {
            open.push(path.display().to_string());
        }
        if owner.is_some_and(|owner| owner != metadata.uid()) {
            foreign.push(path.display().to_string());
        }
    }
    if !open.is_empty() {
        let seen = format!("other users of this machine can access: {}", open.join(", "));
        // Only its owner can change the mode of another user's file.
        let first = if foreign.is_empty() {
            String::new()
        } else {
            format!("chown --reference={} {}; then ", dir.display(), foreign.join(" "))
        };
        return Finding::fail(
            check,
            seen,
            format!(
                "{first}chmod go-rwx {}; if other people use this machine, treat the keys as known to them",
                open.join(" ")
            ),
        );
    }
    if !foreign.is_empty() {
        let seen = format!("these are not owned by {}: {}", dir.display(), foreign.join(", "));
        return Finding::warn(check, seen, format!("chown --reference={} {}", dir.display(), foreign.join(" ")));
    }
    match seen {
        0 => Finding::skipped(check, format!("there are no secrets in {} yet", dir.display())),
        _ => Finding::ok(check, format!("only their owner can access the {seen} secret files and directories")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::findings::Level;
    use std::os::unix::fs::PermissionsExt;

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("uptimemesh-doctor-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    #[test]
    fn a_machine_is_examined_and_nothing_is_left_behind() {
        let dir = dir("machine");
        let findings = machine(&dir);
        assert_eq!(findings.len(), 7);
        for finding in &findings {
            assert!(!finding.seen.is_empty(), "{finding:?}");
            assert_eq!(finding.to_do.is_some(), matches!(finding.level, Level::Warn | Level::Fail), "{finding:?}");
        }
        assert!(findings.iter().any(|f| f.check == "disk.fsync" && f.seen.contains("ms")), "{findings:?}");
        assert_eq!(fs::read_dir(&dir).expect("it is there").count(), 0);
        let gone = flush_time(&dir.join("no-such"));
        assert!(gone.level == Level::Fail && gone.seen.contains("cannot write to"), "{gone:?}");
        fs::remove_dir_all(dir).expect("it is ours");
    }

    #[test]
    fn a_link_in_the_way_of_the_measurement_is_not_followed() {
        let dir = dir("link");
        let (precious, link) = (dir.join("precious"), dir.join(format!(".doctor-{}", std::process::id())));
        fs::write(&precious, "of another user").expect("a file");
        std::os::unix::fs::symlink(&precious, &link).expect("a link");
        assert!(flushes(&dir).is_ok_and(|timed| !timed.is_empty()));
        assert_eq!(fs::read_to_string(&precious).expect("it is there"), "of another user");
        fs::remove_dir_all(dir).expect("it is ours");
    }

    #[test]
    fn files_that_others_may_read_are_named() {
        let dir = dir("private");
        let path = dir.join("a.key");
        assert_eq!(private("x", &dir, std::slice::from_ref(&path)).level, Level::Skipped);
        fs::write(&path, "k").expect("a file");
        let with = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
            private("x", &dir, std::slice::from_ref(&path))
        };
        assert_eq!(with(0o600).level, Level::Ok);
        for mode in [0o640, 0o604, 0o666] {
            let finding = with(mode);
            assert!(
                finding.level == Level::Fail && finding.to_do.is_some_and(|d| d.contains("chmod go-rwx")),
                "{mode:o}"
            );
        }
        fs::remove_dir_all(dir).expect("it is ours");
    }
}
