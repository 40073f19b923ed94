//! The pages in a real browser. A complaint on its console, of a violated policy or of a script, fails the test.

use crate::node::Node;
use crate::program::{Running, ok};
use crate::support::{Client, Dir, Served, USER_PASSWORD, until};
use crate::webdriver::Browser;
use serde_json::json;
use std::time::Duration;

/// How long a page may take to say that a silent node is dead: a minute after it is stale, and a busy machine.
const AFTER_STALE: Duration = Duration::from_secs(100);

fn sign_in(browser: &Browser, user: &str, password: &str) {
    browser.fill("username", user);
    browser.fill("password", password);
    browser.click("Sign in");
}

#[test]
fn an_operator_works_a_day_in_the_browser() {
    let (served, elsewhere) = (Served::new(), Dir::new());
    let client = served.anonymous();
    let browser = Browser::start(client.address);
    // A deep link survives the sign-in.
    browser.goto("/ui/nodes?sort=state");
    browser.is_at("/auth/login?next=%2Fui%2Fnodes%3Fsort%3Dstate");
    sign_in(&browser, "admin", "uptime");
    browser.is_at("/ui/nodes?sort=state");
    browser.sees("No nodes yet");

    // A machine joins while the page watches.
    browser.click("Add a node");
    browser.click("Create a join string");
    browser.sees("Copy it now");
    let shown = browser.js("return document.getElementById('join-command').textContent");
    let command = shown.as_str().unwrap().lines().next().unwrap().replace("NAME", "node-b");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    ok(elsewhere.path(), &words);
    let url = format!("http://{}", client.address);
    let agent = |name: &str| {
        Running::start(elsewhere.path(), name, &["agent", "--node-id", "node-b", "--api-url", &url, "--ttl", "10"])
    };
    let first = agent("agent-1");
    browser.sees("node-b has joined");
    browser.click("node-b");
    browser.sees("alive");
    browser.is_quiet();

    // It falls silent, and the page says so without being loaded anew.
    browser.js("window.mark = 1");
    drop(first);
    browser.sees("1 stale");
    assert!(browser.js("return document.title").as_str().unwrap().starts_with("● 1 stale · node-b · Nodes"));
    browser.sees_within("1 dead", AFTER_STALE);
    assert!(browser.js("return document.title").as_str().unwrap().starts_with("● 1 dead · node-b · Nodes"));
    let second = agent("agent-2");
    browser.sees("1 alive");
    assert_eq!(browser.js("return window.mark"), 1);

    // A service, with a fault first.
    browser.goto("/ui/services");
    browser.click("New service");
    browser.fill("id", "web");
    browser.fill("spec", "{\n\"ports\": [0],\n\"scheduling\": {\"desired_replicas\": 1}\n}");
    browser.click("Create the service");
    browser.sees("Input should be greater than or equal to 1");
    let line = browser.js("return document.querySelector('.fault').previousSibling.textContent");
    assert_eq!(line, "\"ports\": [0],");
    browser.complaints();
    browser.fill("spec", "{\"driver\": \"none\", \"image\": \"nginx\", \"scheduling\": {\"desired_replicas\": 1}}");
    browser.click("Create the service");
    browser.sees("Service created");
    browser.sees("1 of 1");

    // Out and back.
    browser.click("Roll out");
    browser.sees("Generation 2 is created with the same spec.");
    browser.click("Roll out");
    browser.sees("Rollout started");
    browser.sees("Rolling out generation 2: 0 of 1 replicas run it.");
    browser.click("Edit spec");
    browser.fill("spec", "{\"driver\": \"none\", \"image\": \"nginx:2\", \"scheduling\": {\"desired_replicas\": 1}}");
    browser.click("Save as a new generation");
    browser.sees("Spec saved");
    browser.goto("/ui/services/web/revisions/1");
    browser.sees("-   \"image\": \"nginx:2\"");
    browser.click("Roll back");
    browser.sees("Earlier spec restored");
    browser.click("Explain");
    browser.sees("choice 1");
    browser.is_quiet();

    // A plan, looked at and applied.
    browser.goto("/ui/scheduler");
    browser.js("document.querySelector('[name=mode]').value = 'manual'");
    browser.click("Set mode");
    browser.sees("The scheduler is manual");
    browser.goto("/ui/services/web/spec");
    browser.fill("spec", "{\"driver\": \"none\", \"image\": \"nginx\", \"scheduling\": {\"desired_replicas\": 2}}");
    browser.click("Save as a new generation");
    browser.sees("1 of 2");
    browser.goto("/ui/scheduler");
    browser.sees("scale up");
    browser.click("Apply all");
    browser.sees("Confirming creates a new plan");
    browser.click("Apply all");
    browser.sees("Plans applied.");
    assert_eq!(served.admin().get("/replicas").json().as_array().unwrap().len(), 2);

    // The node is drained, and all of it is taken away.
    browser.goto("/ui/nodes/node-b/drain");
    browser.sees("2 replicas are placed there now.");
    browser.click("Drain");
    browser.sees("Draining: 2 replicas still here.");
    browser.goto("/ui/services/web/delete");
    browser.click("Delete");
    browser.sees("2 replicas of this service are there");
    browser.complaints();
    browser.tick("force");
    browser.click("Delete");
    browser.sees("Service deleted.");
    drop(second);
    browser.goto("/ui/nodes/node-b");
    browser.sees("Drained: no replicas are left here.");
    browser.click("Delete");
    browser.sees("its identity revoked");
    browser.click("Delete");
    browser.sees("Node deleted.");
    browser.sees("No nodes yet");

    // A token is made, works, and is taken back.
    browser.goto("/ui/settings/tokens");
    browser.fill("name", "deploy");
    browser.click("Create a token");
    browser.sees("Token created.");
    let secret = browser.js("return document.getElementById('secret').textContent").as_str().unwrap().to_string();
    let program = Client { token: Some(secret), ..client.clone() };
    assert_eq!(program.get("/nodes").status, 200);
    browser.click("Delete");
    browser.sees("Programs that use this token");
    browser.click("Delete");
    browser.sees("Token revoked");
    assert_eq!(program.get("/nodes").status, 401);
    browser.click("Sign out admin");
    browser.is_at("/auth/login");
    browser.goto("/ui/nodes");
    browser.is_at("/auth/login?next=%2Fui%2Fnodes");
    browser.is_quiet();
}

