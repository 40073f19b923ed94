//! The keys of a spec that say how a replica runs, in one table, with the bounds of their values.

use super::Object;
use serde_json::Value;
use std::fmt;
use std::ops::RangeInclusive;

/// Values that a key takes.
pub enum Kind {
    /// A whole number in this range.
    Number(RangeInclusive<u64>),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text of printable characters without spaces at its ends, at most this many bytes.
    Text(usize),
    /// An absolute path, at most this many bytes.
    Path(usize),
    /// A program's path and its arguments: this many texts, together this many bytes.
    Command {
        /// Maximum number of texts.
        items_max: usize,
        /// Maximum number of bytes.
        bytes_max: usize,
    },
    /// Environment variables: texts by name.
    Variables,
    /// An object whose keys have rows of their own.
    Section,
}

/// One key.
pub struct Key {
    /// Its path in the spec.
    pub path: &'static str,
    /// Its values.
    pub kind: Kind,
}

const fn key(path: &'static str, kind: Kind) -> Key {
    Key { path, kind }
}

/// A day, in seconds.
const DAY: u64 = 86_400;
/// Maximum number of environment variables.
const VARIABLES_MAX: usize = 512;
/// Maximum number of bytes of all environment variables.
const VARIABLES_BYTES_MAX: usize = 128 << 10;
/// Longest name of an environment variable.
const VARIABLE_NAME_MAX: usize = 256;
/// Beginning of the names that the runner sets.
pub const OWN_VARIABLES: &str = "UPTIMEMESH_";

/// Signals that can request an end.
const SIGNALS: &[&str] = &["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"];

/// Every key.
pub const KEYS: &[Key] = &[
    key("driver", Kind::Word(super::Driver::WORDS)),
    key("image", Kind::Text(512)),
    key("command", Kind::Command { items_max: 256, bytes_max: 64 << 10 }),
    key("environment", Kind::Variables),
    key("user", Kind::Text(64)),
    key("working_dir", Kind::Path(4096)),
    key("resources.pids", Kind::Number(1..=4_194_304)),
    key("health", Kind::Section),
    key("health.http", Kind::Section),
    key("health.http.port", Kind::Number(1..=65_535)),
    key("health.http.path", Kind::Path(1024)),
    key("health.http.status", Kind::Number(100..=599)),
    key("health.tcp", Kind::Section),
    key("health.tcp.port", Kind::Number(1..=65_535)),
    key("health.exec", Kind::Command { items_max: 64, bytes_max: 16 << 10 }),
    key("health.interval_seconds", Kind::Number(1..=DAY)),
    key("health.timeout_seconds", Kind::Number(1..=300)),
    key("health.retries", Kind::Number(1..=100)),
    key("health.start_period_seconds", Kind::Number(0..=DAY)),
    key("health.start_interval_seconds", Kind::Number(1..=DAY)),
    key("restart", Kind::Section),
    key("restart.policy", Kind::Word(super::RestartPolicy::WORDS)),
    key("restart.delay_seconds", Kind::Number(1..=DAY)),
    key("restart.delay_max_seconds", Kind::Number(1..=DAY)),
    key("restart.reset_after_seconds", Kind::Number(1..=7 * DAY)),
    key("stop", Kind::Section),
    key("stop.signal", Kind::Word(SIGNALS)),
    key("stop.grace_seconds", Kind::Number(0..=DAY)),
    key("logs", Kind::Section),
    key("logs.max_mb", Kind::Number(1..=1024)),
    key("logs.files", Kind::Number(1..=100)),
    key("rolling_update.min_healthy_seconds", Kind::Number(0..=DAY)),
    key("rolling_update.healthy_deadline_seconds", Kind::Number(1..=DAY)),
];

/// A wrong value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Path of its key in the spec.
    pub path: String,
    /// Description of a fitting value, after "should".
    pub should: String,
}

impl Fault {
    /// A fault of this key.
    pub fn new(path: &str, should: impl Into<String>) -> Fault {
        Fault { path: path.to_string(), should: should.into() }
    }
}

