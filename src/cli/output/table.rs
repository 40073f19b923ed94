//! Tables: which columns a list has, and how they are drawn for people and for programs.

use super::age;
use super::colour::{painted, tone};
use super::text::{cut, drawable, printable, width};
use crate::clock::Timestamp;
use crate::model::Object;
use serde_json::Value;

/// Blanks between two columns.
const GAP: usize = 2;
/// A column of texts or ids keeps at least this width on a narrow terminal, and the width of its header.
const CUT_MIN: usize = 8;

/// Type of a column; decides how a value is written and whether it may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An id or an address: cut last.
    Id,
    /// Words, lists and objects: cut first.
    Text,
    /// State, a word with a colour.
    State,
    /// A moment, shown as its age.
    Time,
    /// A number, aligned to the right.
    Number,
    /// A number of bytes, shown in its largest unit.
    Bytes,
}

/// A column as people see it.
pub struct Column {
    header: &'static str,
    key: &'static str,
    kind: Kind,
    is_wide: bool,
    is_sparse: bool,
    is_spare: bool,
    made: Option<fn(&Value) -> Value>,
}

impl Column {
    /// Shown by `-o wide` only.
    pub const fn wide(self) -> Column {
        Column { is_wide: true, ..self }
    }

    /// Left out of a table in which it would be empty.
    pub const fn sparse(self) -> Column {
        Column { is_sparse: true, ..self }
    }

    /// Left out of a terminal that is too narrow for it.
    pub const fn spare(self) -> Column {
        Column { is_spare: true, ..self }
    }

    fn value(&self, object: &Value) -> Value {
        self.made.map_or_else(|| found(object, self.key).clone(), |make| make(object))
    }

    fn may_be_cut(&self) -> bool {
        matches!(self.kind, Kind::Id | Kind::Text)
    }

    fn is_to_the_right(&self) -> bool {
        matches!(self.kind, Kind::Number | Kind::Bytes)
    }
}

/// A column of a field; `a.b` is a field of an object inside.
pub const fn column(header: &'static str, key: &'static str, kind: Kind) -> Column {
    Column { header, key, kind, is_wide: false, is_sparse: false, is_spare: false, made: None }
}

/// A column of a value made from the whole object.
pub const fn made(header: &'static str, kind: Kind, make: fn(&Value) -> Value) -> Column {
    Column { header, key: "", kind, is_wide: false, is_sparse: false, is_spare: false, made: Some(make) }
}

/// A list: its columns for people, and those that scripts cut, which stay as they are.
pub struct Table {
    /// Its objects, in the plural.
    pub noun: &'static str,
    /// The field that names an object.
    pub id: &'static str,
    /// Columns for people.
    pub columns: &'static [Column],
    /// Header and field of each column of the tab-separated table.
    pub tabs: &'static [(&'static str, &'static str)],
}

/// Appearance of a table for people.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// With the columns of `-o wide`.
    pub is_wide: bool,
    /// Columns of the terminal; `None` cuts nothing.
    pub width: Option<usize>,
    /// Colours are on.
    pub has_colour: bool,
    /// The moment that ages are counted from.
    pub now: Timestamp,
}

impl Table {
    /// The name of an object.
    pub fn id_of(&self, object: &Value) -> String {
        printable(&cell(object, self.id))
    }

    /// The first line of the tab-separated table.
    pub fn tabs_header(&self) -> String {
        self.tabs.iter().map(|(header, _)| *header).collect::<Vec<_>>().join("\t") + "\n"
    }

    /// An object as a line of the tab-separated table.
    pub fn tabs_row(&self, object: &Value) -> String {
        self.tabs.iter().map(|(_, key)| printable(&cell(object, key))).collect::<Vec<_>>().join("\t") + "\n"
    }

    /// The same without fields of these names.
    pub fn tabs_row_without(&self, object: &Value, names: &[&str]) -> String {
        let kept = self.tabs.iter().filter(|(_, key)| !names.contains(key));
        kept.map(|(_, key)| printable(&cell(object, key))).collect::<Vec<_>>().join("\t")
    }

    /// The table for people, line by line; the first line is the header.
    pub fn lines(&self, objects: &[Value], look: &Look) -> Vec<String> {
        let cells_of =
            |column: &'static Column| objects.iter().map(|object| people_cell(column, object, look.now)).collect();
        let shown = self.columns.iter().filter(|c| look.is_wide || !c.is_wide);
        let mut columns: Vec<Drawn> = shown.map(|column| Drawn::of(column, cells_of(column))).collect();
        columns.retain(|drawn| !drawn.column.is_sparse || drawn.cells.iter().any(|cell| cell != "-"));
        if let Some(room) = look.width {
            fit(&mut columns, room);
        }
        let header = line(&columns, |drawn| drawn.column.header, &Look { has_colour: false, ..*look });
        let rows = (0..objects.len()).map(|row| line(&columns, |drawn| &drawn.cells[row], look));
        std::iter::once(header).chain(rows).collect()
    }
}

