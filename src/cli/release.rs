//! Commands for makers of releases, and for scripts that must know whether one is genuine.

use super::args::{Args, Command, Failure, Opt, command, opt};
use super::output;
use crate::client;
use crate::clock;
use crate::crypto;
use crate::crypto::release::{KEY_BYTES_MAX, ReleaseKey, SIGNATURE_BYTES_MAX, SigningKey};
use crate::files;
use crate::model::release::{MANIFEST_BYTES_MAX, Manifest, architecture, is_url, with_expiry};
use crate::text;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Options of `release keygen`.
const KEYGEN: &[Opt] = &[opt("out", "FILE", "where the private key goes; the public one goes to FILE.pub beside it")];

/// Options of `release sign`.
const SIGN: &[Opt] = &[
    opt("key-file", "FILE", "the private release key"),
    opt(
        "expires-days",
        "N",
        "write into the manifest that it expires after this, 1 to 3650 days (default 90, where it has no such end yet)",
    ),
];

/// Options of `release verify`.
const VERIFY: &[Opt] = &[
    opt("release-key", "FILE", "public key (PEM) to trust instead of the built-in one [RELEASE_KEY_FILE]"),
    opt("artifact", "FILE", "check this file against its sum in the manifest too"),
    opt("as", "NAME", "what --artifact is: bootstrap, updater, linux-amd64 or linux-arm64 (default: this machine's)"),
    opt("channel", "NAME", "the channel that --artifact is of (default stable)"),
    opt("allow-expired", "", "accept one that has expired or has no expiry date"),
];

/// Options of `release fetch`.
const FETCH: &[Opt] = &[
    opt("out", "FILE", "where it goes"),
    opt("bytes-max", "N", "more bytes than this are an error (default 268435456)"),
];

/// Days that a manifest is valid. An attacker can hide newer releases this long; the last one is signed again before
/// its end.
const EXPIRES_DAYS: i64 = 90;
/// The program has some six million bytes, a debug build a hundred.
const FETCH_BYTES_MAX: i64 = 256 << 20;

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("release keygen", "", "Create a key for signing releases.", &[KEYGEN], keygen),
    command("release sign", "MANIFEST", "Sign a release's version.json, into version.json.sig.", &[SIGN], sign),
    command("release verify", "MANIFEST", "Check a version.json and its version.json.sig.", &[VERIFY], verify),
    command("release fetch", "URL", "Fetch a file of a release, where curl and wget are missing.", &[FETCH], fetch),
];

fn fetch(args: &Args) -> Result<(), Failure> {
    let bytes_max = u64::try_from(args.int("bytes-max", FETCH_BYTES_MAX)).unwrap_or_else(|_| {
        args.fault("--bytes-max must not be negative".to_string());
        0
    });
    if !is_url(args.word(0)) {
        args.fault("URL must be an http or https URL".to_string());
    }
    let out = args.required("out");
    args.finish()?;
    Ok(client::download(args.word(0), Path::new(out), bytes_max)?)
}

fn keygen(args: &Args) -> Result<(), Failure> {
    let private = PathBuf::from(args.required("out"));
    args.finish()?;
    let public = with_suffix(&private, ".pub");
    for path in [&private, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::Failed(format!(
                "{} exists; move it away first, or it can no longer sign",
                path.display()
            )));
        }
    }
    let (key, pem) = SigningKey::generate()?;
    files::write(&private, pem.as_bytes(), files::PRIVATE)?;
    files::write(&public, key.public().to_pem().as_bytes(), files::PUBLIC)?;
    eprintln!(
        "The private key is in {}; keep it off every machine that is updated, and keep a copy.",
        private.display()
    );
    eprintln!("The public key is in {}:", public.display());
    output::print(&key.public().to_pem());
    Ok(())
}

