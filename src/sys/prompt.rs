//! Questions to a person at the terminal. Standard output stays free for what a command prints.

use crate::error::{Doing, Error, Result};
use crate::thread::{lock, spawn};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{BufRead, IsTerminal, Read, Write, stderr, stdin};
use std::sync::{Mutex, Once};

/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 4096;
const DOING: &str = "ask at the terminal";

/// The terminal's settings while echo is off.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// True if a person can be asked: standard input and standard error are terminals.
pub fn is_possible() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Prompts for a line and trims it. Fails at the end of input.
pub fn line(question: &str) -> Result<String> {
    Ok(read(question)?.trim().to_string())
}

/// Prompts for a secret without echo. The terminal is restored afterwards, even after a signal or a panic.
pub fn secret(question: &str) -> Result<String> {
    let _hidden = Hidden::begin()?;
    let answer = read(question);
    // The line break of the answer is not shown either.
    let _ = writeln!(stderr());
    answer
}

fn read(question: &str) -> Result<String> {
    let mut terminal = stderr();
    write!(terminal, "{question}").and_then(|()| terminal.flush()).doing(DOING)?;
    let mut answer = String::new();
    stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut answer).doing(DOING)?;
    let line = answer.strip_suffix('\n').ok_or_else(|| Error::Malformed("Nothing was entered.".into()))?;
    Ok(line.strip_suffix('\r').unwrap_or(line).to_string())
}

/// The time in which echo is off.
struct Hidden;

impl Hidden {
    fn begin() -> Result<Hidden> {
        watch_signals()?;
        let before = tcgetattr(stdin()).map_err(std::io::Error::from).doing(DOING)?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO;
        *lock(&BEFORE) = Some(before);
        let begun = Hidden;
        tcsetattr(stdin(), OptionalActions::Flush, &hidden).map_err(std::io::Error::from).doing(DOING)?;
        Ok(begun)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = lock(&BEFORE).take() {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    }
}

/// From the first secret on, signals that end the process restore the terminal first.
fn watch_signals() -> Result<()> {
    static STARTED: Once = Once::new();
    let mut started = Ok(());
    STARTED.call_once(|| {
        started = Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP]).and_then(|mut signals| {
            spawn("prompt-signals", None, move || {
                if let Some(signal) = signals.forever().next() {
                    restore();
                    let _ = writeln!(stderr());
                    std::process::exit(128 + signal);
                }
            })
            .map(drop)
        });
    });
    started.doing(DOING)
}
