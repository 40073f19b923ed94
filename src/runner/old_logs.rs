//! Removes the logs of runs that are over: a replica's newest ones stay for a day.

use crate::clock::Timestamp;
use crate::error::{Doing, Result};
use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Logs that stay, for each replica.
const KEPT: usize = 5;
/// Seconds that they stay after the last line.
const KEPT_S: i64 = 86_400;
const DOING: &str = "remove old logs";

/// Removes old logs, except those of these runs.
pub fn sweep(logs_dir: &Path, runs: &BTreeSet<&str>, now: Timestamp) -> Result<()> {
    for replica in entries(logs_dir)? {
        let mut over = Vec::new();
        for log in entries(&replica.path())? {
            if !log.file_name().to_str().is_some_and(|name| runs.contains(name)) {
                over.push((written_at(&log)?, log.path()));
            }
        }
        over.sort_unstable_by(|a, b| b.cmp(a));
        for (place, (at, path)) in over.into_iter().enumerate() {
            if place >= KEPT || at < now.secs() - KEPT_S {
                fs::remove_dir_all(path).doing(DOING)?;
            }
        }
        match fs::remove_dir(replica.path()) {
            Err(e) if !matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => {
                return Err(e).doing(DOING);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The directories in a directory; none if it is not there.
fn entries(dir: &Path) -> Result<Vec<DirEntry>> {
    match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        found => {
            let all = found.and_then(Iterator::collect::<std::io::Result<Vec<DirEntry>>>).doing(DOING)?;
            Ok(all.into_iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).collect())
        }
    }
}

/// Seconds since 1970 of the last change of a log's files.
fn written_at(log: &DirEntry) -> Result<i64> {
    let secs = |at: SystemTime| at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let changed = |entry: &DirEntry| entry.metadata().and_then(|meta| meta.modified()).map_or(0, secs);
    let files = fs::read_dir(log.path()).doing(DOING)?.flatten();
    Ok(files.map(|file| changed(&file)).max().unwrap_or_else(|| changed(log)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn the_newest_stay_for_a_day_and_those_of_runs_for_ever() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-old-logs-{}", std::process::id()));
        let names = |replica: &str| {
            let mut names: Vec<String> = entries(&dir.join(replica))
                .expect("read")
                .iter()
                .map(|e| e.file_name().into_string().expect("text"))
                .collect();
            names.sort();
            names.concat()
        };
        let now = clock::now();
        for (replica, logs) in [("r1", "abcdefgh"), ("r2", "xy")] {
            for (age, log) in logs.chars().enumerate() {
                let log = dir.join(replica).join(log.to_string());
                fs::create_dir_all(&log).expect("created");
                let file = fs::File::create(log.join("log.0")).expect("created");
                let at = UNIX_EPOCH + std::time::Duration::from_secs(now.secs() as u64 - 60 * age as u64);
                file.set_modified(at).expect("ours");
            }
        }
        sweep(&dir, &BTreeSet::from(["h"]), now).expect("swept");
        assert_eq!((names("r1"), names("r2")), ("abcdeh".to_string(), "xy".to_string()));
        sweep(&dir, &BTreeSet::from(["h"]), now.plus_secs(KEPT_S + 30)).expect("swept");
        assert_eq!((names("r1"), dir.join("r2").exists()), ("h".to_string(), false));
        sweep(&dir, &BTreeSet::new(), now.plus_secs(2 * KEPT_S)).expect("swept");
        assert!(!dir.join("r1").exists() && !dir.join("r2").exists());
        fs::remove_dir_all(dir).expect("ours");
    }
}
