//! What the installer finds out before it changes anything, and that a dry run says what a run does.

use crate::install::is_unprivileged;
use crate::machine::{Init, Machine, can_have_machines, free_port};
use crate::settings::table;
use crate::support::{Client, until};
use std::fs;
use std::net::TcpListener;

/// Everything of the machine that an installation could change, with modes, owners and times.
fn snapshot(machine: &Machine) -> Vec<String> {
    let places = "find /etc /usr/local /opt /var/lib /var/log /srv -xdev -path /usr/local/alpine -prune -o -exec stat \
        -c '%n %A %U %G %s %Y' {} +";
    machine.ok(&format!("({places}; cat /etc/passwd /etc/group) | sort")).lines().map(str::to_string).collect()
}

/// Nothing has changed since.
fn is_untouched(machine: &Machine, before: &[String], why: &str) {
    let after = snapshot(machine);
    let changed: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
    assert!(changed.is_empty() && after.len() == before.len(), "{why}: {changed:?}");
}

fn first(port: u16, more: &str) -> String {
    format!("first --bin /srv/uptimemesh --node-id node-a --host 127.0.0.1 --port {port} {more}")
}

/// The steps that a dry run says.
fn planned(said: &str) -> Vec<String> {
    said.lines().filter_map(|line| line.strip_prefix("install: would ")).map(str::to_string).collect()
}

/// The steps that a run has done: what it says besides are notes, findings and the end.
fn done(said: &str) -> Vec<String> {
    const NO_STEPS: &[&str] = &["note: ", "done: ", "waiting until ", "  ", "keeping the configuration in "];
    let lines = said.lines().filter_map(|line| line.strip_prefix("install: "));
    let steps = lines.filter(|line| !NO_STEPS.iter().any(|begin| line.starts_with(begin)));
    steps
        .filter(|line| !line.ends_with(" is already installed") && !line.ends_with("nothing has changed"))
        .map(str::to_string)
        .collect()
}

#[test]
fn a_dry_run_says_every_step_that_a_run_does_and_no_other() {
    if !can_have_machines() {
        return;
    }
    for init in [Init::Systemd, Init::OpenRc] {
        let machine = Machine::new(init);
        let port = free_port();
        let untouched = snapshot(&machine);
        let told = machine.install(&first(port, "--dry-run"));
        is_untouched(&machine, &untouched, "a dry run changes nothing");
        let plan = planned(&told);
        assert!(plan.len() > 15, "{told}");
        assert_eq!(done(&machine.install(&first(port, ""))), plan);

        // Again, with nothing to do; and with what somebody has changed meanwhile.
        for change in [
            "true",
            "chmod 0755 /var/lib/uptimemesh; rm /etc/logrotate.d/uptimemesh; chown root: \
                /etc/uptimemesh/uptimemesh.env",
        ] {
            machine.ok(change);
            let plan = planned(&machine.install(&first(port, "--dry-run")));
            assert_eq!(done(&machine.install(&first(port, ""))), plan, "{change}");
            let made = |what: &str| plan.iter().any(|step| step.contains(what));
            let is_changed = change != "true";
            for what in ["give /var/lib/uptimemesh to", "write /etc/logrotate.d", "let the services read"] {
                assert_eq!(made(what), is_changed, "{what}: {plan:?}");
            }
        }
    }
}

#[test]
fn what_is_taken_away_is_said_before_and_is_ours() {
    if !can_have_machines() {
        return;
    }
    for init in [Init::Systemd, Init::OpenRc] {
        let machine = Machine::new(init);
        let install = "first --bin /srv/uptimemesh --node-id node-a --no-start --port 443";
        machine.install(install);
        machine.ok("mount --bind -o ro /etc /etc; mount -o remount,bind,ro /etc");
        let said = machine.fails(&machine.installer("uninstall"));
        assert!(
            said.contains("/etc cannot be written") || said.contains("/etc/logrotate.d cannot be written"),
            "{said}"
        );
        machine.ok("umount /etc; test -e /usr/local/bin/uptimemesh");
        for arguments in ["uninstall", "uninstall --purge"] {
            let before = snapshot(&machine);
            let plan = planned(&machine.install(&format!("{arguments} --dry-run")));
            is_untouched(&machine, &before, arguments);
            let said = machine.install(arguments);
            let done: Vec<String> =
                done(&said).into_iter().filter(|step| !step.starts_with("kept: data in ")).collect();
            assert_eq!(done, plan, "{arguments}");
            assert!(plan.len() > 3, "{plan:?}");
        }
        machine.install("uninstall --purge");

        // A person, and a person's files, under our names.
        machine.ok("/usr/sbin/useradd --create-home --shell /bin/bash uptimemesh; mkdir /var/lib/uptimemesh; echo x \
            >/var/lib/uptimemesh/thesis.txt");
        let before = snapshot(&machine);
        let said = machine.fails(&machine.installer("uninstall --purge"));
        assert!(
            said.contains("with the shell /bin/bash") && said.contains("contains files that are not UptimeMesh's"),
            "{said}"
        );
        is_untouched(&machine, &before, "what is a person's stays");
    }
}

