//! Updating this machine's program. The work is done by `ops/node-update.sh`, which is a part of this program: what
//! replaces and restores a program must work even where that program does not, so it is a script outside.

use super::answers::shown;
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::output::{self, OUTPUT};
use crate::error::Chain;
use crate::files;
use crate::model::updates::{REQUEST_BYTES_MAX, Request, STATE_BYTES_MAX, State};
use crate::sys::run;
use std::path::{Path, PathBuf};

/// The updater.
const UPDATER: &str = include_str!("../../ops/node-update.sh");
/// Shell that runs it.
const SHELL: &str = "/bin/sh";
/// Lock, journal and state of the updater, and the updater itself, for the start of the service to find.
const STATE_DIR: &str = "/var/lib/uptimemesh-update";
/// File with the agent's request.
const REQUEST: &str = "/var/lib/uptimemesh/update/request.json";

/// File with the updater's state.
const STATE: &[Opt] =
    &[opt("state-dir", "DIR", "where the updater keeps its state (default /var/lib/uptimemesh-update)")];

/// Options that are the updater's own, handed on as they are.
const HANDED_ON: &[Opt] = &[
    opt("version-url", "URL", "the release manifest, version.json [VERSION_URL]"),
    opt("channel", "NAME", "the channel of the release (default stable) [UPDATE_CHANNEL]"),
    opt("want-version", "VERSION", "refuse unless the channel has this version"),
    opt("bin", "PATH", "the program to replace (default: this one)"),
    opt("service", "NAME", "the service that runs it (default: uptimemesh or uptimemesh-agent, whichever is there)"),
    opt("restart-command", "TEXT", "shell command that restarts the service, where neither systemd nor OpenRC runs"),
    opt("health-url", "URL", "the control plane to check (default: this machine's, for the service uptimemesh)"),
    opt("data-dir", "DIR", "the control plane's data (default /var/lib/uptimemesh) [DATA_DIR]"),
    opt("status-file", "FILE", "the agent's status file (default: as installed)"),
    opt("health-wait", "SECONDS", "time for the new program to become healthy before it is rolled back (default 120)"),
    opt("settle", "SECONDS", "time for which it must stay healthy (default 5)"),
    opt("release-key", "FILE", "public key (PEM) to trust instead of the built-in one [RELEASE_KEY_FILE]"),
    opt("allow-downgrade", "", "accept an older version"),
    opt("allow-expired", "", "accept a release that has expired or has no expiry date"),
    opt("retry", "", "accept a version that was rolled back before"),
    opt("ring", "N", "ring of this node: wait, and stop if earlier rings lost nodes (default 1)"),
    opt("ring-wait", "SECONDS", "wait for each earlier ring (default 600)"),
    opt("ring-label", "KEY", "node label that holds the ring (default ring)"),
    opt("api-token-file", "FILE", "API token to query the control plane about earlier rings"),
    opt("config", "FILE", "settings of this node (default /etc/uptimemesh/uptimemesh.env)"),
    opt("tries", "N", "attempts for each download (default 4)"),
    opt("json", "", "print the state at the end"),
];

/// Options of `update`.
const UPDATE: &[Opt] = &[
    opt("check", "", "only print what would be done"),
    opt("recover", "", "only finish or undo an interrupted update"),
    opt("requested", "", "carry out the request of this machine's agent"),
    opt("request-file", "FILE", "the request (default /var/lib/uptimemesh/update/request.json)"),
];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command(
        "update",
        "",
        "Update the program of this machine; an unhealthy version is rolled back.",
        &[UPDATE, HANDED_ON, STATE],
        update,
    ),
    command("update status", "", "Print how the last update of this machine went.", &[STATE, OUTPUT], status),
];

