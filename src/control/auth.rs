//! Sign-in: who somebody is, and how often an address may try to find out.

use super::Control;
use crate::clock;
use crate::config::Secret;
use crate::crypto::{self, password, token};
use crate::error::{Error, FieldFault, Loc, Result};
use crate::model::address;
use crate::model::events::NewEvent;
use crate::model::users::{Account, User};
use crate::store::{Store, events, users};
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

/// What is remembered of sign-ins.
#[derive(Default)]
pub struct Auth {
    attempts: Mutex<HashMap<IpAddr, Attempts>>,
    checks: Mutex<Checks>,
    done: Condvar,
}

#[derive(Default)]
struct Attempts {
    /// Moments of failures, and of checks that are still running: these count until they have succeeded.
    failures: Vec<Instant>,
    locked_until: Option<Instant>,
}

#[derive(Default)]
struct Checks {
    running: usize,
    waiting: usize,
}

/// A signed-in session. Holds a secret, so it has no Debug.
pub struct Session {
    /// Goes into the cookie or the `Authorization` header.
    pub token: String,
    /// Seconds it lasts.
    pub expires_in_s: i64,
}

/// Signs somebody in from an address.
pub fn sign_in(control: &Control, address: IpAddr, username: &str, given: &str) -> Result<Session> {
    let address = address::client(address);
    let name = username.trim().to_lowercase();
    let charged = control.auth.charge(address)?;
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
    let Some(account) = account.filter(|_| right) else {
        log::warn!(target: "auth", event = "auth.failed", address:% = address, username = name; "Refused a sign-in");
        return Err(Error::Unauthenticated { detail: WRONG, reason: None });
    };
    control.auth.forgive(address);
    log::info!(target: "auth", event = "auth.signed_in", address:% = address, username = account.user.name; "Signed in");
    Ok(session(control, &account))
}

/// Who holds this session token, if it is genuine, has not ended, and the password is still the one it was made with.
pub fn user_of(control: &Control, session_token: &str) -> Result<Option<User>> {
    holder(&control.store, &control.config.auth_secret_key, session_token)
}

/// The same, for what outlives a request.
pub fn holder(store: &Store, key: &Secret, session_token: &str) -> Result<Option<User>> {
    let Some(claims) = token::open(key.expose(), session_token) else { return Ok(None) };
    if claims.exp < clock::now().secs() {
        return Ok(None);
    }
    let account = store.read(|r| users::by_name(r, &claims.user))?;
    Ok(account.filter(|a| a.password_version.to_string() == claims.version).map(|a| a.user))
}

/// Changes somebody's password, which ends every session made before. Returns a session under the new one.
pub fn change_password(control: &Control, address: IpAddr, user: &User, current: &str, new: &str) -> Result<Session> {
    let length = new.chars().count();
    if !(PASSWORD_LEN_MIN..=PASSWORD_LEN_MAX).contains(&length) {
        let (kind, bound) =
            if length < PASSWORD_LEN_MIN { ("string_too_short", PASSWORD_LEN_MIN) } else { ("string_too_long", PASSWORD_LEN_MAX) };
        let loc = vec![Loc::Name("body".into()), Loc::Name("new_password".into())];
        let word = if length < PASSWORD_LEN_MIN { "at least" } else { "at most" };
        return Err(Error::Invalid(vec![FieldFault {
            kind,
            loc,
            msg: format!("String should have {word} {bound} characters"),
            input: Value::Null,
        }]));
    }
    let address = address::client(address);
    let charged = control.auth.charge(address)?;
    let account = control.store.read(|r| users::by_name(r, &user.name))?.ok_or_else(Error::unauthenticated)?;
    let hash = {
        let _slot = control.auth.check_slot().inspect_err(|_| control.auth.refund(address, charged))?;
        if !password::verify(current, &account.password_hash) {
            return Err(Error::Forbidden("The current password is wrong."));
        }
        password::hash(new)?
    };
    control.auth.forgive(address);
    let name = user.name.clone();
    let version = account.password_version;
    let account = control.store.write(move |w| {
        if !users::set_password(w, &name, &hash, version)? {
            return Err(Error::Conflict("The password was changed meanwhile.".into()));
        }
        events::record(w, NewEvent::info("auth", "password.change", json!({"username": name})))?;
        users::by_name(w, &name)?.ok_or_else(Error::unauthenticated)
    })?;
    Ok(session(control, &account))
}

