//! Which module of the crate imports which: what `use` and paths name, by `crate::`, `super::` and `self::`.

use super::every_source;
use std::collections::{BTreeMap, BTreeSet};

/// A file's module, as a path from the root of the crate: `agent/link/beat`.
fn module_of(file: &str) -> String {
    file.trim_end_matches(".rs").trim_end_matches("/mod").to_string()
}

/// Each module with the modules that its product code names.
pub fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let sources: Vec<(String, String)> =
        every_source().into_iter().map(|(file, text)| (module_of(&file), product(&text))).collect();
    let known: BTreeSet<&str> = sources.iter().map(|(module, _)| module.as_str()).collect();
    let of = |module: &str, text: &str| {
        let named = paths(module, text).into_iter().filter_map(|path| longest(&path, &known));
        named.filter(|target| target != module).collect()
    };
    sources.iter().map(|(module, text)| (module.clone(), of(module, text))).collect()
}

/// A text without its comments and its tests.
fn product(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The module that a path leads into.
fn longest(path: &[String], known: &BTreeSet<&str>) -> Option<String> {
    let prefixes = (1..=path.len()).rev().map(|length| path[..length].join("/"));
    prefixes.into_iter().find(|prefix| known.contains(prefix.as_str()))
}

/// Every path that a module names, from the root of the crate.
fn paths(module: &str, text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(start) {
            if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            tree(&mut Vec::new(), &mut text[at..].chars().peekable(), &mut |path| found.push(absolute(module, path)));
        }
    }
    found
}

fn absolute(module: &str, path: &[String]) -> Vec<String> {
    let mut from: Vec<String> =
        if path[0] == "crate" { Vec::new() } else { module.split('/').map(str::to_string).collect() };
    for part in path {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => drop(from.pop()),
            name => from.push(name.to_string()),
        }
    }
    from
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Reads a path, or a tree of them in braces, and gives each as a whole.
fn tree(prefix: &mut Vec<String>, chars: &mut Chars, found: &mut impl FnMut(&[String])) {
    let depth = prefix.len();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next_if_eq(&'{').is_some() {
            group(prefix, chars, found);
            break;
        }
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(c);
        }
        prefix.extend(Some(name).filter(|name| !name.is_empty()));
        let goes_on = chars.next_if_eq(&':').is_some() && chars.next_if_eq(&':').is_some();
        if !goes_on {
            found(prefix);
            break;
        }
    }
    prefix.truncate(depth);
}

/// Reads the rest of a group, whose brace was taken.
fn group(prefix: &mut Vec<String>, chars: &mut Chars, found: &mut impl FnMut(&[String])) {
    loop {
        tree(prefix, chars, found);
        // `as name` and `*` are no modules.
        while chars.next_if(|c| !matches!(c, ',' | '}')).is_some() {}
        match chars.next() {
            Some(',') => {}
            _ => return,
        }
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::a::{self, b::{c, D as E}, f::*};\n\
                fn x() { super::y::z::<u8>(crate::q::Q) }\npub use self::own::Thing;";
    let found: BTreeSet<String> = paths("m/n", text).into_iter().map(|path| path.join("/")).collect();
    let wanted = ["a", "a/b/c", "a/b/D", "a/f", "m/y/z", "q/Q", "m/n/own/Thing"];
    assert_eq!(found, wanted.into_iter().map(str::to_string).collect());
    assert_eq!(paths("m/n/o", "super::super::p").concat(), ["m", "p"]);
    let all = imports();
    assert!(all["agent/link/beat"].contains("agent/identity"), "{:?}", all["agent/link/beat"]);
}
