//! `--watch`: a list that is read again when something happens. A terminal shows it in place; a pipe gets the rows that
//! changed.

use super::args::{Args, Failure, Opt, opt};
use super::output::{self, Format, Style, Table, Tone};
use crate::client::{Api, CallError, Called};
use crate::clock;
use crate::error::Doing;
use crate::sys::{signals, terminal};
use crate::thread::{Stop, spawn};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Option of lists that can be followed.
pub const WATCH: &[Opt] =
    &[opt("watch", "", "follow changes; a pipe gets the rows that changed, removed ones after a -").short('w')];

/// Interval after which the list is read again without an event: ages grow, and not every change is an event.
const READ_EVERY: Duration = Duration::from_secs(15);
/// Events within this time are one reading: those of one change come together.
const BURST: Duration = Duration::from_millis(200);
/// Statuses of a server that has too much to do.
const BUSY: &[u16] = &[429, 503];
/// Pause before a broken connection is tried again; it doubles up to the other.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Signals that may wait to be seen. One change says as much as many.
const PENDING_MAX: usize = 16;
/// Longest single wait of the thread that waits for Ctrl-C.
const LONG: Duration = Duration::from_secs(3600);
/// Time to end in order after Ctrl-C: a server that does not answer would hold the watch for the time of a whole call.
const END_TIME: Duration = Duration::from_secs(1);
/// Fields that every heartbeat, check or request renews: alone they do not make a row a changed one.
const RENEWED: &[&str] =
    &["heartbeat_at", "lease_expires_at", "last_seen_at", "expires_at", "last_used_at", "last_checked_at"];

const CLEAR: &str = "\x1b[2J";
const HOME: &str = "\x1b[H";
const CLEAR_BELOW: &str = "\x1b[J";

/// Reads a list; true asks also for what only people read of it.
pub type Fetch<'a> = &'a dyn Fn(&Api, bool) -> Called<Vec<Value>>;

/// Renews the credential of calls after it was refused.
pub type Renew<'a> = &'a dyn Fn(&mut Api) -> Result<(), Failure>;

/// Reasons to wake a watch.
enum Seen {
    Change,
    /// The stream of events ended, and why.
    Ended(String),
    Stop,
}

/// Output that its reader has seen.
enum View {
    Screen,
    /// Of each object the values that decide whether it changed, and its line.
    Rows(BTreeMap<String, (String, String)>),
}

struct Watch<'a> {
    renew: Renew<'a>,
    table: &'a Table,
    style: Style,
    view: View,
    api: Api,
    fetch: Fetch<'a>,
    wake: SyncSender<Seen>,
    seen: Receiver<Seen>,
    is_open: bool,
    retry: Duration,
}

/// Follows a list until Ctrl-C, or until its reader goes away.
pub fn watch(args: &Args, table: &Table, api: Api, fetch: Fetch, renew: Renew) -> Result<(), Failure> {
    let stop = Stop::default();
    signals::listen(&stop)?;
    let (wake, seen) = sync_channel(PENDING_MAX);
    let on_stop = wake.clone();
    let (watching, ended) = sync_channel::<()>(0);
    let wait = move || {
        while !stop.wait(LONG) {}
        let _ = on_stop.try_send(Seen::Stop);
        if ended.recv_timeout(END_TIME) == Err(RecvTimeoutError::Timeout) {
            std::process::exit(0);
        }
    };
    spawn("watch-stop", None, wait).doing("wait for an interrupt")?;
    let style = output::style(args);
    let is_on_screen = style.is_capable && style.is_for_people();
    let view = if is_on_screen { View::Screen } else { View::Rows(BTreeMap::new()) };
    let done = Watch { renew, table, style, view, api, fetch, wake, seen, is_open: false, retry: RETRY_MIN }.run();
    drop(watching);
    done
}

