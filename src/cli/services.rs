//! Commands about services.

use super::answers::{encoded, listed, remove, said, shown, warnings};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output;
use crate::client::{Api, CallError};
use crate::json;
use crate::model::Object;
use crate::text;
use serde_json::{Value, json};
use std::time::Duration;

/// A longer body is accepted by no server.
const SPEC_BYTES_MAX: usize = 1 << 20;

/// Options of `service apply`.
const APPLY: &[Opt] = &[
    opt("file", "FILE", "JSON with id, name, description and spec; - reads standard input").short('f'),
    opt("wait", "", "wait until the scheduler has nothing left to do about it"),
];

/// Options of `service rollback`.
const ROLLBACK: &[Opt] = &[opt("to", "GENERATION", "whose spec to put back (default: the generation before)")];

/// Options of `service delete`.
const DELETE: &[Opt] = &[opt("force", "", "with all its replicas")];

/// Keys of a service's file; the last ones stand in what `service show --json` prints, and are the server's.
const FILE_KEYS: &[&str] = &["id", "name", "description", "spec", "generation", "warnings", "created_at", "updated_at"];

/// The plan is looked at so often, and at most so many times.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS_MAX: usize = 300;

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("service list", "", "List services.", &[SIGN_IN], list),
    command("service apply", "", "Create a service from a file, or change it to match.", &[APPLY, SIGN_IN], apply)
        .example("uptimemesh service apply -f web.json --wait"),
    command("service show", "SERVICE", "Print a service.", &[SIGN_IN], show),
    command("service history", "SERVICE", "List the specs of a service, newest first.", &[SIGN_IN], history),
    command("service rollout", "SERVICE", "Restart every replica of a service, a few at a time.", &[SIGN_IN], rollout),
    command("service rollback", "SERVICE", "Restore an earlier spec, as a new generation.", &[ROLLBACK, SIGN_IN], rollback)
        .example("uptimemesh service rollback web --to 3"),
    command("service delete", "SERVICE", "Remove a service.", &[DELETE, SIGN_IN], delete),
];

fn list(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/services")?;
    let keys = ["id", "name", "generation", "spec.scheduling.desired_replicas", "updated_at"];
    listed(args, list, &["SERVICE", "NAME", "GENERATION", "DESIRED", "UPDATED"], &keys);
    Ok(())
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&path(args, ""))?);
    Ok(())
}

/// Makes a service, or brings it to what the file says.
fn apply(args: &Args) -> Result<(), Failure> {
    let file = args.required("file");
    // A file that is not named is told of with all other faults.
    let text = if file.is_empty() { String::new() } else { text::file_or_stdin(file, SPEC_BYTES_MAX)? };
    let api = signed_in(args)?;
    let wanted = json::kept(&text).map_err(|e| format!("{file} is not JSON: {e}"))?;
    if !wanted["id"].is_string() {
        return Err(Failure::Failed(format!("{file} should be a JSON object with at least id and name, both texts")));
    }
    for key in wanted.as_object().into_iter().flat_map(|file| file.keys()).filter(|key| !FILE_KEYS.contains(&key.as_str())) {
        eprintln!("warning: {} is not known beside spec; what is to run stands in spec", output::ascii(key));
    }
    let id = said(&wanted["id"]);
    let path = format!("/services/{}", encoded(&id));
    let before = match api.get_tagged(&path) {
        Err(CallError::Refused { status: 404 | 422, .. }) => None,
        before => Some(before?),
    };
    let service = match &before {
        None => api.post("/services", &wanted)?,
        Some((service, tag)) => {
            // A service keeps its name; another one would be silently ignored.
            if wanted.get("name").is_some_and(|name| *name != service["name"]) {
                return Err(Failure::Failed(format!("{id} is named {}, and a service keeps its name", said(&service["name"]))));
            }
            // Moved and not written anew, so that numbers stay as they are.
            let change: Object = ["description", "spec"].map(|key| (key.to_string(), wanted[key].clone())).into_iter().collect();
            api.patch_if(&path, &Value::Object(change), tag)?
        }
    };
    warnings(&service);
    let generation = &service["generation"];
    let done = match before {
        None => format!("Created {id}, generation {generation}."),
        Some((old, _)) if old["generation"] == *generation => format!("{id} is unchanged, generation {generation}."),
        Some(_) => format!("Changed {id}, now generation {generation}."),
    };
    if !args.has("json") {
        output::print(&format!("{}\n", output::ascii(&done)));
    }
    let waited = if args.has("wait") { wait(&api, &id) } else { Ok(()) };
    if args.has("json") {
        output::json(&service);
    }
    waited
}

/// Waits until the plan of a service is empty.
fn wait(api: &Api, id: &str) -> Result<(), Failure> {
    let mut told = String::new();
    for _ in 0..LOOKS_MAX {
        let plan = api.get(&format!("/scheduler/plan/services/{}", encoded(id)))?;
        let left = plan["actions"].as_array().map_or(0, Vec::len);
        let now = format!("{id}: {} of {} replicas, {left} actions left", plan["replicas_before"], plan["desired_replicas"]);
        if now != told {
            eprintln!("{}", output::ascii(&now));
            told = now;
        }
        if left == 0 {
            if plan["actual_replicas"] == plan["desired_replicas"] {
                return Ok(());
            }
            let mut why = vec![format!("{id} has {} of {} replicas", plan["actual_replicas"], plan["desired_replicas"])];
            why.extend(plan["warnings"].as_array().into_iter().flatten().map(said));
            return Err(Failure::Failed(why.join("\n")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err(Failure::TimedOut(format!("{id} is not done yet; look at `uptimemesh scheduler plan {id}`")))
}

fn rollout(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    output::json(&api.post(&path(args, "/rollout"), &json!({}))?);
    Ok(())
}

fn rollback(args: &Args) -> Result<(), Failure> {
    let target = args.get("to").map(|_| args.int("to", 0));
    let api = signed_in(args)?;
    output::json(&api.post(&path(args, "/rollback"), &json!({"target_generation": target}))?);
    Ok(())
}

fn history(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list(&path(args, "/revisions"))?;
    let keys = ["generation", "action", "restored_generation", "created_by", "created_at", "spec_sha256"];
    listed(args, list, &["GENERATION", "ACTION", "RESTORED", "BY", "AT", "SPEC-SHA256"], &keys);
    Ok(())
}

fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &path(args, if args.has("force") { "?force=true" } else { "" }))
}

fn path(args: &Args, rest: &str) -> String {
    format!("/services/{}{rest}", encoded(args.word(0)))
}
