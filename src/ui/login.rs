//! Sign-in and sign-out for people.

use super::{field, framed_for_nobody, notice};
use crate::control::Control;
use crate::control::access::auth;
use crate::error::Error;
use crate::gate::Handler::Open;
use crate::gate::{self, Meter, Reply, Route, route};
use crate::html::{Html, page};
use crate::http::{Request, Response, form};
use crate::model::base_path;
use crate::percent;
use crate::upkeep::App;
use tiny_http::Method::{Get, Post};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    route(Get, "/auth/login", Open(show)),
    route(Post, "/auth/login", Open(sign_in)).meter(Meter::SignIn),
    route(Get, "/auth/logout", Open(sign_out)),
];

fn show(app: &App, request: &Request) -> Reply {
    let query = request.query_pairs();
    let next = local(base_path::inside(field(&query, "next"), &request.base));
    if gate::user_of(&app.control, request)?.is_some() {
        return Ok(Response::redirect(303, next));
    }
    form_page(&app.control, request, 200, next, &Html::empty())
}

fn sign_in(app: &App, request: &Request) -> Reply {
    let fields = form::parse(&request.body);
    let next = local(base_path::inside(field(&fields, "next"), &request.base));
    let (username, password) = (field(&fields, "username"), field(&fields, "password"));
    if password.chars().count() > auth::PASSWORD_LEN_MAX || username.chars().count() > 128 {
        return form_page(&app.control, request, 401, next, &notice("bad", "Invalid username or password."));
    }
    match auth::sign_in(&app.control, &gate::visitor(request), username, password) {
        Ok(session) => Ok(gate::with_session(&app.control, request, Response::redirect(303, next), &session)),
        Err(e @ (Error::Unauthenticated { .. } | Error::RateLimited { .. })) => {
            let page = form_page(&app.control, request, e.status(), next, &notice("bad", &e.detail()))?;
            Ok(e.retry_after_s().into_iter().fold(page, |page, wait_s| page.with("Retry-After", wait_s.to_string())))
        }
        Err(e) => Err(e),
    }
}

fn sign_out(app: &App, request: &Request) -> Reply {
    let to_sign_in = Response::redirect(303, "/auth/login");
    if request.header("sec-fetch-site") == Some("cross-site") {
        // An image on another site's page must not sign the user out.
        return Ok(to_sign_in);
    }
    gate::sign_out(&app.control, request, to_sign_in)
}

fn form_page(control: &Control, request: &Request, status: u16, next: &str, above: &Html) -> Reply {
    framed_for_nobody(control, request, status, "Sign in", &page!("login.html", notice = above, next = next))
}

/// Times an encoded target is decoded to see what is inside: more often than any browser or proxy would.
const DECODED_MAX: usize = 3;

/// Target after sign-in: always a path of this server, however it is written.
pub(super) fn local(next: &str) -> &str {
    let mut seen = next.to_string();
    for _ in 0..=DECODED_MAX {
        let Some(rest) = seen.strip_prefix('/') else { return "/ui" };
        if rest.starts_with(['/', '\\']) || seen.chars().any(char::is_control) {
            return "/ui";
        }
        let path = seen.split(['?', '#']).next().unwrap_or_default();
        match percent::decode(path) {
            Some(decoded) if decoded != seen => seen = decoded,
            _ => break,
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn sign_in_never_leads_away() {
        for here in [
            "/ui/settings?a=b",
            "/",
            "/ui?next=//a",
            "/ui?a=%0d%0a",
            "/a%20b",
            "/a//b",
            "/100%",
            "/\u{e9}/x",
            "/%c3%a9",
        ] {
            assert_eq!(local(here), here);
        }
        for away in [
            "",
            "ui",
            "https://evil.example",
            "javascript:alert(1)",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil",
            "/%2fevil.example",
            "/%2Fevil.example",
            "/%5cevil.example",
            "/%5Cevil.example",
            "/%255cevil.example",
            "/%252fevil.example",
            "%2f%2fevil.example",
            "/a\r\nX: y",
            "/\tevil.example",
            "/\t/evil.example",
            "/%09/evil.example",
            "/%0d%0aLocation:%20//evil.example",
            "/\u{80}/evil",
        ] {
            assert_eq!(local(away), "/ui", "{away}");
        }
    }
}
