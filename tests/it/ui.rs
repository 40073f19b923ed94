//! The pages over plain sockets, as a browser without scripts sees them.

use crate::node::{Node, token};
use crate::support::{Answer, Client, Served, USER_PASSWORD, until};
use serde_json::json;
use std::time::Instant;

/// A browser that keeps its cookie and sends forms.
pub struct Visitor {
    client: Client,
    cookie: String,
}

impl Visitor {
    pub fn new(served: &Served, name: &str, role: &str) -> Visitor {
        served.user(name, role);
        let client = served.anonymous();
        let form = format!("username={name}&password={}", USER_PASSWORD.replace(' ', "+"));
        let answer = client.send("POST", "/auth/login", &[], form.as_bytes());
        assert_eq!(answer.status, 303, "{}", answer.text());
        let cookie = answer.header("Set-Cookie").unwrap().split(';').next().unwrap().to_string();
        Visitor { client, cookie }
    }

    fn get(&self, path: &str) -> Answer {
        self.client.send("GET", path, &[("Cookie", &self.cookie)], b"")
    }

    pub fn page(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    /// Sends a form with the token that every page carries.
    fn submit(&self, path: &str, fields: &str) -> Answer {
        let token = self
            .page("/ui")
            .split("name=\"csrf_token\" value=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_string();
        self.client.send("POST", path, &[("Cookie", &self.cookie)], format!("{fields}&csrf_token={token}").as_bytes())
    }

    /// Sends a form, and gives the page that it leads to.
    pub fn done(&self, path: &str, fields: &str) -> String {
        let answer = self.submit(path, fields);
        assert_eq!(answer.status, 303, "{path}: {}", answer.text());
        self.page(answer.header("Location").unwrap())
    }
}

#[test]
fn backups_are_made_and_removed_without_scripts() {
    let served = crate::backups::sealed();
    let visitor = Visitor::new(&served, "alice", "admin");
    let page = "/ui/settings/backups";
    assert!(visitor.page(page).contains("No backups yet"));
    assert!(visitor.page(&format!("{page}/create")).contains("It is encrypted with the server"));
    assert!(visitor.done(&format!("{page}/create"), "").contains("Backup created."));
    let made = visitor.page(page);
    let id = made.split("href=\"/backups/").nth(1).unwrap().split('/').next().unwrap();
    assert_eq!(visitor.get(&format!("/backups/{id}/download")).status, 200);
    assert!(visitor.page(&format!("{page}/{id}/delete")).contains("can no longer be restored to that moment"));
    assert!(visitor.done(&format!("{page}/{id}/delete"), "").contains("Backup deleted."));
    assert_eq!(visitor.get(&format!("{page}/{id}/delete")).status, 404);
    let viewer = Visitor::new(&served, "vera", "viewer");
    assert!(!viewer.page(page).contains("Create a backup"));
    assert_eq!(viewer.submit(&format!("{page}/create"), "").status, 403);
}

#[test]
fn a_revision_and_the_scheduler_offer_their_actions_to_operators() {
    let served = Served::new();
    let (operator, viewer) = (Visitor::new(&served, "otto", "operator"), Visitor::new(&served, "vera", "viewer"));
    let admin = served.admin();
    admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"}));
    let spec = json!({"scheduling": {"desired_replicas": 1}});
    admin.post("/nodes", &json!({"id": "n", "name": "n"}));
    admin.post("/services", &json!({"id": "web", "name": "web", "spec": spec}));
    admin.patch("/services/web", &json!({"spec": {"image": "b"}}));
    let revision = "/ui/services/web/revisions/1";
    assert!(operator.page(revision).contains("The spec of generation 1 becomes generation 3."));
    assert!(!viewer.page(revision).contains("What will happen"));
    assert_eq!(viewer.submit(revision, "").status, 403);
    // A refusal shows the form again.
    admin.put("/cluster-settings/etcd_status", &json!({"value": "down"}));
    let refused = operator.submit(revision, "");
    let text = refused.text();
    assert!(refused.status == 503 && text.contains("Roll back: web, generation 1"), "{} {text}", refused.status);
    assert!(text.contains("class=\"card confirm\"") && text.contains("disabled"), "{text}");
    admin.put("/cluster-settings/etcd_status", &json!({"value": "ok"}));
    assert!(operator.done(revision, "").contains("Earlier spec restored"));

    let links = ["/ui/scheduler/apply/-all\"", "/ui/scheduler/apply/-rebalance\"", "/ui/scheduler/apply/web\""];
    let shown = |visitor: &Visitor| links.map(|link| visitor.page("/ui/scheduler").contains(link));
    assert_eq!((shown(&operator), shown(&viewer)), ([true; 3], [false; 3]));
    admin.put("/cluster-settings/scheduler_mode", &json!({"value": "paused"}));
    assert_eq!(shown(&operator), [false; 3]);
}

#[test]
fn everything_can_be_done_without_scripts() {
    let served = Served::new();
    let visitor = Visitor::new(&served, "alice", "admin");
    let admin = served.anonymous().signed_in("alice", USER_PASSWORD);
    let mut node = Node::joined(&admin, "n1");
    assert_eq!(node.heartbeat(&admin, 45, &json!({"ready": true})).status, 200);
    // A node.
    assert!(visitor.page("/ui/nodes/n1/cordon").contains("No new replica is placed on this node."));
    assert!(visitor.done("/ui/nodes/n1/cordon", "").contains("Node cordoned."));
    assert!(visitor.page("/ui/nodes").contains("cordoned"));
    assert!(visitor.done("/ui/nodes/n1/uncordon", "").contains("takes replicas again"));
    assert!(visitor.done("/ui/nodes/n1/reboot-marker", "").contains("Reboot requested"));
    assert!(visitor.done("/ui/nodes/n1/rotate-wg-keys", "").contains("New keys requested"));
    let version = visitor
        .page("/ui/nodes/n1")
        .split("name=\"version\" value=\"")
        .nth(1)
        .unwrap()
        .split("\">")
        .next()
        .unwrap()
        .replace("&quot;", "%22");
    let labels = format!("labels=zone%3Da%0D%0Adisk+%3D+ssd&version={version}");
    assert!(visitor.done("/ui/nodes/n1/labels", &labels).contains("Labels saved."));
    assert_eq!(admin.get("/nodes/n1").json()["labels"], json!({"zone": "a", "disk": "ssd"}));
    let late = visitor.submit("/ui/nodes/n1/labels", &labels);
    assert_eq!((late.status, late.text().contains("has changed since it was read")), (412, true));
    let version = "version=*";
    let faulty = visitor.submit("/ui/nodes/n1/labels", &format!("labels=no+equals+sign&{version}"));
    assert_eq!(
        (faulty.status, faulty.text().contains("no equals sign</textarea>")),
        (400, true),
        "what was typed is still there"
    );
    // Lists find it.
    for (query, found) in [
        ("q=n1", true),
        ("q=nothing", false),
        ("label=zone%3Da", true),
        ("label=zone%3Db", false),
        ("state=dead", false),
        ("role=worker", true),
    ] {
        assert_eq!(visitor.page(&format!("/ui/nodes?{query}")).contains("href=\"/ui/nodes/n1\""), found, "{query}");
    }
    // A service.
    let made = visitor.done("/ui/new-service", "id=web&spec=%7B%22image%22%3A%22a%22%7D");
    assert!(made.contains("Service created."), "{made}");
    let broken = visitor.submit("/ui/services/web/spec", "version=*&spec=%7B%0A%22image%22%3A+x%7D");
    assert_eq!(broken.status, 422);
    let text = broken.text();
    assert!(text.find("&quot;image&quot;: x}</span><span class=\"fault\">").is_some(), "{text}");
    let smuggled = visitor.submit("/ui/services/web/spec", "version=*&spec=%7B%7D%2C%22id%22%3A%22x%22");
    assert_eq!(smuggled.status, 422, "a spec is one object and nothing after it");
    admin.post("/replicas", &json!({"id": "r1", "service_id": "web", "node_id": "n1"}));
    // A replica.
    assert!(visitor.page("/ui/replicas?service=web&node=n1").contains("r1"));
    for (action, said) in
        [("restart", "Restart requested."), ("snapshot", "Snapshot requested."), ("restore", "Restore requested.")]
    {
        assert!(visitor.done(&format!("/ui/replicas/r1/{action}"), "").contains(said), "{action}");
    }
    let nowhere = visitor.submit("/ui/replicas/r1/move", "target_node_id=none");
    assert_eq!((nowhere.status, nowhere.text().contains("Target node not found")), (404, true));
    assert!(visitor.done("/ui/replicas/r1/move", "target_node_id=n1").contains("moved to the other node"));
    assert!(visitor.done("/ui/replicas/r1/delete", "").contains("Replica deleted."));
    // Support.
    assert!(visitor.done("/ui/support/snapshots", "").contains("Snapshot requested"));
    assert!(visitor.done("/ui/support/bundles", "").contains("Support bundle requested"));
    let snapshot = admin.get("/etcd/snapshots").json()[0]["id"].as_str().unwrap().to_string();
    admin.patch(
        &format!("/etcd/snapshots/{snapshot}"),
        &json!({"status": "completed", "location": "https://files.example/s.db"}),
    );
    assert!(visitor.page("/ui/support").contains("<a href=\"https://files.example/s.db\">Download</a>"));
    let bundle = admin.get("/support-bundles").json()[0]["id"].as_str().unwrap().to_string();
    let link = format!("<a href=\"/support-bundles/{bundle}/download\">Download</a>");
    until("the bundle can be fetched", || visitor.page("/ui/support").contains(&link).then_some(()));
    assert_eq!(
        visitor.get(&format!("/support-bundles/{bundle}/download")).header("Content-Type"),
        Some("application/gzip")
    );
    assert!(visitor.done(&format!("/ui/support/bundles/{bundle}/delete"), "").contains("Request deleted."));
    assert!(!visitor.page("/ui").contains("the last one failed"));
    assert!(visitor.done("/ui/support/snapshots", "").contains("Snapshot requested"));
    let snapshot = admin.get("/etcd/snapshots").json()[0]["id"].as_str().unwrap().to_string();
    admin.patch(&format!("/etcd/snapshots/{snapshot}"), &json!({"status": "failed", "error": "no room"}));
    assert!(visitor.page("/ui").contains("the last one failed"));
    // People and settings.
    let short = visitor.submit("/ui/settings/users", "name=bob&role=viewer&password=short");
    assert_eq!(
        (short.status, short.text().contains("at least 8 characters"), short.text().contains("short")),
        (422, true, false)
    );
    assert!(
        visitor.done("/ui/settings/users", "name=bob&role=viewer&password=a+long+password").contains("User created")
    );
    assert!(visitor.done("/ui/settings/users/bob/role", "role=operator").contains("Role changed"));
    assert!(visitor.done("/ui/settings/users/bob/password", "password=another+password").contains("Password set"));
    assert!(visitor.done("/ui/settings/users/bob/delete", "").contains("User deleted."));
    let sessions = visitor.page("/ui/settings/sessions");
    let other =
        sessions.split("action=\"/ui/settings/sessions/").nth(1).unwrap().split('"').next().unwrap().to_string();
    assert!(visitor.done(&format!("/ui/settings/sessions/{other}"), "").contains("Session ended."));
    let admin = served.anonymous().signed_in("alice", USER_PASSWORD);
    let settings = visitor.page("/ui/settings/cluster");
    assert!(settings.contains("aria-label=\"scheduler_mode\"><option value=\"auto\" selected>"), "{settings}");
    assert!(
        settings
            .contains("aria-label=\"scheduler_brake\"><option value=\"on\" selected>on</option><option value=\"off\">")
    );
    let wrong = visitor.submit("/ui/settings/cluster", "key=scheduler_mode&value=asleep");
    assert_eq!((wrong.status, wrong.text().contains("should be one of: auto, manual, paused")), (422, true));
    assert!(visitor.done("/ui/settings/cluster", "key=etcd_status&value=down").contains("Writes are disabled"));
    let held = visitor.submit("/ui/nodes/n1/cordon", "");
    assert_eq!((held.status, held.text().contains("Cluster writes are disabled")), (503, true));
    visitor.done("/ui/settings/cluster", "key=etcd_status&value=ok");
    assert!(visitor.page("/ui/settings/certificates").contains("trust the current authority: 1 of 1."));
    // A machine that joins is seen by a page that loads itself anew.
    let shown = visitor.submit("/ui/add-node", "role=worker&ttl=1800&node_id=n2").text();
    let id = shown.split("data-watch=\"/ui/add-node/").nth(1).unwrap().split('"').next().unwrap().to_string();
    let watch = visitor.page(&format!("/ui/add-node/{id}"));
    assert!(watch.contains("<noscript><meta http-equiv=\"refresh\"") && !watch.contains("umj1:"));
    let token = shown.split("umj1:").nth(1).unwrap().split(':').nth(2).unwrap().to_string();
    assert_eq!(Node::new("n2").join(&admin, &token, json!({})).status, 200);
    let watch = visitor.page(&format!("/ui/add-node/{id}"));
    assert!(watch.contains("has joined") && !watch.contains("http-equiv"), "{watch}");
    assert!(visitor.done("/ui/nodes/n2/delete", "").contains("Node deleted."));
    let gone = visitor.get("/ui/nodes/n2");
    assert_eq!(
        (gone.status, gone.header("Content-Type"), gone.text().contains("Node not found")),
        (404, Some("text/html; charset=utf-8"), true)
    );
}

#[test]
fn whoever_may_only_look_is_offered_nothing_else() {
    let served = Served::new();
    let viewer = Visitor::new(&served, "eve", "viewer");
    served.admin().post("/nodes", &json!({"id": "n1", "name": "n1"}));
    served.admin().post("/services", &json!({"id": "web", "name": "web", "spec": {}}));
    for path in [
        "/ui",
        "/ui/nodes",
        "/ui/nodes/n1",
        "/ui/services",
        "/ui/services/web",
        "/ui/replicas",
        "/ui/scheduler",
        "/ui/support",
        "/ui/docs",
        "/ui/docs/backup",
        "/ui/settings/cluster",
    ] {
        let page = viewer.page(path);
        let main = page.split("<main").nth(1).unwrap();
        assert!(
            !main.contains("method=\"post\"") && !main.contains("/drain\"") && !main.contains("/delete\""),
            "{path}: {main}"
        );
        assert!(!main.contains("/ui/settings/users"), "{path}");
    }
    for (path, status) in
        [("/ui/nodes/n1/cordon", 403), ("/ui/new-service", 403), ("/ui/add-node", 403), ("/ui/settings/users", 403)]
    {
        assert_eq!(viewer.get(path).status, status, "{path}");
        assert_eq!(viewer.submit(path, "").status, status, "{path}");
    }
    // The choice of a theme is a cookie, and where it leads back to is a path of ours.
    let chosen = viewer.submit("/ui/theme", "theme=dark&back=//evil.example");
    assert_eq!(chosen.header("Location"), Some("/ui"));
    let cookie = format!("{}; {}", viewer.cookie, chosen.header("Set-Cookie").unwrap().split(';').next().unwrap());
    let dark = viewer.client.send("GET", "/ui", &[("Cookie", &cookie)], b"").text();
    assert!(dark.contains("data-theme=\"dark\""));
    let planted = format!("{}; uptimemesh_theme=\"><script>", viewer.cookie);
    assert!(viewer.client.send("GET", "/ui", &[("Cookie", &planted)], b"").text().contains("data-theme=\"auto\""));
}

#[test]
fn a_refused_page_is_a_page() {
    let served = Served::new();
    let viewer = Visitor::new(&served, "eve", "viewer");
    let html = Some("text/html; charset=utf-8");
    for (path, status, said) in [
        ("/ui/settings/users", 403, "This requires the role admin or a higher one; eve has the role viewer."),
        ("/ui/nodes/n1/drain", 403, "uptimemesh user role eve operator"),
        ("/ui/no/such/page", 404, "This page does not exist"),
        ("/ui/nodes/none", 404, "Node not found"),
    ] {
        let answer = viewer.get(path);
        assert_eq!((answer.status, answer.header("Content-Type")), (status, html), "{path}");
        let text = answer.text();
        assert!(text.contains(said) && text.contains("<nav") && text.contains("Sign out eve"), "{path}: {text}");
    }
    // A form that is not from a page of this session; and a method that a page does not have.
    let forged = viewer.client.send("POST", "/ui/theme", &[("Cookie", &viewer.cookie)], b"theme=dark");
    assert_eq!(
        (forged.status, forged.header("Content-Type"), forged.text().contains("go back, reload the page")),
        (403, html, true)
    );
    let other = viewer.client.send("DELETE", "/ui/nodes", &[("Cookie", &viewer.cookie)], b"");
    assert_eq!((other.status, other.header("Allow"), other.header("Content-Type")), (405, Some("GET, HEAD"), html));
    // Programs are told in JSON, as ever.
    let eve = served.anonymous().signed_in("eve", USER_PASSWORD);
    assert_eq!(eve.get("/users").json(), json!({"detail": "Your role does not allow this."}));
    assert_eq!(eve.get("/no/such").json(), json!({"detail": "Not Found"}));
    assert_eq!(
        eve.get("/ui/settings/users").json(),
        json!({"detail": "Your role does not allow this."}),
        "a page asked for by a program"
    );
    // Whoever calls too often is told so in words, too; nobody knows then who it is.
    let stranger = served.anonymous();
    let refused = (0..2000).map(|_| stranger.get("/ui/nodes")).find(|answer| answer.status == 429).expect("a refusal");
    assert_eq!(refused.header("Content-Type"), html);
    assert!(
        refused.header("Retry-After").is_some() && refused.text().contains("Too many requests"),
        "{}",
        refused.text()
    );
    assert!(!refused.text().contains("<nav"), "strangers see nothing of the cluster");
}

#[test]
fn the_authority_is_rotated_from_its_page() {
    let served = Served::new();
    let visitor = Visitor::new(&served, "alice", "admin");
    let admin = served.anonymous().signed_in("alice", USER_PASSWORD);
    Node::joined(&admin, "n1");
    let page = visitor.page("/ui/settings/certificates");
    assert!(
        page.contains("trust the current authority: 1 of 1. No rotation is in progress.")
            && !page.contains("drop-previous"),
        "{page}"
    );
    let ask = visitor.page("/ui/settings/certificates/rotate");
    assert!(ask.contains("Enrolled nodes (1) fetch it after their next heartbeats"), "{ask}");
    let before = admin.get("/cluster/ca").json()["current"].clone();
    let page = visitor.done("/ui/settings/certificates/rotate", "");
    assert!(
        page.contains("trust the current authority: 0 of 1.")
            && page.contains("href=\"/ui/nodes/n1\"")
            && page.contains("certificates/drop-previous"),
        "{page}"
    );
    assert_eq!(admin.get("/cluster/ca").json()["previous"], before);
    let again = visitor.submit("/ui/settings/certificates/rotate", "");
    assert_eq!((again.status, again.text().contains("Drop it first")), (409, true));
    // A node would be left behind: only who says so may do it.
    assert!(
        visitor.page("/ui/settings/certificates/drop-previous").contains("1 node does not have the new authority yet")
    );
    let early = visitor.submit("/ui/settings/certificates/drop-previous", "");
    assert_eq!((early.status, early.text().contains("1 of 1 nodes do not have the new authority yet")), (409, true));
    // It joins anew; an agent renews, which brings the same.
    assert_eq!(Node::new("n1").join(&admin, &token(&admin, "worker", Some("n1")), json!({})).status, 200);
    assert!(visitor.page("/ui/settings/certificates").contains("The rotation is complete"));
    let page = visitor.done("/ui/settings/certificates/drop-previous", "");
    assert!(page.contains("is no longer trusted") && page.contains("certificates/rotate"), "{page}");
    assert_eq!(admin.get("/cluster/ca").json()["previous"], json!(null));
    assert_eq!(visitor.get("/ui/settings/certificates/burn").status, 404);
    let operator = Visitor::new(&served, "olga", "operator");
    assert!(!operator.page("/ui/settings/certificates").contains("certificates/rotate"));
    assert_eq!(operator.submit("/ui/settings/certificates/rotate", "").status, 403);
}

#[test]
fn pages_show_what_a_node_reports() {
    let served = Served::new();
    let visitor = Visitor::new(&served, "alice", "admin");
    let admin = served.anonymous().signed_in("alice", USER_PASSWORD);
    let mut node = Node::joined(&admin, "n1");
    assert!(visitor.page("/ui/nodes/n1").contains("No load, memory or disk reported"));
    let report = json!({"load_1m": 1.5, "memory_total_bytes": 1000, "memory_available_bytes": 250});
    assert_eq!(node.heartbeat(&admin, 45, &report).status, 200);
    assert_eq!(node.heartbeat(&admin, 45, &json!({"load_1m": 3.25})).status, 200);
    let page = visitor.page("/ui/nodes/n1");
    assert!(page.contains("aria-label=\"Load: newest 3.25, lowest 3.25, highest 3.25\""), "{page}");
    assert!(
        page.contains("aria-label=\"Memory used: newest 75 %") && !page.contains("aria-label=\"Disk used"),
        "{page}"
    );
    assert!(page.contains("since the control plane") && page.contains("<path d=\"M143 24V"), "{page}");
    // What it tells of its tunnels, and what it does not.
    let tunnel =
        json!({"wg_primary_tunnel": {"state": "up", "last_handshake_at": "2026-01-02T03:04:05Z", "rx_bytes": 2048}});
    assert!(!visitor.page("/ui/wireguard").contains("2.0 KiB"));
    assert_eq!(node.heartbeat(&admin, 45, &tunnel).status, 200);
    let page = visitor.page("/ui/wireguard");
    assert!(page.contains("rx bytes 2.0 KiB") && page.contains("datetime=\"2026-01-02T03:04:05Z\""), "{page}");
    assert_eq!(page.matches("not reported").count(), 3, "the second tunnel, the route and the failover");
    // A node that comes back under a new identity is the same machine; one that was deleted is not.
    assert_eq!(Node::new("n1").join(&admin, &token(&admin, "worker", Some("n1")), json!({})).status, 200);
    assert!(visitor.page("/ui/nodes/n1").contains("newest 3.25"));
    assert!(visitor.done("/ui/nodes/n1/delete", "").contains("Node deleted."));
    Node::joined(&admin, "n1");
    assert!(!visitor.page("/ui/nodes/n1").contains("newest 3.25"));
}

#[test]
fn long_lists_are_small_pages_and_quick() {
    let served = Served::new();
    let visitor = Visitor::new(&served, "alice", "admin");
    let admin = served.anonymous().signed_in("alice", USER_PASSWORD);
    for i in 0..150 {
        let node = json!({"id": format!("node-{i:03}"), "name": format!("node-{i:03}.example"), "roles": ["worker"], "labels": {"zone": format!("z{}", i % 3), "disk": "ssd"}, "mesh_ip": "10.42.0.7"});
        assert_eq!(admin.post("/nodes", &node).status, 201);
    }
    assert_eq!(admin.post("/services", &json!({"id": "web", "name": "web", "spec": {}})).status, 201);
    for i in 0..150 {
        let replica =
            json!({"id": format!("web-replica-{i:08}"), "service_id": "web", "node_id": format!("node-{i:03}")});
        assert_eq!(admin.post("/replicas", &replica).status, 201);
    }
    for path in [
        "/ui",
        "/ui/nodes",
        "/ui/replicas",
        "/ui/services/web",
        "/ui/services/web/explain",
        "/ui/events",
        "/ui/wireguard",
        "/ui/scheduler",
    ] {
        let began = Instant::now();
        let page = visitor.page(path);
        println!("{path}: {} bytes in {:?}", page.len(), began.elapsed());
        assert!(page.len() < 50_000, "{path} has {} bytes", page.len());
    }
    let first = visitor.page("/ui/nodes?sort=name");
    assert!(first.contains("node-099.example") && !first.contains("node-100.example") && first.contains("page 1 of 2"));
    let second = visitor.page("/ui/nodes?page=2");
    assert!(second.contains("node-100.example") && second.contains("Previous page"));
    assert!(visitor.page("/ui/nodes?page=99").contains("page 2 of 2"));
    for asset in [("/static/app.js", 15_000), ("/static/style.css", 15_000)] {
        let body = served.anonymous().get(asset.0).body;
        assert!(body.len() < asset.1, "{} has {} bytes", asset.0, body.len());
    }
}

#[test]
fn room_is_said_on_the_nodes_page() {
    let served = Served::new();
    let admin = served.admin();
    admin.post(
        "/nodes",
        &json!({"id": "n", "name": "n", "status": {"capacity": {"cpu_millis": 4000, "memory_mb": 1000}}}),
    );
    let visitor = Visitor::new(&served, "olga", "operator");
    let page = || visitor.page("/ui/nodes/n");
    assert!(page().contains("4000 of 4000 CPU millis, 1000 of 1000 MB of memory"), "{}", page());
    let value = |name: &str| {
        page().split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap().split('"').next().unwrap().to_string()
    };
    let version = || value("version").replace("&quot;", "%22").replace("&#34;", "%22");
    let done = visitor.done(
        "/ui/nodes/n/room",
        &format!("version={}&reserve_cpu=25%25&reserve_memory=200&cpu=&memory=800", version()),
    );
    assert!(
        done.contains("Room for replicas saved.") && done.contains("3000 of 4000 CPU millis, 600 of 800 MB of memory"),
        "{done}"
    );
    assert_eq!(
        (value("reserve_cpu"), value("reserve_memory"), value("memory")),
        ("25%".into(), "200".into(), "800".into())
    );
    assert_eq!(visitor.submit("/ui/nodes/n/room", &format!("version={}&reserve_cpu=lots", version())).status, 422);
    assert_eq!(visitor.submit("/ui/nodes/n/room", "version=%22old%22&reserve_cpu=1").status, 412);
    let done = visitor.done("/ui/nodes/n/room", &format!("version={}&reserve_cpu=&memory=", version()));
    assert!(done.contains("4000 of 4000 CPU millis"), "{done}");
}
