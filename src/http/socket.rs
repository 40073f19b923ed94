//! The kernel's knowledge of sockets, asked without waiting: which of many can be read or written, and how much of an
//! answer one takes now.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

/// Sockets that one wait reports at most.
const EVENTS_MAX: usize = 256;

/// Token of the descriptor that ends a wait.
const POKE: u64 = u64::MAX;

/// Interest in a socket. Its end and its faults are reported with each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Interest {
    /// Bytes to read.
    Bytes,
    /// Room for bytes to write.
    Room,
    /// The client's end alone.
    End,
}

/// A socket that is ready.
pub(super) struct Ready {
    /// Its token.
    pub token: u64,
    /// True if the client will send nothing more, or is gone.
    pub is_over: bool,
}

/// Sockets that one thread waits for, each reported once.
pub(super) struct Poller {
    epoll: OwnedFd,
    poke: File,
}

impl Poller {
    pub fn new() -> io::Result<Poller> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let poke = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &poke, EventData::new_u64(POKE), EventFlags::IN)?;
        Ok(Poller { epoll, poke: File::from(poke) })
    }

    /// Reports the socket under this token once, when it is ready. `is_known` from the second time on. A closed socket
    /// leaves by itself.
    pub fn watch(&self, socket: &TcpStream, token: u64, interest: Interest, is_known: bool) -> io::Result<()> {
        let (token, flags) = (EventData::new_u64(token), flags(interest) | EventFlags::ONESHOT);
        if is_known {
            epoll::modify(&self.epoll, socket, token, flags)?;
        } else {
            epoll::add(&self.epoll, socket, token, flags)?;
        }
        Ok(())
    }

    /// Ends the current wait, or the next one.
    pub fn poke(&self) {
        // It fails only if the counter is full, and then the wait ends, too.
        let _ = (&self.poke).write(&1_u64.to_ne_bytes());
    }

    /// Waits for sockets, at most this time; without one, for as long as it takes.
    pub fn wait(&self, at_most: Option<Duration>) -> Vec<Ready> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let at_most = at_most.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        // Interrupted by a signal, it is as if nothing were ready.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), at_most.as_ref());
        let mut ready = Vec::with_capacity(events.len());
        for event in events {
            let (flags, token) = (event.flags, event.data.u64());
            if token == POKE {
                let _ = (&self.poke).read(&mut [0; 8]);
            } else {
                let over = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
                ready.push(Ready { token, is_over: flags.intersects(over) });
            }
        }
        ready
    }
}

fn flags(interest: Interest) -> EventFlags {
    match interest {
        Interest::Bytes => EventFlags::IN | EventFlags::RDHUP,
        Interest::Room => EventFlags::OUT,
        Interest::End => EventFlags::RDHUP,
    }
}

/// True if there are bytes to read now.
pub(super) fn has_bytes(socket: &TcpStream) -> bool {
    Now(socket).peek(&mut [0]).is_ok_and(|count| count > 0)
}

/// A socket that gives what is there and takes what fits now, and fails with `WouldBlock` if that is nothing.
pub(super) struct Now<'s>(pub &'s TcpStream);

impl Now<'_> {
    /// The bytes that the next read gives first.
    pub fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(self.0, into, RecvFlags::PEEK | RecvFlags::DONTWAIT)?.0)
    }
}

impl Read for Now<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(self.0, into, RecvFlags::DONTWAIT)?.0)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::net::sendmsg(self.0, parts, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
