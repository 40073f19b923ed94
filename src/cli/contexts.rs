//! Contexts: the control planes that a person signed in to, and the commands over them.
//!
//! They are kept in `~/.config/uptimemesh/contexts.json` (`XDG_CONFIG_HOME`), for their owner alone, and replaced as a
//! whole under a lock.

use super::args::{Args, Command, Failure, Opt, command};
use super::local::normal;
use super::output::{self, Kind, Table, column};
use crate::client::{Api, Source, Trust};
use crate::error::Chain;
use crate::files;
use crate::model::ids::is_id;
use crate::sys::owner::Owner;
use crate::thread::lock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Version of the file's form.
const VERSION: u32 = 1;
/// Largest file, in bytes: each context may bring a collection of authorities.
const BYTES_MAX: u64 = 4 << 20;
/// Most contexts in the file.
const CONTEXTS_MAX: usize = 100;

const CONTEXTS: Table = Table {
    noun: "contexts",
    id: "name",
    columns: &[
        column("NAME", "name", Kind::Id),
        column("CURRENT", "current", Kind::Text),
        column("URL", "url", Kind::Text),
        column("USER", "user", Kind::Text),
        column("EXPIRES", "expires_at", Kind::Time),
    ],
    tabs: &[("NAME", "name"), ("CURRENT", "current"), ("URL", "url"), ("USER", "user"), ("EXPIRES", "expires_at")],
};

/// Options of `context list` and `context show`.
const OUTPUT: &[Opt] = &[output::FORMAT, output::JSON, output::QUIET, output::COLOR];

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    command("context list", "", "List the control planes that you signed in to.", &[OUTPUT], list),
    command("context use", "CONTEXT", "Choose the context that commands use by default.", &[], choose),
    command("context show", "[CONTEXT]", "Print a context, by default the current one.", &[OUTPUT], show),
    command("context remove", "CONTEXT", "Forget a context; its token stays valid until it expires.", &[], remove),
];

/// A control plane, and the API token of a person there. Holds a secret, so it has no Debug.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Its name here.
    pub name: String,
    /// URL of the control plane.
    pub url: String,
    /// Name of the user there.
    pub user: String,
    /// SHA-256 (hex) of the authority by which the control plane proves itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// During a rotation, SHA-256 (hex) of the authority that follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_authority: Option<String>,
    /// Authorities (PEM) that vouch for the URL; where neither is given, the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Id of the API token.
    pub token_id: String,
    /// The API token.
    pub token: String,
    /// When the token expires.
    pub expires_at: String,
}

impl Context {
    /// The control plane, without signing in.
    pub fn api(&self) -> Result<Api, Failure> {
        let trust = match (&self.authority, &self.ca_pem) {
            (Some(authority), _) => {
                Some(Trust::Pinned([authority].into_iter().chain(&self.next_authority).cloned().collect()))
            }
            (None, Some(pem)) => Some(Trust::Authorities(pem.clone())),
            (None, None) => None,
        };
        let api =
            if trust.is_some() { Api::with(std::slice::from_ref(&self.url), trust, None) } else { Api::new(&self.url) };
        Ok(api.map_err(|why| format!("context {}: {why}", self.name))?.by(self.source()))
    }

    /// The control plane, with the context's token.
    pub fn signed_in(&self) -> Result<Api, Failure> {
        let (api, known) = (self.api()?.with_token(self.token.clone())?, Mutex::new(self.clone()));
        if self.authority.is_none() {
            return Ok(api);
        }
        Ok(api.noting_authority(move |next| {
            let mut known = lock(&known);
            if known.follow(next)
                && let Err(failure) = known.keep_authority()
            {
                let why = failure.lines().join("; ");
                eprintln!("warning: the control plane's new authority could not be kept: {}", output::ascii(&why));
            }
        }))
    }

    /// Follows the rotation of the control plane's authority; `next` is the one after it, outside a rotation nothing.
    /// Returns true if the context changed.
    fn follow(&mut self, next: Option<&str>) -> bool {
        if self.next_authority.as_deref() == next {
            return false;
        }
        // The authority that was next is the one that certifies the server now.
        self.authority = self.next_authority.take().or(self.authority.take());
        self.next_authority = next.map(str::to_string);
        true
    }

    /// Keeps the authorities, if the context is still the same.
    fn keep_authority(&self) -> Result<(), Failure> {
        Contexts::change(|all| {
            let same = |kept: &&mut Context| kept.name == self.name && kept.token_id == self.token_id;
            if let Some(kept) = all.contexts.iter_mut().find(same) {
                kept.authority.clone_from(&self.authority);
                kept.next_authority.clone_from(&self.next_authority);
            }
            Ok(())
        })
    }

