//! Signing in once: contexts of a person, and the credential of the server's own machine, by the real program.

use crate::listening::{can_network, in_network};
use crate::program::{Running, command};
use crate::support::{Client, Dir, Served, USER_PASSWORD, until};
use crate::trouble::{can_mount, in_namespace};
use crate::typing::Terminal;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A person's machine: a home, and nothing of a server.
pub struct Person {
    pub dir: Dir,
}

impl Person {
    pub fn new() -> Person {
        let dir = Dir::new();
        fs::write(dir.join("password"), format!("{USER_PASSWORD}\n")).unwrap();
        Person { dir }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command(self.dir.path(), args);
        command.env("HOME", self.dir.path()).env("USER", "tester");
        command
    }

    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn fails(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(!output.status.success(), "{args:?} succeeded: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// Signs in as this user, who the server knows, in a pipe.
    pub fn signs_in(&self, served: &Served, user: &str, more: &[&str]) -> String {
        let (url, pin) = (url(served), authority(served));
        let args = ["login", &url, "--fingerprint", &pin, "--username", user, "--password-file", "password"];
        self.ok(&[&args[..], more].concat())
    }

    pub fn terminal(&self, line: &str) -> Terminal {
        Terminal::start(self.dir.path(), &[("HOME", self.dir.path().to_str().unwrap()), ("USER", "tester")], line)
    }

    pub fn file(&self) -> PathBuf {
        self.dir.join(".config/uptimemesh/contexts.json")
    }

    pub fn contexts(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.file()).unwrap()).unwrap()
    }

    /// The secret of a context's token.
    pub fn token(&self, at: usize) -> String {
        self.contexts()["contexts"][at]["token"].as_str().unwrap().to_string()
    }
}

pub fn url(served: &Served) -> String {
    format!("https://{}", served.anonymous().address)
}

pub fn authority(served: &Served) -> String {
    served.server.as_ref().unwrap().authority().unwrap()
}

/// The names of the tokens that commands made.
fn token_names(admin: &Client) -> Vec<String> {
    let all = admin.get("/api-tokens").json();
    all.as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap().to_string()).collect()
}

#[test]
fn a_person_signs_in_once_and_out_again() {
    let (served, person) = (Served::new(), Person::new());
    let _alice = served.user("alice", "operator");
    let admin = served.admin();
    let said = person.signs_in(&served, "alice", &[]);
    assert!(
        said.starts_with(&format!(
            "Signed in to {} as alice; commands use context 127.0.0.1 from now on",
            url(&served)
        )),
        "{said}"
    );
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(person.file()), mode(person.dir.join(".config/uptimemesh"))), (0o600, 0o700));
    assert!(token_names(&admin)[0].starts_with("cli tester@"), "{:?}", token_names(&admin));
    let token = person.token(0);

    let me: Value = serde_json::from_str(&person.ok(&["whoami", "--json"])).unwrap();
    assert_eq!(
        (&me["name"], &me["role"], &me["credential"]),
        (&json!("alice"), &json!("operator"), &json!("api_token"))
    );
    let sessions = admin.get("/sessions").json();
    let of_alice = sessions.as_array().unwrap().iter().filter(|session| session["user"] == "alice").count();
    assert_eq!(of_alice, 1, "the session of the login has ended, the test's own goes on");
    for args in
        [&["context", "list"][..], &["context", "show"], &["context", "show", "--json"], &["context", "list", "--json"]]
    {
        let said = person.ok(args);
        assert!(said.contains("127.0.0.1") && said.contains("alice") && !said.contains(&token), "{said}");
    }

    person.signs_in(&served, "alice", &[]);
    assert_eq!(token_names(&admin).len(), 1, "the token that was replaced is revoked");
    let old = Client { token: Some(token), ..served.anonymous() };
    assert_eq!(old.get("/nodes").status, 401);
    assert!(person.ok(&["logout"]).starts_with("Signed out of https://127.0.0.1"));
    assert_eq!((token_names(&admin).len(), person.contexts()["contexts"].as_array().unwrap().len()), (0, 0));
    assert!(person.fails(&["context", "show"]).contains("no context is in use: uptimemesh login URL"));
}

