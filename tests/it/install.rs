//! The real installer and the real program on bare machines: see [`crate::machine`] for what stands in for a service
//! manager.

use crate::golden;
use crate::machine::{Init, Machine, can_have_machines, free_port, program, status_of};
use crate::program::ok;
use crate::support::{Client, Dir, until};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The ids of nodes that are alive.
pub fn alive(client: &Client) -> Vec<String> {
    let answer = client.signed_in("admin", "uptime").get("/cluster/leases");
    let mut ids: Vec<String> = answer
        .json()
        .as_array()
        .unwrap()
        .iter()
        .filter(|lease| lease["lease_state"] == "alive")
        .map(|lease| lease["node_id"].as_str().unwrap().to_string())
        .collect();
    ids.sort();
    ids
}

/// A join string of the cluster that this machine is the control plane of.
pub fn join_string(machine: &Machine, client: &Client) -> String {
    machine.ok(&format!("uptimemesh create-token --role worker --join-string --api-url http://{}", client.address))
}

/// It runs as nobody much: not root, without any capability, and without a way to more.
pub fn is_unprivileged(machine: &Machine, pid: u32) {
    let account = machine.ok("id -u uptimemesh");
    let ids = status_of(pid, "Uid");
    assert!(ids.split_whitespace().all(|id| id == account.trim()) && account.trim() != "0", "{ids} is not {account}");
    assert_eq!(status_of(pid, "Groups"), "");
    assert_eq!(status_of(pid, "CapEff"), "0000000000000000");
    assert_eq!(status_of(pid, "NoNewPrivs"), "1");
}

