//! The first password is well known. While it is in place, only this machine itself may use it fully; from elsewhere it
//! can only be changed, with the setup code, which can be read by those with access to the server's files or terminal.

use crate::config::Config;
use crate::control::access::secrets::same_secret;
use crate::crypto;
use crate::error::{Chain, Doing, Result};
use crate::files;
use crate::store::{Store, users};
use crate::thread::lock;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Length of a code, in characters: a hundred bits.
const CODE_CHARS: usize = 20;
/// Characters between two dashes.
const GROUP_CHARS: usize = 5;

/// The setup code, while there is one.
pub struct Setup {
    path: PathBuf,
    code: Mutex<Option<String>>,
}

/// Path of the code's file.
fn path_in(config: &Config) -> PathBuf {
    config.data_dir.join("keys").join("setup-code")
}

impl Setup {
    /// Creates or reads the code, while the first password is in place.
    pub(in crate::control) fn load(config: &Config, store: &Store) -> Result<Setup> {
        let setup = Setup { path: path_in(config), code: Mutex::new(None) };
        if !store.read(users::has_seeded_password)? {
            remove(&setup.path)?;
            return Ok(setup);
        }
        let kept = files::read(&setup.path)?
            .map(|text| text.trim().to_string())
            .filter(|text| plain(text).len() == CODE_CHARS);
        let code = match kept {
            Some(code) => code,
            None => {
                let code = grouped(&crypto::random_words(CODE_CHARS));
                files::private_dir(setup.path.parent().unwrap_or(Path::new(".")))?;
                files::write(&setup.path, format!("{code}\n").as_bytes(), files::PRIVATE)?;
                code
            }
        };
        *lock(&setup.code) = Some(code);
        Ok(setup)
    }

    /// The code, while the first password is in place.
    pub fn code(&self) -> Option<String> {
        lock(&self.code).clone()
    }

    /// True if this is the code; dashes, blanks and case do not matter.
    pub(in crate::control) fn is_code(&self, given: &str) -> bool {
        lock(&self.code).as_ref().is_some_and(|code| same_secret(plain(code).as_bytes(), plain(given).as_bytes()))
    }

    /// Deletes the code once no user has the first password. The password has been changed by then: a file that cannot
    /// be removed is useless, and is removed at the next start.
    pub(in crate::control) fn forget_when_done(&self, store: &Store) {
        if lock(&self.code).is_none() || store.read(users::has_seeded_password).unwrap_or(true) {
            return;
        }
        *lock(&self.code) = None;
        if let Err(e) = remove(&self.path) {
            log::warn!(target: "auth", event = "auth.setup_code", error:% = Chain(&e); "Could not remove the setup \
                code");
        }
    }
}

/// Removes the code's file after another process has changed the password.
pub fn remove_file(config: &Config) -> Result<()> {
    remove(&path_in(config))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).doing("remove the setup code"),
        _ => Ok(()),
    }
}

fn plain(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase()
}

fn grouped(code: &str) -> String {
    let groups: Vec<String> =
        code.as_bytes().chunks(GROUP_CHARS).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    groups.join("-")
}
