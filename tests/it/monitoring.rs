//! What a monitoring system is given: every series that the alert rules and the dashboard ask for is one that the
//! program tells.

use crate::support::Served;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names of our series in a text.
fn series(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c)).filter(|word| word.starts_with("uptimemesh_")).map(str::to_string).collect()
}

#[test]
fn rules_and_dashboard_ask_for_what_there_is() {
    let served = Served::new();
    // Histograms have samples once something was answered.
    served.anonymous().get("/health");
    let told = served.anonymous().get("/metrics").text();
    let samples: BTreeSet<String> = told
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ").unwrap_or(line).split([' ', '{']).next().map(str::to_string))
        .collect();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/monitoring");
    let mut asked = BTreeSet::new();
    for name in ["alerts.yml", "dashboard.json"] {
        let text = fs::read_to_string(dir.join(name)).unwrap();
        let names = series(&text);
        let unknown: Vec<&String> = names.difference(&samples).collect();
        assert!(unknown.is_empty(), "{name} asks for {unknown:?}");
        asked.extend(names);
    }
    // What is told is shown too, one way or the other.
    let families: BTreeSet<String> =
        told.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_string)).collect();
    let unseen: Vec<&String> = families.iter().filter(|f| !asked.iter().any(|a| a.starts_with(f.as_str()))).collect();
    assert!(unseen.is_empty(), "neither rules nor dashboard ask for {unseen:?}");

    let dashboard: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(dir.join("dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.iter().all(|panel| panel["targets"].as_array().is_some_and(|targets| !targets.is_empty())));
}
