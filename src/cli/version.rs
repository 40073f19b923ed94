//! Version of the program, and with `--verbose` its build.

use super::answers::shown;
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::output::{self, OUTPUT};
use crate::offline;
use serde_json::json;

/// Options of `version`.
const VERSION: &[Opt] = &[opt("verbose", "", "print what it was built from, too; JSON always has it")];

/// Facts about the build from `ops/build-release.sh`; other builds have none.
const COMMIT: Option<&str> = option_env!("UPTIMEMESH_COMMIT");
const COMPILER: Option<&str> = option_env!("UPTIMEMESH_RUSTC");
const PROFILE: Option<&str> = option_env!("UPTIMEMESH_PROFILE");

/// Every command of this file.
pub const COMMANDS: &[Command] = &[command("version", "", "Print the version.", &[VERSION, OUTPUT], version)];

fn version(args: &Args) -> Result<(), Failure> {
    args.finish()?;
    let version = env!("CARGO_PKG_VERSION");
    if !args.has("verbose") && !output::wants_json(args) {
        output::print(&format!("uptimemesh {version}\n"));
        return Ok(());
    }
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    shown(
        args,
        &json!({
            "version": version,
            "commit": COMMIT.unwrap_or("unknown"),
            "target": format!("{}-{}-{libc}", std::env::consts::ARCH, std::env::consts::OS),
            "linked": if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" },
            "profile": PROFILE.unwrap_or(if cfg!(debug_assertions) { "debug" } else { "release" }),
            "rustc": COMPILER.unwrap_or("unknown"),
            "sqlite": offline::sqlite_version(),
        }),
    );
    Ok(())
}