/// Both kinds of machines live through the same: a first node, a second one that joins it, each installed again, taken
/// away, put back.
fn lives(init: Init) {
    if !can_have_machines() {
        return;
    }
    let (one, two) = (Machine::new(init), Machine::new(init));
    let first = "first --bin /srv/uptimemesh --node-id node-a";
    let (service, agent) = if init == Init::Systemd {
        ("uptimemesh.service", "uptimemesh-agent.service")
    } else {
        ("uptimemesh", "uptimemesh-agent")
    };

    // Told everything, done nothing.
    let told = one.install(&format!("{first} --dry-run"));
    assert!(
        told.contains("would create the user uptimemesh") && told.contains(&format!("would start {service}")),
        "{told}"
    );
    for nothing in
        ["/usr/local/bin/uptimemesh", "/etc/uptimemesh", "/var/lib/uptimemesh", "/etc/logrotate.d/uptimemesh"]
    {
        assert!(!one.has(nothing), "{nothing}");
    }
    assert!(!one.read("/etc/passwd").contains("uptimemesh"));

    let client = one.install_first("node-a", "--bin /srv/uptimemesh");
    let up = one.process("up").expect("the control plane runs");
    is_unprivileged(&one, up);
    assert_eq!(alive(&client), ["node-a"]);
    assert!(one.read("/var/log/uptimemesh/app.log").contains("serve.start"));
    assert_eq!(
        one.ok("stat -c '%U %a' /var/lib/uptimemesh /var/log/uptimemesh /var/lib/uptimemesh/app.db"),
        "uptimemesh 700\nuptimemesh 750\nuptimemesh 600\n"
    );
    assert_eq!(
        one.ok("stat -c '%U:%G %a' /etc/uptimemesh/uptimemesh.env /usr/local/bin/uptimemesh"),
        "root:uptimemesh 640\nroot:root 755\n"
    );

    two.put("/srv/join", join_string(&one, &client).as_bytes(), 0o600);
    let said = two.install("join --bin /srv/uptimemesh --join-file /srv/join --node-id node-b");
    assert!(said.contains("done: node-b is a live node"), "{said}");
    let beating = two.process("agent").expect("the agent runs");
    is_unprivileged(&two, beating);
    assert_eq!(alive(&client), ["node-a", "node-b"]);
    assert!(
        !two.ok("cat /etc/uptimemesh/* /etc/*/uptimemesh* 2>/dev/null || true").contains("umj1:"),
        "the secret is used up, and nowhere"
    );

    // Again: nothing changes, nothing is started anew. The join string is spent, and not needed.
    let said = one.install(first);
    assert!(said.contains("is already installed") && said.contains("nothing has changed"), "{said}");
    assert_eq!(one.process("up"), Some(up));
    let said = two.install("join --bin /srv/uptimemesh");
    assert_eq!(two.process("agent"), Some(beating), "{said}\n{}", two.read("/var/log/uptimemesh/app.log"));

    // A newer program: the one before is kept, the data and the configuration too.
    one.ok("cp /srv/uptimemesh /srv/newer; echo >> /srv/newer; echo '# mine' >> /etc/uptimemesh/uptimemesh.env");
    // A setting may have any character, and is run by nobody.
    let odd = "a b'$(touch /srv/ran);touch /srv/ran&x";
    let settings =
        one.read("/etc/uptimemesh/uptimemesh.env") + &format!("AUTH_SECRET_KEY={}{odd}\n", "0123456789".repeat(4));
    fs::write(one.path("/etc/uptimemesh/uptimemesh.env"), settings).unwrap();
    one.install("first --bin /srv/newer");
    let again = one.process("up").expect("it runs again");
    assert_ne!(again, up);
    let environment = fs::read(format!("/proc/{again}/environ")).unwrap();
    let key = format!("AUTH_SECRET_KEY={}{odd}", "0123456789".repeat(4));
    assert!(
        environment.split(|b| *b == 0).any(|line| line == key.as_bytes()),
        "{}",
        String::from_utf8_lossy(&environment)
    );
    assert!(!one.has("/srv/ran"));
    one.ok(
        "cmp /srv/newer /usr/local/bin/uptimemesh && cmp /srv/uptimemesh /usr/local/bin/uptimemesh.previous && grep \
        -q '^# mine' /etc/uptimemesh/uptimemesh.env",
    );
    until("both are alive", || (alive(&client) == ["node-a", "node-b"]).then_some(()));

    // A machine belongs to one cluster.
    two.put("/srv/another", join_string(&one, &client).replacen("umj1:worker:", "umj1:worker:0", 1).as_bytes(), 0o600);
    for (machine, arguments, why) in [
        (&two, "first --bin /srv/uptimemesh", "is the node node-b of another cluster"),
        (&two, "join --bin /srv/uptimemesh --join-file /srv/another --node-id node-c", "has already joined as node-b"),
        (&two, "join --bin /srv/uptimemesh --join-file /srv/another", "of a cluster other than the join string's"),
        (&one, "join --bin /srv/uptimemesh --join-file /srv/install.sh", "has no join string"),
        (&one, "join --bin /srv/uptimemesh", "is the control plane of a cluster"),
    ] {
        let said = machine.fails(&machine.installer(arguments));
        assert!(said.contains(why), "{arguments}: {said}");
    }
    assert_eq!(two.process("agent"), Some(beating));

    // An update that was cut off: the updater's own copy is asked before the program is started.
    let updater = "[ \"$1\" = --recover ] && [ \"$(id -u)\" = 0 ] && rm /var/lib/uptimemesh-update/journal";
    two.put("/var/lib/uptimemesh-update/node-update.sh", updater.as_bytes(), 0o755);
    two.put("/var/lib/uptimemesh-update/journal", b"", 0o644);
    two.ok(if init == Init::Systemd {
        "systemctl restart uptimemesh-agent"
    } else {
        "rc-service uptimemesh-agent restart"
    });
    assert!(!two.has("/var/lib/uptimemesh-update/journal"));
    until("both are alive", || (alive(&client) == ["node-a", "node-b"]).then_some(()));

    // Away, and back again: the same cluster with the same nodes.
    let said = one.install("uninstall");
    assert!(said.contains(&format!("stop {service}")) && said.contains("kept: data in /var/lib/uptimemesh"), "{said}");
    assert_eq!(one.process("up"), None);
    for gone in ["/usr/local/bin/uptimemesh", "/usr/local/bin/uptimemesh.previous", "/etc/logrotate.d/uptimemesh"] {
        assert!(!one.has(gone), "{gone}");
    }
    for left in [
        "/var/lib/uptimemesh/app.db",
        "/var/lib/uptimemesh/pki",
        "/etc/uptimemesh/uptimemesh.env",
        "/var/log/uptimemesh/app.log",
    ] {
        assert!(one.has(left), "{left}");
    }
    one.install("first --bin /srv/uptimemesh");
    until("both are alive", || (alive(&client) == ["node-a", "node-b"]).then_some(()));

    let said = two.install("uninstall --purge");
    assert!(said.contains(&format!("stop {agent}")), "{said}");
    assert_eq!(two.process("agent"), None);
    let left = two.ok("find /etc /usr /var/lib /var/log -xdev -name '*uptimemesh*' | sort");
    assert_eq!(left, "");
    assert!(!two.read("/etc/passwd").contains("uptimemesh") && !two.read("/etc/group").contains("uptimemesh"));
    assert!(two.install("uninstall").contains("nothing is installed"));
}