#[test]
fn events_come_by_themselves_and_a_theme_stays() {
    let served = Served::new();
    let admin = served.user("alice", "admin");
    let browser = Browser::start(admin.address);
    browser.goto("/ui/events");
    sign_in(&browser, "alice", USER_PASSWORD);
    browser.sees("user.create");
    browser.sees("· live");
    let count =
        |browser: &Browser| browser.js("return document.querySelectorAll('.feed > li').length").as_u64().unwrap();
    let before = count(&browser);
    for i in 0..70 {
        assert_eq!(
            admin
                .post("/events", &json!({"category": "deploys", "name": format!("deploy.{i}"), "level": "info"}))
                .status,
            201
        );
    }
    browser.sees("deploy.69");
    browser.sees("deploy.0");
    assert_eq!(count(&browser), before + 70, "more than a page came at once, and nothing is lost or twice");
    // Who reads further down is not pushed about.
    browser.js("scrollTo(0, 1000)");
    let top = browser.js("return scrollY");
    admin.post("/events", &json!({"category": "deploys", "name": "deploy.late", "level": "info"}));
    browser.sees("1 new event");
    assert_eq!(browser.js("return scrollY"), top);
    assert!(!browser.text().contains("deploy.late"));
    browser.click("1 new event");
    browser.sees("deploy.late");
    for theme in ["light", "dark", "auto"] {
        let before = browser.js("return document.documentElement.dataset.theme");
        let button = format!("Theme: {}", before.as_str().unwrap().replace("auto", "system"));
        browser.click(&button);
        until("the theme is chosen", || {
            (browser.js("return document.documentElement.dataset.theme") == theme).then_some(())
        });
        browser.is_at("/ui/events");
    }
    // Signed out elsewhere: the page leads to the sign-in.
    let sessions = admin.get("/auth/sessions").json();
    let of_browser = sessions.as_array().unwrap().iter().find(|s| s["current"] == false).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_string();
    assert_eq!(admin.delete(&format!("/auth/sessions/{of_browser}")).status, 204);
    browser.sees_within("Sign in", Duration::from_secs(30));
    browser.is_at("/auth/login?next=%2Fui%2Fevents");
}