#[test]
fn contexts_are_chosen_by_flag_variable_url_and_use() {
    let (one, two, person) = (Served::new(), Served::new(), Person::new());
    let (_a, _b) = (one.user("anna", "admin"), two.user("bob", "viewer"));
    person.signs_in(&one, "anna", &["--context", "one"]);
    person.signs_in(&two, "bob", &["--context", "two"]);
    let who = |args: &[&str]| {
        let me: Value = serde_json::from_str(&person.ok(&[&["whoami", "--json"], args].concat())).unwrap();
        me["name"].as_str().unwrap().to_string()
    };
    assert_eq!(who(&[]), "bob", "the newest is current");
    assert_eq!(who(&["--context", "one"]), "anna");
    assert_eq!(who(&["--api-url", &url(&one)]), "anna", "by its URL");
    let by_variable = person.command(&["whoami"]).env("UPTIMEMESH_CONTEXT", "one").output().unwrap();
    assert!(String::from_utf8_lossy(&by_variable.stdout).contains("anna"));
    let flag_first =
        person.command(&["whoami", "--api-url", &url(&two)]).env("UPTIMEMESH_CONTEXT", "one").output().unwrap();
    assert!(
        String::from_utf8_lossy(&flag_first.stdout).contains("bob"),
        "the command line counts before the environment"
    );
    let named = [
        "--username",
        "anna",
        "--password-file",
        "password",
        "--api-url",
        &format!("http://{}", one.anonymous().address),
    ];
    assert_eq!(who(&named), "anna", "flags of 1.0 count before everything");
    let at_context = ["--username", "anna", "--password-file", "password", "--context", "one"];
    assert_eq!(who(&at_context), "anna");

    person.ok(&["context", "use", "one"]);
    assert_eq!(who(&[]), "anna");
    let why = person.fails(&["whoami", "--context", "three"]);
    assert!(why.contains("context \"three\" does not exist (known: one, two)"), "{why}");
    let why = person.fails(&["whoami", "--context", "one", "--api-url", "http://127.0.0.1:1"]);
    assert!(why.contains("--context and --api-url name two control planes"), "{why}");
    let why = person.fails(&["user", "add", "eve", "--role", "viewer", "--new-password-file", "password"]);
    assert!(why.contains("the token of context one is a program's: --context one --username anna"), "{why}");
    let forgotten = person.ok(&["context", "remove", "one"]);
    assert!(forgotten.starts_with("Removed context one. Its token ut-"), "{forgotten}");
    assert_eq!(token_names(&one.admin()).len(), 1, "it was only forgotten here");
}

#[test]
fn a_token_that_ended_says_how_to_sign_in_again() {
    let (served, person) = (Served::new(), Person::new());
    let _alice = served.user("alice", "viewer");
    person.signs_in(&served, "alice", &["--context", "prod"]);
    let why = person.fails(&["node", "cordon", "n"]);
    assert!(why.contains("Your role does not allow this. (context prod)"), "{why}");
    let id = person.contexts()["contexts"][0]["token_id"].as_str().unwrap().to_string();
    assert_eq!(served.admin().delete(&format!("/api-tokens/{id}")).status, 204);
    let why = person.fails(&["nodes"]);
    let to_do = format!("revoked or has expired; sign in again: uptimemesh login {} --context prod", url(&served));
    assert!(why.contains("context prod is not accepted") && why.contains(&to_do), "{why}");
    assert!(person.ok(&["logout"]).starts_with("Signed out"), "what has ended is revoked");
}

#[test]
fn a_server_that_is_away_keeps_its_context_until_it_is_forgotten() {
    let (mut served, person) = (Served::new(), Person::new());
    let _alice = served.user("alice", "viewer");
    person.signs_in(&served, "alice", &["--context", "prod"]);
    served.server.take().unwrap().shutdown();
    let why = person.fails(&["logout"]);
    assert!(why.contains("cannot reach") && why.contains("uptimemesh logout --context prod --forget"), "{why}");
    assert!(person.ok(&["logout", "--forget"]).contains("stays valid until"));
    assert!(person.contexts()["contexts"].as_array().unwrap().is_empty());
}

