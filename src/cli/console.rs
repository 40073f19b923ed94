//! The terminal that a control plane was started on: warnings, errors, nodes that join, fail or return, and services
//! without a place, a short line each. Everything else is in the log file.

use super::output::{self, Tone, painted};
use super::sentences::sentence;
use crate::clock::{self, Timestamp};
use crate::error::Chain;
use crate::logger::{self, Notice};
use crate::model::events::Event;
use crate::model::ids::ServiceId;
use crate::serve::{Server, Unplaced};
use crate::sys::local_time::LocalTime;
use crate::thread::spawn;
use log::{Level, LevelFilter};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Warnings of the log that may wait to be shown; the log file has all.
const NOTICES_MAX: usize = 64;
/// Longest wait for an event before warnings of the log are looked for.
const LOOK: Duration = Duration::from_millis(250);
/// Quiet time after a change before services are checked: the scheduler itself waits three seconds for more.
const SETTLED: Duration = Duration::from_secs(4);
/// Time within which a log warning and its event are shown once.
const TWICE_S: i64 = 2;
/// Lines that are remembered for that.
const SHOWN_MAX: usize = 32;
/// Characters of a line's text.
const TEXT_MAX: usize = 400;
/// A failed sign-in is an event under this name, and in the log under the other.
const SIGN_IN_FAILED: (&str, &str) = ("auth.sign_in_failed", "auth.failed");

struct Line {
    at: Timestamp,
    tone: Tone,
    /// The event's name.
    name: String,
    source: Source,
    text: String,
}

/// Source of a line. Some incidents are both a log warning and an event.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    Log,
    Events,
    Services,
}

/// A terminal on which an operator follows what happens.
pub struct Console(Receiver<Notice>);

impl Console {
    /// The terminal of this process, which shows no log from here on. `None` where it is not on one, or where no file
    /// takes the log.
    pub fn open(has_log_file: bool) -> Option<Console> {
        if has_log_file { Console::attached(&[]) } else { None }
    }

    /// The same for an agent, of which a person wants to see warnings, errors, and that heartbeats are accepted again.
    /// `None` where more than the usual is logged and no file takes it.
    pub fn open_for_agent(log_level: LevelFilter, has_log_file: bool) -> Option<Console> {
        if has_log_file || log_level <= LevelFilter::Info { Console::attached(&["agent.back"]) } else { None }
    }

    fn attached(events: &'static [&'static str]) -> Option<Console> {
        if !io::stdout().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let (sender, notices) = sync_channel(NOTICES_MAX);
        logger::attach(sender, events);
        Some(Console(notices))
    }

    /// Shows the log of an agent, on a thread of its own, until the process ends.
    pub fn follow_log(self, has_colour: bool) -> io::Result<()> {
        let mut shown = Shown { has_colour, local: LocalTime::default(), last: VecDeque::new() };
        spawn("console", None, move || self.0.iter().for_each(|notice| shown.show(&of_notice(notice)))).map(drop)
    }

    /// Shows what happens, on a thread of its own, until the server stops.
    pub fn follow(self, server: &Arc<Server>, has_colour: bool) -> io::Result<JoinHandle<()>> {
        let (server, mut events) = (Arc::clone(server), server.events());
        let mut shown = Shown { has_colour, local: LocalTime::default(), last: VecDeque::new() };
        let mut services = Services { unplaced: Vec::new(), changed_at: Some(clock::tick()) };
        spawn("console", None, move || {
            loop {
                let next = events.next(LOOK);
                let mut lines: Vec<Line> = self.0.try_iter().map(of_notice).collect();
                match &next {
                    Ok(Some(frames)) => {
                        services.note(frames.iter().map(|frame| &frame.event));
                        lines.extend(frames.iter().filter_map(|frame| of_event(&frame.event, &mut shown.local)));
                    }
                    Ok(None) => {}
                    Err(e) => lines.push(line(Tone::Bad, format!("error: The events cannot be read: {}", Chain(e)))),
                }
                lines.extend(services.look(&server));
                lines.sort_by_key(|line| line.at);
                lines.iter().for_each(|line| shown.show(line));
                if !matches!(next, Ok(Some(_))) {
                    return;
                }
            }
        })
    }
}

fn tone_of(level: &str) -> Tone {
    if level == "ERROR" { Tone::Bad } else { Tone::Busy }
}

/// Services as last shown.
struct Shown {
    has_colour: bool,
    local: LocalTime,
    /// Lines that may come from the other source too.
    last: VecDeque<(String, Source, i64)>,
}

impl Shown {
    fn show(&mut self, line: &Line) {
        if self.is_repeated(line) {
            return;
        }
        let text = self.text(line);
        // A terminal that went away ends nothing.
        let _ = io::stdout().lock().write_all(text.as_bytes());
    }

