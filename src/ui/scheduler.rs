//! The scheduler: its plans with reasons, applying them, and what holds it back.

use super::actions::{self, Actions, no_fields};
use super::{At, back_to, field, notice, parts, run};
use crate::control::settings;
use crate::control::versions::Condition;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::html::{Html, page};
use crate::model::ids::{NodeId, ServiceId};
use crate::model::users::Role::{Admin, Operator, Viewer};
use crate::scheduler::Plans;
use crate::scheduler::plan::Plan;
use crate::scheduler::step::{Action, Step};
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/ui/scheduler", By(Viewer, |c, r, u| run(c, r, u, show))),
    route(Post, "/ui/scheduler/mode", By(Admin, |c, r, u| run(c, r, u, set_mode))),
    route(Get, "/ui/scheduler/apply/{scope}", By(Operator, |c, r, u| run(c, r, u, |at| APPLICATIONS.ask(at)))),
    route(Post, "/ui/scheduler/apply/{scope}", By(Operator, |c, r, u| run(c, r, u, |at| APPLICATIONS.act(at)))),
];

const PLACE: &str = "Scheduler";
/// Actions on the page, over all services.
const ACTIONS_MAX: usize = 100;
/// Moves per rebalance from this page.
const MOVES_MAX: usize = 20;
/// Words in the path for all services and for a rebalance: no id begins with a hyphen.
const ALL: &str = "-all";
const REBALANCE: &str = "-rebalance";
const DONE: &[(&str, &str)] = &[
    ("apply", "Plan applied."),
    ("apply-all", "Plans applied."),
    ("rebalance", "Replicas moved."),
    ("mode", "Mode changed."),
];
/// Modes and their meanings.
const MODES: &[(&str, &str)] = &[
    ("auto", "auto: acts when something changes"),
    ("manual", "manual: acts only on request"),
    ("paused", "paused: refuses to act"),
];

fn show(at: &At) -> Reply {
    let status = at.app.scheduler.status(at.control)?;
    let seen = at.app.scheduler.plan_all(at.control)?;
    let plans = seen.plans();
    let facts = vec![
        ("Mode", parts::text(status.mode)),
        ("Brake", brake(status.braked)),
        ("Reconciles waiting", parts::text(&status.waiting.to_string())),
        ("Plans applied since the start", parts::text(&status.runs.to_string())),
        ("Actions in those plans", parts::text(&status.actions.to_string())),
        ("Planned", parts::time(plans.generated_at)),
    ];
    let mode = match at.may(Admin) {
        true => {
            page!("scheduler_mode.html", csrf = &at.csrf(), mode = &parts::select("Mode", "mode", MODES, status.mode),)
        }
        false => Html::empty(),
    };
    let pending = actions(plans);
    let mut plan = vec![warnings(plans)];
    if pending == 0 {
        plan.push(parts::hint("Nothing to do: everything is where it should be."));
    } else {
        plan.push(apply(at, status.mode, "apply-all", ALL));
        plan.push(plans_of(at, plans, status.mode));
    }
    // Planning moves takes longer than all else here, so it has a page of its own.
    let balance = Html::concat(vec![
        parts::hint(
            "Replicas stay where they are when nodes come back or are added. A rebalance evens out the load, a few \
                moves at a time.",
        ),
        apply(at, status.mode, "rebalance", REBALANCE),
    ]);
    let body = Html::concat(vec![
        page!("head.html", title = PLACE, actions = &Html::empty(), notice = &at.notice(DONE)),
        mode,
        parts::live(
            "scheduler",
            &Html::concat(vec![
                parts::facts(facts),
                parts::section("Plan", &Html::concat(plan)),
                parts::section("Balance", &balance),
            ]),
        ),
    ]);
    at.page(PLACE, PLACE, &body)
}

/// Button of an action on `scope`. Empty while the scheduler refuses to act.
fn apply(at: &At, mode: &str, word: &str, scope: &str) -> Html {
    if mode == "paused" {
        return Html::empty();
    }
    APPLICATIONS.button(at, word, &parts::path("scheduler/apply", scope))
}

/// The brake: its effect, its reason, and how to continue.
fn brake(is_on: bool) -> Html {
    if !is_on {
        return parts::text("off");
    }
    Html::concat(vec![
        parts::state("on"),
        parts::text(
            ": most nodes fell silent together. It is released when most of them send heartbeats again or are deleted. \
                To continue now, set ",
        ),
        parts::link("/ui/settings/cluster", "scheduler_brake"),
        parts::text(" to off."),
    ])
}

fn actions(plans: &Plans) -> usize {
    plans.results.iter().map(|plan| plan.actions.len()).sum()
}

fn warnings(plans: &Plans) -> Html {
    let of_one = plans.results.iter().flat_map(|p| p.warnings.iter().map(move |w| format!("{}: {w}", p.service_id)));
    Html::concat(plans.warnings.iter().cloned().chain(of_one).take(ACTIONS_MAX).map(|w| notice("bad", &w)).collect())
}

