//! Users: made, changed and removed by admins; what becomes of their sessions.

use crate::program::{Running, fails, ok};
use crate::support::{Client, Dir, Served, USER_PASSWORD, until};
use serde_json::json;
use std::fs;

#[test]
fn an_admin_makes_changes_and_removes_users() {
    let served = Served::new();
    let admin = served.admin();
    let body = json!({"name": "Alice", "role": "operator", "password": "a first password"});
    let made = admin.post("/users", &body);
    assert_eq!(made.status, 201, "{}", made.text());
    let user = made.json();
    assert_eq!(
        (user["name"].as_str(), user["role"].as_str(), user["must_change_password"].as_bool()),
        (Some("alice"), Some("operator"), Some(true))
    );
    assert!(!made.text().contains("password\":\"") && !made.text().contains("argon2"));
    assert_eq!(admin.post("/users", &body).detail(), "User name already exists");
    for (bad, fault) in [
        (
            json!({"name": "a b", "role": "viewer", "password": "12345678"}),
            r#"string_pattern_mismatch ["body","name"]"#,
        ),
        (json!({"name": "b", "role": "root", "password": "12345678"}), r#"string_pattern_mismatch ["body","role"]"#),
        (json!({"name": "b", "role": "viewer", "password": "1234567"}), r#"string_too_short ["body","password"]"#),
        (
            json!({"name": "b", "role": "viewer", "password": "x".repeat(1025)}),
            r#"string_too_long ["body","password"]"#,
        ),
        (json!({"name": "b", "role": "viewer"}), r#"missing ["body","password"]"#),
    ] {
        assert_eq!(admin.post("/users", &bad).faults(), [fault]);
    }
    assert_eq!(admin.get("/users/ALICE").json(), user);
    assert_eq!(admin.get("/users/nobody").detail(), "User not found");
    let names: Vec<_> = admin
        .get("/users")
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|u| u["name"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(names, ["admin", "alice"]);

    let alice = served.anonymous().signed_in("alice", "a first password");
    assert_eq!(alice.get("/nodes").status, 403);
    assert_eq!(alice.get("/auth/me").json()["must_change_password"], true);
    let change =
        |new: &str| alice.post("/auth/password", &json!({"current_password": "a first password", "new_password": new}));
    assert_eq!(change("a first password").status, 422, "the password that somebody else knows stays nobody's");
    let token = change("a second password").json()["session_token"].as_str().map(String::from);
    let alice = Client { token, ..served.anonymous() };
    assert_eq!((alice.get("/nodes").status, alice.post("/nodes", &json!({"id": "n", "name": "n"})).status), (200, 201));
    assert_eq!(alice.get("/users").status, 403);

    assert_eq!(admin.patch("/users/alice", &json!({"role": "viewer"})).json()["role"], "viewer");
    assert_eq!(alice.get("/auth/me").status, 401, "another role ends the sessions");
    let alice = served.anonymous().signed_in("alice", "a second password");
    assert_eq!(admin.patch("/users/alice", &json!({"role": "viewer"})).status, 200);
    assert_eq!(alice.get("/auth/me").status, 200, "the same role does not");
    assert_eq!(admin.send("PATCH", "/users/alice", &[("If-Match", "\"old\"")], br#"{"role": "admin"}"#).status, 412);

    assert_eq!(admin.post("/users/alice/password", &json!({"password": "a third password"})).status, 204);
    assert_eq!(alice.get("/auth/me").status, 401);
    let alice = served.anonymous().signed_in("alice", "a third password");
    assert_eq!(alice.get("/nodes").status, 403);
    assert_eq!(admin.delete("/users/alice").status, 204);
    assert_eq!((alice.get("/auth/me").status, admin.delete("/users/alice").status), (401, 404));
}

#[test]
fn the_cluster_keeps_an_admin() {
    let served = Served::new();
    let admin = served.admin();
    let only = "This is the only admin. Make another user an admin first.";
    assert_eq!(admin.patch("/users/admin", &json!({"role": "viewer"})).detail(), only);
    assert_eq!(
        (
            admin.delete("/users/admin").status,
            admin.post("/users/admin/password", &json!({"password": "12345678"})).status
        ),
        (409, 409)
    );
    let second = served.user("second", "admin");
    assert_eq!(second.patch("/users/admin", &json!({"role": "viewer"})).status, 200);
    assert_eq!(second.patch("/users/second", &json!({"role": "operator"})).detail(), only);
    assert_eq!(second.delete("/users/admin").status, 204);
    assert!(served.server.as_ref().unwrap().setup_code().is_none(), "no user has the initial password");
}

#[test]
fn the_write_guard_holds_users_too_but_takes_rights_away() {
    let served = Served::new();
    let admin = served.admin();
    let user = served.user("u", "viewer");
    admin.put("/cluster-settings/etcd_status", &json!({"value": "down"}));
    assert_eq!(admin.post("/users", &json!({"name": "v", "role": "viewer", "password": "12345678"})).status, 503);
    assert_eq!(admin.post("/api-tokens", &json!({"name": "t", "role": "viewer"})).status, 503);
    let id = user.get("/auth/me").json()["credential_id"].as_str().unwrap().to_string();
    assert_eq!(admin.delete(&format!("/sessions/{id}")).status, 204);
    served.anonymous().signed_in("u", USER_PASSWORD);
}

#[test]
fn the_command_line_manages_people_and_leaves_no_session_behind() {
    let dir = Dir::new();
    let (_server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let url = format!("http://{}", client.address);
    let run = |args: &[&str]| ok(dir.path(), &[args, &["--api-url", &url]].concat());
    fs::write(dir.join("pw"), "a password of alice\n").unwrap();
    assert!(run(&["user", "add", "alice", "--role", "operator", "--new-password-file", "pw"]).contains("alice"));
    assert!(run(&["users"]).contains("alice\toperator\ttrue\t"));
    assert!(run(&["user", "role", "alice", "viewer"]).contains("viewer"));
    run(&["user", "set-password", "alice", "--new-password-file", "pw"]);
    assert!(
        run(&["whoami", "--username", "alice", "--password-file", "pw", "--json"])
            .contains("\"must_change_password\": true")
    );
    let made: serde_json::Value =
        serde_json::from_str(&run(&["api-token", "create", "ci", "--role", "viewer", "--days", "7"])).unwrap();
    fs::write(dir.join("token"), made["token"].as_str().unwrap()).unwrap();
    assert!(
        run(&["nodes", "--api-token-file", "token"]).starts_with("NODE")
            || run(&["nodes", "--api-token-file", "token"]).contains("ID")
    );
    assert!(run(&["whoami", "--api-token-file", "token"]).contains("api_token"));
    let (status, said) = fails(dir.path(), &["users", "--api-token-file", "token", "--api-url", &url]);
    assert!(status == 1 && said.contains("Your role does not allow this."), "{said}");
    assert!(run(&["api-tokens"]).contains("ci\tadmin\tviewer\t"));
    run(&["api-token", "delete", made["id"].as_str().unwrap()]);
    run(&["user", "delete", "alice"]);
    let sessions: serde_json::Value = serde_json::from_str(&run(&["sessions", "--json"])).unwrap();
    assert!(sessions.as_array().unwrap().is_empty(), "commands leave none: {sessions}");
}

#[test]
fn beside_the_server_the_own_password_is_changed_without_the_current_one() {
    let dir = Dir::new();
    let (_server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let url = format!("http://{}", client.address);
    for new in ["a better password", "a much better password"] {
        fs::write(dir.join("new"), new).unwrap();
        ok(dir.path(), &["set-password", "--new-password-file", "new"]);
    }
    let failed = ok(dir.path(), &["event", "list", "--name", "auth.sign_in_failed", "--json"]);
    assert_eq!(failed.trim(), "[]", "no password was guessed");
    let me = ok(dir.path(), &["whoami", "--username", "admin", "--password-file", "new", "--json", "--api-url", &url]);
    assert!(me.contains("\"must_change_password\": false"), "{me}");
    // The current password is still required from elsewhere.
    let elsewhere = Dir::new();
    fs::write(elsewhere.join("new"), "another password").unwrap();
    let args = ["set-password", "--new-password-file", "new", "--api-url", &url];
    let (status, said) = fails(elsewhere.path(), &args);
    assert!(status == 1 && said.contains("there is no credential"), "{said}");
}

#[test]
fn a_lost_password_is_reset_on_the_servers_machine_while_it_runs() {
    let dir = Dir::new();
    let (_server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let admin = client.signed_in("admin", "uptime");
    let said = ok(dir.path(), &["admin", "reset-password"]);
    assert_eq!(admin.get("/nodes").status, 401, "a running server notices at once");
    let password = said.split("The new password of admin is ").nth(1).unwrap().lines().next().unwrap();
    let again = client.signed_in("admin", password);
    assert_eq!(again.get("/nodes").status, 200);
    assert!(!dir.join("data/keys/setup-code").exists());
    let event = &again.events("auth").into_iter().find(|e| e["name"] == "user.reset_password").unwrap();
    assert_eq!((event["actor"].as_str(), event["fields"]["username"].as_str()), (Some("system"), Some("admin")));
    fs::write(dir.join("pw"), "another password").unwrap();
    let other = again.post(
        "/users",
        &json!({"name": "other", "role": "admin", "password": "12345678", "must_change_password": false}),
    );
    assert_eq!(other.status, 201);
    let other = client.signed_in("other", "12345678");
    assert_eq!(other.delete("/users/admin").status, 204);
    let said = ok(dir.path(), &["admin", "reset-password", "--new-password-file", "pw"]);
    assert!(!said.contains("another password"), "{said}");
    assert_eq!(
        client.signed_in("admin", "another password").get("/users").status,
        200,
        "it is there again, as an admin"
    );
    let (status, said) = fails(dir.path(), &["admin", "reset-password", "--data-dir", "elsewhere"]);
    assert!(
        status == 1 && said.contains("There is no database at elsewhere/app.db") && !dir.join("elsewhere").exists(),
        "{said}"
    );
}

/// The hash of a password takes its time, and who asked for it may be removed meanwhile.
#[test]
fn whoever_is_removed_makes_nobody_afterwards() {
    let served = Served::new();
    let (admin, mallory) = (served.admin(), served.user("mallory", "admin"));
    std::thread::scope(|scope| {
        for i in 0..12 {
            let mallory = mallory.clone();
            let user = json!({"name": format!("m{i}"), "role": "admin", "password": "a long password"});
            scope.spawn(move || mallory.post("/users", &user).status);
        }
        // The first of them is made; the others wait for their turn.
        until("mallory makes somebody", || {
            (admin.get("/users/m0").status == 200 || admin.get("/users").json().as_array()?.len() > 2).then_some(())
        });
        assert_eq!(admin.delete("/users/mallory").status, 204);
    });
    let events = admin.events("auth");
    let deleted = events.iter().position(|e| e["name"] == "user.delete").unwrap();
    let by_mallory = |e: &serde_json::Value| e["name"] == "user.create" && e["actor"] == "user:mallory";
    assert!(events[..deleted].iter().all(|e| !by_mallory(e)), "newest first: {events:?}");
    assert!(events.iter().any(by_mallory));
}

#[test]
fn the_first_password_from_elsewhere_leaves_no_row_behind() {
    let served = Served::proxied(|_| ());
    let admin = served.admin();
    let before = admin.get("/sessions").json().as_array().unwrap().len();
    for _ in 0..3 {
        let answer = served.anonymous().from(
            "203.0.113.9",
            "POST",
            "/auth/token",
            &json!({"username": "admin", "password": "uptime"}),
        );
        assert_eq!((answer.status, &answer.json()["needs_setup_code"]), (200, &json!(true)));
    }
    assert_eq!(admin.get("/sessions").json().as_array().unwrap().len(), before);
}