    /// True if the other source has said it.
    fn is_repeated(&mut self, line: &Line) -> bool {
        let same = |(name, source, at_s): &(String, Source, i64)| {
            *name == line.name && *source != line.source && (line.at.secs() - at_s).abs() <= TWICE_S
        };
        if let Some(at) = self.last.iter().position(same) {
            self.last.remove(at);
            return true;
        }
        if self.last.len() == SHOWN_MAX {
            self.last.pop_front();
        }
        self.last.push_back((line.name.clone(), line.source, line.at.secs()));
        false
    }

    fn text(&mut self, line: &Line) -> String {
        let time = self.local.show(line.at);
        let text: String = line.text.chars().take(TEXT_MAX).collect();
        let cut = if text.len() < line.text.len() { "..." } else { "" };
        format!("{time}  {}\n", painted(text + cut, line.tone, self.has_colour))
    }
}

/// A line of the log.
fn of_notice(notice: Notice) -> Line {
    let (tone, word) = match notice.level {
        Level::Error => (Tone::Bad, "error: "),
        Level::Warn => (Tone::Busy, "warning: "),
        _ => (Tone::Good, ""),
    };
    let name = if notice.event == SIGN_IN_FAILED.1 { SIGN_IN_FAILED.0.to_string() } else { notice.event };
    Line { at: notice.at, tone, name, source: Source::Log, text: format!("{word}{}", notice.text) }
}

/// An event, if an operator wants to see it.
fn of_event(event: &Event, local: &mut LocalTime) -> Option<Line> {
    let field = |name: &str| event.fields.get(name).map(said).unwrap_or_default();
    let (tone, text) = match event.name.as_str() {
        "node.join" => (Tone::Good, format!("{} joined as {}", field("node_id"), field("role"))),
        "node.rejoin" => (Tone::Good, format!("{} joined again as {}", field("node_id"), field("role"))),
        "node.lease.alive" => (Tone::Good, format!("{} is alive again", field("node_id"))),
        "node.lease.stale" => (Tone::Busy, format!("{} is stale: {}", field("node_id"), last_heartbeat(event, local))),
        "node.lease.dead" => (Tone::Bad, format!("{} is dead: {}", field("node_id"), last_heartbeat(event, local))),
        "node.drained" => (Tone::Good, format!("{} is drained", field("node_id"))),
        "scheduler.brake_off" => (Tone::Good, "The scheduler moves replicas again".to_string()),
        name if event.level == "WARNING" || event.level == "ERROR" => (tone_of(&event.level), described(name, event)),
        _ => return None,
    };
    Some(Line { at: event.created_at, tone, name: event.name.clone(), source: Source::Events, text })
}

fn last_heartbeat(event: &Event, local: &mut LocalTime) -> String {
    let at = event.fields.get("heartbeat_at").and_then(Value::as_str).and_then(Timestamp::parse);
    at.map_or("no heartbeat".to_string(), |at| format!("last heartbeat at {}", local.show(at)))
}

fn described(name: &str, event: &Event) -> String {
    format!("{}: {}", event.level.to_ascii_lowercase(), sentence(name, &Value::Object(event.fields.clone())))
}

fn said(value: &Value) -> String {
    output::ascii(&super::answers::said(value))
}

/// Services without a place for all of their replicas.
struct Services {
    unplaced: Vec<Unplaced>,
    /// Time of the last change that may affect them; `None` after a check.
    changed_at: Option<Instant>,
}

impl Services {
    fn note<'a>(&mut self, mut events: impl Iterator<Item = &'a Event>) {
        const CATEGORIES: [&str; 6] = ["cluster", "nodes", "replicas", "scheduler", "services", "settings"];
        if events.any(|event| CATEGORIES.contains(&event.category.as_str())) {
            self.changed_at = Some(clock::tick());
        }
    }

    /// Differences, once changes have settled.
    fn look(&mut self, server: &Server) -> Vec<Line> {
        if self.changed_at.is_none_or(|at| at.elapsed() < SETTLED) {
            return Vec::new();
        }
        self.changed_at = None;
        match server.unplaced() {
            Ok(now) => self.changes(now),
            Err(e) => vec![line(Tone::Bad, format!("error: The services cannot be read: {}", Chain(&e)))],
        }
    }

    fn changes(&mut self, now: Vec<Unplaced>) -> Vec<Line> {
        let is_among = |all: &[Unplaced], id: &ServiceId| all.iter().any(|other| other.service_id == *id);
        let news = now.iter().filter(|service| !self.unplaced.contains(service)).map(|service| {
            let why = if service.why.is_empty() { String::new() } else { format!(": {}", output::ascii(&service.why)) };
            let text = format!(
                "{} has a place for {} of {} replicas{why}",
                service.service_id, service.placed, service.desired
            );
            line(Tone::Busy, text)
        });
        let placed = self.unplaced.iter().filter(|service| !is_among(&now, &service.service_id));
        let placed = placed
            .map(|service| line(Tone::Good, format!("{} has a place for all of its replicas", service.service_id)));
        let lines = news.chain(placed).collect();
        self.unplaced = now;
        lines
    }
}

