//! How often somebody may call, and how much a refused one may write into the log.

use crate::node::Node;
use crate::program::Running;
use crate::support::{Answer, Client, Dir, Served, until};
use serde_json::json;
use std::time::Instant;

const BAD: &str = "203.0.113.9";

/// Uses up the 200 refusals that an address has, with five more each second. Gives the first answer that it must wait.
pub fn used_up(ask: impl Fn(usize) -> Answer) -> Answer {
    let began = Instant::now();
    for count in 0..2000 {
        let answer = ask(count);
        if answer.status == 429 {
            let most = 201.0 + 5.0 * began.elapsed().as_secs_f64();
            assert!(count >= 200 && count as f64 <= most, "{count} were refused, and {most} may be at most");
            return answer;
        }
        assert_eq!(answer.status, 401);
    }
    panic!("it may ask without end");
}

#[test]
fn an_address_that_is_refused_again_and_again_must_wait_and_its_neighbours_need_not() {
    let served = Served::proxied(|_| ());
    let admin = served.user("alice", "admin");
    let mut node = Node::joined(&admin, "n1");
    let stranger = Client { token: Some("not.genuine".into()), ..served.anonymous() };
    let ask = |client: &Client, address: &str| client.from(address, "GET", "/nodes", &json!(null));
    let refused = used_up(|_| ask(&stranger, BAD));
    assert_eq!(
        (refused.header("Retry-After"), refused.detail().as_str()),
        (Some("1"), "Too many requests. Try again in 1s.")
    );
    assert_eq!(
        served.anonymous().from(BAD, "GET", "/health", &json!(null)).status,
        200,
        "what is open is open to the neighbours"
    );
    let sign_in = json!({"username": "alice", "password": "wrong"});
    assert_eq!(served.anonymous().from(BAD, "POST", "/auth/token", &sign_in).status, 401, "a neighbour may sign in");
    assert_eq!(ask(&admin, BAD).status, 200, "whoever is signed in goes on");
    node.signed_at = crate::node::epoch() + 1;
    let beat = node.body(node.signed_at, 45, "{}", "{}");
    let beaten = served.anonymous().send("POST", "/cluster/heartbeat", &[("X-Forwarded-For", BAD)], beat.as_bytes());
    assert_eq!(beaten.status, 200, "{}", beaten.text());
    let replayed = served.anonymous().send("POST", "/cluster/heartbeat", &[("X-Forwarded-For", BAD)], beat.as_bytes());
    assert_eq!(replayed.json()["reason"], "replayed", "a node may learn why it is refused");
    assert_eq!(ask(&stranger, "203.0.113.10").status, 401, "another address is another bucket");
    // All of a network of IPv6 is one address.
    used_up(|i| ask(&stranger, &format!("2001:db8::{i:x}")));
}

/// After a long absence a whole fleet behind one address is told why its heartbeats are refused, and renews.
#[test]
fn nodes_that_find_their_way_back_use_nothing_up() {
    let served = Served::proxied(|_| ());
    let admin = served.user("alice", "admin");
    let mut node = Node::joined(&admin, "n1");
    node.heartbeat(&admin, 45, &json!({}));
    let beat = node.body(node.signed_at, 45, "{}", "{}");
    let replay = |count: usize| {
        for _ in 0..count {
            let answer =
                served.anonymous().send("POST", "/cluster/heartbeat", &[("X-Forwarded-For", BAD)], beat.as_bytes());
            assert_eq!(answer.json()["reason"], "replayed");
        }
    };
    let health = || served.anonymous().from(BAD, "GET", "/health", &json!(null)).status;
    replay(50);
    assert!((0..1000).all(|_| health() == 200), "nothing of what the address has was used");
    // One that goes on for ever uses up what its address has, and is still told why.
    replay(300);
    assert_eq!((0..300).map(|_| health()).max(), Some(429));
}

#[test]
fn nobody_may_call_so_often_and_somebody_more() {
    let served = Served::proxied(|c| c.requests_per_second_max = 1);
    let admin = served.admin();
    let statuses: Vec<u16> = (0..15).map(|_| admin.get("/auth/me").status).collect();
    let answered = statuses.iter().filter(|s| **s == 200).count();
    assert!((10..=12).contains(&answered) && statuses.iter().all(|s| [200, 429].contains(s)), "{statuses:?}");
    let other = served.admin();
    assert_eq!(other.get("/auth/me").status, 200, "another session is another caller");
    let mut open: Vec<u16> =
        (0..2000).map(|_| served.anonymous().from(BAD, "GET", "/health", &json!(null)).status).collect();
    let answered = open.iter().filter(|s| **s == 200).count();
    open.sort_unstable();
    open.dedup();
    assert!(answered >= 1000 && open == [200, 429], "{answered} {open:?}");
    assert_eq!(other.from(BAD, "GET", "/health", &json!(null)).status, 200);
}

#[test]
fn a_refused_client_cannot_fill_the_log() {
    let dir = Dir::new();
    let (server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    for _ in 0..150 {
        client.get("/nodes");
    }
    client.get("/health");
    let log = until("the last is logged", || Some(server.logged()).filter(|l| l.contains("path: /health")));
    let lines = log.matches("path: /nodes").count();
    assert!((50..=70).contains(&lines), "{lines}");
    until("what was left out is told", || {
        client.get("/nodes");
        server
            .logged()
            .lines()
            .find(|l| l.contains("log.left_out") && l.contains("address: 127.0.0.1 | lines: "))
            .map(drop)
    });
}
