//! Sessions of users: they begin with a sign-in, and end with their row, with their time limit, or when unused. Also
//! identifies the holder of a session's token or an API token.
//!
//! Every request asks the database for its version, so ending a session takes effect at once, even from another
//! process; the rows are read again only after a commit. The times of last use are kept in memory and written in
//! batches, so that reads cost no write.

use crate::clock::{self, Timestamp};
use crate::config::{Config, Secret};
use crate::control::Control;
use crate::control::access::holders::Holders;
use crate::control::access::local::Local;
use crate::control::access::visitor::{Place, Visitor};
use crate::crypto::{self, token};
use crate::error::{Error, Result};
use crate::model::events::catalogue::{AUTH_SIGN_OUT, SESSION_REVOKE};
use crate::model::ids::{ApiTokenId, Id, SessionId, UserName};
use crate::model::sessions::Session;
use crate::model::users::{Account, Credential, Restriction, Role, User};
use crate::model::{Page, Paging};
use crate::store::api_tokens::Holder as TokenHolder;
use crate::store::sessions::{Holder, NewSession};
use crate::store::{self, Read, Store, Write, events, sessions, users};
use crate::thread::lock;
use serde_json::json;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Maximum number of sessions per user; a new one replaces the oldest.
const OF_USER_MAX: usize = 100;
/// Maximum number of uses in memory; until they are written, further ones are not noted.
const USES_MAX: usize = 10_000;
/// Uses written in one transaction: other writes go between them.
const FLUSH_MAX: usize = 1000;
/// Maximum number of restricted sessions under the first password from elsewhere: of one address, and in total.
const RESTRICTED_OF_ADDRESS_MAX: usize = 4;
const RESTRICTED_MAX: usize = 1000;
/// Maximum number of sessions in memory while the disk takes no more rows: enough for the operators who repair that.
const UNSAVED_MAX: usize = 100;
/// Maximum number of characters of a `User-Agent`.
const USER_AGENT_CHARS_MAX: usize = 200;

/// A session's token, in the only answer that ever contains it. Holds a secret, so it has no Debug.
pub struct SignedIn {
    /// The session's id.
    pub id: SessionId,
    /// Sent in the cookie or the `Authorization` header.
    pub token: String,
    /// Lifetime in seconds.
    pub expires_in_s: i64,
    /// Restriction of the session, if any.
    pub restriction: Option<Restriction>,
}

/// State of sessions besides their rows.
pub struct Sessions {
    /// The credential of commands on the server's own machine.
    pub local: Local,
    key: Secret,
    ttl_s: i64,
    idle_s: i64,
    /// Holders of sessions and of API tokens.
    holders: Holders<(i64, SessionId, Holder)>,
    token_holders: Holders<TokenHolder>,
    /// Unwritten times of the last use of sessions.
    seen: Mutex<HashMap<SessionId, Timestamp>>,
    /// Unwritten times and addresses of the last use of API tokens.
    used: Mutex<HashMap<ApiTokenId, (Timestamp, IpAddr)>>,
    unsaved: Mutex<Vec<UnsavedSession>>,
    /// Sessions under the first password from elsewhere, each with its address.
    restricted: Mutex<Vec<(IpAddr, UnsavedSession)>>,
}

/// A session without a row.
struct UnsavedSession {
    id: SessionId,
    user: UserName,
    /// The password version at sign-in: a change of the password makes the session void.
    password_version: i64,
    last_seen_at: Timestamp,
}

impl UnsavedSession {
    fn of(id: &SessionId, account: &Account) -> UnsavedSession {
        let (user, password_version) = (account.person.name.clone(), account.password_version);
        UnsavedSession { id: id.clone(), user, password_version, last_seen_at: clock::now() }
    }
}

impl Sessions {
    pub(in crate::control) fn new(config: &Config, listening: SocketAddr) -> Sessions {
        Sessions {
            local: Local::new(config, listening),
            key: config.auth_secret_key.clone(),
            ttl_s: config.auth_session_ttl_s,
            idle_s: config.auth_session_idle_s,
            holders: Holders::default(),
            token_holders: Holders::default(),
            seen: Mutex::default(),
            used: Mutex::default(),
            unsaved: Mutex::default(),
            restricted: Mutex::default(),
        }
    }

