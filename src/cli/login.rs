//! `login` and `logout`: a person signs in once, and commands go on with an API token of their own.

use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{API_URL, FIRST_PASSWORD, said_api_url, variable};
use super::contexts::{self, Context, Contexts};
use super::local::normal;
use super::output;
use crate::client::{self, Api, CallError, Trust};
use crate::crypto;
use crate::model::ids::is_id;
use crate::model::join_string::JoinString;
use crate::sys::{host, prompt};
use serde_json::{Value, json};

/// Options of `login`.
const LOGIN: &[Opt] = &[
    opt("username", "NAME", "who signs in [UPTIMEMESH_USERNAME]"),
    opt("password-file", "FILE", "file with the password; - reads standard input [UPTIMEMESH_PASSWORD]"),
    opt(
        "setup-code",
        "CODE",
        "where the first password is in place on another machine: what the server's start printed",
    ),
    opt("new-password-file", "FILE", "file with a new password, where it must be changed first"),
    opt(
        "fingerprint",
        "SHA256",
        "of the authority's certificate, as `uptimemesh ca show` prints it on the server's machine",
    ),
];

/// Options of `logout`.
const LOGOUT: &[Opt] = &[opt("forget", "", "remove the context even if its token cannot be revoked")];

/// Lifetime of a token, in days: a machine that is forgotten loses its access within a season, and nobody signs in more
/// often than that.
const TOKEN_DAYS: i64 = 90;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    command("login", "[URL]", "Sign in to a control plane, once.", &[LOGIN], login).example(
        "uptimemesh login https://192.0.2.7:8000   # shows the fingerprint of the authority and asks\n\
         uptimemesh login https://192.0.2.7:8000#sha256:FINGERPRINT --username alice --password-file FILE",
    ),
    command("logout", "", "Revoke the token of a context and remove the context.", &[LOGOUT], logout),
];

/// The control plane to sign in to.
struct Target {
    urls: Vec<String>,
    /// SHA-256 (hex) of its authority, where it is known beforehand.
    authority: Option<String>,
    /// Authorities (PEM) that vouch for it, where they are given.
    ca_pem: Option<String>,
}

fn login(args: &Args) -> Result<(), Failure> {
    let name = args.get("context").map(str::to_string).or_else(|| variable("UPTIMEMESH_CONTEXT"));
    name.iter().for_each(|name| contexts::check_name(args, name));
    let target = target(args);
    let said_user = args.get("username").map(str::to_string).or_else(|| variable("UPTIMEMESH_USERNAME"));
    let given = args.secret("password", "UPTIMEMESH_PASSWORD");
    if given.is_none() && !prompt::is_possible() {
        args.fault("the password is missing: --password-file FILE".to_string());
    }
    args.finish()?;
    // What cannot be kept is not begun.
    Contexts::change(|_| Ok(()))?;
    let (mut api, authority) = reach(&target)?;
    let user = match said_user {
        Some(user) => user,
        None if prompt::is_possible() => {
            Some(prompt::line("User name [admin]: ")?).filter(|name| !name.is_empty()).unwrap_or("admin".into())
        }
        None => "admin".to_string(),
    };
    let password = given.map_or_else(|| prompt::secret("Password: "), Ok)?;
    api.sign_in(&user, &password)?;
    let is_changed = change_password_first(args, &mut api, &password)?;
    let url = api.url().to_string();
    let made = create_token(&api)?;
    let text = |key: &str| made[key].as_str().unwrap_or_default().to_string();
    let (user, token_id) = (text("owner"), text("id"));
    let context = |name| Context {
        name,
        url: url.clone(),
        user: user.clone(),
        authority,
        next_authority: None,
        ca_pem: target.ca_pem.clone(),
        token_id: token_id.clone(),
        token: text("token"),
        expires_at: text("expires_at"),
    };
    let kept = Contexts::change(|all| {
        let name = name.unwrap_or_else(|| default_name(all, &url, &user));
        Ok((name.clone(), all.put(context(name))?))
    });
    let (name, replaced) = kept.inspect_err(|_| drop(api.delete(&own_token(&token_id))))?;
    if let Some(old) = replaced {
        revoke_replaced(&old, &user, &url);
    }
    if password == FIRST_PASSWORD && !is_changed {
        output::remark("warning: this is the initial password; change it: uptimemesh set-password");
    }
    let name = output::ascii(&name);
    output::prose(&format!(
        "Signed in to {url} as {user}; commands use context {name} from now on, until {}.\n",
        output::moment(&text("expires_at"))
    ));
    Ok(())
}

