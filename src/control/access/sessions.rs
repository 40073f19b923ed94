//! Sessions of people: they begin with a sign-in and last as long as their row, their term and their use. Also says who holds
//! what a request shows, a session's token or an API token.
//!
//! Every request asks the database, so whoever ends a session, even another process, ends it at once. Only when something was
//! last used is kept in memory and written in batches, so that reads cost no write.

use crate::clock::{self, Timestamp};
use crate::config::{Config, Secret};
use crate::control::Control;
use crate::control::access::api_tokens;
use crate::control::access::auth::Visitor;
use crate::control::access::local::Local;
use crate::crypto::{self, token};
use crate::error::{Error, Result};
use crate::model::events::catalogue::{AUTH_SIGN_OUT, SESSION_REVOKE};
use crate::model::sessions::Session;
use crate::model::users::{Account, Credential, Restriction, User};
use crate::model::{Page, Paging};
use crate::store::sessions::{Holder, NewSession};
use crate::store::{self, Store, Write, events, sessions, users};
use crate::thread::lock;
use serde_json::json;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

/// Sessions of one user; the oldest goes when one more begins.
const OF_USER_MAX: usize = 100;
/// Uses that are remembered until they are written; one more is not noted before then.
const USES_MAX: usize = 10_000;
/// Uses written in one transaction: other writes go between them.
const FLUSH_MAX: usize = 1000;
/// Sessions under the first password from elsewhere: of one address, and of all.
const HELD_BACK_OF_ADDRESS_MAX: usize = 4;
const HELD_BACK_MAX: usize = 1000;
/// Sessions that live in memory because the disk takes no more rows: enough for those who come to mend that.
const HOMELESS_MAX: usize = 100;
/// Characters of what a browser says of itself.
const USER_AGENT_CHARS_MAX: usize = 200;

/// A session's token, in the only answer that ever carries it. Holds a secret, so it has no Debug.
pub struct SignedIn {
    /// The session's id.
    pub id: String,
    /// Goes into the cookie or the `Authorization` header.
    pub token: String,
    /// Seconds it lasts.
    pub expires_in_s: i64,
    /// What holds the session back.
    pub restriction: Option<Restriction>,
}

/// Where a request comes from, as far as it decides what is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The client's address.
    pub address: IpAddr,
    /// Whether it is this machine itself.
    pub is_local: bool,
    /// Address at the other end of the connection; `None` where a proxy passed the request on.
    pub direct: Option<IpAddr>,
}

/// What is known of sessions beside their rows.
pub struct Sessions {
    /// The credential of commands on the server's own machine.
    pub local: Local,
    key: Secret,
    ttl_s: i64,
    idle_s: i64,
    /// When sessions were last used, as far as it is not written yet.
    seen: Mutex<HashMap<String, Timestamp>>,
    /// When and from where API tokens were last used, likewise.
    used: Mutex<HashMap<String, (Timestamp, IpAddr)>>,
    homeless: Mutex<Vec<Homeless>>,
    /// Sessions under the first password from elsewhere, each with where it came from.
    held_back: Mutex<Vec<(IpAddr, Homeless)>>,
}

/// A session without a row.
struct Homeless {
    id: String,
    user: String,
    /// The password it was made under: with another it is void.
    password_version: i64,
    last_seen_at: Timestamp,
}

impl Homeless {
    fn of(id: &str, account: &Account) -> Homeless {
        let (user, password_version) = (account.person.name.clone(), account.password_version);
        Homeless { id: id.to_string(), user, password_version, last_seen_at: clock::now() }
    }
}

impl Sessions {
    pub(in crate::control) fn new(config: &Config, listening: SocketAddr) -> Sessions {
        Sessions {
            local: Local::new(config, listening),
            key: config.auth_secret_key.clone(),
            ttl_s: config.auth_session_ttl_s,
            idle_s: config.auth_session_idle_s,
            seen: Mutex::default(),
            used: Mutex::default(),
            homeless: Mutex::default(),
            held_back: Mutex::default(),
        }
    }