#[test]
fn a_new_user_changes_the_password_first_and_needs_no_scripts() {
    let served = Served::new();
    let admin = served.admin();
    assert_eq!(
        admin.post("/users", &json!({"name": "bob", "role": "operator", "password": "a first password"})).status,
        201
    );
    admin.post("/nodes", &json!({"id": "n1", "name": "n1"}));
    let browser = Browser::start(admin.address);
    browser.goto("/auth/login");
    browser.scripts(false);
    browser.goto("/ui/nodes/n1");
    sign_in(&browser, "bob", "a first password");
    browser.sees("Change your password before you continue");
    browser.is_at("/ui/settings");
    browser.fill("current_password", "a first password");
    browser.fill("new_password", "a second password");
    browser.click("Change password");
    browser.sees("Password changed.");
    browser.goto("/ui/nodes/n1");
    browser.click("Cordon");
    browser.sees("No new replica is placed on this node.");
    browser.click("Cordon");
    browser.sees("Node cordoned.");
    browser.click("Uncordon");
    browser.sees("The node may take replicas again.");
    browser.click("Uncordon");
    browser.sees("Node uncordoned. It takes replicas again.");
    browser.click("Theme: system");
    browser.sees("Theme: light");
    assert_eq!(browser.js("return document.getElementById('stream').hidden"), true, "nothing ran");
    browser.click("Sign out bob");
    browser.is_at("/auth/login");
    browser.is_quiet();
}

/// Text that would be markup, break out of an attribute, or turn the text around it.
const HOSTILE: &str =
    "</textarea></script><img src=x onerror=\"window.hacked=1\">'\"&amp;\u{202e}\u{5d0}\u{5d1}\u{2066}{name}";

