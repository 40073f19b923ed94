//! The user that this process runs as. If root worked by path in another user's directory, it would follow whatever
//! that user puts there meanwhile. So as root a command becomes the owner of its directory before it reads or writes
//! anything there.

use crate::error::{Doing, Error, Result};
use crate::files;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

const DOING: &str = "become the owner of the directory";

/// The owner of a directory, if not root.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The directory's group.
    pub gid: u32,
}

/// The user as whom this process works.
pub fn user() -> u32 {
    geteuid().as_raw()
}

/// As root, becomes the owner of this directory or of its nearest existing parent. Other users stay who they are.
pub fn become_owner_of(path: &Path) -> Result<()> {
    Owner::of(path)?.map_or(Ok(()), Owner::assume)
}

impl Owner {
    /// The owner of this directory or of its nearest existing parent. `None` if that is root, or if this process is not
    /// root anyway.
    pub fn of(path: &Path) -> Result<Option<Owner>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        for dir in std::path::absolute(path).doing(DOING)?.ancestors() {
            // A link of root's is trusted; another user's, also on the way, could lead elsewhere the next moment.
            let (uid, gid) = match files::owner(dir) {
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
                found => found.doing(DOING)?,
            };
            return Ok((uid != 0).then_some(Owner { uid, gid }));
        }
        Ok(None)
    }

    /// Becomes this user, with the user's groups, or the directory's group if the machine does not know the user. This
    /// is permanent and for this thread, which must be the only one. Of root's capabilities only listening on low ports
    /// is kept. Files opened by root stay open, and because the kernel treats the process as one that changed its user,
    /// the new user cannot trace it.
    pub fn assume(self) -> Result<()> {
        // If the kernel does not say, it is the start of the program, which has one thread.
        if fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() > 1) {
            return Err(Error::fault(DOING, "this process has other threads already"));
        }
        let failed = |e: rustix::io::Errno| Error::fault(DOING, format!("{e}; run this as the user {}", self.uid));
        let read = |path: &str| files::read(Path::new(path)).ok().flatten().unwrap_or_default();
        let known = groups(self.uid, &read("/etc/passwd"), &read("/etc/group"));
        // A directory's group of root does not make its owner a member of that group.
        let unknown = if self.gid == 0 { self.uid } else { self.gid };
        let (uid, gid) = (Uid::from_raw(self.uid), known.first().copied().unwrap_or(Gid::from_raw(unknown)));
        set_thread_groups(&known).map_err(failed)?;
        set_thread_res_gid(gid, gid, gid).map_err(failed)?;
        let low_ports = capabilities(None).map_err(failed)?.permitted & CapabilitySet::NET_BIND_SERVICE;
        set_keep_capabilities(true).map_err(failed)?;
        set_thread_res_uid(uid, uid, uid).map_err(failed)?;
        let kept = CapabilitySets { effective: low_ports, permitted: low_ports, inheritable: CapabilitySet::empty() };
        set_capabilities(None, kept).and_then(|()| set_keep_capabilities(false)).map_err(failed)
    }
}

/// The groups of a user of this machine, the primary one first and without root's; none for an unknown user.
pub(super) fn groups(uid: u32, passwd: &str, group: &str) -> Vec<Gid> {
    let number = |field: Option<&&str>| field.and_then(|text| text.parse::<u32>().ok());
    fn fields(line: &str) -> Vec<&str> {
        line.split(':').collect()
    }
    let Some(user) = passwd.lines().map(fields).find(|of| number(of.get(2)) == Some(uid)) else { return Vec::new() };
    let is_in = |of: &Vec<&str>| of.get(3).is_some_and(|members| members.split(',').any(|name| name == user[0]));
    let others = group.lines().map(fields).filter(is_in).filter_map(|of| number(of.get(2)));
    number(user.get(3)).into_iter().chain(others).filter(|gid| *gid != 0).map(Gid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_a_user_are_those_that_the_machine_knows() {
        let passwd = "root:x:0:0::/root:/bin/sh\n\nbroken\nmesh:x:12345:12346::/:/bin/false\nother:x:7:7::/:/bin/sh\n";
        let group = "root:x:0:mesh\nmesh:x:12346:\nbackup:x:34:other,mesh\nmeshes:x:35:meshes\nodd:x:y:mesh\nshort:x\n";
        let of = |uid| -> Vec<u32> { groups(uid, passwd, group).into_iter().map(Gid::as_raw).collect() };
        assert_eq!(of(12345), [12346, 34]);
        assert_eq!((of(7), of(8)), (vec![7, 34], vec![]));
    }
}
