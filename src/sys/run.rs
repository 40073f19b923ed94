//! Running other programs: the only user of `Command`. Time and output of every run are limited, except for a program
//! that replaces this process.

use crate::clock;
use crate::error::{Chain, Doing, Error, Result};
use crate::thread::spawn;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// A program that writes more is stopped: the programs that we run print a few lines.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// Interval for checking whether a program that has closed its output has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Time in which a killed program ends, unless it hangs in the kernel (a dead network mount); then it is not waited
/// for.
const DEATH: Duration = Duration::from_secs(1);
const DOING: &str = "run a program";

/// Runs a program to its end within `at_most`, and returns its output.
///
/// # Errors
/// Fails if the program cannot be started, takes longer, writes more than 1 MiB or no UTF-8, or ends with a failure.
pub fn output(program: &str, args: &[&str], at_most: Duration) -> Result<String> {
    with_input(program, args, &[], at_most)
}

/// The same with `input` on the program's standard input, where other users cannot see a secret. The program need not
/// read all of it.
pub fn with_input(program: &str, args: &[&str], input: &[u8], at_most: Duration) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    let (bytes, status) = bounded(command, program, input, at_most)?;
    match status.success() {
        true => String::from_utf8(bytes).doing(DOING),
        false => Err(Error::fault(DOING, format!("{program} ended with {status}"))),
    }
}

/// Surroundings of a program that checks something on behalf of another one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Like {
    /// Environment variables beside `PATH`.
    pub environment: BTreeMap<String, String>,
    /// Working directory; `/` by default.
    pub working_dir: Option<String>,
    /// Numbers of the user and the group that it runs as; those of this process by default.
    pub user: Option<(u32, u32)>,
}

/// Runs a program to its end within `at_most`. The error says why it did not end with status 0.
pub fn check(line: &[String], like: &Like, at_most: Duration) -> std::result::Result<(), String> {
    const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let Some((program, args)) = line.split_first() else { return Err("there is no program".to_string()) };
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", PATH).envs(&like.environment);
    command.current_dir(like.working_dir.as_deref().unwrap_or("/"));
    if let Some((uid, gid)) = like.user {
        // The standard library gives up root's other groups with it.
        command.uid(uid).gid(gid);
    }
    // Nothing reads its output: a process that it leaves behind would keep a reader waiting.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let end = clock::tick() + at_most;
    let mut child = command.spawn().map_err(|e| format!("{program}: {e}"))?;
    match wait(&mut child, end) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("{program} ended with {status}")),
        Ok(None) => {
            stop(child);
            Err(Chain(&late(program, at_most)).to_string())
        }
        Err(e) => {
            stop(child);
            Err(format!("{program}: {e}"))
        }
    }
}

/// Runs a program with its input to its end within `at_most`, and returns its output and its status.
fn bounded(
    mut command: Command,
    program: &str,
    input: &[u8],
    at_most: Duration,
) -> Result<(Vec<u8>, std::process::ExitStatus)> {
    let end = clock::tick() + at_most;
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    // Its own process group, so that the processes it has started are stopped with it.
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().doing(DOING)?;
    let written = talk(&mut child, input).and_then(|output| {
        match output.recv_timeout(end.saturating_duration_since(clock::tick())) {
            Ok(read) => read.doing(DOING),
            Err(RecvTimeoutError::Timeout) => Err(late(program, at_most)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::fault(DOING, format!("reading what {program} wrote broke off")))
            }
        }
    });
    let ended = written.and_then(|bytes| match bytes.len() as u64 > OUTPUT_BYTES_MAX {
        true => Err(Error::fault(DOING, format!("{program} wrote more than {OUTPUT_BYTES_MAX} bytes"))),
        false => {
            wait(&mut child, end).doing(DOING)?.map(|status| (bytes, status)).ok_or_else(|| late(program, at_most))
        }
    });
    ended.inspect_err(|_| stop(child))
}

fn late(program: &str, at_most: Duration) -> Error {
    Error::fault(DOING, format!("{program} took longer than {} s", at_most.as_secs_f32()))
}

/// Writes to and reads from a program while it runs: otherwise a program that waits for a full or an empty pipe would
/// never end.
fn talk(child: &mut Child, input: &[u8]) -> Result<Receiver<std::io::Result<Vec<u8>>>> {
    if let Some(mut pipe) = child.stdin.take() {
        let input = input.to_vec();
        // A program that has read enough closes its end; its status says whether it succeeded.
        spawn("run-input", None, move || drop(pipe.write_all(&input))).doing(DOING)?;
    }
    let (sender, output) = sync_channel(1);
    let pipe = child.stdout.take().ok_or_else(|| Error::fault(DOING, "its output is not there"))?;
    let read = |pipe: ChildStdout| {
        let mut bytes = Vec::new();
        pipe.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes).map(|_| bytes)
    };
    // The receiver may have given up waiting.
    spawn("run-output", None, move || drop(sender.send(read(pipe)))).doing(DOING)?;
    Ok(output)
}

/// Waits for the end of a program that has closed its output.
fn wait(child: &mut Child, end: Instant) -> std::io::Result<Option<std::process::ExitStatus>> {
    loop {
        match child.try_wait()? {
            None if clock::tick() < end => std::thread::sleep(LOOK),
            status => return Ok(status),
        }
    }
}