#[test]
fn what_stands_in_the_way_is_told_at_once_and_nothing_is_touched() {
    if !can_have_machines() {
        return;
    }
    let port = free_port();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for (init, obstacle, parts) in [
        (Init::Systemd, "mount -o remount,ro /usr/local", &["/usr/local/bin is not writable", "--prefix"][..]),
        (Init::OpenRc, "mount -t tmpfs -o size=512k tmpfs /usr/local/bin", &["/usr/local/bin has", "kB are needed"]),
        (
            Init::Systemd,
            "useradd --create-home --shell /bin/bash uptimemesh",
            &["a user uptimemesh exists with the shell /bin/bash"],
        ),
        (
            Init::Systemd,
            "groupadd uptimemesh; usermod -aG uptimemesh games",
            &["a group uptimemesh exists and has members"],
        ),
        (
            Init::OpenRc,
            "mkdir /var/lib/uptimemesh; echo x >/var/lib/uptimemesh/thesis.txt",
            &["/var/lib/uptimemesh exists, contains files"],
        ),
        (
            Init::Systemd,
            "touch /var/lib/uptimemesh; ln -s /nowhere /var/log/uptimemesh",
            &["/var/lib/uptimemesh exists but is not a dir", "/var/log/uptimemesh exists but is not a dir"],
        ),
        (
            Init::Systemd,
            "mkdir -p /etc/uptimemesh /var/lib/uptimemesh-update; chown games /etc/uptimemesh \
                /var/lib/uptimemesh-update",
            &["/etc/uptimemesh exists and belongs to games", "/var/lib/uptimemesh-update exists and belongs to games"],
        ),
        (
            Init::Systemd,
            "echo '[Unit]' >/etc/systemd/system/uptimemesh.service; echo '#!/bin/sh' >/usr/local/bin/uptimemesh",
            &["/etc/systemd/system/uptimemesh.service exists but is not"],
        ),
        (
            Init::OpenRc,
            "printf '#!/bin/sh\\necho mine\\n' >/usr/local/bin/uptimemesh; chmod 755 /usr/local/bin/uptimemesh",
            &["/usr/local/bin/uptimemesh exists but is not"],
        ),
        (
            Init::Systemd,
            "mkdir /etc/uptimemesh; printf 'SERVER_PORT=\"80\\nDATA_DIRR=x\\n' >/etc/uptimemesh/uptimemesh.env",
            &["uptimemesh.env line 1: a quote", "uptimemesh.env line 2: DATA_DIRR"],
        ),
        (Init::OpenRc, "true", &["another program listens on port"]),
    ] {
        let machine = Machine::new(init);
        machine.ok(obstacle);
        let before = snapshot(&machine);
        for more in ["--dry-run", ""] {
            let said = machine.fails(&machine.installer(&first(port, more)));
            for part in parts {
                assert!(
                    said.lines().any(|line| line.starts_with("error: ") && line.contains(part)),
                    "{obstacle}: no {part:?} in {said}"
                );
            }
            assert!(said.contains("Nothing was changed on this machine."), "{said}");
            is_untouched(&machine, &before, obstacle);
        }
    }
    drop(taken);

    // A machine without most of its tools, and one where nothing starts services.
    let machine = Machine::new(Init::Systemd);
    machine.ok("mkdir /srv/few; for tool in id uname systemctl; do ln -s $(command -v $tool) /srv/few/; done; rm -r \
        /run/systemd");
    let few = format!("PATH=/srv/few /bin/dash /srv/install.sh {}", first(port, ""));
    assert!(machine.fails(&few).contains("neither systemd nor OpenRC runs on this machine"));
    assert!(machine.fails(&format!("{few} --init systemd")).contains("--no-start installs and enables them"));
    let said = machine.fails(&format!("{few} --init systemd --no-start"));
    assert!(said.contains("error: cmp is not installed") && said.contains("error: awk is not installed"), "{said}");
    assert!(!machine.has("/var/lib/uptimemesh") && !machine.has("/etc/uptimemesh"));
}

