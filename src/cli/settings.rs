//! `settings`: cluster settings, read and set.

use super::answers::{encoded, listed_at, said, shown};
use super::args::{Args, Command, Failure, command};
use super::connect::{SIGN_IN, signed_in};
use super::output::{self, Kind, Table, column};
use super::watch::WATCH;
use serde_json::json;

const CLUSTER_SETTINGS: Table = Table {
    noun: "cluster settings",
    id: "key",
    columns: &[
        column("KEY", "key", Kind::Id),
        column("VALUE", "value", Kind::Text),
        column("UPDATED", "updated_at", Kind::Time),
    ],
    tabs: &[("KEY", "key"), ("VALUE", "value"), ("UPDATED", "updated_at")],
};

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("setting list", "", "List cluster settings.", &[WATCH, SIGN_IN], list),
    command("setting show", "KEY", "Print a cluster setting.", &[SIGN_IN], show),
    command("setting set", "KEY VALUE", "Set a cluster setting.", &[SIGN_IN], set)
        .example("uptimemesh setting set scheduler_mode manual"),
];

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &CLUSTER_SETTINGS, "/cluster-settings")
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&format!("/cluster-settings/{}", encoded(args.word(0))))?);
    Ok(())
}

fn set(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    let set = api.put(&format!("/cluster-settings/{}", encoded(args.word(0))), &json!({"value": args.word(1)}))?;
    output::done(args, &set, &format!("{} is set to {:?}.", said(&set["key"]), said(&set["value"])));
    Ok(())
}
