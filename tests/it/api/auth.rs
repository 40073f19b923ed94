//! Sign-in: tokens, cookies, lock-out, the password.

use crate::support::{Client, Served};
use serde_json::json;

fn login(client: &Client, form: &str) -> crate::support::Answer {
    client.send("POST", "/auth/login", &[("Content-Type", "application/x-www-form-urlencoded")], form.as_bytes())
}

#[test]
fn a_token_signs_in_as_bearer_and_as_cookie() {
    let served = Served::new();
    let anonymous = served.anonymous();
    let answer = anonymous.post("/auth/token", &json!({"username": "  ADMIN ", "password": "uptime"}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    assert_eq!((json["cookie_name"].as_str(), json["expires_in"].as_i64()), (Some("uptimemesh_session"), Some(43_200)));
    let token = json["session_token"].as_str().unwrap();
    assert_eq!(anonymous.send("GET", "/nodes", &[("Authorization", &format!("bearer {token}"))], b"").status, 200);
    assert_eq!(
        anonymous.send("GET", "/nodes", &[("Cookie", &format!("a=b; uptimemesh_session={token}; c=d"))], b"").status,
        200
    );
    let mut forged = token.to_string();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    for bad in [forged.as_str(), "", ".", "a.b", "a.b.c", "%00", &"x".repeat(3000)] {
        let answer = anonymous.send("GET", "/nodes", &[("Cookie", &format!("uptimemesh_session={bad}"))], b"");
        assert_eq!((answer.status, answer.detail().as_str()), (401, "Authentication required"), "{bad}");
    }
    assert_eq!(
        anonymous.send("GET", "/nodes", &[("Cookie", "uptimemesh_session=\u{e9}")], b"").status,
        401,
        "a cookie that is not ASCII"
    );
    assert_eq!(
        anonymous.post("/auth/token", &json!({"username": "admin", "password": "wrong"})).detail(),
        "Invalid username or password."
    );
    assert_eq!(anonymous.post("/auth/token", &json!({"username": "nobody", "password": "uptime"})).status, 401);
    assert_eq!(
        anonymous.post("/auth/token", &json!({"username": 1})).faults(),
        [r#"string_type ["body","username"]"#, r#"missing ["body","password"]"#]
    );
}

#[test]
fn five_failures_lock_the_address() {
    let served = Served::new();
    let admin = served.admin();
    let anonymous = served.anonymous();
    for _ in 0..5 {
        assert_eq!(anonymous.post("/auth/token", &json!({"username": "admin", "password": "no"})).status, 401);
    }
    let locked = anonymous.post("/auth/token", &json!({"username": "admin", "password": "uptime"}));
    assert_eq!(locked.status, 429);
    let wait: u64 = locked.header("Retry-After").unwrap().parse().unwrap();
    assert!((290..=300).contains(&wait), "{wait}");
    assert_eq!(locked.detail(), format!("Too many login attempts. Try again in {wait}s."));
    assert_eq!(login(&anonymous, "username=admin&password=uptime").status, 429);
    assert_eq!(admin.get("/nodes").status, 200, "who is signed in already goes on");
}

#[test]
fn failures_lock_the_networks_that_an_ipv6_address_is_chosen_from() {
    let served = Served::proxied(|_| ());
    let anonymous = served.anonymous();
    let wrong = |address: &str| {
        anonymous.from(address, "POST", "/auth/token", &json!({"username": "admin", "password": "no"})).status
    };
    for link in 0..10 {
        assert_eq!(wrong(&format!("2001:db8:1:{link:x}::1")), 401, "link {link}");
    }
    assert_eq!(wrong("2001:db8:1:ff::1"), 429, "a /56 is locked after ten");
    for household in 1..=10 {
        assert_eq!(wrong(&format!("2001:db8:1:{household:x}00::1")), 401, "household {household}");
    }
    assert_eq!(wrong("2001:db8:1:ff00::1"), 429, "a /48 is locked after twenty");
    assert_eq!(wrong("2001:db8:2::1"), 401, "another one is not");
}

#[test]
fn the_form_signs_in_and_out() {
    let served = Served::with(|c| c.auth_cookie_secure = true);
    let anonymous = served.anonymous();
    let form = anonymous.get("/auth/login?next=%2Fui%2Fsettings%3Fa%3D%22b%22");
    assert_eq!(form.status, 200);
    assert!(form.text().contains("value=\"/ui/settings?a=&quot;b&quot;\""), "{}", form.text());
    let signed_in = login(&anonymous, "username=admin&password=uptime&next=%2Fui%2Fsettings");
    assert_eq!((signed_in.status, signed_in.header("Location")), (303, Some("/ui/settings")));
    let cookie = signed_in.header("Set-Cookie").unwrap().to_string();
    for part in ["uptimemesh_session=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200", "Secure"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap();
    let page = |path: &str| anonymous.send("GET", path, &[("Cookie", pair)], b"");
    assert_eq!(page("/ui/settings").status, 200);
    assert_eq!((page("/auth/login?next=%2Fui").status, page("/auth/login").header("Location")), (303, Some("/ui")));
    let wrong = login(&anonymous, "username=admin&password=%3Cscript%3E&next=//evil.example");
    assert_eq!(wrong.status, 401);
    assert!(
        wrong.text().contains("Invalid username or password.") && !wrong.text().contains("evil"),
        "{}",
        wrong.text()
    );
    for away in ["https%3A%2F%2Fevil.example", "%2F%2Fevil.example", "%2F%5Cevil.example", ""] {
        let answer = login(&anonymous, &format!("username=admin&password=uptime&next={away}"));
        assert_eq!((answer.status, answer.header("Location")), (303, Some("/ui")), "{away}");
    }
    let out = page("/auth/logout");
    assert_eq!((out.status, out.header("Location")), (303, Some("/auth/login")));
    assert!(out.header("Set-Cookie").unwrap().contains("Max-Age=0"));
}

#[test]
fn a_changed_password_ends_every_session_made_before() {
    let mut served = Served::new();
    let (here, there) = (served.admin(), served.admin());
    let body = json!({"current_password": "wrong", "new_password": "a better password"});
    assert_eq!(here.post("/auth/password", &body).status, 403);
    assert_eq!(
        here.post("/auth/password", &json!({"current_password": "uptime", "new_password": "short"})).status,
        422
    );
    let changed =
        here.post("/auth/password", &json!({"current_password": "uptime", "new_password": "a better password"}));
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!((here.get("/nodes").status, there.get("/nodes").status), (401, 401));
    let token = changed.json()["session_token"].as_str().unwrap().to_string();
    let fresh = Client { token: Some(token), ..here };
    assert_eq!(fresh.get("/nodes").status, 200);
    served.restart();
    let fresh = Client { address: served.anonymous().address, ..fresh };
    assert_eq!(fresh.get("/nodes").status, 200, "a session survives a restart");
    assert_eq!(
        served.anonymous().post("/auth/token", &json!({"username": "admin", "password": "uptime"})).status,
        401,
        "the seed does not undo it"
    );
}

#[test]
fn the_settings_page_changes_the_password() {
    let served = Served::new();
    let admin = served.admin();
    let form = |body: &str| admin.send("POST", "/ui/settings", &[], body.as_bytes());
    assert_eq!(form("current_password=no&new_password=a+better+one").status, 403);
    assert_eq!(form("current_password=uptime&new_password=short").status, 422);
    let done = form("current_password=uptime&new_password=a+better+one");
    assert_eq!(done.status, 200, "{}", done.text());
    assert!(done.header("Set-Cookie").is_some());
    served.anonymous().signed_in("admin", "a better one");
}

#[test]
fn a_flood_of_sign_ins_does_not_starve_the_api() {
    let served = Served::new();
    let admin = served.admin();
    std::thread::scope(|scope| {
        let flood: Vec<_> = (0..40)
            .map(|_| {
                let client = served.anonymous();
                scope.spawn(move || {
                    client.post("/auth/token", &json!({"username": "admin", "password": "wrong"})).status
                })
            })
            .collect();
        for _ in 0..20 {
            assert_eq!(admin.get("/nodes").status, 200);
        }
        let statuses: Vec<u16> = flood.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(statuses.iter().all(|s| [401, 429].contains(s)), "{statuses:?}");
        assert!(
            statuses.iter().filter(|s| **s == 401).count() <= 5,
            "no more guesses than the limit, however many at once: {statuses:?}"
        );
    });
}

#[test]
fn many_correct_sign_ins_at_once_lock_nobody_out() {
    let served = Served::new();
    let body = json!({"username": "admin", "password": "uptime"});
    let sign_in = || {
        let answer = served.anonymous().post("/auth/token", &body);
        (answer.status, answer.header("Retry-After").map(|s| s.parse::<u64>().unwrap()))
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..20).map(|_| scope.spawn(sign_in)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|(status, wait)| *status == 200 || *wait == Some(1)), "{answers:?}");
    assert_eq!(sign_in().0, 200, "they were right");
}

/// True if this session still works.
fn works(client: &Client) -> bool {
    match client.get("/auth/me").status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

#[test]
fn sessions_are_listed_and_ended_one_by_one() {
    let served = Served::new();
    let (here, there) = (served.admin(), served.admin());
    let other = served.user("other", "viewer");
    let me = here.get("/auth/me").json();
    assert_eq!(
        (me["name"].as_str(), me["role"].as_str(), me["credential"].as_str()),
        (Some("admin"), Some("admin"), Some("session"))
    );
    let mine = here.get("/auth/sessions").json();
    let ids: Vec<&str> = mine.as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert!(ids.len() >= 2 && ids.iter().all(|id| id.starts_with("s-")), "{ids:?}");
    assert_eq!(mine.as_array().unwrap().iter().filter(|s| s["current"] == true).count(), 1);
    assert!(mine.as_array().unwrap().iter().all(|s| s["user"] == "admin" && s["address"] == "127.0.0.1"));
    let of = |client: &Client| client.get("/auth/me").json()["credential_id"].as_str().unwrap().to_string();
    let (id_there, id_other) = (of(&there), of(&other));
    assert_eq!(here.delete(&format!("/auth/sessions/{id_other}")).detail(), "Session not found", "another's");
    assert_eq!(here.delete(&format!("/auth/sessions/{id_there}")).status, 204);
    assert!(!works(&there) && works(&here) && works(&other));
    assert_eq!(other.get("/sessions").status, 403);
    let all = here.get("/sessions?limit=1");
    assert!(all.header("Link").is_some() && all.header("X-Total-Count").unwrap().parse::<u64>().unwrap() >= 2);
    assert_eq!(here.delete(&format!("/sessions/{id_other}")).status, 204);
    assert_eq!((works(&other), here.delete(&format!("/sessions/{id_other}")).status), (false, 404));
    assert_eq!(here.get("/auth/logout").status, 303);
    assert!(!works(&here), "a session is over when its user signs out");
}

#[test]
fn a_session_ends_when_nobody_uses_it_and_only_so_many_stay() {
    let mut served = Served::with(|c| c.auth_session_idle_s = 3600);
    let (idle, used) = (served.admin(), served.admin());
    let id = idle.get("/auth/me").json()["credential_id"].as_str().unwrap().to_string();
    // The server writes what it has in memory when it stops, and then only the row tells.
    served.restart();
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    assert_eq!(
        database.execute("UPDATE sessions SET last_seen_at = last_seen_at - 3601000000 WHERE id = ?1", [&id]).unwrap(),
        1
    );
    let at = |client: &Client| Client { token: client.token.clone(), ..served.anonymous() };
    assert!(!works(&at(&idle)) && works(&at(&used)));
    for _ in 0..100 {
        served.admin();
    }
    assert!(!works(&at(&used)), "the oldest goes");
    assert_eq!(served.admin().get("/auth/sessions").header("X-Total-Count"), Some("100"));
}

#[test]
fn the_first_password_is_for_this_machine_only() {
    let served = Served::proxied(|_| ());
    let far = "203.0.113.9";
    let code_file = served.config.data_dir.join("keys/setup-code");
    let code = std::fs::read_to_string(&code_file).unwrap();
    assert_eq!(served.server.as_ref().unwrap().setup_code().as_deref(), Some(code.trim()));
    assert_eq!((code.trim().len(), code.matches('-').count()), (23, 3));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&code_file).unwrap().permissions().mode() & 0o777, 0o600);
    let local = served.admin();
    assert_eq!(local.get("/nodes").status, 200);
    let refused = local.from(far, "GET", "/nodes", &json!(null));
    assert_eq!(
        (refused.status, refused.detail().starts_with("Change your password first")),
        (403, true),
        "used from elsewhere"
    );
    let signed_in =
        served.anonymous().from(far, "POST", "/auth/token", &json!({"username": "admin", "password": "uptime"}));
    assert_eq!(signed_in.status, 200);
    let json = signed_in.json();
    assert_eq!((json["must_change_password"].as_bool(), json["needs_setup_code"].as_bool()), (Some(true), Some(true)));
    let remote = Client { token: json["session_token"].as_str().map(String::from), ..served.anonymous() };
    for (method, path, status) in [
        ("GET", "/nodes", 403),
        ("GET", "/no/such", 403),
        ("POST", "/users", 403),
        ("GET", "/events/stream", 403),
        ("GET", "/metrics", 401),
        ("GET", "/ui", 303),
        ("GET", "/ui/settings", 200),
        ("GET", "/auth/me", 200),
    ] {
        assert_eq!(remote.from(far, method, path, &json!(null)).status, status, "{method} {path}");
    }
    assert_eq!(remote.from(far, "GET", "/ui", &json!(null)).header("Location"), Some("/ui/settings"));
    let page = remote.from(far, "GET", "/ui/settings", &json!(null)).text();
    assert!(page.contains("name=\"setup_code\"") && !page.contains("Where you are signed in"), "{page}");
    assert!(!local.get("/ui/settings").text().contains("setup_code"));
    let change = |code: &str| {
        let body = json!({"current_password": "uptime", "new_password": "a better password", "setup_code": code});
        remote.from(far, "POST", "/auth/password", &body)
    };
    assert_eq!(
        (change("").status, change("AAAAA-AAAAA-AAAAA-AAAAA").detail().as_str()),
        (403, "The setup code is wrong.")
    );
    let changed = change(&code.trim().to_lowercase().replace('-', " "));
    assert_eq!(changed.status, 200, "{}", changed.text());
    let token = changed.json()["session_token"].as_str().map(String::from);
    assert_eq!(Client { token, ..served.anonymous() }.from(far, "GET", "/nodes", &json!(null)).status, 200);
    assert!(!code_file.exists() && served.server.as_ref().unwrap().setup_code().is_none());
    assert_eq!(local.get("/auth/me").status, 401);
}

#[test]
fn wrong_setup_codes_lock_the_address() {
    let served = Served::proxied(|_| ());
    let remote = served.admin();
    let body = json!({"current_password": "uptime", "new_password": "a better password", "setup_code": "wrong"});
    let statuses: Vec<u16> =
        (0..6).map(|_| remote.from("203.0.113.9", "POST", "/auth/password", &body).status).collect();
    assert_eq!(statuses, [403, 403, 403, 403, 403, 429]);
}
