//! JSON handlers, one file a noun: they read the request's fields, call the rules in `control`, and answer.

pub mod auth;
pub mod cluster;
pub mod events;
pub mod join_tokens;
pub mod nodes;
pub mod settings;
pub mod system;

use crate::error::Result;
use crate::http::fields::Fields;
use crate::http::{Request, Response};
use crate::model::{Page, Paging};
use crate::percent;
use serde::Serialize;

/// Items of a page, at most and by default.
const PAGE_MAX: usize = 1000;

/// The part of a list that the query asks for.
fn paging(request: &Request) -> Result<Paging> {
    let mut f = Fields::of_query(request.query_pairs());
    let limit = f.int("limit", 1..=PAGE_MAX as i64).or(PAGE_MAX as i64) as usize;
    let after = f.id("after").optional();
    f.finish()?;
    Ok(Paging { limit, after })
}

/// A page as a bare JSON array, with its total and, where there is more, the link to the next.
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

/// The argument in the path, whatever it is.
fn arg(request: &Request) -> &str {
    request.args.first().map_or("", String::as_str)
}

/// The id in the path.
fn id_of<'r>(request: &'r Request, name: &str) -> Result<&'r str> {
    let id = arg(request);
    Fields::path_id(name, id)?;
    Ok(id)
}
