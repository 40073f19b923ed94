//! The table alone: the ageing of leases, the effect of a failed transaction, and the rows that a flush writes.

use super::*;
use crate::crypto::pki::{Csr, NodeKey};
use crate::error::Error;
use crate::model::ids::NodeId;
use crate::store::nodes;

fn lease(signed_at: i64, ends: Option<Instant>) -> Lease {
    let csr = NodeKey::generate().and_then(|key| key.csr_pem("n", &[])).expect("a request");
    let key = Csr::parse(&csr).expect("a sound request").public_key();
    let heartbeat_at = Timestamp::from_secs(signed_at);
    Lease {
        seq: 1,
        fingerprint: String::new(),
        key: Arc::new(key),
        trust: String::new(),
        heartbeat_at,
        expires_at: heartbeat_at,
        ttl_s: 45,
        signed_at,
        ends,
        recorded: LeaseState::Alive,
        heard: false,
        dirty: false,
        patch: None,
        writes: 0,
        load: LoadHistory::default(),
        runs: Runs::default(),
        calls: SigningTimes::default(),
        unstored: None,
        suspicion: Suspicion::default(),
    }
}

fn n() -> NodeId {
    "n".into()
}

#[test]
fn a_clock_that_is_set_back_locks_no_node_out() {
    let lease = lease(1000, None);
    let skew = 30;
    for (now, signed_at, new) in
        [(1000, 1001, true), (1000, 1000, false), (1000, 990, false), (980, 985, false), (400, 400, true)]
    {
        assert_eq!(lease.is_new(signed_at, now + skew), new, "signed at {signed_at} at {now}");
    }
}

#[test]
fn a_lease_is_alive_then_stale_for_a_while_then_dead() {
    let end = clock::tick();
    let lease = lease(1000, Some(end));
    for (after_s, state) in
        [(0, LeaseState::Alive), (1, LeaseState::Stale), (20, LeaseState::Stale), (21, LeaseState::Dead)]
    {
        assert_eq!(
            lease.state(end + Duration::from_secs(after_s), Duration::from_secs(20)),
            state,
            "{after_s} s after its end"
        );
    }
}

#[test]
fn a_control_plane_that_was_frozen_blames_no_node() {
    let dir = std::env::temp_dir().join(format!("uptimemesh-frozen-{}", std::process::id()));
    crate::files::private_dir(&dir).expect("a directory");
    let log = crate::store::QueryLog { queries: false, params: false, sql_chars_max: 0 };
    let store = Store::open(&dir.join("app.db"), 1, log).expect("a database");
    let table = Leases::load(&store).expect("no leases");
    let second = Duration::from_secs(1);
    // The last sweep was a minute ago. Then one lease had 5 s left, and the other had been over for 5 s.
    let swept = clock::tick().checked_sub(60 * second).expect("an uptime of a minute");
    *lock(&table.sweep_due) = swept + second;
    let silent: NodeId = "silent".into();
    for (id, end) in [(n(), swept + 5 * second), (silent.clone(), swept - 5 * second)] {
        let mut lease = lease(1000, Some(end));
        lease.recorded = lease.state(swept, table.stale_for());
        lock(table.shard(&id)).insert(id, lease);
    }
    let states = || (table.state(&n()), table.state(&silent));
    assert_eq!(states(), (LeaseState::Alive, LeaseState::Stale), "before the sweep");
    table.sweep(&store, second).expect("a sweep");
    assert_eq!(states(), (LeaseState::Alive, LeaseState::Stale), "after it");
    let left = table.with(&n(), |l| l.ends).flatten().expect("an end").saturating_duration_since(clock::tick());
    assert!(left > 2 * second && left <= 5 * second, "{left:?}");
    store.close();
    std::fs::remove_dir_all(dir).expect("the directory is ours");
}

#[test]
fn a_sweep_comes_when_the_next_state_begins() {
    let end = clock::tick() + Duration::from_secs(100);
    let lease = lease(1000, Some(end));
    let (stale_for, after) = (Duration::from_secs(20), |s: u64| end - Duration::from_secs(5) + Duration::from_secs(s));
    for (at, left_s) in [(after(0), Some(5)), (after(5), Some(0)), (after(6), Some(19)), (after(26), None)] {
        assert_eq!(lease.changes_in(at, stale_for), left_s.map(Duration::from_secs));
    }
}

fn identity(fingerprint: &str) -> NewIdentity {
    let csr = NodeKey::generate().and_then(|key| key.csr_pem("n", &[])).expect("a request");
    let key = Arc::new(Csr::parse(&csr).expect("a sound request").public_key());
    NewIdentity { fingerprint: fingerprint.into(), key, trust: String::new(), runs: Runs::default() }
}

