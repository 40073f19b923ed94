//! The bytes below HTTP: a socket whose every read and write ends at a deadline, plain or under TLS.
//!
//! One port serves both: the first byte tells a TLS hello from a request. Nothing above this file knows which of them it has.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection};

use crate::clock;

/// What a TLS conversation begins with: the type of a handshake record (RFC 8446 §5.1). No request begins so.
const HANDSHAKE: u8 = 22;

/// Plaintext that waits to be encrypted: an answer's head and body in one go, as they are handed over.
const TLS_BUFFER_BYTES: usize = 80 << 10;

/// How TLS is spoken, asked anew for each connection: certificates change while the server runs.
pub type TlsSource = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// A socket that is cut off at `end`, however slowly its bytes drip.
pub(crate) struct Timed {
    /// Shared with the table of connections, from where it may be cut off.
    socket: Arc<TcpStream>,
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
            match (&*self.socket).read(into) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        (&*self.socket).write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        (&*self.socket).write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a connection begins with.
pub(crate) enum Begun {
    /// Something that is to be read.
    Speaks(Transport),
    /// Nothing yet.
    Silent(Transport),
    /// It is over; with the reason, where a handshake failed.
    Ended(Option<io::Error>),
}

/// One client's connection.
pub(crate) enum Transport {
    /// Nothing was read yet, so nobody knows what it is.
    Fresh(Timed),
    /// HTTP straight on TCP.
    Plain(Timed),
    /// HTTP under TLS.
    Tls(Box<Tls>),
}

impl Transport {
    /// Takes over an accepted socket. Answers leave in one write, so waiting to fill packets would only delay them.
    pub fn new(socket: TcpStream) -> io::Result<Transport> {
        socket.set_nodelay(true)?;
        Ok(Transport::Fresh(Timed { socket: Arc::new(socket), end: clock::tick() }))
    }

    /// Takes over any socket that reads and writes like one of TCP, such as one end of a pair.
    #[cfg(any(test, fuzzing))]
    pub fn over(socket: TcpStream) -> Transport {
        Transport::Fresh(Timed { socket: Arc::new(socket), end: clock::tick() })
    }

    /// Waits for the first byte and finds out what it begins. A TLS hello is told by its first byte, and answered when there is a `tls` and
    /// the client `may` shake hands once more; without a `tls` it is left to be refused as the request that it is not.
    pub fn begin(self, tls: Option<&TlsSource>, handshake_time: Duration, may: impl FnOnce() -> bool) -> Begun {
        let Transport::Fresh(mut timed) = self else { return Begun::Speaks(self) };
        let mut first = [0];
        let peeked = timed.left().and_then(|left| timed.socket.set_read_timeout(left)).and_then(|()| timed.socket.peek(&mut first));
        match (peeked, tls) {
            (Err(e), _) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Begun::Silent(Transport::Fresh(timed))
            }
            (Err(_) | Ok(0), _) => Begun::Ended(None),
            (Ok(_), Some(tls)) if first[0] == HANDSHAKE => {
                if !may() {
                    return Begun::Ended(None);
                }
                timed.end = clock::tick() + handshake_time;
                // A hand that was begun to be shaken cannot wait without a thread: it is shaken now, or never.
                match Tls::shake_hands(tls(), timed) {
                    Ok(tls) => Begun::Speaks(Transport::Tls(Box::new(tls))),
                    Err(e) => Begun::Ended(Some(e)),
                }
            }
            (Ok(_), _) => Begun::Speaks(Transport::Plain(timed)),
        }
    }

    /// Whether what is sent here is encrypted.
    pub fn is_secure(&self) -> bool {
        matches!(self, Transport::Tls(_))
    }

    /// The certificate (DER) whose key the client has proven to hold.
    pub fn client_certificate(&self) -> Option<Arc<[u8]>> {
        match self {
            Transport::Tls(tls) => tls.session.peer_certificates().and_then(|chain| chain.first()).map(|cert| Arc::from(cert.as_ref())),
            Transport::Fresh(_) | Transport::Plain(_) => None,
        }
    }

    /// Sets the deadline of all reads and writes from here on.
    pub fn until(&mut self, from_now: Duration) {
        self.timed_mut().end = clock::tick() + from_now;
    }

    /// The socket, for looking at it while the connection is parked, and for cutting it off.
    pub fn socket(&self) -> &Arc<TcpStream> {
        match self {
            Transport::Fresh(timed) | Transport::Plain(timed) => &timed.socket,
            Transport::Tls(tls) => &tls.timed.socket,
        }
    }

    /// Says that no more will be written.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Transport::Tls(tls) = self {
            tls.session.send_close_notify();
            tls.send()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// Reads what the client still sends, below any encryption, only to throw it away.
    pub fn discard(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.timed_mut().read(into)
    }

    fn timed_mut(&mut self) -> &mut Timed {
        match self {
            Transport::Fresh(timed) | Transport::Plain(timed) => timed,
            Transport::Tls(tls) => &mut tls.timed,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Fresh(timed) | Transport::Plain(timed) => timed.read(into),
            Transport::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Fresh(timed) | Transport::Plain(timed) => timed.write(bytes),
            Transport::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A TLS session and the socket below it.
pub(crate) struct Tls {
    session: ServerConnection,
    timed: Timed,
}

impl Tls {
    /// The whole handshake, under the socket's deadline as it stands.
    fn shake_hands(config: Arc<ServerConfig>, timed: Timed) -> io::Result<Tls> {
        let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
        session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        let mut tls = Tls { session, timed };
        while tls.session.is_handshaking() {
            tls.send()?;
            if tls.session.is_handshaking() {
                tls.receive()?;
            }
        }
        tls.send().map(|()| tls)
    }

    /// Takes in what has come; an error too is told to the client, as the alert it deserves.
    fn receive(&mut self) -> io::Result<()> {
        if self.session.read_tls(&mut self.timed)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.session.process_new_packets().map(drop).map_err(|e| {
            let _ = self.send();
            io::Error::new(io::ErrorKind::InvalidData, e)
        })
    }

    /// Writes out all that is encrypted.
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.timed)?;
        }
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(into) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // Cut off without a goodbye: as on a plain connection, whoever waits for more knows that it will not come.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            self.send()?;
            match self.receive() {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => done?,
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.session.writer().write(bytes)?;
        self.send()?;
        Ok(taken)
    }
}
