//! Release manifest, `version.json`: its versions, and the locations of its files. The updater, which is a script,
//! fetches them.
//!
//! Unknown keys are ignored, so that a later release may add some and still be understood by the program it replaces;
//! an incompatible change gets another `schema_version`.

mod tree;
mod version;

pub use version::Version;

use crate::clock::Timestamp;
use std::collections::BTreeMap;
use tree::{Node, Tree};

/// Maximum size of a manifest. One with two scripts and a few artifacts has two thousand bytes.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;
/// The supported `schema_version`.
const SCHEMA: u64 = 1;
/// The program that a manifest is about.
const PROGRAM: &str = "uptimemesh";
/// Maximum number of channels in a manifest: stable, beta, one for a test.
const CHANNELS_MAX: usize = 16;
/// Maximum number of architectures in a release: Rust knows a dozen for which Linux machines exist.
const ARTIFACTS_MAX: usize = 16;
/// Maximum length of a URL or a path, in bytes.
const PLACE_BYTES_MAX: usize = 2048;
/// The name of this machine's architecture in a manifest; `None` if no release is built for it.
pub fn architecture() -> Option<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Some("linux-amd64"),
        ("linux", "aarch64") => Some("linux-arm64"),
        _ => None,
    }
}

/// A release's manifest.
#[derive(Debug, PartialEq)]
pub struct Manifest {
    /// The version of the source tree.
    pub version: Version,
    /// End of its validity; `None` in one that was never signed, or was signed by an older program.
    pub expires: Option<Timestamp>,
    /// The channels, by name.
    pub channels: BTreeMap<String, Channel>,
}

/// One channel of releases.
#[derive(Debug, PartialEq)]
pub struct Channel {
    /// The current version of the channel.
    pub version: Version,
    /// The script that fetches the updater.
    pub bootstrap: Script,
    /// The script that updates a node.
    pub updater: Script,
    /// The version of the program.
    pub agent_version: Version,
    /// The program by architecture; empty until a release is built.
    pub artifacts: BTreeMap<String, Artifact>,
}

/// A script of a release.
#[derive(Debug, PartialEq)]
pub struct Script {
    /// Its own version.
    pub version: Version,
    /// Its path, relative to the manifest.
    pub path: String,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
}

/// The program for one architecture.
#[derive(Debug, PartialEq)]
pub struct Artifact {
    /// Its location: a URL, or a path relative to the manifest.
    pub url: String,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
}

impl Manifest {
    /// Parses a manifest. The error lists every fault, each a sentence.
    pub fn parse(json: &[u8]) -> Result<Manifest, Vec<String>> {
        if json.len() > MANIFEST_BYTES_MAX {
            return Err(vec![format!("the manifest is longer than {MANIFEST_BYTES_MAX} bytes")]);
        }
        let tree = serde_json::from_slice(json).map_err(|e| vec![format!("the manifest is not sound JSON: {e}")])?;
        let mut faults = Vec::new();
        let mut root = Node::root(&tree, &mut faults);
        let schema = |tree: &Tree| matches!(tree, Tree::Number(SCHEMA)).then_some(());
        root.child("schema_version").read("1: for a manifest of another form another program is needed", schema);
        let version = root.version("version");
        let expires =
            root.has("expires").then(|| root.child("expires").text("a moment such as 2026-11-28T12:00:00Z", moment));
        let channels = root.child("channels").entries(1..=CHANNELS_MAX, |mut c| {
            let (version, bootstrap, updater) = (c.version("version"), c.script("bootstrap"), c.script("updater"));
            let mut agent = c.child("agent");
            agent.child("name").text("\"uptimemesh\"", |name| (name == PROGRAM).then_some(()));
            let agent_version = agent.version("version");
            let artifacts = agent.child("artifacts").entries(0..=ARTIFACTS_MAX, |mut a| {
                let url =
                    a.child("url").text("an http or https URL, or a path of plain names below the manifest", |t| {
                        (is_url(t) || is_path(t)).then(|| t.to_string())
                    });
                let sha256 = a.sum();
                Some(Artifact { url: url?, sha256: sha256? })
            });
            Some(Channel {
                version: version?,
                bootstrap: bootstrap?,
                updater: updater?,
                agent_version: agent_version?,
                artifacts: artifacts?,
            })
        });
        match (version, channels) {
            (Some(version), Some(channels)) if faults.is_empty() => {
                Ok(Manifest { version, expires: expires.flatten(), channels })
            }
            _ => Err(faults),
        }
    }