#[test]
fn another_authority_is_refused_and_a_new_one_is_confirmed_anew() {
    let (served, person) = (Served::new(), Person::new());
    let _alice = served.user("alice", "viewer");
    let wrong = [
        "login",
        &url(&served),
        "--fingerprint",
        &"0a".repeat(32),
        "--username",
        "alice",
        "--password-file",
        "password",
    ];
    let why = person.fails(&wrong);
    assert!(why.contains("is this cluster's control plane (") && why.contains(&"0a".repeat(32)), "{why}");
    let unknown = ["login", &url(&served), "--username", "alice", "--password-file", "password"];
    let why = person.fails(&unknown);
    assert!(why.contains(&format!("add --fingerprint {}", authority(&served))), "{why}");
    let events = served.admin().events("auth");
    assert!(
        events.iter().all(|event| event["fields"]["username"] != "alice" || event["name"] != "auth.sign_in_failed")
    );
    person.signs_in(&served, "alice", &["--context", "prod"]);

    // Somebody in between, with an authority of their own, at the very URL that the context knows.
    let address = served.anonymous().address;
    served.server.as_ref().unwrap().shutdown();
    let middle = Served::with(|config| config.server_port = address.port());
    let _alice = middle.user("alice", "viewer");
    let why = person.fails(&["nodes"]);
    assert!(
        why.contains("nothing was sent; context prod: if its authority was replaced, compare the new fingerprint"),
        "{why}"
    );
    let again = format!("uptimemesh login https://{address} --context prod");
    assert!(why.contains(&again), "{why}");
    assert!(middle.admin().events("auth").iter().all(|event| event["actor"] != "nobody"));
    person.signs_in(&middle, "alice", &["--context", "prod"]);
    person.ok(&["nodes"]);
}

#[test]
fn on_a_terminal_a_fingerprint_is_confirmed_and_the_password_is_not_shown() {
    let (served, person) = (Served::new(), Person::new());
    let _alice = served.user("alice", "viewer");
    let line = format!("\"$UPTIMEMESH\" login {}", url(&served));
    let mut terminal = person.terminal(&line);
    terminal.answers("or the fingerprint] ", "no\n");
    assert_eq!(terminal.exit_status(), 1);
    assert!(
        terminal.screen().contains("the fingerprint was not confirmed, and nothing was sent"),
        "{}",
        terminal.screen()
    );

    for confirmed in ["yes".to_string(), authority(&served)] {
        let mut terminal = person.terminal(&line);
        terminal.answers("or the fingerprint] ", &format!("{confirmed}\n"));
        terminal.answers("User name [admin]: ", "alice\n").answers("Password: ", &format!("{USER_PASSWORD}\n"));
        assert_eq!(terminal.exit_status(), 0, "{}", terminal.screen());
        let screen = terminal.screen();
        assert!(
            screen.contains(&authority(&served)) && screen.contains("as alice; commands use context 127.0.0.1"),
            "{screen}"
        );
        assert!(!screen.contains(USER_PASSWORD) && !screen.contains(&person.token(0)), "{screen}");
    }
    assert_eq!(token_names(&served.admin()).len(), 1);
    assert!(person.ok(&["whoami"]).contains("alice"));
}

#[test]
fn a_terminal_is_restored_whatever_ends_the_question() {
    let (served, person) = (Served::new(), Person::new());
    let line = format!(
        "trap : INT; \"$UPTIMEMESH\" login {} --fingerprint {} --username alice; echo ended with $?; stty -a",
        url(&served),
        authority(&served)
    );
    let echoes = |screen: &str| screen.split_whitespace().any(|word| word.trim_matches(';') == "echo");
    let mut terminal = person.terminal(&line);
    terminal.answers("Password: ", "\u{3}").shows("ended with 130");
    terminal.exit_status();
    assert!(echoes(&terminal.screen()), "{}", terminal.screen());

    let mut terminal = person.terminal(&line);
    terminal.answers("Password: ", "wrong\n").shows("ended with 1");
    terminal.exit_status();
    assert!(echoes(&terminal.screen()) && !terminal.screen().contains("wrong\r"), "{}", terminal.screen());

    let mut terminal = person.terminal(&line);
    terminal.answers("Password: ", "\u{4}").shows("ended with 1");
    assert!(terminal.screen().contains("Nothing was entered."), "{}", terminal.screen());
    terminal.exit_status();
}

#[test]
fn two_logins_at_once_leave_one_token() {
    let (served, person) = (Served::new(), Person::new());
    let _alice = served.user("alice", "viewer");
    let (at, pin) = (url(&served), authority(&served));
    let args = [
        "login",
        &at,
        "--fingerprint",
        &pin,
        "--username",
        "alice",
        "--password-file",
        "password",
        "--context",
        "prod",
    ];
    let start = || person.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let running: Vec<_> = (0..4).map(|_| start()).collect();
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let kept = person.contexts()["contexts"].clone();
    let tokens = served.admin().get("/api-tokens").json();
    assert_eq!((kept.as_array().unwrap().len(), tokens.as_array().unwrap().len()), (1, 1), "{tokens}");
    assert_eq!(kept[0]["token_id"], tokens[0]["id"]);
    person.ok(&["nodes"]);
}

