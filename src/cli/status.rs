//! `status`: the whole cluster on one screen.

use super::answers::said;
use super::args::{Args, Command, Failure, command};
use super::connect::{SIGN_IN, signed_in};
use super::output::{self, Look};
use super::sentences::sentence;
use crate::clock::Timestamp;
use serde_json::Value;
use std::fmt::Write;

/// Every command of this file.
pub const COMMANDS: &[Command] = &[command("status", "", "Show the whole cluster on one screen.", &[SIGN_IN], status)];

/// Services that are listed, those in trouble first; the number of the others is said.
const SERVICES_MAX: usize = 10;
/// Lines about what needs attention.
const ATTENTION_MAX: usize = 12;
/// Digits of a fingerprint in one line of a narrow terminal.
const FINGERPRINT_PART: usize = 32;
/// Width of the titles.
const TITLE_COLUMNS: usize = 14;
/// Words that have a colour.
const STATES: &[&str] = &["alive", "stale", "dead", "unknown", "failing", "blocked", "failed", "unhealthy", "warning"];

fn status(args: &Args) -> Result<(), Failure> {
    let api = signed_in(args)?;
    let status = api.get("/cluster/status")?;
    if output::wants_json(args) {
        output::structured(args, &status);
    } else {
        let style = output::style(args);
        output::say(args, screen(&status, api.url(), style.is_for_people().then(|| style.look()).as_ref()).trim_end());
    }
    Ok(())
}

/// The screen, from the answer of the control plane at this URL. With a `look` it is for a terminal: lines broken at
/// its width, ages, and states in colour.
fn screen(status: &Value, url: &str, look: Option<&Look>) -> String {
    let mut out = String::new();
    let mut line = |title: &str, text: String| {
        let text = output::ascii(&text);
        let text = look.map_or(text.clone(), |look| coloured(&text, look));
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{title:<TITLE_COLUMNS$} {text}");
    };
    let moment = |at: &Value| moment(at, look);
    line("control plane", format!("{url}, version {}", said(&status["version"])));
    if let Some(authority) = status["authority"]["fingerprint"].as_str() {
        let narrow = look.and_then(|look| look.width).is_some_and(|width| width <= TITLE_COLUMNS + authority.len());
        match look {
            None => line("authority", format!("sha256:{authority}")),
            Some(_) if narrow && authority.len() > FINGERPRINT_PART => {
                line("authority", authority[..FINGERPRINT_PART].to_string());
                line("", authority[FINGERPRINT_PART..].to_string());
            }
            Some(_) => line("authority", authority.to_string()),
        }
    }
    let braked = if status["braked"] == true { ", braked" } else { "" };
    let guarded = if status["guarded"] == true { "; writes are refused" } else { "" };
    line("scheduler", format!("{}{braked}{guarded}", said(&status["scheduler_mode"])));
    let counts =
        ["alive", "stale", "dead", "unknown"].map(|state| (state, status["nodes"][state].as_u64().unwrap_or(0)));
    let present = counts.iter().filter(|(state, count)| *state == "alive" || *count > 0);
    line("nodes", present.map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", "));
    services(&mut line, &status["services"]);
    line("last backup", moment(&status["last_backup_at"]));
    attention(&mut line, &status["attention"], &moment);
    for (at, event) in status["warnings"].as_array().into_iter().flatten().enumerate() {
        let title = if at == 0 { "last warnings" } else { "" };
        let (at, name) = (moment(&event["created_at"]), said(&event["name"]));
        let what = look.map_or_else(|| format!("{name} {}", event["fields"]), |_| sentence(&name, &event["fields"]));
        line(title, format!("{at} {what}"));
    }
    out
}

