//! Commands about API tokens.

use super::answers::{encoded, listed, remove};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in, signed_in_as_person};
use super::output;
use serde_json::json;

/// Options of `api-token create`.
const CREATE: &[Opt] =
    &[opt("role", "ROLE", "viewer, operator or admin; required"), opt("days", "N", "days until the token ends, 1 to 3650 (default 90)")];

/// Days of an API token where nothing is said.
const TOKEN_DAYS: i64 = 90;

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("api-token list", "", "List API tokens.", &[SIGN_IN], list),
    command("api-token create", "NAME", "Create an API token for a program.", &[CREATE, SIGN_IN], create)
        .example("uptimemesh api-token create ci --role operator --days 30"),
    command("api-token revoke", "ID", "Revoke an API token.", &[SIGN_IN], revoke).formerly(&["api-token delete"]),
];

fn list(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/api-tokens")?;
    let keys = ["id", "name", "owner", "role", "expires_at", "last_used_at", "last_used_address"];
    listed(args, list, &["ID", "NAME", "OWNER", "ROLE", "EXPIRES", "LAST USED", "FROM"], &keys);
    Ok(())
}

fn create(args: &Args) -> Result<(), Failure> {
    let body = json!({"name": args.word(0), "role": args.required("role"), "expires_in_days": args.int("days", TOKEN_DAYS)});
    output::json(&signed_in_as_person(args)?.0.post("/api-tokens", &body)?);
    Ok(())
}

fn revoke(args: &Args) -> Result<(), Failure> {
    remove(args, &format!("/api-tokens/{}", encoded(args.word(0))))
}
