//! Building blocks of pages: tables, facts, times, links. Each takes text and returns escaped markup.

use crate::clock::{self, Timestamp};
use crate::html::{Html, page};
use crate::percent;
use serde_json::Value;

/// Characters of a value that a cell shows; the page of the object shows all.
const CELL_CHARS_MAX: usize = 120;

/// Text, escaped.
pub fn text(text: &str) -> Html {
    Html::text(text)
}

/// A link; `href` is encoded already.
pub fn link(href: &str, text: &str) -> Html {
    page!("link.html", href = href, text = text)
}

/// The page of an object under a part of the site.
pub fn path(part: &str, id: impl AsRef<str>) -> String {
    format!("/ui/{part}/{}", percent::encode(id.as_ref()))
}

/// A link to a node's page.
pub fn node(id: impl AsRef<str>) -> Html {
    link(&path("nodes", &id), id.as_ref())
}

/// A link to a service's page.
pub fn service(id: impl AsRef<str>) -> Html {
    link(&path("services", &id), id.as_ref())
}

/// A link to a replica's page.
pub fn replica(id: impl AsRef<str>) -> Html {
    link(&path("replicas", &id), id.as_ref())
}

/// Word of a state, in its colour. Words without a colour are shown plain.
pub fn state(word: &str) -> Html {
    page!("state.html", word = word)
}

/// A link that looks like a button.
pub fn button(href: &str, label: &str, kind: &str) -> Html {
    page!("button.html", href = href, text = label, kind = kind)
}

/// A small label.
pub fn chip(text: &str) -> Html {
    page!("chip.html", text = text)
}

/// A paragraph.
pub fn paragraph(text: &str) -> Html {
    page!("p.html", class = "", body = text)
}

/// A quieter paragraph.
pub fn hint(text: &str) -> Html {
    page!("p.html", class = "hint", body = text)
}

/// Text in a code block.
pub fn code(text: &str) -> Html {
    page!("code.html", text = text)
}

/// Hidden field of a form.
pub fn hidden(name: &str, value: &str) -> Html {
    page!("hidden.html", name = name, value = value)
}

/// A moment: how long ago, and exactly in its title.
pub fn time(at: Timestamp) -> Html {
    let exact = Timestamp::from_secs(at.secs()).to_string();
    page!("time.html", exact = &exact, relative = &relative(at, clock::now()))
}

/// A moment, if there was one.
pub fn maybe_time(at: Option<Timestamp>) -> Html {
    at.map_or_else(|| text("never"), time)
}

/// Distance of a moment from `now`, in words.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let s = now.secs() - at.secs();
    let span = match s.abs() {
        0..=1 => return "just now".to_string(),
        n @ 2..=59 => format!("{n} s"),
        n @ 60..=3599 => format!("{} min", n / 60),
        n @ 3600..=86_399 => format!("{} h", n / 3600),
        n => format!("{} d", n / 86_400),
    };
    if s < 0 { format!("in {span}") } else { format!("{span} ago") }
}

/// A table; a head that begins with `~` marks a column that narrow screens leave out.
pub fn table(caption: &str, heads: &[Head], rows: Vec<Vec<Html>>) -> Html {
    let wide: Vec<bool> = heads.iter().map(|head| head.wide).collect();
    let rows = rows.into_iter().map(|cells| {
        let cell = |(i, body): (usize, Html)| match wide.get(i) {
            Some(true) => page!("td_wide.html", body = &body),
            _ => page!("td.html", body = &body),
        };
        page!("tr.html", cells = &Html::concat(cells.into_iter().enumerate().map(cell).collect()))
    });
    let rows = Html::concat(rows.collect());
    let head = |head: &Head| {
        let (class, sort) = (if head.wide { " class=\"w\"" } else { "" }, head.sorted.map_or("", |by| by));
        page!("th.html", more = &attributes(class, sort), text = &head.label)
    };
    page!("table.html", caption = caption, heads = &Html::concat(heads.iter().map(head).collect()), rows = &rows)
}

/// Line under a table: the total, and links to other pages.
pub fn pager(total: usize, one: &str, number: usize, pages: usize, href: &dyn Fn(usize) -> String) -> Html {
    let mut links = Vec::new();
    if number > 1 {
        links.push(link(&href(number - 1), "Previous page"));
        links.push(text(" "));
    }
    if number < pages {
        links.push(page!("next.html", href = &href(number + 1)));
    }
    let of = if pages > 1 { format!(", page {number} of {pages}") } else { String::new() };
    page!("pager.html", text = &format!("{}{of}", count(total, one)), links = &Html::concat(links))
}

/// The head of a column.
pub struct Head {
    label: Html,
    wide: bool,
    sorted: Option<&'static str>,
}

impl From<&str> for Head {
    fn from(label: &str) -> Head {
        let wide = label.starts_with('~');
        Head { label: text(label.trim_start_matches('~')), wide, sorted: None }
    }
}

