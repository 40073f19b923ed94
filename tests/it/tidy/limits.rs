//! Limits of size: 70 lines a function, 500 a file, 120 columns. What is above them stands in a list that may only
//! shrink.

use super::sources;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 120;

/// What was above a limit when the list was made, in `tests/it/tidy/`: a figure and a name on each line.
pub struct List {
    path: PathBuf,
    /// `None`: there is no list yet, and one is made.
    listed: Option<BTreeMap<String, usize>>,
    found: BTreeMap<String, usize>,
}

impl List {
    pub fn read(name: &str) -> List {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tidy").join(name);
        let entry = |line: &str| line.split_once(' ').map(|(figure, name)| (name.to_string(), figure.parse().unwrap()));
        let listed = fs::read_to_string(&path).ok().map(|text| text.lines().filter_map(entry).collect());
        List { path, listed, found: BTreeMap::new() }
    }

    /// Notes something above its limit.
    pub fn found(&mut self, name: &str, figure: usize) {
        // Functions of one name in one file share an entry: the longest counts.
        let known = self.found.entry(name.to_string()).or_default();
        *known = figure.max(*known);
    }

    /// Fails where something is new or has grown, and where the list says more than is true. `UPDATE_GOLDEN=1` lowers
    /// it; only a list that was removed is made with what there is.
    pub fn check(self, what: &str, advice: &str) {
        let listed = self.listed.as_ref().unwrap_or(&self.found);
        let grown: Vec<String> = self
            .found
            .iter()
            .filter(|(name, figure)| listed.get(*name).is_none_or(|most| *figure > most))
            .map(|(name, figure)| format!("{name}: {what} ({figure}); {advice}"))
            .collect();
        assert!(grown.is_empty(), "\n{}", grown.join("\n"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let text: String = self.found.iter().map(|(name, figure)| format!("{figure} {name}\n")).collect();
            fs::write(&self.path, text).unwrap();
            return;
        }
        let better: Vec<String> = listed
            .iter()
            .filter(|(name, most)| self.found.get(*name) != Some(most))
            .map(|(name, _)| name.clone())
            .collect();
        let list = self.path.display();
        assert!(better.is_empty(), "these got better: lower {list} by UPDATE_GOLDEN=1\n{}", better.join("\n"));
        assert!(self.listed.is_some(), "{list} is missing: make it by UPDATE_GOLDEN=1");
    }
}

/// Every source of the product and of its tests, by its path in the repository.
fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    sources(&root.join("src"), &mut paths);
    sources(&root.join("tests/it"), &mut paths);
    paths.sort();
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The functions of a text that rustfmt has written, with their lines.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some((before, rest)) = line.trim_start().split_once("fn ") else { continue };
        let is_head = before
            .split_whitespace()
            .all(|word| word.starts_with("pub") || ["const", "in", "super)", "crate)"].contains(&word));
        if !is_head || line.ends_with([';', '}']) {
            continue;
        }
        let end = format!("{}}}", &line[..indent]);
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
        if let Some(length) = lines[at..].iter().position(|line| *line == end) {
            found.push((name.to_string(), length + 1));
        }
    }
    found
}

#[test]
fn functions_have_at_most_70_lines() {
    let mut list = List::read("functions.txt");
    for (file, text) in all() {
        for (name, lines) in functions(&text) {
            if lines > FUNCTION_LINES_MAX {
                list.found(&format!("{file} {name}"), lines);
            }
        }
    }
    list.check("a function with too many lines", "give its parts names");
}

#[test]
fn files_have_at_most_500_lines() {
    let mut list = List::read("files.txt");
    for (file, text) in all() {
        if text.lines().count() > FILE_LINES_MAX {
            list.found(&file, text.lines().count());
        }
    }
    list.check("a file with too many lines", "cut it along a real seam");
}

#[test]
fn lines_have_at_most_120_columns() {
    let mut list = List::read("columns.txt");
    for (file, text) in all() {
        let wide = text.lines().filter(|line| line.chars().count() > COLUMNS_MAX).count();
        if wide > 0 {
            list.found(&file, wide);
        }
    }
    list.check("lines that are too wide", "break them");
}

#[test]
fn the_lines_of_functions_are_counted() {
    let text = "pub(super) fn one() -> u8 {\n    1\n}\n\n\
                impl T {\n    fn two(\n        a: u8,\n    ) {\n        f(|| {\n        });\n    }\n\n    fn short() {}\n}\n\
                // fn no\n";
    assert_eq!(functions(text), [("one".to_string(), 3), ("two".to_string(), 6)]);
}
