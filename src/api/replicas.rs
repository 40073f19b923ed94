//! `/replicas`.

use super::{body_at, condition, created, id_of, list as page_of, once, one, optional_body_at, paging_of, read_id};
use crate::control::Control;
use crate::control::versions::{Condition, Versioned};
use crate::control::work::replicas;
use crate::error::Result;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::ids::{NodeId, ReplicaId, ServiceId};
use crate::model::replicas::{NewReplica, Replica};
use crate::model::users::Role::{Operator, Viewer};
use crate::model::users::User;
use crate::upkeep::App;
use std::ops::RangeInclusive;
use tiny_http::Method::{Delete, Get, Patch, Post};

/// Length of a desired state, in characters.
const STATE_CHARS: RangeInclusive<usize> = 1..=64;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/replicas", By(Viewer, list)).gives(200, "[Replica]").says("List replicas."),
    route(Post, "/replicas", By(Operator, create))
        .gives(201, "Replica")
        .says("Create a replica on a node of your choice. The scheduler creates its own.")
        .conflicts("A replica of this id exists."),
    route(Get, "/replicas/{replica_id}", By(Viewer, show)).gives(200, "Replica").says("Show a replica."),
    route(Patch, "/replicas/{replica_id}", By(Operator, update))
        .gives(200, "Replica")
        .says("Change the desired state or the status of a replica. A given status replaces the old one."),
    route(Delete, "/replicas/{replica_id}", By(Operator, delete))
        .gives(204, "")
        .says("Delete a replica and its endpoints."),
    route(Post, "/replicas/{replica_id}/move", By(Operator, place))
        .gives(200, "Replica")
        .says("Move a replica to another node."),
    route(Post, "/replicas/{replica_id}/restart", By(Operator, restart))
        .gives(200, "Replica")
        .says("Request a restart of a replica. Sets `last_restart_at` in its status."),
    route(Post, "/replicas/{replica_id}/snapshot", By(Operator, snapshot))
        .gives(200, "Replica")
        .says("Request a snapshot of a replica's data. Sets `last_snapshot_at` in its status."),
    route(Post, "/replicas/{replica_id}/restore", By(Operator, restore)).gives(200, "Replica").says(
        "Request a restore of a replica's data. Sets `last_restore_at` and `last_restore_snapshot_id` in its status.",
    ),
];

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_query(request.query_pairs());
    let paging = paging_of(&mut f);
    let service_id: Option<ServiceId> = f.id("service_id").optional();
    let node_id: Option<NodeId> = f.id("node_id").optional();
    f.finish()?;
    Ok(page_of(request, &paging, &replicas::list(&app.control, &paging, service_id.as_ref(), node_id.as_ref())?))
}

fn show(app: &App, request: &Request, _: &User) -> Reply {
    Ok(one(request, &replicas::show(&app.control, &read_id(request, "replica_id")?)?))
}

fn create(app: &App, request: &Request, user: &User) -> Reply {
    let once = once(request, user)?;
    let mut f = Fields::of_body(&request.body)?;
    let new = NewReplica {
        id: f.id("id").required(),
        service_id: f.id("service_id").required(),
        node_id: f.id("node_id").required(),
        desired_state: f.printable("desired_state", STATE_CHARS).or("running".to_string()),
        status: f.object("status").optional().unwrap_or_default(),
    };
    f.finish()?;
    Ok(created(replicas::create(&app.control, once, new)?))
}

fn update(app: &App, request: &Request, _: &User) -> Reply {
    let condition = condition(request);
    let mut f = body_at(request, "replica_id")?;
    let desired_state = f.printable("desired_state", STATE_CHARS).optional();
    let status = f.object("status").optional();
    f.finish()?;
    Ok(one(request, &replicas::update(&app.control, super::arg_id(request)?, condition, desired_state, status)?))
}

fn place(app: &App, request: &Request, user: &User) -> Reply {
    let condition = condition(request);
    let mut f = body_at(request, "replica_id")?;
    let target = f.id("target_node_id").required();
    f.finish()?;
    Ok(one(request, &replicas::place(&app.control, super::arg_id(request)?, condition, target, user.name.as_str())?))
}

fn restart(app: &App, request: &Request, _: &User) -> Reply {
    act(&app.control, request, replicas::restart)
}

fn snapshot(app: &App, request: &Request, _: &User) -> Reply {
    act(&app.control, request, replicas::snapshot)
}

fn restore(app: &App, request: &Request, _: &User) -> Reply {
    let condition = condition(request);
    let mut f = optional_body_at(request, "replica_id")?;
    let snapshot_id = f.printable("snapshot_id", 1..=128).optional();
    f.finish()?;
    Ok(one(request, &replicas::restore(&app.control, super::arg_id(request)?, condition, snapshot_id)?))
}

fn delete(app: &App, request: &Request, _: &User) -> Reply {
    let condition = condition(request);
    replicas::delete(&app.control, id_of(request, "replica_id")?, condition)?;
    Ok(Response::empty(204))
}

type Action = fn(&Control, ReplicaId, Condition) -> Result<Versioned<Replica>>;

fn act(control: &Control, request: &Request, action: Action) -> Reply {
    let condition = condition(request);
    Ok(one(request, &action(control, id_of(request, "replica_id")?, condition)?))
}
