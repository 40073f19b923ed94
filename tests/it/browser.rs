//! What browsers can be made to do by other sites, and what keeps them from it.

use crate::support::{Answer, Client, Served, parse, raw};
use serde_json::json;
use std::net::SocketAddr;

/// A request with a Host of its own.
fn ask(address: SocketAddr, method: &str, path: &str, host: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    parse(&raw(address, format!("{head}\r\n{body}").as_bytes()))
}

/// The cookies of an answer, as a browser sends them back.
fn cookies(answer: &Answer) -> String {
    let set = answer.headers.iter().filter(|(name, _)| name == "Set-Cookie");
    set.map(|(_, value)| value.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

/// A browser's cookie after a sign-in with the form.
fn signed_in(client: &Client) -> String {
    let answer = client.send("POST", "/auth/login", &[], b"username=admin&password=uptime&next=/ui");
    assert_eq!(answer.status, 303, "{}", answer.text());
    cookies(&answer)
}

/// The token in a page's forms.
fn csrf(page: &str) -> String {
    page.split("name=\"csrf_token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_string()
}

#[test]
fn another_site_cannot_use_a_browsers_session() {
    let served = Served::new();
    let client = served.anonymous();
    let (address, host) = (client.address, client.address.to_string());
    let cookie = signed_in(&client);
    let own = format!("http://{host}");
    let mut count = 0;
    let mut post = |headers: &[(&str, &str)]| {
        count += 1;
        let body = json!({"id": format!("n{count}"), "name": format!("n{count}")}).to_string();
        ask(address, "POST", "/nodes", &host, &[&[("Cookie", cookie.as_str())], headers].concat(), &body)
    };
    for headers in [
        &[][..],
        &[("Origin", own.as_str())],
        &[("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "none")],
        &[("Sec-Fetch-Site", "same-origin"), ("Origin", "https://evil.example")],
    ] {
        assert_eq!(post(headers).status, 201, "{headers:?}");
    }
    for headers in [
        &[("Origin", "https://evil.example")][..],
        &[("Origin", "null")],
        &[("Origin", "http://127.0.0.1:1")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", own.as_str())],
    ] {
        let answer = post(headers);
        assert_eq!((answer.status, answer.detail().contains("TRUSTED_PROXIES")), (403, true), "{headers:?}");
    }
    let evil = [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")];
    let reads = ask(address, "GET", "/nodes", &host, &[&[("Cookie", cookie.as_str())], &evil[..]].concat(), "");
    assert_eq!(reads.status, 200, "reading changes nothing, and the answer stays with the browser");
    let bearer = format!("Bearer {}", cookie.split('=').nth(1).unwrap());
    let by_bearer =
        ask(address, "POST", "/nodes", &host, &[&[("Authorization", bearer.as_str())], &evil[..]].concat(), r#"{"id":"b","name":"b"}"#);
    assert_eq!(by_bearer.status, 201, "what no browser sends by itself is nobody else's");
    // Nor can it sign a browser in as somebody of its choice, or out.
    assert_eq!(ask(address, "POST", "/auth/login", &host, &evil, "username=admin&password=uptime").status, 403);
    assert_eq!(ask(address, "POST", "/auth/token", &host, &evil, r#"{"username":"admin","password":"uptime"}"#).status, 403);
    let out = ask(address, "GET", "/auth/logout", &host, &[("Cookie", &cookie), ("Sec-Fetch-Site", "cross-site")], "");
    assert_eq!((out.status, out.header("Set-Cookie")), (303, None));
    let page = |path: &str| ask(address, "GET", path, &host, &[("Cookie", &cookie)], "");
    assert_eq!(page("/ui").status, 200);
    assert_eq!(page("/auth/logout").status, 303);
    assert_eq!(page("/ui").status, 303, "the session itself has ended");
}

#[test]
fn a_forwarded_host_is_the_origins_host() {
    let served = Served::proxied(|_| ());
    let client = served.anonymous();
    let cookie = signed_in(&client);
    let post = |origin: &str, id: &str| {
        let headers =
            [("Cookie", cookie.as_str()), ("Origin", origin), ("X-Forwarded-Host", "mesh.example"), ("X-Forwarded-Proto", "https")];
        let body = json!({"current_password": "uptime", "new_password": id, "setup_code": "x"}).to_string();
        ask(client.address, "POST", "/auth/password", "inner", &headers, &body).detail()
    };
    assert_eq!(post("https://mesh.example", "a better password"), "The setup code is wrong.", "it got that far");
    assert!(post("http://mesh.example", "a better password").starts_with("Another site"));
    assert!(post("https://inner", "a better password").starts_with("Another site"));
}

#[test]
fn every_form_carries_the_sessions_own_token() {
    let served = Served::new();
    let client = served.anonymous();
    let (one, other) = (signed_in(&client), signed_in(&client));
    let page = |cookie: &str, path: &str| client.send("GET", path, &[("Cookie", cookie)], b"").text();
    let post = |cookie: &str, path: &str, body: &str| client.send("POST", path, &[("Cookie", cookie)], body.as_bytes());
    for path in ["/ui", "/ui/settings"] {
        let text = page(&one, path);
        let forms: Vec<&str> = text.split("<form").skip(1).map(|form| form.split("</form>").next().unwrap()).collect();
        assert!(!forms.is_empty() && forms.iter().all(|form| form.contains("name=\"csrf_token\"")), "{path}: {text}");
        assert_eq!(text.matches("<script").count(), text.matches("<script src=\"/static/app.js?v=2.0.0\" defer></script>").count());
        assert!(!text.contains(" style=") && !text.contains(" onclick="), "{text}");
    }
    let (own, others) = (csrf(&page(&one, "/ui")), csrf(&page(&other, "/ui")));
    assert_ne!(own, others);
    let settings = page(&one, "/ui/settings");
    assert!(settings.contains("this one"), "{settings}");
    let revoke = settings.split("action=\"/ui/sessions/").nth(1).unwrap().split('"').next().unwrap();
    let revoke = format!("/ui/sessions/{revoke}");
    let password = "current_password=uptime&new_password=a+better+one";
    for (path, body) in [
        ("/ui/settings", password.to_string()),
        ("/ui/settings", format!("{password}&csrf_token={others}")),
        ("/ui/settings", format!("{password}&csrf_token=")),
        ("/ui/logout", String::new()),
        (revoke.as_str(), String::new()),
    ] {
        let answer = post(&one, path, &body);
        assert_eq!((answer.status, answer.text().contains("This form is not from a page")), (403, true), "{path} {body}");
    }
    assert_eq!(post(&one, &revoke, &format!("csrf_token={own}")).header("Location"), Some("/ui/settings"));
    assert_eq!(client.send("GET", "/ui", &[("Cookie", &other)], b"").status, 303, "signed out there");
    let changed = post(&one, "/ui/settings", &format!("{password}&csrf_token={own}"));
    assert_eq!(changed.status, 200, "{}", changed.text());
    // The page that tells of it belongs to the new session already.
    let fresh = cookies(&changed);
    let out = post(&fresh, "/ui/logout", &format!("csrf_token={}", csrf(&changed.text())));
    assert_eq!((out.status, out.header("Location")), (303, Some("/auth/login")));
    assert!(out.header("Set-Cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(client.send("GET", "/ui", &[("Cookie", &fresh)], b"").status, 303);
}

#[test]
fn over_tls_the_session_is_in_a_cookie_that_only_this_host_can_set() {
    let served = Served::proxied(|_| ());
    let client = served.anonymous();
    let tls = ("X-Forwarded-Proto", "https");
    let login = client.send("POST", "/auth/login", &[tls], b"username=admin&password=uptime");
    let set: Vec<&str> = login.headers.iter().filter(|(n, _)| n == "Set-Cookie").map(|(_, v)| v.as_str()).collect();
    assert!(set.len() == 2 && set[0].starts_with("uptimemesh_session=") && set[1].starts_with("__Host-uptimemesh_session="), "{set:?}");
    for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
        assert!(set.iter().all(|cookie| cookie.contains(part) && !cookie.contains("Domain")), "{set:?}");
    }
    let token = set[0].split(['=', ';']).nth(1).unwrap();
    let me = |cookie: &str| client.send("GET", "/auth/me", &[("Cookie", cookie), tls], b"").status;
    assert_eq!((me(&format!("uptimemesh_session={token}")), me(&format!("__Host-uptimemesh_session={token}"))), (200, 200));
    assert_eq!(me(&format!("uptimemesh_session=planted.by-another; __Host-uptimemesh_session={token}")), 200);
    assert_eq!(me(&format!("uptimemesh_session={token}; __Host-uptimemesh_session=ended.session")), 401, "the plain one does not count");
    let plain = client.send("POST", "/auth/login", &[], b"username=admin&password=uptime");
    assert!(!cookies(&plain).contains("__Host-") && !plain.header("Set-Cookie").unwrap().contains("Secure"));
}

#[test]
fn a_name_that_points_here_is_not_ours_for_that() {
    let served = Served::with(|c| c.tls_names = vec!["mesh.example".into(), "*.nodes.example".into()]);
    let address = served.anonymous().address;
    let status = |host: &str| ask(address, "GET", "/health", host, &[], "");
    for host in ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "[::1]:1", "mesh.example", "MESH.example:443", "a.nodes.example"] {
        assert_eq!(status(host).status, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:8000", "mesh.example.evil.example", "a.b.nodes.example"] {
        let answer = status(host);
        assert_eq!(answer.status, 421, "{host}");
        assert_eq!(
            answer.detail(),
            format!("This server is not known as {host}: add the name to TLS_NAMES, or list your proxy in TRUSTED_PROXIES.")
        );
    }
    assert_eq!(parse(&raw(address, b"GET /health HTTP/1.0\r\n\r\n")).status, 200, "HTTP/1.0 says no host");
    let forged = ask(address, "GET", "/health", "evil.example", &[("X-Forwarded-Host", "mesh.example")], "");
    assert_eq!(forged.status, 421, "nobody else is believed");
    let proxied = Served::proxied(|_| ());
    let through = [("X-Forwarded-For", "203.0.113.9")];
    assert_eq!(ask(proxied.anonymous().address, "GET", "/health", "public.example", &through, "").status, 200);
    let beside = ask(proxied.anonymous().address, "GET", "/health", "public.example", &[], "");
    assert_eq!(beside.status, 421, "a browser on the proxy's own machine is no proxy");
}

#[test]
fn who_must_change_the_password_sees_only_that() {
    let served = Served::new();
    let made = served.admin().post("/users", &json!({"name": "alice", "role": "operator", "password": "a first password"}));
    assert_eq!(made.status, 201);
    let client = served.anonymous();
    let login = client.send("POST", "/auth/login", &[], b"username=alice&password=a+first+password&next=/ui");
    let cookie = cookies(&login);
    let page = |cookie: &str, path: &str| client.send("GET", path, &[("Cookie", cookie)], b"");
    assert_eq!(page(&cookie, "/ui").header("Location"), Some("/ui/settings"));
    let settings = page(&cookie, "/ui/settings").text();
    assert!(settings.contains("Change your password first") && !settings.contains("setup_code"), "{settings}");
    let form = format!("csrf_token={}&current_password=a+first+password&new_password=a+second+password", csrf(&settings));
    let changed = client.send("POST", "/ui/settings", &[("Cookie", &cookie)], form.as_bytes());
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!((page(&cookies(&changed), "/ui").status, page(&cookie, "/ui").status), (200, 303));
}
