//! Room for replicas on a node: the line on its page, and the form.

use super::{At, back_to, field, nodes, notice, parts};
use crate::control::fleet::nodes as control;
use crate::control::versions::Condition;
use crate::error::{Error, Result};
use crate::gate::Reply;
use crate::html::{Html, page};
use crate::http::fields::Fields;
use crate::inputs::capacity;
use crate::model::capacity::{Room, room};
use crate::model::nodes::{Node, NodeChange};
use crate::model::status_keys;
use crate::model::users::Role::Operator;
use serde_json::{Map, Value, json};

/// Labels and names of the form's fields.
const FIELDS: &[(&str, &str)] = &[
    ("CPU to keep free (thousandths of a core, or 10%)", "reserve_cpu"),
    ("Memory to keep free (MB, or 10%)", "reserve_memory"),
    ("CPU (thousandths of a core; empty: as reported)", "cpu"),
    ("Memory (MB; empty: as reported)", "memory"),
];

/// Room for replicas, and what is kept free.
pub(super) fn fact(node: &Node) -> Html {
    let (cpu, memory) = room(node.status.get(status_keys::CAPACITY), node.capacity, node.reserved);
    let line = |room: Option<Room>, unit: &str| room.map(|r| format!("{} of {} {unit}", r.free(), r.total));
    let lines: Vec<String> = [line(cpu, "CPU millis"), line(memory, "MB of memory")].into_iter().flatten().collect();
    parts::text(&if lines.is_empty() { "not known, so not checked".to_string() } else { lines.join(", ") })
}

/// The form, for operators.
pub(super) fn form(at: &At, node: &Node, version: &str) -> Html {
    if !at.may(Operator) {
        return Html::empty();
    }
    let (capacity, reserved) = (node.capacity.unwrap_or_default(), node.reserved.unwrap_or_default());
    let number = |n: Option<u64>| n.map_or(String::new(), |n| n.to_string());
    let either =
        |amount: Option<u64>, percent: Option<u64>| percent.map_or_else(|| number(amount), |p| format!("{p}%"));
    let values = [
        either(reserved.cpu_millis, reserved.cpu_percent),
        either(reserved.memory_mb, reserved.memory_percent),
        number(capacity.cpu_millis),
        number(capacity.memory_mb),
    ];
    let fields = FIELDS.iter().zip(&values).map(|((label, name), value)| parts::field(label, name, value));
    let form = page!(
        "room.html",
        action = &format!("{}/room", parts::path("nodes", &node.id)),
        csrf = &at.csrf(),
        version = version,
        fields = &Html::concat(fields.collect()),
    );
    parts::section("Room for replicas", &form)
}

pub(super) fn save(at: &At) -> Reply {
    let form = at.form();
    let [reserve_cpu, reserve_memory, cpu, memory] =
        ["reserve_cpu", "reserve_memory", "cpu", "memory"].map(|name| field(&form, name).trim());
    let body = json!({
        "reserved": said(&[("cpu_millis", "cpu_percent", reserve_cpu), ("memory_mb", "memory_percent",
        reserve_memory)]),
        "capacity": said(&[("cpu_millis", "cpu_percent", cpu), ("memory_mb", "memory_percent", memory)]),
    });
    let done = read(&body).and_then(|change| {
        control::update(at.control, at.id(0, "Node")?, Condition::if_match(Some(field(&form, "version"))), change)
    });
    match done {
        Ok(_) => Ok(back_to(&parts::path("nodes", at.arg(0)), "room")),
        Err(e @ Error::Fault(_)) => Err(e),
        Err(e) => nodes::page_of(at, e.status(), &notice("bad", &e.detail()), None),
    }
}

/// The typed value as an amount or a share.
fn said(typed: &[(&str, &str, &str)]) -> Value {
    let one = |(amount, percent, text): &(&str, &str, &str)| match text.strip_suffix('%') {
        _ if text.is_empty() => None,
        Some(share) => Some((percent.to_string(), share.trim().into())),
        None => Some((amount.to_string(), (*text).into())),
    };
    Value::Object(typed.iter().filter_map(one).collect::<Map<_, _>>())
}

/// Reads it within the bounds of the API.
fn read(body: &Value) -> Result<NodeChange> {
    let body = body.to_string();
    let mut f = Fields::of_body(body.as_bytes())?;
    let (capacity, reserved) = capacity::room(&mut f);
    f.finish()?;
    Ok(NodeChange { capacity, reserved, ..NodeChange::default() })
}
