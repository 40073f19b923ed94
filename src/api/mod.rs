//! JSON handlers, one file per noun: each reads the request's fields, calls the rules in `control`, and answers.

pub mod api_tokens;
pub mod auth;
pub mod backups;
pub mod ca;
pub mod cluster;
pub mod endpoints;
pub mod events;
pub mod join_tokens;
pub mod logs;
pub mod node_relay;
pub mod node_runs;
pub mod node_self;
pub mod node_status;
pub mod node_work;
pub mod nodes;
pub mod replicas;
pub mod routers;
pub mod runs;
pub mod scheduler;
pub mod services;
pub mod sessions;
pub mod settings;
pub mod status;
pub mod system;
pub mod updates;
pub mod users;
pub mod wireguard;

use crate::control::once::{Created, Once};
use crate::control::versions::{Condition, Versioned, is_same, tag_of_json, tags_in};
use crate::error::{Error, Result};
use crate::http::fields::Fields;
use crate::http::{Request, Response, describe};
use crate::model::ids::{Id, NotAnId};
use crate::model::users::User;
use crate::model::{Page, Paging};
use crate::percent;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// Maximum and default number of items on a page.
const PAGE_MAX: usize = 1000;
/// Approximate size of a page, in bytes: a larger page is cut before the next item.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// The part of a list that the query selects.
fn paging(request: &Request) -> Result<Paging> {
    let mut f = Fields::of_query(request.query_pairs());
    let paging = paging_of(&mut f);
    f.finish()?;
    Ok(paging)
}

/// The same, together with other parameters.
fn paging_of(f: &mut Fields) -> Paging {
    let limit = f.int("limit", 1..=PAGE_MAX as i64).or(PAGE_MAX as i64) as usize;
    Paging { limit, bytes_max: PAGE_BYTES_MAX, after: f.id("after").optional() }
}

/// A page as a bare JSON array, with its total and, if there is more, a link to the next page.
fn list<T: Serialize>(request: &Request, paging: &Paging, page: &Page<T>) -> Response {
    let response = Response::json(200, &page.items).with("X-Total-Count", page.total.to_string());
    let Some(next) = &page.next else { return response };
    let mut query: Vec<String> = request
        .query_pairs()
        .iter()
        .filter(|(key, _)| key != "limit" && key != "after")
        .map(|(key, value)| format!("{}={}", percent::encode(key), percent::encode(value)))
        .collect();
    query.push(format!("limit={}&after={}", paging.limit, percent::encode(next)));
    response.with("Link", format!("<{}?{}>; rel=\"next\"", request.path, query.join("&")))
}

/// One object with the tag of its version; a 304 if the caller has this version already and the tag covers all that is
/// shown.
fn one<T: Serialize>(request: &Request, object: &Versioned<T>) -> Response {
    let known = request
        .list("if-none-match")
        .is_some_and(|tags| tags_in(&tags).any(|tag| tag == "*" || is_same(tag, &object.tag)));
    let reads = matches!(request.method, tiny_http::Method::Get | tiny_http::Method::Head);
    let response =
        if known && reads && !object.is_live { Response::empty(304) } else { Response::json(200, &object.object) };
    response.with("ETag", object.tag.clone())
}

/// Answer with an object that was created, now or by an earlier request with the same key.
fn created(created: Created) -> Response {
    let tag = tag_of_json(&created.json);
    let response = Response::raw_json(201, created.json.into_bytes()).with("ETag", tag);
    if created.replayed { response.with("Idempotency-Replayed", "true".to_string()) } else { response }
}

/// Adds warnings to an answer that is an object. The tag still covers the object alone.
fn with_warnings(mut response: Response, warnings: &[String]) -> Response {
    let add = |body: &[u8]| -> serde_json::Result<Vec<u8>> {
        // Copied unparsed: the client's numbers must stay as they were written.
        let mut object: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body)?;
        let mut all: Vec<String> =
            object.get("warnings").map_or(Ok(Vec::new()), |own| serde_json::from_str(own.get()))?;
        all.extend_from_slice(warnings);
        object.insert("warnings".to_string(), to_raw_value(&all)?);
        serde_json::to_vec(&object)
    };
    if !warnings.is_empty()
        && let Ok(body) = add(&response.body)
    {
        response.body = body;
    }
    response
}

/// The version that the caller requires for a write (`If-Match`).
fn condition(request: &Request) -> Condition {
    describe::header("If-Match");
    Condition::if_match(request.list("if-match").as_deref())
}

/// The key that makes a repeated request safe.
fn once(request: &Request, user: &User) -> Result<Once> {
    describe::header("Idempotency-Key");
    let same = [request.method.as_str().as_bytes(), request.path.as_bytes(), &request.body];
    Once::new(user.name.as_str(), request.header("idempotency-key"), &same)
}

/// The id in the path of a read request, which has no other fields.
fn read_id<I: Id>(request: &Request, name: &str) -> Result<I> {
    describe::header("If-None-Match");
    id_of(request, name)
}

/// Checks a request that has no fields.
fn no_fields(request: &Request) -> Result<()> {
    Fields::of_query(request.query_pairs()).finish()
}

/// The argument in the path, whatever its name.
fn arg(request: &Request) -> &str {
    request.args.first().map_or("", String::as_str)
}

/// The id in the path.
fn id_of<I: Id>(request: &Request, name: &str) -> Result<I> {
    Fields::path_id(name, arg(request))
}

/// The id in the path, after [`body_at`] or [`query_at`] has checked it.
fn arg_id<I: Id>(request: &Request) -> Result<I> {
    I::parse(arg(request)).ok_or_else(|| Error::Malformed(NotAnId.to_string()))
}

/// The fields of the body, under a path with an id.
fn body_at<'r>(request: &'r Request, name: &str) -> Result<Fields<'r>> {
    Fields::at(Fields::of_body(&request.body), name, arg(request))
}

/// The same, where the body may be absent.
fn optional_body_at<'r>(request: &'r Request, name: &str) -> Result<Fields<'r>> {
    Fields::at(Fields::of_optional_body(&request.body), name, arg(request))
}

/// The query parameters, under a path with an id.
fn query_at(request: &Request, name: &str) -> Result<Fields<'static>> {
    Fields::at(Ok(Fields::of_query(request.query_pairs())), name, arg(request))
}