#[test]
fn machines_with_systemd_are_installed_joined_and_taken_away() {
    lives(Init::Systemd);
}

#[test]
fn machines_like_alpine_are_installed_joined_and_taken_away() {
    lives(Init::OpenRc);
}

/// What logrotate does with what is installed: the log is renamed, and the program opens it anew.
#[test]
fn the_log_is_rotated_while_the_program_runs() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::new(Init::Systemd);
    let client = machine.install_first("node-a", "--bin /srv/uptimemesh");
    let before = machine.process("up");
    machine.ok("logrotate --force /etc/logrotate.d/uptimemesh");
    assert!(machine.read("/var/log/uptimemesh/app.log.1").contains("serve.start"));
    until("the log is opened anew", || {
        client.get("/nowhere");
        machine.has("/var/log/uptimemesh/app.log").then_some(())
    });
    assert_eq!(machine.process("up"), before);
}

/// A port below 1024 needs a capability, which is given for that and taken back afterwards.
#[test]
fn a_port_below_1024_gets_one_capability_and_no_other() {
    if !can_have_machines() {
        return;
    }
    const BIND_ALONE: &str = "0000000000000400";
    let machine = Machine::new(Init::Systemd);
    let port = (700..1024).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap();
    machine.install(&format!("first --bin /srv/uptimemesh --host 127.0.0.1 --port {port} --node-id node-a"));
    let up = machine.process("up").expect("it runs");
    assert_eq!((status_of(up, "CapEff").as_str(), status_of(up, "NoNewPrivs").as_str()), (BIND_ALONE, "1"));

    let other = free_port();
    machine.ok(&format!("sed -i s/SERVER_PORT=.*/SERVER_PORT={other}/ /etc/uptimemesh/uptimemesh.env"));
    let said = machine.install("first --bin /srv/uptimemesh");
    assert!(said.contains("needs no capability"), "{said}");
    let again = machine.process("up").expect("it runs again");
    is_unprivileged(&machine, again);

    // Installing it again is a way to let it read its configuration.
    machine.ok(&format!("sed -i s/SERVER_PORT=.*/SERVER_PORT={}/ /etc/uptimemesh/uptimemesh.env", free_port()));
    machine.install("first --bin /srv/uptimemesh");
    assert_ne!(machine.process("up").expect("it runs with the new port"), again);
}

/// Serves files of a directory until the process ends; gives its URL.
pub fn serve(dir: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(&stream);
            let _ = reader.read_line(&mut line);
            let mut header = String::new();
            while reader.read_line(&mut header).is_ok_and(|n| n > 2) {
                header.clear();
            }
            let path = line.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_string();
            let (status, body) = match fs::read(dir.join(path)) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            // No length: what is fetched must be bounded all the same.
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
            let _ = (&stream).write_all(&[head.as_bytes(), &body].concat());
        }
    });
    url
}

