//! Commands about services.

use super::answers::{encoded, listed, listed_at, other_name, remove, said, shown, warnings};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{self, Kind, Table, column, made};
use super::replicas;
use super::waiting::{self, State, TIMEOUT};
use super::watch::WATCH;
use crate::client::{Api, CallError, Called};
use crate::json;
use crate::model::Object;
use crate::text;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SERVICES: Table = Table {
    noun: "services",
    id: "id",
    columns: &[
        column("SERVICE", "id", Kind::Id),
        made("NAME", Kind::Text, other_name).sparse(),
        column("STATE", "state", Kind::State),
        made("RUNNING", Kind::Number, running),
        column("GEN", "generation", Kind::Number),
        column("UPDATED", "updated_at", Kind::Time).spare(),
        column("AGE", "created_at", Kind::Time),
        column("IMAGE", "spec.image", Kind::Text).wide(),
        column("PORTS", "spec.ports", Kind::Text).wide(),
        column("DESCRIPTION", "description", Kind::Text).wide().sparse(),
    ],
    tabs: &[
        ("SERVICE", "id"),
        ("NAME", "name"),
        ("GENERATION", "generation"),
        ("DESIRED", "spec.scheduling.desired_replicas"),
        ("UPDATED", "updated_at"),
    ],
};

const REVISIONS: Table = Table {
    noun: "revisions",
    id: "generation",
    columns: &[
        column("GENERATION", "generation", Kind::Number),
        column("ACTION", "action", Kind::Text),
        column("RESTORED", "restored_generation", Kind::Number).sparse(),
        column("BY", "created_by", Kind::Text),
        column("AGE", "created_at", Kind::Time),
        column("SPEC SHA-256", "spec_sha256", Kind::Text),
    ],
    tabs: &[
        ("GENERATION", "generation"),
        ("ACTION", "action"),
        ("RESTORED", "restored_generation"),
        ("BY", "created_by"),
        ("AT", "created_at"),
        ("SPEC-SHA256", "spec_sha256"),
    ],
};

/// A longer body is accepted by no server.
const SPEC_BYTES_MAX: usize = 1 << 20;

/// Options of `service apply`.
const APPLY: &[Opt] = &[
    opt("file", "FILE", "JSON with id, name, description and spec; - reads standard input").short('f'),
    opt("wait", "", "wait until the scheduler has nothing left to do about it"),
    TIMEOUT,
];

/// Options of `service rollback`.
const ROLLBACK: &[Opt] = &[opt("to", "GENERATION", "generation whose spec to restore (default: the previous one)")];

/// Options of `service delete`.
const DELETE: &[Opt] = &[opt("force", "", "with all its replicas")];

/// Keys of a service's file; the last ones stand in what `service show --json` prints, and are the server's.
const FILE_KEYS: &[&str] =
    &["id", "name", "description", "spec", "generation", "records_only", "warnings", "created_at", "updated_at"];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("service list", "", "List services.", &[WATCH, SIGN_IN], list),
    command("service apply", "", "Create a service from a file, or change it to match.", &[APPLY, SIGN_IN], apply)
        .example("uptimemesh service apply -f web.json --wait"),
    command("service show", "SERVICE", "Print a service.", &[SIGN_IN], show),
    command("service history", "SERVICE", "List the specs of a service, newest first.", &[WATCH, SIGN_IN], history),
    command("service rollout", "SERVICE", "Restart every replica of a service, a few at a time.", &[SIGN_IN], rollout),
    command("service run", "SERVICE", "Let nodes run a service that is older than their ability to.", &[SIGN_IN], run),
    command(
        "service rollback",
        "SERVICE",
        "Restore an earlier spec, as a new generation.",
        &[ROLLBACK, SIGN_IN],
        rollback,
    )
    .example("uptimemesh service rollback web --to 3"),
    command("service delete", "SERVICE", "Remove a service.", &[DELETE, SIGN_IN], delete),
];

fn list(args: &Args) -> Result<(), Failure> {
    listed(args, &SERVICES, &|api, is_for_people| {
        let services = api.list("/services")?;
        if is_for_people { with_health(api, services) } else { Ok(services) }
    })
}

/// Adds `desired`, `running` and `state` to services, in three calls for any number of them.
pub(super) fn with_health(api: &Api, mut services: Vec<Value>) -> Called<Vec<Value>> {
    let plans = api.get("/scheduler/plan/all")?;
    let replicas = api.list("/replicas")?;
    let leases = api.list("/cluster/leases")?;
    let by_id = |list: &Value| -> BTreeMap<String, Value> {
        list.as_array().into_iter().flatten().map(|plan| (said(&plan["service_id"]), plan.clone())).collect()
    };
    let plans = by_id(&plans["results"]);
    let living: BTreeSet<&str> =
        leases.iter().filter(|l| l["lease_state"] != "dead").filter_map(|l| l["node_id"].as_str()).collect();
    let mut of_service: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for replica in &replicas {
        of_service.entry(replica["service_id"].as_str().unwrap_or_default()).or_default().push(replica);
    }
    let works = |replica: &&&Value| {
        !replicas::is_sick(replica) && living.contains(replica["node_id"].as_str().unwrap_or_default())
    };
    for service in &mut services {
        let id = said(&service["id"]);
        let own = of_service.get(id.as_str()).map_or(&[][..], Vec::as_slice);
        let working: Vec<&Value> = own.iter().filter(works).copied().collect();
        // A replica that no node has reported yet is only placed.
        let running = working.iter().filter(|r| replicas::is_reported_well(r)).count();
        let outdated = own.iter().filter(|r| r["status"]["applied_generation"] != service["generation"]).count();
        // A service that was created after the plan has none yet.
        let desired = plans.get(&id).and_then(|plan| plan["desired_replicas"].as_u64());
        service["state"] = desired.map_or(Value::Null, |desired| {
            json!(health(own.len() - working.len(), running, outdated, desired as usize))
        });
        service["desired"] = json!(desired);
        service["running"] = json!(running);
    }
    Ok(services)
}

