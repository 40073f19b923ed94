//! Commands about the scheduler: what it would do, and doing it.

use super::answers::{encoded, said, shown};
use super::args::{Args, Command, Failure, Opt, command, opt};
use super::connect::{SIGN_IN, signed_in};
use super::output::{self, Kind, Table, column};
use serde_json::{Value, json};
use std::fmt::Write;

const EXPLANATION: Table = Table {
    noun: "nodes",
    id: "node_id",
    columns: &[
        column("RANK", "rank", Kind::Number).sparse(),
        column("NODE", "node_id", Kind::Id),
        column("SAME", "score.same_service", Kind::Number).sparse(),
        column("ZONE", "score.zone_replicas", Kind::Number).sparse(),
        column("USED/1000", "score.used_permille", Kind::Number).sparse(),
        column("LOAD", "score.load", Kind::Number).sparse(),
        column("REPLICAS", "replicas", Kind::Number),
        column("AGAINST", "against", Kind::Text).sparse(),
    ],
    tabs: &[
        ("RANK", "rank"),
        ("NODE", "node_id"),
        ("SAME", "score.same_service"),
        ("ZONE", "score.zone_replicas"),
        ("USED/1000", "score.used_permille"),
        ("LOAD", "score.load"),
        ("REPLICAS", "replicas"),
        ("AGAINST", "against"),
    ],
};

/// Options of `rebalance`.
const REBALANCE: &[Opt] = &[
    opt("apply", "", "do it; without, only print what would be done"),
    opt("max-moves", "COUNT", "most moves, 1 to 1000 (default 20)"),
];

/// Moves of one rebalance.
const MOVES: i64 = 20;

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("scheduler status", "", "Print the scheduler's mode and its brake.", &[SIGN_IN], status),
    command("scheduler plan", "[SERVICE]", "Print what the scheduler would do.", &[SIGN_IN], plan).formerly(&["plan"]),
    command("scheduler reconcile", "[SERVICE]", "Carry out the plan.", &[SIGN_IN], reconcile).formerly(&["reconcile"]),
    command("scheduler explain", "SERVICE", "Explain, node by node, where a service can run.", &[SIGN_IN], explain)
        .formerly(&["explain"]),
    command("scheduler rebalance", "", "Rebalance replicas across nodes.", &[REBALANCE, SIGN_IN], rebalance)
        .formerly(&["rebalance"])
        .example("uptimemesh scheduler rebalance --max-moves 5 --apply"),
];

fn status(args: &Args) -> Result<(), Failure> {
    shown(args, &signed_in(args)?.get("/scheduler/status")?);
    Ok(())
}

fn plan(args: &Args) -> Result<(), Failure> {
    let plans = signed_in(args)?.get(&path(args, "plan"))?;
    print(args, &plans);
    Ok(())
}

fn reconcile(args: &Args) -> Result<(), Failure> {
    let plans = signed_in(args)?.post(&path(args, "reconcile"), &json!({}))?;
    print(args, &plans);
    Ok(())
}

fn rebalance(args: &Args) -> Result<(), Failure> {
    let path = format!("/scheduler/rebalance?max_moves={}", args.int("max-moves", MOVES));
    let api = signed_in(args)?;
    let plans = if args.has("apply") { api.post(&path, &json!({}))? } else { api.get(&path)? };
    print(args, &plans);
    Ok(())
}

/// Of one service, or of all.
fn path(args: &Args, what: &str) -> String {
    match args.word(0) {
        "" => format!("/scheduler/{what}/all"),
        id => format!("/scheduler/{what}/services/{}", encoded(id)),
    }
}

fn print(args: &Args, plans: &Value) {
    if output::wants_json(args) {
        return output::structured(args, plans);
    }
    let list = plans["results"].as_array().cloned().unwrap_or_else(|| vec![plans.clone()]);
    let mut out = String::new();
    for warning in plans["warnings"].as_array().into_iter().flatten().filter(|_| plans["results"].is_array()) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "! {}", output::ascii(&said(warning)));
    }
    for plan in &list {
        diff(plan, &mut out);
    }
    if out.is_empty() {
        out.push_str("Nothing to do.\n");
    }
    output::prose(&out);
}

