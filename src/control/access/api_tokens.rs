//! API tokens: created for programs, listed without their secret, revoked.

use crate::control::{Control, guard};
use crate::crypto::{self, token};
use crate::error::{Error, Result};
use crate::model::api_tokens::{ApiToken, NewApiToken};
use crate::model::events::catalogue::{API_TOKEN_CREATE, API_TOKEN_DELETE};
use crate::model::ids::{ApiTokenId, UserName};
use crate::model::users::{Credential, Role, User};
use crate::model::{Page, Paging};
use crate::store::{api_tokens, events};
use serde_json::json;
use std::sync::Arc;

/// Maximum number of tokens per owner.
const OF_OWNER_MAX: u64 = 100;
/// Seconds to keep a token after its end: long enough to see what a program ran with.
const KEPT_S: i64 = 7 * 86_400;

/// A page of tokens; only those of this owner, if given.
pub fn list(control: &Control, paging: &Paging, owner: Option<&UserName>) -> Result<Page<ApiToken>> {
    let mut page = control.store.read(|r| api_tokens::page(r, paging, owner))?;
    for token in &mut page.items {
        if let Some((at, from)) = control.sessions.token_used(&token.id) {
            token.last_used_at = Some(at);
            token.last_used_address = Some(from.to_canonical().to_string());
        }
    }
    Ok(page)
}

/// Creates a token that acts for this user.
pub fn create(control: &Control, user: &User, name: String, role: Role, days: i64) -> Result<NewApiToken> {
    let (live, by) = (Arc::clone(&control.sessions), user.clone());
    control.store.write(move |w| {
        guard::check(w)?;
        live.check_again(w, &by, role)?;
        let owner = by.name;
        if api_tokens::count_of_owner(w, &owner)? >= OF_OWNER_MAX {
            return Err(Error::Conflict(format!("You have {OF_OWNER_MAX} API tokens; delete one first.")));
        }
        let secret = token::api_secret();
        let object = ApiToken {
            id: ApiTokenId::of_row(format!("ut-{}", crypto::random_hex(8))),
            name,
            owner,
            role,
            expires_at: w.now.plus_secs(days * 86_400),
            last_used_at: None,
            last_used_address: None,
            created_at: w.now,
            updated_at: w.now,
        };
        api_tokens::insert(w, &object, &crypto::sha256_hex(secret.as_bytes()))?;
        let fields = json!({
            "token_id": object.id, "name": object.name, "owner": object.owner, "role": role,
            "expires_at": object.expires_at,
        });
        events::record(w, API_TOKEN_CREATE.with(fields))?;
        Ok(NewApiToken { token: secret, object })
    })
}

/// Revokes a token; only one of this caller, if given. Never guarded: revoking a right must always be possible.
pub fn delete(control: &Control, id: ApiTokenId, of: Option<&User>) -> Result<()> {
    let of = of.cloned();
    control.store.write(move |w| {
        let found = api_tokens::by_id(w, &id)?.filter(|token| of.as_ref().is_none_or(|user| is_own(token, user)));
        let token = found.ok_or_else(|| Error::not_found("API token"))?;
        api_tokens::delete(w, &id)?;
        let fields = json!({"token_id": id, "name": token.name, "owner": token.owner});
        events::record(w, API_TOKEN_DELETE.with(fields)).map(drop)
    })
}

/// True if this caller may revoke the token as its own: a person may revoke any of their tokens, a token only itself.
fn is_own(token: &ApiToken, user: &User) -> bool {
    match &user.credential {
        Credential::Session(_) => token.owner == user.name,
        Credential::ApiToken(id) => token.id == *id,
        Credential::Local => false,
    }
}

/// Deletes tokens that ended long ago.
pub fn prune(control: &Control) -> Result<()> {
    control.store.write(|w| api_tokens::prune(w, w.now.plus_secs(-KEPT_S))).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::control::access::sessions::Sessions;
    use crate::store::sessions::NewSession;
    use crate::store::{QueryLog, Store, sessions, users};
    use std::net::SocketAddr;

    #[test]
    fn a_session_that_ended_while_its_call_waited_gets_no_token() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-api-tokens-{}", std::process::id()));
        crate::files::private_dir(&dir).expect("a directory");
        let config = Config { tls: false, ..Config::for_dir(&dir) };
        let store = Store::open(&config.database_path, 1, QueryLog::default()).expect("a database");
        let control = Control::new(config, store, SocketAddr::from(([127, 0, 0, 1], 9))).expect("a control plane");
        let owner = User {
            name: "ann".into(),
            role: Role::Operator,
            credential: Credential::Session("s-1".into()),
            restriction: None,
        };
        let session =
            NewSession { id: "s-1".into(), user: "ann".into(), address: String::new(), user_agent: String::new() };
        let began = control.store.write(move |w| {
            users::insert(w, &"ann".into(), "a hash", Role::Operator, false)?;
            Sessions::begin(w, &session, 60)
        });
        began.expect("a session");
        let create = |role| create(&control, &owner, crypto::random_hex(4), role, 1).map(|made| made.object.owner);
        assert_eq!(create(Role::Operator).expect("a token"), "ann");
        assert!(matches!(create(Role::Admin), Err(Error::Unauthenticated { .. })), "a role that the user lacks");
        control.store.write(|w| sessions::delete(w, &"s-1".into())).expect("the session ends");
        assert!(matches!(create(Role::Operator), Err(Error::Unauthenticated { .. })));
        let _ = std::fs::remove_dir_all(dir);
    }
}