#[test]
fn a_kill_at_any_moment_leaves_contexts_whole() {
    let (served, person) = (Served::new(), Person::new());
    let _alice = served.user("alice", "viewer");
    person.signs_in(&served, "alice", &["--context", "one"]);
    person.signs_in(&served, "alice", &["--context", "two"]);
    for turn in 0..30 {
        let mut child =
            person.command(&["context", "use", ["one", "two"][turn % 2]]).stdout(Stdio::null()).spawn().unwrap();
        // Anywhere between its start and its end.
        std::thread::sleep(std::time::Duration::from_micros(turn as u64 * 400));
        let _ = child.kill();
        child.wait().unwrap();
        let contexts = person.contexts();
        assert_eq!(contexts["contexts"].as_array().unwrap().len(), 2, "{turn}");
        assert!(["one", "two"].contains(&contexts["current"].as_str().unwrap()), "{turn}");
    }
    person.ok(&["context", "use", "two"]);
    person.ok(&["nodes"]);
}

#[test]
fn a_file_of_contexts_that_is_open_to_others_or_not_understood_is_refused() {
    let (served, person) = (Served::new(), Person::new());
    let _alice = served.user("alice", "viewer");
    person.signs_in(&served, "alice", &[]);
    fs::set_permissions(person.file(), Permissions::from_mode(0o640)).unwrap();
    assert!(person.fails(&["nodes"]).contains("holds tokens, and others may read it: chmod 600"));
    let token = person.token(0);
    for change in [r#""version": 2"#, r#""version": 1, "more": true"#, "nonsense"] {
        let text = fs::read_to_string(person.file()).unwrap();
        let changed = text.replace(r#""version": 1"#, change);
        fs::write(person.file(), &changed).unwrap();
        fs::set_permissions(person.file(), Permissions::from_mode(0o600)).unwrap();
        let why = person.fails(&["nodes"]);
        assert!(why.contains("contexts.json") && !why.contains(&token), "{why}");
        person.fails(&["context", "use", "127.0.0.1"]);
        assert_eq!(fs::read_to_string(person.file()).unwrap(), changed, "what is not understood is kept");
        fs::write(person.file(), text).unwrap();
    }
    person.ok(&["nodes"]);
    let mut homeless = command(
        person.dir.path(),
        &["login", &url(&served), "--fingerprint", &authority(&served), "--password-file", "password"],
    );
    let output = homeless.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("set HOME or XDG_CONFIG_HOME"));
}

