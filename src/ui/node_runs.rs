//! A node whose identity two machines have: on its page, and the choice of which one stays.

use super::{At, Deed, notice, parts, run};
use crate::control::fleet::node_runs;
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::Html;
use crate::model::node_runs::Holder;
use crate::model::users::Role::Operator;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/nodes/{node_id}/keep-run/{run}", By(Operator, |c, r, u| run(c, r, u, ask))),
    route(Post, "/ui/nodes/{node_id}/keep-run/{run}", By(Operator, |c, r, u| run(c, r, u, keep))),
];

const PLACE: &str = "Nodes";
/// The word for what was done.
pub(super) const DONE: &str = "keep-run";

/// The holders of a node's identity, where there are two.
pub(super) fn section(at: &At, node_id: &str) -> Html {
    let Some(conflict) = at.control.leases.conflict(node_id) else { return Html::empty() };
    let row = |holder: &Holder, state: &str| {
        let choice = match at.may(Operator) && (state == "refused" || conflict.decided_at.is_none()) {
            true => parts::button(&format!("{}/keep-run/{}", parts::path("nodes", node_id), holder.run.id), "Keep this one", ""),
            false => Html::empty(),
        };
        vec![parts::text(&holder.run.id), parts::text(&holder.address), parts::time(holder.since), parts::state(state), choice]
    };
    let rows = std::iter::once(row(&conflict.kept, "accepted")).chain(conflict.refused.iter().map(|holder| row(holder, "refused")));
    let table =
        parts::table("Machines with this identity", &parts::heads(&["Run", "From", "First heard", "State", "Action"]), rows.collect());
    let said = match conflict.decided_at {
        None => {
            notice("bad", "Two machines beat as this node: its identity was copied. The one that came later is refused until you choose.")
        }
        Some(_) => parts::hint(
            "Two machines had this identity, and one was chosen. Give the other one an identity of its own: remove its copy there, and join it as another node.",
        ),
    };
    parts::section("Two machines with one identity", &Html::concat(vec![said, table]))
}

fn deed(at: &At) -> Result<Deed> {
    let (node_id, run_id) = (at.arg(0), at.arg(1));
    let conflict = node_runs::show(at.control, node_id)?.ok_or_else(|| Error::not_found("Page"))?;
    let mut all = conflict.refused.iter().chain([&conflict.kept]);
    let chosen = all.find(|holder| holder.run.id == run_id).ok_or_else(|| Error::not_found("Page"))?;
    let will = vec![
        format!("Heartbeats of the run {run_id}, from {}, are accepted.", chosen.address),
        "Those of the other machines with this identity are refused; their agents go on asking and say so in their logs.".to_string(),
    ];
    Ok(Deed {
        title: format!("Keep this one: {node_id}"),
        will,
        button: "Keep this one",
        is_dangerous: true,
        fields: Html::empty(),
        back: parts::path("nodes", node_id),
    })
}

fn ask(at: &At) -> Reply {
    at.confirm(PLACE, &deed(at)?, None)
}

fn keep(at: &At) -> Reply {
    let deed = deed(at)?;
    let done = node_runs::keep(at.control, at.arg(0).to_string(), at.arg(1).to_string());
    at.did(PLACE, &deed, DONE, done.map(drop))
}
