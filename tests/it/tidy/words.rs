//! Wording of doc comments: a noun or a verb first, figures named, idiomatic words. What is left stands in a list that
//! may only shrink.

use super::limits::List;
use std::fs;
use std::path::Path;

/// A comment that begins with one of these is a clause where a noun should be: "Grace period", "True if".
const CLAUSES: &str = "What|Whether|Whoever|Where|How|Who|Whom|Which";

/// Words that hide a figure, and calques, for which English has another word.
const AVOIDED: &str = "so many|so long|so often|so much|so few|anew|deed|deeds|heed|heeds|homeless|told|tell|tells|\
                       mend|mends|put back|puts back|takes back|taken back|going on|goes on|the one before|ask for|\
                       asks for|asked for";

/// True if a text has these words as whole words.
fn has(text: &str, words: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let mut found = text.match_indices(words).map(|(at, _)| (&text[..at], &text[at + words.len()..]));
    found.any(|(before, after)| is_end(before.chars().next_back()) && is_end(after.chars().next()))
}

/// Number of faults in the text of one line.
fn faults(text: &str, is_first: bool) -> usize {
    let begins_with = |word| text.strip_prefix(word).is_some_and(|rest: &str| rest.starts_with(' '));
    let is_clause = is_first && CLAUSES.split('|').any(begins_with);
    usize::from(is_clause) + AVOIDED.split('|').filter(|words| has(&text.to_lowercase(), words)).count()
}

/// Number of faults in the doc comments of a source.
fn count(source: &str) -> usize {
    let (mut sum, mut is_first) = (0, true);
    for line in source.lines().map(str::trim) {
        let text = line.strip_prefix("///").or(line.strip_prefix("//!")).map_or("", str::trim);
        sum += faults(text, is_first);
        is_first = text.is_empty();
    }
    sum
}

#[test]
fn doc_comments_are_plain_english() {
    let mut list = List::read("words.txt");
    for (file, text) in super::every_source() {
        if count(&text) > 0 {
            list.found(&file, count(&text));
        }
    }
    list.check("words that a native reader stumbles on", "a noun or a verb first; name the figure; see the lists here");
}

#[test]
fn faults_of_wording_are_counted() {
    assert_eq!(count("/// Whether it runs.\nfn a() {}\n/// True if it runs, and\n/// What follows.\n"), 1);
    assert_eq!(count("//! Waits so long, and tells it anew.\n// What is told here does not count.\n"), 3);
    assert_eq!(count("/// Indeed, a deeded one is retold.\nlet text = \"told\";\n"), 0);
}

/// Words that nothing that users read may contain. "Asks for a password" is English, "a backup that was asked for" is
/// not.
fn is_avoided_everywhere(words: &&str) -> bool {
    !["ask for", "asks for", "asked for"].contains(words)
}

#[test]
fn texts_that_users_read_are_plain_english() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths =
        vec![root.join("README.md"), root.join("tests/golden/help.txt"), root.join("tests/golden/events.txt")];
    for dir in ["assets/docs", "assets/pages", "assets/openapi"] {
        paths.extend(fs::read_dir(root.join(dir)).unwrap().map(|entry| entry.unwrap().path()));
    }
    let mut found = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            let avoided = AVOIDED.split('|').filter(is_avoided_everywhere).filter(|words| has(&line, words));
            found.extend(avoided.map(|words| format!("{}:{}: {words}: {line}", path.display(), number + 1)));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
