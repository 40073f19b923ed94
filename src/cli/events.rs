//! `events`: what happened, and what happens.

use super::answers::{encoded, listed};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output;
use crate::client::{Api, CallError};
use serde_json::Value;
use std::time::Duration;

/// Options of `events`.
const EVENTS: &[Opt] = &[
    opt("category", "NAME", "of this category only"),
    opt("name", "NAME", "of this name only"),
    opt("level", "LEVEL", "of this level only"),
    opt("node", "ID", "about this node only"),
    opt("since", "TIME", "after this moment only, as 2026-11-23T20:12:26Z"),
    opt("limit", "COUNT", "at most so many, 1 to 1000 (default 50)"),
    opt("follow", "", "go on with what happens from now on, until it is stopped"),
];

/// Events that are listed where nothing is said: a screen.
const SHOWN: i64 = 50;
/// A stream that broke off is taken up again after so long.
const RETRY: Duration = Duration::from_secs(2);

const HEADER: [&str; 4] = ["TIME", "LEVEL", "EVENT", "FIELDS"];
const KEYS: [&str; 4] = ["created_at", "level", "name", "fields"];

/// Every command of this file.
pub const COMMANDS: &[Command] = &[command("event list", "", "List events, newest first, or follow them.", &[EVENTS, SIGN_IN], events)
    .example("uptimemesh event list --level warning --follow")];

fn events(args: &Args) -> Result<(), Failure> {
    let limit = args.int("limit", SHOWN);
    let filters = [("category", "category"), ("name", "name"), ("level", "level"), ("node", "node_id"), ("since", "since")];
    let query: Vec<String> = filters.iter().filter_map(|(option, name)| Some(format!("{name}={}", encoded(args.get(option)?)))).collect();
    let query = query.join("&");
    let api = signed_in(args)?;
    if args.has("follow") {
        return follow(args, api, &query);
    }
    let list = api.get(&format!("/events?limit={limit}&{query}"))?;
    listed(args, list.as_array().cloned().unwrap_or_default(), &HEADER, &KEYS);
    Ok(())
}

/// Prints events as they come. A stream that breaks off is taken up where it was, so that none is missed or told twice.
fn follow(args: &Args, mut api: Api, query: &str) -> Result<(), Failure> {
    let mut last = None;
    loop {
        let print = |event: &Value| match args.has("json") {
            true => output::print(&format!("{event}\n")),
            false => output::rows(std::slice::from_ref(event), &KEYS),
        };
        let ended = api.follow(&format!("/events/stream?{query}"), &mut last, print);
        match ended {
            // The session has ended. Whoever gave a password may go on.
            Err(CallError::Refused { status: 401, .. }) => match api.sign_in_again() {
                Err(e) if e.is_refusal() => return Err(e.into()),
                _ => {}
            },
            Err(e) if e.is_refusal() => return Err(e.into()),
            Err(e) => eprintln!("{}; trying again", output::ascii(&e.to_string())),
            Ok(()) => eprintln!("the stream ended; trying again"),
        }
        std::thread::sleep(RETRY);
    }
}
