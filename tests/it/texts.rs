//! Texts that users read: the help, and the documents, which must not promise what is not there.

use crate::commands;
use crate::commands::names;
use crate::golden;
use crate::program::ok;
use crate::support::Dir;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn the_help_is_as_reviewed_and_complete() {
    let dir = Dir::new();
    let overview = ok(dir.path(), &["help"]);
    assert_eq!(overview, ok(dir.path(), &["--help"]));
    let mut all = overview;
    let names = commands::names(dir.path());
    let mut nouns: Vec<&str> = names.iter().filter_map(|name| Some(name.split_once(' ')?.0)).collect();
    nouns.dedup();
    for name in
        nouns.into_iter().filter(|noun| !names.contains(&noun.to_string())).chain(names.iter().map(String::as_str))
    {
        let words: Vec<&str> = name.split(' ').collect();
        let help = ok(dir.path(), &[&["help"], &words[..]].concat());
        if name != "help" {
            assert_eq!(help, ok(dir.path(), &[&words[..], &["--help"]].concat()), "{name:?}");
        }
        all.push_str(&format!("\n==== {name}\n{help}"));
    }
    golden::check("help.txt", &all);
}

#[test]
fn the_version_tells_what_the_program_was_built_from() {
    let dir = Dir::new();
    assert_eq!(ok(dir.path(), &["version"]), format!("uptimemesh {}\n", env!("CARGO_PKG_VERSION")));
    let told: serde_json::Value = serde_json::from_str(&ok(dir.path(), &["version", "--json"])).unwrap();
    let keys: Vec<&String> = told.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["commit", "linked", "profile", "rustc", "sqlite", "target", "version"]);
    assert_eq!(told["profile"], "debug");
    assert!(told["target"].as_str().unwrap().starts_with(std::env::consts::ARCH));
    let (major, _) = told["sqlite"].as_str().unwrap().split_once('.').unwrap();
    assert_eq!(major, "3");
    let verbose = ok(dir.path(), &["version", "--verbose"]);
    for (key, value) in told.as_object().unwrap() {
        assert!(
            verbose.lines().any(|l| l.starts_with(key) && l.ends_with(value.as_str().unwrap())),
            "{key}: {verbose}"
        );
    }
}

/// The pages of the documentation that the program carries.
fn docs() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("assets/docs"))
        .unwrap()
        .map(|e| format!("assets/docs/{}", e.unwrap().file_name().to_string_lossy()))
        .collect();
    names.sort();
    names
}

#[test]
fn the_table_of_settings_is_that_of_the_program() {
    let rows = uptimemesh::SETTINGS.iter().map(|setting| {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        format!("| `{}` | {default} | {} |\n", setting.name, setting.help())
    });
    let table: String =
        std::iter::once("| Setting | Default | Meaning |\n|---|---|---|\n".to_string()).chain(rows).collect();
    let page = document("assets/docs/settings.md");
    let intro = page.split("| Setting |").next().unwrap();
    golden::check_at("assets/docs/settings.md", &format!("{intro}{table}"));
}

#[test]
fn the_program_prints_every_topic() {
    let dir = Dir::new();
    let list = ok(dir.path(), &["docs"]);
    assert_eq!(list.lines().count(), docs().len(), "{list}");
    for line in list.lines() {
        let (name, title) = line.split_once(' ').unwrap();
        let text = ok(dir.path(), &["docs", name]);
        assert_eq!(text, document(&format!("assets/docs/{name}.md")));
        assert_eq!(text.lines().next().unwrap(), format!("# {}", title.trim()));
    }
}

/// The command lines in a text: of its shell blocks, and those that stand in a sentence.
fn command_lines(text: &str) -> Vec<Vec<String>> {
    let is_name = |word: &&str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
    };
    let starts = text.match_indices("uptimemesh ").filter(|(at, _)| {
        let before = text[..*at].chars().next_back().unwrap_or('\n');
        matches!(before, '`' | '\n' | '(' | '"' | ' ' | '|')
    });
    let words = |at: usize| {
        text[at..]
            .split(['`', '\n'])
            .next()
            .unwrap()
            .split(' ')
            .skip(1)
            .take_while(is_name)
            .map(str::to_string)
            .collect()
    };
    starts.map(|(at, _)| words(at)).filter(|words: &Vec<String>| !words.is_empty()).collect()
}

