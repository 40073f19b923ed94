//! Lists of what the program says to others: events, keys of a node's status and log lines, each with a golden text.

use crate::golden;
use crate::openapi::wording;
use crate::tidy::every_source;
use std::collections::BTreeSet;

/// The part of a source that is in the product.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

#[test]
fn the_events_are_as_reviewed_and_all_are_recorded() {
    golden::check("events.txt", &uptimemesh::events_markdown());
    let sources = every_source();
    let is_catalogue = |source: &&(String, String)| source.0 == "model/events/catalogue.rs";
    let (catalogues, others): (Vec<_>, Vec<_>) = sources.iter().partition(is_catalogue);
    let kinds = product(&catalogues[0].1).lines().filter_map(|l| l.strip_prefix("    ")?.split_once(" = "));
    let is_constant = |name: &&str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let kinds: Vec<&str> = kinds.map(|(name, _)| name).filter(is_constant).collect();
    assert_eq!(kinds.len() + 2, uptimemesh::events_markdown().lines().count());
    let is_used = |kind: &&&str| others.iter().any(|(_, text)| product(text).matches(**kind).count() > 1);
    let unused: Vec<&&str> = kinds.iter().filter(|kind| !is_used(kind)).collect();
    assert!(unused.is_empty(), "no code records {unused:?}");
}

#[test]
fn the_sentences_of_the_catalogues_are_plain_english() {
    let tables = [uptimemesh::events_markdown(), uptimemesh::status_keys_markdown()].concat();
    let sentences = tables.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit_once(" | ")).map(|(_, says)| says);
    let mut count = 0;
    for says in sentences.filter(|says| *says != "Meaning") {
        assert_eq!(wording(says), None, "{says}");
        assert!(says.ends_with('.'), "{says}");
        count += 1;
    }
    assert!(count > 100, "{count}");
}

/// What stands between two texts.
fn between<'t>(text: &'t str, begin: &str, end: &str) -> Option<&'t str> {
    text.split_once(begin)?.1.split_once(end).map(|(inside, _)| inside)
}

#[test]
fn the_names_of_log_lines_are_as_reviewed() {
    let mut lines = BTreeSet::new();
    for (file, text) in every_source() {
        let text = product(&text);
        for (at, _) in text.match_indices("log::").filter(|_| !file.ends_with("/tests.rs")) {
            let Some((level, rest)) = text[at + "log::".len()..].split_once("!(") else { continue };
            // Key and value pairs end at a semicolon, the sentence follows.
            let is_end = |at: &usize| rest[at + 1..].trim_start().starts_with('"');
            let end = rest.match_indices(';').map(|(at, _)| at).find(is_end).unwrap_or(rest.len());
            let pairs = &rest[..end];
            if !["error", "warn", "info", "debug"].contains(&level) || !pairs.contains("event") {
                continue;
            }
            let category = between(pairs, "target: \"", "\"").unwrap_or("-");
            // A name from elsewhere is that of an event.
            let name = between(pairs, "event = \"", "\"").map_or("(the name of the event)".to_string(), str::to_string);
            lines.insert(format!("{category:<12} {level:<6} {name}\n"));
        }
    }
    assert!(lines.len() > 50, "{lines:?}");
    golden::check("log_events.txt", &lines.into_iter().collect::<String>());
}

/// Places where a key of a status stands as a literal, and why.
const LITERAL_KEYS: &[(&str, &str)] = &[
    ("openapi/prose.rs", "a sentence names it"),
    ("api/", "a sentence names it"),
    ("cli/", "columns of a table are paths in the answer"),
];

#[test]
fn the_keys_of_a_nodes_status_are_as_reviewed_and_stand_in_one_place() {
    let table = uptimemesh::status_keys_markdown();
    golden::check("status_keys.txt", &table);
    let keys: Vec<&str> = table.lines().skip(2).map(|line| between(line, "| `", "`").unwrap()).collect();
    // A plain word is a key of many things.
    let own: Vec<&&str> = keys.iter().filter(|key| key.contains('_') || **key == "schedulable").collect();
    assert!(own.len() > 20, "{own:?}");
    let mut found = Vec::new();
    for (file, text) in every_source() {
        let known = LITERAL_KEYS.iter().any(|(place, _)| file.starts_with(place));
        if known || file == "model/status_keys.rs" || file.ends_with("tests.rs") {
            continue;
        }
        let lines = product(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines.filter(|line| own.iter().any(|key| line.contains(&format!("\"{key}\"")))) {
            found.push(format!("src/{file}: {}", line.trim()));
        }
    }
    assert!(found.is_empty(), "use the constant in src/model/status_keys.rs\n{}", found.join("\n"));
}
