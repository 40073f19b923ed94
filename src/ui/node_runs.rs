//! A node whose identity two machines share: the warning on its page, and the choice of which one stays.

use super::actions::{Action, Actions, Button, no_fields};
use super::{At, notice, parts, run};
use crate::control::fleet::node_runs;
use crate::error::{Error, Result};
use crate::gate::Handler::By;
use crate::gate::{Route, route};
use crate::html::Html;
use crate::model::ids::NodeId;
use crate::model::node_runs::Holder;
use crate::model::users::Role::Operator;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/nodes/{node_id}/keep-run/{run}", By(Operator, |c, r, u| run(c, r, u, |at| ACTIONS.ask(at)))),
    route(Post, "/ui/nodes/{node_id}/keep-run/{run}", By(Operator, |c, r, u| run(c, r, u, |at| ACTIONS.act(at)))),
];

const PLACE: &str = "Nodes";
/// Word of the notice.
pub(super) const DONE: &str = "keep-run";

/// Holders of a node's identity; empty if there is only one.
pub(super) fn section(at: &At, node_id: &NodeId) -> Html {
    let Some(conflict) = at.control.leases.conflict(node_id) else { return Html::empty() };
    let row = |holder: &Holder, state: &str| {
        let path = format!("{}/{DONE}/{}", parts::path("nodes", node_id), holder.run.id);
        let choice = match state == "refused" || conflict.decided_at.is_none() {
            true => ACTIONS.button(at, DONE, &path),
            false => Html::empty(),
        };
        vec![
            parts::text(&holder.run.id),
            parts::text(&holder.address),
            parts::time(holder.since),
            parts::state(state),
            choice,
        ]
    };
    let rows = std::iter::once(row(&conflict.kept, "accepted"))
        .chain(conflict.refused.iter().map(|holder| row(holder, "refused")));
    let table = parts::table(
        "Machines with this identity",
        &parts::heads(&["Run", "From", "First heard", "State", "Action"]),
        rows.collect(),
    );
    let said = match conflict.decided_at {
        None => notice(
            "bad",
            "Two machines send heartbeats as this node: its identity was copied. The later one is refused until you \
                choose.",
        ),
        Some(_) => parts::hint(
            "Two machines had this identity, and one was chosen. On the other machine, delete the copied identity and \
                join as a new node.",
        ),
    };
    parts::section("Two machines with one identity", &Html::concat(vec![said, table]))
}

/// The choice of a machine.
const ACTIONS: Actions = Actions {
    place: PLACE,
    role: Operator,
    word: |_| DONE,
    object: |at| {
        holder(at)?;
        Ok((at.arg(0).to_string(), parts::path("nodes", at.arg(0))))
    },
    rows: &[Action {
        word: DONE,
        label: "Keep this one",
        button: Button::Warns,
        effects: |at| {
            let chosen = holder(at)?;
            Ok(vec![
                format!("Heartbeats of the run {}, from {}, are accepted.", chosen.run.id, chosen.address),
                "Those of other machines with this identity are refused. Their agents keep trying and log the refusal."
                    .to_string(),
            ])
        },
        fields: no_fields,
        handler: |at| node_runs::keep(at.control, at.id(0, "Node")?, at.arg(1).to_string()).map(drop),
        leads_to: None,
    }],
};

/// The machine named by the path.
fn holder(at: &At) -> Result<Holder> {
    let conflict = node_runs::show(at.control, &at.id(0, "Node")?)?.ok_or_else(|| Error::not_found("Page"))?;
    let mut all = conflict.refused.into_iter().chain([conflict.kept]);
    all.find(|holder| holder.run.id == at.arg(1)).ok_or_else(|| Error::not_found("Page"))
}
