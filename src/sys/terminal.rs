//! The terminal that this program writes to, if its output is one.

use rustix::termios::tcgetwinsize;
use std::fs::File;
use std::io::{IsTerminal, stdout};

/// Columns and lines of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters of a line.
    pub columns: usize,
    /// Lines of the screen.
    pub lines: usize,
}

/// Size of a terminal that does not report one, such as a serial line.
pub const UNKNOWN: Size = Size { columns: 80, lines: 24 };

/// True if this process has a controlling terminal.
pub fn is_attached() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Size of the terminal on standard output; `None` if standard output is not a terminal.
pub fn size() -> Option<Size> {
    let out = stdout();
    if !out.is_terminal() {
        return None;
    }
    let known = tcgetwinsize(&out).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    Some(known.map_or(UNKNOWN, |size| Size { columns: size.ws_col.into(), lines: size.ws_row.into() }))
}
