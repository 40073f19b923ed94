//! `settings`: cluster settings, read and set.

use super::answers::{encoded, listed, shown};
use super::args::{Args, Command, Failure, command};
use super::connect::{SIGN_IN, signed_in};
use super::output;
use serde_json::json;

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("setting list", "", "List cluster settings.", &[SIGN_IN], list),
    command("setting show", "KEY", "Print a cluster setting.", &[SIGN_IN], show),
    command("setting set", "KEY VALUE", "Set a cluster setting.", &[SIGN_IN], set).example("uptimemesh setting set scheduler_mode manual"),
];

fn list(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/cluster-settings")?;
    listed(args, list, &["KEY", "VALUE", "UPDATED"], &["key", "value", "updated_at"]);
    Ok(())
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&format!("/cluster-settings/{}", encoded(args.word(0))))?);
    Ok(())
}

fn set(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    output::json(&api.put(&format!("/cluster-settings/{}", encoded(args.word(0))), &json!({"value": args.word(1)}))?);
    Ok(())
}
