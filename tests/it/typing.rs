//! The real program on a terminal of its own, with somebody who reads and types.

use crate::program::command;
use crate::support::{PATIENCE, until};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

/// A shell line on a terminal. Dropping it hangs up.
pub struct Terminal {
    script: Child,
    keys: ChildStdin,
    screen: PathBuf,
}

impl Terminal {
    /// Starts a shell line in this directory; `$UPTIMEMESH` is the program.
    pub fn start(dir: &Path, env: &[(&str, &str)], line: &str) -> Terminal {
        let screen = dir.join("typescript");
        let _ = fs::remove_file(&screen);
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--return", "--command", line, "typescript"]).current_dir(dir).env_clear();
        script.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("SHELL", "/bin/sh").env("TERM", "xterm");
        script.env("UPTIMEMESH", command(dir, &[]).get_program()).envs(env.iter().copied());
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let keys = script.stdin.take().unwrap();
        Terminal { script, keys, screen }
    }

    /// All that was shown so far.
    pub fn screen(&self) -> String {
        fs::read(&self.screen).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until this is shown.
    pub fn shows(&self, text: &str) -> &Terminal {
        let end = Instant::now() + PATIENCE;
        while !self.screen().contains(text) {
            assert!(Instant::now() < end, "{text:?} is not shown:\n{}", self.screen());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self
    }

    /// Types this once a question is shown.
    pub fn answers(&mut self, question: &str, text: &str) -> &mut Terminal {
        self.shows(question);
        self.keys.write_all(text.as_bytes()).unwrap();
        self.keys.flush().unwrap();
        self
    }

    /// Waits for the end, and gives the exit status.
    pub fn exit_status(&mut self) -> i32 {
        until("the line on the terminal ends", || self.script.try_wait().unwrap()).code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