    /// A session unused for longer than this ends.
    pub fn idle_limit(&self) -> Duration {
        Duration::from_secs(self.idle_s.unsigned_abs())
    }

    /// True if a text could be a credential of ours. A session's token is recognized without a query.
    pub fn is_genuine(&self, shown: &str) -> bool {
        token::is_api_secret(shown)
            || token::is_local_secret(shown)
            || self.holders.knows(shown)
            || token::open(self.key.expose(), shown).is_some()
    }

    /// A word for the names of this cluster's cookies: a browser sends them to all clusters on the same host.
    pub fn word(&self) -> String {
        token::key_id(self.key.expose())
    }

    /// CSRF token for the forms of pages shown to this credential.
    pub fn csrf(&self, credential_id: &str) -> String {
        token::csrf(self.key.expose(), credential_id)
    }

    /// The holder of a credential, if it is genuine and valid; notes the use.
    pub fn holder(&self, store: &Store, shown: &str, place: Place) -> Result<Option<User>> {
        if token::is_api_secret(shown) {
            return self.token_holder(store, shown, place);
        }
        if token::is_local_secret(shown) {
            return Ok(self.local.holder(shown, place));
        }
        let now = clock::now();
        let Some((session_id, found)) = self.session_of(store, shown, now)? else { return Ok(None) };
        let mut seen = lock(&self.seen);
        let last_seen_at = seen.get(&session_id).map_or(found.last_seen_at, |at| found.last_seen_at.max(*at));
        if found.expires_at < now || last_seen_at.plus_secs(self.idle_s) < now {
            return Ok(None);
        }
        if seen.len() < USES_MAX || seen.contains_key(&session_id) {
            seen.insert(session_id.clone(), now);
        }
        Ok(Some(User {
            restriction: restriction(found.must_change_password, found.password_is_seeded, place.is_local),
            name: found.user,
            role: found.role,
            credential: Credential::Session(session_id),
        }))
    }

    /// The session of a token, in memory with its opened token: the same one comes with every request.
    fn session_of(&self, store: &Store, shown: &str, now: Timestamp) -> Result<Option<(SessionId, Holder)>> {
        let known = self.holders.known(store, shown)?;
        let (ends_at, id, found) = match known {
            Some(known) => known,
            None => {
                let Some(claims) = token::open(self.key.expose(), shown) else { return Ok(None) };
                let Some(id) = SessionId::parse(&claims.session) else { return Ok(None) };
                let read = |r: &Read, _: &str| Ok(sessions::holder(r, &id)?.map(|h| (claims.exp, id.clone(), h)));
                match self.holders.get(store, shown, read)? {
                    Some(found) => found,
                    None => match self.unsaved(store, &id, now)? {
                        Some(found) => (claims.exp, id, found),
                        None => return Ok(None),
                    },
                }
            }
        };
        Ok((ends_at >= now.secs()).then_some((id, found)))
    }

    fn token_holder(&self, store: &Store, secret: &str, place: Place) -> Result<Option<User>> {
        let hash = crypto::sha256_hex(secret.as_bytes());
        let now = clock::now();
        let found = self.token_holders.get(store, &hash, store::api_tokens::holder)?;
        let Some(found) = found.filter(|t| t.expires_at > now) else { return Ok(None) };
        let mut used = lock(&self.used);
        if used.len() < USES_MAX || used.contains_key(&found.id) {
            used.insert(found.id.clone(), (now, place.address));
        }
        let role = found.role.min(found.owner_role);
        Ok(Some(User { name: found.owner, role, credential: Credential::ApiToken(found.id), restriction: None }))
    }