    fn source(&self) -> Source {
        let again = format!("uptimemesh login {} --context {}", self.url, self.name);
        Source {
            name: format!("context {}", self.name),
            refused: format!("its token was revoked or has expired; sign in again: {again}"),
            foreign: format!("if its authority was replaced, compare the new fingerprint and sign in again: {again}"),
        }
    }

    fn facts(&self, current: Option<&str>) -> Value {
        json!({
            "name": self.name,
            "current": current == Some(&self.name),
            "url": self.url,
            "user": self.user,
            "authority": self.authority,
            "token_id": self.token_id,
            "expires_at": self.expires_at,
        })
    }
}

/// Contents of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    version: u32,
    /// Name of the context that commands use by default.
    pub current: Option<String>,
    contexts: Vec<Context>,
}

/// The part of the file that every version can read.
#[derive(Deserialize)]
struct Written {
    version: u32,
}

impl Default for Contexts {
    fn default() -> Contexts {
        Contexts { version: VERSION, current: None, contexts: Vec::new() }
    }
}

impl Contexts {
    /// Reads the file; there are none where it is not there.
    pub fn load() -> Result<Contexts, Failure> {
        path().map_or(Ok(Contexts::default()), |path| read(&path))
    }

    /// Changes the file under its lock, or leaves it as it is.
    pub fn change<T>(change: impl FnOnce(&mut Contexts) -> Result<T, Failure>) -> Result<T, Failure> {
        let path = path().ok_or("the directory for contexts is not known: set HOME or XDG_CONFIG_HOME".to_string())?;
        let dir = path.parent().unwrap_or(Path::new("."));
        if let Some(owner) = Owner::of(dir)? {
            let dir = dir.display();
            return Err(Failure::Failed(format!(
                "{dir} belongs to the user {}: do this as that user, or set HOME",
                owner.uid
            )));
        }
        files::private_dir(dir)?;
        let lock = files::open_lock(&path.with_extension("lock")).and_then(|file| file.lock().map(|()| file));
        let _held = lock.map_err(|e| format!("cannot lock {}: {e}", path.display()))?;
        let mut contexts = read(&path)?;
        let done = change(&mut contexts)?;
        let text = serde_json::to_string_pretty(&contexts).map_err(|e| e.to_string())?;
        if text.len() as u64 >= BYTES_MAX {
            let why = format!("the contexts would take more than {BYTES_MAX} bytes: uptimemesh context remove CONTEXT");
            return Err(Failure::Failed(why));
        }
        files::write(&path, format!("{text}\n").as_bytes(), files::PRIVATE)
            .map_err(|e| format!("{}: {}", path.display(), Chain(&e)))?;
        Ok(done)
    }

    /// The context of this name.
    pub fn find(&self, name: &str) -> Option<&Context> {
        self.contexts.iter().find(|context| context.name == name)
    }

    /// The context of this name, which must be there.
    pub fn named(&self, name: &str) -> Result<&Context, Failure> {
        self.find(name).ok_or_else(|| {
            let names: Vec<&str> = self.contexts.iter().map(|context| context.name.as_str()).collect();
            let known =
                if names.is_empty() { "there is none yet".to_string() } else { format!("known: {}", names.join(", ")) };
            Failure::Failed(format!(
                "context {name:?} does not exist ({known}); sign in: uptimemesh login URL --context {name}"
            ))
        })
    }

    /// The current context, where there is one.
    pub fn current(&self) -> Option<&Context> {
        self.find(self.current.as_deref()?)
    }

    /// The context of this URL, the current one first.
    pub fn of_url(&self, url: &str) -> Option<&Context> {
        self.current().into_iter().chain(&self.contexts).find(|context| normal(&context.url) == normal(url))
    }

    /// The context of this user at this URL, the current one first.
    pub fn of_user(&self, url: &str, user: &str) -> Option<&Context> {
        let is_same = |context: &&Context| normal(&context.url) == normal(url) && context.user == user;
        self.current().into_iter().chain(&self.contexts).find(is_same)
    }

    /// Keeps a context and makes it the current one. Returns what it replaces.
    pub fn put(&mut self, context: Context) -> Result<Option<Context>, Failure> {
        let replaced = self.take(&context.name);
        if self.contexts.len() >= CONTEXTS_MAX {
            return Err(Failure::Failed(format!(
                "there are {CONTEXTS_MAX} contexts; remove one: uptimemesh context remove CONTEXT"
            )));
        }
        self.current = Some(context.name.clone());
        self.contexts.push(context);
        self.contexts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(replaced)
    }

