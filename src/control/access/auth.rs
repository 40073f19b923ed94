//! Sign-in: checks passwords, and limits how often an address may try. The resulting session belongs to `sessions`.

use crate::caller;
use crate::control::Control;
use crate::control::access::attempts::{Attempt, Attempts};
use crate::control::access::sessions::{Sessions, SignedIn, restriction};
use crate::control::access::visitor::Visitor;
use crate::crypto::password;
use crate::error::{Chain, Error, FieldFault, Loc, Result};
use crate::model::address;
use crate::model::events::catalogue::{AUTH_SIGN_IN, AUTH_SIGN_IN_FAILED, PASSWORD_CHANGE};
use crate::model::ids::{Id, UserName};
use crate::model::users::{Restriction, User};
use crate::store::{events, sessions, users};
use crate::thread::{aside, lock};
use serde_json::{Value, json};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Maximum number of concurrent password checks: each takes a core for 50 to 100 ms and 19 MiB.
const CHECKS_MAX: usize = 2;
/// Maximum number of sign-ins waiting for a check; further ones must try again later.
const WAITING_MAX: usize = 32;
/// Minimum length of a new password, in characters.
pub const PASSWORD_LEN_MIN: usize = 8;
/// Maximum length of a password, in characters: argon2 must not be fed megabytes.
pub const PASSWORD_LEN_MAX: usize = 1024;
/// The answer to a wrong name or password; it does not say which was wrong.
const WRONG: &str = "Invalid username or password.";
/// The answer to a client that has only the first password.
const NEEDS_CODE: &str = "From here, the initial password can be changed only with the setup code: `uptimemesh up` \
    prints it, and the server keeps it in DATA_DIR/keys/setup-code.";

/// State of sign-in.
#[derive(Default)]
pub struct Auth {
    attempts: Attempts,
    checks: Mutex<Checks>,
    done: Condvar,
}

#[derive(Default)]
struct Checks {
    running: usize,
    waiting: usize,
}

/// Signs a user in.
pub fn sign_in(control: &Control, visitor: &Visitor, username: &str, given: &str) -> Result<SignedIn> {
    let address = address::client(visitor.place.address);
    let name = username.trim().to_lowercase();
    let attempt = control.auth.attempts.charge(address, &name)?;
    let account = match UserName::parse(&name) {
        Some(name) => control.store.read_first(|r| users::by_name(r, &name))?,
        None => None,
    };
    let right = {
        let _slot = control.auth.check_slot()?;
        match &account {
            Some(account) => password::verify(given, &account.password_hash),
            None => {
                // As slow as a real check, so that the time does not reveal which names exist.
                password::dummy_verify(given);
                false
            }
        }
    };
    let known = account.is_some();
    let Some(account) = account.filter(|_| right) else {
        record_failure(control, attempt, known);
        return Err(wrong());
    };
    attempt.succeed();
    caller::set_actor(&format!("user:{name}"));
    let new = Sessions::prepare(visitor, &account.person.name);
    let (id, version, ttl_s) = (new.id.clone(), account.password_version, control.sessions.ttl_s());
    let held = restriction(account.person.must_change_password, account.password_is_seeded, visitor.place.is_local);
    if held == Some(Restriction::NeedsSetupCode) {
        // This password is well known: its sessions must neither push out those of its owner nor fill the database.
        control.sessions.keep_restricted(&id, &account, address);
        if control.lines.admits(address) {
            log::info!(target: "auth", event = "auth.held_back", address:% = address, username = name;
                "Signed in with the initial password; only changing it is allowed");
        }
        return Ok(control.sessions.signed_in(&id, held));
    }
    let written = control.store.write(move |w| {
        // Since the check the user may have been removed, or given another password.
        users::by_name(w, &new.user)?.filter(|a| a.password_version == version).ok_or_else(wrong)?;
        Sessions::begin(w, &new, ttl_s)?;
        events::record(w, AUTH_SIGN_IN.with(json!({"username": new.user, "session_id": new.id}))).map(drop)
    });
    match written {
        Err(Error::Unavailable(_)) => control.sessions.keep_unsaved(&id, &account),
        other => other?,
    }
    log::info!(target: "auth", event = "auth.signed_in", address:% = address, username = name; "Signed in");
    Ok(control.sessions.signed_in(&id, held))
}

fn wrong() -> Error {
    Error::Unauthenticated { detail: WRONG, reason: None }
}

/// Counts a failed sign-in, and logs and records it, both within limits. An unknown name is not recorded: it may be a
/// password, typed into the wrong field.
fn record_failure(control: &Control, mut attempt: Attempt, known: bool) {
    attempt.fail();
    let (address, name) = (attempt.address, &attempt.name);
    if control.lines.admits(address) {
        log::warn!(target: "auth", event = "auth.failed", address:% = address,
            username = if known { name } else { "(unknown)" }; "Refused a sign-in");
    }
    if control.throttle.admits_failed_event(address) {
        let fields = json!({"username": known.then_some(name)});
        let recorded = control.store.write(move |w| events::record(w, AUTH_SIGN_IN_FAILED.with(fields)).map(drop));
        if let Err(e) = recorded {
            log::warn!(target: "auth", event = "auth.unrecorded", error:% = Chain(&e); "Could not record a failed \
                sign-in");
        }
    }
}

