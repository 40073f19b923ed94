//! TCP below ureq, with what its own connector leaves out: a connection whose other end was forgotten on the way is
//! noticed.

use rustix::net::sockopt;
use std::io::{Error as IoError, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

/// Time after which a silent connection is probed, and the interval of further probes: below the time after which
/// routers forget a connection, and not often enough to wake a phone line for nothing.
const ALIVE_IDLE: Duration = Duration::from_secs(15);
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const ALIVE_PROBES: u32 = 3;
/// Time after which unacknowledged data end the connection.
const UNCONFIRMED_MS: u32 = 20_000;
/// The least time for an address, however many there are.
const ADDRESS_TIME_MIN: Duration = Duration::from_millis(50);

/// Connects to the first address that answers, all of them within the time to connect.
#[derive(Debug)]
pub struct SocketConnector;

impl<In: Transport> Connector<In> for SocketConnector {
    type Out = Either<In, Socket>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        if let Some(transport) = chained {
            return Ok(Some(Either::A(transport)));
        }
        let limit = details.timeout.not_zero().map_or(super::CONNECT_TIME, |t| *t);
        let stream = dial(&details.addrs, limit).map_err(|e| failed(e, details.timeout.reason))?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Socket { stream, buffers })))
    }
}

/// A connection to the first of these addresses that answers. Each of those that are left gets its share of the time
/// that is left, so that one that swallows what it is sent leaves some for the others.
fn dial(addresses: &[SocketAddr], limit: Duration) -> std::io::Result<TcpStream> {
    let end = Instant::now() + limit;
    let mut last = IoError::new(ErrorKind::NotFound, "the name has no address");
    for (i, address) in addresses.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - i).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, share.max(ADDRESS_TIME_MIN))
            .and_then(|stream| watched(&stream).map(|()| stream))
        {
            Ok(stream) => return Ok(stream),
            Err(e) => last = IoError::new(e.kind(), format!("{address}: {e}")),
        }
    }
    Err(last)
}

/// Lets the system notice that the other end is gone: the standard library has no word for it.
fn watched(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, ALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, ALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, ALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(stream, UNCONFIRMED_MS)?;
    Ok(())
}

fn failed(e: IoError, reason: Timeout) -> Error {
    match e.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Error::Timeout(reason),
        _ => Error::Io(e),
    }
}

/// The time that is left, where some is.
fn left(timeout: NextTimeout) -> Result<NextTimeout, Error> {
    if timeout.after.is_zero() { Err(Error::Timeout(timeout.reason)) } else { Ok(timeout) }
}

/// A TCP connection.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    buffers: LazyBuffers,
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = left(timeout.for_write())?;
        self.stream.set_write_timeout(timeout.not_zero().map(|t| *t))?;
        self.stream.write_all(&self.buffers.output()[..amount]).map_err(|e| failed(e, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = left(timeout.for_read())?;
        self.stream.set_read_timeout(timeout.not_zero().map(|t| *t))?;
        let amount = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(|e| failed(e, timeout.reason))?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        let looked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        // A server that has said something unasked, or has closed, is not asked anything here.
        matches!(looked, Err(e) if e.kind() == ErrorKind::WouldBlock) && self.stream.set_nonblocking(false).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A listener whose queue is full: the system swallows what more is sent to it.
    fn swallower() -> (TcpListener, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        rustix::net::listen(&listener, 0).expect("a short queue");
        let address = listener.local_addr().expect("its address");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let waiting = (0..8).map_while(|_| connect().ok()).collect();
        (listener, waiting)
    }

    #[test]
    fn an_address_that_swallows_packets_leaves_time_for_the_others() {
        let (silent, waiting) = swallower();
        let well = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let (silent, well) = (silent.local_addr().expect("an address"), well.local_addr().expect("an address"));
        assert!(waiting.len() < 8, "the queue is full");
        let began = Instant::now();
        let limit = Duration::from_secs(2);
        assert_eq!(dial(&[silent, silent, well], limit).and_then(|s| s.peer_addr()).expect("it is reached"), well);
        let e = dial(&[silent, silent, silent], limit).expect_err("nothing answers");
        assert_eq!(e.kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() < limit * 3, "{:?}", began.elapsed());
        assert!(dial(&[], limit).is_err());
    }

    #[test]
    fn the_system_watches_over_a_connection() {
        let well = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let stream = dial(&[well.local_addr().expect("an address")], Duration::from_secs(2)).expect("it is reached");
        assert!(sockopt::socket_keepalive(&stream).expect("an option"));
        assert_eq!(sockopt::tcp_keepidle(&stream).expect("an option"), ALIVE_IDLE);
        assert_eq!(sockopt::tcp_user_timeout(&stream).expect("an option"), UNCONFIRMED_MS);
    }
}
