//! The bytes below HTTP: a socket whose reads and writes end at a deadline, plain or under TLS.
//!
//! One port serves both: the first byte distinguishes a TLS hello from a request. Code above this file need not know
//! which it is.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection};

use crate::clock;
use crate::http::socket::{Now, has_bytes};
use crate::thread::aside;

/// First byte of a TLS conversation: the type of a handshake record (RFC 8446 §5.1). No request starts with it.
const HANDSHAKE: u8 = 22;

/// Buffer of plaintext to encrypt: an answer's head and body are passed on at once.
const TLS_BUFFER_BYTES: usize = 80 << 10;

/// The TLS configuration for a new connection: certificates change while the server runs.
pub type TlsSource = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// A socket that is cut off at `end`, however slowly its bytes arrive.
pub(crate) struct Timed {
    /// Shared with the table of connections, which may cut it off.
    socket: Arc<TcpStream>,
    end: Instant,
}

impl Timed {
    /// Time until the deadline; never zero, because a zero time-out means none.
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.end.saturating_duration_since(clock::tick()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left.max(Duration::from_millis(1)))),
        }
    }

    /// Reads the first bytes without taking them.
    fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        match Now(&self.socket).peek(into) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        self.socket.set_read_timeout(self.left()?)?;
        aside(|| self.socket.peek(into))
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.left()?;
            let read = match Now(&self.socket).read(into) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.set_read_timeout(left)?;
                    aside(|| (&*self.socket).read(into))
                }
                done => done,
            };
            match read {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let left = self.left()?;
        match Now(&self.socket).write_vectored(parts) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.socket.set_write_timeout(left)?;
                aside(|| (&*self.socket).write_vectored(parts))
            }
            done => done,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The start of a connection.
pub(crate) enum Begun {
    /// Bytes can be read.
    Speaks(Transport),
    /// Nothing has arrived yet, or not all of the handshake.
    Silent(Transport),
    /// It is over; with the reason if a handshake failed.
    Ended(Option<io::Error>),
}

/// One client's connection.
pub(crate) enum Transport {
    /// Nothing was read yet, so its kind is unknown.
    Fresh(Timed),
    /// HTTP over TCP.
    Plain(Timed),
    /// HTTP over TLS.
    Tls(Box<Tls>),
}

impl Transport {
    /// Takes an accepted socket. Answers are sent in one write, so waiting to fill packets would only delay them.
    pub fn new(socket: TcpStream) -> io::Result<Transport> {
        socket.set_nodelay(true)?;
        Ok(Transport::Fresh(Timed { socket: Arc::new(socket), end: clock::tick() }))
    }

    /// Takes any socket that behaves like TCP, such as one end of a pair.
    #[cfg(any(test, fuzzing))]
    pub fn over(socket: TcpStream) -> Transport {
        Transport::Fresh(Timed { socket: Arc::new(socket), end: clock::tick() })
    }