/// A release of this program, signed by a key of its own.
fn release(dir: &Path, sha256: Option<&str>) {
    release_of(dir, program(), sha256);
}

fn release_of(dir: &Path, program: &Path, sha256: Option<&str>) {
    fs::copy(program, dir.join("uptimemesh-linux")).unwrap();
    let sum = Command::new("sha256sum").arg(dir.join("uptimemesh-linux")).output().unwrap();
    let sum = sha256.map_or_else(|| String::from_utf8(sum.stdout).unwrap()[..64].to_string(), str::to_string);
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(repository().join("version.json")).unwrap()).unwrap();
    let artifact = serde_json::json!({"url": "uptimemesh-linux", "sha256": sum});
    manifest["channels"]["stable"]["agent"]["artifacts"] =
        serde_json::json!({"linux-amd64": artifact, "linux-arm64": artifact});
    fs::write(dir.join("version.json"), serde_json::to_string_pretty(&manifest).unwrap()).unwrap();
    if !dir.join("key").exists() {
        ok(dir, &["release", "keygen", "--out", "key"]);
    }
    ok(dir, &["release", "sign", "version.json", "--key-file", "key"]);
}

#[test]
fn a_release_is_fetched_and_only_a_genuine_one_is_installed() {
    if !can_have_machines() {
        return;
    }
    for init in [Init::Systemd, Init::OpenRc] {
        let (machine, dir) = (Machine::new(init), Dir::new());
        release(dir.path(), None);
        let url = serve(dir.path().to_path_buf());
        machine.put("/srv/release.pub", &fs::read(dir.join("key.pub")).unwrap(), 0o644);
        let fetched = format!("first --version-url {url}/version.json --host 127.0.0.1 --port {}", free_port());
        let believing = format!("{fetched} --release-key /srv/release.pub");

        // Signed by somebody else's key, as far as this installer knows.
        let said = machine.fails(&machine.installer(&fetched));
        assert!(said.contains("was not made with the release key"), "{said}");
        // Changed after it was signed.
        let sound = fs::read_to_string(dir.join("version.json")).unwrap();
        fs::write(dir.join("version.json"), sound.replace("2.0.0", "2.0.1")).unwrap();
        let said = machine.fails(&machine.installer(&believing));
        assert!(said.contains("was not made with the release key"), "{said}");
        // The program is another than the signed one.
        release(dir.path(), Some(&"ab".repeat(32)));
        let said = machine.fails(&machine.installer(&believing));
        assert!(said.contains("SHA-256 is not the signed one"), "{said}");
        let said = machine.fails(&machine.installer(&format!("{believing} --channel beta")));
        assert!(said.contains("has no channel beta"), "{said}");
        for nothing in ["/usr/local/bin/uptimemesh", "/var/lib/uptimemesh", "/etc/uptimemesh"] {
            assert!(!machine.has(nothing), "{nothing}");
        }

        // Genuine, and too old.
        release(dir.path(), None);
        for (end, why) in [(Some("2020-01-01T00:00:00Z"), "expired at 2020-01-01"), (None, "has no expiry date")] {
            crate::update::expire(dir.path(), &dir.join("key"), end);
            let said = machine.fails(&machine.installer(&believing));
            assert!(said.contains(why) && said.contains("--allow-expired"), "{said}");
        }
        assert!(machine.install(&format!("{believing} --allow-expired --dry-run")).contains("would install"));
        assert!(!machine.has("/usr/local/bin/uptimemesh"));

        release(dir.path(), None);
        let said = machine.install(&format!("{believing} --node-id node-a"));
        assert!(
            said.contains("the signature is valid") && said.contains("done: the control plane is healthy"),
            "{said}"
        );
        assert!(machine.process("up").is_some());
        // Updates come from there too.
        let settings = machine.read("/etc/uptimemesh/uptimemesh.env");
        assert!(
            settings.contains(&format!(
                "VERSION_URL={url}/version.json\nRELEASE_KEY_FILE=/etc/uptimemesh/release-key.pub\n"
            )),
            "{settings}"
        );
        assert_eq!(machine.read("/etc/uptimemesh/release-key.pub"), fs::read_to_string(dir.join("key.pub")).unwrap());

        // An old release, signed as it is.
        let old = dir.join("old");
        fs::write(&old, "#!/bin/sh\necho uptimemesh 1.9.9\n").unwrap();
        release_of(dir.path(), &old, None);
        let said = machine.fails(&machine.installer(&believing));
        assert!(said.contains("uptimemesh 1.9.9, which is older"), "{said}");
        assert!(
            machine
                .ok("cmp /srv/uptimemesh /usr/local/bin/uptimemesh && ls /usr/local/bin")
                .starts_with("uptimemesh\n")
        );
        // More than a program can have, of a length that nobody says: it ends before the disk is full.
        fs::write(dir.join("version.json"), vec![b' '; 1 << 20]).unwrap();
        let said = machine.fails(&machine.installer(&believing));
        assert!(said.contains("could not fetch"), "{said}");
    }
}

