//! Commands about people and programs: users, sessions, API tokens.

use super::args::{Args, Failure, Opt, opt};
use super::{encoded, listed, output, remove, server, shown, signed_in};
use crate::offline;
use serde_json::json;

/// Options of `user add`.
pub const ADD: &[Opt] = &[opt("role", "ROLE", "viewer, operator or admin; required")];

/// How a new password is given.
pub const NEW_PASSWORD: &[Opt] = &[
    opt("new-password-file", "FILE", "file with the new password; - reads standard input"),
    opt("new-password", "TEXT", "the new password; others on this machine can see it [UPTIMEMESH_NEW_PASSWORD]"),
];

/// Options of `api-token create`.
pub const TOKEN: &[Opt] =
    &[opt("role", "ROLE", "viewer, operator or admin; required"), opt("days", "N", "days until the token ends, 1 to 3650 (default 90)")];

/// Options of `admin reset-password`.
pub const RESET: &[Opt] = &[
    opt("username", "NAME", "whose password (default admin)"),
    opt("new-password-file", "FILE", "file with the new password; - reads standard input; without it one is made and printed"),
];

/// Days of an API token where nothing is said.
const TOKEN_DAYS: i64 = 90;

/// The new password that the command line gives.
fn new_password(args: &Args) -> Option<String> {
    let new = args.secret("new-password", "UPTIMEMESH_NEW_PASSWORD");
    if new.is_none() {
        args.fault("the new password is missing: --new-password-file FILE".to_string());
    }
    new
}

pub fn users(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/users")?;
    let keys = ["name", "role", "must_change_password", "created_at", "updated_at"];
    listed(args, list, &["NAME", "ROLE", "MUST CHANGE PASSWORD", "CREATED", "UPDATED"], &keys);
    Ok(())
}

pub fn add(args: &Args) -> Result<(), Failure> {
    let body = json!({"name": args.word(0), "role": args.required("role"), "password": new_password(args)});
    shown(args, &signed_in(args)?.post("/users", &body)?);
    Ok(())
}

pub fn role(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    let path = format!("/users/{}", encoded(args.word(0)));
    let (_, tag) = api.get_tagged(&path)?;
    shown(args, &api.patch_if(&path, &json!({"role": args.word(1)}), &tag)?);
    Ok(())
}

pub fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &format!("/users/{}", encoded(args.word(0))))
}

pub fn set_password(args: &Args) -> Result<(), Failure> {
    let body = json!({"password": new_password(args)});
    signed_in(args)?.post(&format!("/users/{}/password", encoded(args.word(0))), &body)?;
    output::print("The password is set; it must be changed at the next sign-in. Every session of this user has ended.\n");
    Ok(())
}

pub fn sessions(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/sessions")?;
    let keys = ["id", "user", "address", "created_at", "last_seen_at", "expires_at", "user_agent"];
    listed(args, list, &["ID", "USER", "ADDRESS", "BEGAN", "LAST SEEN", "ENDS", "USER AGENT"], &keys);
    Ok(())
}

pub fn revoke(args: &Args) -> Result<(), Failure> {
    remove(args, &format!("/sessions/{}", encoded(args.word(0))))
}

pub fn api_tokens(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/api-tokens")?;
    let keys = ["id", "name", "owner", "role", "expires_at", "last_used_at", "last_used_address"];
    listed(args, list, &["ID", "NAME", "OWNER", "ROLE", "EXPIRES", "LAST USED", "FROM"], &keys);
    Ok(())
}

pub fn create_api_token(args: &Args) -> Result<(), Failure> {
    let body = json!({"name": args.word(0), "role": args.required("role"), "expires_in_days": args.int("days", TOKEN_DAYS)});
    output::json(&signed_in(args)?.post("/api-tokens", &body)?);
    Ok(())
}

pub fn delete_api_token(args: &Args) -> Result<(), Failure> {
    remove(args, &format!("/api-tokens/{}", encoded(args.word(0))))
}

pub fn whoami(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get("/auth/me")?);
    Ok(())
}

pub fn reset_password(args: &Args) -> Result<(), Failure> {
    let name = args.get("username").unwrap_or("admin");
    let given = args.secret("new-password", "UPTIMEMESH_NEW_PASSWORD");
    let is_given = given.is_some();
    let config = server::config(args)?;
    let (password, is_new) = offline::reset_password(&config, name, given)?;
    let name = output::ascii(&name.to_lowercase());
    let said = if is_given { format!("The password of {name} is set.") } else { format!("The new password of {name} is {password}") };
    output::print(&match is_new {
        true => format!("{said}\nThere was nobody of this name: {name} is a new admin.\n"),
        false => format!("{said}\nEvery session and API token of this user has ended.\n"),
    });
    Ok(())
}
