//! Commands that start the control plane: serve, migrate; and its configuration.

use super::args::{Args, Command, Failure, command};
use super::config::{DOTENV, unreadable_variables};
use super::output;
use crate::config::{Config, Dotenv};
use crate::sys::owner::Owner;
use crate::sys::{host, notify, signals};
use crate::thread::Stop;
use crate::{files, logger, offline, serve};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("serve", "", "Start a control plane without an agent.", &[], serve).with_settings(),
    command("migrate", "", "Bring the database up to date, then exit.", &[], migrate).with_settings(),
];

/// The configuration. As root, this process is the owner of the data directory from here on.
pub(super) fn config(args: &Args) -> Result<Config, Failure> {
    let mut config = given(args)?;
    work_as_owner(&mut config)?;
    Ok(config)
}

/// The same, with this file, which root may read where the owner of the data may not; `None` where nobody else is to
/// open it.
pub(super) fn config_opening(args: &Args, file: &Path) -> Result<(Config, Option<File>), Failure> {
    let mut config = given(args)?;
    let opened = Owner::of(&config.data_dir)?.and_then(|_| files::open_guarded(file).ok());
    work_as_owner(&mut config)?;
    Ok((config, opened))
}

fn work_as_owner(config: &mut Config) -> Result<(), Failure> {
    let Some(owner) = Owner::of(&config.data_dir)? else { return Ok(()) };
    owner_has_all(&config.data_dir, owner)?;
    // It may be root's alone. Where root cannot read it safely, the owner reads it when it is needed.
    if let Some(Ok(text)) = config.backup_passphrase_file.as_deref().map(files::read_named) {
        config.keep_backup_passphrase(&text);
    }
    Ok(owner.assume()?)
}

/// Refuses a directory of another user in which root has made what is needed, as version 2.0.0 did where root started
/// it: as its owner, this process could not use that.
fn owner_has_all(data_dir: &Path, owner: Owner) -> Result<(), Failure> {
    const NEEDED: &[&str] = &[offline::LOCK_FILE, "app.db", "keys", "pki"];
    let is_roots =
        |name: &&str| data_dir.join(name).symlink_metadata().is_ok_and(|found| found.uid() == 0 && !found.is_symlink());
    let roots: Vec<&str> = NEEDED.iter().copied().filter(is_roots).collect();
    if roots.is_empty() {
        return Ok(());
    }
    let (dir, Owner { uid, gid }) = (data_dir.display(), owner);
    Err(Failure::Failed(format!(
        "{dir} belongs to the user {uid}, as whom root works there, and in it {} to root: give all of it to one user, \
            as by: chown -R {uid}:{gid} {dir}",
        roots.join(", ")
    )))
}

/// The configuration from flags, environment and `.env`. Its faults are reported together with those of
/// the command line.
fn given(args: &Args) -> Result<Config, Failure> {
    let flags = args.settings();
    let faults = match load(args)? {
        Ok(config) => return args.finish().map(|()| config),
        Err(faults) => faults,
    };
    let of_flag =
        |fault: &String| flags.iter().any(|(flag, _)| fault.starts_with(&flag.to_ascii_uppercase().replace('-', "_")));
    let by_flag = faults.iter().any(of_flag);
    match args.finish() {
        Err(Failure::Usage(of_line)) => Err(Failure::Usage([of_line, faults].concat())),
        _ if by_flag => Err(Failure::Usage(faults)),
        _ => Err(Failure::Failed(faults.join("\n"))),
    }
}

/// The same, with the faults of the configuration alone.
pub(super) fn load(args: &Args) -> Result<Result<Config, Vec<String>>, Failure> {
    load_with(&args.settings())
}

/// The configuration with these flags.
pub(super) fn load_with(flags: &[(String, String)]) -> Result<Result<Config, Vec<String>>, Failure> {
    let dotenv = dotenv()?;
    let unreadable = unreadable_variables();
    let env = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
    Ok(match Config::load(flags, env, dotenv.as_ref()) {
        Ok(config) if unreadable.is_empty() => Ok(config),
        read => Err(unreadable.into_iter().chain(read.err().unwrap_or_default()).collect()),
    })
}

/// The settings in `.env` in the current directory. What another user wrote there, or can have put there, root reads,
/// and acts upon, as that user.
fn dotenv() -> Result<Option<Dotenv>, Failure> {
    let path = Path::new(DOTENV);
    let theirs = || Ok::<_, Failure>(Owner::of(path)?.or(Owner::of(Path::new("."))?));
    if path.symlink_metadata().is_ok()
        && let Some(owner) = theirs()?
    {
        eprintln!("warning: .env belongs to the user {}: continuing as that user", owner.uid);
        owner.assume()?;
    }
    let read = Dotenv::read(path)?;
    // Its settings are meant, and without them the server would be another one.
    if read.is_none() && path.is_symlink() {
        return Err(Failure::Failed(
            ".env is a link to a file that is not there: put the file back, or remove the link".into(),
        ));
    }
    match read.is_some() && theirs()?.is_some() {
        true => Err(Failure::Failed(".env was just created by another user; check it, and try again".into())),
        false => Ok(read),
    }
}

fn serve(args: &Args) -> Result<(), Failure> {
    let config = config(args)?;
    let stop = Stop::default();
    let Some(server) = start(config, &stop)? else { return Ok(()) };
    notify::ready();
    stop.wait_until_raised();
    notify::stopping();
    server.shutdown();
    logger::flush();
    Ok(())
}

/// A server that signals are for from before its start; `None` where the signal to end came while it waited for the
/// clock.
pub(super) fn start(config: Config, stop: &Stop) -> Result<Option<Arc<serve::Server>>, Failure> {
    let hangup = signals::listen(stop)?;
    if !serve::wait_for_clock(&config, stop)? {
        return Ok(None);
    }
    // Before the server takes its limits from it.
    host::raise_descriptors();
    let server = Arc::new(serve::Server::start(config)?);
    // Weak, so that the server still ends with the function that started it.
    let reading = Arc::downgrade(&server);
    hangup.set(move || reading.upgrade().iter().for_each(|server| server.reload_certificate()));
    Ok(Some(server))
}

fn migrate(args: &Args) -> Result<(), Failure> {
    let config = config(args)?;
    // A long migration says how far it is.
    logger::init(config.log_level.0, None)?;
    let migrated = offline::migrate(&config)?;
    logger::flush();
    let path = config.database_path.display();
    output::print(&format!(
        "{path} is at version {}; {} migrations were applied now.\n",
        migrated.version, migrated.applied
    ));
    Ok(())
}
