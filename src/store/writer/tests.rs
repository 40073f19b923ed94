//! Writes that share a transaction: what happens to memory if one of them fails, or all.

use super::*;
use crate::store::{Store, settings};
use std::path::PathBuf;
use std::sync::mpsc::channel;

/// Outcome of a write.
#[derive(Clone, Copy)]
enum End {
    Ok,
    Refused,
    Panics,
    /// The commit of its group fails.
    CommitFails,
    /// The database may not grow, and the write needs space.
    DiskFull,
}

struct Bench {
    dir: PathBuf,
    store: Store,
    /// Events in memory, in order.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let dir = std::env::temp_dir().join(format!("uptimemesh-writer-{name}-{}", std::process::id()));
        crate::files::private_dir(&dir).expect("a directory");
        let log = QueryLog { queries: false, params: false, sql_chars_max: 0 };
        let store = Store::open(&dir.join("app.db"), 1, log).expect("a database");
        Bench { dir, store, seen: Arc::default() }
    }

    fn job(&self, name: &'static str, end: End) -> impl FnOnce(&Write) -> Result<()> + Send + 'static {
        let seen = Arc::clone(&self.seen);
        move |w: &Write| {
            let note = |what: &str| {
                let (seen, line) = (Arc::clone(&seen), format!("{what} {name}"));
                move || lock(&seen).push(line)
            };
            note("run")();
            settings::put(w, name, "set")?;
            w.on_rollback(note("undo first of"));
            w.on_rollback(note("undo second of"));
            w.on_commit(note("done"));
            match end {
                End::Ok => Ok(()),
                End::Refused => Err(Error::Conflict("refused".into())),
                End::Panics => panic!("a job panics"),
                End::CommitFails => {
                    w.spoil();
                    Ok(())
                }
                End::DiskFull => settings::put(w, "large", &"x".repeat(1 << 20)),
            }
        }
    }

    /// Runs writes as one group, in this order; returns the status of each answer.
    fn group(&self, jobs: &[(&'static str, End)]) -> Vec<u16> {
        let (go, wait) = channel::<()>();
        let writer = &self.store.writer;
        let held = writer.enqueue(move |_| wait.recv().map_err(|_| closed())).expect("the writer runs");
        let pending: Vec<_> =
            jobs.iter().map(|(name, end)| writer.enqueue(self.job(name, *end)).expect("the writer runs")).collect();
        go.send(()).expect("the first job waits");
        let _ = held.wait();
        pending.into_iter().map(|pending| pending.wait().map_or_else(|e| e.status(), |()| 200)).collect()
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.seen))
    }

    fn stored(&self, key: &str) -> bool {
        self.store.read(|r| settings::by_key(r, key)).expect("a read").is_some()
    }

    /// Allows or forbids the database to grow.
    fn may_grow(&self, may: bool) {
        let pages = if may { 1_000_000 } else { 1 };
        let limit = move |w: &Write| {
            row::map_sqlite_error(
                w.connection.execute_batch(&format!("PRAGMA max_page_count = {pages}")),
                "set a limit",
            )
        };
        self.store.write(limit).expect("a limit");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.store.close();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_job_that_fails_is_undone_before_the_next_and_effects_precede_the_answers() {
    let bench = Bench::new("refused");
    for end in [End::Refused, End::Panics] {
        let answers = bench.group(&[("a", End::Ok), ("b", end), ("c", End::Ok)]);
        assert!(answers[0] == 200 && answers[1] >= 400 && answers[2] == 200, "{answers:?}");
        let order = ["run a", "run b", "undo second of b", "undo first of b", "run c", "done a", "done c"];
        assert_eq!(bench.seen(), order);
        assert!(bench.stored("a") && !bench.stored("b") && bench.stored("c"));
    }
}

#[test]
fn a_transaction_that_fails_undoes_all_its_jobs_newest_first() {
    let bench = Bench::new("failed");
    let before = bench.store.changes.count();
    let answers = bench.group(&[("a", End::Ok), ("b", End::Refused), ("c", End::CommitFails)]);
    assert!(answers[0] >= 500 && answers[1] == 409 && answers[2] >= 500, "{answers:?}");
    let b = ["run a", "run b", "undo second of b", "undo first of b", "run c"];
    let rest = ["undo second of c", "undo first of c", "undo second of a", "undo first of a"];
    assert_eq!(bench.seen(), [&b[..], &rest].concat());
    assert!(!bench.stored("a") && bench.store.changes.count() == before);

    bench.may_grow(false);
    let answers = bench.group(&[("a", End::Ok), ("b", End::DiskFull), ("c", End::Ok)]);
    assert_eq!(answers, [503, 503, 200], "what waits behind the transaction that SQLite ended is another transaction");
    let undone = ["run a", "run b", "undo second of b", "undo first of b", "undo second of a", "undo first of a"];
    assert_eq!(bench.seen(), [&undone[..], &["run c", "done c"]].concat());
    bench.may_grow(true);
    assert_eq!(bench.group(&[("b", End::DiskFull)]), [200], "there is room again");
    assert!(bench.stored("large"));
}

#[test]
fn an_effect_that_panics_ends_neither_the_others_nor_the_writer() {
    let bench = Bench::new("panics");
    let panicking = |fails: bool| {
        let seen = Arc::clone(&bench.seen);
        let note = move |what: &'static str| {
            let seen = Arc::clone(&seen);
            move || lock(&seen).push(what.to_string())
        };
        move |w: &Write| {
            w.on_rollback(note("undone"));
            w.on_rollback(|| panic!("an undo panics"));
            w.on_commit(|| panic!("an effect panics"));
            w.on_commit(note("done"));
            if fails { Err(Error::Conflict("refused".into())) } else { Ok(()) }
        }
    };
    assert!(bench.store.write(panicking(false)).is_ok());
    assert!(bench.store.write(panicking(true)).is_err());
    assert_eq!(bench.seen(), ["done", "undone"]);
    assert_eq!(bench.group(&[("a", End::Ok)]), [200]);
}

#[test]
fn a_reader_of_events_finds_memory_as_they_tell() {
    use crate::model::events::catalogue::NODE_CORDON;
    let bench = Bench::new("events");
    let (tail, seen) = (Arc::clone(&bench.store.tail), Arc::clone(&bench.seen));
    let before = tail.newest();
    let noted = bench.store.write(move |w| {
        crate::store::events::record(w, NODE_CORDON.with(serde_json::json!({"node_id": "x"})))?;
        w.on_commit(move || lock(&seen).push((tail.newest() - before).to_string()));
        Ok(())
    });
    noted.expect("it is recorded");
    assert_eq!((bench.seen(), bench.store.tail.newest() - before), (vec!["0".to_string()], 1));
}