/// Revokes the token of a context that was replaced. Its control plane may be gone, so a failure is a warning.
fn revoke_replaced(old: &Context, user: &str, url: &str) {
    let Context { name, token_id, expires_at, .. } = old;
    let (name, was) = (output::ascii(name), output::ascii(&format!("{} at {}", old.user, old.url)));
    if old.user != user || normal(&old.url) != normal(url) {
        output::remark(&format!("Context {name} was the one of {was}; it is replaced."));
    }
    if let Err(failure) = revoke(old) {
        let why = output::ascii(&failure.lines().join("; "));
        output::remark(&format!(
            "warning: the former token {token_id} of context {name}, of {was}, could not be revoked ({why}). It stays \
                valid until {expires_at}; revoke it there: uptimemesh api-token revoke {token_id}"
        ));
    }
}

fn own_token(id: &str) -> String {
    format!("/auth/api-tokens/{id}")
}

/// The control plane that the command line names. Faults are noted.
fn target(args: &Args) -> Target {
    let said = Some(args.word(0).to_string()).filter(|word| !word.is_empty()).or_else(|| said_api_url(args));
    let said = said.unwrap_or(API_URL.to_string());
    let mut authority = args.get("fingerprint").map(str::to_string);
    let mut urls = Vec::new();
    if said.starts_with("umj1:") {
        match JoinString::parse(&said) {
            Ok(join) => {
                urls = join.urls();
                authority = authority.or(Some(join.authority));
            }
            Err(why) => args.fault(why.to_string()),
        }
    } else {
        let (url, pin) = said.split_once('#').map_or((said.as_str(), None), |(url, pin)| (url, Some(pin.to_string())));
        authority = authority.or(pin);
        urls.push(if url.contains("://") { url.to_string() } else { format!("https://{url}") });
    }
    let authority = authority.and_then(|said| fingerprint(&said).or_else(|| wrong_fingerprint(args, &said)));
    let ca_file = args.get("ca-file").map(str::to_string).or_else(|| variable("UPTIMEMESH_CA_FILE"));
    let ca_pem = ca_file.and_then(|path| client::authorities_in(&path).map_err(|why| args.fault(why)).ok());
    if authority.is_some() && args.has("ca-file") {
        args.fault("a fingerprint and --ca-file both say whom to trust: give one of them".to_string());
    }
    for url in urls.iter().filter(|url| url.starts_with("http://") && !is_loopback(url)) {
        args.fault(format!("{url} would carry the password in the clear: use https://"));
    }
    if authority.is_some() {
        for url in urls.iter().filter(|url| url.starts_with("http://")) {
            args.fault(format!("{url} cannot prove a fingerprint: use https://"));
        }
    }
    // The fingerprint was given for this one server, the variable for many.
    Target { urls, ca_pem: ca_pem.filter(|_| authority.is_none()), authority }
}

fn wrong_fingerprint(args: &Args, said: &str) -> Option<String> {
    args.fault(format!("{said:?} is not a fingerprint: 64 hexadecimal digits, as `uptimemesh ca show` prints them"));
    None
}

/// A SHA-256 as people write it: in either case, with colons or without.
fn fingerprint(said: &str) -> Option<String> {
    let said = said.trim().to_ascii_lowercase();
    let hex = said.strip_prefix("sha256:").unwrap_or(&said).replace(':', "");
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hex)
}

fn is_loopback(url: &str) -> bool {
    let url = normal(url);
    let host = url.strip_prefix("http://").unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).split('/').next().unwrap_or_default();
    host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The control plane, proven to be the one that is meant, and the fingerprint of its authority where that is the proof.
