//! Rows of answers to requests with an Idempotency-Key.

use super::query::query;
use super::{Read, Write};
use crate::clock::Timestamp;
use crate::error::Result;
use rusqlite::named_params;

/// The request of a key and its answer, if it was stored since this time.
pub fn by_key(read: &Read, caller: &str, key: &str, since: Timestamp) -> Result<Option<(String, String)>> {
    let wanted = named_params! { ":caller": caller, ":key": key, ":since": since };
    read.row(query!("once", "by_key"), wanted, |r| Ok((r.get(0)?, r.get(1)?)))
}

/// Stores an answer.
pub fn put(write: &Write, caller: &str, key: &str, request_sha256: &str, answer: &str) -> Result<()> {
    let row = named_params! {
        ":caller": caller, ":key": key, ":request_sha256": request_sha256, ":answer": answer, ":now": write.now,
    };
    write.run(query!("once", "put"), row)?;
    Ok(())
}

/// Deletes answers from before this time, at most `limit`.
pub fn prune(write: &Write, before: Timestamp, limit: usize) -> Result<usize> {
    write.run(query!("once", "prune"), named_params! { ":before": before, ":limit": limit as i64 })
}

/// Bytes of all stored answers.
pub fn bytes(read: &Read) -> Result<i64> {
    Ok(read.row(query!("once", "bytes"), &[], |r| r.get(0))?.unwrap_or(0))
}
