//! The real program on a terminal of its own, which `script` makes and keeps.

use crate::program::Running;
use crate::support::until;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program on a terminal. Dropping it ends both.
pub struct Terminal {
    running: Running,
    typescript: PathBuf,
    pid: String,
}

impl Terminal {
    /// Starts it with these words, which have no meaning to a shell, and with this in its environment; `name` names its
    /// files.
    pub fn start(dir: &Path, name: &str, args: &[&str], env: &[(&str, &str)]) -> Terminal {
        let (typescript, pid) = (dir.join(format!("{name}.typescript")), dir.join(format!("{name}.pid")));
        let program = env!("CARGO_BIN_EXE_uptimemesh");
        let line = format!("echo $$ >{}; exec {program} {}", pid.display(), args.join(" "));
        let mut command = Command::new("script");
        command.args(["--quiet", "--flush", "--return", "--command", &line]).arg(&typescript).current_dir(dir);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TERM", "xterm")
            .envs(env.iter().copied());
        let running = Running::of(command, dir, name);
        let pid = until("it is started", || fs::read_to_string(&pid).ok().filter(|pid| pid.ends_with('\n')));
        Terminal { running, typescript, pid: pid.trim().to_string() }
    }

    /// What has appeared so far.
    pub fn said(&self) -> String {
        let said =
            fs::read(&self.typescript).map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
        // The first line is of `script`.
        said.split_once('\n').map_or(String::new(), |(_, said)| said.to_string())
    }

    /// Waits until this has appeared, and gives all that has.
    pub fn shows(&self, text: &str) -> String {
        until(&format!("{text:?} appears"), || Some(self.said()).filter(|said| said.contains(text)))
    }

    /// Closes the terminal, as the window of one is closed.
    pub fn close(&mut self) {
        self.running.kill();
    }

    /// Sends it a signal.
    pub fn send(&self, signal: &str) {
        assert!(Command::new("kill").args(["-s", signal, &self.pid]).status().unwrap().success(), "{signal}");
    }

    /// Waits for its end and gives its exit status.
    pub fn exit_status(&mut self) -> i32 {
        self.running.exit_status()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended; its number is its own until `script`, which waits for it, has ended too.
        if !self.running.has_ended() {
            let _ = Command::new("kill").args(["-s", "KILL", &self.pid]).status();
        }
    }
}