fn reach(target: &Target) -> Result<(Api, Option<String>), Failure> {
    let url = &target.urls[0];
    let trust = match (&target.authority, &target.ca_pem) {
        _ if url.starts_with("http://") => None,
        (Some(authority), _) => Some(Trust::Pinned(vec![authority.clone()])),
        (None, Some(pem)) => Some(Trust::Authorities(pem.clone())),
        (None, None) => return reach_unknown(url),
    };
    let authority = target.authority.clone().filter(|_| trust.is_some());
    let api = Api::with(&target.urls, trust, None)?;
    match api.reach() {
        Err(e) if authority.is_some() && !e.is_refusal() => {
            Err(Failure::Unreachable(format!("{e}; the expected fingerprint is {}", authority.unwrap_or_default())))
        }
        reached => Ok(reached.map(|()| (api, authority))?),
    }
}

/// A control plane that nothing is known of: one that a public authority vouches for is believed, otherwise a person
/// compares fingerprints.
fn reach_unknown(url: &str) -> Result<(Api, Option<String>), Failure> {
    // A machine without public authorities believes none of them.
    let by_system = Api::new(url);
    if let Ok(api) = &by_system
        && (api.reach().is_ok())
    {
        return Ok((by_system?, None));
    }
    let shown = client::shown_authority(url)?;
    if !prompt::is_possible() {
        return Err(Failure::Failed(format!(
            "nothing says that {url} can be trusted. The fingerprint of its authority is {shown}; compare it with \
             `uptimemesh ca show` on the server's machine and add --fingerprint {shown}, or give --ca-file FILE"
        )));
    }
    output::remark(&format!("The authority of {url} is not known on this machine. Its fingerprint (SHA-256):"));
    eprintln!("  {shown}");
    output::remark("Compare it with `current.fingerprint` of `uptimemesh ca show` on the server's machine.");
    let answer = prompt::line("Is it the same? [yes, no, or the fingerprint] ")?;
    if !(answer.eq_ignore_ascii_case("yes") || fingerprint(&answer).is_some_and(|known| known == shown)) {
        return Err(Failure::Failed(
            "not signed in: the fingerprint was not confirmed, and nothing was sent".to_string(),
        ));
    }
    let api = Api::with(&[url.to_string()], Some(Trust::Pinned(vec![shown.clone()])), None)?;
    api.reach()?;
    Ok((api, Some(shown)))
}

/// Changes the password in a dialogue, if it must be changed first; true if it did.
fn change_password_first(args: &Args, api: &mut Api, password: &str) -> Result<bool, Failure> {
    let me = api.get("/auth/me")?;
    let (needs_code, must_change) = (me["needs_setup_code"] == true, me["must_change_password"] == true);
    if !needs_code && !must_change {
        return Ok(false);
    }
    let why = if needs_code {
        "the initial password is in place, and from another machine it can only be changed, with the setup code that \
            the server's start printed (DATA_DIR/keys/setup-code)"
    } else {
        "the password must be changed first"
    };
    let said_code = args.get("setup-code").map(str::to_string);
    let said_new = args.secret("new-password", "UPTIMEMESH_NEW_PASSWORD");
    if !prompt::is_possible() && (said_new.is_none() || (needs_code && said_code.is_none())) {
        let code = if needs_code { "--setup-code CODE " } else { "" };
        args.finish()?;
        return Err(Failure::Failed(format!("{why}: add {code}--new-password-file FILE to this login")));
    }
    if said_new.is_none() {
        output::remark(&format!("Before anything else: {why}."));
    }
    let code = match said_code {
        None if needs_code => Some(prompt::line("Setup code: ")?),
        said => said,
    };
    let new = said_new.map_or_else(ask_new_password, Ok)?;
    let changed =
        api.post("/auth/password", &json!({"current_password": password, "new_password": new, "setup_code": code}))?;
    api.adopt(&changed);
    Ok(true)
}

fn ask_new_password() -> Result<String, Failure> {
    let new = prompt::secret("New password: ")?;
    if prompt::secret("New password again: ")? == new {
        Ok(new)
    } else {
        Err(Failure::Failed("the two new passwords differ; nothing was changed".to_string()))
    }
}

