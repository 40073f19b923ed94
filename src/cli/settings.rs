//! `settings`: cluster settings, read and set.

use super::args::{Args, Failure};
use super::{encoded, listed, output, signed_in};
use serde_json::json;

pub fn settings(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/cluster-settings")?;
    listed(args, list, &["KEY", "VALUE", "UPDATED"], &["key", "value", "updated_at"]);
    Ok(())
}

pub fn set(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    output::json(&api.put(&format!("/cluster-settings/{}", encoded(args.word(0))), &json!({"value": args.word(1)}))?);
    Ok(())
}