    /// Succeeds if the manifest is still valid; otherwise says why it must not be installed.
    pub fn is_current(&self, now: Timestamp) -> Result<(), String> {
        const OVERRIDE: &str = "--allow-expired accepts it anyway";
        match self.expires {
            Some(expires) if expires >= now => Ok(()),
            Some(expires) => Err(format!(
                "the manifest expired at {}, and this machine's clock says {}: get a newer release, or set the clock; \
                    {OVERRIDE}",
                written(expires),
                written(now)
            )),
            None => Err(format!(
                "the manifest has no expiry date, so it may be an old one: get a newer release; {OVERRIDE}"
            )),
        }
    }

    /// The channel of this name.
    pub fn channel(&self, name: &str) -> Result<&Channel, String> {
        self.channels.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.channels.keys().map(String::as_str).collect();
            format!("the manifest has no channel {name:?}; it has {}", names.join(", "))
        })
    }
}

/// A time in the one form that scripts can compare as text.
pub fn written(at: Timestamp) -> String {
    Timestamp::from_secs(at.secs()).to_string()
}

fn moment(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).filter(|at| written(*at) == text)
}

/// The text of a manifest with another end of validity; nothing else changes.
pub fn with_expiry(json: &str, at: Timestamp) -> Option<String> {
    const KEY: &str = "\"expires\"";
    let old = Manifest::parse(json.as_bytes()).ok()?.expires;
    let new = match old.map(|old| format!("\"{}\"", written(old))) {
        None => json.replacen('{', &format!("{{\n  {KEY}: \"{}\",", written(at)), 1),
        Some(old) => {
            let value = |from: usize| json[from..].find(&old).map(|to| from + to);
            let is_value = |from: usize, to: usize| json[from..to].trim() == ":";
            let keys = json.match_indices(KEY).map(|(key, _)| key + KEY.len());
            let to = keys.filter_map(|from| value(from).filter(|to| is_value(from, *to))).next()?;
            format!("{}\"{}\"{}", &json[..to], written(at), &json[to + old.len()..])
        }
    };
    // The result is parsed again: an edit that missed its place gives `None`.
    (Manifest::parse(new.as_bytes()).ok()?.expires == moment(&written(at))).then_some(new)
}

impl Channel {
    /// The program for this architecture.
    pub fn artifact(&self, architecture: &str) -> Result<&Artifact, String> {
        self.artifacts.get(architecture).ok_or_else(|| {
            let names: Vec<&str> = self.artifacts.keys().map(String::as_str).collect();
            let has = if names.is_empty() {
                "none at all: it was not made by a release build".to_string()
            } else {
                names.join(", ")
            };
            format!("the manifest has no program for {architecture}; it has {has}")
        })
    }
}

/// True for an http or https URL with a host, in printable ASCII without characters that a shell or log could misread.
pub fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let odd = |b: u8| !b.is_ascii_graphic() || b"\"'`\\<>{}|^$".contains(&b);
    text.len() <= PLACE_BYTES_MAX
        && rest.is_some_and(|r| !r.is_empty() && !r.starts_with(['/', '?', '#']) && !r.bytes().any(odd))
}

