//! The stage between shim and program, `uptimemesh run-stage DIR`: a process of our own that puts itself into its
//! control groups, takes its user and rights, and then becomes the program. So nothing runs between fork and exec.

use super::run::RunSpec;
use super::run_dir::{FAILURE, LOCK, Prepared, RunDir};
use super::{cgroup, tree};
use crate::error::{Chain, Doing, Error, Result};
use crate::files;
use crate::sys::accounts::Account;
use crate::sys::{host, run};
use rustix::fs::Mode;
use rustix::process::{Signal, set_parent_process_death_signal, setsid, umask};
use rustix::thread::set_no_new_privs;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Its name on the command line.
pub const MODE: &str = "run-stage";
/// Exit status of a stage that could not become the program.
const FAILED: u8 = 125;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the program of the run in this directory. Returns only on failure.
pub fn run(dir: &Path) -> ExitCode {
    // Opened before the change of user, and closed when the program is there.
    let failure = files::open_append(&dir.join(FAILURE));
    let Err(why) = become_program(&RunDir::at(dir));
    let _ = failure.and_then(|mut file| write!(file, "{}", Chain(&why)));
    ExitCode::from(FAILED)
}

fn become_program(dir: &RunDir) -> Result<std::convert::Infallible> {
    const DOING: &str = "prepare the process";
    let Some(Prepared { run: spec, groups, .. }) = dir.prepared() else {
        return Err(Error::fault(DOING, "the files of the run cannot be read"));
    };
    let lock = fs::File::open(dir.path().join(LOCK)).doing(DOING)?;
    // First of all: whatever it starts from here on is in there, too.
    cgroup::join(&groups).doing("join the control group")?;
    // Its own session: a signal to its own process group does not reach the shim.
    setsid().map_err(std::io::Error::from).doing(DOING)?;
    // The runner's own protection is not the program's. Without root it may be as it is.
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    host::usual_descriptors();
    umask(Mode::WGRP | Mode::WOTH);
    let account = match &spec.user {
        Some(user) => Account::find(user).ok_or_else(|| {
            Error::fault("become the user", format!("this machine has no user {user:?}; create it, or name another"))
        })?,
        None => Account::own(),
    };
    account.assume()?;
    set_no_new_privs(true).map_err(std::io::Error::from).doing(DOING)?;
    // After the change of user, which clears it. A program without its shim could not be waited for any more.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from).doing(DOING)?;
    if lock.try_lock_shared().is_ok() {
        return Err(Error::fault(DOING, "the shim has ended"));
    }
    let working_dir = spec.working_dir.as_deref().unwrap_or("/");
    std::env::set_current_dir(working_dir)
        .map_err(|e| Error::fault("enter the working directory", format!("{working_dir}: {e}")))?;
    let (program, args) =
        spec.command.split_first().ok_or_else(|| Error::fault("run a program", "the command is empty"))?;
    Err(run::exec_with_only(program, args, &environment(&spec, account.home)))
}

/// The environment of the program: exactly what the run says, and what programs rely on.
fn environment(spec: &RunSpec, home: String) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([("PATH".to_string(), PATH.to_string()), ("HOME".to_string(), home)]);
    environment.extend(spec.environment.clone());
    environment.extend([
        (tree::MARK.to_string(), spec.id.to_string()),
        ("UPTIMEMESH_REPLICA".to_string(), spec.replica_id.to_string()),
        ("UPTIMEMESH_SERVICE".to_string(), spec.service_id.to_string()),
    ]);
    environment
}
