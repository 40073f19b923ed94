//! The bytes below HTTP: a socket whose every read and write ends at a deadline, plain today.
//!
//! [`Transport`] is where TLS joins: a second variant over the same [`Timed`] socket, its handshake under the
//! deadline of a head. Nothing above this file knows which variant it has.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::clock;

/// A socket that is cut off at `end`, however slowly its bytes drip.
pub(super) struct Timed {
    socket: TcpStream,
    end: Instant,
}

impl Timed {
    /// What is left until the deadline; never zero, because a zero time-out means none at all.
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.end.saturating_duration_since(clock::tick()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left.max(Duration::from_millis(1)))),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.socket.set_read_timeout(self.left()?)?;
            match self.socket.read(into) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One client's connection.
pub(super) enum Transport {
    /// HTTP straight on TCP.
    Plain(Timed),
}

impl Transport {
    /// Takes over an accepted socket. Answers leave in one write, so waiting to fill packets would only delay them.
    pub fn plain(socket: TcpStream) -> io::Result<Transport> {
        socket.set_nodelay(true)?;
        Ok(Transport::Plain(Timed { socket, end: clock::tick() }))
    }

    /// Sets the deadline of all reads and writes from here on.
    pub fn until(&mut self, from_now: Duration) {
        self.timed_mut().end = clock::tick() + from_now;
    }

    /// The socket, for looking at it while the connection is parked.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Transport::Plain(timed) => &timed.socket,
        }
    }

    /// Says that no more will be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Write)
    }

    /// Reads what the client still sends, below any encryption, only to throw it away.
    pub fn discard(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.timed_mut().read(into)
    }

    fn timed_mut(&mut self) -> &mut Timed {
        match self {
            Transport::Plain(timed) => timed,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(timed) => timed.read(into),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(timed) => timed.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(timed) => timed.flush(),
        }
    }
}