#[test]
fn a_lease_that_is_renewed_while_it_is_flushed_is_flushed_again() {
    let dir = std::env::temp_dir().join(format!("uptimemesh-flush-{}", std::process::id()));
    crate::files::private_dir(&dir).expect("a directory");
    let log = crate::store::QueryLog { queries: false, params: false, sql_chars_max: 0 };
    let store = Store::open(&dir.join("app.db"), 1, log).expect("a database");
    let table = Leases::load(&store).expect("no leases");
    let of = table.clone();
    let enrolled = store.write(move |w| {
        nodes::insert(w, &Node::new(n(), "n".into(), Default::default(), w.now))?;
        let seq = nodes::by_id(w, &n())?.ok_or_else(crate::control::fleet::nodes::missing)?.seq;
        of.enrol(w, &n(), seq, identity("first"), 45)
    });
    enrolled.expect("it is enrolled");
    let is_dirty = || table.with(&n(), |l| l.dirty);
    assert!(table.advance_signed_at(&n(), 1000, 2000));
    let row = table.with(&n(), |l| l.row()).expect("a lease");
    assert_eq!((table.flush(&store).ok(), is_dirty(), table.flush(&store).ok()), (Some(1), Some(false), Some(0)));
    assert!(table.advance_signed_at(&n(), 1001, 2000));
    table.flushed(&n(), &row);
    assert_eq!(is_dirty(), Some(true), "what was written is older");
    store.close();
    assert!(table.flush(&store).is_err());
    assert_eq!(is_dirty(), Some(true), "nothing was written");
    std::fs::remove_dir_all(dir).expect("the directory is ours");
}

#[test]
fn a_failure_is_rolled_back_before_any_later_work() {
    let dir = std::env::temp_dir().join(format!("uptimemesh-leases-{}", std::process::id()));
    crate::files::private_dir(&dir).expect("a directory");
    let log = crate::store::QueryLog { queries: false, params: false, sql_chars_max: 0 };
    let store = Arc::new(Store::open(&dir.join("app.db"), 1, log).expect("a database"));
    let table = Leases::load(&store).expect("no leases");
    let fingerprint = || table.with(&n(), |l| l.fingerprint.clone());
    let of = table.clone();
    let seq = store.write(move |w| {
        nodes::insert(w, &Node::new(n(), "n".into(), Default::default(), w.now))?;
        let seq = nodes::by_id(w, &n())?.ok_or_else(crate::control::fleet::nodes::missing)?.seq;
        of.enrol(w, &n(), seq, identity("first"), 45).map(|()| seq)
    });
    let seq = seq.expect("it is enrolled");
    // The commit fails: all jobs of the transaction are undone, the last first.
    for again in [false, true] {
        let of = table.clone();
        let failed = store.write(move |w| {
            of.remove(w, &n());
            if again {
                of.enrol(w, &n(), seq, identity("lost"), 45)?;
            }
            w.spoil();
            Ok(())
        });
        assert!(failed.is_err());
        assert_eq!(fingerprint().as_deref(), Some("first"));
    }
    // A deletion fails while a join with the same id waits behind it.
    let (of, writing) = (table.clone(), Arc::clone(&store));
    let deletion = crate::thread::spawn("deletion", None, move || {
        let counted = Arc::clone(&writing);
        let failed: Result<()> = writing.write(move |w| {
            of.remove(w, &n());
            while counted.writer_stats().queued < 2 {
                std::thread::yield_now();
            }
            Err(Error::Conflict("no".into()))
        });
        assert!(failed.is_err());
    });
    while store.writer_stats().queued < 1 {
        std::thread::yield_now();
    }
    let of = table.clone();
    store.write(move |w| of.enrol(w, &n(), seq, identity("second"), 45)).expect("it joins");
    deletion.expect("a thread").join().expect("it ends");
    assert_eq!(fingerprint().as_deref(), Some("second"), "the later one stands");
    store.close();
    std::fs::remove_dir_all(dir).expect("the directory is ours");
}

#[test]
fn a_suspicion_begins_only_if_the_node_was_not_heard_since_and_ends_when_it_is() {
    let dir = std::env::temp_dir().join(format!("uptimemesh-suspects-{}", std::process::id()));
    crate::files::private_dir(&dir).expect("a directory");
    let log = crate::store::QueryLog { queries: false, params: false, sql_chars_max: 0 };
    let store = Store::open(&dir.join("app.db"), 1, log).expect("a database");
    let table = Leases::load(&store).expect("no leases");
    let of = table.clone();
    let enrolled = store.write(move |w| {
        nodes::insert(w, &Node::new(n(), "n".into(), Default::default(), w.now))?;
        let seq = nodes::by_id(w, &n())?.ok_or_else(crate::control::fleet::nodes::missing)?.seq;
        of.enrol(w, &n(), seq, identity("first"), 45)
    });
    enrolled.expect("it is enrolled");
    let is_suspect = || (table.suspect_since(&n()).is_some(), table.suspects());
    let lost_at = clock::tick();
    assert!(table.admit_call(&n(), "first", None, None).is_ok());
    table.suspect(&n(), lost_at);
    assert_eq!(is_suspect(), (false, 0), "it called again");
    table.suspect(&n(), clock::tick());
    assert_eq!(is_suspect(), (true, 1));
    assert!(table.seen().iter().all(|(_, seen)| seen.suspect && seen.state == LeaseState::Alive));
    assert!(table.admit_call(&n(), "other", None, None).is_err());
    assert_eq!(is_suspect(), (true, 1), "not by a refused call");
    assert!(table.admit_call(&n(), "first", None, None).is_ok());
    assert_eq!(is_suspect(), (false, 0));
    table.suspect(&n(), clock::tick());
    table.with(&n(), |l| l.ends = Some(clock::tick() - Duration::from_millis(1)));
    assert_eq!(is_suspect(), (false, 0), "stale says more");
    store.close();
    std::fs::remove_dir_all(dir).expect("the directory is ours");
}
