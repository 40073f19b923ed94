//! The database of 2.0.0 gets other pages and events that are found by their number; killed in the middle, it is whole.

use crate::backups::of_version;
use crate::program::{Running, command};
use crate::support::Dir;
use rusqlite::Connection;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The last version with pages of 4 KiB.
const BEFORE: i64 = 11;
const EVENTS: i64 = 20_000;

/// A database of that time with events, and a part of a copy that another start left.
fn old(dir: &Path) {
    let path = dir.join("data/app.db");
    of_version(&path, BEFORE);
    let fill = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {EVENTS})
         INSERT INTO events (id, category, name, level, fields, created_at)
         SELECT 'old-' || i, 'mine', 'name-' || (i % 7), 'info', json_object('node_id', 'node-' || (i % 1000)),
             unixepoch() * 1000000 + i FROM n"
    );
    Connection::open(&path).unwrap().execute_batch(&fill).unwrap();
    fs::write(dir.join("data/app.db.new"), "half a copy").unwrap();
}

fn migrate(dir: &Path) -> Command {
    let mut command = command(dir, &["migrate"]);
    command.env("BACKUP_BEFORE_UPGRADE", "off").stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn number(database: &Connection, sql: &str) -> i64 {
    database.query_row(sql, [], |r| r.get(0)).unwrap()
}

/// Checks a migrated database: nothing is missing, and nothing is left beside it.
fn is_whole(dir: &Path) {
    let database = Connection::open(dir.join("data/app.db")).unwrap();
    let sound: String = database.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(sound, "ok");
    assert_eq!(number(&database, "PRAGMA page_size"), 1024);
    assert_eq!(number(&database, "SELECT count(*) FROM events"), EVENTS);
    assert_eq!(number(&database, "SELECT count(*) FROM event_blocks"), EVENTS / 1024 + 1);
    assert_eq!(number(&database, "SELECT count(*) FROM nodes WHERE id = 'old'"), 1);
    assert!(!dir.join("data/app.db.new").exists());
}

#[test]
fn an_old_database_keeps_its_events_and_they_are_found() {
    let dir = Dir::new();
    old(dir.path());
    // Another process reads the old file: then its log cannot be removed, and the copy must not take its place.
    let reader = Connection::open(dir.join("data/app.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    let refused = migrate(dir.path()).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("end that process"), "{said}");
    drop(reader);
    let done = migrate(dir.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    is_whole(dir.path());

    let (_server, client) = Running::serve(dir.path(), &["serve", "--server-port", "0", "--log-file", ""]);
    let admin = client.signed_in("admin", "uptime");
    for (query, total, first) in [
        ("node_id=node-5", EVENTS / 1000, "old-19005"),
        ("name=name-3&category=mine", 2857, "old-19995"),
        ("category=mine&level=INFO&after=old-18000", EVENTS, "old-17999"),
    ] {
        let page = admin.get(&format!("/events?{query}"));
        assert_eq!(page.header("X-Total-Count"), Some(total.to_string().as_str()), "{query}");
        assert_eq!(page.json()[0]["id"], first, "{query}");
    }
}

#[test]
fn a_migration_that_is_killed_anywhere_is_done_by_the_next() {
    let dir = Dir::new();
    old(dir.path());
    let mut killed = 0;
    // Each time a little later, until it gets through.
    for patience_ms in (0..).step_by(15) {
        let mut child = migrate(dir.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(patience_ms));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        killed += 1;
        let database = Connection::open(dir.join("data/app.db")).unwrap();
        assert_eq!(number(&database, "SELECT count(*) FROM events"), EVENTS, "after {patience_ms} ms");
    }
    eprintln!("killed {killed} times");
    assert!(killed > 0);
    is_whole(dir.path());
}
