//! What the command line prints: JSON, tables, and nothing that could steer a terminal.

use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;

/// Prints text; a reader that went away (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write the output: {e}");
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Prints JSON with two spaces a level and sorted keys, in ASCII.
pub fn json(value: &Value) {
    let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut out = String::with_capacity(pretty.len() + 1);
    for c in pretty.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out.push('\n');
    print(&out);
}

/// Prints the first line of a tab-separated table: what scripts cut and people can read.
pub fn header(columns: &[&str]) {
    print(&format!("{}\n", columns.join("\t")));
}

/// Prints the fields of an object, one a line, those of objects inside it under their own names.
pub fn fields(object: &Value) {
    let mut rows = Vec::new();
    flatten("", object, &mut rows);
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    print(&rows.iter().map(|(key, value)| format!("{key:<width$}  {value}\n")).collect::<String>());
}

fn flatten(prefix: &str, object: &Value, rows: &mut Vec<(String, String)>) {
    for (key, value) in object.as_object().into_iter().flatten() {
        let name = printable(&if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") });
        match value {
            Value::Object(inner) if !inner.is_empty() => flatten(&name, value, rows),
            Value::Object(_) => rows.push((name, "-".to_string())),
            _ => rows.push((name, printable(&cell(object, key)))),
        }
    }
}

/// Prints objects as lines of that table.
pub fn rows(objects: &[Value], keys: &[&str]) {
    let line = |object: &Value| keys.iter().map(|key| printable(&cell(object, key))).collect::<Vec<_>>().join("\t") + "\n";
    print(&objects.iter().map(line).collect::<String>());
}

/// A field of an object as a cell, `a.b` is inside of another: lists joined, nothing as `-`.
fn cell(object: &Value, path: &str) -> String {
    let deep = || path.split('.').try_fold(object, |inside, key| inside.get(key));
    let value = object.get(path).or_else(deep).unwrap_or(&Value::Null);
    match value {
        Value::Null => "-".to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_string(),
        Value::Array(items) => items.iter().map(|i| i.as_str().map_or(i.to_string(), str::to_string)).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Text in ASCII, control characters escaped: for messages that quote what a server or a user wrote.
pub fn ascii(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// Text without control characters, which could forge a cell or steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_and_messages_cannot_steer_a_terminal() {
        assert_eq!(printable("a\tb\x1b[31m\n"), "a b [31m ");
        assert_eq!(ascii("\u{e9}\x1b\n"), "\\u{e9}\\u{1b}\\n");
        let mut rows = Vec::new();
        flatten("", &json!({"a": {"b.c": [1, 2], "d\x1b": {}}, "e": null}), &mut rows);
        assert_eq!(rows.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["a.b.c=1,2", "a.d =-", "e=-"]);
        let object = json!({"roles": ["a", "b"], "none": null, "empty": [], "n": 5, "in": {"side": 6}});
        assert_eq!(
            ["roles", "none", "empty", "n", "absent", "in.side", "n.side"].map(|k| cell(&object, k)),
            ["a,b", "-", "-", "5", "-", "6", "-"]
        );
    }
}