impl Watch<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let mut list = self.read()?;
        match self.view {
            View::Screen => output::print(CLEAR),
            View::Rows(_) if self.row_format() == Format::Tabs => output::print(&self.table.tabs_header()),
            View::Rows(_) => {}
        }
        while self.show(&list, None) {
            self.open_stream()?;
            let is_going_on = match self.wait() {
                Seen::Stop => false,
                Seen::Ended(why) => self.pause(&list, &why),
                Seen::Change => true,
            };
            if !is_going_on {
                break;
            }
            let Some(read) = self.read_at_last(&list)? else { break };
            list = read;
        }
        Ok(())
    }

    /// Reads the list as soon as the server gives it; `None` if the watch has ended meanwhile.
    fn read_at_last(&mut self, shown: &[Value]) -> Result<Option<Vec<Value>>, Failure> {
        loop {
            match self.read() {
                Ok(list) => return Ok(Some(list)),
                Err(CallError::Refused { status, detail, .. }) if BUSY.contains(&status) => {
                    if !self.pause(shown, &detail) {
                        return Ok(None);
                    }
                }
                Err(e) if e.is_refusal() => return Err(e.into()),
                Err(e) => {
                    if !self.pause(shown, &e.to_string()) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Reads the list; signs in again where the session has ended.
    fn read(&mut self) -> Called<Vec<Value>> {
        let is_for_people = self.style.is_for_people();
        match (self.fetch)(&self.api, is_for_people) {
            Err(e @ CallError::Refused { status: 401, .. }) => {
                (self.renew)(&mut self.api).map_err(|_| e)?;
                (self.fetch)(&self.api, is_for_people)
            }
            read => read,
        }
    }

    /// Has a thread read the stream of events, unless one does.
    fn open_stream(&mut self) -> Result<(), Failure> {
        if self.is_open {
            return Ok(());
        }
        let (api, wake) = (self.api.companion(), self.wake.clone());
        let follow = move || {
            let take = |_: Option<&Value>| {
                // A full queue has a change in it already.
                let _ = wake.try_send(Seen::Change);
                true
            };
            let ended = api.follow("/events/stream", &mut None, take);
            let why = ended.map_or_else(|e| e.to_string(), |()| "the server ended the stream of events".to_string());
            let _ = wake.send(Seen::Ended(why));
        };
        spawn("watch-events", None, follow).doing("follow events")?;
        self.is_open = true;
        Ok(())
    }

    /// Waits until the list is to be read again, or more than that has happened.
    fn wait(&mut self) -> Seen {
        let mut until = clock::tick() + READ_EVERY;
        let mut is_changed = false;
        loop {
            match self.seen.recv_timeout(until.saturating_duration_since(clock::tick())) {
                Ok(Seen::Change) if is_changed => {}
                Ok(Seen::Change) => {
                    is_changed = true;
                    self.retry = RETRY_MIN;
                    until = clock::tick() + BURST;
                }
                Ok(Seen::Ended(why)) => {
                    self.is_open = false;
                    return Seen::Ended(why);
                }
                Ok(Seen::Stop) | Err(RecvTimeoutError::Disconnected) => return Seen::Stop,
                Err(RecvTimeoutError::Timeout) => return Seen::Change,
            }
        }
    }

    /// Says what is wrong and waits before the next try; false if the watch has ended meanwhile.
    fn pause(&mut self, shown: &[Value], why: &str) -> bool {
        let trouble = format!("{why}; trying again in {} s", self.retry.as_secs());
        let is_read = match self.view {
            View::Screen => self.show(shown, Some(&trouble)),
            View::Rows(_) => {
                eprintln!("{}", output::ascii(&trouble));
                true
            }
        };
        let until = clock::tick() + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
        loop {
            match self.seen.recv_timeout(until.saturating_duration_since(clock::tick())) {
                Ok(Seen::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(Seen::Ended(_)) => self.is_open = false,
                Ok(Seen::Change) => {}
                Err(RecvTimeoutError::Timeout) => return is_read,
            }
        }
    }

    /// Shows the list; false if nothing reads it any more.
    fn show(&mut self, list: &[Value], trouble: Option<&str>) -> bool {
        let format = self.row_format();
        match &mut self.view {
            View::Screen => output::try_print(&screen(self.table, list, &self.style, trouble)),
            View::Rows(shown) => output::try_print(&changes(self.table, list, format, shown)),
        }
    }

    /// The form of the rows in a pipe: one line each.
    fn row_format(&self) -> Format {
        match self.style.list {
            Format::Table | Format::Wide => Format::Tabs,
            Format::Json => Format::JsonLines,
            other => other,
        }
    }
}

/// The whole screen: what it is of, the rows that fit, and what is wrong.
fn screen(table: &Table, list: &[Value], style: &Style, trouble: Option<&str>) -> String {
    let size = terminal::size().or(style.terminal).unwrap_or(terminal::UNKNOWN);
    let mut look = style.look();
    look.width = Some(look.width.unwrap_or(size.columns).min(size.columns));
    let clock = look.now.to_string();
    let head = format!("{} {}, {} UTC; Ctrl-C ends", list.len(), table.noun, clock.get(11..19).unwrap_or_default());
    let mut lines = vec![output::painted(output::cut(&head, size.columns), Tone::Quiet, look.has_colour)];
    if !list.is_empty() {
        lines.extend(table.lines(list, &look));
    }
    // The cursor stands on the line below.
    let room = size.lines.saturating_sub(1 + usize::from(trouble.is_some()));
    if lines.len() > room {
        let hidden = lines.len() - room.saturating_sub(1);
        lines.truncate(room.saturating_sub(1));
        lines.push(format!("... and {hidden} more"));
    }
    let trouble = trouble.map(|why| output::cut(&output::drawable(why), size.columns));
    lines.extend(trouble.map(|why| output::painted(why, Tone::Bad, look.has_colour)));
    let drawn: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("{HOME}{drawn}{CLEAR_BELOW}")
}

/// Lines for the objects that are new or changed, and for those that are gone.
fn changes(table: &Table, list: &[Value], format: Format, shown: &mut BTreeMap<String, (String, String)>) -> String {
    let mut out = String::new();
    let mut gone = std::mem::take(shown);
    for object in list {
        let id = table.id_of(object);
        let line = match format {
            Format::JsonLines => output::json_line(object),
            Format::Names => format!("{id}\n"),
            _ => table.tabs_row(object),
        };
        let lasting = if format == Format::Names { String::new() } else { table.tabs_row_without(object, RENEWED) };
        if gone.remove(&id).is_none_or(|(before, _)| before != lasting) {
            out.push_str(&line);
        }
        shown.insert(id, (lasting, line));
    }
    for (id, (_, line)) in gone {
        out.push_str(&match format {
            Format::JsonLines => output::json_line(&json!({table.id: id, "removed": true})),
            _ => format!("-{line}"),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Kind, column};

    const TABLE: Table = Table {
        noun: "nodes",
        id: "id",
        columns: &[column("NODE", "id", Kind::Id), column("LEASE", "lease", Kind::State)],
        tabs: &[("NODE", "id"), ("LEASE", "lease"), ("HEARTBEAT", "heartbeat_at")],
    };

    fn node(id: &str, lease: &str, at: &str) -> Value {
        json!({"id": id, "lease": lease, "heartbeat_at": at})
    }

    #[test]
    fn a_pipe_gets_rows_that_are_new_changed_or_gone() {
        let mut shown = BTreeMap::new();
        let mut next = |list: &[Value]| changes(&TABLE, list, Format::Tabs, &mut shown);
        assert_eq!(next(&[node("a", "alive", "1"), node("b", "alive", "1")]), "a\talive\t1\nb\talive\t1\n");
        assert_eq!(next(&[node("a", "alive", "2"), node("b", "alive", "2")]), "", "a heartbeat alone changes nothing");
        assert_eq!(next(&[node("a", "dead", "2"), node("b", "alive", "3")]), "a\tdead\t2\n");
        assert_eq!(next(&[node("c", "alive", "4"), node("b", "alive", "4")]), "c\talive\t4\n-a\tdead\t2\n");
        assert_eq!(next(&[]), "-b\talive\t4\n-c\talive\t4\n");
    }

    #[test]
    fn other_forms_are_lines_too() {
        let mut shown = BTreeMap::new();
        assert_eq!(changes(&TABLE, &[node("a", "alive", "1")], Format::Names, &mut shown), "a\n");
        assert_eq!(changes(&TABLE, &[node("a", "dead", "1")], Format::Names, &mut shown), "");
        assert_eq!(changes(&TABLE, &[], Format::Names, &mut shown), "-a\n");
        let line = "{\"heartbeat_at\":\"1\",\"id\":\"a\",\"lease\":\"alive\"}\n";
        assert_eq!(changes(&TABLE, &[node("a", "alive", "1")], Format::JsonLines, &mut shown), line);
        assert_eq!(changes(&TABLE, &[], Format::JsonLines, &mut shown), "{\"id\":\"a\",\"removed\":true}\n");
    }
}