    /// Whether what is shown could be a credential of ours: told without a question to the database where it is a session's.
    pub fn is_genuine(&self, shown: &str) -> bool {
        token::is_api_secret(shown) || token::is_local_secret(shown) || token::open(self.key.expose(), shown).is_some()
    }

    /// What tells this cluster's cookies from those of others on the same host: a browser shows them to all of them.
    pub fn word(&self) -> String {
        token::key_id(self.key.expose())
    }

    /// What forms of pages carry that were made for this credential.
    pub fn csrf(&self, credential_id: &str) -> String {
        token::csrf(self.key.expose(), credential_id)
    }

    /// Who holds what is shown, if it is genuine and goes on; and notes that it was used.
    pub fn holder(&self, store: &Store, shown: &str, place: Place) -> Result<Option<User>> {
        if token::is_api_secret(shown) {
            return self.token_holder(store, shown, place);
        }
        if token::is_local_secret(shown) {
            return Ok(self.local.holder(shown, place));
        }
        let Some(claims) = token::open(self.key.expose(), shown) else { return Ok(None) };
        let now = clock::now();
        if claims.exp < now.secs() {
            return Ok(None);
        }
        let found = match store.read_first(|r| sessions::holder(r, &claims.session))? {
            Some(found) => Some(found),
            None => self.homeless(store, &claims.session, now)?,
        };
        let Some(found) = found else { return Ok(None) };
        let mut seen = lock(&self.seen);
        let last_seen_at = seen.get(&claims.session).map_or(found.last_seen_at, |at| found.last_seen_at.max(*at));
        if found.expires_at < now || last_seen_at.plus_secs(self.idle_s) < now {
            return Ok(None);
        }
        if seen.len() < USES_MAX || seen.contains_key(&claims.session) {
            seen.insert(claims.session.clone(), now);
        }
        Ok(Some(User {
            restriction: restriction(found.must_change_password, found.password_is_seeded, place.is_local),
            name: found.user,
            role: found.role,
            credential: Credential::Session(claims.session),
        }))
    }

    fn token_holder(&self, store: &Store, secret: &str, place: Place) -> Result<Option<User>> {
        let hash = crypto::sha256_hex(secret.as_bytes());
        let now = clock::now();
        let Some(found) = store.read_first(|r| store::api_tokens::holder(r, &hash))?.filter(|t| t.expires_at > now) else {
            return Ok(None);
        };
        let mut used = lock(&self.used);
        if used.len() < USES_MAX || used.contains_key(&found.id) {
            used.insert(found.id.clone(), (now, place.address));
        }
        let role = found.role.min(found.owner_role);
        Ok(Some(User { name: found.owner, role, credential: Credential::ApiToken(found.id), restriction: None }))
    }

    /// A session that has no row, if there is one.
    fn homeless(&self, store: &Store, id: &str, now: Timestamp) -> Result<Option<Holder>> {
        let of = |h: &Homeless| (h.user.clone(), h.password_version, h.last_seen_at);
        let mut known = lock(&self.homeless).iter().find(|h| h.id == id).map(of);
        known = known.or_else(|| lock(&self.held_back).iter().find(|(_, h)| h.id == id).map(|(_, h)| of(h)));
        let Some((user, version, last_seen_at)) = known else { return Ok(None) };
        let account = store.read_first(|r| users::by_name(r, &user))?.filter(|a| a.password_version == version);
        Ok(account.map(|account| Holder {
            user,
            role: account.person.role,
            must_change_password: account.person.must_change_password,
            password_is_seeded: account.password_is_seeded,
            last_seen_at,
            // Its token says when it ends.
            expires_at: now,
        }))
    }

    /// A session that is about to begin.
    pub(in crate::control) fn prepare(visitor: &Visitor, user: &str) -> NewSession {
        let printable = visitor.user_agent.chars().filter(|c| !c.is_control());
        NewSession {
            id: format!("s-{}", crypto::random_hex(8)),
            user: user.to_string(),
            address: visitor.place.address.to_canonical().to_string(),
            user_agent: printable.take(USER_AGENT_CHARS_MAX).collect(),
        }
    }

