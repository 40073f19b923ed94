//! An object as a line for each of its fields, those of objects inside it under their own names.

use super::age;
use super::colour::{painted, tone};
use super::table::{Look, bytes, cell};
use super::text::{drawable, printable};
use crate::clock::Timestamp;
use serde_json::Value;

/// Last parts of the names of fields that say how something is.
const STATES: &[&str] = &["state", "status", "lease_state", "drain_state", "level", "mode", "update_state"];

/// For programs: exact values.
pub fn exact(object: &Value) -> String {
    aligned(flat(object).into_iter().map(|(key, value)| (printable(&key), printable(&value))).collect())
}

/// For people: moments with their age, states with their colour.
pub fn for_people(object: &Value, look: &Look) -> String {
    let shown = |key: &str, value: &str| {
        let name = key.rsplit('.').next().unwrap_or(key);
        match (Timestamp::parse(value), value.parse()) {
            (Some(at), _) => format!("{}  ({})", age::exact(at), age::phrase(at, look.now)),
            (_, Ok(count)) if name.ends_with("_bytes") => format!("{value}  ({})", bytes(count)),
            _ if STATES.contains(&name) => painted(drawable(value), tone(value), look.has_colour),
            _ => drawable(value),
        }
    };
    aligned(flat(object).into_iter().map(|(key, value)| (drawable(&key), shown(&key, &value))).collect())
}

fn aligned(rows: Vec<(String, String)>) -> String {
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    rows.iter().map(|(key, value)| format!("{key:<width$}  {value}\n")).collect()
}

fn flat(object: &Value) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    flatten("", object, &mut rows);
    rows
}

fn flatten(prefix: &str, object: &Value, rows: &mut Vec<(String, String)>) {
    for (key, value) in object.as_object().into_iter().flatten() {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) if !inner.is_empty() => flatten(&name, value, rows),
            Value::Object(_) => rows.push((name, "-".to_string())),
            _ => rows.push((name, cell(object, key))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_aligned_and_cannot_steer_a_terminal() {
        let object = json!({"a": {"b.c": [1, 2], "d\x1b": {}}, "e": null});
        assert_eq!(exact(&object), "a.b.c  1,2\na.d    -\ne      -\n");
    }

    #[test]
    fn people_see_ages_beside_exact_times_and_colours_of_states() {
        let now = Timestamp::from_secs(1_000_000);
        let look = Look { is_wide: false, width: None, has_colour: true, now };
        let object = json!({"at": Timestamp(now.plus_secs(-180).0 + 7), "ends": now.plus_secs(7200),
            "lease_state": "dead", "name": "dead\u{202e}", "s": {"disk_bytes": 2048}});
        let text = for_people(&object, &look);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("at            {}  (3m ago)", now.plus_secs(-180)));
        assert_eq!(lines[1], format!("ends          {}  (in 2h)", now.plus_secs(7200)));
        assert_eq!(
            lines[2..],
            ["lease_state   \x1b[31mdead\x1b[0m", "name          dead?", "s.disk_bytes  2048  (2.0 KiB)"]
        );
    }
}
