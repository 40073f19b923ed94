//! Sign-in: who somebody is, and how often an address may try to find out. What follows is left to `sessions`.

use super::Control;
use super::sessions::{Place, Sessions, SignedIn, restriction};
use crate::buckets::Buckets;
use crate::caller;
use crate::clock;
use crate::crypto::{self, password};
use crate::error::{Chain, Error, FieldFault, Loc, Result};
use crate::model::address;
use crate::model::events::NewEvent;
use crate::model::users::{Restriction, User};
use crate::store::{events, sessions, users};
use crate::thread::lock;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many failures from one address ...
const FAILURES_MAX: usize = 5;
/// ... within so long ...
const FAILURES_WITHIN: Duration = Duration::from_secs(60);
/// ... lock it for so long.
const LOCKED_FOR: Duration = Duration::from_secs(300);
/// Addresses remembered at once; beyond it the oldest are forgotten first.
const ADDRESSES_MAX: usize = 10_000;
/// Clients that no proxy names are one to us. Nobody must be able to lock them all, so they may fail so often in a second, and at once.
const UNNAMED_PER_S: f64 = 1.0;
const UNNAMED_BURST: f64 = 60.0;
/// Characters of a name that are remembered with a failure: as many as a name may have.
const NAME_CHARS_MAX: usize = 128;
/// Password checks that run at once: each takes a core for 50 to 100 ms and 19 MiB.
const CHECKS_MAX: usize = 2;
/// Sign-ins that may wait for a check; more are told to come back.
const WAITING_MAX: usize = 32;
/// A new password has at least so many characters.
pub const PASSWORD_LEN_MIN: usize = 8;
/// A password has at most so many characters: argon2 must not be fed megabytes.
pub const PASSWORD_LEN_MAX: usize = 1024;
/// The answer to a wrong name or password, whichever it was.
const WRONG: &str = "Invalid username or password.";
/// The answer to somebody who has the first password and nothing else.
const NEEDS_CODE: &str = "The first password is changed from here with the setup code only: `uptimemesh up` prints it, and the server keeps it in DATA_DIR/keys/setup-code.";

/// What is remembered of sign-ins.
#[derive(Default)]
pub struct Auth {
    attempts: Mutex<HashMap<IpAddr, Attempts>>,
    unnamed: Unnamed,
    checks: Mutex<Checks>,
    done: Condvar,
}

/// What clients that no proxy names have left.
struct Unnamed(Buckets<()>);

impl Default for Unnamed {
    fn default() -> Unnamed {
        Unnamed(Buckets::new(UNNAMED_PER_S, UNNAMED_BURST))
    }
}

#[derive(Default)]
struct Attempts {
    /// Moments of failures, each with the name that was tried, and of checks that are still running: these count until they have
    /// succeeded.
    failures: Vec<(Instant, String)>,
    locked_until: Option<Instant>,
}

#[derive(Default)]
struct Checks {
    running: usize,
    waiting: usize,
}

/// Who comes to the door.
pub struct Visitor {
    /// From where.
    pub place: Place,
    /// With what, as it says of itself.
    pub user_agent: String,
}

