//! Idempotency: a repeated request that creates something and has an `Idempotency-Key` gets the same answer for a day,
//! and creates nothing again. The answer is stored in the transaction that creates the object.

use crate::control::{Control, limits};
use crate::crypto;
use crate::error::{Doing, Error, Result};
use crate::store::{Write, once};
use serde::Serialize;

/// Seconds to keep an answer.
const KEPT_S: i64 = 86_400;
/// Answers deleted in one transaction, and transactions per round.
const PRUNE_BATCH: usize = 200;
const PRUNE_BATCHES: usize = 100;
/// Maximum length of a key, in characters.
const KEY_CHARS_MAX: usize = 255;

/// A request's key, if it has one.
#[derive(Default)]
pub struct Once(Option<Key>);

struct Key {
    caller: String,
    key: String,
    request_sha256: String,
}

/// An object that was created.
pub struct Created {
    /// The object as JSON.
    pub json: String,
    /// True if an earlier request created it.
    pub replayed: bool,
}

impl Once {
    /// The key of a request by this caller; `request` is what a repeated request must match: method, path and body.
    pub fn new(caller: &str, header: Option<&str>, request: &[&[u8]]) -> Result<Once> {
        let Some(key) = header else { return Ok(Once(None)) };
        if key.is_empty() || key.len() > KEY_CHARS_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::Malformed(format!(
                "Idempotency-Key must be 1 to {KEY_CHARS_MAX} visible ASCII characters"
            )));
        }
        // Lengths precede the parts, so that no two requests produce the same bytes.
        let bytes: Vec<u8> = request.iter().flat_map(|part| [&part.len().to_be_bytes()[..], part].concat()).collect();
        Ok(Once(Some(Key {
            caller: caller.to_string(),
            key: key.to_string(),
            request_sha256: crypto::sha256_hex(&bytes),
        })))
    }

    /// Creates the object, or returns the earlier answer.
    pub fn create<T: Serialize>(self, write: &Write, create: impl FnOnce(&Write) -> Result<T>) -> Result<Created> {
        let Some(Key { caller, key, request_sha256 }) = self.0 else {
            return Ok(Created { json: json(&create(write)?)?, replayed: false });
        };
        if let Some((request, answer)) = once::by_key(write, &caller, &key, write.now.plus_secs(-KEPT_S))? {
            if request != request_sha256 {
                return Err(Error::Conflict(
                    "This Idempotency-Key was used for another request; use a new one.".to_string(),
                ));
            }
            return Ok(Created { json: answer, replayed: true });
        }
        let json = json(&create(write)?)?;
        limits::answer_fits(write, json.len())?;
        once::put(write, &caller, &key, &request_sha256, &json)?;
        Ok(Created { json, replayed: false })
    }
}

fn json(object: &impl Serialize) -> Result<String> {
    serde_json::to_string(object).doing("write an object as JSON")
}

/// Deletes old answers in small batches: other writes go between them.
pub fn prune(control: &Control) -> Result<()> {
    for _ in 0..PRUNE_BATCHES {
        if control.store.write(|w| once::prune(w, w.now.plus_secs(-KEPT_S), PRUNE_BATCH))? < PRUNE_BATCH {
            break;
        }
    }
    Ok(())
}
