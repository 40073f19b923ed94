//! `logs`: the output of replicas.

use super::answers::encoded;
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, sign_in_again, signed_in};
use super::output::{self, Format, Style};
use crate::client::{Api, CallError};
use crate::clock::{self, Timestamp};
use crate::json;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Options of `logs`.
const OPTIONS: &[Opt] = &[
    opt("follow", "", "continue with new lines, until it is stopped").short('f'),
    opt("since", "TIME", "lines since this moment only, as 2026-11-23T20:12:26Z, or as 10m, 2h or 3d ago"),
    opt("tail", "COUNT", "newest lines of each replica (default 100, with --since all)"),
    opt("node", "ID", "replicas on this node only"),
    opt("timestamps", "", "show the time of each line").short('t'),
];

/// Pause before a broken stream is opened again.
const RETRY: Duration = Duration::from_secs(2);
/// Codes of the colours that replicas get in turn.
const COLOURS: &[u8] = &[36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("logs", "NAME", "Show the output of a service, or of one replica.", &[OPTIONS, SIGN_IN], logs)
        .example("uptimemesh logs web --follow --since 10m")];

fn logs(args: &Args) -> Result<(), Failure> {
    let since = args.get("since").and_then(|text| {
        let since = moment(text, clock::now());
        if since.is_none() {
            args.fault(format!("--since must be a time as 2026-11-23T20:12:26Z, or 30s, 10m, 2h or 3d, not {text:?}"));
        }
        since
    });
    let tail = args.get("tail").map(|_| args.int("tail", 0));
    args.finish()?;
    let mut api = signed_in(args)?;
    let path = path(args, &api)?;
    let mut printer = Printer::new(output::style(args), args, path.starts_with("/services/"));
    let mut wanted = Wanted { since, tail, node: args.get("node").map(encoded), is_following: args.has("follow") };
    loop {
        let ended = api.lines(&wanted.query(&path), &[("Accept", "application/x-ndjson")], |line| printer.print(line));
        if printer.is_unread || printer.is_complete && !wanted.is_following {
            return Ok(());
        }
        match ended {
            Err(e @ CallError::Refused { status: 401, .. }) if wanted.is_following && printer.has_begun => {
                printer.has_begun = false;
                sign_in_again(args, &mut api).map_err(|_| Failure::from(e))?;
            }
            Err(e) if e.is_refusal() || !wanted.is_following => return Err(e.into()),
            Err(e) => output::remark(&format!("{e}; trying again")),
            Ok(()) if wanted.is_following => {}
            Ok(()) => return Err(Failure::Unreachable("the output broke off before its end".to_string())),
        }
        std::thread::sleep(RETRY);
        wanted.resume(printer.last);
    }
}

/// Path of the logs of what is named: a service, or else a replica.
fn path(args: &Args, api: &Api) -> Result<String, Failure> {
    let id = encoded(args.word(0));
    match api.get(&format!("/services/{id}")) {
        Ok(_) => return Ok(format!("/services/{id}/logs")),
        Err(CallError::Refused { status: 404, .. }) => {}
        Err(e) => return Err(e.into()),
    }
    match api.get(&format!("/replicas/{id}")) {
        Ok(_) => Ok(format!("/replicas/{id}/logs")),
        Err(CallError::Refused { status: 404, .. }) => {
            let name = output::ascii(args.word(0));
            Err(Failure::Failed(format!("there is no service and no replica {name}: see uptimemesh service list")))
        }
        Err(e) => Err(e.into()),
    }
}

/// The part of the output that is still wanted.
struct Wanted {
    since: Option<Timestamp>,
    tail: Option<i64>,
    node: Option<String>,
    is_following: bool,
}

impl Wanted {
    fn query(&self, path: &str) -> String {
        let since = self.since.map(|since| format!("&since={}", encoded(&since.to_string())));
        let tail = self.tail.map(|tail| format!("&tail={tail}"));
        // A replica has one node.
        let node = self.node.as_ref().filter(|_| path.starts_with("/services/")).map(|node| format!("&node_id={node}"));
        let follow = u8::from(self.is_following);
        [Some(format!("{path}?follow={follow}")), since, tail, node].into_iter().flatten().collect()
    }

    /// Continues after a broken answer: with what is newer than the last line.
    fn resume(&mut self, last: Option<Timestamp>) {
        if let Some(last) = last {
            (self.since, self.tail) = (Some(Timestamp(last.0 + 1)), None);
        }
    }
}