/// Planned changes, by service.
fn plans_of(at: &At, plans: &Plans, mode: &str) -> Html {
    let (mut shown, mut parts_of) = (0, Vec::new());
    for plan in plans.results.iter().filter(|p| !p.actions.is_empty()) {
        if shown >= ACTIONS_MAX {
            break;
        }
        shown += plan.actions.len();
        let cut = &plan.actions[..plan.actions.len().min(ACTIONS_MAX)];
        parts_of.push(page!(
            "plan.html",
            service = &parts::service(&plan.service_id),
            figures = &format!("{} of {} replicas", plan.replicas_before, plan.desired_replicas),
            apply = &apply(at, mode, "apply", plan.service_id.as_str()),
            actions = &table(&plan.service_id, cut),
        ));
    }
    let hidden = actions(plans).saturating_sub(shown);
    if hidden > 0 {
        parts_of.push(parts::hint(&format!("{hidden} more actions: uptimemesh scheduler plan")));
    }
    Html::concat(parts_of)
}

fn table(service_id: &ServiceId, actions: &[Action]) -> Html {
    let place = |node: Option<&NodeId>| node.map_or_else(|| parts::text("–"), parts::node);
    let row = |a: &Action| {
        let is_made = matches!(a.step, Step::ScaleUp { .. });
        let replica = if is_made { parts::text(a.replica_id.as_str()) } else { parts::replica(&a.replica_id) };
        vec![
            parts::text(&a.step.word().replace('_', " ")),
            replica,
            place(a.source_node_id()),
            place(a.target_node_id()),
            parts::text(&a.detail),
        ]
    };
    let heads = parts::heads(&["What", "Replica", "From", "To", "Why"]);
    parts::table(&format!("Plan of {service_id}"), &heads, actions.iter().map(row).collect())
}

fn set_mode(at: &At) -> Reply {
    let form = at.form();
    let mode = field(&form, "mode").to_string();
    settings::put(at.control, settings::SCHEDULER_MODE.to_string(), Condition::default(), mode, at.by())?;
    Ok(back_to("/ui/scheduler", "mode"))
}

/// Actions that apply plans.
const APPLICATIONS: Actions = Actions {
    place: PLACE,
    role: Operator,
    word: |at| match at.arg(0) {
        ALL => "apply-all",
        REBALANCE => "rebalance",
        _ => "apply",
    },
    object: |at| {
        let service = if matches!(at.arg(0), ALL | REBALANCE) { "" } else { at.arg(0) };
        Ok((service.to_string(), "/ui/scheduler".to_string()))
    },
    rows: &[
        actions::Action {
            word: "apply-all",
            label: "Apply all",
            button: actions::Button::Asks,
            effects: |at| Ok(effects(&at.app.scheduler.plan_all(at.control)?.plans().results)),
            fields: no_fields,
            handler: |at| at.app.scheduler.reconcile_all(at.control, at.by()).map(drop),
            leads_to: None,
        },
        actions::Action {
            word: "rebalance",
            label: "Rebalance",
            button: actions::Button::Asks,
            effects: |at| Ok(effects(&at.app.scheduler.plan_rebalance(at.control, MOVES_MAX)?.results)),
            fields: no_fields,
            handler: |at| at.app.scheduler.rebalance(at.control, MOVES_MAX, at.by()).map(drop),
            leads_to: None,
        },
        actions::Action {
            word: "apply",
            label: "Apply",
            button: actions::Button::Asks,
            effects: |at| Ok(effects(&[at.app.scheduler.plan_one(at.control, &at.id(0, "Service")?)?])),
            fields: no_fields,
            handler: |at| at.app.scheduler.reconcile_one(at.control, &at.id(0, "Service")?, at.by()).map(drop),
            leads_to: None,
        },
    ],
};

/// Effects of plans, a sentence for each action.
fn effects(plans: &[Plan]) -> Vec<String> {
    let mut effects: Vec<String> = plans.iter().flat_map(|p| p.actions.iter().map(sentence)).collect();
    let hidden = effects.len().saturating_sub(ACTIONS_MAX);
    effects.truncate(ACTIONS_MAX);
    if hidden > 0 {
        effects.push(format!("{hidden} more."));
    }
    if effects.is_empty() {
        effects.push("Nothing to do now.".to_string());
    }
    effects.push("Confirming creates a new plan. It may differ if something has changed meanwhile.".to_string());
    effects
}

/// An action as a sentence.
fn sentence(action: &Action) -> String {
    let way = match (action.source_node_id(), action.target_node_id()) {
        (Some(from), Some(to)) => format!(" from {from} to {to}"),
        (None, Some(to)) => format!(" on {to}"),
        (Some(from), None) => format!(" on {from}"),
        (None, None) => String::new(),
    };
    format!("{}: {}{way} ({})", action.step.word().replace('_', " "), action.replica_id, action.detail)
}