#[test]
fn the_installer_and_updates_keep_out_of_each_others_way() {
    if !can_have_machines() {
        return;
    }
    let machine = Machine::new(Init::Systemd);
    machine.install_first("node-a", "--bin /srv/uptimemesh");
    machine.ok("cp /srv/uptimemesh /srv/newer; echo >> /srv/newer");
    let again = machine.installer("first --bin /srv/newer");
    let said = machine.fails(&format!("flock /var/lib/uptimemesh-update/lock {again}"));
    assert!(said.contains("an update of this machine is running"), "{said}");
    machine.ok("cmp /srv/uptimemesh /usr/local/bin/uptimemesh");

    // An update was cut off, and an operator mends it by hand: the next start must not undo that.
    let sums = machine.ok("sha256sum /srv/uptimemesh").split(' ').next().unwrap().to_string();
    let journal = format!(
        "phase=swap\nbin=/usr/local/bin/uptimemesh\nfrom=2.0.0\nfrom_sum={sums}\nto=9.0.0\nto_sum={}\n",
        "ab".repeat(32)
    );
    machine.put("/var/lib/uptimemesh-update/journal", journal.as_bytes(), 0o644);
    let updater = fs::read(repository().join("ops/node-update.sh")).unwrap();
    machine.put("/var/lib/uptimemesh-update/node-update.sh", &updater, 0o755);
    let said = machine.install("first --bin /srv/newer");
    assert!(said.contains("discard the interrupted update"), "{said}");
    machine.ok("systemctl restart uptimemesh; cmp /srv/newer /usr/local/bin/uptimemesh");
    // Nothing that was started holds the lock.
    machine.ok("flock -n /var/lib/uptimemesh-update/lock true");
}

#[test]
fn what_an_operator_wrote_beside_the_services_stays() {
    if !can_have_machines() {
        return;
    }
    for (init, file) in [
        (Init::Systemd, "/etc/systemd/system/uptimemesh.service.d/mine.conf"),
        (Init::OpenRc, "/etc/conf.d/uptimemesh"),
    ] {
        let machine = Machine::new(init);
        machine.ok(&format!("mkdir -p {}; echo '# mine' > {file}", file.rsplit_once('/').unwrap().0));
        machine.install("first --bin /srv/uptimemesh --node-id node-a --no-start --port 443");
        machine.install("first --bin /srv/uptimemesh --node-id node-a --no-start");
        machine.ok("sed -i s/SERVER_PORT=.*/SERVER_PORT=8443/ /etc/uptimemesh/uptimemesh.env");
        machine.install("first --bin /srv/uptimemesh --node-id node-a --no-start");
        machine.install("uninstall --purge");
        assert_eq!(machine.read(file), "# mine\n");
    }
}

