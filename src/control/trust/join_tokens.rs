//! Join tokens: created for operators, listed without their secret, revoked.

use crate::control::trust::{ca, tls};
use crate::control::{Control, guard};
use crate::crypto;
use crate::error::{Error, Result};
use crate::model::events::catalogue::{CLUSTER_BOOTSTRAP, JOIN_TOKEN_CREATE, JOIN_TOKEN_DELETE};
use crate::model::ids::JoinTokenId;
use crate::model::join_string::JoinString;
use crate::model::join_tokens::{Admits, JoinRole, JoinToken, NewJoinToken};
use crate::model::{Page, Paging};
use crate::store::{Write, events, join_tokens, settings};
use serde_json::json;

/// Seconds to keep a token after its end: long enough to see which node used it.
const KEPT_S: i64 = 7 * 86_400;

/// Answer to `POST /cluster/bootstrap`.
#[derive(Debug, serde::Serialize)]
pub struct Bootstrapped {
    bootstrapped: bool,
    /// Admits one core node.
    pub core_token: NewJoinToken,
    /// Admits one worker node.
    pub worker_token: NewJoinToken,
}

/// A page of tokens.
pub fn list(control: &Control, paging: &Paging) -> Result<Page<JoinToken>> {
    control.store.read(|r| join_tokens::page(r, paging))
}

/// Creates a join token.
pub fn create(control: &Control, admits: Admits, ttl_s: i64) -> Result<NewJoinToken> {
    let contact = Contact::of_server(control)?;
    control.store.write(move |w| {
        guard::check(w)?;
        mint(w, &contact, admits, ttl_s)
    })
}

/// Revokes a token.
pub fn delete(control: &Control, id: JoinTokenId) -> Result<()> {
    control.store.write(move |w| {
        guard::check(w)?;
        if !join_tokens::delete(w, &id)? {
            return Err(Error::not_found("Join token"));
        }
        events::record(w, JOIN_TOKEN_DELETE.with(json!({"token_id": id})))?;
        Ok(())
    })
}

/// Creates the certificate authority, if there is none.
pub fn ensure_authority(control: &Control) -> Result<()> {
    control.ca.ensure().map(drop)
}

/// Creates the certificate authority, if there is none, and fresh tokens for a core and for a worker node.
pub fn bootstrap(control: &Control, core_ttl_s: i64, worker_ttl_s: i64) -> Result<Bootstrapped> {
    control.store.read(guard::check)?;
    let contact = Contact::of_server(control)?;
    control.store.write(move |w| {
        guard::check(w)?;
        let first = settings::by_key(w, "cluster_bootstrapped")?.is_none_or(|s| s.value != "true");
        if first {
            settings::put(w, "cluster_bootstrapped", "true")?;
            settings::put(w, "cluster_bootstrapped_at", &w.now.to_string())?;
            events::record(w, CLUSTER_BOOTSTRAP.with(json!({})))?;
        }
        let core_token = mint(w, &contact, JoinRole::Core.into(), core_ttl_s)?;
        let worker_token = mint(w, &contact, JoinRole::Worker.into(), worker_ttl_s)?;
        Ok(Bootstrapped { bootstrapped: true, core_token, worker_token })
    })
}

/// Addresses and fingerprint by which a machine finds and verifies this server; `None` if it does not speak TLS,
/// because then a proxy in front of it proves itself.
struct Contact(Option<(String, Vec<String>)>);

impl Contact {
    fn of_server(control: &Control) -> Result<Contact> {
        ca::clock_is_right()?;
        let authority = control.ca.vouching()?.fingerprint_hex();
        Ok(Contact(control.tls.is_some().then(|| (authority, tls::reached_at(&control.config, control.listening)))))
    }

    fn join_string(&self, role: JoinRole, token: &str) -> Option<String> {
        let (authority, addresses) = self.0.clone()?;
        Some(JoinString { role: role.as_str().to_string(), authority, token: token.to_string(), addresses }.text())
    }
}

fn mint(write: &Write, contact: &Contact, admits: Admits, ttl_s: i64) -> Result<NewJoinToken> {
    join_tokens::prune(write, write.now.plus_secs(-KEPT_S))?;
    let id = JoinTokenId::of_row(format!("jt-{}", crypto::random_hex(8)));
    let token = crypto::token::join_secret();
    let expires_at = write.now.plus_secs(ttl_s);
    join_tokens::insert(write, &id, &crypto::sha256_hex(token.as_bytes()), &admits, expires_at)?;
    let Admits { role, node_id, mesh_ip } = admits;
    let fields = json!({"role": role, "token_id": id, "expires_at": expires_at});
    events::record(write, JOIN_TOKEN_CREATE.with(fields))?;
    let join_string = contact.join_string(role, &token);
    Ok(NewJoinToken { id, role, token, join_string, expires_at, node_id, mesh_ip })
}
