//! Whom this process works as. Root that works by path in a directory of another user would follow whatever that user puts there
//! meanwhile, so as root a command becomes the owner of the directory that it works in, before it reads or writes anything there.

use crate::error::{Doing, Error, Result};
use crate::files;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use std::fs;
use std::io::ErrorKind;
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

/// The user as whom this process works.
pub fn user() -> u32 {
    geteuid().as_raw()
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
            // A link of root's says what root means; one of another's, also on the way, could lead anywhere the next moment.
            let (uid, gid) = match files::owner(dir) {
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
                found => found.doing(DOING)?,
            };
            return Ok((uid != 0).then_some(Owner { uid, gid }));
        }
        Ok(None)
    }

    /// Becomes this user, with the groups of this user, or the directory's where the machine does not know the user: for good, and for this
    /// thread, which must be the only one yet. Of root's powers only listening on low ports is kept. What root has opened stays open, and as the kernel takes the process for one that has
    /// changed its user, the new one cannot look into it.
    pub fn assume(self) -> Result<()> {
        // Where the kernel does not tell, the start of the program has one.
        if fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() > 1) {
            return Err(Error::fault(DOING, "this process has other threads already"));
        }
        let failed = |e: rustix::io::Errno| Error::fault(DOING, format!("{e}; run this as the user {}", self.uid));
        let read = |path: &str| files::read(Path::new(path)).ok().flatten().unwrap_or_default();
        let known = groups(self.uid, &read("/etc/passwd"), &read("/etc/group"));
        // A directory whose group is root's does not make its owner a member of that.
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

/// The groups that a user of this machine is in, the user's own first and root's left out; none for one that these files do not know.
fn groups(uid: u32, passwd: &str, group: &str) -> Vec<Gid> {
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
