//! From nothing to a fleet that is kept up to date: two bare machines are installed from a signed release, joined,
//! updated to the next one and kept from a broken one, all by the scripts and the program that ship.

use crate::install::{alive, is_unprivileged, join_string, serve};
use crate::machine::{Init, Machine, can_have_machines};
use crate::program::ok;
use crate::readme::topic;
use crate::support::{Client, Dir, until};
use crate::update::{builds, new_version, offer, stand_in};
use std::fs;

/// The versions that the nodes report, of those that are alive.
fn reported(client: &Client) -> Vec<String> {
    let nodes = client.signed_in("admin", "uptime").get("/nodes").json();
    nodes
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["status"]["version"].as_str().unwrap_or("none").to_string())
        .collect()
}

/// Both machines run this version, as services without rights, and the nodes report it.
fn run(one: &Machine, two: &Machine, client: &Client, version: &str) {
    for (machine, subcommand) in [(one, "up"), (two, "agent")] {
        assert_eq!(machine.ok("uptimemesh version").trim(), format!("uptimemesh {version}"));
        let process = machine.process(subcommand).unwrap_or_else(|| panic!("{subcommand} runs"));
        is_unprivileged(machine, process);
    }
    until(&format!("both nodes live and report {version}"), || {
        (alive(client) == ["node-a", "node-b"] && reported(client) == [version, version]).then_some(())
    });
    let told = client.get("/version").json();
    assert_eq!(told["version"], version);
}

fn fleet(init: Init) {
    if !can_have_machines() {
        return;
    }
    let host = Dir::new();
    ok(host.path(), &["release", "keygen", "--out", "key"]);
    let (old, new) = builds();
    let publish = |program: &[u8], version: &str| offer(host.path(), &host.join("key"), program, version);
    publish(old, env!("CARGO_PKG_VERSION"));
    let url = format!("{}/version.json", serve(host.path().to_path_buf()));
    let from = format!("--version-url {url} --release-key /srv/release.pub");

    // Installed from the release: a first node, and another that joins it.
    let (one, two) = (Machine::new(init), Machine::new(init));
    for machine in [&one, &two] {
        machine.ok("rm /srv/uptimemesh");
        machine.put("/srv/release.pub", &fs::read(host.join("key.pub")).unwrap(), 0o644);
    }
    let client = one.install_first("node-a", &from);
    two.put("/srv/join", join_string(&one, &client).as_bytes(), 0o600);
    two.install(&format!("join {from} --join-file /srv/join --node-id node-b"));
    run(&one, &two, &client, env!("CARGO_PKG_VERSION"));

    // A newer release: each takes it, the control plane first.
    publish(new, &new_version());
    for machine in [&one, &two] {
        // As the README says.
        let said = machine.ok(&topic("upgrade")[0]);
        assert!(said.contains("updated") && said.contains(&new_version()), "{said}");
    }
    run(&one, &two, &client, &new_version());
    for machine in [&one, &two] {
        let said = machine.ok("uptimemesh update --settle 1 2>&1");
        assert!(said.contains("update.current"), "{said}");
        assert!(machine.has("/usr/local/bin/uptimemesh.previous"));
    }

    // One that brings the control plane's database up to date, as releases do, and then is not well: the old program
    // gets its database back.
    let newer = host.join("newer.db");
    one.ok("made=$(uptimemesh backup create --no-encryption --data-dir /var/lib/uptimemesh) && uptimemesh backup \
        restore \"$made\" --data-dir /srv/copy");
    fs::copy(one.path("/srv/copy/app.db"), &newer).unwrap();
    let database = rusqlite::Connection::open(&newer).unwrap();
    database.execute("INSERT INTO schema_migrations VALUES (9999, 'later', 'x', 0)", []).unwrap();
    drop(database);
    one.put("/srv/newer.db", &fs::read(&newer).unwrap(), 0o644);
    let migrates = "[ \"$1\" = up ] || exit 1; cd /var/lib/uptimemesh && \
                    made=$(/usr/local/bin/uptimemesh.previous backup create --no-encryption --data-dir .) && \
                    mv \"$made\" \"backups/pre-upgrade-${made##*/manual-}\" && rm -f app.db-wal app.db-shm && cp \
                        /srv/newer.db app.db; exit 1";
    publish(&stand_in("8.0.0", migrates), "8.0.0");
    let output = one.run("uptimemesh update --settle 1 --health-wait 5");
    assert_eq!(output.status.code(), Some(10), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(one.ok("ls /var/lib/uptimemesh").contains("replaced-"));
    assert_eq!(one.ok("find /var/lib/uptimemesh ! -user uptimemesh"), "", "all of it is the service's own");
    run(&one, &two, &client, &new_version());

    // A broken one: it says the right version and does nothing else. Each goes back by itself, and does not try it
    // again.
    publish(&stand_in("9.0.0", "exit 1"), "9.0.0");
    for machine in [&one, &two] {
        let output = machine.run("uptimemesh update --settle 1 --health-wait 5");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(10), "{said}");
        assert!(machine.ok("uptimemesh update status").contains("rolled_back"));
        assert_eq!(
            machine.run("uptimemesh update").status.code(),
            Some(7),
            "what was rolled back is not tried again by itself"
        );
    }
    run(&one, &two, &client, &new_version());
}

#[test]
fn machines_with_systemd_are_installed_updated_and_kept_from_a_broken_release() {
    fleet(Init::Systemd);
}

#[test]
fn machines_like_alpine_are_installed_updated_and_kept_from_a_broken_release() {
    fleet(Init::OpenRc);
}