    /// Waits for the first byte, which distinguishes TLS from HTTP. A TLS hello is answered if there is a `tls` and the
    /// client `may` start another handshake; without `tls` it is refused as an invalid request. A handshake is
    /// continued as far as the client's bytes go.
    pub fn begin(self, tls: Option<&TlsSource>, handshake_time: Duration, may: impl FnOnce() -> bool) -> Begun {
        let timed = match self {
            Transport::Fresh(timed) => timed,
            Transport::Tls(tls) if tls.session.is_handshaking() => return tls.begin(),
            Transport::Plain(_) | Transport::Tls(_) => return Begun::Speaks(self),
        };
        let mut first = [0];
        match (timed.peek(&mut first), tls) {
            (Err(e), _) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Begun::Silent(Transport::Fresh(timed))
            }
            (Err(_) | Ok(0), _) => Begun::Ended(None),
            (Ok(_), Some(tls)) if first[0] == HANDSHAKE => {
                if !may() {
                    return Begun::Ended(None);
                }
                match Tls::new(tls(), timed, handshake_time) {
                    Ok(tls) => Box::new(tls).begin(),
                    Err(e) => Begun::Ended(Some(e)),
                }
            }
            (Ok(_), _) => Begun::Speaks(Transport::Plain(timed)),
        }
    }

    /// True if the connection is encrypted.
    pub fn is_secure(&self) -> bool {
        matches!(self, Transport::Tls(_))
    }

    /// The client's certificate (DER), whose key the client has proven to hold.
    pub fn client_certificate(&self) -> Option<Arc<[u8]>> {
        match self {
            Transport::Tls(tls) => {
                tls.session.peer_certificates().and_then(|chain| chain.first()).map(|cert| Arc::from(cert.as_ref()))
            }
            Transport::Fresh(_) | Transport::Plain(_) => None,
        }
    }

    /// Sets the deadline of all further reads and writes.
    pub fn until(&mut self, from_now: Duration) {
        self.timed_mut().end = clock::tick() + from_now;
    }

    /// The socket, for polling a parked connection and for cutting it off.
    pub fn socket(&self) -> &Arc<TcpStream> {
        match self {
            Transport::Fresh(timed) | Transport::Plain(timed) => &timed.socket,
            Transport::Tls(tls) => &tls.timed.socket,
        }
    }

    /// Sends what the socket takes now, and returns how many of the bytes are on their way. Under TLS some may still
    /// wait in the session: [`Transport::is_sent`].
    pub fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        loop {
            let written = match self {
                Transport::Fresh(timed) | Transport::Plain(timed) if sent < bytes.len() => {
                    Now(&timed.socket).write(&bytes[sent..])
                }
                Transport::Fresh(_) | Transport::Plain(_) => return Ok(sent),
                Transport::Tls(tls) if tls.session.wants_write() => {
                    tls.session.write_tls(&mut Now(&tls.timed.socket)).map(|_| 0)
                }
                Transport::Tls(tls) if sent < bytes.len() => tls.session.writer().write(&bytes[sent..]),
                Transport::Tls(_) => return Ok(sent),
            };
            match written {
                Ok(count) => sent += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// True if nothing waits in the session to be sent.
    pub fn is_sent(&self) -> bool {
        !matches!(self, Transport::Tls(tls) if tls.session.wants_write())
    }

    /// The end of the time for a handshake that is not complete.
    pub fn handshake_end(&self) -> Option<Instant> {
        match self {
            Transport::Tls(tls) if tls.session.is_handshaking() => Some(tls.handshake_end),
            Transport::Fresh(_) | Transport::Plain(_) | Transport::Tls(_) => None,
        }
    }

    /// True if bytes of the client can be read now.
    pub fn has_bytes(&mut self) -> bool {
        self.has_read_ahead() || has_bytes(self.socket())
    }

    /// True if bytes of the client have been decrypted and not been read yet.
    pub fn has_read_ahead(&mut self) -> bool {
        match self {
            Transport::Fresh(_) | Transport::Plain(_) => false,
            // A fault in what was received is reported to the next reader.
            Transport::Tls(tls) => {
                tls.session.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
            }
        }
    }

    /// Signals that nothing more will be written.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Transport::Tls(tls) = self {
            tls.session.send_close_notify();
            tls.send()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// Reads and discards what the client still sends, below any encryption.
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
    handshake_end: Instant,
}

impl Tls {
    /// A session whose handshake has this time.
    fn new(config: Arc<ServerConfig>, timed: Timed, handshake_time: Duration) -> io::Result<Tls> {
        let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
        session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        Ok(Tls { session, timed, handshake_end: clock::tick() + handshake_time })
    }

    /// Continues the handshake.
    fn begin(mut self: Box<Self>) -> Begun {
        match self.shake_hands() {
            Ok(()) => Begun::Speaks(Transport::Tls(self)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Begun::Silent(Transport::Tls(self)),
            Err(e) => Begun::Ended(Some(e)),
        }
    }

    /// Does what the received bytes allow; `WouldBlock` if more must come.
    fn shake_hands(&mut self) -> io::Result<()> {
        self.timed.end = self.handshake_end;
        self.send()?;
        while self.session.is_handshaking() {
            self.timed.left()?;
            let count = self.session.read_tls(&mut Now(&self.timed.socket))?;
            self.process(count)?;
            self.send()?;
        }
        Ok(())
    }

    /// Waits for bytes and processes them.
    fn receive(&mut self) -> io::Result<()> {
        let count = self.session.read_tls(&mut self.timed)?;
        self.process(count)
    }

    /// Processes received bytes; reports an error to the client as a TLS alert.
    fn process(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.session.process_new_packets().map(drop).map_err(|e| {
            let _ = self.send();
            io::Error::new(io::ErrorKind::InvalidData, e)
        })
    }

    /// Writes all encrypted bytes.
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
                // The client closed without a TLS close: as on a plain connection, nothing more will arrive.
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