/// A cluster with such text in every field that takes any, and the path of every page that shows it.
fn hostile() -> (Served, Client, Vec<String>) {
    // Each page that is left behind reads the stream until the server notices.
    let served = Served::with(|config| config.connections_per_address_max = 500);
    let admin = served.user("alice", "admin");
    // The plan stays one, so that it is seen, and its node alive until the end.
    assert_eq!(admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"})).status, 200);
    let long = "n".repeat(64);
    let name = format!("<b onclick='x'>&\"{}", "\u{5d0}".repeat(100));
    assert_eq!(Node::joined(&admin, &long).heartbeat(&admin, 300, &json!({})).status, 200);
    let status = json!({"wg_primary_tunnel": HOSTILE, "wg_secondary_tunnel": {"state": HOSTILE, "x": HOSTILE},
        HOSTILE: HOSTILE});
    assert_eq!(admin.patch(&format!("/nodes/{long}"), &json!({"status": status})).status, 200);
    let labels = json!({"zone": HOSTILE, "<i>": "x".repeat(256)});
    assert_eq!(
        admin.patch(&format!("/nodes/{long}"), &json!({"name": name, "labels": labels, "roles": ["<i>\"'"]})).status,
        200
    );
    let spec = json!({"image": HOSTILE, "scheduling": {"desired_replicas": 2, "anti_affinity": false}});
    let service = json!({"id": "s".repeat(64), "name": name, "description": HOSTILE, "spec": spec});
    assert_eq!(admin.post("/services", &service).status, 201);
    let replica = json!({"id": "r".repeat(64), "service_id": "s".repeat(64), "node_id": long, "status": {"state": HOSTILE, HOSTILE: HOSTILE}});
    assert_eq!(admin.post("/replicas", &replica).status, 201);
    let event = json!({"category": "<i>mine", "name": "<i>\"'", "level": "<i>\"", "fields": {HOSTILE: HOSTILE,
        "node_id": HOSTILE}});
    assert_eq!(admin.post("/events", &event).status, 201);
    assert_eq!(admin.put("/cluster-settings/motd", &json!({"value": HOSTILE})).status, 200);
    assert_eq!(admin.post("/etcd/snapshots", &json!({"requested_by": "<i>\"'"})).status, 201);
    admin.post("/api-tokens", &json!({"name": name, "role": "viewer"}));
    let (node, service, replica) = (
        format!("/ui/nodes/{long}"),
        format!("/ui/services/{}", "s".repeat(64)),
        format!("/ui/replicas/{}", "r".repeat(64)),
    );
    let pages = vec![
        "/ui".to_string(),
        "/ui/nodes?q=%3Cb&role=%22".to_string(),
        "/ui/nodes".to_string(),
        node.clone(),
        format!("{node}/drain"),
        "/ui/add-node".to_string(),
        "/ui/services".to_string(),
        service.clone(),
        format!("{service}/spec"),
        format!("{service}/explain"),
        format!("{service}/revisions/1"),
        format!("{service}/delete"),
        "/ui/replicas".to_string(),
        replica.clone(),
        format!("{replica}/move"),
        "/ui/scheduler".to_string(),
        "/ui/scheduler/apply/-all".to_string(),
        "/ui/events".to_string(),
        "/ui/wireguard".to_string(),
        "/ui/support".to_string(),
        "/ui/docs".to_string(),
        "/ui/docs/services".to_string(),
        "/ui/docs/settings".to_string(),
        "/ui/docs/security".to_string(),
        "/ui/settings".to_string(),
        "/ui/settings/users".to_string(),
        "/ui/settings/tokens".to_string(),
        "/ui/settings/sessions".to_string(),
        "/ui/settings/cluster".to_string(),
        "/ui/settings/certificates".to_string(),
        "/ui/settings/certificates/rotate".to_string(),
        "/ui/settings/backups".to_string(),
        "/ui/settings/backups/create".to_string(),
    ];
    (served, admin, pages)
}

#[test]
fn hostile_words_stay_words_on_every_page() {
    let (_served, admin, pages) = hostile();
    let browser = Browser::start(admin.address);
    browser.goto("/ui");
    sign_in(&browser, "alice", USER_PASSWORD);
    for page in &pages {
        browser.goto(page);
        assert_eq!(browser.js("return window.hacked === undefined"), true, "{page}");
        assert_eq!(browser.js("return document.querySelectorAll('[onclick], main i, main img').length"), 0, "{page}");
        browser.is_quiet();
    }
    let service = format!("/ui/services/{}", "s".repeat(64));
    browser.goto("/ui/scheduler");
    browser.sees("scale up");
    browser.goto(&format!("{service}/spec"));
    let typed = browser.js("return JSON.parse(document.querySelector('textarea').value).image");
    assert_eq!(typed, HOSTILE, "what is edited is what was written");
}

/// What is wrong with a page's layout: wider than the window, beyond its edge, cut without a sign, or written over
/// other text.
const LAYOUT: &str = r"
const found = [], name = (e) => e.outerHTML.slice(0, 100);
const away = '.sr, .skip, input, option, textarea, noscript, script, title';
if (document.documentElement.scrollWidth > innerWidth) found.push('the page is wider than the window');
for (const e of document.querySelectorAll('body *')) {
  if (e.closest(away) || !e.checkVisibility()) continue;
  if (e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, svg, body > nav')) found.push('beyond the edge: ' + name(e));
  const style = getComputedStyle(e);
  if (/hidden|clip/.test(style.overflowX) && style.textOverflow !== 'ellipsis' && e.scrollWidth > e.clientWidth + 1) found.push('cut: ' + name(e));
}
const words = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; node = walker.nextNode();) {
  const e = node.parentElement, range = document.createRange();
  if (!node.data.trim() || e.closest(away) || !e.checkVisibility()) continue;
  range.selectNodeContents(node);
  const frame = e.closest('.scroll, pre, body > nav ul')?.getBoundingClientRect();
  const picture = e.closest('svg')?.getBoundingClientRect();
  for (const r of range.getClientRects()) {
    if (picture && (r.left < picture.left - 1 || r.right > picture.right + 1)) found.push('beyond the picture: ' + name(e));
    const box = { e, text: node.data.trim(), left: Math.max(r.left, frame?.left ?? r.left), right: Math.min(r.right, frame?.right ?? r.right), top: r.top, bottom: r.bottom };
    if (box.right > box.left) words.push(box);
  }
}
words.sort((a, b) => a.top - b.top);
words.forEach((a, i) => {
  for (let j = i + 1; j < words.length && words[j].top < a.bottom - 5; j++) {
    const b = words[j];
    if (a.e !== b.e && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 && Math.min(a.bottom, b.bottom) - b.top > 5) found.push('over one another: ' + a.text.slice(0, 50) + ' | ' + b.text.slice(0, 50));
  }
});
return [...new Set(found)].slice(0, 10);";

#[test]
fn every_page_fits_every_width_and_can_be_read_by_everybody() {
    every_page_is_well("light");
}

#[test]
fn every_page_fits_and_can_be_read_in_the_dark_too() {
    every_page_is_well("dark");
}

fn every_page_is_well(theme: &str) {
    let (_served, admin, mut pages) = hostile();
    let browser = Browser::start(admin.address);
    // Every complaint at once: each is a page to be mended.
    let mut found = Vec::new();
    let mut look = |pages: &[String]| {
        for width in [360, 768, 1440] {
            browser.looks(width, theme);
            for page in pages {
                browser.goto(page);
                let wrong = browser.js(LAYOUT);
                if wrong != json!([]) {
                    found.push(format!("{page} at {width}, {theme}: {wrong:#}"));
                }
                if width != 768 {
                    found.extend(browser.axe().into_iter().map(|fault| format!("{page} at {width}, {theme}: {fault}")));
                }
                browser.keep_picture(&format!("{width}-{theme}{}", page.replace("/ui", "")));
            }
        }
    };
    look(&["/auth/login".to_string()]);
    browser.goto("/ui");
    sign_in(&browser, "alice", USER_PASSWORD);
    browser.is_at("/ui");
    pages.push("/ui/new-service".to_string());
    look(&pages);
    assert!(found.is_empty(), "{}", found.join("\n"));
    browser.is_quiet();
}

#[test]
fn what_the_pages_are_held_to_is_noticed() {
    let served = Served::new();
    let browser = Browser::start(served.anonymous().address);
    let planted = |script: &str| {
        browser.goto("/auth/login");
        browser.is_quiet();
        browser.js(script);
    };
    // The policy forbids it, and the console says so.
    planted("document.body.insertAdjacentHTML('beforeend', '<p style=color:red>')");
    until("a complaint about the policy", || {
        browser.complaints().iter().any(|c| c.contains("Content Security Policy")).then_some(())
    });
    planted("setTimeout(() => { throw new Error('planted') })");
    until("a complaint about a script", || browser.complaints().iter().any(|c| c.contains("planted")).then_some(()));
    planted("document.querySelector('label').replaceWith(document.querySelector('[name=username]'))");
    assert!(browser.axe().iter().any(|fault| fault.starts_with("label:")), "{:?}", browser.axe());
    planted("document.querySelector('h1').style.marginBottom = '-40px'");
    assert!(browser.js(LAYOUT).to_string().contains("over one another"));
    planted("document.querySelector('h1').style.width = '3000px'");
    assert!(browser.js(LAYOUT).to_string().contains("wider than the window"));
}
