//! Images: whether the machine has one, and pulling it. A pull takes as long as it progresses.

use crate::clock;
use crate::percent;
use crate::runner::docker::{Call, Called, Docker, Failure, Patience};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Registry of images whose name has none.
const HUB: &str = "docker.io";
/// Most layers and states of layers that are followed.
const LAYERS_MAX: usize = 4096;
/// States of a layer in which nothing happens to it.
const IDLE: &[&str] = &["Retrying", "Waiting"];

/// A name and a password for a registry.
#[derive(Clone)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password, or a token in its place.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Credentials({:?})", self.username)
    }
}

impl Credentials {
    /// Value of the header that carries them, for one pull: the daemon keeps nothing.
    fn header(&self, image: &str) -> String {
        let registry = registry(image);
        let text = json!({"username": self.username, "password": self.password, "serveraddress": registry});
        BASE64_URL_SAFE.encode(text.to_string())
    }
}

/// The image with its tag: a name without one means `latest`, and never all tags.
pub fn reference(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if image.contains('@') || name.contains(':') { image.to_string() } else { format!("{image}:latest") }
}

/// The registry of an image.
pub fn registry(image: &str) -> &str {
    let first = image.split_once('/').map(|(first, _)| first);
    first.filter(|first| first.contains(['.', ':']) || *first == "localhost").unwrap_or(HUB)
}

