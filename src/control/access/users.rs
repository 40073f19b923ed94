//! Users: created, given another role or password, deleted. The cluster always keeps an admin.

use crate::control::access::auth;
use crate::control::versions::{Condition, Versioned};
use crate::control::{Control, guard};
use crate::crypto::{self, password};
use crate::error::{Error, Result};
use crate::model::events::catalogue::{USER_CREATE, USER_DELETE, USER_RESET_PASSWORD, USER_ROLE, USER_SET_PASSWORD};
use crate::model::ids::{Id, UserName};
use crate::model::users::{Person, Role, User};
use crate::model::{Page, Paging};
use crate::store::{Read, Store, Write, api_tokens, events, sessions, users};
use serde_json::json;
use std::sync::Arc;

/// Length of a generated password, in characters: a hundred bits.
const MADE_CHARS: usize = 20;

/// A page of users.
pub fn list(control: &Control, paging: &Paging) -> Result<Page<Person>> {
    control.store.read(|r| users::page(r, paging))
}

/// One user.
pub fn show(control: &Control, name: &UserName) -> Result<Versioned<Person>> {
    Versioned::of(control.store.read(|r| found(r, name))?)
}

fn found(read: &Read, name: &UserName) -> Result<Person> {
    users::by_name(read, name)?.map(|account| account.person).ok_or_else(missing)
}

fn missing() -> Error {
    Error::not_found("User")
}

/// Creates a user.
pub fn create(
    control: &Control,
    name: UserName,
    role: Role,
    password: &str,
    must_change: bool,
    by: &User,
) -> Result<Versioned<Person>> {
    let hash = auth::hashed(control, password)?;
    let (live, by) = (Arc::clone(&control.sessions), by.clone());
    control.store.write(move |w| {
        guard::check(w)?;
        live.check_again(w, &by, Role::Admin)?;
        users::insert(w, &name, &hash, role, must_change)?;
        events::record(w, USER_CREATE.with(json!({"username": name, "role": role})))?;
        Versioned::of(found(w, &name)?)
    })
}

/// Gives a user another role, which ends that user's sessions.
pub fn set_role(
    control: &Control,
    name: UserName,
    condition: Condition,
    role: Option<Role>,
) -> Result<Versioned<Person>> {
    let live = Arc::clone(&control.sessions);
    control.store.write(move |w| {
        guard::check(w)?;
        let person = found(w, &name)?;
        condition.check(&person)?;
        if let Some(role) = role.filter(|role| *role != person.role) {
            keeps_an_admin(w, &person, role)?;
            users::set_role(w, &name, role)?;
            sessions::delete_of_user(w, &name)?;
            live.forget_user(w, &name);
            let fields = json!({"username": name, "from": person.role, "to": role});
            events::record(w, USER_ROLE.with(fields))?;
        }
        Versioned::of(found(w, &name)?)
    })
}

/// Refuses to demote or delete the last admin.
fn keeps_an_admin(read: &Read, person: &Person, role: Role) -> Result<()> {
    if person.role == Role::Admin && role != Role::Admin && users::other_admins(read, &person.name)? == 0 {
        return Err(Error::Conflict("This is the only admin. Make another user an admin first.".into()));
    }
    Ok(())
}

/// Deletes a user, with all sessions and API tokens.
pub fn delete(control: &Control, name: UserName, condition: Condition, by: &User) -> Result<()> {
    if name == by.name {
        return Err(Error::Conflict("You cannot delete yourself; another admin can.".into()));
    }
    let live = Arc::clone(&control.sessions);
    control.store.write(move |w| {
        guard::check(w)?;
        let person = found(w, &name)?;
        condition.check(&person)?;
        keeps_an_admin(w, &person, Role::Viewer)?;
        users::delete(w, &name)?;
        live.forget_user(w, &name);
        events::record(w, USER_DELETE.with(json!({"username": name, "role": person.role}))).map(drop)
    })?;
    control.setup.forget_when_done(&control.store);
    Ok(())
}

/// Sets another user's password and ends that user's sessions. With `must_change` the next sign-in must change it.
pub fn set_password(control: &Control, name: UserName, password: &str, must_change: bool, by: &User) -> Result<()> {
    if name == by.name {
        return Err(Error::Conflict("Change your own password by POST /auth/password, with the current one.".into()));
    }
    let hash = auth::hashed(control, password)?;
    let (live, by) = (Arc::clone(&control.sessions), by.clone());
    control.store.write(move |w| {
        live.check_again(w, &by, Role::Admin)?;
        put_password(w, &name, &hash, must_change)?;
        live.forget_user(w, &name);
        events::record(w, USER_SET_PASSWORD.with(json!({"username": name}))).map(drop)
    })?;
    control.setup.forget_when_done(&control.store);
    Ok(())
}

fn put_password(write: &Write, name: &UserName, hash: &str, must_change: bool) -> Result<()> {
    let account = users::by_name(write, name)?.ok_or_else(missing)?;
    users::set_password(write, name, hash, account.password_version, must_change)?;
    sessions::delete_of_user(write, name).map(drop)
}

/// Sets a user's password from the server's own machine, whether the server runs or not; creates the user as an admin
/// if the name is new. Without a password it generates one. Ends the user's sessions and API tokens. Returns the
/// password, and true if the user was created.
pub fn reset_password(store: &Store, name: &str, password: Option<String>) -> Result<(String, bool)> {
    let name = UserName::parse(name).ok_or_else(|| {
        Error::Malformed(format!("{name:?} is not a valid user name: use 1 to 64 characters of A-Z a-z 0-9 . _ : -"))
    })?;
    let password = password.unwrap_or_else(|| crypto::random_words(MADE_CHARS).to_lowercase());
    auth::check_length(&password, "new_password")?;
    let hash = password::hash(&password)?;
    store
        .write(move |w| {
            let known = users::by_name(w, &name)?.is_some();
            if known {
                put_password(w, &name, &hash, false)?;
                // A user who needs this procedure may have lost more than a password.
                api_tokens::delete_of_owner(w, &name)?;
            } else {
                users::insert(w, &name, &hash, Role::Admin, false)?
            }
            let fields = json!({"username": name, "created": !known});
            events::record(w, USER_RESET_PASSWORD.with(fields))?;
            Ok(!known)
        })
        .map(|made| (password, made))
}