fn sign(args: &Args) -> Result<(), Failure> {
    let (path, key_path) = (Path::new(args.word(0)), args.required("key-file"));
    let days = args.int("expires-days", EXPIRES_DAYS);
    if !(1..=3650).contains(&days) {
        args.fault("--expires-days must be 1 to 3650".to_string());
    }
    args.finish()?;
    let pem = text(Path::new(key_path), KEY_BYTES_MAX)?;
    let key = SigningKey::from_pem(&pem).map_err(|why| format!("{key_path}: {why}"))?;
    let mut json = text(path, MANIFEST_BYTES_MAX)?;
    // A signature under what no node can read would only be found out by the nodes.
    let manifest = parse(path, json.as_bytes())?;
    if manifest.expires.is_none() || args.has("expires-days") {
        let end = clock::now().plus_secs(days * 86_400);
        json =
            with_expiry(&json, end).ok_or_else(|| format!("{}: its end cannot be written into it", path.display()))?;
        files::write(path, json.as_bytes(), files::PUBLIC)?;
    } else {
        manifest
            .is_current(clock::now())
            .map_err(|why| format!("{}: {why}; --expires-days gives it a new end", path.display()))?;
    }
    let signature = with_suffix(path, ".sig");
    files::write(&signature, key.sign(json.as_bytes()).as_bytes(), files::PUBLIC)?;
    output::print(&format!("Signed {} (version {}): {}\n", path.display(), manifest.version, signature.display()));
    if key.public() != ReleaseKey::own() {
        eprintln!(
            "Not with the key that this program was built with: nodes need ops/release-key.pub to be the public half, \
                or --release-key."
        );
    }
    Ok(())
}

fn verify(args: &Args) -> Result<(), Failure> {
    let path = Path::new(args.word(0));
    let artifact =
        args.get("artifact").map(|file| (Path::new(file), args.get("as").or(architecture()).unwrap_or("this machine")));
    if artifact.is_none() && args.has("as") {
        args.fault("--as says what --artifact is, which is missing".to_string());
    }
    args.finish()?;
    let json = bytes(path, MANIFEST_BYTES_MAX)?;
    let signature = bytes(&with_suffix(path, ".sig"), SIGNATURE_BYTES_MAX)?;
    release_key(args)?.verify(&json, &signature).map_err(|why| format!("{}: {why}", path.display()))?;
    let manifest = parse(path, &json)?;
    if !args.has("allow-expired") {
        manifest.is_current(clock::now()).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    output::print(&format!("{} (version {}) is signed with the release key.\n", path.display(), manifest.version));
    if let Some((file, name)) = artifact {
        let channel = manifest.channel(args.get("channel").unwrap_or("stable"))?;
        let wanted = match name {
            "bootstrap" => &channel.bootstrap.sha256,
            "updater" => &channel.updater.sha256,
            _ => &channel.artifact(name)?.sha256,
        };
        let found = File::open(file)
            .and_then(crypto::sha256_hex_of)
            .map_err(|e| format!("{} cannot be read: {e}", file.display()))?;
        if found != *wanted {
            return Err(Failure::Failed(format!(
                "{} is not the {name} of the manifest: SHA-256 {found}, not {wanted}",
                file.display()
            )));
        }
        output::print(&format!("{} is its {name}.\n", file.display()));
    }
    Ok(())
}

/// The key that releases must be signed with: the one that is named, or the program's own.
pub fn release_key(args: &Args) -> Result<ReleaseKey, Failure> {
    let env = std::env::var("RELEASE_KEY_FILE").ok().filter(|v| !v.is_empty());
    match args.get("release-key").map(str::to_string).or(env) {
        None => Ok(ReleaseKey::own()),
        Some(path) => {
            Ok(ReleaseKey::from_pem(&text(Path::new(&path), KEY_BYTES_MAX)?).map_err(|why| format!("{path}: {why}"))?)
        }
    }
}

fn parse(path: &Path, json: &[u8]) -> Result<Manifest, Failure> {
    let report = |faults: Vec<String>| {
        faults.iter().map(|fault| format!("{}: {fault}", path.display())).collect::<Vec<_>>().join("\n")
    };
    Manifest::parse(json).map_err(|faults| Failure::Failed(report(faults)))
}

/// Reads a file of at most this many bytes.
fn bytes(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    let limit = bytes_max as u64 + 1;
    File::open(path)
        .and_then(|f| f.take(limit).read_to_end(&mut content))
        .map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    match content.len() <= bytes_max {
        true => Ok(content),
        false => Err(Failure::Failed(format!("{} is longer than {bytes_max} bytes", path.display()))),
    }
}

fn text(path: &Path, bytes_max: usize) -> Result<String, Failure> {
    text::decode(bytes(path, bytes_max)?).map_err(|why| Failure::Failed(format!("{} {why}", path.display())))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
