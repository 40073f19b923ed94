//! Progress of a wait: on a terminal one line that is redrawn, elsewhere a line for each change.

use super::args::{Args, Failure};
use super::output;
use crate::clock;
use crate::interrupt::{AtInterrupt, at_interrupt};
use crate::sys::{signals, terminal};
use crate::thread::{Stop, lock, spawn};
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Interval at which the elapsed time is drawn again.
const REDRAW: Duration = Duration::from_secs(1);
/// Clears the line that the cursor is in.
const CLEAR: &str = "\r\x1b[K";

/// A wait that is shown on stderr until this is dropped.
pub struct Progress {
    line: Arc<Mutex<Line>>,
    ended: Stop,
    drawing: Option<JoinHandle<()>>,
    _last_words: AtInterrupt,
}

struct Line {
    began: Instant,
    text: String,
    is_terminal: bool,
    /// Nothing more is drawn, because the wait is over, or nothing ever is.
    is_over: bool,
}

impl Line {
    fn draw(&self) {
        if self.is_over || self.text.is_empty() {
            return;
        }
        let mut err = io::stderr().lock();
        // The wait continues even if stderr is closed.
        let _ = if self.is_terminal {
            let elapsed = format!(" ({})", elapsed(self.began.elapsed()));
            let room = columns().saturating_sub(elapsed.len() + 1);
            write!(err, "{CLEAR}{}{elapsed}", self.text.chars().take(room).collect::<String>())
        } else {
            writeln!(err, "{}", self.text)
        };
    }

    /// Removes it from the terminal, for good.
    fn end(&mut self) {
        if self.is_terminal && !self.is_over {
            let _ = write!(io::stderr().lock(), "{CLEAR}");
        }
        self.is_over = true;
    }
}

impl Progress {
    /// Begins a wait for work that the server does. Ctrl-C ends the program and says that the work continues there, and
    /// that `again` shows it.
    pub fn begin(args: &Args, again: &str) -> Result<Progress, Failure> {
        Progress::until_interrupt(args, format!("The work continues at the server; to see it: {again}"))
    }

    /// Begins work of this process itself. Ctrl-C ends the program, without leaving temporary files, and says this.
    pub fn of_own_work(args: &Args, at_interrupt: &str) -> Result<Progress, Failure> {
        Progress::until_interrupt(args, at_interrupt.to_string())
    }

    fn until_interrupt(args: &Args, said: String) -> Result<Progress, Failure> {
        let (is_terminal, is_over) = (io::stderr().is_terminal(), args.has("quiet"));
        let line = Line { began: clock::tick(), text: String::new(), is_terminal, is_over };
        let line = Arc::new(Mutex::new(line));
        let (shown, said) = (Arc::clone(&line), output::ascii(&said));
        let last_words = at_interrupt(move || {
            lock(&shown).end();
            let _ = writeln!(io::stderr(), "Interrupted. {said}");
        });
        signals::end_on_interrupt()?;
        let mut progress = Progress { line, ended: Stop::default(), drawing: None, _last_words: last_words };
        if is_terminal {
            let (line, ended) = (Arc::clone(&progress.line), progress.ended.clone());
            let draw = move || {
                while !ended.wait(REDRAW) {
                    lock(&line).draw();
                }
            };
            progress.drawing = Some(spawn("progress", None, draw).map_err(|e| format!("cannot show progress: {e}"))?);
        }
        Ok(progress)
    }

    /// Shows what is waited for; the same text is shown once.
    pub fn say(&self, text: &str) {
        let mut line = lock(&self.line);
        let text = output::ascii(text);
        if line.text != text {
            line.text = text;
            line.draw();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ended.raise();
        lock(&self.line).end();
        if let Some(drawing) = self.drawing.take() {
            let _ = drawing.join();
        }
    }
}

/// An elapsed time in whole seconds, as `7s` or `2m05s`.
fn elapsed(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, s) => format!("{s}s"),
        (m, s) => format!("{m}m{s:02}s"),
    }
}

fn columns() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    said.unwrap_or_else(|| terminal::size().unwrap_or(terminal::UNKNOWN).columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_time_is_in_whole_seconds() {
        for (s, text) in [(0, "0s"), (59, "59s"), (60, "1m00s"), (125, "2m05s"), (3_725, "62m05s")] {
            assert_eq!(elapsed(Duration::from_secs(s)), text);
        }
    }
}
