//! The commands of README and documentation, as a newcomer types them. Only the port is another, so that tests do not
//! meet.

use crate::machine::{Init, Machine, can_have_machines, free_port};
use crate::program::Running;
use crate::replicas::end_runs;
use crate::support::{Dir, until};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// The shell blocks of a text.
fn shell_blocks(text: &str) -> Vec<String> {
    text.split("```sh\n").skip(1).map(|b| b.split("```").next().unwrap().to_string()).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The shell blocks of a section of the README.
pub fn blocks(section: &str) -> Vec<String> {
    let readme = read("README.md");
    shell_blocks(
        readme.split("\n## ").find(|s| s.starts_with(section)).unwrap_or_else(|| panic!("no section {section}")),
    )
}

/// The shell blocks of a topic of the documentation.
pub fn topic(name: &str) -> Vec<String> {
    shell_blocks(&read(&format!("assets/docs/{name}.md")))
}

struct Shell {
    url: String,
    /// Port of the first service, in the README 8080.
    port: u16,
}

impl Shell {
    fn command(&self, dir: &Path, script: &str) -> Command {
        let bin = Path::new(env!("CARGO_BIN_EXE_uptimemesh")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        let secure = self.url.replace("http://127.0.0.1", "https://localhost");
        let script = script.replace("http://127.0.0.1:8000", &self.url).replace("https://localhost:8000", &secure);
        let script = script.replace("8080", &self.port.to_string());
        shell.args(["-ec", &script]).current_dir(dir);
        shell.env("PATH", path).env("UPTIMEMESH_API_URL", &self.url);
        shell
    }

    fn run(&self, dir: &Path, script: &str) -> String {
        let output = self.command(dir, script).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_cluster_is_backed_up_restored_and_taken_back() {
    let (here, there) = (Dir::new(), Dir::new());
    let (mut server, client) = Running::serve(here.path(), &["serve", "--server-port", "0", "--log-file", ""]);
    let shell = Shell { url: format!("http://{}", client.address), port: free_port() };
    let [back_up, restore] = <[String; 2]>::try_from(topic("backup")).unwrap();
    let [_, back] = <[String; 2]>::try_from(topic("upgrade")).unwrap();
    let said = shell.run(here.path(), &back_up);
    assert!(said.contains("schema_version") && said.contains("manual-"), "{said}");
    assert_eq!(server.terminate(), 0);
    let made = fs::read_to_string(here.join("made")).unwrap();
    fs::copy(here.join(made.trim()), there.join("cluster.umbackup")).unwrap();
    let passphrase = back_up.lines().next().unwrap();
    assert!(shell.run(there.path(), &format!("{passphrase}\n{restore}")).contains("is the cluster of"));
    let authority = |dir: &Dir| fs::read(dir.join("data/pki/cluster-ca.crt")).ok();
    assert_eq!(authority(&here), authority(&there));

    // What an upgrade would have made.
    let before = here.join("data/backups/pre-upgrade-20260101T000000Z-00000000.umbackup");
    fs::copy(here.join(made.trim()), before).unwrap();
    let said = shell.run(here.path(), &format!("{passphrase}\n{back}"));
    assert!(said.contains("is kept in data/replaced-"), "{said}");
}

/// Ends what runs when the test ends, however it does.
struct Ends<'d>(&'d Dir);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        end_runs(&self.0.join("data/runner"));
    }
}

#[test]
fn a_newcomer_gets_a_service_and_two_living_nodes() {
    let (here, there) = (Dir::new(), Dir::new());
    assert_eq!(blocks("Start")[0], "cargo run --release -- up\n");
    let _ends = [Ends(&here), Ends(&there)];
    let (_up, client) = Running::serve(here.path(), &["up", "--server-port", "0"]);
    let shell = Shell { url: format!("http://{}", client.address), port: free_port() };

    let run = shell.run(here.path(), &blocks("Say what should run")[0]);
    assert!(run.starts_with("Created web, generation 1.\n") && run.contains(" 200 OK"), "{run}");
    assert!(run.contains("\nREPLICA\t") && run.contains("\tweb\t") && run.contains("HEAD / HTTP/1.1"), "{run}");

    let second = blocks("Join a second node");
    fs::write(there.join("join"), shell.run(here.path(), &second[0])).unwrap();
    let _node =
        Running::of(shell.command(there.path(), &format!("exec {}", second[1].trim_end())), there.path(), "node");
    until("it is listed", || shell.run(here.path(), &second[2]).contains("\nnode-b\t").then_some(()));
    until("both are alive", || {
        (shell.run(here.path(), "uptimemesh node leases").matches("\talive\t").count() == 2).then_some(())
    });

    assert!(shell.run(here.path(), &blocks("Use it from elsewhere")[0]).contains("\"ok\""));
    let by_curl = shell.run(here.path(), &topic("api")[0]);
    assert!(by_curl.contains(r#""lease_state":"alive""#) && by_curl.contains(r#""schedulable":false"#), "{by_curl}");

    assert!(shell.run(here.path(), &topic("join")[0]).starts_with("umj1:"));
    let spec = fs::read_to_string(here.join("web.json")).unwrap();
    fs::write(here.join("web.json"), spec.replace("\"ports\"", "\"environment\": {\"A\": \"b\"}, \"ports\"")).unwrap();
    let changed = shell.run(here.path(), &topic("services")[0]);
    assert!(changed.starts_with("Changed web, now generation 2.\n") && changed.contains("\n2\t"), "{changed}");
    shell.run(here.path(), "uptimemesh service delete web --force");
    until("its program has ended", || TcpListener::bind(("127.0.0.1", shell.port)).ok());
    fs::write(here.join("new-password"), "another password").unwrap();
    shell.run(here.path(), &topic("security")[0]);
}

/// A block that no test here runs is a promise that nobody keeps.
#[test]
fn every_block_is_one_that_a_test_runs() {
    let once = ["api", "join", "security", "services"].map(|name| (name, 1));
    let run = [&once[..], &["backup", "install", "upgrade"].map(|name| (name, 2))].concat();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/docs")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        let expected = run.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count);
        assert_eq!(topic(&name).len(), expected, "{name}");
    }
    // The last one is the command that runs this test.
    assert_eq!(shell_blocks(&read("README.md")).len(), 7);
}

#[test]
fn an_operator_installs_two_machines() {
    if !can_have_machines() {
        return;
    }
    let (one, two, port) = (Machine::new(Init::Systemd), Machine::new(Init::Systemd), free_port());
    for machine in [&one, &two] {
        machine.ok("mkdir -p /srv/ops /srv/target/release; cp /srv/install.sh /srv/ops; mv /srv/uptimemesh \
            /srv/target/release");
    }
    let commands = topic("install");
    let first = commands[0].replace(" first ", &format!(" first --host 127.0.0.1 --port {port} "));
    one.ok(&format!("cd /srv; export UPTIMEMESH_API_URL=http://127.0.0.1:{port}\n{first}"));
    two.put("/srv/join", one.read("/srv/join").as_bytes(), 0o600);
    two.ok(&format!("cd /srv\n{}", commands[1]));
    let status = one.ok(&format!("uptimemesh nodes-status --api-url http://127.0.0.1:{port}"));
    assert_eq!(status.matches("\talive\t").count(), 2, "{status}");
}