    /// A session without a row, if it exists.
    fn unsaved(&self, store: &Store, id: &SessionId, now: Timestamp) -> Result<Option<Holder>> {
        let of = |h: &UnsavedSession| (h.user.clone(), h.password_version, h.last_seen_at);
        let mut known = lock(&self.unsaved).iter().find(|h| h.id == *id).map(of);
        known = known.or_else(|| lock(&self.restricted).iter().find(|(_, h)| h.id == *id).map(|(_, h)| of(h)));
        let Some((user, version, last_seen_at)) = known else { return Ok(None) };
        let account = store.read_first(|r| users::by_name(r, &user))?.filter(|a| a.password_version == version);
        Ok(account.map(|account| Holder {
            user,
            role: account.person.role,
            must_change_password: account.person.must_change_password,
            password_is_seeded: account.password_is_seeded,
            last_seen_at,
            // Its token contains the end.
            expires_at: now,
        }))
    }

    /// Prepares a new session.
    pub(in crate::control) fn prepare(visitor: &Visitor, user: &UserName) -> NewSession {
        let printable = visitor.user_agent.chars().filter(|c| !c.is_control());
        NewSession {
            id: SessionId::of_row(format!("s-{}", crypto::random_hex(8))),
            user: user.clone(),
            address: visitor.place.address.to_canonical().to_string(),
            user_agent: printable.take(USER_AGENT_CHARS_MAX).collect(),
        }
    }

    /// Writes the session, in the transaction that begins it.
    pub(in crate::control) fn begin(write: &Write, new: &NewSession, ttl_s: i64) -> Result<()> {
        sessions::insert(write, new, ttl_s, OF_USER_MAX)
    }

    /// Keeps a session in memory when it could not be written: an operator who repairs a full disk must be able to sign
    /// in.
    pub(in crate::control) fn keep_unsaved(&self, id: &SessionId, account: &Account) {
        let mut unsaved = lock(&self.unsaved);
        if unsaved.len() >= UNSAVED_MAX {
            unsaved.remove(0);
        }
        unsaved.push(UnsavedSession::of(id, account));
    }

    /// Keeps a session under the first password from elsewhere in memory, a few per address: such visitors must neither
    /// push out the owner's session nor fill the database.
    pub(in crate::control) fn keep_restricted(&self, id: &SessionId, account: &Account, address: IpAddr) {
        let mut restricted = lock(&self.restricted);
        let of_address = restricted.iter().filter(|(from, _)| *from == address).count();
        let surplus = if of_address >= RESTRICTED_OF_ADDRESS_MAX {
            restricted.iter().position(|(from, _)| *from == address)
        } else {
            None
        };
        let surplus = surplus.or((restricted.len() >= RESTRICTED_MAX).then_some(0));
        if let Some(oldest) = surplus {
            restricted.remove(oldest);
        }
        restricted.push((address, UnsavedSession::of(id, account)));
    }

    /// The token of a new session.
    pub(in crate::control) fn signed_in(&self, id: &SessionId, restriction: Option<Restriction>) -> SignedIn {
        let exp = clock::now().secs() + self.ttl_s;
        SignedIn {
            id: id.clone(),
            token: token::mint(self.key.expose(), id.as_str(), exp),
            expires_in_s: self.ttl_s,
            restriction,
        }
    }

    /// Lifetime of a session, in seconds.
    pub(in crate::control) fn ttl_s(&self) -> i64 {
        self.ttl_s
    }

    /// Ends the sessions of this user that have no row, together with the transaction that ends the others.
    pub(in crate::control) fn forget_user(self: &Arc<Self>, write: &Write, user: &UserName) {
        let (live, user) = (Arc::clone(self), user.clone());
        write.on_commit(move || {
            lock(&live.unsaved).retain(|h| h.user != user);
            lock(&live.restricted).retain(|(_, h)| h.user != user);
        });
    }

    /// Refuses a caller who may no longer act in this role, in the transaction of what gives rights to others: since
    /// the gate's check the call may have waited for a password's hash or for the disk.
    pub(in crate::control) fn check_again(&self, read: &Read, by: &User, role: Role) -> Result<()> {
        let is_valid = match &by.credential {
            Credential::Session(id) => sessions::user_of(read, id)?.is_some() || self.is_without_row(id),
            Credential::ApiToken(_) => false,
            // It ends with the server, and belongs to no user who could be removed.
            Credential::Local => return Ok(()),
        };
        match users::by_name(read, &by.name)? {
            Some(account) if is_valid && account.person.role >= role => Ok(()),
            _ => Err(Error::unauthenticated()),
        }
    }

