//! Text that cannot steer a terminal, and how many columns of one it takes.

use crate::text::is_invisible;

/// Characters that a terminal draws in two columns: East Asian scripts and pictures.
const WIDE: &[(char, char)] = &[
    ('\u{1100}', '\u{115f}'),
    ('\u{2e80}', '\u{303e}'),
    ('\u{3041}', '\u{33ff}'),
    ('\u{3400}', '\u{4dbf}'),
    ('\u{4e00}', '\u{a4cf}'),
    ('\u{a960}', '\u{a97f}'),
    ('\u{ac00}', '\u{d7a3}'),
    ('\u{f900}', '\u{faff}'),
    ('\u{fe30}', '\u{fe6f}'),
    ('\u{ff00}', '\u{ff60}'),
    ('\u{ffe0}', '\u{ffe6}'),
    ('\u{1f300}', '\u{1f64f}'),
    ('\u{1f680}', '\u{1f6ff}'),
    ('\u{1f900}', '\u{1faff}'),
    ('\u{20000}', '\u{3fffd}'),
];

/// Marks that are drawn over the character before them: the common blocks of every script.
const MARKS: &[(char, char)] = &[
    ('\u{300}', '\u{36f}'),
    ('\u{483}', '\u{489}'),
    ('\u{591}', '\u{5bd}'),
    ('\u{64b}', '\u{65f}'),
    ('\u{1ab0}', '\u{1aff}'),
    ('\u{1dc0}', '\u{1dff}'),
    ('\u{20d0}', '\u{20ff}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{fe20}', '\u{fe2f}'),
];

fn is_in(ranges: &[(char, char)], c: char) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// Text in ASCII, control characters escaped: for messages that quote what a server or a user wrote.
pub fn ascii(text: &str) -> String {
    let plain = |c: char| c == ' ' || c.is_ascii_graphic();
    text.chars().map(|c| if plain(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// Text whose lines have at most this many columns, broken between words; a longer word has a line of its own. What
/// follows stands below the last column of the line that was broken. A command of this program stays whole, so that it
/// can be pasted.
pub fn wrapped(text: &str, columns: usize) -> String {
    text.split('\n').map(|line| wrapped_line(line, columns)).collect::<Vec<_>>().join("\n")
}

fn wrapped_line(line: &str, columns: usize) -> String {
    if width_on_screen(line) <= columns || line.trim_start().starts_with("uptimemesh ") {
        return line.to_string();
    }
    let begin = column_start(line, columns);
    let indent = width_on_screen(&line[..begin]);
    let (mut out, mut used) = (line[..begin].to_string(), indent);
    for word in line[begin..].split(' ') {
        let wide = width_on_screen(word);
        if used == indent {
            used += wide;
        } else if used + 1 + wide <= columns {
            out.push(' ');
            used += 1 + wide;
        } else {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            used = indent + wide;
        }
        out.push_str(word);
    }
    out
}

/// Start of the last column of a line, in bytes: behind its indentation, or behind two blanks that leave room.
fn column_start(line: &str, columns: usize) -> usize {
    let indent = line.len() - line.trim_start().len();
    let ends = line.match_indices("  ").map(|(at, _)| at + line[at..].len() - line[at..].trim_start().len());
    let leaves_room = |at: &usize| width_on_screen(&line[..*at]) <= columns * 3 / 5;
    ends.filter(leaves_room).max().unwrap_or(indent)
}

/// Columns of text that may have colours.
fn width_on_screen(text: &str) -> usize {
    let mut parts = text.split('\x1b');
    let first = parts.next().map_or(0, width);
    first + parts.map(|part| width(part.split_once('m').map_or("", |(_, rest)| rest))).sum::<usize>()
}

/// Text without control characters, which could forge a cell or steer a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same for a terminal, with `?` for every invisible character, which would move what is drawn after it.
pub fn drawable(text: &str) -> String {
    printable(text).chars().map(|c| if is_invisible(c) { '?' } else { c }).collect()
}

/// Columns that drawable text takes on a terminal. Terminals differ on rare pictures and scripts: such a row may be a
/// column off.
pub fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    match c {
        _ if c.is_ascii() => 1,
        _ if is_in(MARKS, c) => 0,
        _ if is_in(WIDE, c) => 2,
        _ => 1,
    }
}

/// The beginning of a text, in at most `columns`; what is cut ends in `~`.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_string();
    }
    let mut kept = String::new();
    let mut left = columns.saturating_sub(1);
    for c in text.chars() {
        let Some(rest) = left.checked_sub(columns_of(c)) else { break };
        left = rest;
        kept.push(c);
    }
    if columns > 0 {
        kept.push('~');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_others_wrote_steers_a_terminal() {
        assert_eq!(printable("a\tb\x1b[31m\n"), "a b [31m ");
        assert_eq!(ascii("\u{e9}\x1b\n"), "\\u{e9}\\u{1b}\\n");
        assert_eq!(drawable("a\u{202e}b\u{200d}c\u{9b}31m\u{e0041}"), "a?b?c 31m?");
        assert_eq!(drawable("na\u{ef}ve \u{65e5}\u{672c}"), "na\u{ef}ve \u{65e5}\u{672c}");
    }

    #[test]
    fn wide_characters_take_two_columns_and_marks_none() {
        for (text, columns) in
            [("abc", 3), ("\u{e9}", 1), ("e\u{301}", 1), ("\u{65e5}\u{672c}", 4), ("\u{1f680}", 2), ("", 0)]
        {
            assert_eq!(width(text), columns, "{text}");
        }
    }

    #[test]
    fn what_is_cut_fits_and_ends_in_a_tilde() {
        for (text, columns, wanted) in [
            ("abcdef", 6, "abcdef"),
            ("abcdef", 5, "abcd~"),
            ("abcdef", 1, "~"),
            ("abcdef", 0, ""),
            // A character that takes two columns does not fit into one.
            ("\u{65e5}\u{672c}\u{8a9e}", 4, "\u{65e5}~"),
            ("e\u{301}e\u{301}e", 2, "e\u{301}~"),
        ] {
            assert_eq!(cut(text, columns), wanted, "{text} {columns}");
            assert!(width(&cut(text, columns)) <= columns);
        }
    }

    #[test]
    fn long_lines_are_broken_between_words_below_their_last_column() {
        assert_eq!(wrapped("one two three", 7), "one two\nthree");
        assert_eq!(wrapped("one two three\n", 13), "one two three\n");
        assert_eq!(wrapped("a-word-that-is-longer one", 7), "a-word-that-is-longer\none");
        assert_eq!(wrapped("", 7), "");
        assert_eq!(wrapped("  one two\nthree four", 6), "  one\n  two\nthree\nfour");
        assert_eq!(wrapped("  -o  one two three", 13), "  -o  one two\n      three");
        assert_eq!(wrapped("\x1b[31mbad\x1b[0m  one two", 10), "\x1b[31mbad\x1b[0m  one\n     two");
        assert_eq!(wrapped("uptimemesh join umj1:a --run", 9), "uptimemesh join umj1:a --run");
    }
}
