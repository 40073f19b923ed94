//! The base path of a server behind a proxy: removed from requests and added to answers, so that no other module knows
//! of it.

use super::Route;
use crate::control::Control;
use crate::http::{Request, Response};
use crate::model::{address, base_path};

/// Attributes of our pages that contain a path.
const PATHS: [&str; 5] = ["href", "src", "action", "data-watch", "data-feed"];

/// Removes the base path from a request's path, if the proxy has left it there. The setting takes precedence over the
/// proxy's header.
pub(super) fn strip(control: &Control, tables: &[&'static [Route]], request: &mut Request) {
    if !control.config.base_path.is_empty() {
        request.base.clone_from(&control.config.base_path);
    } else if let Some(prefix) = request.header("x-forwarded-prefix")
        && request.by_proxy
        && request.base.is_empty()
        && !prefix.trim_matches(['/', ',', ' ']).is_empty()
        && control.lines.admits(address::client(request.client))
    {
        log::warn!(target: "api", event = "proxy.prefix", prefix = prefix; "Ignored X-Forwarded-Prefix: it is not a \
            path like /mesh");
    }
    // If a proxy publishes us below the name of one of our own paths, it has removed the base path itself: nothing here
    // could distinguish the two.
    if !begins_like_ours(tables, &request.base) {
        let inside = base_path::inside(&request.path, &request.base).to_string();
        request.path = inside;
    }
}

/// True if a base path looks like the beginning of one of this program's paths.
pub fn begins_like_ours(tables: &[&'static [Route]], base: &str) -> bool {
    let first = |path: &str| path.split('/').nth(1).unwrap_or_default().to_string();
    let own = first(base);
    !own.is_empty() && tables.iter().flat_map(|table| table.iter()).any(|route| first(route.path) == own)
}

/// Adds the base path to every path in an answer. Cookies have it already.
pub(super) fn add(response: &mut Response, base: &str) {
    if base.is_empty() {
        return;
    }
    let mut is_page = false;
    for (name, value) in &mut response.headers {
        match *name {
            "Location" if value.starts_with('/') => value.insert_str(0, base),
            "Link" => *value = value.replace("</", &format!("<{base}/")),
            "Content-Type" => is_page = value.starts_with("text/html"),
            _ => {}
        }
    }
    if is_page && let Ok(mut page) = String::from_utf8(std::mem::take(&mut response.body)) {
        // Text from users cannot look like an attribute: its quotes are escaped.
        for attribute in PATHS {
            page = page.replace(&format!(" {attribute}=\"/"), &format!(" {attribute}=\"{base}/"));
        }
        response.body = page.into_bytes();
    }
}