/// Signs somebody in.
pub fn sign_in(control: &Control, visitor: &Visitor, username: &str, given: &str) -> Result<SignedIn> {
    let address = address::client(visitor.place.address);
    let name = username.trim().to_lowercase();
    let charged = control.auth.charge(address, &name)?;
    let account = control.store.read(|r| users::by_name(r, &name)).inspect_err(|_| control.auth.refund(address, charged))?;
    let right = {
        let _slot = control.auth.check_slot().inspect_err(|_| control.auth.refund(address, charged))?;
        match &account {
            Some(account) => password::verify(given, &account.password_hash),
            None => {
                // As slow as a real check, so that the time does not tell which names exist.
                password::dummy_verify(given);
                false
            }
        }
    };
    let known = account.is_some();
    let Some(account) = account.filter(|_| right) else {
        tell_failure(control, address, &name, known);
        return Err(wrong());
    };
    control.auth.forgive(address, &name);
    caller::is(&format!("user:{name}"));
    let new = Sessions::prepare(visitor, &name);
    let (id, version, ttl_s) = (new.id.clone(), account.password_version, control.sessions.ttl_s());
    let held = restriction(account.person.must_change_password, account.password_is_seeded, visitor.place.is_local);
    if held == Some(Restriction::NeedsSetupCode) {
        // Everybody knows this password: what comes of it must neither push out the sessions of its owner nor fill the database.
        control.sessions.hold_back(&id, &account, address);
        if control.lines.admits(address) {
            log::info!(target: "auth", event = "auth.held_back", address:% = address, username = name; "Signed in with the first password, and may only change it");
        }
        return Ok(control.sessions.signed_in(&id, held));
    }
    let written = control.store.write(move |w| {
        // Between the check and here the user may have been removed, or given another password.
        users::by_name(w, &new.user)?.filter(|a| a.password_version == version).ok_or_else(wrong)?;
        Sessions::begin(w, &new, ttl_s)?;
        events::record(w, NewEvent::info("auth", "auth.sign_in", json!({"username": new.user, "session_id": new.id}))).map(drop)
    });
    match written {
        Err(Error::Unavailable(_)) => control.sessions.shelter(&id, &account),
        other => other?,
    }
    log::info!(target: "auth", event = "auth.signed_in", address:% = address, username = name; "Signed in");
    Ok(control.sessions.signed_in(&id, held))
}

fn too_many(wait_s: u64) -> Error {
    Error::RateLimited { detail: format!("Too many login attempts. Try again in {wait_s}s."), retry_after_s: wait_s }
}

fn wrong() -> Error {
    Error::Unauthenticated { detail: WRONG, reason: None }
}

/// Logs a failed sign-in and records it, both within bounds. A name that nobody has is not recorded: it may be a password, typed into
/// the wrong field.
fn tell_failure(control: &Control, address: IpAddr, name: &str, known: bool) {
    if control.lines.admits(address) {
        log::warn!(target: "auth", event = "auth.failed", address:% = address, username = if known { name } else { "(unknown)" }; "Refused a sign-in");
    }
    if control.throttle.admits_failed_event(address) {
        let fields = json!({"username": known.then_some(name)});
        let recorded =
            control.store.write(move |w| events::record(w, NewEvent::at("warning", "auth", "auth.sign_in_failed", fields)).map(drop));
        if let Err(e) = recorded {
            log::warn!(target: "auth", event = "auth.unrecorded", error:% = Chain(&e); "A failed sign-in could not be recorded");
        }
    }
}

/// What somebody gives to change the password.
pub struct Change<'a> {
    /// The password until now.
    pub current: &'a str,
    /// The new one.
    pub new: &'a str,
    /// Where it is the first password and the visitor is elsewhere: the setup code. Empty for none.
    pub setup_code: &'a str,
}

/// Changes somebody's password, which ends every session made before. Returns a session under the new one.
pub fn change_password(control: &Control, visitor: &Visitor, user: &User, change: &Change) -> Result<SignedIn> {
    check_length(change.new, "new_password")?;
    let address = address::client(visitor.place.address);
    let charged = control.auth.charge(address, &user.name)?;
    let account = control.store.read(|r| users::by_name(r, &user.name))?.ok_or_else(Error::unauthenticated)?;
    if account.password_is_seeded && !visitor.place.is_local {
        if change.setup_code.is_empty() {
            control.auth.refund(address, charged);
            return Err(Error::Forbidden(NEEDS_CODE));
        }
        if !control.setup.is_code(change.setup_code) {
            tell_failure(control, address, &user.name, true);
            return Err(Error::Forbidden("The setup code is wrong."));
        }
    }
    let hash = {
        let _slot = control.auth.check_slot().inspect_err(|_| control.auth.refund(address, charged))?;
        if !password::verify(change.current, &account.password_hash) {
            tell_failure(control, address, &user.name, true);
            return Err(Error::Forbidden("The current password is wrong."));
        }
        if account.person.must_change_password && change.new == change.current {
            control.auth.refund(address, charged);
            return Err(unfit("new_password", "string_pattern_mismatch", "This is the password that must be changed".into()));
        }
        password::hash(change.new)?
    };
    control.auth.forgive(address, &user.name);
    let new = Sessions::prepare(visitor, &user.name);
    let (id, version, ttl_s) = (new.id.clone(), account.password_version, control.sessions.ttl_s());
    control.store.write(move |w| {
        if !users::set_password(w, &new.user, &hash, version, false)? {
            return Err(Error::Conflict("The password was changed meanwhile.".into()));
        }
        sessions::delete_of_user(w, &new.user)?;
        Sessions::begin(w, &new, ttl_s)?;
        events::record(w, NewEvent::info("auth", "password.change", json!({"username": new.user}))).map(drop)
    })?;
    control.sessions.forget_user(&user.name);
    control.setup.forget_when_done(&control.store);
    Ok(control.sessions.signed_in(&id, None))
}

