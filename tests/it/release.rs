//! Releases: the key, the signature and the manifest, by the program and by openssl.

use crate::program::{fails, ok, run};
use crate::support::Dir;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs openssl; tells whether it went well.
fn openssl(dir: &Path, args: &[&str]) -> bool {
    let output = Command::new("openssl").args(args).current_dir(dir).output().unwrap();
    if !output.status.success() {
        eprintln!(
            "openssl {args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    output.status.success()
}

fn sum(dir: &Path, name: &str) -> String {
    let output = Command::new("sha256sum").arg(name).current_dir(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_string()
}

/// What `ops/build-release.sh` has built, below the directory of builds; `None` where it has not, or not of this
/// version. Who sets `CI` means to have built it.
pub fn built(name: &str) -> Option<PathBuf> {
    let builds = Path::new(env!("CARGO_BIN_EXE_uptimemesh")).parent().unwrap().parent().unwrap();
    let program = builds.join(format!("{}-unknown-linux-musl/dist/uptimemesh", std::env::consts::ARCH));
    let told = Command::new(&program)
        .arg("version")
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    if told.trim_end() == concat!("uptimemesh ", env!("CARGO_PKG_VERSION")) && builds.join(name).exists() {
        return Some(builds.join(name));
    }
    let why =
        format!("{} is missing or of another version; ops/build-release.sh makes it", builds.join(name).display());
    assert!(std::env::var_os("CI").is_none() || std::env::var_os("STATIC_LEFT_OUT").is_some(), "{why}");
    eprintln!("left out: {why}");
    None
}

/// A directory with a release of one "program", unsigned.
fn release() -> (Dir, Value) {
    let dir = Dir::new();
    fs::write(dir.join("program"), "not really a program").unwrap();
    fs::write(dir.join("updater.sh"), "exit 0\n").unwrap();
    let script = json!({"version": "2.1.0", "path": "updater.sh", "sha256": sum(dir.path(), "updater.sh")});
    let manifest = json!({"schema_version": 1, "version": "2.1.0", "channels": {"stable": {
        "version": "2.1.0", "bootstrap": script, "updater": script,
        "agent": {"name": "uptimemesh", "version": "2.1.0", "artifacts": {
            "linux-amd64": {"url": "program", "sha256": sum(dir.path(), "program")},
            "linux-arm64": {"url": "program", "sha256": "0".repeat(64)},
        }},
    }}});
    fs::write(dir.join("version.json"), manifest.to_string()).unwrap();
    (dir, manifest)
}

#[test]
fn openssl_takes_what_the_program_signs_and_the_other_way_round() {
    let (dir, _) = release();
    let public = ok(dir.path(), &["release", "keygen", "--out", "key"]);
    assert_eq!(public, fs::read_to_string(dir.join("key.pub")).unwrap());
    assert_eq!(fs::metadata(dir.join("key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(openssl(dir.path(), &["pkey", "-in", "key", "-pubout", "-out", "by-openssl.pub"]));
    assert_eq!(public, fs::read_to_string(dir.join("by-openssl.pub")).unwrap());

    ok(dir.path(), &["release", "sign", "--key-file", "key", "version.json"]);
    let verified_by_openssl = |manifest: &str| {
        assert!(openssl(dir.path(), &["base64", "-d", "-A", "-in", "version.json.sig", "-out", "raw"]));
        openssl(
            dir.path(),
            &["pkeyutl", "-verify", "-pubin", "-inkey", "key.pub", "-rawin", "-in", manifest, "-sigfile", "raw"],
        )
    };
    assert!(verified_by_openssl("version.json"));
    assert!(!verified_by_openssl("program"));

    assert!(openssl(dir.path(), &["genpkey", "-algorithm", "ed25519", "-out", "other"]));
    assert!(openssl(dir.path(), &["pkey", "-in", "other", "-pubout", "-out", "other.pub"]));
    assert!(openssl(
        dir.path(),
        &["pkeyutl", "-sign", "-inkey", "other", "-rawin", "-in", "version.json", "-out", "raw"]
    ));
    assert!(openssl(dir.path(), &["base64", "-A", "-in", "raw", "-out", "version.json.sig"]));
    ok(dir.path(), &["release", "verify", "--release-key", "other.pub", "version.json"]);
    let (status, why) = fails(dir.path(), &["release", "verify", "--release-key", "key.pub", "version.json"]);
    assert!(status == 1 && why.contains("was not made by this release key"), "{why}");
    ok(dir.path(), &["release", "sign", "--key-file", "other", "version.json"]);
    ok(dir.path(), &["release", "verify", "--release-key", "other.pub", "version.json"]);
}

#[test]
fn a_script_learns_by_the_exit_status_whether_a_release_is_genuine() {
    let (dir, mut manifest) = release();
    ok(dir.path(), &["release", "keygen", "--out", "key"]);
    ok(dir.path(), &["release", "sign", "--key-file", "key", "version.json"]);
    fn verify<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["release", "verify", "--release-key", "key.pub", "version.json"], more].concat()
    }
    let refused = |more: &[&str], want: &str| {
        let (status, why) = fails(dir.path(), &verify(more));
        assert!(status == 1 && why.contains(want), "{more:?}: {why}");
    };
    assert!(ok(dir.path(), &verify(&[])).contains("version 2.1.0"));
    ok(dir.path(), &verify(&["--artifact", "program", "--as", "linux-amd64"]));
    ok(dir.path(), &verify(&["--artifact", "updater.sh", "--as", "bootstrap"]));
    ok(dir.path(), &verify(&["--artifact", "updater.sh", "--as", "updater"]));
    refused(&["--artifact", "program", "--as", "linux-arm64"], "is not the linux-arm64 of the manifest");
    refused(&["--artifact", "updater.sh", "--as", "linux-amd64"], "is not the linux-amd64 of the manifest");
    refused(&["--artifact", "program", "--as", "linux-mips"], "no program for linux-mips");
    refused(&["--artifact", "program", "--as", "linux-amd64", "--channel", "beta"], "no channel");
    refused(&["--artifact", "nothing", "--as", "linux-amd64"], "nothing cannot be read");
    assert_eq!(fails(dir.path(), &verify(&["--as", "updater"])).0, 2);

    // The key that is built in is another one.
    let (status, why) = fails(dir.path(), &["release", "verify", "version.json"]);
    assert!(status == 1 && why.contains("was not made by this release key"), "{why}");

    // One byte more, a signature cut off, none, a file that is no key.
    let (sound, signature) =
        (fs::read(dir.join("version.json")).unwrap(), fs::read(dir.join("version.json.sig")).unwrap());
    fs::write(dir.join("version.json"), [&sound[..], b"\n"].concat()).unwrap();
    refused(&[], "or the file has changed since");
    fs::write(dir.join("version.json"), &sound).unwrap();
    fs::write(dir.join("version.json.sig"), &signature[..40]).unwrap();
    refused(&[], "not one line of base64");
    fs::write(dir.join("version.json.sig"), signature.repeat(2)).unwrap();
    refused(&[], "longer than");
    fs::remove_file(dir.join("version.json.sig")).unwrap();
    refused(&[], "version.json.sig cannot be read");
    let (status, why) = fails(dir.path(), &["release", "verify", "--release-key", "key", "version.json"]);
    assert!(status == 1 && why.contains("version.json.sig"), "{why}");
    fs::write(dir.join("version.json.sig"), &signature).unwrap();
    let (status, why) = fails(dir.path(), &["release", "verify", "--release-key", "key", "version.json"]);
    assert!(status == 1 && why.contains("not a public release key"), "{why}");

    // What no node could read is not signed, and every fault of it is told.
    manifest["version"] = "two".into();
    manifest["channels"]["stable"]["updater"]["path"] = "/etc/passwd".into();
    fs::write(dir.join("bad.json"), manifest.to_string()).unwrap();
    let (status, why) = fails(dir.path(), &["release", "sign", "--key-file", "key", "bad.json"]);
    assert!(status == 1 && why.contains("bad.json: version must") && why.contains("updater.path must"), "{why}");
    assert!(!dir.join("bad.json.sig").exists());
}

#[test]
fn what_is_signed_has_an_end_and_holds_no_longer() {
    let (dir, manifest) = release();
    ok(dir.path(), &["release", "keygen", "--out", "key"]);
    let sign =
        |more: &[&str]| run(dir.path(), &[&["release", "sign", "--key-file", "key", "version.json"], more].concat());
    let verify = |more: &[&str]| {
        let output =
            run(dir.path(), &[&["release", "verify", "--release-key", "key.pub", "version.json"], more].concat());
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let signed = || -> Value { serde_json::from_slice(&fs::read(dir.join("version.json")).unwrap()).unwrap() };
    assert!(sign(&[]).status.success() && verify(&[]).0);
    let first = signed()["expires"].as_str().unwrap().to_string();
    // Signed again, it has the same end; a new one where that is asked for, and nothing else is changed.
    assert!(sign(&[]).status.success() && signed()["expires"] == first.as_str());
    assert!(sign(&["--expires-days", "365"]).status.success() && verify(&[]).0);
    assert!(signed()["expires"].as_str().unwrap() > first.as_str());
    let mut plain = signed();
    plain.as_object_mut().unwrap().remove("expires");
    assert_eq!(plain, manifest);
    for days in ["0", "3651", "x"] {
        assert_eq!(sign(&["--expires-days", days]).status.code(), Some(2));
    }

    for (end, why) in [(Some("2020-01-01T00:00:00Z"), "expired at 2020-01-01T00:00:00Z"), (None, "has no expiry date")]
    {
        crate::update::expire(dir.path(), &dir.join("key"), end);
        let (fine, said) = verify(&[]);
        assert!(!fine && said.contains(why) && said.contains("--allow-expired"), "{said}");
        assert!(verify(&["--allow-expired"]).0);
    }
    crate::update::expire(dir.path(), &dir.join("key"), Some("2020-01-01T00:00:00Z"));
    let again = sign(&[]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("--expires-days"), "{again:?}");
    assert!(sign(&["--expires-days", "1"]).status.success() && verify(&[]).0);
}

#[test]
fn a_release_key_is_not_written_over() {
    let dir = Dir::new();
    ok(dir.path(), &["release", "keygen", "--out", "key"]);
    let before = fs::read(dir.join("key")).unwrap();
    let (status, why) = fails(dir.path(), &["release", "keygen", "--out", "key"]);
    assert!(status == 1 && why.contains("key exists"), "{why}");
    fs::rename(dir.join("key"), dir.join("elsewhere")).unwrap();
    assert!(fails(dir.path(), &["release", "keygen", "--out", "key"]).1.contains("key.pub exists"));
    assert_eq!(before, fs::read(dir.join("elsewhere")).unwrap());
    assert_eq!(fails(dir.path(), &["release", "keygen"]).0, 2);
}

#[test]
fn the_release_that_was_built_is_whole() {
    let Some(built) = built("release-files") else { return };
    let dir = Dir::new();
    assert!(Command::new("cp").arg("-R").arg(built.join(".")).arg(dir.path()).status().unwrap().success());
    assert!(
        Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
            .current_dir(dir.path())
            .status()
            .unwrap()
            .success()
    );
    let sums = fs::read_to_string(dir.join("SHA256SUMS")).unwrap();
    let summed = |name: &str| sums.lines().any(|l| l.ends_with(&format!("  {name}")));

    // What a node does with it: the signature, and each file by its sum.
    let text = fs::read_to_string(dir.join("version.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let stable = &manifest["channels"]["stable"];
    ok(dir.path(), &["release", "keygen", "--out", "key"]);
    ok(dir.path(), &["release", "sign", "--key-file", "key", "version.json"]);
    let artifacts = stable["agent"]["artifacts"].as_object().unwrap();
    assert!(!artifacts.is_empty(), "{text}");
    let mut files = vec![("bootstrap", &stable["bootstrap"]["path"]), ("updater", &stable["updater"]["path"])];
    files.extend(artifacts.iter().map(|(architecture, artifact)| (architecture.as_str(), &artifact["url"])));
    for (name, file) in files {
        let file = file.as_str().unwrap();
        assert!(summed(file), "{file}");
        ok(
            dir.path(),
            &["release", "verify", "--release-key", "key.pub", "version.json", "--artifact", file, "--as", name],
        );
    }

    // Nothing of the machine that built it is in the program.
    for artifact in artifacts.values() {
        let bytes = fs::read(dir.join(artifact["url"].as_str().unwrap())).unwrap();
        for path in [env!("CARGO_MANIFEST_DIR"), "/.cargo/registry", "/.rustup/"] {
            assert!(!bytes.windows(path.len()).any(|w| w == path.as_bytes()), "{path} is in the program");
        }
    }

    let version = manifest["version"].as_str().unwrap();
    let bill = format!("uptimemesh-{version}.cdx.json");
    assert!(summed(&bill) && summed("version.json"));
    let bill: Value = serde_json::from_str(&fs::read_to_string(dir.join(&bill)).unwrap()).unwrap();
    check_bill(&bill, version);
    let told: Value = serde_json::from_str(&ok(dir.path(), &["version", "--json"])).unwrap();
    let sqlite = bill["components"].as_array().unwrap().iter().find(|c| c["name"] == "sqlite").unwrap();
    assert_eq!(sqlite["version"], told["sqlite"]);
}

/// The bill of materials names packages as Cargo.lock pins them, each direct dependency among them, and leads nowhere
/// outside of itself.
fn check_bill(bill: &Value, version: &str) {
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert_eq!(bill["metadata"]["component"]["version"], version);
    let locked = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let components = bill["components"].as_array().unwrap();
    let packages: Vec<&Value> = components.iter().filter(|c| !c["purl"].is_null()).collect();
    for package in &packages {
        let (name, version) = (package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        let at = locked
            .find(&format!("name = \"{name}\"\nversion = \"{version}\"\n"))
            .unwrap_or_else(|| panic!("{name} {version}"));
        let sum = package["hashes"][0]["content"].as_str().unwrap();
        assert!(locked[at..].split("\n\n").next().unwrap().contains(sum), "{name} {version}");
        assert!(package["licenses"][0]["expression"].is_string(), "{name} has no licence");
    }
    let refs: Vec<&Value> =
        components.iter().map(|c| &c["bom-ref"]).chain([&bill["metadata"]["component"]["bom-ref"]]).collect();
    let edges = bill["dependencies"].as_array().unwrap();
    for edge in edges {
        assert!(refs.contains(&&edge["ref"]), "{}", edge["ref"]);
        edge["dependsOn"].as_array().unwrap().iter().for_each(|needed| assert!(refs.contains(&needed), "{needed}"));
    }
    let own = edges.iter().find(|e| e["ref"] == bill["metadata"]["component"]["bom-ref"]).unwrap();
    let cargo = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let direct = cargo.split("[dependencies]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for name in direct.lines().filter_map(|l| l.split(" = ").next()) {
        let prefix = format!("pkg:cargo/{name}@");
        assert!(
            own["dependsOn"].as_array().unwrap().iter().any(|d| d.as_str().unwrap().starts_with(&prefix)),
            "{name}"
        );
    }
}

#[test]
fn the_sums_of_the_scripts_are_written_down_and_nothing_else_changes() {
    let dir = Dir::new();
    fs::create_dir(dir.join("ops")).unwrap();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["ops/build-release.sh", "version.json"] {
        fs::copy(tree.join(file), dir.join(file)).unwrap();
    }
    let sums = || Command::new(dir.join("ops/build-release.sh")).arg("--sums").output().unwrap();
    let before = fs::read_to_string(dir.join("version.json")).unwrap();
    fs::write(dir.join("ops/bootstrap.sh"), "one").unwrap();
    let said = String::from_utf8(sums().stderr).unwrap();
    assert!(said.contains("ops/node-update.sh is missing"), "{said}");
    assert_eq!(fs::read_to_string(dir.join("version.json")).unwrap(), before);

    fs::write(dir.join("ops/node-update.sh"), "two").unwrap();
    assert!(sums().status.success());
    let mut want: Value = serde_json::from_str(&before).unwrap();
    for (script, file) in [("bootstrap", "ops/bootstrap.sh"), ("updater", "ops/node-update.sh")] {
        want["channels"]["stable"][script]["sha256"] = sum(dir.path(), file).into();
    }
    let after = fs::read_to_string(dir.join("version.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), want);
    assert_eq!(after.lines().count(), before.lines().count());
    assert!(sums().status.success());
    assert_eq!(fs::read_to_string(dir.join("version.json")).unwrap(), after);
}

#[test]
fn a_release_build_says_what_is_wrong_with_its_command_line() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/build-release.sh");
    let dir = Dir::new();
    fs::write(dir.join("precious"), "kept").unwrap();
    let out = dir.path().to_str().unwrap();
    for (args, want) in [
        (&["--nonsense"][..], "unknown option --nonsense"),
        (&["--out"], "--out needs a value"),
        (&["--expires-days", "0"], "--expires-days must be 1 to 3650"),
        (&["--key-file", "/nonexistent/key"], "/nonexistent/key cannot be read"),
        (&["--target", "mips-unknown-none"], "mips-unknown-none cannot be built here"),
        (&["--out", out], "exists but is not a release"),
    ] {
        let output = Command::new(&script).args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(want), "{args:?}: {said}");
    }
    assert_eq!(fs::read_to_string(dir.join("precious")).unwrap(), "kept");
}
