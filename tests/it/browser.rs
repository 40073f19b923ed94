//! What browsers can be made to do by other sites, and what keeps them from it.

use crate::support::{Answer, Client, Served, parse, raw};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A request with a Host of its own.
fn ask(address: SocketAddr, method: &str, path: &str, host: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
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
    let bearer = format!("Bearer {}", cookie.split(['=', ';']).nth(1).unwrap());
    let by_bearer = ask(
        address,
        "POST",
        "/nodes",
        &host,
        &[&[("Authorization", bearer.as_str())], &evil[..]].concat(),
        r#"{"id":"b","name":"b"}"#,
    );
    assert_eq!(by_bearer.status, 201, "what no browser sends by itself is nobody else's");
    // Nor can it sign a browser in as somebody of its choice, or out.
    assert_eq!(ask(address, "POST", "/auth/login", &host, &evil, "username=admin&password=uptime").status, 403);
    assert_eq!(
        ask(address, "POST", "/auth/token", &host, &evil, r#"{"username":"admin","password":"uptime"}"#).status,
        403
    );
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
        let headers = [
            ("Cookie", cookie.as_str()),
            ("Origin", origin),
            ("X-Forwarded-Host", "mesh.example"),
            ("X-Forwarded-Proto", "https"),
        ];
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
        assert_eq!(
            text.matches("<script").count(),
            text.matches("<script src=\"/static/app.js?v=2.0.0\" defer></script>").count()
        );
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
        assert_eq!(
            (answer.status, answer.text().contains("This form is not from a page")),
            (403, true),
            "{path} {body}"
        );
    }
    let revoked = post(&one, &revoke, &format!("csrf_token={own}"));
    let back = revoked.header("Location").unwrap();
    assert!(page(&one, back).contains("Session ended."), "{back}");
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
    assert!(
        set.len() == 2 && set[0].starts_with("uptimemesh_session=") && set[1].starts_with("__Host-uptimemesh_session_"),
        "{set:?}"
    );
    for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
        assert!(set.iter().all(|cookie| cookie.contains(part) && !cookie.contains("Domain")), "{set:?}");
    }
    let token = set[0].split(['=', ';']).nth(1).unwrap();
    let me = |cookie: &str| client.send("GET", "/auth/me", &[("Cookie", cookie), tls], b"").status;
    assert_eq!(
        (me(&format!("uptimemesh_session={token}")), me(&format!("__Host-uptimemesh_session={token}"))),
        (200, 200)
    );
    assert_eq!(me(&format!("uptimemesh_session=planted.by-another; __Host-uptimemesh_session={token}")), 200);
    let own = set[1].split('=').next().unwrap();
    let other = client.send("POST", "/auth/login", &[tls], b"username=admin&password=uptime");
    let planted = other.header("Set-Cookie").unwrap().split(['=', ';']).nth(1).unwrap();
    let both = format!("uptimemesh_session={planted}; {own}={token}");
    let id =
        |cookie: &str| client.send("GET", "/auth/me", &[("Cookie", cookie), tls], b"").json()["credential_id"].clone();
    assert_eq!(
        id(&both),
        id(&format!("{own}={token}")),
        "what only we can have set counts before what others may have planted"
    );
    assert_ne!(id(&both), id(&format!("uptimemesh_session={planted}")));
    let plain = client.send("POST", "/auth/login", &[], b"username=admin&password=uptime");
    assert!(!cookies(&plain).contains("__Host-") && !plain.header("Set-Cookie").unwrap().contains("Secure"));
}

