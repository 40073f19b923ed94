//! The layers one level down: which part of the agent may import which, and no circle between the files of one layer.

use super::GROUND;
use super::limits::List;
use super::modules::imports;
use std::collections::{BTreeMap, BTreeSet};

/// Each part of the agent, and what it may import beside the ground. Only `link` calls the control plane; what does the
/// work of a node does not know each other, but `reconcile` knows all of it.
const AGENT_PARTS: &[(&str, &[&str])] = &[
    ("agent/config", &["model", "runner"]),
    ("agent/hands", &["model", "runner"]),
    ("agent/identity", &["crypto", "model"]),
    ("agent/ledger", &["agent/identity", "model"]),
    ("agent/updater", &["model"]),
    ("agent/report", &["model", "sys"]),
    (
        "agent/link",
        &["agent/hands", "agent/identity", "agent/ledger", "agent/report", "client", "crypto", "model", "runner"],
    ),
    ("agent/reconcile", &["agent/ledger", "agent/updater", "model"]),
    ("agent/doctor", &["agent/identity", "agent/ledger", "agent/link", "crypto", "model", "sys"]),
];

/// The part of the agent that a module is in, or the layer.
fn part(module: &str) -> String {
    let mut steps = module.split('/');
    let layer = steps.next().unwrap();
    match steps.next() {
        Some(part) if layer == "agent" => format!("agent/{part}"),
        _ => layer.to_string(),
    }
}

#[test]
fn parts_of_the_agent_know_no_more_than_they_need() {
    let mut bad = Vec::new();
    for (module, named) in imports() {
        let own = part(&module);
        if !own.starts_with("agent/") {
            continue;
        }
        let Some((_, may)) = AGENT_PARTS.iter().find(|(name, _)| *name == own) else {
            bad.push(format!("{module}: `{own}` has no line in the table of parts"));
            continue;
        };
        for target in named.iter().map(|target| part(target)).filter(|target| *target != own) {
            if !may.contains(&target.as_str()) && !GROUND.contains(&target.as_str()) {
                bad.push(format!("{module}: `{own}` must not import `{target}`"));
            }
        }
    }
    assert!(bad.is_empty(), "\n{}", bad.join("\n"));
}

/// What can be reached from a module by imports within its layer. A module and those below it are one house.
fn reached<'a>(from: &'a str, all: &'a BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'a str> {
    let is_kin = |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.starts_with('/'));
    let layer = from.split('/').next().unwrap();
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for target in &all[module] {
            let is_near = target.split('/').next() == Some(layer) && !is_kin(module, target) && !is_kin(target, module);
            if is_near && found.insert(target.as_str()) {
                open.push(target);
            }
        }
    }
    found
}

/// Files of one layer that import each other are one file in pieces: whoever reads one has to read all.
#[test]
fn files_of_one_layer_import_each_other_in_one_direction() {
    let all = imports();
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        all.keys().map(|module| (module.as_str(), reached(module, &all))).collect();
    let mut circles = BTreeSet::new();
    for (module, there) in &reach {
        if there.contains(module) {
            let members: Vec<&str> = there.iter().copied().filter(|other| reach[other].contains(module)).collect();
            circles.insert(members);
        }
    }
    let mut list = List::read("circles.txt");
    for circle in &circles {
        for member in circle {
            list.found(member, circle.len() - 1);
        }
    }
    let all: Vec<String> = circles.iter().map(|circle| circle.join(" ")).collect();
    list.check(
        "in a circle of imports with others",
        &format!("cut it, or move what they share below them:\n{}", all.join("\n")),
    );
}