/// Stops a program and the processes it has started. It may have ended meanwhile.
fn stop(mut child: Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // The standard library stops only one process.
        let _ = kill_process_group(group, Signal::KILL);
    }
    if !matches!(wait(&mut child, clock::tick() + DEATH), Ok(Some(_))) {
        let _ = spawn("run-end", None, move || drop(child.wait()));
    }
}

/// Replaces this process with a program, which takes over input, output, signals and exit status. Returns only on
/// failure.
pub fn exec(program: &str, args: &[String]) -> Error {
    Error::fault("run a program", format!("{program}: {}", Command::new(program).args(args).exec()))
}

/// Replaces this process with a program that has `input` on its standard input, where other users cannot see a secret.
/// The input must fit into a pipe (64 KiB). Returns only on failure.
pub fn exec_with_input(program: &str, args: &[String], input: &[u8]) -> Error {
    let filled = std::io::pipe().and_then(|(reader, mut writer)| writer.write_all(input).map(|()| reader));
    let why = match filled {
        Ok(reader) => Command::new(program).args(args).stdin(reader).exec(),
        Err(e) => e,
    };
    Error::fault("run a program", format!("{program}: {why}"))
}

/// Replaces this process with a program that has additional environment variables. Returns only on failure.
pub fn exec_with_env<'a>(program: &Path, line: &[OsString], env: impl Iterator<Item = (&'a str, &'a str)>) -> Error {
    let why = Command::new(program).args(line).envs(env).exec();
    Error::fault("begin again", format!("{}: {why}", program.display()))
}

/// Replaces this process with a program that has exactly this environment. Returns only on failure.
pub fn exec_with_only(program: &str, args: &[String], env: &BTreeMap<String, String>) -> Error {
    Error::fault(DOING, format!("{program}: {}", Command::new(program).args(args).env_clear().envs(env).exec()))
}

/// Starts a program with these files as its input, output and errors, and with an empty environment. It may outlive
/// this process; until then it is waited for through what is returned.
pub fn start_apart(program: &Path, args: &[&OsStr], [stdin, stdout, stderr]: [File; 3]) -> std::io::Result<Apart> {
    let mut command = Command::new(program);
    command.args(args).env_clear().stdin(stdin).stdout(stdout).stderr(stderr);
    command.spawn().map(Apart)
}

/// A program that may outlive this process.
pub struct Apart(Child);

impl Apart {
    /// True once it has ended. Then the kernel forgets it.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

/// A program whose output is read and whose end is waited for by the caller.
pub struct Piped {
    /// Its process.
    pub pid: u32,
    /// Its output.
    pub stdout: ChildStdout,
    /// Its errors.
    pub stderr: ChildStderr,
}

/// Starts a program without input and with an empty environment.
pub fn start_piped(program: &Path, args: &[&str]) -> std::io::Result<Piped> {
    let mut command = Command::new(program);
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    match (child.stdout.take(), child.stderr.take()) {
        (Some(stdout), Some(stderr)) => Ok(Piped { pid: child.id(), stdout, stderr }),
        _ => Err(std::io::Error::other("its output is not there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_run_is_bounded_and_its_failure_told() {
        assert_eq!(output("echo", &["a", "b"], LONG).expect("echo runs"), "a b\n");
        assert!(output("false", &[], LONG).is_err());
        assert!(output("no-such-program-here", &[], LONG).is_err());
        let began = clock::tick();
        // Neither a waiting program nor processes that it left behind with its output delay the end.
        for script in ["exec sleep 60", "sleep 60", "sleep 60 & exit 0", "exec >&-; sleep 60"] {
            assert!(output("sh", &["-c", script], Duration::from_millis(50)).is_err(), "{script}");
        }
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn output_is_read_while_the_program_runs() {
        for bytes in [0, 1, 4096, 65_536, 65_537, 200_000, 1 << 20] {
            let text = output("sh", &["-c", &format!("yes | head -c {bytes}; echo >&2 done")], LONG).expect("it ends");
            assert_eq!(text.len(), bytes);
        }
        let began = clock::tick();
        for script in ["yes | head -c 1048577", "yes"] {
            let why = output("sh", &["-c", script], LONG).expect_err("it is too much");
            assert!(
                crate::error::Chain(&why).to_string().contains("more than 1048576 bytes"),
                "{}",
                crate::error::Chain(&why)
            );
        }
        assert!(began.elapsed() < LONG, "it is stopped, not waited for");
        assert!(output("printf", &["\\377"], LONG).is_err(), "no text");
    }

    #[test]
    fn a_program_is_fed_while_it_is_read() {
        let text = "0123456789abcdef".repeat(60_000);
        assert_eq!(with_input("cat", &[], text.as_bytes(), LONG).expect("cat gives it back"), text);
        assert_eq!(with_input("cat", &[], b"", LONG).expect("an empty input ends"), "");
        assert_eq!(with_input("head", &["-c", "3"], text.as_bytes(), LONG).expect("it need not read all"), "012");
        assert!(
            with_input("sleep", &["60"], text.as_bytes(), Duration::from_millis(50)).is_err(),
            "it does not read at all"
        );
    }
}
