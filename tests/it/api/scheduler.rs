//! `/scheduler`: plans, reconciles, and what holds while many act at once.

use crate::node::Node;
use crate::support::{Client, Served, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A cluster of nodes without leases, whose scheduler acts on request only.
fn cluster(nodes: usize) -> (Served, Client) {
    let served = Served::with(|config| config.requests_per_second_max = 1_000_000);
    let admin = served.admin();
    assert_eq!(admin.put("/cluster-settings/scheduler_mode", &json!({"value": "manual"})).status, 200);
    for i in 0..nodes {
        admin.post("/nodes", &json!({"id": format!("n{i}"), "name": format!("n{i}"), "roles": ["worker"]}));
    }
    (served, admin)
}

fn actions(plan: &Value) -> Vec<String> {
    let name = |a: &Value| {
        let node = |key: &str| a[key].as_str().unwrap_or("-").to_string();
        format!("{} {}>{}", a["action"].as_str().unwrap(), node("source_node_id"), node("target_node_id"))
    };
    plan["actions"].as_array().unwrap().iter().map(name).collect()
}

#[test]
fn a_plan_changes_nothing_and_a_reconcile_does_what_it_said() {
    let (_served, admin) = cluster(3);
    admin.post("/services", &json!({"id": "web", "name": "web", "spec": {"scheduling": {"desired_replicas": "2"}}}));
    let plan = admin.get("/scheduler/plan/services/web").json();
    assert_eq!(
        (
            &plan["service_id"],
            &plan["desired_replicas"],
            &plan["actual_replicas"],
            &plan["eligible_nodes"],
            &plan["dry_run"]
        ),
        (&json!("web"), &json!(2), &json!(2), &json!(3), &json!(true))
    );
    assert_eq!(actions(&plan), ["scale_up ->n0", "scale_up ->n1"]);
    assert_eq!(admin.get("/replicas").json(), json!([]));
    let done = admin.post("/scheduler/reconcile/services/web", &json!({})).json();
    assert_eq!((&done["actions"], &done["dry_run"]), (&plan["actions"], &json!(false)));
    let replicas = admin.get("/replicas?service_id=web").json();
    for replica in replicas.as_array().unwrap() {
        let id = replica["id"].as_str().unwrap();
        assert!(id.len() == "web-replica-".len() + 8 && id.starts_with("web-replica-"), "{id}");
        assert_eq!(replica["desired_state"], "running");
        assert_eq!(replica["status"], json!({"healthy": true, "managed_by": "scheduler", "applied_generation": 1}));
        assert_eq!(replica["placement"]["action"], "scale_up");
    }
    let told = &admin.events("scheduler")[0];
    assert_eq!(told["name"], "scheduler.reconcile");
    for (key, value) in [
        ("desired_replicas", 2),
        ("actual_replicas", 2),
        ("replicas_before", 0),
        ("action_count", 2),
        ("warning_count", 0),
    ] {
        assert_eq!(told["fields"][key], value, "{key}");
    }
    assert_eq!(actions(&admin.post("/scheduler/reconcile/services/web", &json!({})).json()), [""; 0]);

    let sick = replicas[0]["id"].as_str().unwrap();
    admin.patch(&format!("/replicas/{sick}"), &json!({"status": {"state": "CRASHLOOP", "applied_generation": 1}}));
    let all = admin.get("/scheduler/plan/all").json();
    assert_eq!((&all["dry_run"], all["results"].as_array().unwrap().len()), (&json!(true), 1));
    let done = admin.send("POST", "/scheduler/reconcile/all", &[], b"").json();
    assert_eq!(done["results"][0]["actions"], all["results"][0]["actions"]);
    assert!(actions(&done["results"][0])[0].starts_with("move_unhealthy"), "{done}");
    let moved = admin.get(&format!("/replicas/{sick}")).json();
    assert_eq!((&moved["node_id"], &moved["status"]["healthy"]), (&json!("n2"), &json!(true)));
    assert!(moved["placement"]["reason"].as_str().unwrap().contains("crashloop"), "{moved}");

    admin.patch("/services/web", &json!({"spec": {"scheduling": {"desired_replicas": 2}, "image": "b"}}));
    let rolling = admin.post("/scheduler/reconcile/services/web", &json!({})).json();
    assert_eq!(actions(&rolling), ["queue_rolling_update ->-"]);
    let queued = admin.get(&format!("/replicas/{}", rolling["actions"][0]["replica_id"].as_str().unwrap())).json();
    assert_eq!(
        (&queued["status"]["desired_generation"], &queued["status"]["update_state"]),
        (&json!(2), &json!("pending"))
    );
    for (method, path) in [("GET", "plan"), ("POST", "reconcile"), ("GET", "explain")] {
        let answer = admin.send(method, &format!("/scheduler/{path}/services/none"), &[], b"");
        assert_eq!((answer.status, answer.detail().as_str()), (404, "Service not found: none"));
    }
}

#[test]
fn the_count_of_a_plan_is_the_one_after_its_actions() {
    let (_served, admin) = cluster(2);
    let counts = |plan: &Value| (plan["actual_replicas"].clone(), plan["replicas_before"].clone());
    admin.post("/services", &json!({"id": "s", "name": "s", "spec": {"replicas_desired": 3}}));
    assert_eq!(counts(&admin.get("/scheduler/plan/all").json()["results"][0]), (json!(3), json!(0)));
    assert_eq!(counts(&admin.post("/scheduler/reconcile/services/s", &json!({})).json()), (json!(3), json!(0)));
    admin.patch("/services/s", &json!({"spec": {"replicas_desired": 1}}));
    assert_eq!(counts(&admin.get("/scheduler/plan/services/s").json()), (json!(1), json!(3)));
    assert_eq!(admin.get("/scheduler/explain/services/s").json()["actual_replicas"], 3, "what is there now");
    admin.post("/scheduler/reconcile/all", &json!({}));
    let told = &admin.events("scheduler")[0]["fields"];
    assert_eq!((&told["actual_replicas"], &told["replicas_before"]), (&json!(1), &json!(3)));
    // Where nothing fits, the count says so.
    admin.patch(
        "/services/s",
        &json!({"spec": {"replicas_desired": 5, "scheduling": {"node_selector": {"role": "none"}, "reschedule_unhealthy": false}}}),
    );
    assert_eq!(counts(&admin.get("/scheduler/plan/services/s").json()), (json!(1), json!(1)));
}

#[test]
fn a_plan_without_an_eligible_node_always_says_so() {
    let (_served, admin) = cluster(0);
    let none = [
        json!({}),
        json!({"replicas_desired": 0}),
        json!({"replicas_desired": 2}),
        json!({"scheduling": {"mode": "per_node"}}),
        json!({"scheduling": {"node_selector": {"zone": "none"}}}),
        json!({"placement": {"pinned_replicas": [{"replica_id": "p", "node_id": "n"}]}}),
    ];
    for (i, spec) in none.iter().enumerate() {
        admin.post("/services", &json!({"id": format!("s{i}"), "name": format!("s{i}"), "spec": spec}));
    }
    let told = |why: &str| {
        for plan in admin.get("/scheduler/plan/all").json()["results"].as_array().unwrap() {
            assert_eq!(plan["eligible_nodes"], 0);
            let warnings = plan["warnings"].to_string();
            assert_eq!(warnings.matches(why).count(), 1, "{plan}");
        }
    };
    told("there are no nodes");
    admin.post("/nodes", &json!({"id": "n", "name": "n"}));
    admin.post("/nodes/n/cordon", &json!({}));
    told("1 x cordoned");
}

#[test]
fn an_action_that_is_not_known_does_nothing() {
    let (_served, admin) = cluster(1);
    admin.post("/services", &json!({"id": "s", "name": "s"}));
    admin.post("/replicas", &json!({"id": "r", "service_id": "s", "node_id": "n0"}));
    let cookie = format!("uptimemesh_session={}", admin.token.clone().unwrap());
    for path in [
        "services/s/frobnicate",
        "replicas/r/remove",
        "nodes/n0/delete%20",
        "settings/users/admin/Delete",
        "services/s/-all",
    ] {
        for method in ["GET", "POST"] {
            let answer = admin.send(method, &format!("/ui/{path}"), &[("Cookie", &cookie)], b"");
            assert!((400..500).contains(&answer.status), "{method} {path}: {}", answer.status);
        }
    }
    for path in ["/services/s", "/replicas/r", "/nodes/n0", "/users/admin"] {
        assert_eq!(admin.get(path).status, 200, "{path}");
    }
}

#[test]
fn a_rollout_that_is_not_carried_out_is_told() {
    let (_served, admin) = cluster(1);
    admin.put("/cluster-settings/rollout_late_seconds", &json!({"value": "1"}));
    assert_eq!(admin.put("/cluster-settings/rollout_late_seconds", &json!({"value": "0"})).status, 422);
    admin.post("/services", &json!({"id": "s", "name": "s", "spec": {"replicas_desired": 3}}));
    let reconcile = || admin.post("/scheduler/reconcile/all", &json!({})).json()["results"][0].clone();
    assert_eq!(reconcile()["rollout"], Value::Null);
    for generation in 2..4 {
        admin.patch("/services/s", &json!({"spec": {"replicas_desired": 3, "image": format!("{generation}")}}));
        assert_eq!(actions(&reconcile()), ["queue_rolling_update ->-"]);
        let waits = admin.get("/scheduler/plan/services/s").json()["rollout"].clone();
        assert_eq!((&waits["outdated"], &waits["pending"]), (&json!(3), &json!(1)));
        let told = |admin: &Client| {
            admin.events("scheduler").into_iter().filter(|e| e["name"] == "scheduler.rollout_late").collect::<Vec<_>>()
        };
        let event = until("it is told", || {
            reconcile();
            told(&admin).into_iter().find(|event| event["fields"]["generation"] == generation)
        });
        assert!(event["level"].as_str().unwrap().eq_ignore_ascii_case("warning"), "{event}");
        assert_eq!(
            (&event["fields"]["outdated"], &event["fields"]["waiting_since"]),
            (&json!(3), &waits["waiting_since"])
        );
        let plan = admin.get("/scheduler/plan/services/s").json();
        assert!(plan["rollout"]["waiting_seconds"].as_i64() >= Some(1), "{plan}");
        assert!(
            plan["warnings"][0]
                .as_str()
                .unwrap()
                .starts_with(&format!("Generation {generation} is not running everywhere: 3 replicas")),
            "{plan}"
        );
        reconcile();
        admin.post("/scheduler/reconcile/services/s", &json!({}));
        assert_eq!(told(&admin).len(), generation - 1, "each is told once");
    }
    let cookie = format!("uptimemesh_session={}", admin.token.clone().unwrap());
    let page = admin.send("GET", "/ui/services/s", &[("Cookie", &cookie), ("Accept", "text/html")], b"").text();
    assert!(page.contains("No report yet from 1 of them, the first asked <time"), "{page}");
    for replica in admin.get("/replicas").json().as_array().unwrap() {
        admin.patch(
            &format!("/replicas/{}", replica["id"].as_str().unwrap()),
            &json!({"status": {"applied_generation": 3}}),
        );
    }
    assert_eq!(admin.get("/scheduler/plan/services/s").json()["rollout"], Value::Null);
}

#[test]
fn every_decision_is_explained() {
    let (_served, admin) = cluster(3);
    admin.post("/nodes/n1/cordon", &json!({}));
    admin.patch("/nodes/n2", &json!({"status": {"capacity": {"cpu_millis": 100}}}));
    let spec = json!({"scheduling": {"desired_replicas": 2, "node_selector": {"role": "worker"}}, "resources": {"cpu_millis": 500}});
    admin.post("/services", &json!({"id": "web", "name": "web", "spec": spec}));
    admin.post("/scheduler/reconcile/services/web", &json!({}));
    let explained = admin.get("/scheduler/explain/services/web").json();
    let nodes = explained["nodes"].as_array().unwrap();
    assert_eq!(
        (&nodes[0]["node_id"], &nodes[0]["rank"], &nodes[0]["score"]["same_service"]),
        (&json!("n0"), &json!(1), &json!(2))
    );
    assert_eq!((&nodes[1]["node_id"], &nodes[1]["filters"][0]["filter"]), (&json!("n1"), &json!("cordoned")));
    assert_eq!((&nodes[2]["node_id"], &nodes[2]["filters"][0]["filter"]), (&json!("n2"), &json!("cpu")));
    assert_eq!(nodes[2]["filters"][0]["reason"], "100 of its 100 CPU millis are left");
    assert_eq!(explained["replicas"].as_array().unwrap().len(), 2);
}

#[test]
fn a_drain_moves_one_at_a_time_and_ends_in_an_event() {
    let (_served, admin) = cluster(2);
    admin.post("/services", &json!({"id": "s", "name": "s", "spec": {"replicas_desired": 3}}));
    for i in 0..3 {
        admin.post(
            "/replicas",
            &json!({"id": format!("r{i}"), "service_id": "s", "node_id": "n0", "status": {"applied_generation": 1}}),
        );
    }
    admin.post("/nodes/n0/drain", &json!({}));
    let left = || admin.get("/replicas?node_id=n0").json().as_array().unwrap().len();
    for still in [2, 1, 0] {
        admin.post("/scheduler/reconcile/all", &json!({}));
        assert_eq!(left(), still);
    }
    let names = |admin: &Client| {
        admin.events("nodes").iter().map(|e| e["name"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&admin)[0], "node.drained");
    assert_eq!(admin.get("/nodes/n0").json()["status"]["drain_state"], "drained");
    let count = names(&admin).len();
    admin.post("/scheduler/reconcile/all", &json!({}));
    assert_eq!(names(&admin).len(), count, "it is told once");
    admin.post("/nodes/n1/drain", &json!({}));
    admin.post("/scheduler/reconcile/all", &json!({}));
    let blocked = &admin.events("nodes")[0];
    assert_eq!((&blocked["name"], &blocked["fields"]["left"]), (&json!("node.drain_blocked"), &json!(3)));
    assert!(blocked["fields"]["replicas"][0]["reason"].as_str().unwrap().contains("draining"), "{blocked}");
    admin.post("/nodes/n0/uncordon", &json!({}));
    assert_eq!(admin.get("/nodes/n0").json()["status"].get("drain_state"), None);
    admin.post("/scheduler/reconcile/all", &json!({}));
    assert_eq!(left(), 1, "the drain goes on");
}

#[test]
fn rebalancing_is_planned_and_done_on_request() {
    let (_served, admin) = cluster(4);
    for s in ["a", "b"] {
        admin.post("/services", &json!({"id": s, "name": s}));
        for i in 0..4 {
            let body =
                json!({"id": format!("{s}{i}"), "service_id": s, "node_id": "n0", "status": {"applied_generation": 1}});
            admin.post("/replicas", &body);
        }
    }
    let planned = admin.get("/scheduler/rebalance?max_moves=3").json();
    let count = |plans: &Value| {
        plans["results"].as_array().unwrap().iter().map(|p| p["actions"].as_array().unwrap().len()).sum::<usize>()
    };
    assert_eq!(count(&planned), 3);
    let done = admin.post("/scheduler/rebalance", &json!({})).json();
    assert_eq!((count(&done), &done["dry_run"]), (6, &json!(false)));
    let mut on: BTreeMap<String, usize> = BTreeMap::new();
    for replica in admin.get("/replicas").json().as_array().unwrap() {
        *on.entry(replica["node_id"].as_str().unwrap().to_string()).or_default() += 1;
    }
    assert_eq!(on.into_values().collect::<Vec<_>>(), [2, 2, 2, 2]);
    assert_eq!(admin.get("/scheduler/rebalance?max_moves=0").faults(), [r#"greater_than_equal ["query","max_moves"]"#]);
}

#[test]
fn the_mode_says_what_it_does_by_itself() {
    let served = Served::new();
    let admin = served.admin();
    admin.post("/nodes", &json!({"id": "n", "name": "n"}));
    let refused = admin.put("/cluster-settings/scheduler_mode", &json!({"value": "wild"}));
    assert_eq!(refused.faults(), [r#"string_pattern_mismatch ["body","value"]"#]);
    admin.put("/cluster-settings/scheduler_mode", &json!({"value": "paused"}));
    admin.post("/services", &json!({"id": "s", "name": "s", "spec": {"replicas_desired": 1}}));
    assert_eq!(admin.post("/scheduler/reconcile/all", &json!({})).status, 409);
    assert_eq!(actions(&admin.get("/scheduler/plan/services/s").json()).len(), 1, "plans go on");
    admin.put("/cluster-settings/scheduler_mode", &json!({"value": "auto"}));
    until("the loop places it", || (admin.get("/replicas").json().as_array().unwrap().len() == 1).then_some(()));
    assert_eq!(admin.events("scheduler")[0]["fields"]["by"], "scheduler");
    admin.put("/cluster-settings/etcd_status", &json!({"value": "down"}));
    assert_eq!(admin.post("/scheduler/reconcile/all", &json!({})).status, 503);
    assert_eq!(admin.get("/scheduler/plan/all").status, 200);
}

#[test]
fn the_brake_holds_when_most_fall_silent_together() {
    let (mut served, admin) = cluster(0);
    let mut nodes: Vec<Node> = (0..4).map(|i| Node::joined(&admin, &format!("j{i}"))).collect();
    for node in &mut nodes {
        assert_eq!(node.heartbeat(&admin, 10, &json!({})).status, 200);
    }
    admin.post("/services", &json!({"id": "s", "name": "s"}));
    admin.post(
        "/replicas",
        &json!({"id": "r", "service_id": "s", "node_id": "j3", "status": {"healthy": false, "applied_generation": 1}}),
    );
    assert_eq!(actions(&admin.get("/scheduler/plan/services/s").json()), ["move_unhealthy j3>j0"]);
    // One keeps beating, the others fall silent; and what the brake writes is refused at first.
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.name = 'scheduler.brake_on' BEGIN SELECT \
        RAISE(ABORT, 'not now'); END";
    database.execute_batch(refuse).unwrap();
    let mut beaten = Instant::now();
    let mut beat = || {
        if beaten.elapsed() > Duration::from_secs(3) {
            assert_eq!(nodes[0].heartbeat(&admin, 10, &json!({})).status, 200);
            beaten = Instant::now();
        }
    };
    until("most are told to be stale", || {
        beat();
        (admin.get("/events?name=node.lease.stale").json().as_array().unwrap().len() == 3).then_some(())
    });
    until("the loop has tried to put the brake on", || {
        beat();
        (admin.get("/scheduler/status").json()["braked"] == true).then_some(())
    });
    assert!(admin.events("scheduler").iter().all(|e| e["name"] != "scheduler.brake_on"));
    database.execute_batch("DROP TRIGGER refuse").unwrap();
    until("the brake comes on", || {
        beat();
        admin.events("scheduler").iter().any(|e| e["name"] == "scheduler.brake_on").then_some(())
    });
    let plan = admin.get("/scheduler/plan/services/s").json();
    assert_eq!(actions(&plan), [""; 0]);
    assert!(plan["warnings"][0].as_str().unwrap().starts_with("Nothing is moved"), "{plan}");
    assert_eq!(admin.get("/scheduler/status").json()["braked"], true);
    until("all three are told to be stale", || {
        (admin.get("/events?name=node.lease.stale").json().as_array().unwrap().len() == 3).then_some(())
    });
    served.restart();
    let admin = served.admin();
    assert_eq!(admin.get("/scheduler/status").json()["braked"], true, "a restart does not let go");
    until("it tells who is silent at the start", || {
        admin.events("scheduler").iter().any(|e| e["name"] == "scheduler.grace").then_some(())
    });
    admin.put("/cluster-settings/scheduler_brake", &json!({"value": "off"}));
    assert_eq!(actions(&admin.get("/scheduler/plan/services/s").json()).len(), 1);
    until("it goes off", || admin.events("scheduler").iter().any(|e| e["name"] == "scheduler.brake_off").then_some(()));
    assert_eq!(
        admin.events("scheduler").iter().filter(|e| e["name"] == "scheduler.brake_on").count(),
        1,
        "it is told once"
    );
}

/// Sixteen writers do everything at once; afterwards everything holds together.
#[test]
fn many_writers_leave_a_whole_cluster() {
    const WRITERS: usize = 16;
    let seconds = std::env::var("UPTIMEMESH_TEST_SOAK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(8);
    let (served, admin) = cluster(12);
    for s in 0..8 {
        let spec =
            json!({"scheduling": {"desired_replicas": 4}, "ports": [8000 + s % 4], "resources": {"cpu_millis": 100}});
        admin.post("/services", &json!({"id": format!("s{s}"), "name": format!("s{s}"), "spec": spec}));
    }
    for n in 0..12 {
        admin.patch(&format!("/nodes/n{n}"), &json!({"status": {"capacity": {"cpu_millis": 900}}}));
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let counts: Vec<BTreeMap<u16, usize>> =
        std::thread::scope(|scope| {
            let writer =
                |w: usize| {
                    let admin = admin.clone();
                    move || {
                        let mut seen = BTreeMap::new();
                        let mut x = w as u64 + 1;
                        let mut below = |n: u64| {
                            x ^= x << 13;
                            x ^= x >> 7;
                            x ^= x << 17;
                            x % n
                        };
                        while Instant::now() < end {
                            let (s, n, r) = (below(8), below(12), format!("w{w}-{}", below(20)));
                            let any = |admin: &Client, i: usize| {
                                let list = admin.get(&format!("/replicas?limit=50&after=s{s}")).json();
                                list.as_array()
                                    .filter(|l| !l.is_empty())
                                    .map_or("none".to_string(), |l| l[i % l.len()]["id"].as_str().unwrap().to_string())
                            };
                            let answer = match below(18) {
                        0 | 1 => admin.post(&format!("/scheduler/reconcile/services/s{s}"), &json!({})),
                        2 => admin.post("/scheduler/reconcile/all", &json!({})),
                        3 => admin.patch(&format!("/services/s{s}"),
                            &json!({"spec": {"scheduling": {"desired_replicas": below(7)}, "ports": [8000 + s % 4],
                                "resources": {"cpu_millis": 100}}})),
                        4 => admin.post(&format!("/services/s{s}/rollout"), &json!({})),
                        5 => admin.post(&format!("/services/s{s}/rollback"), &json!({})),
                        6 => admin.post(&format!("/nodes/n{n}/cordon"), &json!({})),
                        7 | 8 => admin.post(&format!("/nodes/n{n}/uncordon"), &json!({})),
                        9 => admin.post(&format!("/nodes/n{n}/drain"), &json!({})),
                        10 => admin.post("/replicas", &json!({"id": r, "service_id": format!("s{s}"),
                            "node_id": format!("n{n}")})),
                        11 => admin.post(&format!("/replicas/{}/move", any(&admin, n as usize)),
                            &json!({"target_node_id": format!("n{n}")})),
                        12 => admin.patch(&format!("/replicas/{}", any(&admin, n as usize)),
                            &json!({"status": {"healthy": below(2) == 0}})),
                        13 => admin.delete(&format!("/replicas/{}", any(&admin, n as usize))),
                        14 => admin.post("/endpoints", &json!({"id": format!("e{r}"), "replica_id": any(&admin,
                            n as usize), "address": "h", "port": 1})),
                        15 => admin.post("/scheduler/rebalance", &json!({})),
                        16 => admin.delete(&format!("/services/x{w}?force=true")),
                        _ => admin.post("/services", &json!({"id": format!("x{w}"), "name": format!("x{w}"),
                            "spec": {"replicas_desired": below(3)}})),
                    };
                            *seen.entry(answer.status).or_default() += 1;
                        }
                        seen
                    }
                };
            let writers: Vec<_> = (0..WRITERS).map(|w| scope.spawn(writer(w))).collect();
            writers.into_iter().map(|w| w.join().unwrap()).collect()
        });
    let mut all: BTreeMap<u16, usize> = BTreeMap::new();
    counts.into_iter().flatten().for_each(|(status, count)| *all.entry(status).or_default() += count);
    assert!(all.keys().all(|status| *status < 500), "{all:?}");
    assert!(all[&200] > 100, "{all:?}");

    for n in 0..12 {
        admin.post(&format!("/nodes/n{n}/uncordon"), &json!({}));
    }
    // Sick replicas that were moved a short while ago stay; all else comes to rest.
    until("a plan that has nothing left to do", || {
        let done = admin.post("/scheduler/reconcile/all", &json!({})).json();
        done["results"].as_array().unwrap().iter().all(|p| p["actions"].as_array().unwrap().is_empty()).then_some(())
    });
    let database = rusqlite::Connection::open(&served.config.database_path).unwrap();
    let number = |sql: &str| database.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(database.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
    assert_eq!(number("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(
        number(
            "SELECT count(*) FROM services s WHERE generation <> (SELECT max(generation) FROM service_revisions r \
                WHERE r.service_id = s.id)"
        ),
        0
    );
    assert_eq!(
        number(
            "SELECT count(*) FROM services s WHERE min(generation, 1000) <> (SELECT count(*) FROM service_revisions r \
                WHERE r.service_id = s.id)"
        ),
        0,
        "of the thousand that are kept no generation is missing or given twice"
    );
    assert_eq!(number("SELECT count(*) FROM replicas WHERE node_id NOT IN (SELECT id FROM nodes)"), 0);
    let services = admin.get("/services").json();
    for service in services.as_array().unwrap() {
        let plan = admin.get(&format!("/scheduler/plan/services/{}", service["id"].as_str().unwrap())).json();
        let homeless =
            plan["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains("No eligible node"));
        assert!(homeless || plan["desired_replicas"] == plan["actual_replicas"], "{plan}");
    }
    let ids: BTreeSet<String> = admin
        .get("/replicas")
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["id"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(ids.len() as i64, number("SELECT count(*) FROM replicas"));
}

#[test]
fn a_plan_is_made_once_for_all_who_ask_while_nothing_changes() {
    let served = Served::new();
    let admin = served.admin();
    assert_eq!(admin.post("/nodes", &json!({"id": "a", "name": "a"})).status, 201);
    let planned = |client: &crate::support::Client| client.get("/scheduler/plan/all").json()["generated_at"].clone();
    let viewer = served.user("viewer", "viewer");
    // On a busy machine more than the moment for which it holds may pass in between.
    let shared = crate::support::until("two answers of one plan", || {
        let (one, other) = (planned(&admin), planned(&viewer));
        (one == other).then_some(one)
    });
    assert_eq!(admin.post("/nodes/a/cordon", &json!({})).status, 200);
    assert_ne!(planned(&viewer), shared, "what changed is seen at once");
}
