//! `docs`: the documentation on a terminal.

use super::args::{Args, Command, Failure, command};
use super::output;
use crate::docs::{TOPICS, topic};
use crate::sys::terminal;

/// Every command of this file.
pub const COMMANDS: &[Command] =
    &[command("docs", "[TOPIC]", "Print a topic of the documentation, or list all topics.", &[], docs)];

/// Blanks between two columns of a table.
const GAP: usize = 2;
/// A wider terminal is hard to read across.
const COLUMNS_MAX: usize = 100;

/// Prints a topic, or the names and titles of all. A pipe gets the Markdown as it is.
fn docs(args: &Args) -> Result<(), Failure> {
    let (name, topic) = (args.word(0), topic(args.word(0)));
    if topic.is_none() && !name.is_empty() {
        let names: Vec<&str> = TOPICS.iter().map(|t| t.name).collect();
        args.fault(format!("TOPIC must be one of {}, not {name:?}", names.join(", ")));
    }
    args.finish()?;
    match (topic, terminal::size()) {
        (Some(topic), Some(size)) => output::print(&readable(topic.text, size.columns.min(COLUMNS_MAX))),
        (Some(topic), None) => output::print(topic.text),
        (None, _) => {
            output::print(&TOPICS.iter().map(|t| format!("{:<16} {}\n", t.name, t.title())).collect::<String>())
        }
    }
    Ok(())
}

/// Markdown for a terminal of this many columns: paragraphs and items are filled, tables aligned, code indented.
fn readable(text: &str, columns: usize) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let code = lines.by_ref().take_while(|line| !line.starts_with("```"));
            out.extend(code.map(|line| format!("    {line}")));
        } else if line.starts_with('|') {
            let mut rows = vec![cells(line)];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(cells(row));
            }
            rows.retain(|row| !row.iter().all(|cell| cell.chars().all(|c| c == '-')));
            out.extend(table(&rows, columns));
        } else if line.starts_with('#') {
            out.push(line.trim_start_matches(['#', ' ']).to_uppercase());
        } else {
            let mut paragraph = line.to_string();
            while let Some(more) = lines.next_if(|next| !line.is_empty() && continues(next)) {
                paragraph.push(' ');
                paragraph.push_str(more.trim());
            }
            // What follows an item's first line stands below its text.
            let filled = match paragraph.split_once(' ') {
                Some((mark, text)) if is_mark(mark) => below(&format!("{mark:<3} "), &plain(text), columns),
                _ => output::wrapped(&plain(&paragraph), columns),
            };
            out.push(filled);
        }
    }
    out.join("\n") + "\n"
}

/// True if a line continues a paragraph or an item.
fn continues(line: &str) -> bool {
    let begins_another = ["|", "#", "```"].iter().any(|begin| line.starts_with(begin));
    !line.is_empty() && !begins_another && !is_mark(line.split(' ').next().unwrap_or_default())
}

/// True for what begins an item of a list: `-`, or a number and a point.
fn is_mark(word: &str) -> bool {
    word == "-" || word.strip_suffix('.').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Text without the marks of emphasis; names in backquotes keep them, as in messages.
fn plain(text: &str) -> String {
    text.replace("**", "")
}

/// The cells of a row.
fn cells(row: &str) -> Vec<String> {
    let inside = row.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{1}");
    inside.split('|').map(|cell| plain(cell.trim()).replace('\u{1}', "|")).collect()
}

/// A table: aligned where it fits, otherwise the first cell of each row with the others below it.
fn table(rows: &[Vec<String>], columns: usize) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.len()).max().unwrap_or(0);
    let before: usize = (0..count.saturating_sub(1)).map(|column| width(column) + GAP).sum();
    if before <= columns / 2 {
        let aligned = rows.iter().map(|row| {
            let (last, cells) = row.split_last().map_or(("", &[][..]), |(last, cells)| (last.as_str(), cells));
            let head: String =
                cells.iter().enumerate().map(|(at, cell)| format!("{cell:<w$}", w = width(at) + GAP)).collect();
            below(&head, last, columns)
        });
        return aligned.collect();
    }
    let header = rows.first().cloned().unwrap_or_default();
    let mut out = Vec::new();
    for row in rows.iter().skip(1) {
        for (at, cell) in row.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
            let name = header.get(at).filter(|name| at > 0 && !name.is_empty() && row.len() > GAP);
            let indent = if at == 0 { "" } else { "    " };
            let head = name.map_or(indent.to_string(), |name| format!("{indent}{name}: "));
            out.push(below(&head, cell, columns));
        }
    }
    out
}

/// A text behind its head, its further lines below its first.
fn below(head: &str, text: &str, columns: usize) -> String {
    let room = columns.saturating_sub(head.len()).max(1);
    let blanks = " ".repeat(head.len());
    format!("{head}{}", output::wrapped(text, room).replace('\n', &format!("\n{blanks}"))).trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_filled_paragraphs_items_code_and_tables() {
        let text = "# Title\n\nOne two\nthree `four` **five**.\n- item one\n  two three four\n\n```text\na  b\n```\n\n\
            | A | B |\n|---|---|\n| `a\\|b` | one two three four five |\n";
        let wanted = "TITLE\n\nOne two three `four`\nfive.\n-   item one two three\n    four\n\n    a  b\n\n\
            A      B\n`a|b`  one two three\n       four five\n";
        assert_eq!(readable(text, 24), wanted);
    }

    #[test]
    fn no_topic_is_wider_than_the_terminal_but_for_code_and_long_words() {
        for topic in TOPICS {
            for line in readable(topic.text, 80).lines().filter(|line| !line.starts_with("    ")) {
                let last = line.split(' ').next_back().map_or(0, str::len);
                assert!(line.len() <= 80 || last > 40, "{}: {line}", topic.name);
            }
        }
    }
}