/// Request for a change of password.
pub struct Change<'a> {
    /// The current password.
    pub current: &'a str,
    /// The new one.
    pub new: &'a str,
    /// The setup code, required for the first password from another machine. Empty for none.
    pub setup_code: &'a str,
}

/// Changes a user's password, which ends all earlier sessions. Returns a session with the new password.
pub fn change_password(control: &Control, visitor: &Visitor, user: &User, change: &Change) -> Result<SignedIn> {
    check_length(change.new, "new_password")?;
    let address = address::client(visitor.place.address);
    let attempt = control.auth.attempts.charge(address, user.name.as_str())?;
    let account = control.store.read(|r| users::by_name(r, &user.name))?.ok_or_else(Error::unauthenticated)?;
    if account.password_is_seeded && !visitor.place.is_local {
        if change.setup_code.is_empty() {
            return Err(Error::Forbidden(NEEDS_CODE));
        }
        if !control.setup.is_code(change.setup_code) {
            record_failure(control, attempt, true);
            return Err(Error::Forbidden("The setup code is wrong."));
        }
    }
    let hash = {
        let _slot = control.auth.check_slot()?;
        if !password::verify(change.current, &account.password_hash) {
            record_failure(control, attempt, true);
            return Err(Error::Forbidden("The current password is wrong."));
        }
        if account.person.must_change_password && change.new == change.current {
            return Err(unfit(
                "new_password",
                "string_pattern_mismatch",
                "This is the password that must be changed".into(),
            ));
        }
        password::hash(change.new)?
    };
    attempt.succeed();
    let new = Sessions::prepare(visitor, &user.name);
    let (id, version, ttl_s) = (new.id.clone(), account.password_version, control.sessions.ttl_s());
    let live = Arc::clone(&control.sessions);
    control.store.write(move |w| {
        if !users::set_password(w, &new.user, &hash, version, false)? {
            return Err(Error::Conflict("The password was changed meanwhile.".into()));
        }
        sessions::delete_of_user(w, &new.user)?;
        live.forget_user(w, &new.user);
        Sessions::begin(w, &new, ttl_s)?;
        events::record(w, PASSWORD_CHANGE.with(json!({"username": new.user}))).map(drop)
    })?;
    control.setup.forget_when_done(&control.store);
    Ok(control.sessions.signed_in(&id, None))
}

/// Refuses a new password that is too short or too long.
pub fn check_length(new: &str, field: &str) -> Result<()> {
    let length = new.chars().count();
    if length < PASSWORD_LEN_MIN {
        return Err(unfit(
            field,
            "string_too_short",
            format!("String should have at least {PASSWORD_LEN_MIN} characters"),
        ));
    }
    if length > PASSWORD_LEN_MAX {
        return Err(unfit(
            field,
            "string_too_long",
            format!("String should have at most {PASSWORD_LEN_MAX} characters"),
        ));
    }
    Ok(())
}

fn unfit(field: &str, kind: &'static str, msg: String) -> Error {
    let loc = vec![Loc::Name("body".into()), Loc::Name(field.into())];
    Error::Invalid(vec![FieldFault { kind, loc, msg, input: Value::Null }])
}

/// Hashes a password that an admin sets for a user. It waits for a turn like every check.
pub(in crate::control) fn hashed(control: &Control, password: &str) -> Result<String> {
    let _slot = control.auth.check_slot()?;
    password::hash(password)
}

/// True if any user still has the well-known first password.
pub fn has_seeded_password(control: &Control) -> Result<bool> {
    control.store.read(users::has_seeded_password)
}

impl Auth {
    /// Waits for a turn to check a password.
    fn check_slot(&self) -> Result<CheckSlot<'_>> {
        let mut checks = lock(&self.checks);
        if checks.running >= CHECKS_MAX && checks.waiting >= WAITING_MAX {
            return Err(Error::RateLimited {
                detail: "Too many sign-ins at once. Try again in 2s.".into(),
                retry_after_s: 2,
            });
        }
        checks.waiting += 1;
        while checks.running >= CHECKS_MAX {
            checks = aside(|| self.done.wait(checks)).unwrap_or_else(PoisonError::into_inner);
        }
        checks.waiting -= 1;
        checks.running += 1;
        Ok(CheckSlot(self))
    }
}

/// A turn to check a password; dropping it ends the turn.
struct CheckSlot<'a>(&'a Auth);

impl Drop for CheckSlot<'_> {
    fn drop(&mut self) {
        lock(&self.0.checks).running -= 1;
        self.0.done.notify_one();
    }
}
