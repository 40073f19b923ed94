//! Migrations and repeatable seeds, from `sql/`, embedded in the binary.
//!
//! Each migration runs once, in order, in its own transaction, and its checksum is kept. A changed migration prevents
//! the start, and so does a database migrated by a newer version. Forward only. Seeds run after the migrations at every
//! start and insert only what is missing.

use super::{open_writer, pages, row};
use crate::clock;
use crate::crypto;
use crate::error::{Error, Result};
use rusqlite::{Connection, named_params};
use std::path::Path;
use std::time::Duration;

/// Number, name and text of every migration, in order.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "foundation", include_str!("../../sql/migrations/0001_foundation.sql")),
    (2, "services", include_str!("../../sql/migrations/0002_services.sql")),
    (3, "brake", include_str!("../../sql/migrations/0003_brake.sql")),
    (4, "trust", include_str!("../../sql/migrations/0004_trust.sql")),
    (5, "people", include_str!("../../sql/migrations/0005_people.sql")),
    (6, "updates", include_str!("../../sql/migrations/0006_updates.sql")),
    (7, "event_levels", include_str!("../../sql/migrations/0007_event_levels.sql")),
    (8, "node_runs", include_str!("../../sql/migrations/0008_node_runs.sql")),
    (9, "room", include_str!("../../sql/migrations/0009_room.sql")),
    (10, "vouched", include_str!("../../sql/migrations/0010_vouched.sql")),
    (11, "limits", include_str!("../../sql/migrations/0011_limits.sql")),
    (12, "pages", include_str!("../../sql/migrations/0012_pages.sql")),
    (13, "records_only", include_str!("../../sql/migrations/0013_records_only.sql")),
];

/// Name and text of every seed, in order.
const SEEDS: &[(&str, &str)] = &[
    ("admin", include_str!("../../sql/seeds/0001_admin.sql")),
    ("settings", include_str!("../../sql/seeds/0002_settings.sql")),
];

const JOURNAL: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT";

/// Result of running the migrations.
#[derive(Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Number applied in this run.
    pub applied: usize,
    /// Number of the last one.
    pub version: i64,
}

/// Number of the last migration that this program knows.
pub(super) fn version_known() -> i64 {
    MIGRATIONS.last().map_or(0, |m| m.0)
}

/// Interval between reports of a long migration.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// Steps of SQLite's machine between looks at the clock: some milliseconds.
const REPORT_STEPS: i32 = 100_000;

/// Migrates the database file without starting a server: `uptimemesh migrate`.
pub fn migrate(path: &Path) -> Result<Migrated> {
    open(path).map(|(_, migrated)| migrated)
}

/// Opens the connection that writes, and brings the database up to date.
pub(super) fn open(path: &Path) -> Result<(Connection, Migrated)> {
    let mut writer = open_writer(path)?;
    let (began, mut reported) = (clock::tick(), clock::tick());
    let report = move || {
        if reported.elapsed() >= REPORT_EVERY {
            reported = clock::tick();
            let seconds = began.elapsed().as_secs();
            log::info!(target: "store", event = "store.migrating", seconds; "The database is being migrated");
        }
        false
    };
    let what = "migrate the database";
    row::map_sqlite_error(writer.progress_handler(REPORT_STEPS, Some(report)), what)?;
    let migrated = run(&writer)?;
    let mut writer = pages::resize(writer, path)?;
    row::map_sqlite_error(writer.progress_handler(0, None::<fn() -> bool>), what)?;
    Ok((writer, migrated))
}

/// Number of the last migration of a database; 0 if there was none.
pub(super) fn version(connection: &Connection) -> Result<i64> {
    let doing = "read the version of the database";
    let journal = connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'")
        .and_then(|mut s| s.exists([]));
    if !row::map_sqlite_error(journal, doing)? {
        return Ok(0);
    }
    row::map_sqlite_error(
        connection.query_row("SELECT coalesce(max(number), 0) FROM schema_migrations", [], |r| r.get(0)),
        doing,
    )
}

