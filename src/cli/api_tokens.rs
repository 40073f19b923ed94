//! Commands about API tokens.

use super::answers::{encoded, listed, remove_by};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in, signed_in_as_person};
use super::output::{self, Kind, Table, column};
use super::watch::WATCH;
use crate::client::{Api, Called};
use serde_json::json;

const API_TOKENS: Table = Table {
    noun: "API tokens",
    id: "id",
    columns: &[
        column("ID", "id", Kind::Id),
        column("NAME", "name", Kind::Text),
        column("OWNER", "owner", Kind::Text),
        column("ROLE", "role", Kind::Text),
        column("EXPIRES", "expires_at", Kind::Time),
        column("LAST USED", "last_used_at", Kind::Time),
        column("FROM", "last_used_address", Kind::Text).sparse(),
        column("AGE", "created_at", Kind::Time).wide(),
    ],
    tabs: &[
        ("ID", "id"),
        ("NAME", "name"),
        ("OWNER", "owner"),
        ("ROLE", "role"),
        ("EXPIRES", "expires_at"),
        ("LAST USED", "last_used_at"),
        ("FROM", "last_used_address"),
    ],
};

/// Options of `api-token create`.
const CREATE: &[Opt] = &[
    opt("role", "ROLE", "viewer, operator or admin; required"),
    opt("days", "N", "days until the token ends, 1 to 3650 (default 90)"),
];

/// Days of an API token where nothing is said.
const TOKEN_DAYS: i64 = 90;

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("api-token list", "", "List API tokens.", &[WATCH, SIGN_IN], list),
    command("api-token create", "NAME", "Create an API token for a program.", &[CREATE, SIGN_IN], create)
        .example("uptimemesh api-token create ci --role operator --days 30"),
    command("api-token revoke", "ID", "Revoke an API token.", &[SIGN_IN], revoke).formerly(&["api-token delete"]),
];

fn list(args: &Args) -> Result<(), Failure> {
    listed(args, &API_TOKENS, &|api, _| api.list(path(api)?))
}

/// Path of the tokens that this caller may list: all for an admin, else the caller's own.
fn path(api: &Api) -> Called<&'static str> {
    let me = api.get("/auth/me")?;
    Ok(if me["role"] == "admin" { "/api-tokens" } else { "/auth/api-tokens" })
}

fn create(args: &Args) -> Result<(), Failure> {
    let body =
        json!({"name": args.word(0), "role": args.required("role"), "expires_in_days": args.int("days", TOKEN_DAYS)});
    output::secret(args, &signed_in_as_person(args)?.0.post("/api-tokens", &body)?, "token");
    Ok(())
}

fn revoke(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    remove_by(args, &api, &format!("{}/{}", path(&api)?, encoded(args.word(0))))
}