/// Where `/usr` cannot be written the program has a place of its own, which later runs find again.
#[test]
fn a_prefix_is_where_everything_goes_that_would_go_below_usr() {
    if !can_have_machines() {
        return;
    }
    for init in [Init::Systemd, Init::OpenRc] {
        let machine = Machine::new(init);
        machine.ok("mount -o remount,ro /usr/local");
        let client = machine.install_first("node-a", "--bin /srv/uptimemesh --prefix /opt/mesh");
        assert_eq!(client.get("/health").status, 200);
        assert!(machine.has("/opt/mesh/share/man/man1/uptimemesh.1") && !machine.has("/usr/local/bin/uptimemesh"));
        assert!(
            !machine
                .ok("cat /etc/systemd/system/uptimemesh* /etc/init.d/uptimemesh* 2>/dev/null || true")
                .contains("/usr/local/bin")
        );
        machine.ok("cp /srv/uptimemesh /srv/newer; echo >> /srv/newer");
        machine.install("first --bin /srv/newer");
        machine.ok("cmp /srv/newer /opt/mesh/bin/uptimemesh");
        let said = machine.fails(&machine.installer("first --bin /srv/newer --prefix /opt/other"));
        assert!(said.contains("installed below /opt/mesh"), "{said}");
        machine.install("uninstall");
        assert!(!machine.has("/opt/mesh/bin/uptimemesh"));
        for bad in ["relative", "/opt/a b", "/opt/../etc", "/usr", "/"] {
            assert!(
                machine
                    .fails(&machine.installer(&format!("first --bin /srv/newer --prefix '{bad}'")))
                    .contains("--prefix"),
                "{bad}"
            );
        }
    }
}

/// The reviewed table once more: what a service is started with is what the program reads, and what is refused starts
/// nothing.
#[test]
fn services_and_the_installer_have_settings_as_the_program_reads_them() {
    if !can_have_machines() {
        return;
    }
    for init in [Init::Systemd, Init::OpenRc] {
        let machine = Machine::new(init);
        let client: Client = machine.install_first("node-a", "--bin /srv/uptimemesh");
        let (mut text, mut wanted) = (machine.read("/etc/uptimemesh/uptimemesh.env"), Vec::new());
        for (number, (row, value)) in table().into_iter().enumerate() {
            let name = format!("ROW_{number}");
            let row = row.replace("APP_NAME", &name).replace("app_name", &name.to_lowercase());
            if let (Ok(value), true) = (value, row.trim_start().starts_with(|c: char| c != '#')) {
                text.push_str(&(row + "\n"));
                wanted.push(format!("{name}={value}"));
            }
        }
        text.push_str("UPTIMEMESH_NODE_ID = \"node-\\\\b\" # told again\n".replace("\\\\", "").as_str());
        let restart =
            if init == Init::Systemd { "systemctl restart uptimemesh" } else { "rc-service uptimemesh restart" };
        machine.put("/etc/uptimemesh/uptimemesh.env", text.as_bytes(), 0o640);
        machine.ok(&format!("chgrp uptimemesh /etc/uptimemesh/uptimemesh.env; {restart}"));
        until("it is well", || TcpListener::bind(client.address).is_err().then(|| client.get("/health").status == 200));
        let up = machine.process("up").expect("it runs");
        is_unprivileged(&machine, up);
        let environment = String::from_utf8(fs::read(format!("/proc/{up}/environ")).unwrap()).unwrap();
        let found: Vec<&str> = environment.split('\0').collect();
        for line in &wanted {
            assert!(found.contains(&line.as_str()), "{line:?} is not in {environment:?}");
        }
        assert!(wanted.len() > 30 && !machine.has("/srv/ran"));
        // The installer, asked for the node's id.
        assert!(found.contains(&"UPTIMEMESH_NODE_ID=node-b"));
        let said = machine.install("first --bin /srv/uptimemesh --node-id node-c --dry-run");
        assert!(said.contains("note: UPTIMEMESH_NODE_ID was not changed to node-c"), "{said}");

        machine.put(
            "/etc/uptimemesh/uptimemesh.env",
            (text + "DATA_DIR=\"/var/lib/uptimemesh/else\"where\n").as_bytes(),
            0o640,
        );
        machine.ok("chgrp uptimemesh /etc/uptimemesh/uptimemesh.env");
        let _ = machine.run(restart);
        let told =
            "cat /var/log/uptimemesh/uptimemesh.err /run/test-units/uptimemesh.service.journal 2>/dev/null || true";
        until("it is told", || machine.ok(told).contains("there is text after the closing quote").then_some(()));
        assert!(!machine.has("/var/lib/uptimemesh/else") && !machine.has("/var/lib/uptimemesh/data"));
    }
}
