//! The real program as a child process, in a directory of its own.

use crate::support::{Client, Dir, PATIENCE, until};
use serde_json::Value;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// The program, in this directory, without anything that the tester's own environment says.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uptimemesh"));
    command
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

/// Runs it to its end, which must be a good one, and gives what it printed.
pub fn ok(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it to a bad end; gives the exit status and what it said.
pub fn fails(dir: &Path, args: &[&str]) -> (i32, String) {
    let output = run(dir, args);
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

/// The program in the background. Dropping it kills it.
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Starts it; `name` names its output files.
    pub fn start(dir: &Path, name: &str, args: &[&str]) -> Running {
        Running::of(command(dir, args), dir, name)
    }

    pub fn of(mut command: Command, dir: &Path, name: &str) -> Running {
        let (out, err) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
        let child = command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap()).spawn().unwrap();
        Running { child, out, err }
    }

    /// A control plane in this directory, on a free port, once it answers.
    pub fn serve(dir: &Path, args: &[&str]) -> (Running, Client) {
        let running = Running::start(dir, "serve", &[args, &["--server-host", "127.0.0.1"]].concat());
        let client = running.client();
        (running, client)
    }

    /// What it has written to stdout so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    /// What it has written to stderr so far.
    pub fn logged(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client of the control plane that it is.
    pub fn client(&self) -> Client {
        let address: SocketAddr = until("the server listens", || {
            let log = self.logged();
            let at = log.find("address: http://")? + "address: http://".len();
            log[at..].split_whitespace().next()?.parse().ok()
        });
        Client { address, token: None, tls: None }
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Asks it to end, waits, and tells its exit status.
    pub fn terminate(&mut self) -> i32 {
        assert!(Command::new("kill").arg(self.pid().to_string()).status().unwrap().success());
        self.exit_status()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end and tells its exit status.
    pub fn exit_status(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.logged());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_wrong_command_line_names_every_fault_and_exits_with_2() {
    let dir = Dir::new();
    for (args, parts) in [
        (&["serve", "--no-such", "--other=1", "extra"][..], &["--no-such", "--other", "\"extra\""][..]),
        (&["nonsense"], &["unknown command \"nonsense\""]),
        (&["node", "vanish"], &["node has no verb \"vanish\"; it has list, show"]),
        (&["--api-url", "http://x"], &["a command is missing"]),
        (
            &["join", "--lease-ttl", "x"],
            &["--role is required", "--lease-ttl must be a whole number", "the join string is missing"],
        ),
        (&["serve", "--role", "core"], &["serve takes no option --role"]),
        (&["node", "cordon"], &["node cordon needs NODE"]),
        (&["agent", "--node-id", "a b", "--ttl", "5"], &["--node-id must be", "--ttl must be 10 to 300"]),
        (&["nodes-status", "--api-url", "ftp://x"], &["must begin with http"]),
        (&["heartbeat", "--node-id", "n", "--status-json", "[]"], &["--status-json must be a JSON object"]),
        (&["serve", "--server-port", "70000", "--log-level", "loud"], &["SERVER_PORT must be", "LOG_LEVEL must be"]),
        (
            &["up", "--nonsense", "--server-port", "x", "--node-id", "-"],
            &["--nonsense", "SERVER_PORT must be", "--node-id must be"],
        ),
        (&["serve", "--server-port"], &["--server-port needs a value"]),
    ] {
        let (status, said) = fails(dir.path(), args);
        assert_eq!(status, 2, "{args:?}: {said}");
        for part in parts {
            assert!(
                said.lines().any(|l| l.starts_with("error: ") && l.contains(part)),
                "{args:?}: no {part:?} in {said}"
            );
        }
    }
    let alone = command(dir.path(), &[]).output().unwrap();
    assert!(alone.status.code() == Some(2) && alone.stdout.is_empty());
    assert_eq!(String::from_utf8(alone.stderr).unwrap(), ok(dir.path(), &["help"]), "the help, where errors go");
    for version in ["--version", "-V"] {
        assert_eq!(ok(dir.path(), &[version]), ok(dir.path(), &["version"]));
    }
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "a wrong command line leaves nothing behind");
}

#[test]
fn failures_say_what_to_do_and_exit_with_1() {
    let dir = Dir::new();
    let (status, said) = fails(dir.path(), &["nodes-status", "--api-url", "http://127.0.0.1:1"]);
    assert_eq!(status, 1);
    assert!(said.starts_with("error: cannot reach http://127.0.0.1:1"), "{said}");
    let (status, said) = fails(dir.path(), &["agent", "--node-id", "n"]);
    assert!(status == 1 && said.contains("join first"), "{said}");
    let (_serve, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let url = format!("http://{}", client.address);
    let (status, said) = fails(dir.path(), &["nodes-status", "--api-url", &url, "--password", "wrong"]);
    assert_eq!((status, said.as_str()), (1, "error: Invalid username or password. (HTTP 401)\n"));
    let (status, said) = fails(dir.path(), &["create-token", "--api-url", &url, "--role", "king", "--ttl", "5"]);
    assert!(status == 1 && said.contains("role: ") && said.contains("ttl_seconds: "), "{said}");
    let (status, said) =
        fails(dir.path(), &["--api-url", &url, "join", "--token", "wrong", "--role", "worker", "--node-id", "n"]);
    assert!(status == 1 && said.contains("Invalid, expired, or already-used join token."), "{said}");
}

#[test]
fn production_names_every_fault_and_then_starts() {
    let dir = Dir::new();
    let (status, said) = {
        let output =
            command(dir.path(), &["serve", "--server-port", "0"]).env("app_env", "Production").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(status, Some(1), "{said}");
    for name in ["AUTH_SECRET_KEY", "CLUSTER_SIGNING_KEY", "AUTH_COOKIE_SECURE"] {
        assert!(said.contains(&format!("error: {name} ")), "{name} not in {said}");
    }
    let key = "0123456789abcdef0123456789abcdef";
    fs::write(
        dir.join(".env"),
        format!(
            "APP_ENV=prod\nAUTH_SECRET_KEY={key}\nCLUSTER_SIGNING_KEY={key}1\nAUTH_COOKIE_SECURE=true\nSERVER_PORT=1\n"
        ),
    )
    .unwrap();
    let mut served = command(dir.path(), &["serve", "--server-host", "127.0.0.1"]);
    let served = Running::of(
        {
            served.env("SERVER_PORT", "0");
            served
        },
        dir.path(),
        "serve",
    );
    let client = served.client();
    assert_eq!(client.get("/version").json()["env"], "prod");
    let cookie = client.send("POST", "/auth/login", &[], b"username=admin&password=uptime&next=/ui");
    assert!(cookie.header("Set-Cookie").unwrap().contains("; Secure"), "{cookie:?}");
    let mut keys: Vec<_> = fs::read_dir(dir.join("data/keys")).unwrap().map(|e| e.unwrap().file_name()).collect();
    keys.sort();
    assert_eq!(keys, ["setup-code", "work.epoch", "work.key"], "in production no key of a setting is made up");
}

#[test]
fn the_data_directory_belongs_to_one_server_and_is_free_again_after_a_kill() {
    let dir = Dir::new();
    let (mut first, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let (status, said) = fails(dir.path(), &["serve", "--server-port", "0"]);
    assert!(status == 1 && said.contains("Another uptimemesh server uses the data directory data"), "{said}");
    assert_eq!(fails(dir.path(), &["migrate"]).0, 1);
    let (status, said) = fails(
        dir.path(),
        &[
            "serve",
            "--data-dir",
            "other",
            "--server-host",
            "127.0.0.1",
            "--server-port",
            &client.address.port().to_string(),
        ],
    );
    assert!(status == 1 && said.contains("Cannot listen on 127.0.0.1 port"), "{said}");
    assert!(said.contains("another program on this machine uses it") && !said.contains("os error"), "{said}");
    let session = client.signed_in("admin", "uptime").token;
    first.kill();
    let (mut second, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let again = Client { token: session, ..client };
    assert_eq!(again.get("/nodes").status, 200, "sessions survive a restart");
    assert_eq!(second.terminate(), 0, "{}", second.logged());
    assert!(second.logged().contains("serve.stop"), "{}", second.logged());
    assert_eq!(ok(dir.path(), &["migrate"]), "data/app.db is at version 13; 0 migrations were applied now.\n");
}

#[test]
fn secrets_are_private_and_nothing_is_half_written() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let (_up, _client) = Running::serve(dir.path(), &["up", "--server-port", "0", "--node-id", "n1"]);
    until("it is up", || _up.said().contains("is up").then_some(()));
    for (path, mode) in [
        ("data", 0o700),
        ("data/keys/auth-secret.key", 0o600),
        ("data/keys/cluster-signing.key", 0o600),
        ("data/pki/cluster-ca.key", 0o600),
        ("data/identities/n1/node.key", 0o600),
        ("data/identities/n1/lease.token", 0o600),
    ] {
        assert_eq!(fs::metadata(dir.join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
    let log = fs::read_to_string(dir.join("data/app.log")).unwrap();
    for secret in ["data/keys/auth-secret.key", "data/keys/cluster-signing.key", "data/identities/n1/lease.token"] {
        assert!(!log.contains(fs::read_to_string(dir.join(secret)).unwrap().trim()), "{secret} is in the log");
    }
}

#[test]
fn operators_work_from_the_command_line() {
    let dir = Dir::new();
    let (_serve, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let url = format!("http://{}", client.address);
    let run = |args: &[&str]| ok(dir.path(), &[&["--api-url", &url], args].concat());
    let json = |args: &[&str]| -> Value { serde_json::from_str(&run(args)).unwrap() };

    let text =
        run(&["bootstrap", "--username", "admin", "--password", "uptime", "--core-ttl", "60", "--worker-ttl", "120"]);
    assert!(
        text.starts_with("{\n  \"bootstrapped\": true,\n  \"core_token\": {\n    \"expires_at\""),
        "two spaces, sorted keys: {text}"
    );
    let made: Value = serde_json::from_str(&text).unwrap();
    let worker = &made["worker_token"];
    let third = json(&["create-token", "--role", "gateway", "--ttl", "60", "--for-node", "gw"]);
    assert_eq!(third["node_id"], "gw");
    assert_eq!(json(&["join-tokens", "--json"]).as_array().unwrap().len(), 3);
    assert_eq!(run(&["join-tokens"]).lines().next(), Some("ID\tROLE\tNODE\tEXPIRES\tUSED"));
    assert!(run(&["delete-token", third["id"].as_str().unwrap()]).starts_with("Removed jt-"));
    assert_eq!(json(&["join-tokens", "--json"]).as_array().unwrap().len(), 2);

    let secret = worker["token"].as_str().unwrap();
    let names = [
        "--name",
        "N\u{e9}",
        "--mesh-ip",
        "10.42.0.9",
        "--api-endpoint",
        "https://n",
        "--lease-ttl",
        "20",
        "--identity-dir",
        "own",
    ];
    let joined = run(&[&["join", "--token", secret, "--node-id", "n1", "--role", "worker"], &names[..]].concat());
    assert!(joined.is_ascii(), "{joined}");
    assert!(
        ["node.key", "node.crt", "ca.crt", "lease.token"].iter().all(|name| dir.join("own/n1").join(name).exists())
    );
    let beat = json(&[
        "heartbeat",
        "--node-id",
        "n1",
        "--identity-dir",
        "own",
        "--ttl",
        "30",
        "--status-json",
        r#"{"ready": true, "x": 1.0}"#,
    ]);
    assert_eq!((&beat["node_id"], &beat["lease_state"]), (&"n1".into(), &"alive".into()));
    let token = fs::read_to_string(dir.join("own/n1/lease.token")).unwrap();
    fs::write(dir.join("own/n1/lease.token"), "forgotten").unwrap();
    let given = ["heartbeat", "--node-id", "n1", "--identity-dir", "own", "--lease-token", &token];
    run(&given);

    assert_eq!(json(&["node", "cordon", "n1"])["status"]["schedulable"], false);
    assert_eq!(json(&["node", "uncordon", "n1"])["status"]["schedulable"], true);
    assert_eq!(json(&["node", "drain", "n1", "--no-wait"])["status"]["draining"], true);
    assert_eq!(json(&["nodes-status", "--json"])[0]["lease_state"], "alive");
    assert_eq!(json(&["events", "--name", "node.drain", "--limit", "1", "--json"])[0]["name"], "node.drain");
    assert!(run(&["events"]).starts_with("TIME\tLEVEL\tEVENT\tFIELDS\n"));
    assert_eq!(run(&["node", "delete", "n1"]), "Removed n1.\n");
    assert_eq!(run(&["nodes-status"]), "NODE\tROLE\tLEASE\tHEARTBEAT\tEXPIRES\n");

    fs::write(dir.join("new"), "a better password\n").unwrap();
    run(&["set-password", "--new-password-file", "new"]);
    // Beside the server its local credential would do.
    let elsewhere = Dir::new();
    let (status, said) = fails(elsewhere.path(), &["nodes-status", "--api-url", &url]);
    assert!(status == 1 && said.contains("--password-file or UPTIMEMESH_PASSWORD"), "{said}");
    run(&["nodes-status", "--password-file", "new"]);
    let by_env = command(dir.path(), &["nodes-status"])
        .env("UPTIMEMESH_API_URL", &url)
        .env("UPTIMEMESH_PASSWORD", "a better password")
        .output()
        .unwrap();
    assert!(by_env.status.success());
}

#[test]
fn a_command_without_a_credential_guesses_no_password() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let (_serve, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let url = format!("http://{}", client.address);
    let (status, said) = fails(elsewhere.path(), &["node", "list", "--api-url", &url]);
    assert!(status == 1 && said.contains(&format!("error: there is no credential for {url}")), "{said}");
    assert!(said.contains(&format!("add --data-dir DIR, or sign in: uptimemesh login {url}")), "{said}");
    let signs = client.signed_in("admin", "uptime").events("auth");
    assert!(signs.iter().all(|event| event["name"] != "auth.sign_in_failed"), "{signs:?}");
    // The commands of version 1 work as they did.
    ok(elsewhere.path(), &["nodes-status", "--api-url", &url]);
}