/// A column with its cells and how wide it is drawn.
struct Drawn {
    column: &'static Column,
    cells: Vec<String>,
    width: usize,
}

impl Drawn {
    fn of(column: &'static Column, cells: Vec<String>) -> Drawn {
        let mut drawn = Drawn { column, cells, width: 0 };
        drawn.width = drawn.natural_width();
        drawn
    }

    fn natural_width(&self) -> usize {
        self.cells.iter().map(|cell| width(cell)).max().unwrap_or(0).max(self.column.header.len())
    }
}

/// Makes lines fit: texts are cut first, then spare columns are left out from the right, and ids are cut last.
fn fit(columns: &mut Vec<Drawn>, room: usize) {
    while !narrow(columns, Kind::Text, room) {
        let Some(spare) = columns.iter().rposition(|drawn| drawn.column.is_spare) else {
            narrow(columns, Kind::Id, room);
            return;
        };
        columns.remove(spare);
        columns.iter_mut().for_each(|drawn| drawn.width = drawn.natural_width());
    }
}

/// Narrows the columns of a kind, the widest first; true if lines fit then.
fn narrow(columns: &mut [Drawn], kind: Kind, room: usize) -> bool {
    while columns.iter().map(|drawn| drawn.width + GAP).sum::<usize>() > room + GAP {
        let may_give =
            |drawn: &&mut Drawn| drawn.column.kind == kind && drawn.width > CUT_MIN.max(drawn.column.header.len());
        let Some(widest) = columns.iter_mut().filter(may_give).max_by_key(|drawn| drawn.width) else { return false };
        widest.width -= 1;
    }
    true
}

/// A line of the table. What does not fit into the terminal even so is cut at its edge.
fn line<'a>(columns: &'a [Drawn], cell: impl Fn(&'a Drawn) -> &'a str, look: &Look) -> String {
    let mut out = String::new();
    let mut left = look.width.unwrap_or(usize::MAX);
    for drawn in columns {
        let column = drawn.column;
        let whole = cell(drawn);
        let text = cut(whole, if column.may_be_cut() { drawn.width.min(left) } else { left });
        let blanks = " ".repeat(drawn.width.min(left).saturating_sub(width(&text)));
        let shown = if column.kind == Kind::State { painted(&text, tone(whole), look.has_colour) } else { text };
        if column.is_to_the_right() {
            out.extend([blanks, shown]);
        } else {
            out.extend([shown, blanks]);
        }
        left = left.saturating_sub(drawn.width + GAP);
        if left == 0 {
            break;
        }
        out.push_str(&" ".repeat(GAP));
    }
    out.truncate(out.trim_end().len());
    out
}

/// A value as people read it.
fn people_cell(column: &Column, object: &Value, now: Timestamp) -> String {
    let value = column.value(object);
    drawable(&match (column.kind, &value) {
        (Kind::Time, Value::String(text)) => Timestamp::parse(text).map_or(text.clone(), |at| age::age(at, now)),
        (Kind::Bytes, Value::Number(n)) => n.as_u64().map_or(n.to_string(), bytes),
        (_, Value::Bool(is_so)) => if *is_so { "yes" } else { "no" }.to_string(),
        (_, Value::Object(pairs)) if !pairs.is_empty() => pairs_of(pairs),
        (_, Value::Object(_)) => "-".to_string(),
        (_, value) => text_of(value),
    })
}

/// The fields of an object on one line, ids first, because the end may be cut.
fn pairs_of(fields: &Object) -> String {
    let (ids, others): (Vec<_>, Vec<_>) = fields.iter().partition(|(key, _)| key.ends_with("_id"));
    let moment = |value: &Value| value.as_str().and_then(Timestamp::parse).map(age::exact);
    let pair = |(key, value): (&String, &Value)| format!("{key}={}", moment(value).unwrap_or_else(|| text_of(value)));
    ids.into_iter().chain(others).map(pair).collect::<Vec<_>>().join(" ")
}

/// A number of bytes in the largest unit that it has one of.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (1..UNITS.len()).rev().find(|unit| bytes >> (10 * unit) > 0).unwrap_or(0);
    let whole = bytes as f64 / (1_u64 << (10 * unit)) as f64;
    if unit == 0 || whole >= 10.0 {
        format!("{whole:.0} {}", UNITS[unit])
    } else {
        format!("{whole:.1} {}", UNITS[unit])
    }
}

/// A field of an object, `a.b` inside of another.
pub fn found<'a>(object: &'a Value, path: &str) -> &'a Value {
    let deep = || path.split('.').try_fold(object, |inside, key| inside.get(key));
    object.get(path).or_else(deep).unwrap_or(&Value::Null)
}

