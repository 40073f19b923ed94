//! How commands reach the API: where it is, whom to believe, and who signs in.

use super::args::{Args, Failure, Opt, opt};
use super::output;
use crate::client::{self, Api, CallError, Trust};
/// Where the API is, unless something else is said.
pub(super) const API_URL: &str = "http://127.0.0.1:8000";

/// The password of the account that comes with a new database: the default, so that first steps work as they are written.
pub(super) const FIRST_PASSWORD: &str = "uptime";

/// How commands that call the API find out who signs in, and how they print.
pub(super) const SIGN_IN: &[Opt] = &[
    opt("username", "NAME", "who signs in (default admin) [UPTIMEMESH_USERNAME]"),
    opt("password-file", "FILE", "file with the password; - reads standard input"),
    opt("password", "TEXT", "the password; others on this machine can see it [UPTIMEMESH_PASSWORD]"),
    opt("api-token-file", "FILE", "file with an API token, instead of name and password [UPTIMEMESH_API_TOKEN]"),
    output::FORMAT,
    output::JSON,
    output::QUIET,
    output::COLOR,
];

/// The URL of the API, where the command line or the environment says one.
pub(super) fn said_api_url(args: &Args) -> Option<String> {
    let env = std::env::var("UPTIMEMESH_API_URL").ok().filter(|v| !v.is_empty());
    args.get("api-url").map(str::to_string).or(env)
}

/// The URL of the API.
pub(super) fn api_url(args: &Args) -> String {
    said_api_url(args).unwrap_or(API_URL.to_string())
}

/// Whom to believe, where the command line or the environment says it.
pub(super) fn authorities(args: &Args) -> Option<Trust> {
    let env = std::env::var("UPTIMEMESH_CA_FILE").ok().filter(|v| !v.is_empty());
    let path = args.get("ca-file").map(str::to_string).or(env)?;
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

/// The same, signed in, or with an API token.
pub(super) fn signed_in(args: &Args) -> Result<Api, Failure> {
    let asked = |name: &str| args.has(name) || args.has(&format!("{name}-file"));
    // Who says on the command line who signs in means it, whatever the environment says.
    let by_name = args.has("username") || asked("password");
    if (!by_name || asked("api-token"))
        && let Some(token) = args.token("api-token", "UPTIMEMESH_API_TOKEN")
    {
        args.finish()?;
        return Ok(api(args)?.with_token(token)?);
    }
    let env = std::env::var("UPTIMEMESH_USERNAME").ok().filter(|v| !v.is_empty());
    let username = args.get("username").map(str::to_string).or(env).unwrap_or("admin".to_string());
    let given = args.secret("password", "UPTIMEMESH_PASSWORD");
    args.finish()?;
    let mut api = api(args)?;
    let password = given.as_deref().unwrap_or(FIRST_PASSWORD);
    match api.sign_in(&username, password) {
        Ok(()) => Ok(api),
        Err(e @ CallError::Refused { status: 401, .. }) if given.is_none() => {
            Err(Failure::Failed(format!("{e}; give the password by --password-file or UPTIMEMESH_PASSWORD")))
        }
        Err(e) => Err(e.into()),
    }
}