impl Head {
    /// A head that sorts the table by its column.
    pub fn sorting(label: &str, href: &str, is_sorted: bool) -> Head {
        Head { label: link(href, label), wide: false, sorted: is_sorted.then_some("ascending") }
    }
}

/// Heads of columns.
pub fn heads(labels: &[&str]) -> Vec<Head> {
    labels.iter().map(|label| Head::from(*label)).collect()
}

/// Attributes of a head: they are this file's own words.
fn attributes(class: &'static str, sorted: &'static str) -> Html {
    match (class.is_empty(), sorted.is_empty()) {
        (true, true) => Html::empty(),
        (false, true) => page!("th_wide.html"),
        (_, false) => page!("th_sorted.html"),
    }
}

/// Names and values.
pub fn facts(pairs: Vec<(&str, Html)>) -> Html {
    let fact = |(name, value): (&str, Html)| page!("fact.html", name = name, value = &value);
    page!("facts.html", facts = &Html::concat(pairs.into_iter().map(fact).collect()))
}

/// A list without bullets.
pub fn list(items: Vec<Html>) -> Html {
    page!("ul.html", items = &items_of(items))
}

/// The items of a list.
pub fn items_of(items: Vec<Html>) -> Html {
    Html::concat(items.into_iter().map(|item| page!("li.html", body = &item)).collect())
}

/// A part of a page under a heading of its own.
pub fn section(title: &str, body: &Html) -> Html {
    page!("section.html", title = title, body = body)
}

/// Region of a page that is kept up to date in browsers with scripts.
pub fn live(id: &str, body: &Html) -> Html {
    page!("live.html", id = id, body = body)
}

/// Details that open on a click.
pub fn details(summary: &str, body: &Html) -> Html {
    page!("details.html", summary = summary, body = body)
}

/// Placeholder for an empty list: what to do, and the command for it.
pub fn empty(text: &str, command: &str) -> Html {
    page!("empty.html", text = text, command = command)
}

/// Choice among words: value and text. An empty first value means any.
pub fn select(label: &str, name: &str, words: &[(&str, &str)], chosen: &str) -> Html {
    page!("select.html", label = label, name = name, options = &options(words, chosen))
}

fn options(words: &[(&str, &str)], chosen: &str) -> Html {
    let option = |(value, text): &(&str, &str)| match *value == chosen {
        true => page!("option_selected.html", value = *value, text = *text),
        false => page!("option.html", value = *value, text = *text),
    };
    Html::concat(words.iter().map(option).collect())
}

/// Choice among words that are both value and text.
pub fn select_words(label: &str, name: &str, words: &[&str], chosen: &str) -> Html {
    page!("select.html", label = label, name = name, options = &options_words(words, chosen))
}

/// Options only, of words that are both value and text.
pub fn options_words(words: &[&str], chosen: &str) -> Html {
    let words: Vec<(&str, &str)> = words.iter().map(|word| (*word, *word)).collect();
    options(&words, chosen)
}

/// A field of one line.
pub fn field(label: &str, name: &str, value: &str) -> Html {
    page!("field.html", label = label, name = name, value = value, more = "")
}

/// A box to tick.
pub fn checkbox(name: &str, label: &str) -> Html {
    page!("checkbox.html", name = name, label = label)
}

/// Value of a cell: texts bare, everything else as JSON, cut if too long.
pub fn value(value: &Value) -> String {
    let whole = match value {
        Value::String(text) => text.clone(),
        Value::Null => "not known".to_string(),
        other => other.to_string(),
    };
    match whole.char_indices().nth(CELL_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &whole[..cut]),
        None => whole,
    }
}

/// An object as indented JSON.
pub fn pretty(object: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(object).unwrap_or_default()
}

/// A path with query parameters; empty ones are left out.
pub fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}={}", percent::encode(v))).collect();
    if pairs.is_empty() { path.to_string() } else { format!("{path}?{}", pairs.join("&")) }
}

/// An amount of bytes in binary units.
pub fn size(bytes: f64) -> String {
    let (mut n, mut unit) = (bytes, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if n < 1024.0 {
            break;
        }
        (n, unit) = (n / 1024.0, larger);
    }
    if unit == "B" { format!("{n:.0} B") } else { format!("{n:.1} {unit}") }
}

/// `1 node`, `2 nodes`.
pub fn count(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_from_now() {
        let now = Timestamp::from_secs(1_000_000);
        for (ago, said) in [
            (0, "just now"),
            (59, "59 s ago"),
            (3599, "59 min ago"),
            (7200, "2 h ago"),
            (172_800, "2 d ago"),
            (-90, "in 1 min"),
        ] {
            assert_eq!(relative(now.plus_secs(-ago), now), said);
        }
    }

    #[test]
    fn parameters_are_encoded_and_empty_ones_left_out() {
        assert_eq!(with_query("/ui", &[("a", "b&c"), ("d", "")]), "/ui?a=b%26c");
        assert_eq!(with_query("/ui", &[]), "/ui");
    }
}
