//! `events`: what happened, and what happens.

use super::answers::{encoded, said};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, sign_in_again, signed_in};
use super::output::{self, Format, Kind, Style, Table, column, made};
use super::sentences::sentence;
use super::watch::WATCH;
use crate::client::{Api, CallError};
use serde_json::Value;
use std::time::Duration;

/// Options of `events`.
const OPTIONS: &[Opt] = &[
    opt("category", "NAME", "of this category only"),
    opt("name", "NAME", "of this name only"),
    opt("level", "LEVEL", "of this level only"),
    opt("node", "ID", "about this node only"),
    opt("since", "TIME", "after this moment only, as 2026-11-23T20:12:26Z"),
    opt("limit", "COUNT", "most events, 1 to 1000 (default 50)"),
    opt("follow", "", "continue with new events as they happen, until it is stopped"),
];

/// Columns of time and level before an event that is followed.
const EVENT_HEAD: usize = 19;
/// Events that are listed where nothing is said: a screen.
const SHOWN: i64 = 50;
/// Pause before a broken stream is opened again.
const RETRY: Duration = Duration::from_secs(2);

const EVENTS: Table = Table {
    noun: "events",
    id: "id",
    columns: &[
        column("AGE", "created_at", Kind::Time),
        column("LEVEL", "level", Kind::State),
        column("EVENT", "name", Kind::Id),
        made("WHAT", Kind::Text, what),
        column("CATEGORY", "category", Kind::Text).wide(),
    ],
    tabs: &[("TIME", "created_at"), ("LEVEL", "level"), ("EVENT", "name"), ("FIELDS", "fields")],
};

fn what(event: &Value) -> Value {
    sentence(event["name"].as_str().unwrap_or_default(), &event["fields"]).into()
}

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("event list", "", "List events, newest first, or follow them.", &[OPTIONS, WATCH, SIGN_IN], events)
        .example("uptimemesh event list --level warning --follow")];

fn events(args: &Args) -> Result<(), Failure> {
    let limit = args.int("limit", SHOWN);
    let filters =
        [("category", "category"), ("name", "name"), ("level", "level"), ("node", "node_id"), ("since", "since")];
    let query: Vec<String> =
        filters.iter().filter_map(|(option, name)| Some(format!("{name}={}", encoded(args.get(option)?)))).collect();
    let query = query.join("&");
    let api = signed_in(args)?;
    if args.has("follow") || args.has("watch") {
        return follow(args, api, &query);
    }
    let list = api.get(&format!("/events?limit={limit}&{query}"))?;
    output::list(args, &EVENTS, list.as_array().cloned().unwrap_or_default());
    Ok(())
}

/// Prints events as they come. A broken stream continues where it was, so that no event is missed or repeated.
fn follow(args: &Args, mut api: Api, query: &str) -> Result<(), Failure> {
    let style = output::style(args);
    let mut last = None;
    let mut was_refused = false;
    loop {
        let (mut is_read, mut is_answered) = (true, false);
        let print = |event: Option<&Value>| {
            is_answered = true;
            is_read = event.is_none_or(|event| output::try_print(&line(&style, event)));
            is_read
        };
        let ended = api.follow(&format!("/events/stream?{query}"), &mut last, print);
        if !is_read {
            return Ok(());
        }
        was_refused &= !is_answered;
        match ended {
            Err(CallError::Refused { status: 401, .. }) if !was_refused => {
                was_refused = true;
                match sign_in_again(args, &mut api) {
                    Err(Failure::Unreachable(why)) => eprintln!("{}; trying again", output::ascii(&why)),
                    done => done?,
                }
            }
            Err(e) if e.is_refusal() => return Err(e.into()),
            Err(e) => eprintln!("{}; trying again", output::ascii(&e.to_string())),
            Ok(()) => eprintln!("the stream ended; trying again"),
        }
        std::thread::sleep(RETRY);
    }
}

/// An event as one line; on a terminal with the time of day, because its age would grow.
fn line(style: &Style, event: &Value) -> String {
    match style.list {
        Format::Json | Format::JsonLines => output::json_line(event),
        Format::Names => EVENTS.id_of(event) + "\n",
        Format::Table | Format::Wide => {
            let look = style.look();
            let time = event["created_at"].as_str().and_then(|at| at.get(11..19)).unwrap_or("-");
            let level = event["level"].as_str().unwrap_or("-");
            let row = format!("{}  {}", output::ascii(event["name"].as_str().unwrap_or("-")), said(&what(event)));
            let room = look.width.map_or(usize::MAX, |width| width.saturating_sub(EVENT_HEAD));
            format!("{time}  {}  {}\n", output::state(&format!("{level:<7}"), &look), output::cut(&row, room))
        }
        Format::Tabs | Format::Nothing => EVENTS.tabs_row(event),
    }
}