#[test]
fn a_wrong_login_names_every_fault() {
    let person = Person::new();
    let why = person.fails(&["login", "http://cp.example:8000", "--fingerprint", "abc", "--context", "a b"]);
    for part in [
        "carry the password in the clear",
        "\"abc\" is not a fingerprint",
        "--context must be",
        "the password is missing",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert!(!person.file().exists());
}

/// What fifty commands leave among the events of sign-ins.
fn noise(admin: &Client, before: usize) -> Vec<String> {
    let mut names: Vec<String> =
        admin.events("auth").iter().map(|event| event["name"].as_str().unwrap().to_string()).collect();
    names.truncate(names.len() - before);
    names
}

#[test]
fn fifty_commands_leave_no_noise_among_the_events() {
    let dir = Dir::new();
    let (_running, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let admin = client.signed_in("admin", "uptime");
    let before = admin.events("auth").len();
    for _ in 0..50 {
        crate::program::ok(dir.path(), &["nodes"]);
    }
    assert_eq!(noise(&admin, before), ["auth.local_use"], "by the local credential");

    let person = Person::new();
    fs::write(person.dir.join("password"), "uptime").unwrap();
    let url = format!("http://{}", client.address);
    let warned = person.output(&["login", &url, "--password-file", "password"]);
    assert!(String::from_utf8_lossy(&warned.stderr).contains("this is the initial password"));
    let before = admin.events("auth").len();
    for _ in 0..50 {
        person.ok(&["nodes"]);
    }
    assert_eq!(noise(&admin, before), [""; 0], "by a context");
}

#[test]
fn commands_beside_a_server_need_no_password_and_each_finds_its_own() {
    let (one, two) = (Dir::new(), Dir::new());
    let (_first, at_one) = Running::serve(one.path(), &["serve", "--server-port", "0"]);
    let (mut second, at_two) = Running::serve(two.path(), &["serve", "--server-port", "0"]);
    let who = |dir: &Dir, args: &[&str]| {
        let me: Value =
            serde_json::from_str(&crate::program::ok(dir.path(), &[&["whoami", "--json"], args].concat())).unwrap();
        me["credential"].as_str().unwrap().to_string()
    };
    let (url_one, url_two) = (format!("http://{}", at_one.address), format!("http://{}", at_two.address));
    assert_eq!(who(&one, &[]), "local");
    assert_eq!(who(&one, &["--api-url", &url_one]), "local");
    let has_none = |dir: &Dir, url: &str| {
        let (_, why) = crate::program::fails(dir.path(), &["whoami", "--json", "--api-url", url]);
        assert!(why.contains(&format!("there is no credential for {url}")), "{why}");
    };
    has_none(&one, &url_two);
    let named = two.join("data").display().to_string();
    assert_eq!(who(&one, &["--data-dir", &named, "--api-url", &url_two]), "local");
    fs::write(one.join(".env"), format!("DATA_DIR={named}\n")).unwrap();
    assert_eq!(who(&one, &["--api-url", &url_two]), "local", "as the server's own commands find it");
    fs::remove_file(one.join(".env")).unwrap();
    assert_eq!(who(&one, &["--api-url", &url_one, "--username", "admin", "--password", "uptime"]), "session");

    // What a crash leaves is passed over.
    second.kill();
    assert!(two.join("data/local.json").exists());
    has_none(&two, &url_one);
    fs::write(one.join("new"), "a much better password").unwrap();
    crate::program::ok(one.path(), &["set-password", "--new-password-file", "new"]);
    crate::program::ok(one.path(), &["user", "add", "eve", "--role", "viewer", "--new-password-file", "new"]);
    let mode = fs::metadata(one.join("data/local.json")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    fs::set_permissions(one.join("data/local.json"), Permissions::from_mode(0o644)).unwrap();
    has_none(&one, &url_one);
}

/// A control plane on a machine that others reach at 192.0.2.7, while its first password is in place; `None` where none
/// can be made.
fn on_a_network(dir: &Dir, host: &str) -> Option<Running> {
    if !can_network() {
        return None;
    }
    let script = "ip addr add 192.0.2.7/24 dev lo";
    let args = ["serve", "--server-port", "8000", "--server-host", host];
    let running = Running::of(in_network(dir.path(), script, &args), dir.path(), "serve");
    until("it listens", || running.logged().contains("serve.start").then_some(()));
    Some(running)
}

fn inside(running: &Running) -> String {
    format!("nsenter --net=/proc/{}/ns/net", running.pid())
}

#[test]
fn the_first_password_is_changed_on_the_way_in_from_another_machine() {
    let (dir, person) = (Dir::new(), Person::new());
    let Some(running) = on_a_network(&dir, "0.0.0.0") else { return };
    let code = fs::read_to_string(dir.join("data/keys/setup-code")).unwrap().trim().to_string();
    let login = format!("{} \"$UPTIMEMESH\" login 192.0.2.7:8000", inside(&running));
    let mut terminal = person.terminal(&login);
    terminal
        .answers("or the fingerprint] ", "yes\n")
        .answers("User name [admin]: ", "\n")
        .answers("Password: ", "uptime\n");
    terminal.answers("Setup code: ", &format!("{code}\n")).answers("New password: ", "a better password\n");
    terminal.answers("New password again: ", "a better password\n");
    assert_eq!(terminal.exit_status(), 0, "{}", terminal.screen());
    assert!(!terminal.screen().contains("a better password"), "{}", terminal.screen());
    let mut terminal = person.terminal(&format!("{} \"$UPTIMEMESH\" whoami", inside(&running)));
    assert_eq!(terminal.exit_status(), 0, "{}", terminal.screen());
    assert!(terminal.screen().contains("api_token"), "{}", terminal.screen());
}

#[test]
fn in_a_pipe_a_login_says_how_the_first_password_is_changed() {
    let (dir, person) = (Dir::new(), Person::new());
    let Some(running) = on_a_network(&dir, "0.0.0.0") else { return };
    fs::write(person.dir.join("first"), "uptime").unwrap();
    let log = running.logged();
    let shell = |more: &str| {
        let pid = running.pid();
        let program = person.command(&[]).get_program().to_string_lossy().into_owned();
        let line = format!(
            "nsenter --net=/proc/{pid}/ns/net {program} login https://192.0.2.7:8000 --password-file first {more}"
        );
        let output = Command::new("sh")
            .args(["-c", &line])
            .current_dir(person.dir.path())
            .env("HOME", person.dir.path())
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (_, why) = shell("");
    let pin = why.split("--fingerprint ").nth(1).unwrap_or_else(|| panic!("{why}{log}")).split(',').next().unwrap();
    let (done, why) = shell(&format!("--fingerprint {pin}"));
    assert!(
        !done && why.contains("--setup-code CODE --new-password-file FILE") && why.contains("keys/setup-code"),
        "{why}"
    );
    assert!(!person.file().exists() || person.contexts()["contexts"].as_array().unwrap().is_empty(), "nothing is kept");
    let code = fs::read_to_string(dir.join("data/keys/setup-code")).unwrap().trim().to_string();
    let (done, why) = shell(&format!("--fingerprint {pin} --setup-code {code} --new-password-file password"));
    assert!(done, "{why}");
    assert_eq!(person.contexts()["current"], "192.0.2.7");
}

#[test]
fn a_server_at_one_address_is_known_by_its_local_credential_too() {
    let dir = Dir::new();
    let Some(running) = on_a_network(&dir, "192.0.2.7") else { return };
    let mut terminal = Terminal::start(dir.path(), &[], &format!("{} \"$UPTIMEMESH\" whoami", inside(&running)));
    assert_eq!(terminal.exit_status(), 0, "{}", terminal.screen());
    assert!(terminal.screen().contains("(this machine)"), "{}", terminal.screen());
}

#[test]
fn the_installed_service_is_found_by_root_and_by_its_user_alone() {
    if !can_mount() {
        return;
    }
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let script = "mount -t tmpfs tmpfs /var/lib\nmount -t tmpfs tmpfs /etc\nmkdir -p /etc/uptimemesh /var/lib/mesh\n\
                  echo DATA_DIR=/var/lib/mesh >/etc/uptimemesh/uptimemesh.env\nchown 12345:12345 /var/lib/mesh\nchmod 700 /var/lib/mesh";
    let args =
        ["serve", "--data-dir", "/var/lib/mesh", "--server-port", "0", "--server-host", "127.0.0.1", "--log-file", ""];
    let running = Running::of(in_namespace(dir.path(), script, &args), dir.path(), "serve");
    running.client();
    until("it is ready", || running.logged().contains("serve.start").then_some(()));
    fs::set_permissions(elsewhere.path(), Permissions::from_mode(0o755)).unwrap();
    let who = |user: u32| {
        let mut inside = Command::new("nsenter");
        inside
            .arg(format!("--mount=/proc/{}/ns/mnt", running.pid()))
            .arg(format!("--wdns={}", elsewhere.path().display()));
        inside.args(["setpriv", &format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
        inside.args([env!("CARGO_BIN_EXE_uptimemesh"), "whoami", "--json"]).env_remove("HOME");
        let output = inside.output().unwrap();
        (
            output.status.success(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    for (user, finds) in [(0, true), (12345, true), (12346, false)] {
        let (done, said) = who(user);
        assert_eq!(done && said.contains("\"local\""), finds, "{user}: {said}");
    }
}

#[test]
fn root_takes_no_credential_that_another_user_left_in_a_directory() {
    let dir = Dir::new();
    let (_running, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let path = dir.join("data/local.json");
    if std::os::unix::fs::chown(&path, Some(12345), Some(12345)).is_err() {
        eprintln!("left out: giving files away needs root");
        return;
    }
    let url = format!("http://{}", client.address);
    let has_none = || {
        let (_, why) = crate::program::fails(dir.path(), &["whoami", "--json", "--api-url", &url]);
        assert!(why.contains("there is no credential"), "it could lead to a server of theirs: {why}");
    };
    has_none();
    let aside = dir.join("aside");
    fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::chown(&aside, Some(0), Some(0)).unwrap();
    std::os::unix::fs::symlink(&aside, &path).unwrap();
    std::os::unix::fs::lchown(&path, Some(12345), Some(12345)).unwrap();
    has_none();
}