    /// Removes a context. Where it was the current one, there is none afterwards.
    pub fn take(&mut self, name: &str) -> Option<Context> {
        let at = self.contexts.iter().position(|context| context.name == name)?;
        self.current.take_if(|current| current == name);
        Some(self.contexts.remove(at))
    }
}

/// Path of the contexts file; `None` if the environment names no home.
fn path() -> Option<PathBuf> {
    let dir = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let config = dir("XDG_CONFIG_HOME").or_else(|| dir("HOME").map(|home| home.join(".config")))?;
    Some(config.join("uptimemesh").join("contexts.json"))
}

fn read(path: &Path) -> Result<Contexts, Failure> {
    let shown = path.display();
    let file = match files::open_guarded(path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Contexts::default()),
        file => file.map_err(|e| format!("{shown} cannot be read: {e}"))?,
    };
    let mode = file.metadata().map_err(|e| format!("{shown} cannot be read: {e}"))?.mode();
    if mode & 0o077 != 0 {
        return Err(Failure::Failed(format!("{shown} holds tokens, and others may read it: chmod 600 {shown}")));
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    if let Ok(Written { version }) = serde_json::from_str(&text)
        && version > VERSION
    {
        let why = format!("{shown} was written by a newer version ({version}): use that, or remove the file");
        return Err(Failure::Failed(why));
    }
    // The message of serde_json never repeats a value that is text.
    let contexts: Contexts = serde_json::from_str(&text).map_err(|e| {
        format!(
            "{shown} is not a file of contexts that this version reads (line {}, column {}): remove it and sign in \
                again",
            e.line(),
            e.column()
        )
    })?;
    if contexts.version != VERSION {
        return Err(Failure::Failed(format!(
            "{shown} was written by a newer version ({}): use that, or remove the file",
            contexts.version
        )));
    }
    Ok(contexts)
}

/// The name that `--context` or the environment gives, if any.
pub fn said(args: &Args) -> Option<String> {
    let env = || std::env::var("UPTIMEMESH_CONTEXT").ok().filter(|name| !name.is_empty());
    // What stands on the command line counts before the environment.
    args.get("context").map(str::to_string).or_else(|| if args.has("api-url") { None } else { env() })
}

/// Notes a fault where this cannot be the name of a context.
pub fn check_name(args: &Args, name: &str) {
    if !is_id(name) {
        args.fault(format!("--context must be 1 to 64 characters of A-Z a-z 0-9 . _ : -, not {name:?}"));
    }
}

fn list(args: &Args) -> Result<(), Failure> {
    args.finish()?;
    let contexts = Contexts::load()?;
    let all = contexts.contexts.iter().map(|context| context.facts(contexts.current.as_deref())).collect();
    output::list(args, &CONTEXTS, all);
    Ok(())
}

fn show(args: &Args) -> Result<(), Failure> {
    args.finish()?;
    let contexts = Contexts::load()?;
    let name = Some(args.word(0)).filter(|name| !name.is_empty()).map(str::to_string).or(said(args));
    let context = match name {
        Some(name) => contexts.named(&name)?,
        None => contexts
            .current()
            .ok_or("no context is in use: uptimemesh login URL, or uptimemesh context use CONTEXT".to_string())?,
    };
    output::object(args, &context.facts(contexts.current.as_deref()));
    Ok(())
}

fn choose(args: &Args) -> Result<(), Failure> {
    args.finish()?;
    Contexts::change(|contexts| {
        contexts.current = Some(contexts.named(args.word(0))?.name.clone());
        Ok(())
    })?;
    output::print(&format!("Commands use context {} from now on.\n", output::ascii(args.word(0))));
    Ok(())
}

fn remove(args: &Args) -> Result<(), Failure> {
    args.finish()?;
    let removed = Contexts::change(|contexts| {
        contexts.named(args.word(0))?;
        Ok(contexts.take(args.word(0)))
    })?;
    if let Some(context) = removed {
        output::print(&forgotten(&context));
    }
    Ok(())
}

/// Sentence about a context that was removed here alone.
pub fn forgotten(context: &Context) -> String {
    let Context { name, token_id, expires_at, .. } = context;
    output::drawable(&format!(
        "Removed context {name}. Its token {token_id} stays valid until {expires_at}; an admin can revoke it."
    )) + "\n"
}
