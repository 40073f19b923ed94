//! Notifies the service manager of this process's state: a datagram to the socket named by systemd in the environment.
//! Does nothing without one.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Reports that the service is ready.
pub fn ready() {
    notify("READY=1");
}

/// Reports that the service is stopping, so that this is not taken for a crash.
pub fn stopping() {
    notify("STOPPING=1");
}

fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(e) = send(&socket, state) {
        log::warn!(target: "system", event = "notify.failed", state, error:% = e;
            "Could not notify the service manager");
    }
}

/// A name that begins with `@` is an abstract socket, not a file: systemd uses both kinds.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_are_notified() {
        let name = format!("uptimemesh-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("a name");
        for (listening, socket) in [
            (UnixDatagram::bind(&path).expect("bound"), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).expect("bound"), format!("@{name}").into()),
        ] {
            send(&socket, "READY=1").expect("sent");
            let mut heard = [0; 32];
            let count = listening.recv(&mut heard).expect("heard");
            assert_eq!(&heard[..count], b"READY=1");
        }
        std::fs::remove_file(&path).expect("removed");
        assert!(send(path.as_os_str(), "READY=1").is_err());
    }
}
