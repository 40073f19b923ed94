//! Fuzzing targets: every parser of untrusted input, as a function of bytes that panics if an invariant is violated.
//!
//! `tests/fuzz` runs them with cargo-fuzz. The test below runs the inputs kept in `tests/fuzz/corpus`.

mod events;
mod http;
mod json;
mod proofs;

pub use events::resume;
pub use http::{body, head, headers};
pub use json::{canonical, fields, manifest};
pub use proofs::{certificates, tokens};

use std::net::SocketAddr;
use std::path::PathBuf;

/// A target's name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("head", head),
    ("body", body),
    ("fields", fields),
    ("tokens", tokens),
    ("certificates", certificates),
    ("canonical", canonical),
    ("headers", headers),
    ("resume", resume),
    ("manifest", manifest),
];

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// A directory for this process alone.
fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("uptimemesh-fuzz-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::Path;

    fn crate_dir() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
    }

    #[test]
    fn what_fuzzing_found_worth_keeping_passes() {
        for (name, target) in TARGETS {
            let dir = crate_dir().join("corpus").join(name);
            let mut inputs: Vec<PathBuf> =
                fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            inputs.sort();
            assert!(!inputs.is_empty(), "{} has no input", dir.display());
            for input in inputs {
                let bytes = fs::read(&input).expect("an input can be read");
                assert!(catch_unwind(|| target(&bytes)).is_ok(), "{}", input.display());
            }
        }
    }

    #[test]
    fn every_target_can_be_run() {
        let manifest = fs::read_to_string(crate_dir().join("Cargo.toml")).expect("the manifest of the targets");
        for (name, _) in TARGETS {
            let file = fs::read_to_string(crate_dir().join(format!("fuzz_targets/{name}.rs"))).unwrap_or_default();
            assert!(file.contains(&format!("fuzzing::{name}(bytes)")), "{name}");
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        }
        assert_eq!(fs::read_dir(crate_dir().join("fuzz_targets")).into_iter().flatten().count(), TARGETS.len());
    }
}