    /// Writes it, in the transaction that begins it.
    pub(in crate::control) fn begin(write: &Write, new: &NewSession, ttl_s: i64) -> Result<()> {
        sessions::insert(write, new, ttl_s, OF_USER_MAX)
    }

    /// Lets a session live in memory, where it could not be written: whoever comes to mend a full disk must get in.
    pub(in crate::control) fn shelter(&self, id: &str, account: &Account) {
        let mut homeless = lock(&self.homeless);
        if homeless.len() >= HOMELESS_MAX {
            homeless.remove(0);
        }
        homeless.push(Homeless::of(id, account));
    }

    /// The same for a session under the first password from elsewhere, of which an address has a few: whoever comes must neither push out
    /// its owner's session nor fill the database.
    pub(in crate::control) fn hold_back(&self, id: &str, account: &Account, address: IpAddr) {
        let mut held_back = lock(&self.held_back);
        let of_address = held_back.iter().filter(|(from, _)| *from == address).count();
        let surplus = if of_address >= HELD_BACK_OF_ADDRESS_MAX { held_back.iter().position(|(from, _)| *from == address) } else { None };
        let surplus = surplus.or((held_back.len() >= HELD_BACK_MAX).then_some(0));
        if let Some(oldest) = surplus {
            held_back.remove(oldest);
        }
        held_back.push((address, Homeless::of(id, account)));
    }

    /// The token of a session that began.
    pub(in crate::control) fn signed_in(&self, id: &str, restriction: Option<Restriction>) -> SignedIn {
        let exp = clock::now().secs() + self.ttl_s;
        SignedIn { id: id.to_string(), token: token::mint(self.key.expose(), id, exp), expires_in_s: self.ttl_s, restriction }
    }

    /// Seconds that a session lasts.
    pub(in crate::control) fn ttl_s(&self) -> i64 {
        self.ttl_s
    }

    /// Ends the sessions of this user that have no row, with the transaction that ends the others.
    pub(in crate::control) fn forget_user(self: &Arc<Self>, write: &Write, user: &str) {
        let (live, user) = (Arc::clone(self), user.to_string());
        write.on_commit(move || {
            lock(&live.homeless).retain(|h| h.user != user);
            lock(&live.held_back).retain(|(_, h)| h.user != user);
        });
    }

    /// Whether a session lives in memory only.
    pub(in crate::control) fn is_without_row(&self, id: &str) -> bool {
        lock(&self.homeless).iter().any(|h| h.id == id)
    }

    /// Ends a session that has no row; of this user only, where one is given. Tells whether there was one.
    fn evict(&self, id: &str, of: Option<&User>) -> bool {
        let mut homeless = lock(&self.homeless);
        let before = homeless.len();
        homeless.retain(|h| h.id != id || of.is_some_and(|user| user.name != h.user));
        homeless.len() < before
    }

    /// Ends a session in memory, whether or not it has a row.
    fn forget(&self, id: &str) {
        lock(&self.homeless).retain(|h| h.id != id);
        lock(&self.held_back).retain(|(_, h)| h.id != id);
        lock(&self.seen).remove(id);
    }

    /// Writes what was used since the last time, and forgets what has ended.
    pub(in crate::control) fn flush(self: &Arc<Self>, store: &Store) -> Result<()> {
        for part in parts_of(&self.seen) {
            let live = Arc::clone(self);
            store.write(move |w| {
                part.iter().try_for_each(|(id, at)| sessions::set_last_seen(w, id, *at))?;
                w.on_commit(move || forget_written(&live.seen, &part));
                Ok(())
            })?;
        }
        for part in parts_of(&self.used) {
            let live = Arc::clone(self);
            store.write(move |w| {
                let write = |(id, (at, from)): &(String, (Timestamp, IpAddr))| {
                    store::api_tokens::set_last_used(w, id, *at, &from.to_canonical().to_string())
                };
                part.iter().try_for_each(write)?;
                w.on_commit(move || forget_written(&live.used, &part));
                Ok(())
            })?;
        }
        let idle_s = self.idle_s;
        store.write(move |w| {
            api_tokens::prune(w)?;
            sessions::prune(w, w.now.plus_secs(-idle_s))
        })?;
        Ok(())
    }