/// Refuses a new password that is too short or too long.
pub fn check_length(new: &str, field: &str) -> Result<()> {
    let length = new.chars().count();
    if length < PASSWORD_LEN_MIN {
        return Err(unfit(field, "string_too_short", format!("String should have at least {PASSWORD_LEN_MIN} characters")));
    }
    if length > PASSWORD_LEN_MAX {
        return Err(unfit(field, "string_too_long", format!("String should have at most {PASSWORD_LEN_MAX} characters")));
    }
    Ok(())
}

fn unfit(field: &str, kind: &'static str, msg: String) -> Error {
    let loc = vec![Loc::Name("body".into()), Loc::Name(field.into())];
    Error::Invalid(vec![FieldFault { kind, loc, msg, input: Value::Null }])
}

/// The hash of a password that an admin gives somebody. It waits for a turn like every check.
pub(super) fn hashed(control: &Control, password: &str) -> Result<String> {
    let _slot = control.auth.check_slot()?;
    password::hash(password)
}

/// Whether somebody still has the password that everybody knows.
pub fn has_seeded_password(control: &Control) -> Result<bool> {
    control.store.read(users::has_seeded_password)
}

impl Auth {
    /// Counts an attempt as failed until it has succeeded, so that many at once cannot outrun the count; refuses a locked address.
    fn charge(&self, address: IpAddr, name: &str) -> Result<Instant> {
        let now = clock::tick();
        if address == address::UNNAMED {
            return self.unnamed.0.take(()).map(|_| now).map_err(too_many);
        }
        let mut all = lock(&self.attempts);
        if all.len() >= ADDRESSES_MAX && !all.contains_key(&address) {
            all.retain(|_, a| a.locked_until.is_some_and(|t| t > now) || a.failures.iter().any(|(t, _)| now - *t < FAILURES_WITHIN));
            if all.len() >= ADDRESSES_MAX
                && let Some(oldest) = all.iter().min_by_key(|(_, a)| a.locked_until.or(a.failures.last().map(|(t, _)| *t))).map(|(k, _)| *k)
            {
                all.remove(&oldest);
            }
        }
        let attempts = all.entry(address).or_default();
        attempts.failures.retain(|(t, _)| now - *t < FAILURES_WITHIN);
        if attempts.locked_until.is_none_or(|t| t <= now) {
            attempts.locked_until = (attempts.failures.len() >= FAILURES_MAX).then(|| now + LOCKED_FOR);
            if attempts.locked_until.is_some() {
                log::warn!(target: "auth", event = "auth.locked", address:% = address, for_s = LOCKED_FOR.as_secs(); "Locked an address after too many failed sign-ins");
            }
        }
        if let Some(until) = attempts.locked_until {
            return Err(too_many((until - now).as_secs().max(1)));
        }
        attempts.failures.push((now, name.chars().take(NAME_CHARS_MAX).collect()));
        Ok(now)
    }

