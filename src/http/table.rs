//! Routes as data: finds the one for a path and a method. Access is decided elsewhere.

use tiny_http::Method;

/// A method, a path pattern (`/nodes/{id}`) and its handler.
pub struct Route<H: 'static> {
    /// The method; `GET` serves `HEAD` too.
    pub method: Method,
    /// The pattern: `{name}` matches one non-empty path segment.
    pub path: &'static str,
    /// The handler.
    pub handler: H,
}

/// Result for a path and a method.
pub enum Found<'t, H: 'static> {
    /// A route, with the decoded segments of its `{name}`s.
    Route(&'t Route<H>, Vec<String>),
    /// The path exists with other methods: the value of the `Allow` header.
    OtherMethod(String),
    /// No route has this path.
    Nothing,
}

/// Finds the route for a method and a raw path. Segments are percent-decoded after splitting, so that `%2F` creates
/// none.
pub fn find<'t, H>(tables: &[&'t [Route<H>]], method: &Method, path: &str) -> Found<'t, H> {
    let wanted = if *method == Method::Head { &Method::Get } else { method };
    let mut allowed: Vec<&str> = Vec::new();
    for route in tables.iter().flat_map(|table| table.iter()) {
        let Some(args) = args(route.path, path) else { continue };
        if route.method == *wanted {
            return Found::Route(route, args);
        }
        allowed.push(route.method.as_str());
        if route.method == Method::Get {
            allowed.push("HEAD");
        }
    }
    allowed.sort_unstable();
    if allowed.is_empty() { Found::Nothing } else { Found::OtherMethod(allowed.join(", ")) }
}

fn args(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut args, mut wanted, mut given) = (Vec::new(), pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(args),
            (Some(w), Some(g)) if w.starts_with('{') && !g.is_empty() => args.push(crate::percent::decode(g)?),
            (Some(w), Some(g)) if w == g => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(method: Method, path: &str) -> String {
        let table: &[Route<u8>] = &[
            Route { method: Method::Get, path: "/nodes", handler: 1 },
            Route { method: Method::Post, path: "/nodes", handler: 2 },
            Route { method: Method::Get, path: "/nodes/{id}", handler: 3 },
        ];
        match find(&[table], &method, path) {
            Found::Route(r, args) => format!("{} {args:?}", r.handler),
            Found::OtherMethod(allow) => allow,
            Found::Nothing => "nothing".into(),
        }
    }

    #[test]
    fn paths_and_methods_lead_to_routes() {
        assert_eq!(said(Method::Get, "/nodes"), "1 []");
        assert_eq!(said(Method::Head, "/nodes"), "1 []");
        assert_eq!(said(Method::Delete, "/nodes"), "GET, HEAD, POST");
        assert_eq!(said(Method::Get, "/nodes/a%2Fb"), "3 [\"a/b\"]");
        for nothing in ["/nodes/", "/nodes//", "/", "", "//nodes", "/nodes/a/b", "/nodes/%zz"] {
            assert_eq!(said(Method::Get, nothing), "nothing", "{nothing}");
        }
    }
}
