//! Sockets of this machine alone: files that only some users may open, and the user at the other end.

use rustix::net::sockopt;
use std::fs::{self, Permissions};
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Mode of a socket: its owner and its group may open it.
const MODE: u32 = 0o660;

/// Listens on a socket that this user and the members of a group may open. Replaces a socket that a dead process left;
/// the caller makes sure that no other listens there.
pub fn listen(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(Error::new(ErrorKind::AlreadyExists, "it exists and is not a socket: remove it")),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    // Private from the beginning, by the program's umask.
    let listener = UnixListener::bind(path)?;
    if let Some(group) = group {
        chown(path, None, Some(group))?;
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
    }
    Ok(listener)
}

/// The user at the other end, as the kernel knows it from the moment of the connection.
pub fn peer(stream: &UnixStream) -> io::Result<u32> {
    Ok(sockopt::socket_peercred(stream)?.uid.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::owner;

    #[test]
    fn a_left_socket_is_replaced_and_another_file_is_not() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-sockets-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("a.sock");
        drop(listen(&path, None).expect("listening"));
        assert!(UnixStream::connect(&path).is_err(), "its listener is gone");
        let listener = listen(&path, None).expect("listening again");
        let client = UnixStream::connect(&path).expect("connected");
        let (server, _) = listener.accept().expect("accepted");
        for stream in [&client, &server] {
            assert_eq!(peer(stream).expect("known"), owner::user());
        }
        fs::write(dir.join("b.sock"), "text").expect("written");
        assert!(listen(&dir.join("b.sock"), None).is_err());
        assert_eq!(fs::read_to_string(dir.join("b.sock")).expect("still there"), "text");
        fs::remove_dir_all(dir).expect("the directory is ours");
    }
}