    /// Lays what is not written yet over rows.
    fn overlay(&self, session: &mut Session) {
        if let Some(at) = lock(&self.seen).get(&session.id) {
            session.last_seen_at = session.last_seen_at.max(*at);
            session.updated_at = session.last_seen_at;
        }
    }

    /// The same for tokens.
    pub(in crate::control) fn token_used(&self, id: &str) -> Option<(Timestamp, IpAddr)> {
        lock(&self.used).get(id).copied()
    }
}

/// The uses in memory, in parts of one transaction each.
fn parts_of<U: Clone>(uses: &Mutex<HashMap<String, U>>) -> Vec<Vec<(String, U)>> {
    let all: Vec<(String, U)> = lock(uses).iter().map(|(id, used)| (id.clone(), used.clone())).collect();
    all.chunks(FLUSH_MAX).map(<[_]>::to_vec).collect()
}

/// Forgets uses that are durable. One that was used again since is written the next time.
fn forget_written<U: PartialEq>(uses: &Mutex<HashMap<String, U>>, written: &[(String, U)]) {
    let mut uses = lock(uses);
    for (id, used) in written {
        if uses.get(id) == Some(used) {
            uses.remove(id);
        }
    }
}

/// What holds a session back, from where it is used now.
pub(in crate::control) fn restriction(must_change: bool, seeded: bool, is_local: bool) -> Option<Restriction> {
    match (seeded && !is_local, must_change) {
        (true, _) => Some(Restriction::NeedsSetupCode),
        (false, true) => Some(Restriction::MustChange),
        (false, false) => None,
    }
}

/// A page of sessions: of everybody, or of one user; `current` is the one that asks.
pub fn list(control: &Control, paging: &Paging, user: Option<&str>, current: &str) -> Result<Page<Session>> {
    let mut page = control.store.read(|r| sessions::page(r, paging, user))?;
    for session in &mut page.items {
        control.sessions.overlay(session);
        session.current = session.id == current;
    }
    Ok(page)
}

/// Ends a session; of this user only, where one is given. Never guarded: what takes a right away must always be possible.
pub fn revoke(control: &Control, id: String, of: Option<&User>) -> Result<()> {
    let owner = of.map(|user| user.name.clone());
    if control.sessions.evict(&id, of) {
        return Ok(());
    }
    let live = Arc::clone(&control.sessions);
    control.store.write(move |w| {
        let found = sessions::user_of(w, &id)?.filter(|user| owner.as_ref().is_none_or(|owner| owner == user));
        let user = found.ok_or_else(|| Error::not_found("Session"))?;
        sessions::delete(w, &id)?;
        events::record(w, SESSION_REVOKE.with(json!({"username": user, "session_id": id})))?;
        w.on_commit(move || live.forget(&id));
        Ok(())
    })
}

/// Ends the session that asks for it. One that has ended already, or a token, which only an admin takes away, is left alone.
pub fn sign_out(control: &Control, user: &User) -> Result<()> {
    let Credential::Session(id) = user.credential.clone() else { return Ok(()) };
    control.sessions.forget(&id);
    let name = user.name.clone();
    control.store.write(move |w| {
        if sessions::delete(w, &id)? {
            events::record(w, AUTH_SIGN_OUT.with(json!({"username": name, "session_id": id})))?;
        }
        Ok(())
    })
}

/// Writes what was used, and forgets what has ended.
pub fn flush(control: &Control) -> Result<()> {
    control.sessions.flush(&control.store)
}