fn line(tone: Tone, text: String) -> Line {
    Line { at: clock::now(), tone, name: String::new(), source: Source::Services, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Object;
    use serde_json::json;

    fn event(name: &str, level: &str, fields: Value) -> Event {
        let at = Timestamp::parse("2026-11-28T20:13:05.5Z").expect("a moment");
        let fields: Object = fields.as_object().cloned().unwrap_or_default();
        Event {
            id: "e".into(),
            category: "nodes".into(),
            name: name.into(),
            level: level.into(),
            fields,
            created_at: at,
            updated_at: at,
            actor: None,
            address: None,
            request_id: None,
        }
    }

    fn shown(has_colour: bool) -> Shown {
        Shown { has_colour, local: LocalTime::default(), last: VecDeque::new() }
    }

    fn text(name: &str, level: &str, fields: Value) -> Option<String> {
        of_event(&event(name, level, fields), &mut LocalTime::default()).map(|line| line.text)
    }

    #[test]
    fn an_operator_sees_nodes_and_warnings_and_nothing_else() {
        let join = json!({"node_id": "node-b", "role": "worker", "name": "b"});
        assert_eq!(text("node.join", "INFO", join).as_deref(), Some("node-b joined as worker"));
        assert_eq!(text("node.lease.alive", "INFO", json!({"node_id": "n"})).as_deref(), Some("n is alive again"));
        let dead = text("node.lease.dead", "ERROR", json!({"node_id": "n", "heartbeat_at": "2026-11-28T20:12:00Z"}));
        assert!(dead.is_some_and(|text| text.starts_with("n is dead: last heartbeat at ")));
        assert_eq!(
            text("backup.failed", "ERROR", json!({"error": "full\x1b[2J"})).as_deref(),
            Some("error: A backup could not be created: full\\u{1b}[2J")
        );
        for quiet in ["service.create", "node.heartbeat", "auth.sign_in"] {
            assert_eq!(text(quiet, "INFO", json!({})), None, "{quiet}");
        }
    }

    #[test]
    fn what_the_log_and_an_event_say_is_shown_once() {
        let mut shown = shown(false);
        let notice = |event: &str| Notice {
            at: Timestamp::parse("2026-11-28T20:13:06Z").expect("a moment"),
            level: Level::Warn,
            event: event.into(),
            text: "t".into(),
        };
        let of_event =
            |name: &str| of_event(&event(name, "WARNING", json!({})), &mut LocalTime::default()).expect("a line");
        assert!(!shown.is_repeated(&of_event("backup.failed")));
        assert!(!shown.is_repeated(&of_event("backup.failed")), "twice the same event is two events");
        assert!(shown.is_repeated(&of_notice(notice("backup.failed"))));
        assert!(shown.is_repeated(&of_notice(notice("backup.failed"))));
        assert!(!shown.is_repeated(&of_notice(notice("backup.failed"))));
        assert!(!shown.is_repeated(&of_notice(notice("auth.failed"))));
        assert!(shown.is_repeated(&of_event("auth.sign_in_failed")));
    }

    #[test]
    fn colours_are_for_terminals_that_have_them_and_long_lines_are_cut() {
        let line = |text: String| Line { text, ..line(Tone::Bad, String::new()) };
        assert!(shown(true).text(&line("it failed".into())).ends_with("  \x1b[31mit failed\x1b[0m\n"));
        assert!(shown(false).text(&line("it failed".into())).ends_with("  it failed\n"));
        let long = shown(false).text(&line("x".repeat(2 * TEXT_MAX)));
        assert!(long.ends_with("x...\n") && long.len() < TEXT_MAX + 20);
    }

    #[test]
    fn a_service_without_a_place_is_said_once_and_when_it_has_one() {
        let mut services = Services { unplaced: Vec::new(), changed_at: None };
        let short = |placed: usize| {
            vec![Unplaced { service_id: "web".into(), placed, desired: 3, why: "No node fits.".into() }]
        };
        let mut texts =
            |now: Vec<Unplaced>| -> Vec<String> { services.changes(now).into_iter().map(|line| line.text).collect() };
        assert_eq!(texts(short(1)), ["web has a place for 1 of 3 replicas: No node fits."]);
        assert!(texts(short(1)).is_empty());
        assert_eq!(texts(short(2)).len(), 1);
        assert_eq!(texts(Vec::new()), ["web has a place for all of its replicas"]);
        assert!(texts(Vec::new()).is_empty());
    }
}