/// Prints entries.
struct Printer {
    style: Style,
    has_time: bool,
    has_names: bool,
    colours: BTreeMap<String, u8>,
    /// Time of the newest line.
    last: Option<Timestamp>,
    has_begun: bool,
    /// True after the last entry.
    is_complete: bool,
    /// True once the reader of the output has gone away.
    is_unread: bool,
}

impl Printer {
    fn new(style: Style, args: &Args, has_names: bool) -> Printer {
        Printer {
            style,
            has_time: args.has("timestamps"),
            has_names,
            colours: BTreeMap::new(),
            last: None,
            has_begun: false,
            is_complete: false,
            is_unread: false,
        }
    }

    /// Prints an entry. Returns false once nobody reads the output.
    fn print(&mut self, line: &str) -> bool {
        self.has_begun = true;
        let Ok(entry) = json::kept(line) else { return true };
        let is_json = matches!(self.style.list, Format::Json | Format::JsonLines);
        match entry["kind"].as_str() {
            Some("end") => self.is_complete = true,
            Some("missing") if !is_json => {
                let text = |key: &str| output::ascii(entry[key].as_str().unwrap_or("-"));
                let (replica, node, reason) = (text("replica_id"), text("node_id"), text("reason"));
                output::remark(&format!("{replica} on {node} cannot be read: {reason}"));
                return true;
            }
            _ => {}
        }
        self.last = entry["at"].as_str().and_then(Timestamp::parse).max(self.last);
        let text = match is_json {
            true => output::json_line(&entry),
            false if entry["kind"] == "line" => self.line(&entry),
            false => return true,
        };
        self.is_unread = !output::try_print(&text);
        !self.is_unread
    }

    /// A line of output, with the name of its replica where there can be several. A terminal gets no codes that it
    /// would obey.
    fn line(&mut self, entry: &Value) -> String {
        let mut out = String::new();
        if self.has_time {
            out.push_str(&format!("{} ", entry["at"].as_str().unwrap_or("-")));
        }
        if self.has_names {
            let name = output::ascii(entry["replica_id"].as_str().unwrap_or("-"));
            let next = COLOURS[self.colours.len() % COLOURS.len()];
            let colour = *self.colours.entry(name.clone()).or_insert(next);
            match self.style.look().has_colour {
                true => out.push_str(&format!("\x1b[{colour}m{name} |\x1b[0m ")),
                false => out.push_str(&format!("{name} | ")),
            }
        }
        let text = entry["text"].as_str().unwrap_or_default();
        match self.style.terminal {
            Some(_) => out.push_str(&output::drawable(text)),
            None => out.push_str(text),
        }
        out.push('\n');
        out
    }
}

/// A moment as RFC 3339, or a time before now as `10m`.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let (number, unit) = text.split_at(text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at))?);
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Timestamp::parse(text),
    };
    let count: u32 = number.parse().ok().filter(|_| number.bytes().all(|b| b.is_ascii_digit()))?;
    Some(now.plus_secs(-(i64::from(count) * unit_s)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_before_now() {
        let now = Timestamp::from_secs(1_000_000);
        for (text, before_s) in [("30s", 30), ("10m", 600), ("2h", 7200), ("3d", 259_200), ("0s", 0)] {
            assert_eq!(moment(text, now), Some(now.plus_secs(-before_s)), "{text}");
        }
        assert_eq!(moment("1970-01-12T13:46:40Z", Timestamp(0)), Some(now));
        for bad in ["", "m", "-1m", "+1m", "1w", "1.5h", "99999999999s", "today", "1\u{e9}"] {
            assert_eq!(moment(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn a_broken_stream_continues_after_the_last_line() {
        let mut wanted = Wanted { since: None, tail: Some(5), node: Some("n1".to_string()), is_following: true };
        assert_eq!(wanted.query("/services/s/logs"), "/services/s/logs?follow=1&tail=5&node_id=n1");
        wanted.resume(None);
        assert_eq!(wanted.query("/replicas/r/logs"), "/replicas/r/logs?follow=1&tail=5");
        wanted.resume(Some(Timestamp(999_999)));
        assert_eq!(wanted.query("/replicas/r/logs"), "/replicas/r/logs?follow=1&since=1970-01-01T00%3A00%3A01Z");
    }
}