/// Creates a token that people recognize in the list of tokens.
fn create_token(api: &Api) -> Result<Value, Failure> {
    let person = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or("unknown".to_string());
    let machine = host::name().map_or("unknown".to_string(), |name| name.to_string());
    let name: String =
        format!("cli {person}@{machine}").chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    let create = |name: &str| api.post("/auth/api-tokens", &json!({"name": name, "expires_in_days": TOKEN_DAYS}));
    let made = match create(&name) {
        // Another context of this machine has it, or one whose token could not be revoked.
        Err(CallError::Refused { status: 409, .. }) => create(&format!("{name} {}", crypto::random_hex(2))),
        made => made,
    }?;
    let is_sound = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    if TOKEN_FIELDS.iter().all(|key| made[key].as_str().is_some_and(is_sound)) {
        Ok(made)
    } else {
        Err(api.not_ours().into())
    }
}

/// Fields of a new token that a context keeps.
const TOKEN_FIELDS: [&str; 4] = ["id", "owner", "token", "expires_at"];

/// Longest name of a token, in characters, with room for a suffix.
const NAME_CHARS_MAX: usize = 120;

/// The context of this user at this URL, or else the host's name: with its port where another context has that, with
/// the user where another one has a context of this URL.
fn default_name(contexts: &Contexts, url: &str, user: &str) -> String {
    if let Some(known) = contexts.of_user(url, user) {
        return known.name.clone();
    }
    let of_user = if contexts.of_url(url).is_some() { format!("-{user}") } else { String::new() };
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(authority, |(host, _)| host);
    let names = [host, authority].map(|name| name.replace(['[', ']'], "") + &of_user);
    let free = names.into_iter().find(|name| is_id(name) && contexts.find(name).is_none());
    free.unwrap_or_else(|| format!("context-{}", crypto::random_hex(2)))
}

fn logout(args: &Args) -> Result<(), Failure> {
    args.finish()?;
    let contexts = Contexts::load()?;
    let context = match contexts::said(args) {
        Some(name) => contexts.named(&name)?,
        None => contexts.current().ok_or("no context is in use: uptimemesh logout --context CONTEXT".to_string())?,
    };
    let revoked = revoke(context);
    if let Err(failure) = &revoked
        && !args.has("forget")
    {
        return Err(not_revoked(context, failure));
    }
    // Another login may have replaced it meanwhile: that one stays.
    Contexts::change(|all| {
        let is_same = all.find(&context.name).is_some_and(|found| found.token_id == context.token_id);
        Ok(if is_same { all.take(&context.name) } else { None })
    })?;
    if revoked.is_err() {
        output::print(&contexts::forgotten(context));
    } else {
        let (url, name) = (&context.url, &context.name);
        let done = format!("Signed out of {url}; its token is revoked and context {name} removed.");
        output::print(&(output::drawable(&done) + "\n"));
    }
    Ok(())
}

fn not_revoked(context: &Context, failure: &Failure) -> Failure {
    let why = format!(
        "{}\nThe token was not revoked, and the context stays. To remove it here alone: uptimemesh logout --context {} \
            --forget",
        failure.lines().join("\n"),
        context.name
    );
    if matches!(failure, Failure::Unreachable(_)) { Failure::Unreachable(why) } else { Failure::Failed(why) }
}

/// Revokes a context's token. It is not an error if the token has ended already.
fn revoke(context: &Context) -> Result<(), Failure> {
    match context.signed_in()?.delete(&own_token(&context.token_id)) {
        Err(CallError::Refused { status: 401 | 404, .. }) => Ok(()),
        revoked => Ok(revoked?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_write_them() {
        let hex = "0a".repeat(32);
        let colons = ["0A"; 32].join(":");
        for said in [hex.clone(), hex.to_uppercase(), colons, format!(" sha256:{hex}\n"), format!("SHA256:{hex}")] {
            assert_eq!(fingerprint(&said).as_ref(), Some(&hex), "{said}");
        }
        for said in ["", "yes", "0a", &"0g".repeat(32), &"0a".repeat(33)] {
            assert_eq!(fingerprint(said), None, "{said}");
        }
    }

    #[test]
    fn only_loopback_is_signed_in_to_in_the_clear() {
        for url in ["http://localhost:8000", "http://127.0.0.1", "http://127.0.0.2:1/mesh", "http://[::1]:8000"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://192.0.2.7:8000", "http://localhost.example", "http://[fd00::1]:8000", "http://cp"] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
