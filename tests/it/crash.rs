//! `kill -9` under write load, again and again: what was acknowledged is there, and the database is sound.

use crate::program::Running;
use crate::support::{Client, Dir, kills, until};
use serde_json::json;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const WRITERS: usize = 4;

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let dir = Dir::new();
    let acknowledged = Mutex::new(Vec::new());
    let mut session = None;
    // A small generator with a fixed seed, so that a failure can be repeated.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let rounds = kills(15);
    for round in 0..rounds {
        let (mut server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0", "--log-file", ""]);
        let admin = match session.take() {
            Some(token) => Client { token: Some(token), ..client },
            None => client.signed_in("admin", "uptime"),
        };
        session.clone_from(&admin.token);
        check(&admin, &acknowledged.lock().unwrap());
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let target = acknowledged.lock().unwrap().len() + 1 + (random % 60) as usize;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (admin, acknowledged, stop) = (&admin, &acknowledged, &stop);
                scope.spawn(move || {
                    for i in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let id = format!("r{round}-w{writer}-{i}");
                        if admin.try_post("/nodes", &json!({"id": id, "name": id})).is_some_and(|a| a.status == 201) {
                            acknowledged.lock().unwrap().push(id);
                        }
                    }
                });
            }
            until("some writes are acknowledged", || (acknowledged.lock().unwrap().len() >= target).then_some(()));
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        let database = rusqlite::Connection::open(dir.join("data/app.db")).unwrap();
        let sound: String = database.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(sound, "ok", "round {round}");
    }
    let (_server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0", "--log-file", ""]);
    let acknowledged = acknowledged.into_inner().unwrap();
    check(&Client { token: session, ..client }, &acknowledged);
    assert!(acknowledged.len() >= rounds);
}

/// Every acknowledged node is there, with the event that was recorded in its transaction.
fn check(admin: &Client, acknowledged: &[String]) {
    let all = |path: &str, key: &dyn Fn(&serde_json::Value) -> String| {
        let mut found = std::collections::HashSet::new();
        let mut next = Some(path.to_string());
        while let Some(path) = next {
            let page = admin.get(&path);
            found.extend(page.json().as_array().unwrap().iter().map(key));
            next = page.header("Link").map(|l| l[1..l.find('>').unwrap()].to_string());
        }
        found
    };
    let nodes = all("/nodes", &|n| n["id"].as_str().unwrap().to_string());
    let events = all("/events?category=nodes&limit=1000", &|e| e["fields"]["node_id"].as_str().unwrap().to_string());
    for id in acknowledged {
        assert!(nodes.contains(id) && events.contains(id), "{id} is lost");
    }
    assert_eq!(nodes, events, "a node and its event are written together or not at all");
}