/// A plan as a diff: `+` is made, `-` goes, `~` moves, `^` changes where it is, `!` is a warning. Nothing where there
/// is nothing to say.
fn diff(plan: &Value, out: &mut String) {
    let (actions, warnings) = (plan["actions"].as_array(), plan["warnings"].as_array());
    let (actions, warnings) = (actions.cloned().unwrap_or_default(), warnings.cloned().unwrap_or_default());
    if actions.is_empty() && warnings.is_empty() {
        return;
    }
    let head = format!(
        "{}: {} of {} replicas, {} eligible nodes",
        said(&plan["service_id"]),
        plan["replicas_before"],
        plan["desired_replicas"],
        plan["eligible_nodes"]
    );
    let _ = writeln!(out, "{}", output::ascii(&head));
    for action in &actions {
        let (from, to) = (said(&action["source_node_id"]), said(&action["target_node_id"]));
        let (sign, place) = match action["action"].as_str() {
            Some("scale_up") => ('+', format!("on {to}")),
            Some("scale_down") => ('-', format!("from {from}")),
            Some("queue_rolling_update" | "set_desired_state") => ('^', String::new()),
            Some("move_unhealthy" | "move_pinned" | "rebalance") => ('~', format!("{from} -> {to}")),
            // What a newer server does and this program does not know.
            other => ('?', format!("{}: {from} -> {to}", other.unwrap_or("no action"))),
        };
        let line = format!("  {sign} {} {place:<24} {}", said(&action["replica_id"]), said(&action["detail"]));
        let _ = writeln!(out, "{}", output::ascii(line.trim_end()));
    }
    for warning in &warnings {
        let _ = writeln!(out, "  ! {}", output::ascii(&said(warning)));
    }
}

fn explain(args: &Args) -> Result<(), Failure> {
    let explained = signed_in(args)?.get(&format!("/scheduler/explain/services/{}", encoded(args.word(0))))?;
    if output::wants_json(args) {
        output::structured(args, &explained);
        return Ok(());
    }
    let reasons = |node: &Value| {
        let all = node["filters"].as_array().into_iter().flatten().map(|f| said(&f["reason"]));
        json!(all.collect::<Vec<_>>())
    };
    let nodes = explained["nodes"].as_array().cloned().unwrap_or_default();
    let rows = nodes.iter().map(|node| {
        let mut row = node.clone();
        row["against"] = reasons(node);
        row
    });
    output::list(args, &EXPLANATION, rows.collect());
    for warning in explained["warnings"].as_array().into_iter().flatten() {
        eprintln!("! {}", output::ascii(&said(warning)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_as_a_diff() {
        let action = |name: &str, from: Value, to: Value| {
            json!({
                "action": name, "replica_id": "r", "source_node_id": from, "target_node_id": to, "detail": "why",
            })
        };
        let plan = json!({"service_id": "web", "replicas_before": 1, "desired_replicas": 2, "eligible_nodes": 3,
            "warnings": ["be\u{7}ware"],
            "actions": [action("scale_up", Value::Null, json!("n1")), action("move_unhealthy", json!("n1"),
            json!("n2")),
                action("scale_down", json!("n2"), Value::Null), action("queue_rolling_update", Value::Null,
                    Value::Null)]});
        let mut out = String::new();
        diff(&plan, &mut out);
        let lines: Vec<String> = out.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let want = [
            "web: 1 of 2 replicas, 3 eligible nodes",
            "+ r on n1 why",
            "~ r n1 -> n2 why",
            "- r from n2 why",
            "^ r why",
            "! be\\u{7}ware",
        ];
        assert_eq!(lines, want);
        out.clear();
        diff(&json!({"actions": [], "warnings": []}), &mut out);
        assert_eq!(out, "");
    }
}
