//! Clusters of every kind, the same ones in every run.

use super::{Cluster, NOW};
use crate::model::leases::LeaseState;
use crate::model::workload::Driver;
use serde_json::{Value, json};

/// SplitMix64 (Steele, Lea, Flood 2014): the same clusters in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

pub fn some_cluster(r: &mut Random) -> Cluster {
    let mut c = Cluster::default();
    for i in 0..1 + r.below(8) {
        let (zone, cpu) = (r.below(3), r.below(4));
        let node = c.node(&format!("n{i}"));
        node.labels.insert("zone".into(), zone.to_string());
        node.cpu_millis = (cpu > 0).then_some(cpu * 700);
        node.memory_mb = r.one_in(2).then_some(1024);
        node.schedulable = !r.one_in(8);
        node.draining = r.one_in(8);
        node.ready = !r.one_in(12);
        node.lease = [
            LeaseState::Alive,
            LeaseState::Alive,
            LeaseState::Alive,
            LeaseState::Unknown,
            LeaseState::Stale,
            LeaseState::Dead,
        ][r.below(6) as usize];
        node.drivers = [None, Some(vec![Driver::Process]), Some(Vec::new())][r.below(3) as usize].clone();
        node.dead_for_s = if r.one_in(2) { r.below(60) as i64 } else { 1_000_000 };
    }
    for s in 0..1 + r.below(4) {
        let mut spec =
            json!({"scheduling": {}, "resources": {"cpu_millis": r.below(3) * 200, "memory_mb": r.below(3) * 200}});
        let scheduling = &mut spec["scheduling"];
        if !r.one_in(5) {
            scheduling["desired_replicas"] = r.below(8).into();
        }
        scheduling["anti_affinity"] = [json!(true), json!(false), json!("hard")][r.below(3) as usize].clone();
        scheduling["reschedule_unhealthy"] = (!r.one_in(4)).into();
        if r.one_in(3) {
            scheduling["spread_by"] = "zone".into();
        }
        if r.one_in(5) {
            scheduling["mode"] = "per_node".into();
        }
        if r.one_in(4) {
            scheduling["node_selector"] = json!({"zone": r.below(3).to_string()});
        }
        if r.one_in(2) {
            spec["command"] = json!(["/bin/true"]);
        }
        if r.one_in(3) {
            spec["ports"] = json!([80 + r.below(2)]);
        }
        spec["rolling_update"] = json!({"max_unavailable": r.below(3), "max_surge": r.below(3)});
        if r.one_in(4) {
            spec["placement"] =
                json!({"pinned_replicas": [{"replica_id": format!("s{s}-0"), "node_id": format!("n{}", r.below(9))}]});
        }
        let id = format!("s{s}");
        c.service(&id, spec);
        for i in 0..r.below(6) {
            let status = some_status(r);
            c.replica(&format!("s{s}-{i}"), &id, &format!("n{}", r.below(9)), status);
        }
    }
    c.brake = r.one_in(8).then(|| "held".to_string());
    c.grace = r.one_in(8);
    c
}

/// A status of a replica as clients, nodes or the scheduler leave it.
fn some_status(r: &mut Random) -> Value {
    let mut status = json!({"healthy": !r.one_in(4), "applied_generation": r.below(2)});
    match r.below(6) {
        0 => status = json!({"state": "pending", "unavailable_since": NOW.plus_secs(-(r.below(600) as i64))}),
        1 => status["state_since"] = json!(NOW),
        2 => {
            status["state_since"] = json!(NOW);
            status["state"] = ["starting", "crashloop", "completed"][r.below(3) as usize].into();
            status["unavailable_since"] = json!(NOW.plus_secs(-(r.below(600) as i64)));
        }
        _ => {}
    }
    status
}