/// Runs a script of `ops` that builds something, with this program in it.
fn build(script: &str, out: &Path) {
    let mut command = Command::new("dash");
    command.arg(repository().join("ops").join(script)).args([program(), out]);
    // The program of a test is not static.
    let output = command.env("SOURCE_DATE_EPOCH", "1700000000").env("ALLOW_DYNAMIC", "yes").output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_package_is_installed_upgraded_removed_and_purged_by_dpkg() {
    if !can_have_machines() {
        return;
    }
    let (machine, dir) = (Machine::new(Init::Systemd), Dir::new());
    build("build-deb.sh", &dir.join("a"));
    build("build-deb.sh", &dir.join("b"));
    let package = |out: &str| fs::read(fs::read_dir(dir.join(out)).unwrap().next().unwrap().unwrap().path()).unwrap();
    assert!(package("a") == package("b"), "the same input gives the same package");
    machine.put("/srv/uptimemesh.deb", &package("a"), 0o644);

    let said = machine.ok("dpkg --force-unsafe-io --install /srv/uptimemesh.deb");
    assert!(said.contains("installed and not started"), "{said}");
    assert_eq!(machine.process("up"), None);
    assert_eq!(
        machine.ok("stat -c '%U:%G %a' /var/lib/uptimemesh /etc/uptimemesh/uptimemesh.env"),
        "uptimemesh:uptimemesh 700\nroot:uptimemesh 640\n"
    );
    assert_eq!(machine.ok("dpkg --verify uptimemesh"), "");
    assert!(machine.fails(&machine.installer("first --bin /srv/uptimemesh")).contains("from a package"));

    let port = free_port();
    machine.ok(&format!(
        "printf 'SERVER_HOST=127.0.0.1\\nSERVER_PORT={port}\\n' >> /etc/uptimemesh/uptimemesh.env; \
        systemctl enable uptimemesh; systemctl start uptimemesh"
    ));
    let before = machine.process("up").expect("it runs");
    is_unprivileged(&machine, before);
    let client = Client { address: ([127, 0, 0, 1], port).into(), token: None, tls: None };
    assert_eq!(client.get("/health").status, 200);

    // An upgrade restarts what ran, and keeps what the operator wrote without asking.
    machine.ok("dpkg --force-unsafe-io --install /srv/uptimemesh.deb");
    assert_ne!(machine.process("up").expect("it runs again"), before);
    assert!(machine.read("/etc/uptimemesh/uptimemesh.env").contains(&port.to_string()));

    machine.ok("dpkg --remove uptimemesh");
    assert_eq!(machine.process("up"), None);
    assert!(
        machine.has("/var/lib/uptimemesh/app.db")
            && machine.has("/etc/uptimemesh/uptimemesh.env")
            && !machine.has("/usr/bin/uptimemesh")
    );
    machine.ok("dpkg --purge uptimemesh");
    assert_eq!(
        machine.ok(
            "find /etc /usr /var/lib/uptimemesh /var/log /lib/systemd -xdev -name '*uptimemesh*' 2>/dev/null | sort"
        ),
        ""
    );
    assert!(!machine.read("/etc/passwd").contains("uptimemesh"));
}

#[test]
fn an_image_is_an_oci_layout_whose_every_digest_is_right() {
    let dir = Dir::new();
    build("build-oci.sh", &dir.join("a.tar"));
    build("build-oci.sh", &dir.join("b.tar"));
    assert!(
        fs::read(dir.join("a.tar")).unwrap() == fs::read(dir.join("b.tar")).unwrap(),
        "the same input gives the same image"
    );
    let output = Command::new("dash")
        .arg(repository().join("ops/build-oci.sh"))
        .args([program().to_str().unwrap(), "c.tar"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(
        !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("is not static"),
        "{output:?}"
    );

    let sh = |script: &str| {
        let output = Command::new("sh").args(["-ec", script]).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    sh("tar -xf a.tar");
    let json =
        |path: &str| -> serde_json::Value { serde_json::from_slice(&fs::read(dir.join(path)).unwrap()).unwrap() };
    // What a descriptor names, once its size and its digest are found right.
    let blob = |descriptor: &serde_json::Value| {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_string();
        let path = format!("blobs/sha256/{digest}");
        assert_eq!(fs::metadata(dir.join(&path)).unwrap().len(), descriptor["size"].as_u64().unwrap());
        assert_eq!(sh(&format!("sha256sum {path}")).split(' ').next(), Some(digest.as_str()));
        path
    };
    assert_eq!(json("oci-layout")["imageLayoutVersion"], "1.0.0");
    let manifest = json(&blob(&json("index.json")["manifests"][0]));
    let config = json(&blob(&manifest["config"]));
    let layer = blob(&manifest["layers"][0]);
    let plain = sh(&format!("gzip -dc {layer} | sha256sum"));
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", plain.split(' ').next().unwrap()));
    assert_eq!(config["config"]["User"], "65532:65532");
    let listed = sh(&format!("gzip -dc {layer} | tar -tv --numeric-owner"));
    let lines: Vec<Vec<&str>> = listed.lines().map(|l| l.split_whitespace().collect()).collect();
    let owners: Vec<(&str, &str, &str)> = lines.iter().map(|l| (l[0], l[1], l[5])).collect();
    assert_eq!(
        owners,
        [
            ("drwxr-xr-x", "0/0", "usr/"),
            ("drwxr-xr-x", "0/0", "usr/bin/"),
            ("-rwxr-xr-x", "0/0", "usr/bin/uptimemesh"),
            ("drwx------", "65532/65532", "data/")
        ]
    );
}

#[test]
fn what_cannot_be_installed_is_refused_with_every_fault() {
    let dir = Dir::new();
    let refused = |arguments: &[&str]| {
        let output = Command::new("dash")
            .arg(repository().join("ops/install.sh"))
            .args(arguments)
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    };
    let root = dir.path().to_str().unwrap();
    for (arguments, parts) in [
        (
            &["first", "--port", "70000", "--init", "upstart", "--nonsense", "--bin", "nothing"][..],
            &["--port must", "--init must", "--nonsense", "--bin nothing does not exist"][..],
        ),
        (&[], &["an action is missing"]),
        (&["second"], &["unknown action second"]),
        (&["first", "--root", root, "--init", "systemd"], &["the program is missing"]),
        (&["first", "--node-id", "a b", "--root", root], &["--node-id must be", "neither systemd nor OpenRC"]),
        (
            &["join", "--port", "1", "--join-file", "nothing"],
            &["--host and --port are for the first node", "--join-file nothing cannot be read"],
        ),
        (&["join", "umj1:worker:secret"], &["a join string must not be given on the command line"]),
        (&["first", "--purge"], &["--purge is for uninstall"]),
    ] {
        let said = refused(arguments);
        for part in parts {
            assert!(
                said.lines().any(|line| line.starts_with("error: ") && line.contains(part)),
                "{arguments:?}: no {part:?} in {said}"
            );
        }
        assert!(!said.contains("secret"), "{said}");
    }
    // Somebody who is not root, where this user can become one.
    let script = repository().join("ops/install.sh");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", "dash"])
        .arg("-s")
        .args(["--", "uninstall"])
        .stdin(fs::File::open(script).unwrap())
        .output();
    if let Ok(output) = output
        && !String::from_utf8_lossy(&output.stderr).contains("setpriv:")
    {
        assert!(String::from_utf8_lossy(&output.stderr).contains("this needs root"), "{output:?}");
    }
}

#[test]
fn scripts_are_clean() {
    let scripts = |dir: &str| -> Vec<PathBuf> {
        fs::read_dir(repository().join(dir)).unwrap().map(|e| e.unwrap().path()).collect()
    };
    let mut checked: Vec<PathBuf> =
        scripts("ops").into_iter().filter(|p| p.extension().is_some_and(|e| e == "sh")).collect();
    checked.extend(scripts("ops/openrc"));
    checked.push(repository().join("tests/machine/openrc-run"));
    // Variables of a service script are read, and those of its stand-in set, by the other.
    let output =
        Command::new("shellcheck").args(["--shell=sh", "--exclude=SC2034,SC2154"]).args(&checked).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The installer carries the key that the program has.
#[test]
fn the_installer_believes_the_release_key() {
    let key = fs::read_to_string(repository().join("ops/release-key.pub")).unwrap();
    assert!(fs::read_to_string(repository().join("ops/install.sh")).unwrap().contains(key.trim()));
}

/// systemd finds nothing wrong with the units, and says how much of the system they leave to the program.
#[test]
fn units_are_sound_and_hardened() {
    let dir = Dir::new();
    let root = dir.path().to_str().unwrap();
    let script = repository().join("ops/install.sh");
    let install =
        format!("{} first --bin {} --init systemd --root {root} --port 443", script.display(), program().display());
    let output = Command::new("dash").args(install.split(' ')).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::copy(program(), dir.join("usr/local/bin/uptimemesh.previous")).unwrap();
    // The units of systemd that ours refer to.
    let copied = Command::new("sh")
        .args(["-ec", "mkdir -p lib/systemd bin && cp -r /lib/systemd/system lib/systemd/ && cp /bin/sh bin/"])
        .current_dir(dir.path())
        .status();
    assert!(copied.unwrap().success());

    let units = [
        "uptimemesh.service",
        "uptimemesh-agent.service",
        "uptimemesh-runner.service",
        "uptimemesh-work.service",
        "uptimemesh-recover.service",
        "uptimemesh-update.path",
        "uptimemesh-update.service",
    ];
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no", "--root", root])
        .args(units)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");

    // In tenths: 100 is a service that may do everything.
    for (unit, exposure_max) in [
        ("uptimemesh.service", "18"),
        ("uptimemesh-agent.service", "16"),
        // What it runs would inherit more.
        ("uptimemesh-runner.service", "72"),
        ("uptimemesh-work.service", "22"),
        ("uptimemesh-recover.service", "29"),
        ("uptimemesh-update.service", "29"),
    ] {
        let threshold = format!("--threshold={exposure_max}");
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", &threshold, "--root", root, unit])
            .output()
            .unwrap();
        assert!(output.status.success(), "{unit}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_manual_and_the_completions_are_as_reviewed() {
    let dir = Dir::new();
    golden::check("uptimemesh.1", &ok(dir.path(), &["man"]));
    golden::check("completion.fish", &ok(dir.path(), &["completions", "fish"]));
    golden::check("completion.zsh", &ok(dir.path(), &["completions", "zsh"]));
    let bash = ok(dir.path(), &["completions", "bash"]);
    golden::check("completion.bash", &bash);

    // A real bash, asked as it asks when the tabulator is pressed.
    fs::write(dir.join("completion"), bash).unwrap();
    fs::create_dir(dir.join("data")).unwrap();
    fs::write(dir.join("data.txt"), "").unwrap();
    let ask = "source ./completion; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _uptimemesh; echo \"${COMPREPLY[*]}\"";
    for (line, answer) in [
        (&["uptimemesh", "nod"][..], "node"),
        (&["uptimemesh", "ca", ""], "show nodes rotate drop-previous"),
        (&["uptimemesh", "--api-url", "http://ca", "ca", "ro"], "rotate"),
        (&["uptimemesh", "join", "--join-f"], "--join-file"),
        (&["uptimemesh", "join", "--join-file", "dat"], "data data.txt"),
        (&["uptimemesh", "join", "--join-file", "=", "dat"], "data data.txt"),
        (&["uptimemesh", "serve", "--data-dir", "dat"], "data"),
        (&["uptimemesh", "serve", "--server-port", ""], ""),
        (&["uptimemesh", "completions", ""], "bash zsh fish"),
        (&["uptimemesh", "update", "pau"], "pause"),
        (&["uptimemesh", "update", "--rin"], "--ring --ring-wait --ring-label"),
        (&["uptimemesh", "update", "start", "--rin"], "--rings --ring-label"),
        (&["uptimemesh", "node", "drain", "--no"], "--no-wait"),
    ] {
        let output = Command::new("bash")
            .args(["--norc", "-c", ask, "bash"])
            .args(line)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(words(&said), words(answer), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
