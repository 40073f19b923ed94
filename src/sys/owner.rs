//! Whom this process works as. Root that works by path in a directory of another user would follow whatever that user puts there
//! meanwhile, so as root a command becomes the owner of the directory that it works in, before it reads or writes anything there.

use crate::error::{Doing, Error, Result};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const DOING: &str = "become the owner of the directory";

/// Another user than root, whose a directory is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The directory's group.
    pub gid: u32,
}

/// As root, becomes the owner of this directory, or of the nearest above it that is there. Anybody else stays who they are.
pub fn become_owner_of(path: &Path) -> Result<()> {
    Owner::of(path)?.map_or(Ok(()), Owner::assume)
}

impl Owner {
    /// Whose this directory is, or the nearest above it that is there. `None` where it is root's, or where this process is not root anyway.
    pub fn of(path: &Path) -> Result<Option<Owner>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        for dir in std::path::absolute(path).doing(DOING)?.ancestors() {
            let named = match fs::symlink_metadata(dir) {
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
                named => named.doing(DOING)?,
            };
            // A link of root's says what root means; one of another's could lead anywhere the next moment.
            let found = if named.is_symlink() && named.uid() == 0 { fs::metadata(dir).unwrap_or(named) } else { named };
            return Ok((found.uid() != 0).then(|| Owner { uid: found.uid(), gid: found.gid() }));
        }
        Ok(None)
    }

    /// Becomes this user, with the directory's group and no other: for good, and for this thread, which must be the only one yet. Of root's
    /// powers only listening on low ports is kept. What root has opened stays open, and as the kernel takes the process for one that has
    /// changed its user, the new one cannot look into it.
    pub fn assume(self) -> Result<()> {
        // Where the kernel does not tell, the start of the program has one.
        if fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() > 1) {
            return Err(Error::fault(DOING, "this process has other threads already"));
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let failed = |e: rustix::io::Errno| Error::fault(DOING, format!("{e}; run this as the user {}", self.uid));
        set_thread_groups(&[]).map_err(failed)?;
        set_thread_res_gid(gid, gid, gid).map_err(failed)?;
        let low_ports = capabilities(None).map_err(failed)?.permitted & CapabilitySet::NET_BIND_SERVICE;
        set_keep_capabilities(true).map_err(failed)?;
        set_thread_res_uid(uid, uid, uid).map_err(failed)?;
        let kept = CapabilitySets { effective: low_ports, permitted: low_ports, inheritable: CapabilitySet::empty() };
        set_capabilities(None, kept).and_then(|()| set_keep_capabilities(false)).map_err(failed)
    }
}
