//! Commands about backups. They work on the data directory itself, whether a server runs on it or not.

use super::answers::shown;
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::output::{self, Kind, OUTPUT, Table, column};
use super::progress::Progress;
use super::server;
use crate::config::Config;
use crate::offline;
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;

/// Options of `backup create`.
const CREATE: &[Opt] = &[opt("no-encryption", "", "although every key of the cluster is in it")];

/// Options of `backup restore`.
const RESTORE: &[Opt] = &[opt("replace", "", "also where there is a cluster already, which is kept beside it")];

/// Options of `backup undo-upgrade`.
const UNDO: &[Opt] = &[opt("since", "SECONDS", "only one made at this moment or later, in seconds since 1970")];

const BACKUPS: Table = Table {
    noun: "backups",
    id: "id",
    columns: &[
        column("ID", "id", Kind::Id),
        column("AGE", "created_at", Kind::Time),
        column("SIZE", "bytes", Kind::Bytes),
        column("ENCRYPTED", "encrypted", Kind::Text),
        column("FILE", "path", Kind::Text),
    ],
    tabs: &[("ID", "id"), ("CREATED", "created_at"), ("BYTES", "bytes"), ("ENCRYPTED", "encrypted"), ("FILE", "path")],
};

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("backup create", "", "Back up the server's data, on its machine.", &[CREATE, OUTPUT], create)
        .with_settings(),
    command("backup list", "", "List the backups on this machine, newest first.", &[OUTPUT], list).with_settings(),
    command("backup verify", "FILE", "Read a whole backup, as a restore would.", &[OUTPUT], verify).with_settings(),
    command("backup restore", "FILE", "Restore the server's data from a backup.", &[RESTORE, OUTPUT], restore)
        .with_settings()
        .example("uptimemesh backup restore cluster.umbackup --replace"),
    command(
        "backup undo-upgrade",
        "",
        "Restore the backup from before an upgrade, if the database is newer than this program.",
        &[UNDO, OUTPUT],
        undo_upgrade,
    )
    .with_settings(),
];

fn value(object: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(object).map_err(|e| Failure::Failed(e.to_string()))
}

fn create(args: &Args) -> Result<(), Failure> {
    let config = server::config(args)?;
    let progress = Progress::of_own_work(args, "No backup was created; to see the others: uptimemesh backup list")?;
    if !output::wants_json(args) {
        progress.say("Copying the database, the authority and the keys.");
    }
    let made = offline::create_backup(&config, args.has("no-encryption"))?;
    drop(progress);
    if output::wants_json(args) {
        output::structured(args, &value(&made)?);
    } else {
        output::print(&format!("{}\n", output::ascii(&made.path)));
    }
    if !made.encrypted {
        eprintln!("It is not encrypted: its holder can impersonate the control plane.");
    }
    Ok(())
}

fn list(args: &Args) -> Result<(), Failure> {
    let config = server::config(args)?;
    let list = offline::list_backups(&config)?.iter().map(value).collect::<Result<Vec<Value>, Failure>>()?;
    output::list(args, &BACKUPS, list);
    Ok(())
}

/// The configuration, and the backup that is named: where root works as the owner of the data, root opens it, which may
/// read it everywhere.
fn named(args: &Args) -> Result<(Config, File), Failure> {
    let path = Path::new(args.word(0));
    let (config, opened) = server::config_opening(args, path)?;
    let file = match opened {
        Some(file) => file,
        None => offline::open_backup(path)?,
    };
    Ok((config, file))
}

fn verify(args: &Args) -> Result<(), Failure> {
    let (config, file) = named(args)?;
    let again = format!("The backup is as it was; to check it again: uptimemesh backup verify {}", args.word(0));
    let progress = Progress::of_own_work(args, &again)?;
    if !output::wants_json(args) {
        progress.say("Reading all of it, and checking its database.");
    }
    let manifest = offline::verify_backup(&config, file)?;
    drop(progress);
    if output::wants_json(args) {
        output::structured(args, &value(&manifest)?);
    } else {
        shown(args, &facts(&manifest));
    }
    Ok(())
}

/// Facts about a backup, for people.
fn facts(manifest: &crate::model::backups::Manifest) -> Value {
    json!({
        "id": manifest.id,
        "created_at": manifest.created_at,
        "program_version": manifest.program_version,
        "schema_version": manifest.schema_version,
        "authority": manifest.authority,
        "files": manifest.files.len(),
        "bytes": manifest.files.iter().map(|f| f.bytes).sum::<u64>(),
        "rows": manifest.rows.values().sum::<u64>(),
    })
}

fn restore(args: &Args) -> Result<(), Failure> {
    let (config, file) = named(args)?;
    let again = "Nothing was restored, and no file was replaced; to see what is there: uptimemesh doctor";
    let progress = Progress::of_own_work(args, again)?;
    if !output::wants_json(args) {
        progress.say("Reading all of it, and checking it before anything is touched.");
    }
    let restored = offline::restore_backup(&config, file, args.has("replace"))?;
    drop(progress);
    let (manifest, dir) = (&restored.backup.manifest, config.data_dir.display());
    if output::wants_json(args) {
        let mut all = facts(manifest);
        all["data_dir"] = json!(dir.to_string());
        all["replaced"] = json!(restored.replaced.map(|p| p.display().to_string()));
        output::structured(args, &all);
        return Ok(());
    }
    let mut said = format!("{dir} is the cluster of {} again.\n", manifest.created_at);
    if let Some(replaced) = restored.replaced {
        said.push_str(&format!(
            "What was there is kept in {}; it holds keys: remove it when it is not needed any more.\n",
            replaced.display()
        ));
    }
    if !manifest.files.iter().any(|f| f.path == "keys/cluster-signing.key") {
        said.push_str(
            "Its keys were given by AUTH_SECRET_KEY and CLUSTER_SIGNING_KEY and are not in the backup: give \
            them again.\n",
        );
    }
    said.push_str(
        "Start it where the nodes look for it: by its old address or name, and with its settings. Nodes reconnect by \
            themselves;\n\
         those that joined after that moment must join again. At the start every session ends, and join tokens that \
            were not used.\n",
    );
    output::print(&said);
    Ok(())
}

fn undo_upgrade(args: &Args) -> Result<(), Failure> {
    let since = args.get("since").map(|_| args.int("since", 0));
    let config = server::config(args)?;
    let restored = offline::undo_upgrade(&config, since)?;
    match (output::wants_json(args), restored) {
        (true, restored) => output::structured(
            args,
            &json!({
                "restored": restored.as_ref().map(|r| &r.backup.manifest.id),
                "replaced": restored.and_then(|r| r.replaced).map(|p| p.display().to_string()),
            }),
        ),
        (false, None) => output::print("The database is not newer than this program; nothing was done.\n"),
        (false, Some(restored)) => {
            let kept = restored
                .replaced
                .map_or(String::new(), |p| format!(" What was written since is kept in {}.", p.display()));
            output::print(&format!(
                "The cluster is as it was at {} again, before the upgrade.{kept}\n",
                restored.backup.manifest.created_at
            ));
        }
    }
    Ok(())
}