fn services(line: &mut impl FnMut(&str, String), list: &Value) {
    let mut all: Vec<&Value> = list.as_array().into_iter().flatten().collect();
    let number = |service: &Value, key: &str| service[key].as_u64().unwrap_or(0);
    let sum = |key: &str| all.iter().map(|service| number(service, key)).sum::<u64>();
    // Placed is what the control plane knows. That a replica runs, its node would have to report.
    let (placed, failing) = (sum("running") + sum("pending") + sum("failing"), sum("failing"));
    let failing = if failing > 0 { format!(", {failing} failing") } else { String::new() };
    line("services", format!("{}, {placed} of {} replicas placed{failing}", all.len(), sum("desired")));
    let is_well =
        |service: &Value| number(service, "failing") == 0 && number(service, "running") >= number(service, "desired");
    all.sort_by_key(|service| is_well(service));
    for service in all.iter().take(SERVICES_MAX) {
        let placed = number(service, "running") + number(service, "pending") + number(service, "failing");
        let mut text = format!("{placed}/{} {}", service["desired"], said(&service["service_id"]));
        for key in ["pending", "failing", "outdated"] {
            if number(service, key) > 0 {
                text += &format!(", {} {key}", service[key]);
            }
        }
        line("", text);
    }
    if all.len() > SERVICES_MAX {
        line("", format!("and {} more: uptimemesh service list", all.len() - SERVICES_MAX));
    }
}

fn attention(line: &mut impl FnMut(&str, String), list: &Value, moment: &impl Fn(&Value) -> String) {
    let all: Vec<&Value> = list.as_array().into_iter().flatten().collect();
    if all.is_empty() {
        line("attention", "no known problems".to_string());
    }
    for (at, item) in all.iter().take(ATTENTION_MAX).enumerate() {
        let moment = if item["at"].is_null() { String::new() } else { moment(&item["at"]) };
        let words = [said(&item["what"]), said(&item["name"]), said(&item["detail"]), moment];
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
        line(if at == 0 { "attention" } else { "" }, words.join(" "));
    }
    if all.len() > ATTENTION_MAX {
        line("", format!("and {} more: uptimemesh status --json", all.len() - ATTENTION_MAX));
    }
}

/// The text with the words of states in their colours.
fn coloured(text: &str, look: &Look) -> String {
    text.split(' ')
        .map(|word| {
            let (state, end) = word.strip_suffix(',').map_or((word, ""), |state| (state, ","));
            if STATES.contains(&state) { output::state(state, look) + end } else { word.to_string() }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A moment without its fraction of a second, on a terminal its age; `never` for none.
fn moment(at: &Value, look: Option<&Look>) -> String {
    if let (Some(look), Some(at)) = (look, at.as_str().and_then(Timestamp::parse)) {
        return output::phrase(at, look.now);
    }
    match at.as_str() {
        Some(at) => at.split_once('.').map_or(at.to_string(), |(whole, _)| format!("{whole}Z")),
        None => "never".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_screen_names_trouble_first_and_cannot_steer_a_terminal() {
        let service = |id: &str, running: u64| {
            json!({"service_id": id, "desired": 2, "running": running, "failing": 2 - running,
            "outdated": 0})
        };
        let status = json!({
            "version": "9", "authority": null, "guarded": false, "scheduler_mode": "auto", "braked": true,
            "last_backup_at": "2026-01-02T03:04:05.000006Z", "nodes": {"alive": 2, "stale": 0, "dead": 1, "unknown": 0},
            "services": [service("a", 2), service("b", 1)],
            "attention": [{"kind": "dead", "what": "dead", "name": "n\u{7}", "detail": "last heard of",
            "at": "2026-01-02T03:04:05Z"}],
            "warnings": [],
        });
        let lines: Vec<String> = screen(&status, "http://x", None).lines().map(str::to_string).collect();
        let want = [
            "control plane  http://x, version 9",
            "scheduler      auto, braked",
            "nodes          2 alive, 1 dead",
            "services       2, 4 of 4 replicas placed, 1 failing",
            "               2/2 b, 1 failing",
            "               2/2 a",
            "last backup    2026-01-02T03:04:05Z",
            "attention      dead n\\u{7} last heard of 2026-01-02T03:04:05Z",
        ];
        assert_eq!(lines, want);
    }
}
