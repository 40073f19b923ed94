//! Commands about users and passwords.

use super::answers::{encoded, listed_at, remove_by, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in, signed_in_to_change_password, signed_in_to_manage_users};
use super::output::{self, Kind, Table, column, made};
use super::server;
use super::watch::WATCH;
use crate::offline;
use serde_json::{Value, json};

const USERS: Table = Table {
    noun: "users",
    id: "name",
    columns: &[
        column("NAME", "name", Kind::Id),
        column("ROLE", "role", Kind::Text),
        made("PASSWORD", Kind::State, password),
        column("AGE", "created_at", Kind::Time),
        column("UPDATED", "updated_at", Kind::Time),
    ],
    tabs: &[
        ("NAME", "name"),
        ("ROLE", "role"),
        ("MUST CHANGE PASSWORD", "must_change_password"),
        ("CREATED", "created_at"),
        ("UPDATED", "updated_at"),
    ],
};

/// Options of `user create`.
const ADD: &[Opt] = &[opt("role", "ROLE", "viewer, operator or admin; required")];

/// Options for a new password.
const NEW_PASSWORD: &[Opt] = &[
    opt("new-password-file", "FILE", "file with the new password; - reads standard input"),
    opt("new-password", "TEXT", "the new password; others on this machine can see it [UPTIMEMESH_NEW_PASSWORD]"),
];

/// Options of `admin reset-password`.
const RESET: &[Opt] = &[
    opt("username", "NAME", "whose password (default admin)"),
    opt(
        "new-password-file",
        "FILE",
        "file with the new password; - reads standard input; without it one is made and printed",
    ),
];

/// Options of `set-password`, beside the new password.
const SET_PASSWORD: &[Opt] = &[opt(
    "setup-code",
    "CODE",
    "where it is the first password and the server is another machine: what its start printed",
)];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("user list", "", "List users.", &[WATCH, SIGN_IN], list),
    command("user show", "NAME", "Print a user.", &[SIGN_IN], show),
    command("user create", "NAME", "Create a user.", &[ADD, NEW_PASSWORD, SIGN_IN], create)
        .formerly(&["user add"])
        .example("uptimemesh user create alice --role operator --new-password-file FILE"),
    command("user role", "NAME ROLE", "Change the role of a user; ends the user's sessions.", &[SIGN_IN], role),
    command("user set-password", "NAME", "Set the password of another user.", &[NEW_PASSWORD, SIGN_IN], set_password),
    command(
        "user reset-password",
        "",
        "Set a password in the server's own data, on its machine.",
        &[RESET],
        reset_password,
    )
    .with_settings()
    .formerly(&["admin reset-password"]),
    command("user delete", "NAME", "Remove a user, with all sessions and API tokens.", &[SIGN_IN], delete),
    command(
        "set-password",
        "",
        "Change your own password; ends your sessions.",
        &[NEW_PASSWORD, SET_PASSWORD, SIGN_IN],
        set_own_password,
    ),
    command("whoami", "", "Print who you are to the control plane.", &[SIGN_IN], whoami),
];

/// The new password that the command line gives.
fn new_password(args: &Args) -> Option<String> {
    let new = args.secret("new-password", "UPTIMEMESH_NEW_PASSWORD");
    if new.is_none() {
        args.fault("the new password is missing: --new-password-file FILE".to_string());
    }
    new
}

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &USERS, "/users")
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&path(args))?);
    Ok(())
}

fn create(args: &Args) -> Result<(), Failure> {
    let body = json!({"name": args.word(0), "role": args.required("role"), "password": new_password(args)});
    shown(args, &signed_in_to_manage_users(args)?.post("/users", &body)?);
    Ok(())
}

fn role(args: &Args) -> Result<(), Failure> {
    let api = signed_in_to_manage_users(args)?;
    let path = path(args);
    let (_, tag) = api.get_tagged(&path)?;
    shown(args, &api.patch_if(&path, &json!({"role": args.word(1)}), &tag)?);
    Ok(())
}

fn delete(args: &Args) -> Result<(), Failure> {
    remove_by(args, &signed_in_to_manage_users(args)?, &path(args))
}

fn path(args: &Args) -> String {
    format!("/users/{}", encoded(args.word(0)))
}

fn set_password(args: &Args) -> Result<(), Failure> {
    let body = json!({"password": new_password(args)});
    signed_in_to_manage_users(args)?.post(&format!("{}/password", path(args)), &body)?;
    output::print(
        "The password is set; it must be changed at the next sign-in. Every session of this user has ended.\n",
    );
    Ok(())
}

fn whoami(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get("/auth/me")?);
    Ok(())
}

fn reset_password(args: &Args) -> Result<(), Failure> {
    let name = args.get("username").unwrap_or("admin");
    let given = args.secret("new-password", "UPTIMEMESH_NEW_PASSWORD");
    let is_given = given.is_some();
    let config = server::config(args)?;
    let (password, is_new) = offline::reset_password(&config, name, given)?;
    let name = output::ascii(&name.to_lowercase());
    let said = if is_given {
        format!("The password of {name} is set.")
    } else {
        format!("The new password of {name} is {password}")
    };
    output::print(&if is_new {
        format!("{said}\nThis user did not exist: {name} is a new admin.\n")
    } else {
        format!("{said}\nEvery session and API token of this user has ended.\n")
    });
    Ok(())
}

fn set_own_password(args: &Args) -> Result<(), Failure> {
    let new = new_password(args);
    let (mut api, current) = signed_in_to_change_password(args)?;
    let Some(current) = current else {
        // The account that comes with a new database. Its owner types the password: it need not be changed again.
        api.post("/users/admin/password", &json!({"password": new, "must_change_password": false}))?;
        output::say(args, "The password of admin is changed; every session made before has ended.");
        return Ok(());
    };
    let answer = api.post(
        "/auth/password",
        &json!({"current_password": current, "new_password": new, "setup_code": args.get("setup-code")}),
    )?;
    api.adopt(&answer);
    output::say(args, "The password is changed; every session made before has ended.");
    Ok(())
}

/// State of a password: an administrator's choice must be changed at the next sign-in.
fn password(user: &Value) -> Value {
    json!(if user["must_change_password"] == true { "must change" } else { "ok" })
}
