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
    assert_eq!(anonymous.send("GET", "/nodes", &[("Cookie", &format!("a=b; uptimemesh_session={token}; c=d"))], b"").status, 200);
    let mut forged = token.to_string();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    for bad in [forged.as_str(), "", ".", "a.b", "a.b.c", "%00", &"x".repeat(3000)] {
        let answer = anonymous.send("GET", "/nodes", &[("Cookie", &format!("uptimemesh_session={bad}"))], b"");
        assert_eq!((answer.status, answer.detail().as_str()), (401, "Authentication required"), "{bad}");
    }
    assert_eq!(anonymous.send("GET", "/nodes", &[("Cookie", "uptimemesh_session=\u{e9}")], b"").status, 400, "a cookie that is not ASCII");
    assert_eq!(anonymous.post("/auth/token", &json!({"username": "admin", "password": "wrong"})).detail(), "Invalid username or password.");
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
    assert!(wrong.text().contains("Invalid username or password.") && !wrong.text().contains("evil"), "{}", wrong.text());
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
    assert_eq!(here.post("/auth/password", &json!({"current_password": "uptime", "new_password": "short"})).status, 422);
    let changed = here.post("/auth/password", &json!({"current_password": "uptime", "new_password": "a better password"}));
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
                scope.spawn(move || client.post("/auth/token", &json!({"username": "admin", "password": "wrong"})).status)
            })
            .collect();
        for _ in 0..20 {
            assert_eq!(admin.get("/nodes").status, 200);
        }
        let statuses: Vec<u16> = flood.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(statuses.iter().all(|s| [401, 429].contains(s)), "{statuses:?}");
        assert!(statuses.iter().filter(|s| **s == 401).count() <= 5, "no more guesses than the limit, however many at once: {statuses:?}");
    });
}
