//! Users of this machine, as its files know them, and becoming one of them.

use super::owner;
use crate::error::{Error, Result};
use crate::files;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::path::Path;

/// A user of this machine.
#[derive(Debug, PartialEq)]
pub struct Account {
    /// The user's number.
    pub uid: u32,
    /// The user's groups, the primary one first.
    groups: Vec<Gid>,
    /// The user's home directory.
    pub home: String,
}

impl Account {
    /// The user that this process runs as.
    pub fn own() -> Account {
        of_number(geteuid().as_raw(), &passwd(), &group())
    }

    /// The user with this name or number. A number need not be known to the machine.
    pub fn find(user: &str) -> Option<Account> {
        let uid = number_of(user, &passwd())?;
        Some(of_number(uid, &passwd(), &group()))
    }

    /// Number of the user's primary group.
    pub fn gid(&self) -> u32 {
        self.groups.first().map_or(self.uid, |gid| gid.as_raw())
    }

    /// Becomes this user, for good and for this thread, which must be the only one. Of root's rights nothing is left.
    ///
    /// # Errors
    /// Fails for other users than root, unless it is their own.
    pub fn assume(&self) -> Result<()> {
        if self.uid == geteuid().as_raw() {
            return Ok(());
        }
        let failed = |e: rustix::io::Errno| {
            Error::fault("become the user", format!("{}: {e}; only a runner of root's can", self.uid))
        };
        let (uid, gid) = (Uid::from_raw(self.uid), self.groups.first().copied().unwrap_or(Gid::from_raw(self.uid)));
        set_thread_groups(&self.groups).map_err(failed)?;
        set_thread_res_gid(gid, gid, gid).map_err(failed)?;
        set_thread_res_uid(uid, uid, uid).map_err(failed)
    }
}

fn passwd() -> String {
    files::read(Path::new("/etc/passwd")).ok().flatten().unwrap_or_default()
}

fn group() -> String {
    files::read(Path::new("/etc/group")).ok().flatten().unwrap_or_default()
}

/// The number of a user.
fn number_of(user: &str, passwd: &str) -> Option<u32> {
    if let Ok(number) = user.parse() {
        return Some(number);
    }
    let mut entries = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    entries.find(|entry| entry.first() == Some(&user))?.get(2)?.parse().ok()
}

fn of_number(uid: u32, passwd: &str, group: &str) -> Account {
    let mut entries = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|entry| entry.get(2).and_then(|number| number.parse().ok()) == Some(uid));
    let home = entry.and_then(|entry| entry.get(5).copied()).filter(|home| !home.is_empty()).unwrap_or("/");
    Account { uid, groups: owner::groups(uid, passwd, group), home: home.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nwork:x:800:801::/srv/work:/bin/false\nbare:x:7:8\n";
        let group = "work:x:801:\nmedia:x:900:work,bare\n";
        assert_eq!((number_of("work", passwd), number_of("800", passwd)), (Some(800), Some(800)));
        assert_eq!(
            (number_of("4711", passwd), number_of("nobody", passwd), number_of("", passwd)),
            (Some(4711), None, None)
        );
        let of = |uid| {
            let account = of_number(uid, passwd, group);
            (account.groups.into_iter().map(Gid::as_raw).collect::<Vec<u32>>(), account.home)
        };
        assert_eq!(of(800), (vec![801, 900], "/srv/work".to_string()));
        assert_eq!(of(7), (vec![8, 900], "/".to_string()));
        assert_eq!(of(4711), (vec![], "/".to_string()));
    }
}