/// True if the machine has the image.
pub fn has(docker: &Docker, image: &str) -> Called<bool> {
    match inspect(docker, image) {
        Ok(_) => Ok(true),
        Err(failure) if failure.is_not_found() => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Digest of the image as its registry knows it; `None` for an image that came from no registry.
pub fn digest(docker: &Docker, image: &str) -> Called<Option<String>> {
    let found = inspect(docker, &reference(image))?;
    let digests = found["RepoDigests"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let pairs: Vec<(&str, &str)> = digests.filter_map(|text| text.split_once('@')).collect();
    let repository = image.split('@').next().unwrap_or(image);
    let of_it =
        pairs.iter().find(|(name, _)| repository.starts_with(name) || name.ends_with(&format!("/{repository}")));
    Ok(of_it.or(pairs.first()).map(|(_, digest)| (*digest).to_string()))
}

fn inspect(docker: &Docker, image: &str) -> Called<Value> {
    let name: Vec<String> = image.split('/').map(|part| percent::encode(part).replace("%3A", ":")).collect();
    docker.json(&Call::quick("GET", &format!("/images/{}/json", name.join("/"))))
}

/// Pulls an image. `handle` gets the connection, by which the pull can be cancelled; `progress` gets a sentence
/// whenever there is some.
///
/// # Errors
/// The registry's refusal is one of the daemon's; a pull that does not progress for `stall` is unresponsive.
pub fn pull(
    docker: &Docker,
    image: &str,
    credentials: Option<&Credentials>,
    stall: Duration,
    handle: impl FnOnce(UnixStream),
    mut progress: impl FnMut(String),
) -> Called<()> {
    let auth = credentials.map(|credentials| credentials.header(image));
    let headers: Vec<(&'static str, &str)> = auth.iter().map(|auth| ("X-Registry-Auth", auth.as_str())).collect();
    let path = format!("/images/create?fromImage={}", percent::encode(image));
    let patience = Patience::EachPart { head: stall, part: Some(stall) };
    let mut answer = docker.call(&Call { method: "POST", path: &path, body: None, headers: &headers, patience })?;
    handle(answer.handle()?);
    let mut layers = Layers::new(clock::tick());
    while let Some(line) = answer.line()? {
        if let Some(message) = line["error"].as_str() {
            return Err(Failure::Refused { status: answer.status(), message: message.to_string() });
        }
        let now = clock::tick();
        if layers.note(&line, now) {
            progress(layers.sentence(image));
        }
        if now.saturating_duration_since(layers.progressed_at) >= stall {
            return Err(Failure::Unresponsive);
        }
    }
    Ok(())
}

/// Progress of the layers of an image.
struct Layers {
    /// Bytes of each layer in each state, and of how many.
    bytes: BTreeMap<(String, String), (u64, u64)>,
    progressed_at: Instant,
}

impl Layers {
    fn new(now: Instant) -> Layers {
        Layers { bytes: BTreeMap::new(), progressed_at: now }
    }

    /// Notes a line of the daemon. True if it is progress: a state that a layer was not in, or more bytes in it.
    fn note(&mut self, line: &Value, now: Instant) -> bool {
        let status = line["status"].as_str().or(line["stream"].as_str()).unwrap_or_default();
        if IDLE.iter().any(|idle| status.starts_with(idle)) {
            return false;
        }
        let key = (line["id"].as_str().unwrap_or_default().to_string(), status.to_string());
        let detail = &line["progressDetail"];
        let (current, total) = (detail["current"].as_u64().unwrap_or(0), detail["total"].as_u64().unwrap_or(0));
        let has_room = self.bytes.len() < LAYERS_MAX;
        let is_progress = match self.bytes.get_mut(&key) {
            Some(known) if current > known.0 => {
                *known = (current, total);
                true
            }
            Some(_) => false,
            None if has_room => self.bytes.insert(key, (current, total)).is_none(),
            None => false,
        };
        if is_progress {
            self.progressed_at = now;
        }
        is_progress
    }

    fn sentence(&self, image: &str) -> String {
        let downloads = self.bytes.iter().filter(|((_, status), _)| status == "Downloading").map(|(_, bytes)| bytes);
        let (current, total) = downloads.fold((0, 0), |sum, bytes| (sum.0 + bytes.0, sum.1 + bytes.1));
        let mb = |bytes: u64| bytes.div_ceil(1_000_000);
        match total {
            0 => format!("pulling {image}"),
            _ => format!("pulling {image}: {} of {} MB", mb(current.min(total)), mb(total)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_means_the_latest() {
        for (image, wanted) in [
            ("nginx", "nginx:latest"),
            ("nginx:1", "nginx:1"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"),
            ("a/b@sha256:00", "a/b@sha256:00"),
        ] {
            assert_eq!(reference(image), wanted);
        }
        let registries = ["nginx", "a/b", "localhost/a", "127.0.0.1:5000/a/b", "ghcr.io/a:1"].map(registry);
        assert_eq!(registries, [HUB, HUB, "localhost", "127.0.0.1:5000", "ghcr.io"]);
    }

    #[test]
    fn only_news_of_a_layer_are_progress() {
        let start = clock::tick();
        let mut layers = Layers::new(start);
        let line = |id: &str, status: &str, current: u64| {
            let detail = json!({"current": current, "total": 4_000_000});
            json!({"id": id, "status": status, "progressDetail": detail})
        };
        let later = start + Duration::from_secs(1);
        for (line, is_progress) in [
            (line("a", "Downloading", 1_000_000), true),
            (line("a", "Downloading", 1_000_000), false),
            (line("a", "Retrying in 5 seconds", 0), false),
            (line("a", "Retrying in 4 seconds", 0), false),
            (line("a", "Downloading", 10), false),
            (line("b", "Downloading", 10), true),
            (line("a", "Downloading", 3_000_000), true),
            (line("a", "Pull complete", 0), true),
        ] {
            assert_eq!(layers.note(&line, later), is_progress, "{line}");
        }
        assert_eq!(layers.progressed_at, later);
        assert_eq!(layers.sentence("x:1"), "pulling x:1: 4 of 8 MB");
    }

    #[test]
    fn a_password_is_not_shown() {
        let credentials = Credentials { username: "me".to_string(), password: "canary".to_string() };
        assert!(!format!("{credentials:?}").contains("canary"));
        let header = BASE64_URL_SAFE.decode(credentials.header("ghcr.io/a:1")).expect("base64");
        let value: Value = serde_json::from_slice(&header).expect("JSON");
        assert_eq!(value, json!({"username": "me", "password": "canary", "serveraddress": "ghcr.io"}));
    }
}
