//! Refusals of a daemon, as sentences that say what to do. Pure: the daemons differ in status and words, so their
//! words are searched for what they share.

use super::pull::registry;
use crate::runner::run::{ContainerSpec, RunSpec};
use std::time::Duration;

/// Longest quoted message in characters.
const QUOTED_CHARS_MAX: usize = 300;

/// Reason why an image could not be pulled.
pub fn unpulled(image: &str, message: &str) -> String {
    let registry = registry(image);
    let text = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let why = if has(&["unauthorized", "authentication required", "access denied", "denied:", "no basic auth"]) {
        format!("{registry} refuses it without the right name and password; check the service's registry_auth")
    } else if has(&["manifest unknown", "not found", "repository does not exist", "name unknown"]) {
        format!("{registry} has no such image or tag; check the name")
    } else if has(&["connection refused", "no such host", "timeout", "timed out", "unreachable", "no route"]) {
        format!("{registry} cannot be reached from this node")
    } else {
        quoted(message)
    };
    format!("cannot start: the image {image} was not pulled: {why}")
}

/// Reason why a pull was given up.
pub fn stalled(image: &str, stall: Duration) -> String {
    let seconds = stall.as_secs();
    format!("cannot start: the image {image} was not pulled: there was no progress in {seconds} s")
}

/// Reason why a container could not be created or started.
pub fn unstarted(spec: &RunSpec, container: &ContainerSpec, message: &str) -> String {
    let text = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let program = container.entrypoint.first().or(spec.command.first());
    let program = program.map_or_else(|| "its program".to_string(), |program| format!("the program {program}"));
    let why = if has(&["no such image", "image not known"]) {
        format!("this machine does not have the image {}, and pull is \"never\"", container.image)
    } else if has(&["address already in use", "port is already allocated"]) {
        let ports: Vec<String> = container.ports.iter().map(|port| port.host_port.to_string()).collect();
        format!("another program of this machine uses a port of {}; choose another host port", ports.join(", "))
    } else if has(&["already in use"]) {
        "a container that is not ours has its name; remove that one".to_string()
    } else if has(&["no such file or directory", "executable file not found"]) {
        format!("the image does not have {program}; check command and entrypoint")
    } else if has(&["permission denied"]) {
        format!("{program} may not be executed; check command, entrypoint and user")
    } else if has(&["no users found", "unable to find user", "no matching entries in passwd"]) {
        format!("the image does not have the user {}", spec.user.as_deref().unwrap_or_default())
    } else {
        quoted(message)
    };
    format!("cannot start: {why}")
}

fn quoted(message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("the container daemon says: {}", message.chars().take(QUOTED_CHARS_MAX).collect::<String>())
}