/// A field of an object as a cell: lists joined, nothing as `-`.
pub fn cell(object: &Value, path: &str) -> String {
    text_of(found(object, path))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "-".to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_string(),
        Value::Array(items) => {
            items.iter().map(|i| i.as_str().map_or(i.to_string(), str::to_string)).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TABLE: Table = Table {
        noun: "things",
        id: "id",
        columns: &[
            column("THING", "id", Kind::Id),
            column("STATE", "state", Kind::State),
            column("SIZE", "size", Kind::Bytes),
            column("AGE", "at", Kind::Time).spare(),
            column("ERROR", "error", Kind::Text).sparse(),
            made("WHY", Kind::Text, |object| found(object, "in.why").clone()),
            column("LABELS", "labels", Kind::Text).wide(),
        ],
        tabs: &[("THING", "id"), ("AT", "at"), ("WHY", "in.why")],
    };

    fn look(width: Option<usize>) -> Look {
        Look { is_wide: false, width, has_colour: false, now: Timestamp::from_secs(1000) }
    }

    fn things() -> Vec<Value> {
        let at = |s: i64| json!(Timestamp(s * 1_000_000 + 5));
        vec![
            json!({"id": "a-thing-with-a-long-name", "state": "alive", "size": 1536, "at": at(940),
                "in": {"why": "because it was requested"}}),
            json!({"id": "b", "state": "dead", "size": 10, "at": at(8_300), "labels": {"x": "\u{1b}y", "n_id": 1,
                "at": "2026-11-28T21:07:30.998Z"}}),
        ]
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let lines = TABLE.lines(&things(), &look(None));
        assert_eq!(
            lines,
            [
                "THING                     STATE     SIZE  AGE    WHY",
                "a-thing-with-a-long-name  alive  1.5 KiB  60s    because it was requested",
                "b                         dead      10 B  in 2h  -",
            ]
        );
        let wide = TABLE.lines(&things(), &Look { is_wide: true, ..look(None) });
        assert!(wide[2].ends_with("n_id=1 at=2026-11-28T21:07:30Z x= y"), "{wide:?}");
    }

    #[test]
    fn texts_are_cut_first_then_spare_columns_go_and_ids_are_cut_last() {
        let lines = TABLE.lines(&things(), &look(Some(60)));
        assert_eq!(lines[1], "a-thing-with-a-long-name  alive  1.5 KiB  60s    because it~");
        let lines = TABLE.lines(&things(), &look(Some(54)));
        assert_eq!(lines[1], "a-thing-with-a-long-name  alive  1.5 KiB  because it ~");
        let lines = TABLE.lines(&things(), &look(Some(47)));
        assert_eq!(lines[1], "a-thing-with-a-long-~  alive  1.5 KiB  because~");
    }

    #[test]
    fn a_line_never_exceeds_the_terminal() {
        for columns in 1..100 {
            for line in TABLE.lines(&things(), &Look { is_wide: true, ..look(Some(columns)) }) {
                assert!(width(&line) <= columns, "{columns}: {line:?}");
            }
        }
    }

    #[test]
    fn only_states_have_colours_and_they_shift_nothing() {
        let plain = TABLE.lines(&things(), &look(Some(60)));
        let lines = TABLE.lines(&things(), &Look { has_colour: true, ..look(Some(60)) });
        assert!(
            lines[1].contains("  \x1b[32malive\x1b[0m  ") && lines[2].contains("  \x1b[31mdead\x1b[0m   "),
            "{lines:?}"
        );
        let bare: Vec<String> = lines
            .iter()
            .map(|l| ["\x1b[32m", "\x1b[31m", "\x1b[0m"].iter().fold(l.clone(), |l, c| l.replace(c, "")))
            .collect();
        assert_eq!(bare, plain);
    }

    #[test]
    fn scripts_get_exact_values_between_tabs() {
        assert_eq!(TABLE.tabs_header(), "THING\tAT\tWHY\n");
        assert_eq!(
            TABLE.tabs_row(&things()[0]),
            "a-thing-with-a-long-name\t1970-01-01T00:15:40.000005Z\tbecause it was requested\n"
        );
        let object = json!({"roles": ["a", "b"], "none": null, "empty": [], "n": 5, "in": {"side": 6}});
        assert_eq!(
            ["roles", "none", "empty", "n", "absent", "in.side", "n.side"].map(|k| cell(&object, k)),
            ["a,b", "-", "-", "5", "-", "6", "-"]
        );
    }

    #[test]
    fn bytes_are_in_their_largest_unit() {
        let all = [0, 1023, 1024, 10 << 10, (1 << 20) + (1 << 19), 5 << 40].map(bytes);
        assert_eq!(all, ["0 B", "1023 B", "1.0 KiB", "10 KiB", "1.5 MiB", "5.0 TiB"]);
    }
}