/// State of a service by the counts of its replicas.
fn health(failing: usize, running: usize, outdated: usize, desired: usize) -> &'static str {
    if failing > 0 {
        "degraded"
    } else if running < desired {
        "pending"
    } else if outdated > 0 {
        "rolling out"
    } else {
        "healthy"
    }
}

/// Replicas that are reported and not failing, of those desired.
fn running(service: &Value) -> Value {
    json!(format!("{}/{}", service["running"], service["desired"].as_u64().map_or("?".to_string(), |n| n.to_string())))
}

fn show(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    let service = api.get(&path(args, ""))?;
    if !output::style(args).is_for_people() {
        shown(args, &service);
        return Ok(());
    }
    with_health(&api, vec![service])?.iter().for_each(|service| shown(args, service));
    Ok(())
}

/// Creates a service, or changes it to match the file.
fn apply(args: &Args) -> Result<(), Failure> {
    let (file, limit) = (args.required("file"), waiting::limit(args));
    // A file that is not named is reported together with all other faults.
    let text = if file.is_empty() { String::new() } else { text::file_or_stdin(file, SPEC_BYTES_MAX)? };
    let mut api = signed_in(args)?;
    let wanted = json::kept(&text).map_err(|e| format!("{file} is not JSON: {e}"))?;
    if !wanted["id"].is_string() {
        return Err(Failure::Failed(format!("{file} should be a JSON object with at least id and name, both texts")));
    }
    for key in
        wanted.as_object().into_iter().flat_map(|file| file.keys()).filter(|key| !FILE_KEYS.contains(&key.as_str()))
    {
        output::remark(&format!("warning: {key} is not known beside spec; what is to run stands in spec"));
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
                return Err(Failure::Failed(format!(
                    "{id} is named {}, and a service keeps its name",
                    said(&service["name"])
                )));
            }
            // Moved and not parsed again, so that numbers stay as they are.
            let change: Object =
                ["description", "spec"].map(|key| (key.to_string(), wanted[key].clone())).into_iter().collect();
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
    if !output::wants_json(args) {
        output::outcome(args, &id, &output::ascii(&done));
    }
    let again = format!("uptimemesh scheduler plan {id}");
    let look = |api: &Api| progress_of(api, &id);
    let waited = if args.has("wait") { waiting::wait(args, &mut api, limit, &again, look) } else { Ok(()) };
    if output::wants_json(args) {
        output::structured(args, &service);
    }
    waited
}

/// Progress of a service: done once its plan is empty.
fn progress_of(api: &Api, id: &str) -> Called<State<()>> {
    let plan = api.get(&format!("/scheduler/plan/services/{}", encoded(id)))?;
    let left = plan["actions"].as_array().map_or(0, Vec::len);
    if left > 0 {
        let (now, desired) = (&plan["replicas_before"], &plan["desired_replicas"]);
        return Ok(State::Working(format!("{id}: {now} of {desired} replicas, {left} actions left")));
    }
    if plan["actual_replicas"] == plan["desired_replicas"] {
        return Ok(State::Done(()));
    }
    let mut why = vec![format!("{id} has {} of {} replicas", plan["actual_replicas"], plan["desired_replicas"])];
    why.extend(plan["warnings"].as_array().into_iter().flatten().map(said));
    Ok(State::Failed(Failure::Failed(why.join("\n"))))
}

fn rollout(args: &Args) -> Result<(), Failure> {
    let service = signed_in(args)?.post(&path(args, "/rollout"), &json!({}))?;
    output::done(
        args,
        &service,
        &format!("Rolling out {} as generation {}.", said(&service["id"]), service["generation"]),
    );
    Ok(())
}

fn run(args: &Args) -> Result<(), Failure> {
    let service = signed_in(args)?.post(&path(args, "/run"), &json!({}))?;
    output::done(args, &service, &format!("Nodes may run {}.", said(&service["id"])));
    Ok(())
}

fn rollback(args: &Args) -> Result<(), Failure> {
    let target = args.get("to").map(|_| args.int("to", 0));
    let service = signed_in(args)?.post(&path(args, "/rollback"), &json!({"target_generation": target}))?;
    let sentence =
        format!("Restored an earlier spec of {} as generation {}.", said(&service["id"]), service["generation"]);
    output::done(args, &service, &sentence);
    Ok(())
}

fn history(args: &Args) -> Result<(), Failure> {
    listed_at(args, &REVISIONS, &path(args, "/revisions"))
}

fn delete(args: &Args) -> Result<(), Failure> {
    remove(args, &path(args, if args.has("force") { "?force=true" } else { "" }))
}

fn path(args: &Args, rest: &str) -> String {
    format!("/services/{}{rest}", encoded(args.word(0)))
}
