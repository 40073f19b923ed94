//! The machine's own policy, which root writes and no control plane can change: `runner.conf`, with `key = value` on a
//! line. It says who a replica may run as, and by which drivers.

use crate::error::{Doing, Error, Result};
use crate::files;
use crate::model::workload::{Driver, Workload};
use crate::sys::accounts::Account;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file as it is installed.
pub const POLICY: &str = "/etc/uptimemesh/runner.conf";
/// Users that a runner of root's gives its replicas where the policy names none, the first that exists as the default.
const USERS: [&str; 2] = ["uptimemesh-work", "nobody"];

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    path: PathBuf,
    /// Users that replicas may run as; `*` is any.
    allow_users: Option<Vec<String>>,
    drivers: Vec<Driver>,
}

impl Policy {
    /// The policy in a file; the default if there is none.
    ///
    /// # Errors
    /// Fails if it cannot be read, others than root and the runner's user can write it, or it has a fault.
    pub fn load(path: &Path) -> Result<Policy> {
        let text = files::read(path)?;
        if text.is_some() && !is_guarded(path)? {
            let why = "others than root and the runner's user can write it; change its owner or its mode";
            return Err(Error::Malformed(format!("{}: {why}", path.display())));
        }
        Policy::parse(path, text.as_deref().unwrap_or_default())
    }

    fn parse(path: &Path, text: &str) -> Result<Policy> {
        let mut policy = Policy { path: path.to_path_buf(), allow_users: None, drivers: vec![Driver::Process] };
        let mut faults = Vec::new();
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.split('#').next().unwrap_or("").trim()));
        for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let (key, value) = line.split_once('=').map_or((line, ""), |(key, value)| (key.trim(), value.trim()));
            let items = || value.split(',').map(str::trim).filter(|item| !item.is_empty());
            match key {
                "allow_users" => policy.allow_users = Some(items().map(str::to_string).collect()),
                "drivers" => match items().map(Driver::parse).collect::<Option<Vec<Driver>>>() {
                    Some(drivers) => policy.drivers = drivers,
                    None => faults.push(format!("line {number}: drivers are {}", Driver::WORDS.join(", "))),
                },
                _ => faults.push(format!("line {number}: known are allow_users and drivers, not {key:?}")),
            }
        }
        match faults.is_empty() {
            true => Ok(policy),
            false => Err(Error::Malformed(format!("{}: {}", path.display(), faults.join("; ")))),
        }
    }

    /// True if replicas may use this driver.
    pub fn allows(&self, driver: Driver) -> bool {
        self.drivers.contains(&driver)
    }

    /// The user that a replica runs as; `None` for the runner's own. The error is the reason of a refusal.
    pub fn user(&self, workload: &Workload) -> std::result::Result<Option<String>, String> {
        let own = Account::own();
        let Some(user) = &workload.user else { return self.default_user(&own) };
        let Some(account) = Account::find(user) else { return Err(format!("this node has no user {user}")) };
        if own.uid != 0 {
            let why = format!("this node's runner is not root's, and cannot become the user {user}");
            return if account.uid == own.uid { Ok(None) } else { Err(why) };
        }
        let is_allowed = |name: &str| name == "*" || Account::find(name).is_some_and(|other| other.uid == account.uid);
        if self.users().any(is_allowed) {
            return Ok(Some(user.clone()));
        }
        let file = self.path.display();
        Err(format!("this node does not let replicas run as {user}: allow_users in {file} does not name it"))
    }

    fn default_user(&self, own: &Account) -> std::result::Result<Option<String>, String> {
        if own.uid != 0 {
            return Ok(None);
        }
        let known = self.users().find(|user| *user != "*" && Account::find(user).is_some());
        let known = known.or_else(|| USERS.into_iter().find(|user| Account::find(user).is_some()));
        known.map(|user| Some(user.to_string())).ok_or_else(|| {
            let file = self.path.display();
            format!("this node has none of the users that replicas may run as; name one in allow_users in {file}")
        })
    }

    fn users(&self) -> impl Iterator<Item = &str> {
        let named = self.allow_users.iter().flatten().map(String::as_str);
        let usual = USERS.into_iter().filter(|_| self.allow_users.is_none());
        named.chain(usual)
    }
}

/// True if only root and this process's user can write a file.
fn is_guarded(path: &Path) -> Result<bool> {
    let meta = std::fs::metadata(path).doing("read the runner's policy")?;
    Ok((meta.uid() == 0 || meta.uid() == Account::own().uid) && meta.mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> std::result::Result<Policy, String> {
        Policy::parse(Path::new("/p"), text).map_err(|e| e.to_string())
    }

    fn as_user(user: &str) -> Workload {
        let spec = json!({"command": ["/x"], "user": user});
        Workload::read(&spec.as_object().expect("an object").clone()).expect("a workload")
    }

    #[test]
    fn lines_are_read_and_every_fault_named() {
        let policy = parse("# ours\nallow_users = web, 1000 # two\n\ndrivers =\n").expect("a policy");
        assert_eq!(policy.allow_users, Some(vec!["web".to_string(), "1000".to_string()]));
        assert!(!policy.allows(Driver::Process));
        assert!(parse("").expect("the default").allows(Driver::Process));
        let fault = parse("users = a\ndrivers = vm\nnonsense").expect_err("faults");
        assert!(["line 1", "line 2", "line 3"].into_iter().all(|line| fault.contains(line)), "{fault}");
    }

    #[test]
    fn a_user_needs_to_be_allowed() {
        let none = Workload { user: None, ..as_user("x") };
        let usual = parse("").expect("a policy");
        let missing = usual.user(&as_user("no-such-user-here")).expect_err("it is refused");
        assert!(missing.contains("no user no-such-user-here"), "{missing}");
        if Account::own().uid != 0 {
            assert_eq!((usual.user(&none), usual.user(&as_user("root")).is_err()), (Ok(None), true));
            return;
        }
        for root in ["root", "0"] {
            let why = usual.user(&as_user(root)).expect_err("it is refused");
            assert!(why.contains("allow_users in /p"), "{why}");
            assert_eq!(parse("allow_users = root").expect("a policy").user(&as_user(root)), Ok(Some(root.to_string())));
            assert_eq!(parse("allow_users = *").expect("a policy").user(&as_user(root)), Ok(Some(root.to_string())));
        }
        assert!(usual.user(&none).expect("a default").is_some_and(|user| USERS.contains(&user.as_str())));
        assert_eq!(parse("allow_users = nobody, root").expect("a policy").user(&none), Ok(Some("nobody".to_string())));
    }

    #[test]
    fn a_policy_that_others_can_write_is_none() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("uptimemesh-policy-{}", std::process::id()));
        assert_eq!(Policy::load(&path).expect("the default").allow_users, None);
        files::write(&path, b"allow_users = *\n", files::PUBLIC).expect("written");
        assert!(Policy::load(&path).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("ours");
        assert!(Policy::load(&path).expect_err("it is refused").to_string().contains("can write it"));
        std::fs::remove_file(path).expect("ours");
    }
}
