//! Runs what is assigned to this machine.

mod cgroup;
mod changes;
pub mod decide;
mod exit;
pub mod health;
pub mod held;
mod kept;
pub mod ledger;
mod log_files;
pub mod process;
pub mod run;
mod run_dir;
mod shim;
mod stage;
#[cfg(test)]
mod test_cluster;
mod tree;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Runs one of the program's internal modes if the arguments are `run-shim DIR` or `run-stage DIR`. They work before
/// anything else of the program does: one shim lives beside every run.
pub fn internal_mode(line: &[OsString]) -> Option<ExitCode> {
    let [mode, dir] = line else { return None };
    match mode.to_str()? {
        shim::MODE => Some(shim::run(Path::new(dir))),
        stage::MODE => Some(stage::run(Path::new(dir))),
        _ => None,
    }
}
