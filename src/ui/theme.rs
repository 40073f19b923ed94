//! Light or dark: follows the system unless the user chooses. The choice is a cookie, so it needs no script.

use super::login::local;
use super::{At, field, run};
use crate::gate::Handler::By;
use crate::gate::{Reply, Route, route};
use crate::http::{Request, Response, cookie};
use crate::model::users::Role::Viewer;
use tiny_http::Method::Post;

/// The cookie that keeps the choice.
const COOKIE: &str = "uptimemesh_theme";
/// Lifetime of the cookie: a year.
const KEPT_S: i64 = 365 * 86_400;
/// Themes and the texts of the button while they are chosen.
const THEMES: [(&str, &str); 3] = [("auto", "Theme: system"), ("light", "Theme: light"), ("dark", "Theme: dark")];

/// The routes of this file.
pub const ROUTES: &[Route] = &[route(Post, "/ui/theme", By(Viewer, |c, r, u| run(c, r, u, choose))).always()];

/// Theme chosen in the browser's cookie.
pub(super) fn chosen(request: &Request) -> &'static str {
    let said = request.cookie(COOKIE).unwrap_or_default();
    THEMES.iter().find(|(theme, _)| *theme == said).map_or("auto", |(theme, _)| theme)
}

/// The next theme of the switch, and its text for the current one.
pub(super) fn next(request: &Request) -> (&'static str, &'static str) {
    let now = THEMES.iter().position(|(theme, _)| *theme == chosen(request)).unwrap_or(0);
    (THEMES[(now + 1) % THEMES.len()].0, THEMES[now].1)
}

fn choose(at: &At) -> Reply {
    let form = at.form();
    let theme = THEMES.iter().find(|(theme, _)| *theme == field(&form, "theme")).map_or("auto", |(theme, _)| theme);
    let secure = at.request.secure || at.control.config.auth_cookie_secure;
    Ok(Response::redirect(303, local(field(&form, "back")))
        .with("Set-Cookie", cookie::set(COOKIE, theme, &at.request.base, KEPT_S, secure)))
}
