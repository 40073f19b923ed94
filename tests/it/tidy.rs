//! Checks on the source itself: which layer may import which, and where the dangerous things may live.

mod circles;
mod limits;
mod modules;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// Each module and what it may import of the crate besides itself and the ground (error, clock, thread, logger).
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("clock", &[]),
    ("thread", &[]),
    ("bell", &[]),
    ("buckets", &[]),
    ("lanes", &[]),
    ("caller", &[]),
    ("files", &[]),
    ("interrupt", &[]),
    ("percent", &[]),
    ("text", &[]),
    ("json", &[]),
    ("logger", &[]),
    ("html", &[]),
    ("docs", &[]),
    ("config", &["crypto", "model"]),
    ("crypto", &[]),
    ("model", &[]),
    ("sys", &["model"]),
    ("store", &["crypto", "model"]),
    ("http", &["crypto", "model"]),
    ("inputs", &["http", "model"]),
    ("control", &["config", "crypto", "model", "store", "sys"]),
    ("scheduler", &["control", "model", "store"]),
    ("upkeep", &["config", "control", "crypto", "model", "scheduler", "store", "sys"]),
    ("gate", &["control", "http", "model", "upkeep"]),
    ("api", &["control", "crypto", "gate", "http", "inputs", "model", "upkeep"]),
    ("ui", &["control", "docs", "gate", "html", "http", "inputs", "model", "scheduler", "upkeep"]),
    ("openapi", &["gate", "http", "model", "routes", "upkeep"]),
    ("routes", &["api", "gate", "http", "model", "openapi", "ui", "upkeep"]),
    ("offline", &["config", "control", "model", "store", "upkeep"]),
    ("serve", &["config", "control", "http", "model", "offline", "routes", "store", "upkeep"]),
    ("fuzzing", &["config", "control", "crypto", "http", "inputs", "model", "store"]),
    ("client", &["crypto", "model"]),
    ("runner", &["crypto", "model", "sys"]),
    ("agent", &["client", "crypto", "model", "runner", "sys"]),
    ("cli", &["agent", "client", "config", "crypto", "docs", "model", "offline", "runner", "serve", "sys"]),
];

const GROUND: &[&str] = &[
    "error",
    "clock",
    "thread",
    "logger",
    "files",
    "percent",
    "text",
    "json",
    "bell",
    "buckets",
    "lanes",
    "caller",
    "interrupt",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every source file below `src`, with its text.
pub fn every_source() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    sources(&root(), &mut paths);
    paths.sort();
    assert!(paths.len() > 30, "the sources were not found");
    paths
        .into_iter()
        .map(|p| (p.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), fs::read_to_string(&p).unwrap()))
        .collect()
}

/// The modules that a text names after `crate::`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let group = rest.strip_prefix('{').map(|g| &g[..g.find('}').unwrap_or(g.len())]);
        let parts: Vec<&str> = group.map_or(vec![rest], |g| g.split(',').collect());
        for part in parts {
            let name: String = part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                found.push(name);
            }
        }
    }
    found
}

#[test]
fn layers_hold() {
    let mut bad = Vec::new();
    for (file, text) in every_source() {
        let layer = file.split('/').next().unwrap().trim_end_matches(".rs");
        if layer == "lib" || layer == "main" {
            continue;
        }
        let Some((_, may)) = LAYERS.iter().find(|(l, _)| *l == layer) else {
            bad.push(format!("src/{file}: `{layer}` has no line in the table of layers"));
            continue;
        };
        for name in imports(&text) {
            let known = LAYERS.iter().any(|(l, _)| *l == name);
            if known && name != layer && !may.contains(&name.as_str()) && !GROUND.contains(&name.as_str()) {
                bad.push(format!("src/{file}: `{layer}` must not import `{name}`"));
            }
        }
    }
    assert!(bad.is_empty(), "\n{}", bad.join("\n"));
}

/// Whether a line names a thing, and not one whose name only ends like it.
fn names(line: &str, thing: &str) -> bool {
    line.match_indices(thing)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

#[test]
fn dangerous_things_have_one_home() {
    const HOMES: &[(&str, &[&str])] = &[
        ("std::process::Command", &["sys/run.rs"]),
        ("SystemTime::now", &["clock.rs"]),
        ("std::thread::spawn", &["thread.rs"]),
        ("rusqlite::", &["store/"]),
        ("rcgen::", &["crypto/"]),
        ("ring::", &["crypto/"]),
        ("argon2::", &["crypto/"]),
        ("ureq::", &["client/"]),
        ("rustix::", &["client/socket.rs", "clock.rs", "files.rs", "http/socket.rs", "runner/", "sys/"]),
    ];
    let mut bad = Vec::new();
    for (file, text) in every_source() {
        for (thing, homes) in HOMES {
            let product =
                if file.ends_with("/tests.rs") { "" } else { text.split("#[cfg(test)]\nmod tests").next().unwrap() };
            let lines = product.lines().filter(|l| !l.trim_start().starts_with("//"));
            if lines.clone().any(|l| names(l, thing)) && !homes.iter().any(|home| file.starts_with(home)) {
                bad.push(format!("src/{file}: `{thing}` belongs in {homes:?}"));
            }
        }
        if !text.starts_with("//!") && !text.starts_with("#![doc = include_str!") {
            bad.push(format!("src/{file}: begins without saying what it is for"));
        }
    }
    assert!(bad.is_empty(), "\n{}", bad.join("\n"));
}