/// As a sentence without its end.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "spec.{} should {}", self.path, self.should)
    }
}

/// The value at a path; `None` if it, or an object above it, is absent, null or of another type.
pub fn value<'s>(spec: &'s Object, path: &str) -> Option<&'s Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let found = spec.get(first).filter(|v| !v.is_null())?;
    match rest {
        Some(rest) => value(found.as_object()?, rest),
        None => Some(found),
    }
}

/// Every fault of every key by itself.
pub fn faults(spec: &Object) -> Vec<Fault> {
    let of = |key: &Key| value(spec, key.path).and_then(|found| key.kind.check(found).err());
    KEYS.iter().filter_map(|key| of(key).map(|should| Fault::new(key.path, should))).collect()
}

impl Kind {
    /// Checks a value; the error is what it should be.
    fn check(&self, value: &Value) -> Result<(), String> {
        match self {
            Kind::Number(range) => match value.as_u64().is_some_and(|n| range.contains(&n)) {
                true => Ok(()),
                false => Err(format!("be a whole number, {} to {}", range.start(), range.end())),
            },
            Kind::Word(words) => match value.as_str().is_some_and(|word| words.contains(&word)) {
                true => Ok(()),
                false => Err(format!("be one of {}", words.join(", "))),
            },
            Kind::Text(max) => {
                let is_fit = |text: &str| is_printable(text, *max) && text.trim() == text;
                match value.as_str().is_some_and(is_fit) {
                    true => Ok(()),
                    false => Err(format!("be a text of 1 to {max} printable characters")),
                }
            }
            Kind::Path(max) => {
                match value.as_str().is_some_and(|text| text.starts_with('/') && is_printable(text, *max)) {
                    true => Ok(()),
                    false => Err(format!("be a path that begins with /, of at most {max} bytes")),
                }
            }
            Kind::Command { items_max, bytes_max } => command(value, *items_max, *bytes_max),
            Kind::Variables => variables(value),
            Kind::Section => match value.is_object() {
                true => Ok(()),
                false => Err("be an object".to_string()),
            },
        }
    }
}

fn is_printable(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn command(value: &Value, items_max: usize, bytes_max: usize) -> Result<(), String> {
    let items: Option<Vec<&str>> = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
    let Some(items) = items else {
        return Err("be a list of texts, the program first: [\"/usr/bin/sleep\", \"60\"]".to_string());
    };
    if items.first().is_none_or(|program| program.is_empty()) || items.len() > items_max {
        return Err(format!("have 1 to {items_max} texts, the program first"));
    }
    if items.iter().map(|item| item.len() + 1).sum::<usize>() > bytes_max {
        return Err(format!("have at most {bytes_max} bytes"));
    }
    if items.iter().any(|item| item.contains('\0')) {
        return Err("have no zero bytes".to_string());
    }
    Ok(())
}

/// Names only are part of the error: values may be secrets.
fn variables(value: &Value) -> Result<(), String> {
    let Some(variables) = value.as_object() else {
        return Err("be an object of texts: {\"NAME\": \"value\"}".to_string());
    };
    if variables.len() > VARIABLES_MAX {
        return Err(format!("have at most {VARIABLES_MAX} variables"));
    }
    let is_name = |name: &str| {
        (1..=VARIABLE_NAME_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.as_bytes()[0].is_ascii_digit()
    };
    let mut bytes = 0;
    for (name, value) in variables {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        if !is_name(name) {
            return Err(format!("have names of letters, digits and _, at most {VARIABLE_NAME_MAX}, unlike {shown:?}"));
        }
        if name.starts_with(OWN_VARIABLES) {
            return Err(format!("not have {shown}: names that begin with {OWN_VARIABLES} are set by the node"));
        }
        let Some(text) = value.as_str().filter(|text| !text.contains('\0')) else {
            return Err(format!("have a text without zero bytes as {shown}"));
        };
        bytes += name.len() + text.len() + 2;
    }
    match bytes <= VARIABLES_BYTES_MAX {
        true => Ok(()),
        false => Err(format!("have at most {VARIABLES_BYTES_MAX} bytes of names and values")),
    }
}