/// Whether the account that the seed made still has the password that everybody knows.
pub fn has_seeded_password(control: &Control) -> Result<bool> {
    let admin = control.store.read(|r| users::by_name(r, "admin"))?;
    Ok(admin.is_some_and(|a| a.password_version == 1))
}

fn session(control: &Control, account: &Account) -> Session {
    let ttl_s = control.config.auth_session_ttl_s;
    let exp = clock::now().secs() + ttl_s;
    let key = control.config.auth_secret_key.expose();
    Session { token: token::mint(key, &account.user.name, &account.password_version.to_string(), exp), expires_in_s: ttl_s }
}

impl Auth {
    /// Counts an attempt as failed until it has succeeded, so that many at once cannot outrun the count; refuses a locked address.
    fn charge(&self, address: IpAddr) -> Result<Instant> {
        let now = clock::tick();
        let mut all = lock(&self.attempts);
        if all.len() >= ADDRESSES_MAX && !all.contains_key(&address) {
            all.retain(|_, a| a.locked_until.is_some_and(|t| t > now) || a.failures.iter().any(|t| now - *t < FAILURES_WITHIN));
            if all.len() >= ADDRESSES_MAX
                && let Some(oldest) = all.iter().min_by_key(|(_, a)| a.failures.last().copied()).map(|(k, _)| *k)
            {
                all.remove(&oldest);
            }
        }
        let attempts = all.entry(address).or_default();
        attempts.failures.retain(|t| now - *t < FAILURES_WITHIN);
        if attempts.locked_until.is_none_or(|t| t <= now) {
            attempts.locked_until = (attempts.failures.len() >= FAILURES_MAX).then(|| now + LOCKED_FOR);
            if attempts.locked_until.is_some() {
                attempts.failures.clear();
                log::warn!(target: "auth", event = "auth.locked", address:% = address, for_s = LOCKED_FOR.as_secs(); "Locked an address after too many failed sign-ins");
            }
        }
        if let Some(until) = attempts.locked_until {
            let left_s = (until - now).as_secs().max(1);
            return Err(Error::RateLimited { detail: format!("Too many login attempts. Try again in {left_s}s."), retry_after_s: left_s });
        }
        attempts.failures.push(now);
        Ok(now)
    }

    /// Takes an attempt back that was never checked.
    fn refund(&self, address: IpAddr, charged: Instant) {
        if let Some(attempts) = lock(&self.attempts).get_mut(&address)
            && let Some(i) = attempts.failures.iter().position(|t| *t == charged)
        {
            attempts.failures.swap_remove(i);
        }
    }

    /// A right password clears what the address did before.
    fn forgive(&self, address: IpAddr) {
        lock(&self.attempts).remove(&address);
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
            auth.charge(bad).expect("not locked yet");
        }
        let refused = auth.charge(bad).expect_err("the sixth is refused");
        assert_eq!(refused.detail(), "Too many login attempts. Try again in 300s.");
        auth.charge(good).expect("another address may sign in");
    }

    #[test]
    fn addresses_are_forgotten_rather_than_memory_filled() {
        let auth = Auth::default();
        for i in 0..ADDRESSES_MAX as u32 + 100 {
            auth.charge(IpAddr::V4(i.into())).expect("a first attempt");
        }
        assert_eq!(lock(&auth.attempts).len(), ADDRESSES_MAX);
    }
}
