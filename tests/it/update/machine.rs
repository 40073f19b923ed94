//! Machines on which the scripts of an update run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A shell and the tools that it finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Machine {
    /// dash, GNU's tools, curl, openssl.
    Debian,
    /// busybox and nothing else: its shell, its awk, its wget, no openssl.
    Busybox,
    /// dash without flock and without curl.
    Bare,
}

impl Machine {
    pub(super) const ALL: [Machine; 3] = [Machine::Debian, Machine::Busybox, Machine::Bare];

    /// The shell, and the directories of its tools.
    pub(super) fn shell(self, dir: &Path) -> (Vec<String>, String) {
        let tools = dir.join("tools");
        match self {
            Machine::Debian => (vec!["dash".into()], std::env::var("PATH").unwrap()),
            Machine::Busybox => {
                if !tools.exists() {
                    fs::create_dir(&tools).unwrap();
                    let list = Command::new("busybox")
                        .arg("--list")
                        .output()
                        .expect("busybox is installed (apt-get install busybox)");
                    for name in String::from_utf8(list.stdout).unwrap().lines() {
                        symlink(which("busybox"), tools.join(name)).unwrap();
                    }
                }
                (vec![tools.join("ash").display().to_string()], tools.display().to_string())
            }
            Machine::Bare => {
                if !tools.exists() {
                    fs::create_dir(&tools).unwrap();
                    for name in BARE_TOOLS {
                        symlink(which(name), tools.join(name)).unwrap();
                    }
                }
                (vec![which("dash").display().to_string()], tools.display().to_string())
            }
        }
    }
}

const BARE_TOOLS: &[&str] = &[
    "awk",
    "cat",
    "chmod",
    "cmp",
    "cp",
    "cut",
    "date",
    "df",
    "dirname",
    "grep",
    "head",
    "id",
    "kill",
    "ln",
    "mkdir",
    "mktemp",
    "mv",
    "openssl",
    "rm",
    "sed",
    "setsid",
    "sh",
    "sha256sum",
    "sleep",
    "stat",
    "sync",
    "tail",
    "timeout",
    "tr",
    "uname",
    "wc",
    "wget",
];

fn which(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed"))
}
