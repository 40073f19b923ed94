//! Running other programs: the only caller of `Command`. Every run is bounded in time and output, but the one that takes this process's place.

use crate::clock;
use crate::error::{Doing, Error, Result};
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Output beyond this is not read: what we run answers in lines.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Runs a program to its end, at most so long, and gives what it wrote. It gets no input.
pub fn output(program: &str, args: &[&str], at_most: Duration) -> Result<String> {
    let doing = "run a program";
    let mut child =
        Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().doing(doing)?;
    let end = clock::tick() + at_most;
    // What we run writes less than a pipe holds, so waiting before reading does not hang it.
    let status = loop {
        if let Some(status) = child.try_wait().doing(doing)? {
            break status;
        }
        if clock::tick() >= end {
            // It may have ended by itself in between.
            let _ = child.kill();
            child.wait().doing(doing)?;
            return Err(Error::fault(doing, format!("{program} took longer than {} s", at_most.as_secs())));
        }
        std::thread::sleep(LOOK);
    };
    let mut text = String::new();
    if let Some(out) = child.stdout.take() {
        out.take(OUTPUT_BYTES_MAX).read_to_string(&mut text).doing(doing)?;
    }
    if status.success() { Ok(text) } else { Err(Error::fault(doing, format!("{program} ended with {status}"))) }
}

/// Becomes this program: input, output, signals and the exit status are its own from here on. Comes back only where it cannot be started.
pub fn become_program(program: &str, args: &[String]) -> Error {
    Error::fault("run a program", format!("{program}: {}", Command::new(program).args(args).exec()))
}

/// Becomes this program, with more in its environment. Comes back only where it cannot be started.
pub fn begin_again<'a>(program: &Path, line: &[OsString], env: impl Iterator<Item = (&'a str, &'a str)>) -> Error {
    let why = Command::new(program).args(line).envs(env).exec();
    Error::fault("begin again", format!("{}: {why}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_bounded_and_its_failure_told() {
        let long = Duration::from_secs(10);
        assert_eq!(output("echo", &["a", "b"], long).expect("echo runs"), "a b\n");
        assert!(output("false", &[], long).is_err());
        assert!(output("no-such-program-here", &[], long).is_err());
        let began = clock::tick();
        assert!(output("sleep", &["60"], Duration::from_millis(50)).is_err());
        assert!(began.elapsed() < long);
    }
}
