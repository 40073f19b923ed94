//! What holds for every request: who is let in first, request ids, errors, methods, security headers.

use crate::golden;
use crate::node::{Node, token};
use crate::support::{Client, Served, believing, parse, raw};
use serde_json::json;

#[test]
fn nobody_learns_which_paths_exist() {
    let served = Served::new();
    let anonymous = served.anonymous();
    for (method, path) in [
        ("GET", "/nodes"),
        ("GET", "/no/such/path"),
        ("DELETE", "/nodes"),
        ("POST", "/nodes"),
        ("GET", "/cluster/leases"),
        ("GET", "/cluster/renew"),
        ("POST", "/cluster/bootstrap"),
        ("GET", "/nodes/%zz"),
        ("GET", "/healthz"),
        ("GET", "/auth"),
        ("OPTIONS", "/no/such/path"),
        ("BREW", "/nodes"),
    ] {
        let answer = anonymous.send(method, path, &[], b"");
        assert_eq!(
            (answer.status, answer.json()),
            (401, json!({"detail": "Authentication required"})),
            "{method} {path}"
        );
    }
    for (path, location) in
        [("/ui", "/auth/login?next=%2Fui"), ("/ui/nodes?a=b&c=d", "/auth/login?next=%2Fui%2Fnodes%3Fa%3Db%26c%3Dd")]
    {
        let answer = anonymous.get(path);
        assert_eq!((answer.status, answer.header("Location")), (303, Some(location)));
    }
}

#[test]
fn public_paths_are_open() {
    let served = Served::new();
    let anonymous = served.anonymous();
    let health = anonymous.get("/health").json();
    assert_eq!(health["status"], "ok");
    assert!(health["time"].as_str().unwrap().ends_with('Z'));
    let version = anonymous.get("/version").json();
    assert_eq!((version["app"].as_str(), version["env"].as_str()), (Some("UptimeMesh"), Some("dev")));
    let home = anonymous.get("/");
    assert_eq!((home.status, home.header("Location")), (307, Some("/ui")));
    for path in ["/favicon.ico", "/static/style.css", "/auth/login"] {
        assert_eq!(anonymous.get(path).status, 200, "{path}");
    }
    let wrong = anonymous.send("POST", "/health", &[], b"");
    assert_eq!((wrong.status, wrong.header("Allow")), (405, Some("GET, HEAD")));
}