/// Cookies do not know ports: a browser shows the cookies of every cluster on a host to each of them.
#[test]
fn two_clusters_on_one_host_leave_each_other_signed_in() {
    let clusters = [Served::new(), Served::new()];
    let mut jar: BTreeMap<String, String> = BTreeMap::new();
    let keep = |jar: &mut BTreeMap<String, String>, answer: &Answer| {
        for (_, line) in answer.headers.iter().filter(|(name, _)| name == "Set-Cookie") {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            match line.contains("Max-Age=0;") {
                true => jar.remove(name),
                false => jar.insert(name.to_string(), value.to_string()),
            };
        }
    };
    let cookie = |jar: &BTreeMap<String, String>| {
        jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    };
    for served in &clusters {
        let answer = served.anonymous().send(
            "POST",
            "/auth/login",
            &[("Cookie", &cookie(&jar))],
            b"username=admin&password=uptime",
        );
        assert_eq!(answer.status, 303);
        keep(&mut jar, &answer);
    }
    let page =
        |served: &Served, jar: &_| served.anonymous().send("GET", "/ui/settings", &[("Cookie", &cookie(jar))], b"");
    for served in &clusters {
        let shown = page(served, &jar);
        assert_eq!(shown.status, 200);
        let form = format!("csrf_token={}&theme=dark&back=/ui", csrf(&shown.text()));
        let chosen = served.anonymous().send("POST", "/ui/theme", &[("Cookie", &cookie(&jar))], form.as_bytes());
        assert_eq!(chosen.status, 303, "the form is of the session that counts: {}", chosen.text());
    }
    let sessions = |served: &Served| served.admin().get("/sessions").json().as_array().unwrap().len();
    let before = sessions(&clusters[0]);
    let out = clusters[0].anonymous().send("GET", "/auth/logout", &[("Cookie", &cookie(&jar))], b"");
    let cleared: Vec<&str> = out.headers.iter().filter(|(n, _)| n == "Set-Cookie").map(|(_, v)| v.as_str()).collect();
    assert!(cleared.len() == 2 && cleared.iter().all(|line| line.contains("Max-Age=0;")), "{cleared:?}");
    let old = cookie(&jar);
    keep(&mut jar, &out);
    assert_eq!(sessions(&clusters[0]), before, "one ended, and one began to see that");
    assert_eq!((page(&clusters[0], &jar).status, page(&clusters[1], &jar).status), (303, 200));
    assert_eq!(
        clusters[0].anonymous().send("GET", "/ui", &[("Cookie", &old)], b"").status,
        303,
        "it is over, not only forgotten"
    );
}

/// A browser that signed in by two ways has two sessions, and its owner means both.
#[test]
fn signing_out_ends_all_that_a_browser_shows() {
    let served = Served::proxied(|_| ());
    let (client, admin) = (served.anonymous(), served.user("alice", "admin"));
    let tls = ("X-Forwarded-Proto", "https");
    let form = format!("username=alice&password={}", crate::support::USER_PASSWORD.replace(' ', "+"));
    let login = |headers: &[(&str, &str)]| cookies(&client.send("POST", "/auth/login", headers, form.as_bytes()));
    let status = |cookie: &str| client.send("GET", "/ui", &[("Cookie", cookie), tls], b"").status;
    for by_form in [false, true] {
        // Over TLS the cookie for this host alone comes beside what an earlier sign-in without TLS has left.
        let (plain, secure) = (login(&[]), login(&[tls]));
        let all = format!("{plain}; {secure}");
        assert_eq!((status(&plain), status(&secure)), (200, 200));
        let page = client.send("GET", "/ui", &[("Cookie", &all), tls], b"").text();
        let (method, path) = if by_form { ("POST", "/ui/logout") } else { ("GET", "/auth/logout") };
        let body = if by_form { format!("csrf_token={}", csrf(&page)) } else { String::new() };
        let out = client.send(method, path, &[("Cookie", &all), tls], body.as_bytes());
        assert_eq!(out.status, 303);
        let cleared: Vec<&str> = out
            .headers
            .iter()
            .filter(|(n, v)| n == "Set-Cookie" && v.contains("Max-Age=0"))
            .map(|(_, v)| v.as_str())
            .collect();
        for pair in all.split("; ") {
            let name = pair.split('=').next().unwrap();
            assert!(cleared.iter().any(|line| line.starts_with(&format!("{name}=;"))), "{name} stays: {cleared:?}");
        }
        assert_eq!((status(&plain), status(&secure)), (303, 303));
    }
    assert_eq!(admin.get("/auth/me").status, 200, "another session of the same user goes on");
}

