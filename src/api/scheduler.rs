//! `/scheduler`: plans, and applying them.

use super::{id_of, no_fields};
use crate::error::Result;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::users::Role::{Operator, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use tiny_http::Method::{Get, Post};

/// Maximum and default number of moves in one rebalance.
const MOVES_MAX: i64 = 1_000;
const MOVES_DEFAULT: i64 = 20;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/scheduler/status", By(Viewer, status))
        .gives(200, "SchedulerStatus")
        .says("Show the mode of the scheduler and its counters."),
    route(Get, "/scheduler/plan/services/{service_id}", By(Viewer, plan_one))
        .gives(200, "Plan")
        .says("Plan a service without changing anything.")
        .expensive(),
    route(Get, "/scheduler/plan/all", By(Viewer, plan_all))
        .gives(200, "Plans")
        .says("Plan all services without changing anything.")
        .expensive(),
    route(Post, "/scheduler/reconcile/services/{service_id}", By(Operator, reconcile_one))
        .gives(200, "Plan")
        .says("Reconcile a service. All actions are applied in one transaction, or none.")
        .conflicts("The scheduler is paused: set `scheduler_mode` to auto or manual.")
        .expensive(),
    route(Post, "/scheduler/reconcile/all", By(Operator, reconcile_all))
        .gives(200, "Plans")
        .says("Reconcile all services. All actions are applied in one transaction, or none.")
        .conflicts("The scheduler is paused: set `scheduler_mode` to auto or manual.")
        .expensive(),
    route(Get, "/scheduler/explain/services/{service_id}", By(Viewer, explain))
        .gives(200, "Explanation")
        .says("Explain, node by node, where replicas of a service can run.")
        .expensive(),
    route(Get, "/scheduler/rebalance", By(Viewer, plan_rebalance))
        .gives(200, "Plans")
        .says("Plan a rebalance of replicas across nodes without changing anything.")
        .expensive(),
    route(Post, "/scheduler/rebalance", By(Operator, rebalance))
        .gives(200, "Plans")
        .says("Rebalance replicas across nodes.")
        .conflicts("The scheduler is paused: set `scheduler_mode` to auto or manual.")
        .expensive(),
];

fn status(app: &App, request: &Request, _: &User) -> Reply {
    no_fields(request)?;
    Ok(Response::json(200, &app.scheduler.status(&app.control)?))
}

fn plan_one(app: &App, request: &Request, _: &User) -> Reply {
    Ok(Response::json(200, &app.scheduler.plan_one(&app.control, &id_of(request, "service_id")?)?))
}

fn plan_all(app: &App, request: &Request, _: &User) -> Reply {
    no_fields(request)?;
    Ok(Response::raw_json(200, app.scheduler.plan_all(&app.control)?.plans_json()?.to_vec()))
}

fn reconcile_one(app: &App, request: &Request, user: &User) -> Reply {
    Ok(Response::json(
        200,
        &app.scheduler.reconcile_one(&app.control, &id_of(request, "service_id")?, user.name.as_str())?,
    ))
}

fn reconcile_all(app: &App, request: &Request, user: &User) -> Reply {
    no_fields(request)?;
    Ok(Response::json(200, &app.scheduler.reconcile_all(&app.control, user.name.as_str())?))
}

fn explain(app: &App, request: &Request, _: &User) -> Reply {
    Ok(Response::json(200, &app.scheduler.explain(&app.control, &id_of(request, "service_id")?)?))
}

fn moves_max(request: &Request) -> Result<usize> {
    let mut f = Fields::of_query(request.query_pairs());
    let moves_max = f.int("max_moves", 1..=MOVES_MAX).or(MOVES_DEFAULT);
    f.finish()?;
    Ok(moves_max as usize)
}

fn plan_rebalance(app: &App, request: &Request, _: &User) -> Reply {
    Ok(Response::json(200, &app.scheduler.plan_rebalance(&app.control, moves_max(request)?)?))
}

fn rebalance(app: &App, request: &Request, user: &User) -> Reply {
    Ok(Response::json(200, &app.scheduler.rebalance(&app.control, moves_max(request)?, user.name.as_str())?))
}