#[test]
fn options_are_told_to_anybody() {
    let served = Served::new();
    let anonymous = served.anonymous();
    for (path, allow) in [
        ("/health", "GET, HEAD, OPTIONS"),
        ("/nodes", "GET, HEAD, OPTIONS, POST"),
        ("/nodes/n1", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/auth/login?next=a", "GET, HEAD, OPTIONS, POST"),
        ("*", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    ] {
        let answer = anonymous.send("OPTIONS", path, &[("Origin", "https://evil.example")], b"");
        assert_eq!((answer.status, answer.header("Allow"), answer.body.len()), (204, Some(allow), 0), "{path}");
        assert!(
            answer.headers.iter().all(|(name, _)| !name.to_ascii_lowercase().starts_with("access-control")),
            "{path}"
        );
    }
    assert_eq!(served.admin().send("OPTIONS", "/no/such/path", &[], b"").status, 404);
    assert_eq!(anonymous.send("OPTIONS", "/health", &[("Host", "evil.example")], b"").status, 400, "two hosts");
}

#[test]
fn whoever_is_not_let_in_learns_by_what() {
    let served = Served::new();
    let anonymous = served.anonymous();
    let wrong = json!({"username": "admin", "password": "wrong"});
    let form = anonymous.send("POST", "/auth/login", &[], b"username=admin&password=wrong");
    for answer in [anonymous.get("/nodes"), anonymous.delete("/no/such"), anonymous.post("/auth/token", &wrong), form] {
        assert_eq!((answer.status, answer.header("WWW-Authenticate")), (401, Some("Bearer realm=\"UptimeMesh\"")));
    }
    let beat = json!({"node_id": "n", "lease_token": "x", "signed_at": 1, "signature": "x"});
    assert!(anonymous.post("/cluster/heartbeat", &beat).header("WWW-Authenticate").is_some());
    assert!(anonymous.get("/health").header("WWW-Authenticate").is_none());
}

/// Other applications on this host, browsers and networks of caches send what they like.
#[test]
fn bytes_of_others_cost_a_request_nothing() {
    let served = Served::new();
    let token = served.admin().token.unwrap();
    let at = served.anonymous().address;
    let ask = |lines: &[&[u8]]| {
        let own = format!("GET /auth/me HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n");
        let lines: Vec<u8> = lines.iter().flat_map(|line| [line, b"\r\n".as_slice()].concat()).collect();
        parse(&raw(at, &[own.as_bytes(), &lines, b"\r\n"].concat())).status
    };
    let cookie = |before: &[u8], after: &[u8]| {
        [b"Cookie: ".as_slice(), before, format!("uptimemesh_session={token}").as_bytes(), after].concat()
    };
    for cookies in [
        cookie(b"name=J\xfcrgen; ", b""),
        cookie("ort=Köln; ".as_bytes(), "; 名=値".as_bytes()),
        cookie(b"\xff\xfe=\x80; ", b"; x=\xc3"),
        cookie(b"=; ;;a;\xa0; ", b""),
    ] {
        assert_eq!(ask(&[&cookies]), 200, "{}", String::from_utf8_lossy(&cookies));
    }
    let good = cookie(b"", b"");
    for line in [
        b"User-Agent: J\xfcrgen's browser".as_slice(),
        "User-Agent: браузер".as_bytes(),
        b"CF-IPCity: S\xc3\xa3o Paulo",
        b"X-Geo-City: M\xfcnchen",
        b"Referer: http://x/\xe4",
        b"X-Forwarded-For: \xff",
        b"If-None-Match: \"\xe4\"",
    ] {
        assert_eq!(ask(&[line, &good]), 200, "{}", String::from_utf8_lossy(line));
        assert_eq!(ask(&[&good, line]), 200, "{}", String::from_utf8_lossy(line));
    }
    assert_eq!(ask(&[b"Cookie: uptimemesh_session=\xfc"]), 401, "ours, and not genuine");
    for framing in [
        b"Transfer-Encoding: chunked\xa0".as_slice(),
        b"Content-Length: 0\xa0",
        b"Content-Length: \xb2",
        b"Connection: \xe9",
        b"Expect: 100-continue\xa0",
    ] {
        assert_eq!(ask(&[framing, &good]), 400, "{}", String::from_utf8_lossy(framing));
    }
    assert_eq!(parse(&raw(at, b"GET /health HTTP/1.1\r\nHost: \xe9\r\n\r\n")).status, 400);
}

/// RFC 9112, 3.2.2: the authority in the target is whom a request is for, whatever `Host` says.
#[test]
fn a_target_may_be_a_whole_url() {
    let served = Served::new();
    let at = served.anonymous().address;
    let ask = |line: &str, host: &str| {
        let answer =
            parse(&raw(at, format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()));
        (answer.status, answer.header("Location").or(answer.header("Allow")).unwrap_or_default().to_string())
    };
    assert_eq!(ask(&format!("GET http://{at}/health"), &at.to_string()).0, 200);
    assert_eq!(ask("GET HTTP://LOCALHOST:1/health?a=b", "evil.example").0, 200, "the authority counts");
    assert_eq!(ask("GET https://[::1]/health", "x").0, 200);
    assert_eq!(ask("GET http://evil.example/health", "localhost").0, 421, "and here too");
    assert_eq!(ask("GET http://localhost", "x"), (307, "/ui".to_string()));
    assert_eq!(ask("GET http://localhost?a=b", "x"), (307, "/ui".to_string()));
    assert_eq!(ask("GET http://localhost/ui?a=b", "x"), (303, "/auth/login?next=%2Fui%3Fa%3Db".to_string()));
    assert_eq!(ask("OPTIONS http://localhost", "x"), ask("OPTIONS *", "x"));
    for bad in [
        "http://",
        "http:///health",
        "http://a@localhost/health",
        "http:/health",
        "ftp://localhost/health",
        "localhost/health",
        "//localhost/health",
        "http://a\\b/",
        "http://lo%63al/",
    ] {
        assert!(matches!(ask(&format!("GET {bad}"), "localhost").0, 400 | 401), "{bad}");
    }
    assert_eq!(ask("CONNECT localhost:80", "localhost").0, 400);
    assert_eq!(
        parse(&raw(at, b"GET http://localhost/health HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n")).status,
        400
    );
    assert_eq!(
        parse(&raw(at, b"GET http://localhost/health HTTP/1.1\r\n\r\n")).status,
        400,
        "Host is required all the same"
    );
}

#[test]
fn signed_in_paths_and_methods_are_told_apart() {
    let served = Served::new();
    let admin = served.admin();
    assert_eq!(admin.get("/no/such").json(), json!({"detail": "Not Found"}));
    assert_eq!(admin.get("/nodes/").status, 404);
    assert_eq!(admin.get("/ui/none").status, 404);
    let wrong = admin.delete("/nodes");
    assert_eq!(
        (wrong.status, wrong.header("Allow"), wrong.json()),
        (405, Some("GET, HEAD, POST"), json!({"detail": "Method Not Allowed"}))
    );
    let (head, get) = (admin.send("HEAD", "/nodes", &[], b""), admin.get("/nodes"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("Content-Length"), get.header("Content-Length"));
}

#[test]
fn every_answer_has_a_request_id_and_security_headers() {
    let served = Served::new();
    let anonymous = served.anonymous();
    let id = |sent: &str| {
        anonymous.send("GET", "/health", &[("X-Request-ID", sent)], b"").header("X-Request-ID").unwrap().to_string()
    };
    assert_eq!(id("my-id.1"), "my-id.1");
    assert_eq!(id(&"x".repeat(128)), "x".repeat(128));
    for bad in ["", "has space", &"x".repeat(129)] {
        let fresh = id(bad);
        assert_eq!((fresh.len(), fresh.matches('-').count()), (36, 4), "{bad:?} gives a fresh one: {fresh}");
    }
    for (path, admin) in [("/health", false), ("/nodes", false), ("/no", true), ("/ui", true), ("/auth/login", false)] {
        let client = if admin { served.admin() } else { anonymous.clone() };
        let answer = client.get(path);
        for (name, value) in
            [("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "same-origin")]
        {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert!(answer.header("Content-Security-Policy").unwrap().contains("default-src 'none'"), "{path}");
        assert!(answer.header("X-Request-ID").is_some(), "{path}");
    }
}

#[test]
fn hostile_json_is_refused_with_a_clear_fault() {
    let served = Served::new();
    let admin = served.admin();
    let send = |body: &[u8]| admin.send("POST", "/nodes", &[], body);
    for (body, fault) in [
        (&b""[..], r#"missing ["body"]"#),
        (b"   ", r#"missing ["body"]"#),
        (b"[]", r#"model_attributes_type ["body"]"#),
        (b"null", r#"model_attributes_type ["body"]"#),
        (b"{\"id\":NaN}", r#"json_invalid ["body",6]"#),
        (b"{\"id\":\"a\",\"id\":\"b\"}", r#"json_invalid ["body",18]"#),
        (b"{\"id\":\"\\ud800\"}", r#"json_invalid ["body",13]"#),
        (b"{\"id\":\"\xff\"}", r#"json_invalid ["body",7]"#),
    ] {
        assert_eq!(send(body).faults(), [fault], "{}", String::from_utf8_lossy(body));
    }
    let deep = ["{\"status\":", &"[".repeat(100_000)].concat();
    assert!(send(deep.as_bytes()).faults()[0].starts_with("json_invalid"));
    assert_eq!(send(&[b"{\"x\":\"".as_slice(), &vec![b'a'; 1 << 20], b"\"}"].concat()).status, 413);
    assert_eq!(admin.get("/health").status, 200);
}

/// Every route, called by nobody, by a stranger's token, by each role, by an API token of each role, by a core node
/// over TLS with its certificate, and by the same node with a signature: the statuses are reviewed as a text, and the
/// access that the table promises is what happens.
#[test]
fn every_route_says_who_may_call_it() {
    // Three callers that are refused everywhere are more than one address may be.
    let served = Served::with(|config| config.requests_per_second_max = 5_000);
    let anonymous = served.anonymous();
    let roles = ["viewer", "operator", "admin"];
    let mut callers = vec![
        ("nobody".to_string(), anonymous.clone()),
        ("stranger".to_string(), Client { token: Some("not.genuine".into()), ..anonymous.clone() }),
    ];
    for role in roles {
        callers.push((role.to_string(), served.user(&format!("a-{role}"), role)));
    }
    for role in roles {
        callers.push((format!("{role}-token"), served.api_token(role)));
    }
    let mut node = Node::new("caller");
    let joined = node.join(&served.admin(), &token(&served.admin(), "core", None), json!({"role": "core"}));
    let shown = (joined.json()["node_cert_pem"].as_str().unwrap().to_string(), node.key.serialize_der());
    let tls = believing(&served.config.pki_dir.join("cluster-ca.crt"), Some((&shown.0, shown.1)));
    callers.push(("node-certificate".to_string(), Client { tls: Some(tls), ..anonymous.clone() }));
    callers.push(("node-signature".to_string(), anonymous.clone()));
    let mut lines = String::new();
    for (method, path, access, meter) in uptimemesh::routes() {
        let target: String =
            path.split('/').map(|part| if part.starts_with('{') { "n" } else { part }).collect::<Vec<_>>().join("/");
        lines.push_str(&format!("{method:<7}{path:<36}{access:<9}{meter:<15}"));
        for (caller, client) in &callers {
            let known = roles.iter().position(|role| caller.split('-').next() == Some(role));
            // Its own session would end.
            if target.contains("/logout") && known.is_some() {
                continue;
            }
            // A stream does not end; its head is enough.
            let method = if target.ends_with("/stream") { "HEAD" } else { method.as_str() };
            let answer = match caller.as_str() {
                "node-signature" => node.call(client, method, &target, b""),
                _ => client.send(method, &target, &[], b""),
            };
            let status = answer.status;
            lines.push_str(&format!(" {caller} {status}"));
            match roles.iter().position(|role| *role == access) {
                Some(least) => {
                    assert_eq!(
                        matches!(status, 401 | 303) && known.is_none(),
                        known.is_none(),
                        "{method} {path} {caller}"
                    );
                    let personal =
                        caller.ends_with("-token") && status == 403 && answer.detail().contains("API tokens may not");
                    assert_eq!(
                        status == 403,
                        known.is_some_and(|role| role < least) || personal,
                        "{method} {path} {caller}"
                    );
                }
                None if access == "node" => {
                    let is_let_in = !matches!(status, 401 | 403);
                    assert_eq!(is_let_in, caller.starts_with("node-"), "{method} {path} {caller}")
                }
                None => assert_ne!(status, 403, "{method} {path} {caller}"),
            }
        }
        lines.push('\n');
    }
    golden::check("routes.txt", &lines);
}

/// What V1's README promised, route by route.
#[test]
fn every_route_of_v1_is_there() {
    const V1: &str = "GET /health, GET /version, GET /nodes, POST /nodes, PATCH /nodes/{id}, POST /nodes/{id}/cordon, \
        POST /nodes/{id}/uncordon, POST /nodes/{id}/drain, POST /nodes/{id}/reboot-marker, POST \
        /nodes/{id}/rotate-wg-keys, GET /services, POST /services, PATCH /services/{id}, POST /services/{id}/rollout, \
        POST /services/{id}/rollback, GET /replicas, POST /replicas, PATCH /replicas/{id}, POST /replicas/{id}/move, \
        POST /replicas/{id}/restart, POST /replicas/{id}/snapshot, POST /replicas/{id}/restore, DELETE /replicas/{id}, \
        GET /endpoints, POST /endpoints, PATCH /endpoints/{id}, GET /router-assignments, POST /router-assignments, GET \
        /scheduler/plan/services/{id}, POST /scheduler/reconcile/services/{id}, GET /scheduler/plan/all, POST \
        /scheduler/reconcile/all, GET /events, POST /events, GET /events/stream, GET /wireguard/status, GET \
        /etcd/snapshots, POST /etcd/snapshots, GET /support-bundles, POST /support-bundles, GET /cluster-settings, GET \
        /cluster-settings/{id}, PUT /cluster-settings/{id}, POST /cluster/bootstrap, POST /cluster/join-tokens, POST \
        /cluster/join, POST /cluster/heartbeat, GET /cluster/leases, POST /auth/token, GET /auth/login, GET /ui, GET \
        /ui/settings";
    let ours: Vec<String> = uptimemesh::routes()
        .iter()
        .map(|(method, path, ..)| {
            let path: Vec<&str> =
                path.split('/').map(|part| if part.starts_with('{') { "{id}" } else { part }).collect();
            format!("{method} {}", path.join("/"))
        })
        .collect();
    for route in V1.split(", ").map(str::trim) {
        assert!(ours.iter().any(|own| own == route), "{route}");
    }
}

/// Every item of a list, page by page, and the bytes of the largest page.
fn pages(client: &crate::support::Client, path: &str) -> (Vec<serde_json::Value>, usize) {
    let (mut items, mut largest, mut next) = (Vec::new(), 0, path.to_string());
    loop {
        let answer = client.get(&next);
        assert_eq!(answer.status, 200, "{}", answer.text());
        largest = largest.max(answer.body.len());
        let page = answer.json().as_array().unwrap().clone();
        assert!(!page.is_empty(), "a page has at least one item");
        items.extend(page);
        let total: usize = answer.header("X-Total-Count").unwrap().parse().unwrap();
        let Some(link) = answer.header("Link") else {
            assert_eq!(items.len(), total, "{path}");
            return (items, largest);
        };
        assert!(items.len() < total, "{path}: {link}");
        next = link.split(['<', '>']).nth(1).unwrap().to_string();
    }
}

#[test]
fn pages_are_cut_by_bytes_too_and_nothing_is_lost() {
    let served = crate::support::Served::new();
    let admin = served.admin();
    let large = serde_json::json!({"text": "x".repeat(60_000)});
    for i in 0..25 {
        let node = serde_json::json!({"id": format!("n{i:02}"), "name": format!("n{i:02}"), "status": large});
        assert_eq!(admin.post("/nodes", &node).status, 201);
        let event = serde_json::json!({"category": "tests", "name": "large", "level": "info",
            "fields": {"text": "x".repeat(16_000)}});
        for _ in 0..3 {
            assert_eq!(admin.post("/events", &event).status, 201);
        }
    }
    assert_eq!(admin.post("/services", &serde_json::json!({"id": "s1", "name": "s1", "spec": {}})).status, 201);
    for i in 0..22 {
        let replica = serde_json::json!({"id": format!("r{i}"), "service_id": "s1", "node_id": "n00", "status": large});
        assert_eq!(admin.post("/replicas", &replica).status, 201);
        assert_eq!(
            admin.patch("/services/s1", &serde_json::json!({"spec": {"text": format!("{i}{}", large["text"])}})).status,
            200
        );
    }
    for (path, count) in [
        ("/nodes", 25),
        ("/events?category=tests&limit=1000", 75),
        ("/replicas?node_id=n00", 22),
        ("/services/s1/revisions", 23),
    ] {
        let (items, largest) = pages(&admin, path);
        assert_eq!(items.len(), count, "{path}");
        assert!((512 << 10..=(1 << 20) + 1024).contains(&largest), "{path}: {largest}");
        let mut seen: Vec<String> = items.iter().map(|item| format!("{} {}", item["id"], item["generation"])).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "{path}: each once");
    }
}