    /// Takes an attempt back that was never checked.
    fn refund(&self, address: IpAddr, charged: Instant) {
        if address == address::UNNAMED {
            self.unnamed.0.give_back(());
        }
        if let Some(attempts) = lock(&self.attempts).get_mut(&address)
            && let Some(i) = attempts.failures.iter().position(|(t, _)| *t == charged)
        {
            attempts.failures.swap_remove(i);
        }
    }

    /// A right password clears what the address did before in this name: whoever has one account must not guess at others for ever.
    fn forgive(&self, address: IpAddr, name: &str) {
        if address == address::UNNAMED {
            self.unnamed.0.give_back(());
        }
        let mut all = lock(&self.attempts);
        let Some(attempts) = all.get_mut(&address) else { return };
        attempts.failures.retain(|(_, tried)| tried != name);
        // Checks that were still running when the address was locked may turn out right: then there were not so many failures.
        if attempts.failures.len() < FAILURES_MAX {
            attempts.locked_until = None;
        }
        if attempts.failures.is_empty() {
            all.remove(&address);
        }
    }

    /// Waits for a turn to check a password.
    fn check_slot(&self) -> Result<CheckSlot<'_>> {
        let mut checks = lock(&self.checks);
        if checks.running >= CHECKS_MAX && checks.waiting >= WAITING_MAX {
            return Err(Error::RateLimited { detail: "Too many sign-ins at once. Try again in 2s.".into(), retry_after_s: 2 });
        }
        checks.waiting += 1;
        while checks.running >= CHECKS_MAX {
            checks = self.done.wait(checks).unwrap_or_else(PoisonError::into_inner);
        }
        checks.waiting -= 1;
        checks.running += 1;
        Ok(CheckSlot(self))
    }
}

/// A turn to check a password; it ends when this is dropped.
struct CheckSlot<'a>(&'a Auth);

impl Drop for CheckSlot<'_> {
    fn drop(&mut self) {
        lock(&self.0.checks).running -= 1;
        self.0.done.notify_one();
    }
}

/// Whether two secrets are the same. Their digests are compared, so that the time it takes tells nothing of how far they agree.
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    crypto::sha256(one) == crypto::sha256(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_locked_after_five_failures_and_others_are_not() {
        let auth = Auth::default();
        let (bad, good): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        for _ in 0..FAILURES_MAX {
            auth.charge(bad, "admin").expect("not locked yet");
        }
        let refused = auth.charge(bad, "admin").expect_err("the sixth is refused");
        assert_eq!(refused.detail(), "Too many login attempts. Try again in 300s.");
        auth.charge(good, "admin").expect("another address may sign in");
    }

    #[test]
    fn a_success_forgives_what_was_tried_in_the_same_name_only() {
        let auth = Auth::default();
        let address: IpAddr = [10, 0, 0, 1].into();
        for _ in 1..FAILURES_MAX {
            auth.charge(address, "admin").expect("not locked yet");
        }
        auth.charge(address, "viewer").expect("the fifth");
        auth.forgive(address, "viewer");
        auth.charge(address, "admin").expect("the fifth in this name");
        auth.charge(address, "viewer").expect_err("four and one");
    }

    #[test]
    fn many_right_passwords_at_once_lock_nobody() {
        let auth = Auth::default();
        let address: IpAddr = [10, 0, 0, 1].into();
        for _ in 0..FAILURES_MAX {
            auth.charge(address, "admin").expect("a check that is running");
        }
        auth.charge(address, "admin").expect_err("more than may be wrong at once");
        auth.forgive(address, "admin");
        auth.charge(address, "admin").expect("they were right");
    }

    #[test]
    fn addresses_are_forgotten_rather_than_memory_filled() {
        let auth = Auth::default();
        for i in 0..ADDRESSES_MAX as u32 + 100 {
            auth.charge(IpAddr::V4(i.into()), "admin").expect("a first attempt");
        }
        assert_eq!(lock(&auth.attempts).len(), ADDRESSES_MAX);
    }
}
