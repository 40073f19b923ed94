//! Connection to the API: its address, trust, and credentials.
//!
//! The first of these that is given counts; `uptimemesh help` has the same list:
//!
//! 1. an API token, a user's name or a password, as flags;
//! 2. `--data-dir`: the local credential in that directory; `--context`, `UPTIMEMESH_CONTEXT`;
//! 3. an API token, a user's name or a password, in the environment;
//! 4. `--api-url`, `UPTIMEMESH_API_URL`: a context of that URL, the local credential of that server;
//! 5. the current context;
//! 6. the local credential;
//! 7. for the commands of version 1 only: `admin` with the first password.

use super::args::{Args, Failure, Opt, opt};
use super::contexts::{self, Context, Contexts};
use super::failure::VERSION_1;
use super::local::{Local, normal};
use super::output;
use crate::client::{self, Api, CallError, Trust};
use crate::sys::prompt;

/// Credentials in their order, for the help.
pub(super) const ORDER: &str = "by the first of: user or token as flags; --data-dir or --context; user or token \
    in the environment; a context of --api-url; the current context; the server on this machine";

/// Default URL of the API.
pub(super) const API_URL: &str = "http://127.0.0.1:8000";

/// The password of the account that comes with a new database: the default, so that first steps work as they are
/// written.
pub(super) const FIRST_PASSWORD: &str = "uptime";

/// Options of commands that call the API: credentials and output.
pub(super) const SIGN_IN: &[Opt] = &[
    opt("username", "NAME", "user to sign in with a password (default admin) [UPTIMEMESH_USERNAME]"),
    opt("password-file", "FILE", "file with the password; - reads standard input"),
    opt("password", "TEXT", "the password; others on this machine can see it [UPTIMEMESH_PASSWORD]"),
    opt("api-token-file", "FILE", "file with an API token, instead of name and password [UPTIMEMESH_API_TOKEN]"),
    opt("data-dir", "DIR", "data directory of a server on this machine: who can read it needs no password [DATA_DIR]"),
    output::FORMAT,
    output::JSON,
    output::QUIET,
    output::COLOR,
];

/// Source of credentials.
enum Way {
    /// A context.
    Context(Box<Context>),
    /// The server on this machine.
    Local(Local),
    /// The user that flags or environment name; for commands of version 1 also the account of a new database.
    Named,
}

/// The URL of the API, where the command line or the environment says one.
pub(super) fn said_api_url(args: &Args) -> Option<String> {
    args.get("api-url").map(str::to_string).or_else(|| variable("UPTIMEMESH_API_URL"))
}

/// The URL of the API.
pub(super) fn api_url(args: &Args) -> String {
    said_api_url(args).unwrap_or(API_URL.to_string())
}

/// A variable of the environment, unless it is empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Trust from the command line or the environment, if given.
pub(super) fn authorities(args: &Args) -> Option<Trust> {
    let path = args.get("ca-file").map(str::to_string).or_else(|| variable("UPTIMEMESH_CA_FILE"))?;
    client::authorities_in(&path).map(Trust::Authorities).map_err(|why| args.fault(why)).ok()
}

/// The API that the command line names.
pub(super) fn api(args: &Args) -> Result<Api, Failure> {
    let url = api_url(args);
    let api = match authorities(args) {
        Some(trust) => Api::with(&[url], Some(trust), None),
        None => Api::new(&url),
    };
    args.finish()?;
    api.map_err(|why| Failure::Usage(vec![why]))
}

/// The same, with the right to do what the caller may.
pub(super) fn signed_in(args: &Args) -> Result<Api, Failure> {
    match way(args)? {
        Way::Context(context) => context.signed_in(),
        Way::Local(local) => Ok(local.api()?.with_token(local.token())?),
        Way::Named => Ok(by_name(args, None)?.0),
    }
}

/// Renews a credential that is refused during a long command: a session that has ended, or the local credential of a
/// server that was started again. The command stays at its control plane.
pub(super) fn sign_in_again(args: &Args, api: &mut Api) -> Result<(), Failure> {
    if api.sign_in_again()? {
        return Ok(());
    }
    let renewed = match way(args)? {
        Way::Context(context) => context.signed_in()?,
        Way::Local(local) => local.api()?.with_token(local.token())?,
        // A token that was given has no successor, and the first password is not tried instead of one.
        Way::Named => return Ok(()),
    };
    // By now the current context may be that of another control plane.
    if normal(renewed.url()) == normal(api.url()) {
        *api = renewed;
    }
    Ok(())
}

/// The same to manage users, which API tokens may not: with the local credential, or a person with a password.
pub(super) fn signed_in_to_manage_users(args: &Args) -> Result<Api, Failure> {
    match way(args)? {
        Way::Context(context) => Ok(by_password(args, &context)?.0),
        Way::Local(local) => Ok(local.api()?.with_token(local.token())?),
        Way::Named => Ok(by_name(args, None)?.0),
    }
}

/// The same for what only a person may do. Returns the password too.
pub(super) fn signed_in_as_person(args: &Args) -> Result<(Api, String), Failure> {
    match way(args)? {
        Way::Context(context) => by_password(args, &context),
        Way::Local(local) => by_name(args, Some(local.api()?)),
        Way::Named => by_name(args, None),
    }
}

