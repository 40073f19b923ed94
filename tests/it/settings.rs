//! Settings files as the program reads them. What scripts and service managers make of the same files is in
//! [`crate::install`].

use crate::program::{Running, command, fails, ok, run};
use crate::support::{Dir, until};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// The rows of the reviewed table: a file, and what is found for APP_NAME, or why it is refused.
pub fn table() -> Vec<(String, Result<String, String>)> {
    let plain = |text: &str| {
        let strange = [("<tab>", "\t"), ("<cr>", "\r"), ("<lf>", "\n"), ("<nbsp>", "\u{a0}"), ("<nothing>", "")];
        strange.iter().fold(text.to_string(), |text, (name, c)| text.replace(name, c))
    };
    let rows = include_str!("../golden/dotenv.txt").lines().filter(|row| !row.starts_with("// "));
    rows.map(|row| {
        let (line, wanted) = row.split_once(" => ").unwrap();
        let wanted = wanted.strip_prefix("refused: ").map_or_else(|| Ok(plain(wanted)), |why| Err(why.to_string()));
        (plain(line), wanted)
    })
    .collect()
}

#[test]
fn every_row_is_read_by_the_program_as_reviewed() {
    let dir = Dir::new();
    for (number, (text, wanted)) in table().into_iter().enumerate() {
        let path = format!("row-{number}");
        fs::write(dir.join(&path), &text).unwrap();
        match wanted {
            Ok(value) => assert_eq!(
                ok(dir.path(), &["config", "get", "app_name", "--file", &path]),
                format!("{value}\n"),
                "{text:?}"
            ),
            Err(why) => {
                for args in [
                    &["config", "get", "APP_NAME", "--file", &path][..],
                    &["config", "check", &path],
                    &["--settings-file", &path, "version"],
                ] {
                    let (status, said) = fails(dir.path(), args);
                    assert!(
                        status == 1 && said.starts_with(&format!("error: {path} line 1: ")) && said.contains(&why),
                        "{text:?}: {said}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_line_that_is_not_understood_starts_nothing() {
    let dir = Dir::new();
    let text = b"DATA_DIRR=elsewhere\nDATA_DIR=\"else\"where\nAPP_NAME=\xff\nSERVER_PORT=70000\nLOG_LEVEL\n";
    fs::write(dir.join(".env"), text).unwrap();
    for subcommand in ["serve", "up", "migrate", "config show"] {
        let args: Vec<&str> = subcommand.split(' ').collect();
        let (status, said) = fails(dir.path(), &args);
        for part in [
            "line 1: DATA_DIRR is not a setting; DATA_DIR is",
            "line 2: there is text after",
            "line 3: it is not UTF-8",
            "line 5: expected NAME=value",
        ] {
            assert!(
                status == 1 && said.contains(&format!("error: .env {part}")),
                "{subcommand}: no {part:?} in {said}"
            );
        }
        assert!(said.contains("error: SERVER_PORT must be"), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made");
    let (status, said) = fails(dir.path(), &["config", "check", ".env"]);
    assert!(status == 1 && said.lines().count() == 5, "{said}");
    for not_read in ["nowhere", "."] {
        assert!(fails(dir.path(), &["config", "check", not_read]).1.contains(not_read));
    }
    assert!(ok(dir.path(), &["help", "config", "get"]).contains("--file"));
    let (status, said) = fails(dir.path(), &["config", "get", "DATADIR", "--file", "/dev/null"]);
    assert!(status != 0 && !said.is_empty(), "{said}");
}

/// What is not text must not be taken for something not said.
/// A file that was meant and cannot be had is no reason to start with other data.
#[test]
fn a_link_to_a_file_that_is_not_there_starts_nothing() {
    let dir = Dir::new();
    std::os::unix::fs::symlink("unmounted/settings", dir.join(".env")).unwrap();
    for args in [&["migrate"][..], &["config", "show"], &["serve", "--server-port", "0"]] {
        let (status, said) = fails(dir.path(), args);
        assert!(status == 1 && said.contains(".env is a link to a file that is not there"), "{args:?}: {said}");
    }
    assert!(!dir.join("data").exists());
}

#[test]
fn bytes_that_are_no_text_are_refused_wherever_they_stand() {
    let dir = Dir::new();
    let odd = OsStr::from_bytes(b"data-\xff");
    let by_variable = command(dir.path(), &["migrate"]).env("DATA_DIR", odd).output().unwrap();
    for subcommand in ["agent", "heartbeat", "join"] {
        let output =
            command(dir.path(), &[subcommand]).env("DATA_DIR", odd).env("UPTIMEMESH_NODE_ID", odd).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        for name in ["DATA_DIR", "UPTIMEMESH_NODE_ID"] {
            assert!(said.contains(&format!("error: {name} in the environment is not UTF-8")), "{subcommand}: {said}");
        }
    }
    let by_flag = command(dir.path(), &["migrate", "--data-dir"]).arg(odd).output().unwrap();
    let in_context = command(dir.path(), &["node", "list"]).env("UPTIMEMESH_CONTEXT", odd).output().unwrap();
    for (output, part) in [
        (in_context, "UPTIMEMESH_CONTEXT in the environment is not UTF-8"),
        (by_variable, "DATA_DIR in the environment is not UTF-8"),
        (by_flag, "--data-dir has a value that is not UTF-8"),
    ] {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(part), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn an_empty_variable_does_not_hide_the_file_and_what_may_be_meant_otherwise_is_logged_once() {
    let dir = Dir::new();
    fs::write(dir.join(".env"), b"\xef\xbb\xbfDATA_DIR=mine\t# here\r\nSERVER_PORT=0\r\nAPP_NAME=~/$x\r\nOTHERS=1\r\n")
        .unwrap();
    let mut serve = command(dir.path(), &["serve", "--server-host", "127.0.0.1"]);
    serve.env("DATA_DIR", "").env("APP_NAME", " ");
    let running = Running::of(serve, dir.path(), "serve");
    assert_eq!(running.client().get("/version").json()["app"], "~/$x");
    assert!(dir.join("mine/app.db").exists() && !dir.join("data").exists());
    let notes =
        until("the notes are logged", || Some(running.logged()).filter(|log| log.matches("config.note").count() == 2));
    assert!(
        notes.contains(".env line 3: APP_NAME is taken as it is written")
            && notes.contains("no settings of UptimeMesh: OTHERS"),
        "{notes}"
    );
}

#[test]
fn a_named_file_is_the_environment_of_every_command() {
    let dir = Dir::new();
    let (_serve, client) = Running::serve(dir.path(), &["serve", "--server-port", "0"]);
    let text = format!(
        "UPTIMEMESH_API_URL='http://{}' # here\nDATA_DIR=other\nLOG_FILE=\nSERVER_HOST=\nAPP_NAME=\"a\\\\b\"\n",
        client.address
    );
    fs::write(dir.join("named"), text).unwrap();
    // As the API's address, over what the environment says.
    let asked = command(dir.path(), &["nodes-status", "--settings-file", "named"])
        .env("UPTIMEMESH_API_URL", "http://127.0.0.1:1")
        .output();
    let asked = asked.unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    // As settings: flags win, and an empty line hides nothing but a log file.
    let mut show = command(dir.path(), &["config", "show", "--settings-file=named", "--server-port", "81"]);
    show.env("SERVER_HOST", "::1").env("APP_NAME", "hidden").env("LOG_FILE", "x.log").env("AUTH_SECRET_KEY", "hunter2");
    let shown = String::from_utf8(show.output().unwrap().stdout).unwrap();
    for line in
        ["DATA_DIR=other", "SERVER_HOST=::1", "SERVER_PORT=81", "APP_NAME=a\\b", "LOG_FILE=", "AUTH_SECRET_KEY=(set)"]
    {
        assert!(shown.lines().any(|l| l == line), "no {line} in {shown}");
    }
    assert!(!shown.contains("hunter2"));
    for (args, part) in [
        (&["version", "--settings-file", "nowhere"][..], "nowhere is not there"),
        (&["version", "--settings-file"], "--settings-file needs"),
        (&["version", "--settings-file", "named", "--nonsense"], "unknown option --nonsense"),
    ] {
        let output = run(dir.path(), args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(part), "{args:?}: {said}");
    }
}
