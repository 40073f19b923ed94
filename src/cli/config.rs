//! `config`: what a settings file says, for people and for the scripts that install, start and update the program; and
//! `--settings-file`.

use super::args::{Args, Command, Failure, Opt, command, opt};
use super::{output, server};
use crate::config::{Config, Dotenv, is_known, is_unset, nearest_setting};
use crate::sys::run;
use std::ffi::OsString;
use std::path::Path;

/// The file that is read where none is named.
pub(super) const DOTENV: &str = ".env";

/// The option of every command that names a settings file.
pub(super) const SETTINGS_FILE: &str = "settings-file";

/// Options of `config get`.
const GET: &[Opt] = &[opt("file", "FILE", "the settings file (default .env)")];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("config show", "", "Print every setting in force; of secrets only if they are set.", &[], show)
        .with_settings(),
    command("config check", "FILE", "Check a settings file, line by line and value by value.", &[], check),
    command("config get", "NAME", "Print one value of a settings file; for scripts.", &[GET], get),
];

/// Prints what the file says of one name, and nothing where it says nothing.
fn get(args: &Args) -> Result<(), Failure> {
    let (name, path) = (args.word(0).to_ascii_uppercase(), args.get("file").unwrap_or(DOTENV));
    args.finish()?;
    let file = sound(path)?;
    if !file.values.contains_key(&name)
        && let Some(meant) = nearest_setting(&name).filter(|meant| *meant != name)
    {
        return Err(Failure::Usage(vec![format!("{name} is not a setting; {meant} is")]));
    }
    output::print(&format!("{}\n", file.get(&name)));
    Ok(())
}

/// Says whether a file can be used, with every fault of its lines and of its values.
fn check(args: &Args) -> Result<(), Failure> {
    let path = args.word(0);
    args.finish()?;
    let file = read(path)?;
    for note in &file.notes {
        eprintln!("note: {}", output::ascii(note));
    }
    match Config::load(&[], [], Some(&file)) {
        Ok(_) => output::print(&format!("{}: sound, {} settings\n", output::ascii(path), file.values.len())),
        Err(faults) => return Err(Failure::Failed(faults.join("\n"))),
    }
    Ok(())
}

/// Prints every setting as a server that is started in the same way would have it; of secrets only whether they are
/// set.
fn show(args: &Args) -> Result<(), Failure> {
    let config = server::config(args)?;
    for (name, value) in config.effective() {
        output::print(&format!("{name}={}\n", output::ascii(&value)));
    }
    Ok(())
}

/// Begins again with what the named settings file says as the environment, so that every command has it in the same
/// way. The file wins over the environment that was there, as it does where a service manager reads one. Comes back
/// only where that cannot be done.
pub(super) fn exec_with_env(mut line: Vec<OsString>) -> Failure {
    let flag = format!("--{SETTINGS_FILE}");
    let joined =
        |word: &OsString| word.to_str().and_then(|w| Some(w.strip_prefix(&flag)?.strip_prefix('=')?.to_string()));
    let at = line.iter().position(|word| *word == *flag || joined(word).is_some());
    let path = at.and_then(|at| {
        let word = line.remove(at);
        joined(&word).or_else(|| (at < line.len()).then(|| line.remove(at))?.into_string().ok())
    });
    let file = match path
        .ok_or(Failure::Usage(vec![format!("{flag} needs the path of a file, in UTF-8")]))
        .and_then(|path| sound(&path))
    {
        Ok(file) => file,
        Err(failure) => return failure,
    };
    for note in &file.notes {
        eprintln!("note: {}", output::ascii(note));
    }
    let is_set = |name: &String| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let said = file.values.iter().filter(|(name, value)| !(is_unset(name, value) && is_set(name)));
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(e) => return Failure::Failed(format!("this program's own file cannot be found: {e}")),
    };
    run::exec_with_env(&own, &line, said.map(|(name, value)| (name.as_str(), value.trim()))).into()
}

/// A file without faults.
fn sound(path: &str) -> Result<Dotenv, Failure> {
    let file = read(path)?;
    if file.faults.is_empty() { Ok(file) } else { Err(Failure::Failed(file.faults.join("\n"))) }
}

fn read(path: &str) -> Result<Dotenv, Failure> {
    Dotenv::read(Path::new(path))?
        .ok_or_else(|| Failure::Failed(format!("{path} is not there: name the settings file")))
}

/// Our environment variables whose values are not text. A default in their place could name another directory.
pub(super) fn unreadable_variables() -> Vec<String> {
    let is_ours = |name: &str| is_known(&name.to_ascii_uppercase());
    let bad = std::env::vars_os()
        .filter(|(_, value)| value.to_str().is_none())
        .filter_map(|(name, _)| name.into_string().ok());
    bad.filter(|name| is_ours(name)).map(|name| format!("{name} in the environment is not UTF-8")).collect()
}