/// Whatever else stands before it, a good credential lets in, and costs its address nothing.
#[test]
fn a_good_credential_counts_wherever_it_stands() {
    let served = Served::proxied(|_| ());
    let client = served.anonymous();
    let token = served.user("alice", "admin").token.unwrap();
    let good = format!("uptimemesh_session={token}");
    let stale = served.admin();
    stale.get("/auth/logout");
    let stale = stale.token.unwrap();
    let foreign = Served::new().admin().token.unwrap();
    let many: String = (0..40).map(|i| format!("uptimemesh_session=x{i}.y; ")).collect();
    let bearer = |token: &str| ("Authorization", format!("Bearer {token}"));
    for lines in [
        vec![("Cookie", format!("uptimemesh_session=; {good}"))],
        vec![("Cookie", format!("uptimemesh_session={stale}; {good}"))],
        vec![("Cookie", format!("uptimemesh_session={foreign}; a=b; {good}"))],
        vec![("Cookie", format!("__Host-uptimemesh_session=ended.session; {good}"))],
        vec![("Cookie", format!("uptimemesh_session={foreign}")), ("Cookie", good.clone())],
        vec![("Cookie", format!("{many}{good}"))],
        vec![bearer("eyJhbGciOiJub25lIn0.e30.sso"), ("Cookie", good.clone())],
        vec![bearer(&stale), ("Cookie", good.clone())],
        vec![bearer(&format!("um_{}", "A".repeat(43))), ("Cookie", good.clone())],
        vec![("Authorization", "Basic YTpi".to_string()), bearer(&token)],
        vec![bearer("sso"), bearer(&token)],
        // One line, as a proxy joins two; and quotes, as libraries write them.
        vec![("Authorization", format!("Bearer sso, Bearer {token}"))],
        vec![("Authorization", format!("Basic YTpi,bearer {token}"))],
        vec![("Cookie", format!("uptimemesh_session=\"{token}\""))],
        vec![bearer(&token), ("Cookie", format!("uptimemesh_session={stale}"))],
    ] {
        let mut headers: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("X-Forwarded-For", "203.0.113.77"));
        // Were one of them a failed attempt, the address would have to wait.
        for _ in 0..30 {
            assert_eq!(client.send("GET", "/auth/me", &headers, b"").status, 200, "{headers:?}");
        }
        let by_cookie = lines.iter().any(|(name, value)| *name == "Cookie" && value.contains(&token));
        headers.push(("Origin", "https://evil.example"));
        let elsewhere = client.send("POST", "/events", &headers, br#"{"category":"c","name":"n","level":"i"}"#).status;
        assert_eq!(
            elsewhere,
            if by_cookie { 403 } else { 201 },
            "a browser's cookie is for our own pages only: {headers:?}"
        );
    }
    assert_eq!(
        client.send("GET", "/auth/me", &[("X-Forwarded-For", "203.0.113.77")], b"").status,
        401,
        "nor is the address refused"
    );
    let nothing = [("Authorization", "Bearer sso"), ("Cookie", "uptimemesh_session=x.y")];
    assert_eq!(client.send("GET", "/auth/me", &nothing, b"").status, 401);
    let page = client.send(
        "GET",
        "/ui/nodes/none",
        &[("Authorization", "Bearer sso"), ("Cookie", &good), ("Accept", "text/html")],
        b"",
    );
    assert!(
        page.status == 404 && page.text().contains("<html"),
        "a browser behind a proxy that signs people in sees pages: {}",
        page.text()
    );
    let stream = client.send("HEAD", "/events/stream", &[("Authorization", "Bearer sso"), ("Cookie", &good)], b"");
    assert_eq!(stream.status, 200);
}

#[test]
fn a_name_that_points_here_is_not_ours_for_that() {
    let served = Served::with(|c| c.tls_names = vec!["mesh.example".into(), "*.nodes.example".into()]);
    let address = served.anonymous().address;
    let status = |host: &str| ask(address, "GET", "/health", host, &[], "");
    for host in [
        "127.0.0.1",
        "127.0.0.1:8000",
        "localhost:8000",
        "[::1]:1",
        "mesh.example",
        "MESH.example:443",
        "a.nodes.example",
    ] {
        assert_eq!(status(host).status, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:8000", "mesh.example.evil.example", "a.b.nodes.example"] {
        let answer = status(host);
        assert_eq!(answer.status, 421, "{host}");
        assert_eq!(
            answer.detail(),
            format!(
                "This server is not known as {host}: add the name to TLS_NAMES, or list your proxy in TRUSTED_PROXIES."
            )
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
    let made =
        served.admin().post("/users", &json!({"name": "alice", "role": "operator", "password": "a first password"}));
    assert_eq!(made.status, 201);
    let client = served.anonymous();
    let login = client.send("POST", "/auth/login", &[], b"username=alice&password=a+first+password&next=/ui");
    let cookie = cookies(&login);
    let page = |cookie: &str, path: &str| client.send("GET", path, &[("Cookie", cookie)], b"");
    assert_eq!(page(&cookie, "/ui").header("Location"), Some("/ui/settings"));
    let settings = page(&cookie, "/ui/settings").text();
    assert!(
        settings.contains("Change your password before you continue") && !settings.contains("setup_code"),
        "{settings}"
    );
    let form =
        format!("csrf_token={}&current_password=a+first+password&new_password=a+second+password", csrf(&settings));
    let changed = client.send("POST", "/ui/settings", &[("Cookie", &cookie)], form.as_bytes());
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!((page(&cookies(&changed), "/ui").status, page(&cookie, "/ui").status), (200, 303));
}