    /// True if a session exists in memory only.
    fn is_without_row(&self, id: &SessionId) -> bool {
        lock(&self.unsaved).iter().any(|h| h.id == *id)
    }

    /// Ends a session without a row; only one of this user, if given. Returns true if there was one.
    fn evict(&self, id: &SessionId, of: Option<&User>) -> bool {
        let mut unsaved = lock(&self.unsaved);
        let before = unsaved.len();
        unsaved.retain(|h| h.id != *id || of.is_some_and(|user| user.name != h.user));
        unsaved.len() < before
    }

    /// Ends a session in memory, with or without a row.
    fn forget(&self, id: &SessionId) {
        lock(&self.unsaved).retain(|h| h.id != *id);
        lock(&self.restricted).retain(|(_, h)| h.id != *id);
        lock(&self.seen).remove(id);
    }

    /// Writes the uses since the last flush, and deletes what has ended.
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
                let write = |(id, (at, from)): &(ApiTokenId, (Timestamp, IpAddr))| {
                    store::api_tokens::set_last_used(w, id, *at, &from.to_canonical().to_string())
                };
                part.iter().try_for_each(write)?;
                w.on_commit(move || forget_written(&live.used, &part));
                Ok(())
            })?;
        }
        let idle_s = self.idle_s;
        store.write(move |w| sessions::prune(w, w.now.plus_secs(-idle_s)))?;
        Ok(())
    }

    /// Updates a row with uses that are not written yet.
    fn overlay(&self, session: &mut Session) {
        if let Some(at) = lock(&self.seen).get(&session.id) {
            session.last_seen_at = session.last_seen_at.max(*at);
            session.updated_at = session.last_seen_at;
        }
    }

    /// Last use of a token that is not written yet.
    pub(in crate::control) fn token_used(&self, id: &ApiTokenId) -> Option<(Timestamp, IpAddr)> {
        lock(&self.used).get(id).copied()
    }
}

/// The uses in memory, in batches of one transaction each.
fn parts_of<I: Clone, U: Clone>(uses: &Mutex<HashMap<I, U>>) -> Vec<Vec<(I, U)>> {
    let all: Vec<(I, U)> = lock(uses).iter().map(|(id, used)| (id.clone(), used.clone())).collect();
    all.chunks(FLUSH_MAX).map(<[_]>::to_vec).collect()
}

/// Forgets uses that are durable. A later use in the meantime is written the next time.
fn forget_written<I: Eq + Hash, U: PartialEq>(uses: &Mutex<HashMap<I, U>>, written: &[(I, U)]) {
    let mut uses = lock(uses);
    for (id, used) in written {
        if uses.get(id) == Some(used) {
            uses.remove(id);
        }
    }
}

/// Restriction of a session at the place of its current use.
pub(in crate::control) fn restriction(must_change: bool, seeded: bool, is_local: bool) -> Option<Restriction> {
    match (seeded && !is_local, must_change) {
        (true, _) => Some(Restriction::NeedsSetupCode),
        (false, true) => Some(Restriction::MustChange),
        (false, false) => None,
    }
}

/// A page of sessions, of all users or of one; `current` is the session of this request.
pub fn list(
    control: &Control,
    paging: &Paging,
    user: Option<&UserName>,
    current: Option<&SessionId>,
) -> Result<Page<Session>> {
    let mut page = control.store.read(|r| sessions::page(r, paging, user))?;
    for session in &mut page.items {
        control.sessions.overlay(session);
        session.current = current == Some(&session.id);
    }
    Ok(page)
}

/// Ends a session; only one of this user, if given. Never guarded: revoking a right must always be possible.
pub fn revoke(control: &Control, id: SessionId, of: Option<&User>) -> Result<()> {
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

/// Ends the session of this request. A session that has ended already is ignored, and so is a token, which only an
/// admin may revoke.
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

/// Writes the uses, and deletes what has ended.
pub fn flush(control: &Control) -> Result<()> {
    control.sessions.flush(&control.store)
}