/// The same to change the caller's own password. Returns the current one too; `None` for the local credential, which
/// needs none.
pub(super) fn signed_in_to_change_password(args: &Args) -> Result<(Api, Option<String>), Failure> {
    let (api, password) = match way(args)? {
        Way::Local(local) => return Ok((local.api()?.with_token(local.token())?, None)),
        Way::Context(context) => by_password(args, &context)?,
        Way::Named => by_name(args, None)?,
    };
    Ok((api, Some(password)))
}

/// Finds out who signs in, with every fault of the command line.
fn way(args: &Args) -> Result<Way, Failure> {
    if args.has("context") && args.has("api-url") {
        args.fault("--context and --api-url name two control planes: give one of them".to_string());
    }
    args.finish()?;
    if is_said_by_flags(args) {
        return Ok(Way::Named);
    }
    if let Some(dir) = args.get("data-dir") {
        let local = Local::find(args)
            .ok_or_else(|| format!("no server whose credential you may read runs on the data directory {dir}"))?;
        return Ok(Way::Local(local));
    }
    if let Some(name) = contexts::said(args) {
        return Ok(Way::Context(Box::new(Contexts::load()?.named(&name)?.clone())));
    }
    if is_said_by_variables() {
        return Ok(Way::Named);
    }
    let url = said_api_url(args);
    // What the command line says of trust is meant for the server that it names.
    let found = match &url {
        Some(_) if args.has("ca-file") => None,
        Some(url) => Contexts::load()?.of_url(url).cloned(),
        None => Contexts::load()?.current().cloned(),
    };
    if let Some(context) = found {
        return Ok(Way::Context(Box::new(context)));
    }
    let local = Local::find(args).filter(|local| url.as_deref().is_none_or(|url| local.is_at(url)));
    match local {
        Some(local) => Ok(Way::Local(local)),
        None if VERSION_1.contains(&args.called.as_str()) => Ok(Way::Named),
        None => Err(no_credential(args)?),
    }
}

/// The failure of a command for which no credential was found. No password is guessed: the server would note a failed
/// sign-in, and refuse this machine after a few.
fn no_credential(args: &Args) -> Result<Failure, Failure> {
    let api = api(args)?;
    api.reach()?;
    let url = api.url();
    let login = said_api_url(args).map_or(String::new(), |url| format!(" {url}"));
    Ok(Failure::Failed(format!(
        "there is no credential for {url}: no user or token was given, no context is of this URL, and no server on \
            this machine has its data directory here\n\
         Run this in the directory where the server was started, add --data-dir DIR, or sign in: uptimemesh \
            login{login}"
    )))
}

/// True if flags say who signs in.
fn is_said_by_flags(args: &Args) -> bool {
    ["username", "password", "password-file", "api-token", "api-token-file"].iter().any(|flag| args.has(flag))
}

/// True if the environment says who signs in.
fn is_said_by_variables() -> bool {
    let variables = ["UPTIMEMESH_API_TOKEN", "UPTIMEMESH_USERNAME", "UPTIMEMESH_PASSWORD"];
    variables.iter().any(|name| variable(name).is_some())
}

/// Signs in whom flags and environment name: at this server, at that of the named context, or at that of `--api-url`.
fn by_name(args: &Args, at: Option<Api>) -> Result<(Api, String), Failure> {
    let asked = |name: &str| args.has(name) || args.has(&format!("{name}-file"));
    // Who says on the command line who signs in means it, whatever the environment says.
    let by_name = args.has("username") || asked("password");
    let token = if !by_name || asked("api-token") { args.token("api-token", "UPTIMEMESH_API_TOKEN") } else { None };
    let said = args.get("username").map(str::to_string).or_else(|| variable("UPTIMEMESH_USERNAME"));
    let given = if token.is_some() { None } else { args.secret("password", "UPTIMEMESH_PASSWORD") };
    args.finish()?;
    let mut api = match (at, contexts::said(args)) {
        (Some(at), _) => at,
        (None, Some(name)) => Contexts::load()?.named(&name)?.api()?,
        (None, None) => api(args)?,
    };
    if let Some(token) = token {
        return Ok((api.with_token(token)?.by_caller(), String::new()));
    }
    let password = given.clone().unwrap_or(FIRST_PASSWORD.to_string());
    match api.sign_in(said.as_deref().unwrap_or("admin"), &password) {
        Ok(()) => Ok((api, password)),
        Err(e @ CallError::Refused { status: 401, .. }) if given.is_none() => {
            Err(Failure::Failed(format!("{e}; give the password by --password-file or UPTIMEMESH_PASSWORD")))
        }
        Err(e) => Err(e.into()),
    }
}

/// Signs in the user of a context, after a password prompt.
fn by_password(args: &Args, context: &Context) -> Result<(Api, String), Failure> {
    if !prompt::is_possible() {
        let name = &context.name;
        args.fault(format!(
            "only a person may do this, and the token of context {name} is a program's: --context {name} --username {} \
                --password-file FILE",
            context.user
        ));
    }
    args.finish()?;
    let password = prompt::secret(&format!("Password of {} at {}: ", context.user, context.url))?;
    let mut api = context.api()?;
    api.sign_in(&context.user, &password)?;
    Ok((api, password))
}