/// True if a text is a path of plain names, which cannot lead out of its base directory.
fn is_path(text: &str) -> bool {
    let plain = |name: &str| {
        let chars = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        !name.is_empty() && !name.starts_with(['.', '-']) && chars
    };
    text.len() <= PLACE_BYTES_MAX && text.split('/').all(plain)
}

/// Parts that several objects of a manifest have.
impl Node<'_, '_> {
    fn version(&mut self, name: &str) -> Option<Version> {
        self.child(name).text("a version such as 2.0.0 or 2.1.0-rc.1", Version::parse)
    }

    fn sum(&mut self) -> Option<String> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let read = |t: &str| (t.len() == 64 && t.bytes().all(hex)).then(|| t.to_string());
        self.child("sha256").text("a SHA-256 of 64 digits in lower-case hex", read)
    }

    fn script(&mut self, name: &str) -> Option<Script> {
        let mut script = self.child(name);
        let version = script.version("version");
        let path = script
            .child("path")
            .text("a path of plain names below the manifest", |t| is_path(t).then(|| t.to_string()));
        let sha256 = script.sum();
        Some(Script { version: version?, path: path?, sha256: sha256? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(digit: &str) -> String {
        digit.repeat(64)
    }

    fn sound() -> serde_json::Value {
        let script =
            |path: &str, digit: &str| serde_json::json!({"version": "2.1.0", "path": path, "sha256": sum(digit)});
        serde_json::json!({
            "schema_version": 1, "version": "2.1.0", "a later key": [1, {"x": null}],
            "channels": {"stable": {
                "version": "2.1.0", "bootstrap": script("ops/bootstrap.sh", "a"),
                "updater": script("ops/node-update.sh", "b"),
                "agent": {"name": "uptimemesh", "version": "2.1.0", "artifacts": {
                    "linux-amd64": {"url": "https://dl.example/u?x=1", "sha256": sum("c")},
                    "linux-arm64": {"url": "uptimemesh-linux-arm64", "sha256": sum("d")},
                }},
            }},
        })
    }

    #[test]
    fn a_sound_manifest_is_read() {
        let manifest = Manifest::parse(sound().to_string().as_bytes()).expect("a manifest");
        assert_eq!(manifest.version.to_string(), "2.1.0");
        let stable = manifest.channel("stable").expect("a channel");
        assert_eq!((stable.bootstrap.path.as_str(), &stable.updater.sha256), ("ops/bootstrap.sh", &sum("b")));
        assert_eq!(stable.artifact("linux-arm64").expect("an artifact").sha256, sum("d"));
        let why = manifest.channel("beta").expect_err("no such channel");
        assert_eq!(why, "the manifest has no channel \"beta\"; it has stable");
        let why = stable.artifact("linux-mips").expect_err("no such architecture");
        assert_eq!(why, "the manifest has no program for linux-mips; it has linux-amd64, linux-arm64");
    }

    #[test]
    fn a_manifest_holds_until_its_end_and_one_without_an_end_does_not_hold() {
        let at = |text: &str| Timestamp::parse(text).expect("a moment");
        let (end, later) = (at("2026-11-28T12:00:00Z"), at("2026-11-28T12:00:01Z"));
        for text in [sound().to_string(), serde_json::to_string_pretty(&sound()).expect("JSON")] {
            let parse = |text: &str| Manifest::parse(text.as_bytes()).expect("a manifest");
            assert!(parse(&text).is_current(end).expect_err("it has no end").contains("has no expiry date"));
            let dated = with_expiry(&text, end).expect("it can be written down");
            assert!(parse(&dated).is_current(end).is_ok());
            let why = parse(&dated).is_current(later).expect_err("it has ended");
            assert!(
                why.contains("expired at 2026-11-28T12:00:00Z") && why.contains("clock says 2026-11-28T12:00:01Z"),
                "{why}"
            );
            let again = with_expiry(&dated, later).expect("it can be changed");
            assert_eq!(again, dated.replace("12:00:00Z", "12:00:01Z"));
            let elsewhere = text.replacen('{', "{\"of a later key\": {\"expires\": \"soon\"},", 1);
            assert!(parse(&with_expiry(&elsewhere, end).expect("the right key")).is_current(end).is_ok());
        }
        for bad in ["soon", "2026-11-28", "2026-11-28T12:00:00+00:00", "2026-11-28T12:00:00.5Z", "2026-13-28T12:00:00Z"]
        {
            let mut manifest = sound();
            manifest["expires"] = bad.into();
            let faults = Manifest::parse(manifest.to_string().as_bytes()).expect_err("it is not a moment");
            assert_eq!(faults, ["expires must be a moment such as 2026-11-28T12:00:00Z"], "{bad}");
        }
    }

    #[test]
    fn every_fault_of_a_manifest_is_reported_at_once() {
        let mut bad = sound();
        bad["schema_version"] = 2.into();
        bad["version"] = "2.1".into();
        let stable = &mut bad["channels"]["stable"];
        stable["bootstrap"] = "none".into();
        stable["updater"] = serde_json::json!({"path": "../etc/passwd", "sha256": "AB", "version": null});
        stable["agent"]["name"] = "other".into();
        stable["agent"]["artifacts"]["linux-amd64"] = serde_json::json!({"url": "file:///x"});
        let faults = Manifest::parse(bad.to_string().as_bytes()).expect_err("it is wrong");
        assert_eq!(
            faults,
            [
                "schema_version must be 1: for a manifest of another form another program is needed",
                "version must be a version such as 2.0.0 or 2.1.0-rc.1",
                "channels.stable.bootstrap must be an object",
                "channels.stable.updater.version must be a version such as 2.0.0 or 2.1.0-rc.1",
                "channels.stable.updater.path must be a path of plain names below the manifest",
                "channels.stable.updater.sha256 must be a SHA-256 of 64 digits in lower-case hex",
                "channels.stable.agent.name must be \"uptimemesh\"",
                "channels.stable.agent.artifacts.linux-amd64.url must be an http or https URL, or a path of plain \
                    names below the manifest",
                "channels.stable.agent.artifacts.linux-amd64.sha256 is missing",
            ]
        );
    }

    #[test]
    fn an_invalid_manifest_is_refused() {
        let text = sound().to_string();
        let twice = text.replacen('{', "{\"version\":\"9.0.0\",", 1);
        let long = format!("{text}{}", " ".repeat(MANIFEST_BYTES_MAX));
        let mut many = sound();
        for i in 0..CHANNELS_MAX {
            many["channels"][format!("c{i}")] = many["channels"]["stable"].clone();
        }
        let mut odd = sound();
        odd["channels"]["Stable\n"] = odd["channels"]["stable"].clone();
        let mut none = sound();
        none["channels"] = serde_json::json!({});
        for bad in
            ["", "[]", "null", "{}", &text[..text.len() - 1], &format!("{text}x"), &twice, &long, &"[".repeat(10_000)]
        {
            assert!(Manifest::parse(bad.as_bytes()).is_err(), "{bad:.200}");
        }
        for bad in [many, odd, none] {
            assert_eq!(Manifest::parse(bad.to_string().as_bytes()).expect_err("it is wrong").len(), 1);
        }
    }

    #[test]
    fn places_are_urls_or_paths_below_the_manifest() {
        for url in ["https://dl.example/u?x=1", "http://[::1]:80/x"] {
            assert!(is_url(url), "{url}");
        }
        assert!(is_path("ops/b.sh") && is_path("x"));
        for bad in [
            "",
            "/x",
            "//host/x",
            "../x",
            "a/../x",
            "a//b",
            "./x",
            "a/",
            "-x",
            "a b",
            "a\nb",
            "ftp://x",
            "https://",
            "http:///x",
            "https://a\"b",
        ] {
            assert!(!is_url(bad) && !is_path(bad), "{bad}");
        }
    }
}