#[test]
fn every_command_that_a_document_names_exists() {
    let dir = Dir::new();
    let listed = names(dir.path());
    for name in docs().iter().map(String::as_str).chain(["README.md"]) {
        let text = document(name);
        let marked: Vec<&str> =
            text.split("```").enumerate().filter(|(i, _)| i % 2 == 1).map(|(_, block)| block).collect();
        let spans = text.split("```").step_by(2).flat_map(|part| part.split('`').skip(1).step_by(2));
        for line in marked.iter().flat_map(|block| block.lines()).chain(spans).filter(|l| l.contains("uptimemesh ")) {
            for words in command_lines(line) {
                let is_noun = listed.iter().any(|n| n.starts_with(&format!("{} ", words[0])));
                let called = if is_noun { words[..words.len().min(2)].join(" ") } else { words[0].clone() };
                assert!(listed.contains(&called), "{name}: help lists no command {called:?} ({line})");
            }
        }
    }
}

#[test]
fn every_path_that_a_document_names_exists() {
    for name in docs().iter().map(String::as_str).chain(["README.md", "src/ARCHITECTURE.md", "ops/README.md"]) {
        let text = document(name);
        for word in text.split('`').skip(1).step_by(2) {
            let first = word.split('/').next().unwrap();
            let is_path = word.contains('/')
                && ["src", "sql", "tests", "assets", "ops", ".ci"].contains(&first)
                && !word.contains(['*', 'N', ' ']);
            if is_path {
                assert!(root().join(word).exists(), "{name} names `{word}`, which is not there");
            }
        }
    }
}

/// `version.json` is where the version is kept; everything that repeats it agrees.
#[test]
fn the_version_is_one() {
    let text = document("version.json");
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let version = manifest["version"].as_str().unwrap();
    let stable = &manifest["channels"]["stable"];
    for place in [stable, &stable["bootstrap"], &stable["updater"], &stable["agent"]] {
        assert_eq!(place["version"], version);
    }
    assert_eq!(env!("CARGO_PKG_VERSION"), version, "Cargo.toml");
    let locked = document("Cargo.lock");
    let own = locked.split("[[package]]\n").find(|package| package.starts_with("name = \"uptimemesh\"\n")).unwrap();
    assert_eq!(own.lines().nth(1).unwrap(), format!("version = \"{version}\""), "Cargo.lock");
    let headings: Vec<String> =
        document("ops/CHANGELOG.md").lines().filter_map(|l| l.strip_prefix("## ")).map(str::to_string).collect();
    let released = headings.iter().find(|heading| *heading != "Unreleased");
    assert_eq!(released.map(String::as_str), Some(version), "ops/CHANGELOG.md");
    let key = document("ops/release-key.pub");
    for script in [&stable["bootstrap"], &stable["updater"]] {
        let path = script["path"].as_str().unwrap();
        let text = document(path);
        assert!(text.lines().any(|l| l == format!("VERSION={version}")), "{path} has no line VERSION={version}");
        let output = Command::new("sha256sum").arg(root().join(path)).output().unwrap();
        let sum = String::from_utf8(output.stdout).unwrap()[..64].to_string();
        assert_eq!(
            script["sha256"], sum,
            "{path} has changed: ops/build-release.sh --sums writes its sum into version.json"
        );
        assert!(text.contains(key.lines().nth(1).unwrap()), "{path} has another release key than ops/release-key.pub");
    }
}

#[test]
fn the_scripts_are_sound() {
    let of = |dir: &str| fs::read_dir(root().join(dir)).unwrap().map(|e| e.unwrap().path()).collect::<Vec<PathBuf>>();
    let mut scripts = [of("ops"), of("tests/bench/peers")].concat();
    scripts.retain(|p| p.extension().is_some_and(|e| e == "sh"));
    assert!(!scripts.is_empty());
    let output = Command::new("shellcheck").args(&scripts).output().expect("shellcheck is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn documents_stay_short() {
    for (name, lines_max) in [("README.md", 220), ("src/ARCHITECTURE.md", 250)] {
        let lines = document(name).lines().count();
        assert!(lines <= lines_max, "{name} has {lines} lines, of {lines_max}");
    }
}
