//! Sign-in and sign-out for people.

use super::{field, framed, notice};
use crate::control::{Control, auth};
use crate::error::Error;
use crate::gate::Handler::Open;
use crate::gate::{self, Reply, Route, route};
use crate::html::{Html, page};
use crate::http::{Request, Response, form};
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] =
    &[route(Get, "/auth/login", Open(show)), route(Post, "/auth/login", Open(sign_in)), route(Get, "/auth/logout", Open(sign_out))];

fn show(control: &Control, request: &Request) -> Reply {
    let query = request.query_pairs();
    let next = local(field(&query, "next"));
    if gate::user_of(control, request)?.is_some() {
        return Ok(Response::redirect(303, next));
    }
    form_page(200, next, &Html::empty())
}

fn sign_in(control: &Control, request: &Request) -> Reply {
    let fields = form::parse(&request.body);
    let next = local(field(&fields, "next"));
    let (username, password) = (field(&fields, "username"), field(&fields, "password"));
    if password.chars().count() > auth::PASSWORD_LEN_MAX || username.chars().count() > 128 {
        return form_page(401, next, &notice("bad", "Invalid username or password."));
    }
    match auth::sign_in(control, request.client, username, password) {
        Ok(session) => Ok(Response::redirect(303, next).with("Set-Cookie", gate::session_cookie(control, &session))),
        Err(e @ (Error::Unauthenticated { .. } | Error::RateLimited { .. })) => {
            let page = form_page(e.status(), next, &notice("bad", &e.detail()))?;
            Ok(match e {
                Error::RateLimited { retry_after_s, .. } => page.with("Retry-After", retry_after_s.to_string()),
                _ => page,
            })
        }
        Err(e) => Err(e),
    }
}

fn sign_out(control: &Control, _: &Request) -> Reply {
    Ok(Response::redirect(303, "/auth/login").with("Set-Cookie", gate::cleared_cookie(control)))
}

fn form_page(status: u16, next: &str, above: &Html) -> Reply {
    framed(status, "Sign in", None, &page!("login.html", notice = above, next = next))
}

/// Where to go after sign-in: a path of this server, never another one.
fn local(next: &str) -> &str {
    let elsewhere = !next.starts_with('/') || next.starts_with("//") || next.starts_with("/\\") || next.chars().any(char::is_control);
    if elsewhere { "/ui" } else { next }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn sign_in_never_leads_away() {
        assert_eq!(local("/ui/settings?a=b"), "/ui/settings?a=b");
        for away in ["", "ui", "https://evil.example", "//evil.example", "/\\evil.example", "/a\r\nX: y", "\\\\evil"] {
            assert_eq!(local(away), "/ui", "{away}");
        }
    }
}
