//! `/cluster/bootstrap` and `/cluster/join-tokens`.

use super::nodes::mesh_ip;
use super::{id_of, list as page_of, paging};
use crate::control::trust::join_tokens;
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::join_tokens::{Admits, JoinRole};
use crate::model::users::Role::Admin;
use crate::model::users::User;
use crate::upkeep::App;
use std::ops::RangeInclusive;
use tiny_http::Method::{Delete, Get, Post};

/// Lifetime of a join token, in seconds: a minute to a day.
const TTL_S: RangeInclusive<i64> = 60..=86_400;
/// Default lifetime, in seconds.
const TTL_S_DEFAULT: i64 = 1800;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Post, "/cluster/bootstrap", By(Admin, bootstrap))
        .gives(200, "Bootstrapped")
        .says("Create the certificate authority if there is none, and join tokens for a core and a worker node."),
    route(Get, "/cluster/join-tokens", By(Admin, list))
        .gives(200, "[JoinToken]")
        .says("List join tokens, without their secrets."),
    route(Post, "/cluster/join-tokens", By(Admin, create))
        .gives(201, "NewJoinToken")
        .says("Create a join token for one machine. Only this answer shows the secret."),
    route(Delete, "/cluster/join-tokens/{token_id}", By(Admin, delete)).gives(204, "").says("Revoke a join token."),
];

fn bootstrap(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_optional_body(&request.body)?;
    let core_ttl_s = f.int("core_token_ttl_seconds", TTL_S).or(TTL_S_DEFAULT);
    let worker_ttl_s = f.int("worker_token_ttl_seconds", TTL_S).or(TTL_S_DEFAULT);
    f.finish()?;
    Ok(Response::json(200, &join_tokens::bootstrap(&app.control, core_ttl_s, worker_ttl_s)?))
}

fn list(app: &App, request: &Request, _: &User) -> Reply {
    let paging = paging(request)?;
    Ok(page_of(request, &paging, &join_tokens::list(&app.control, &paging)?))
}

fn create(app: &App, request: &Request, _: &User) -> Reply {
    let mut f = Fields::of_body(&request.body)?;
    let role = f.word("role", JoinRole::WORDS, JoinRole::parse);
    let role = role.required_with(JoinRole::Worker);
    let ttl_s = f.int("ttl_seconds", TTL_S).or(TTL_S_DEFAULT);
    let node_id = f.id("node_id").optional();
    let mesh_ip = mesh_ip(&mut f);
    f.finish()?;
    Ok(Response::json(201, &join_tokens::create(&app.control, Admits { role, node_id, mesh_ip }, ttl_s)?))
}

fn delete(app: &App, request: &Request, _: &User) -> Reply {
    join_tokens::delete(&app.control, id_of(request, "token_id")?)?;
    Ok(Response::empty(204))
}