pub(super) fn run(connection: &Connection) -> Result<Migrated> {
    run_all(connection, MIGRATIONS)
}

fn run_all(connection: &Connection, migrations: &[(i64, &str, &str)]) -> Result<Migrated> {
    let doing = "migrate the database";
    row::map_sqlite_error(connection.execute_batch(JOURNAL), doing)?;
    let applied: Vec<(i64, String, String)> = {
        let mut statement = row::map_sqlite_error(
            connection.prepare("SELECT number, name, sha256 FROM schema_migrations ORDER BY number"),
            doing,
        )?;
        let rows = row::map_sqlite_error(statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))), doing)?;
        row::map_sqlite_error(rows.collect(), doing)?
    };
    let version = migrations.last().map_or(0, |m| m.0);
    for (number, name, sum) in &applied {
        let Some((_, _, text)) = migrations.iter().find(|m| m.0 == *number) else {
            let why = format!(
                "the database is at version {number} ({name}), this program knows only up to {version}: start the \
                    newer uptimemesh, or restore a backup made before the upgrade"
            );
            return Err(Error::fault(doing, why));
        };
        if crypto::sha256_hex(text.as_bytes()) != *sum {
            let why = format!(
                "migration {number} ({name}) was changed after it had been applied: this program and this \
                    database do not belong together"
            );
            return Err(Error::fault(doing, why));
        }
    }
    let mut count = 0;
    for (number, name, text) in migrations {
        if applied.iter().any(|(n, _, _)| n == number) {
            continue;
        }
        in_transaction(connection, doing, |c| {
            c.execute_batch(text)?;
            let sum = crypto::sha256_hex(text.as_bytes());
            let row = named_params! { ":number": number, ":name": name, ":sha256": sum, ":now": clock::now() };
            c.execute(
                "INSERT INTO schema_migrations (number, name, sha256, applied_at) VALUES (:number, :name, \
                :sha256, :now)",
                row,
            )?;
            Ok(())
        })?;
        count += 1;
    }
    for (_, text) in SEEDS {
        in_transaction(connection, "seed the database", |c| {
            c.execute(text, named_params! { ":now": clock::now() }).map(|_| ())
        })?;
    }
    Ok(Migrated { applied: count, version })
}

fn in_transaction(
    connection: &Connection,
    doing: &'static str,
    work: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<()> {
    row::map_sqlite_error(connection.execute_batch("BEGIN IMMEDIATE"), doing)?;
    let result = work(connection).and_then(|()| connection.execute_batch("COMMIT"));
    if result.is_err() && !connection.is_autocommit() {
        row::map_sqlite_error(connection.execute_batch("ROLLBACK"), doing)?;
    }
    row::map_sqlite_error(result, doing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Chain;

    fn fails(connection: &Connection, migrations: &[(i64, &str, &str)], with: &str) {
        let said = run_all(connection, migrations).err().map(|e| Chain(&e).to_string()).unwrap_or_default();
        assert!(said.contains(with), "{said}");
    }

    #[test]
    fn migrations_run_once_and_refuse_what_they_do_not_know() {
        let connection = Connection::open_in_memory().expect("SQLite opens a database in memory");
        let version = version_known();
        assert_eq!(run(&connection).expect("first run"), Migrated { applied: MIGRATIONS.len(), version });
        assert_eq!(run(&connection).expect("second run"), Migrated { applied: 0, version });
        fails(&connection, &[], "start the newer uptimemesh");
        fails(&connection, &[(1, "foundation", "SELECT 1")], "was changed after it had been applied");
        let broken = (version + 1, "broken", "CREATE TABLE half (a) STRICT; nonsense");
        fails(&connection, &[MIGRATIONS, &[broken]].concat(), "migrate the database");
        let left: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'half'", [], |r| r.get(0))
            .expect("count");
        assert_eq!(left, 0, "a failed migration leaves nothing behind");
    }
}
