//! A server that people find below a path of a host: behind a proxy that takes the path off, and behind one that does
//! not.

use crate::machine::free_port;
use crate::node::Node;
use crate::program::{Running, ok};
use crate::proxies::nginx;
use crate::support::{Answer, Client, Dir, Served, USER_PASSWORD, until};
use crate::webdriver::Browser;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use uptimemesh::{Config, Server};

/// A server with these settings, behind a proxy of this machine.
fn served(settings: &[(&str, &str)]) -> Served {
    let dir = Dir::new();
    let data = dir.path().to_str().unwrap().to_string();
    let own = [
        ("DATA_DIR", data.as_str()),
        ("SERVER_HOST", "127.0.0.1"),
        ("SERVER_PORT", "0"),
        ("LOG_LEVEL", "WARNING"),
        ("LOG_FILE", ""),
        ("TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let env = own.iter().chain(settings).map(|(name, value)| (name.to_string(), value.to_string()));
    let config = Config::load(&[], env, None).unwrap_or_else(|faults| panic!("{faults:?}"));
    Served { server: Some(Server::start(config.clone()).unwrap()), config, dir }
}

/// nginx that shows a server below a path, by these lines.
struct Proxy {
    at: SocketAddr,
    _running: Running,
    _dir: Dir,
}

impl Proxy {
    fn start(served: &Served, pass: &str, more: &str) -> Proxy {
        let (dir, port) = (Dir::new(), free_port());
        let upstream = served.anonymous().address;
        let conf = format!(
            "server {{ listen 127.0.0.1:{port}; location / {{ return 418; }} location /mesh/ {{ proxy_pass \
                http://{upstream}{pass};\n\
             proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $remote_addr;\n\
             proxy_set_header X-Forwarded-Host $http_host; {more} }} }}\n"
        );
        fs::write(dir.join("conf"), conf).unwrap();
        let running = Running::of(nginx(&dir), dir.path(), "proxy");
        let proxy = Proxy { at: SocketAddr::from(([127, 0, 0, 1], port)), _running: running, _dir: dir };
        until("the proxy listens", || std::net::TcpStream::connect(proxy.at).ok());
        proxy
    }

    fn client(&self) -> Client {
        Client { address: self.at, token: None, tls: None }
    }
}

/// The three ways: the proxy says what it takes off, the setting says it, and nothing is taken off.
fn ways() -> Vec<(Served, Proxy)> {
    [
        (&[][..], "/", "proxy_set_header X-Forwarded-Prefix /mesh;"),
        (&[("BASE_PATH", "/mesh/")], "/", ""),
        (&[("BASE_PATH", "/mesh")], "", ""),
        (&[], "", "proxy_set_header X-Forwarded-Prefix /mesh/;"),
    ]
    .into_iter()
    .map(|(settings, pass, more)| {
        let served = served(settings);
        let proxy = Proxy::start(&served, pass, more);
        (served, proxy)
    })
    .collect()
}

/// Every path that a page leads to.
fn paths(page: &str) -> Vec<&str> {
    let attributes = [" href=\"", " src=\"", " action=\"", " data-watch=\"", " data-feed=\""];
    let all = attributes
        .iter()
        .flat_map(|attribute| page.split(attribute).skip(1))
        .map(|rest| rest.split('"').next().unwrap());
    all.filter(|path| path.starts_with('/')).collect()
}

#[test]
fn everything_that_leads_somewhere_leads_below_the_path() {
    for (served, proxy) in ways() {
        let (client, admin) = (proxy.client(), served.user("alice", "admin"));
        let to = |answer: &Answer| (answer.status, answer.header("Location").unwrap_or_default().to_string());
        assert_eq!(to(&client.get("/mesh/")), (307, "/mesh/ui".into()));
        assert_eq!(to(&client.get("/mesh/ui/nodes?a=b")), (303, "/mesh/auth/login?next=%2Fui%2Fnodes%3Fa%3Db".into()));
        for next in ["/ui/nodes?a=b", "/mesh/ui/nodes?a=b"] {
            let form = format!(
                "username=alice&password={}&next={}",
                USER_PASSWORD.replace(' ', "+"),
                next.replace('?', "%3F")
            );
            let login = client.send("POST", "/mesh/auth/login", &[], form.as_bytes());
            assert_eq!(to(&login), (303, "/mesh/ui/nodes?a=b".into()), "{}", login.text());
            let set: Vec<&str> =
                login.headers.iter().filter(|(n, _)| n == "Set-Cookie").map(|(_, v)| v.as_str()).collect();
            assert!(set.len() == 2 && set.iter().all(|cookie| cookie.contains("; Path=/mesh; ")), "{set:?}");
        }
        for away in [
            "/mesh//evil.example",
            "/mesh/%2fevil.example",
            "/mesh/\\evil.example",
            "//evil.example",
            "https://evil.example",
        ] {
            let form = format!("username=alice&password={}&next={away}", USER_PASSWORD.replace(' ', "+"));
            assert_eq!(to(&client.send("POST", "/mesh/auth/login", &[], form.as_bytes())).1, "/mesh/ui", "{away}");
        }
        // Pages, and whatever is on them.
        for i in 0..3 {
            admin.post("/nodes", &json!({"id": format!("n{i}"), "name": format!("/ui/\"href=\"/{i}")}));
        }
        let signed_in = Client { token: admin.token.clone(), ..client.clone() };
        let page = |path: &str| signed_in.send("GET", path, &[("Accept", "text/html")], b"");
        for path in [
            "/ui",
            "/ui/nodes",
            "/ui/nodes/n1",
            "/ui/add-node",
            "/ui/events",
            "/ui/settings",
            "/ui/settings/users",
            "/ui/none",
            "/ui/nodes/n1/drain",
        ] {
            let page = page(&format!("/mesh{path}")).text();
            assert!(
                paths(&page).len() > 5 && paths(&page).iter().all(|path| path.starts_with("/mesh/")),
                "{path}: {:?}",
                paths(&page)
            );
        }
        for asset in paths(&client.get("/mesh/auth/login").text()).into_iter().filter(|path| !path.contains("/auth/")) {
            assert_eq!(client.get(asset).status, 200, "{asset}");
        }
        // The API.
        let cut = signed_in.get("/mesh/nodes?limit=2");
        assert_eq!(cut.header("Link"), Some("</mesh/nodes?limit=2&after=n1>; rel=\"next\""));
        assert_eq!(signed_in.get("/mesh/nodes?limit=2&after=n1").json().as_array().unwrap().len(), 1);
        assert_eq!(signed_in.get("/mesh/openapi.json").json()["servers"], json!([{"url": "/mesh"}]));
        let out = client.send("GET", "/mesh/auth/logout", &[("Cookie", "uptimemesh_session=x.y")], b"");
        assert_eq!(to(&out), (303, "/mesh/auth/login".into()));
        assert!(out.header("Set-Cookie").unwrap().contains("; Path=/mesh; Max-Age=0"));
        // Without the proxy it is where it was.
        assert_eq!(admin.get("/nodes").status, 200);
    }
}

#[test]
fn without_a_base_path_nothing_is_other_than_it_was() {
    let plain = served(&[]);
    let client = plain.anonymous();
    let forged = client.send(
        "GET",
        "/auth/login",
        &[("X-Forwarded-Prefix", "//evil.example"), ("X-Forwarded-For", "192.0.2.1")],
        b"",
    );
    assert!(
        paths(&forged.text())
            .iter()
            .all(|path| path.starts_with("/static/") || path.starts_with("/favicon") || path.starts_with("/auth/"))
    );
    for bad in ["/a b", "mesh", "/..", "https://evil.example", "/\"><script>", "/%2f"] {
        let answer = client.send("GET", "/", &[("X-Forwarded-Prefix", bad), ("X-Forwarded-For", "192.0.2.1")], b"");
        assert_eq!(answer.header("Location"), Some("/ui"), "{bad}");
    }
    let two = client.send("GET", "/", &[("X-Forwarded-Prefix", "/a, /b/"), ("X-Forwarded-For", "192.0.2.1")], b"");
    assert_eq!(two.header("Location"), Some("/a/b/ui"), "two proxies");
    let untrusting = Served::new();
    let stranger = untrusting.anonymous().send(
        "GET",
        "/",
        &[("X-Forwarded-Prefix", "/mesh"), ("X-Forwarded-For", "192.0.2.1")],
        b"",
    );
    assert_eq!(stranger.header("Location"), Some("/ui"), "a stranger is not believed");
    assert_eq!(client.get("/mesh/health").status, 401, "and has no path of its own");
    assert!(served_fails("/ui").contains("BASE_PATH") && served_fails("/nodes/a").contains("BASE_PATH"));
    assert!(plain.admin().get("/openapi.json").json().get("servers").is_none());
}

fn served_fails(base: &str) -> String {
    let dir = Dir::new();
    let env = [("DATA_DIR", dir.path().to_str().unwrap()), ("SERVER_PORT", "0"), ("LOG_FILE", ""), ("BASE_PATH", base)];
    let config = Config::load(&[], env.map(|(name, value)| (name.to_string(), value.to_string())), None)
        .unwrap_or_else(|f| panic!("{f:?}"));
    Server::start(config).err().unwrap().to_string()
}

#[test]
fn the_command_line_and_the_agent_call_below_the_path() {
    for (served, proxy) in ways().into_iter().step_by(2) {
        let admin = served.user("alice", "admin");
        // More than one page of a list.
        for _ in 0..1001 {
            assert_eq!(admin.post("/cluster/join-tokens", &json!({"role": "worker"})).status, 201);
        }
        let dir = Dir::new();
        let url = format!("http://{}/mesh", proxy.at);
        let login = ["--username", "alice", "--password", USER_PASSWORD];
        let tokens = ok(dir.path(), &[&["join-tokens", "--json", "--api-url", &url][..], &login].concat());
        assert_eq!(serde_json::from_str::<Value>(&tokens).unwrap().as_array().unwrap().len(), 1001);
        let token = admin.post("/cluster/join-tokens", &json!({"role": "worker"})).json()["token"]
            .as_str()
            .unwrap()
            .to_string();
        ok(dir.path(), &["join", "--api-url", &url, "--token", &token, "--node-id", "w1", "--role", "worker"]);
        let _agent =
            Running::start(dir.path(), "agent", &["agent", "--node-id", "w1", "--api-url", &url, "--ttl", "10"]);
        until("it beats", || (admin.get("/cluster/leases").json()[0]["lease_state"] == "alive").then_some(()));
        until("the agent's status is there", || admin.get("/nodes/w1").json()["status"].get("version").cloned());
        let examined = crate::doctor::ask(dir.path(), &["--node-id", "w1", "--api-url", &url]);
        examined.has("control.node", "ok", "the control plane knows w1: lease alive", "");
    }
}

/// What a node signs is the path below the base path, whether the proxy takes that off or not.
#[test]
fn a_node_signs_its_calls_below_the_path() {
    for (served, proxy) in ways() {
        let node = Node::joined(&served.admin(), "n1");
        let target = "/node/self?a=b%20c&d=%2F";
        let answer = node.sign("GET", target, b"").send(&proxy.client(), "GET", &format!("/mesh{target}"), b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["proven_by"], "signature");
        let with_path = node.sign("GET", &format!("/mesh{target}"), b"").send(
            &proxy.client(),
            "GET",
            &format!("/mesh{target}"),
            b"",
        );
        assert_eq!(with_path.json()["reason"], "bad_signature");
    }
}

#[test]
fn a_browser_lives_below_the_path() {
    for (served, proxy) in ways().into_iter().skip(1).step_by(2) {
        let admin = served.user("alice", "admin");
        let browser = Browser::below(&format!("http://{}/mesh", proxy.at));
        browser.goto("/ui/nodes?sort=state");
        browser.is_at("/mesh/auth/login?next=%2Fui%2Fnodes%3Fsort%3Dstate");
        browser.fill("username", "alice");
        browser.fill("password", USER_PASSWORD);
        browser.click("Sign in");
        browser.is_at("/mesh/ui/nodes?sort=state");
        browser.sees("live");
        // What happens is on the page without its being loaded anew: the stream and the fetch that follows go below the
        // path.
        browser.js("window.mark = 1");
        admin.post("/nodes", &json!({"id": "fresh", "name": "fresh"}));
        browser.sees("fresh");
        assert_eq!(browser.js("return window.mark"), 1);
        browser.click("fresh");
        browser.is_at("/mesh/ui/nodes/fresh");
        browser.click("Cordon");
        browser.click("Cordon");
        browser.is_at("/mesh/ui/nodes/fresh?done=cordon");
        browser.click("Theme: system");
        browser.sees("Theme: light");
        browser.click("Sign out alice");
        browser.is_at("/mesh/auth/login");
        browser.is_quiet();
    }
}

#[test]
fn a_silent_connection_is_kept_for_as_long_as_it_is_said() {
    use std::io::{Read, Write};
    let config = Config::load(&[], [("HTTP_IDLE_SECONDS".to_string(), "620".to_string())], None)
        .unwrap_or_else(|f| panic!("{f:?}"));
    assert!(config.effective().contains(&("HTTP_IDLE_SECONDS", "620".to_string())));
    let served = served(&[("HTTP_IDLE_SECONDS", "1")]);
    let mut silent = std::net::TcpStream::connect(served.anonymous().address).unwrap();
    silent.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    silent.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).expect("it is closed after a second, and not after 75");
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200"));
}
