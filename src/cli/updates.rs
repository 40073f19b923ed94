//! Commands about updates of the fleet.

use super::answers::{encoded, listed_at, said, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{Kind, Table, column, made};
use super::waiting::{self, LONG_TIMEOUT, State};
use super::watch::WATCH;
use crate::client::{Api, Called};
use serde_json::{Value, json};

const UPDATES: Table = Table {
    noun: "updates",
    id: "id",
    columns: &[
        column("UPDATE", "id", Kind::Id),
        column("VERSION", "version", Kind::Text),
        column("STATE", "state", Kind::State),
        made("RING", Kind::Text, ring),
        column("AGE", "created_at", Kind::Time).spare(),
        column("REASON", "reason", Kind::Text).sparse(),
        column("CHANNEL", "channel", Kind::Text).wide(),
        column("RINGS", "rings", Kind::Text).wide(),
        column("WATCHED", "watched", Kind::Text).wide().sparse(),
    ],
    tabs: &[
        ("UPDATE", "id"),
        ("VERSION", "version"),
        ("CHANNEL", "channel"),
        ("STATE", "state"),
        ("RINGS", "rings"),
        ("RING", "ring"),
        ("REASON", "reason"),
    ],
};

/// Options of `fleet-update start`.
const START: &[Opt] = &[
    opt(
        "rings",
        "VALUE...",
        "values of the ring label, in the order in which rings are updated; * is every node in no other; required",
    ),
    opt("channel", "NAME", "the channel of the release manifest (default stable)"),
    opt("ring-label", "KEY", "label with a node's ring (default ring)"),
    opt("wait-seconds", "SECONDS", "between one ring's end and the next one's begin (default 600)"),
    opt("lost-max", "N", "nodes that may fail or be lost before it halts (default 0)"),
    opt("wait", "", "wait until every ring is updated"),
    LONG_TIMEOUT,
];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("update start", "VERSION", "Update the fleet, one ring at a time.", &[START, SIGN_IN], start)
        .formerly(&["fleet-update start"])
        .example("uptimemesh update start 2.1.0 --rings canary '*'"),
    command("update list", "", "List updates of the fleet, newest first.", &[WATCH, SIGN_IN], list)
        .formerly(&["fleet-update list"]),
    command("update show", "UPDATE", "Print an update of the fleet.", &[SIGN_IN], show)
        .formerly(&["fleet-update show"]),
    command("update pause", "UPDATE", "Pause an update of the fleet.", &[SIGN_IN], pause)
        .formerly(&["fleet-update pause"]),
    command("update resume", "UPDATE", "Resume an update; nodes that failed try again.", &[SIGN_IN], resume)
        .formerly(&["fleet-update resume"]),
    command("update cancel", "UPDATE", "End an update; updated nodes stay updated.", &[SIGN_IN], cancel)
        .formerly(&["fleet-update cancel"]),
];

fn start(args: &Args) -> Result<(), Failure> {
    let rings: Vec<&str> = args.all("rings").flat_map(|word| word.split(',')).collect();
    if rings.is_empty() {
        args.fault("--rings is required: values of the ring label, like 1 2 '*'".to_string());
    }
    let body = json!({
        "version": args.word(0), "channel": args.get("channel"), "ring_label": args.get("ring-label"), "rings": rings,
        "wait_seconds": args.int("wait-seconds", 600), "lost_max": args.int("lost-max", 0),
    });
    let limit = waiting::long_limit(args);
    let mut api = signed_in(args)?;
    let mut update = api.post("/updates", &body)?;
    if args.has("wait") {
        let id = said(&update["id"]);
        let again = format!("uptimemesh update show {id}");
        update = waiting::wait(args, &mut api, limit, &again, |api| progress_of(api, &id))?;
    }
    shown(args, &update);
    Ok(())
}

/// State of an update of the fleet.
fn progress_of(api: &Api, id: &str) -> Called<State<Value>> {
    let update = api.get(&format!("/updates/{}", encoded(id)))?;
    let state = said(&update["state"]);
    Ok(match state.as_str() {
        "completed" => State::Done(update),
        "halted" | "cancelled" => {
            State::Failed(Failure::Failed(format!("the update {id} is {state}: {}", said(&update["reason"]))))
        }
        _ => State::Working(format!("the update {id} is {state}, ring {}", said(&ring(&update)))),
    })
}

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &UPDATES, "/updates")
}

fn show(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get(&path(args, ""))?);
    Ok(())
}

fn pause(args: &Args) -> Result<(), Failure> {
    act(args, "/pause")
}

fn resume(args: &Args) -> Result<(), Failure> {
    act(args, "/resume")
}

fn cancel(args: &Args) -> Result<(), Failure> {
    act(args, "/cancel")
}

fn act(args: &Args, action: &str) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.post(&path(args, action), &json!({}))?);
    Ok(())
}

fn path(args: &Args, rest: &str) -> String {
    format!("/updates/{}{rest}", encoded(args.word(0)))
}

/// The ring that is being updated, of how many.
fn ring(update: &Value) -> Value {
    let rings = update["rings"].as_array().map_or(0, Vec::len);
    let at = update["ring"].as_u64().map_or(rings, |ring| rings.min(ring as usize + 1));
    json!(format!("{at}/{rings}"))
}