fn update(args: &Args) -> Result<(), Failure> {
    let mut line = Vec::new();
    for option in HANDED_ON.iter().chain(STATE) {
        match args.get(option.name) {
            Some(value) if !option.value.is_empty() => line.push(format!("--{}={value}", option.name)),
            Some(_) => line.push(format!("--{}", option.name)),
            None => {}
        }
    }
    if args.has("check") && (args.has("recover") || args.has("requested")) {
        args.fault("--check goes with neither --recover nor --requested".to_string());
    }
    if args.has("requested") && ["channel", "want-version", "recover"].iter().any(|name| args.has(name)) {
        args.fault("--requested takes channel and version from the request".to_string());
    }
    args.finish()?;
    // Asking about rings before needs these, and the environment reaches the updater anyway.
    line.extend(args.get("api-url").map(|url| format!("--api-url={url}")));
    line.extend(args.get("ca-file").map(|file| format!("--ca-file={file}")));
    if !args.has("bin") {
        let own = std::env::current_exe()
            .map_err(|e| format!("this program's own file cannot be found, name it by --bin: {e}"))?;
        // After a power cut the previous program may be the one that runs, beside the one that is to be replaced.
        let own = own.display().to_string();
        line.push(format!("--bin={}", own.strip_suffix(".previous").unwrap_or(&own)));
    }
    if args.has("check") {
        line.push("--dry-run".to_string());
        let text = ["-c".to_string(), UPDATER.to_string(), "node-update.sh".to_string()];
        return Err(run::exec(SHELL, &[&text[..], &line].concat()).into());
    }
    if args.has("requested") {
        match requested(args)? {
            Some(request) => line.extend([
                format!("--channel={}", request.channel),
                format!("--want-version={}", request.version),
                format!("--update-id={}", request.id),
                // Each request is new: a caller who asks again wants another try.
                "--retry".to_string(),
            ]),
            None => return Ok(()),
        }
    }
    if args.has("recover") {
        line.push("--recover".to_string());
    }
    let (dir, script) = (state_dir(args), state_dir(args).join("node-update.sh"));
    let kept = files::public_dir(&dir).and_then(|()| files::write(&script, UPDATER.as_bytes(), 0o755));
    kept.map_err(|e| {
        format!("{} cannot be written: run this as root, or give --state-dir ({})", dir.display(), Chain(&e))
    })?;
    Err(run::exec(SHELL, &[&[script.display().to_string()][..], &line].concat()).into())
}

/// The agent's request, unless it is absent or done.
fn requested(args: &Args) -> Result<Option<Request>, Failure> {
    let path = PathBuf::from(args.get("request-file").unwrap_or(REQUEST));
    let Some(text) = files::read_untrusted(&path, REQUEST_BYTES_MAX)? else {
        eprintln!("No update is requested: {} does not exist.", path.display());
        return Ok(None);
    };
    let request = Request::parse(&text).map_err(|faults| Failure::Failed(faults.join("\n")))?;
    match state(&state_dir(args))? {
        Some(state) if state.update_id == request.id && state.is_final() => {
            eprintln!("The update {} was done before: {}.", request.id, output::ascii(&state.state));
            Ok(None)
        }
        _ => Ok(Some(request)),
    }
}

fn status(args: &Args) -> Result<(), Failure> {
    args.finish()?;
    match state(&state_dir(args))? {
        Some(state) => shown(args, &serde_json::to_value(state).map_err(|e| e.to_string())?),
        None if output::wants_json(args) => output::structured(args, &serde_json::Value::Null),
        None => output::print("No update was made on this machine yet.\n"),
    }
    Ok(())
}

fn state(dir: &Path) -> Result<Option<State>, Failure> {
    let text = files::read_untrusted(&dir.join("state.json"), STATE_BYTES_MAX)?;
    let read = |text: String| {
        serde_json::from_str(&text).map_err(|e| format!("the updater's state in {} is not sound: {e}", dir.display()))
    };
    Ok(text.map(read).transpose()?)
}

fn state_dir(args: &Args) -> PathBuf {
    PathBuf::from(args.get("state-dir").unwrap_or(STATE_DIR))
}
