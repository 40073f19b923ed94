//! The Markdown of the documentation as markup: headings, paragraphs, lists, tables, fenced code; inside of them code,
//! bold text and links. It reads only our own files; unknown markup stays text.

use super::parts;
use crate::html::{Html, page};
use std::iter::Peekable;
use std::str::Lines;

/// A document as markup. Its first heading becomes the page's title.
pub fn html(text: &str) -> Html {
    let mut lines = text.lines().peekable();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        blocks.push(block(line, &mut lines));
    }
    Html::concat(blocks)
}

fn block(line: &str, lines: &mut Peekable<Lines>) -> Html {
    if line.is_empty() {
        Html::empty()
    } else if line.starts_with("```") {
        let code: Vec<&str> = lines.take_while(|line| !line.starts_with("```")).collect();
        parts::code(&code.join("\n"))
    } else if let Some(title) = line.strip_prefix("# ") {
        page!("doc_title.html", text = &inline(title))
    } else if let Some(title) = line.strip_prefix("## ") {
        page!("doc_heading.html", text = &inline(title))
    } else if line.starts_with("| ") {
        table(line, lines)
    } else if line.starts_with("- ") {
        list(line, lines)
    } else {
        page!("p.html", class = "", body = &inline(&paragraph(line, lines)))
    }
}

/// A block with its continuation lines, up to an empty line or the next block.
fn paragraph(first: &str, lines: &mut Peekable<Lines>) -> String {
    let mut text = first.to_string();
    while let Some(line) =
        lines.next_if(|l| !l.is_empty() && !["- ", "| ", "#", "```"].iter().any(|begin| l.starts_with(begin)))
    {
        text.push(' ');
        text.push_str(line.trim());
    }
    text
}

fn list(first: &str, lines: &mut Peekable<Lines>) -> Html {
    let mut items = Vec::new();
    let mut line = first;
    loop {
        items.push(inline(&paragraph(&line[2..], lines)));
        match lines.next_if(|l| l.starts_with("- ")) {
            Some(next) => line = next,
            None => break,
        }
    }
    page!("doc_list.html", items = &parts::items_of(items))
}

fn table(head: &str, lines: &mut Peekable<Lines>) -> Html {
    let heads = cells(head);
    // Skips the line below the heads.
    lines.next_if(|l| l.starts_with("|-"));
    let mut rows = Vec::new();
    while let Some(line) = lines.next_if(|l| l.starts_with('|')) {
        rows.push(cells(line).iter().map(|cell| inline(cell)).collect());
    }
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    parts::table(heads[0], &parts::heads(&heads), rows)
}

/// Cells of a line; a bar inside code is text.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut is_code) = (vec![String::new()], false);
    for c in line.trim().trim_matches('|').chars() {
        is_code ^= c == '`';
        match cells.last_mut() {
            Some(cell) if c != '|' || is_code => cell.push(c),
            _ => cells.push(String::new()),
        }
    }
    cells.iter().map(|cell| cell.trim().to_string()).collect()
}

/// Code, bold text and links in a line of text.
fn inline(text: &str) -> Html {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        let (before, marked) = rest.split_at(at);
        let Some((html, after)) = mark(marked) else {
            // An unpaired mark.
            let (sign, after) = rest.split_at(at + 1);
            parts.push(Html::text(sign));
            rest = after;
            continue;
        };
        parts.push(Html::text(before));
        parts.push(html);
        rest = after;
    }
    parts.push(Html::text(rest));
    Html::concat(parts)
}

/// The mark at the beginning of a text, and the rest.
fn mark(text: &str) -> Option<(Html, &str)> {
    if let Some(rest) = text.strip_prefix('`') {
        let (code, after) = rest.split_once('`')?;
        return Some((page!("doc_code.html", text = code), after));
    }
    if let Some(rest) = text.strip_prefix("**") {
        let (bold, after) = rest.split_once("**")?;
        return Some((page!("doc_bold.html", text = bold), after));
    }
    let (label, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (href, after) = rest.split_once(')')?;
    Some((parts::link(href, label), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_marks_become_markup_and_all_else_stays_text() {
        let text = "# One & two\n\nA `<b>` and\n**bold** [link](/ui), 2 * 3.\n\n- a\n  b\n- c\n\n| Key | `a|b` \
            |\n|---|---|\n| x | <i> |\n\n```sh\na < b\n\nc\n```\nEnd";
        let html = html(text).into_string();
        for part in [
            "<h1>One &amp; two</h1>",
            "A <code>&lt;b&gt;</code> and <strong>bold</strong> <a href=\"/ui\">link</a>, 2 * 3.",
            "<li>a b</li>",
            "<li>c</li>",
            "<td>&lt;i&gt;</td>",
            "<pre><code>a &lt; b\n\nc</code></pre>",
            "End",
        ] {
            assert!(html.contains(part), "{part}\n{html}");
        }
        assert_eq!(cells("| a | `b|c` |"), ["a", "`b|c`"]);
    }
}
