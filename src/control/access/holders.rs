//! Holders of credentials in memory, each valid while nothing was committed since it was read: by this process or by
//! another, so whoever ends a session or a token ends it at once. Reading the version of the database costs a tenth of
//! reading the rows.

use crate::error::Result;
use crate::store::{Read, Store};
use crate::thread::lock;
use std::collections::HashMap;
use std::sync::Mutex;

/// Maximum number of holders in memory; beyond, all are forgotten and read again.
const HOLDERS_MAX: usize = 10_000;

/// Holders by a genuine credential, or by its hash.
pub(super) struct Holders<H>(Mutex<HashMap<String, (i64, H)>>);

impl<H> Default for Holders<H> {
    fn default() -> Holders<H> {
        Holders(Mutex::default())
    }
}

impl<H: Clone> Holders<H> {
    /// True if this credential has, or had, a holder.
    pub fn knows(&self, key: &str) -> bool {
        lock(&self.0).contains_key(key)
    }

    /// The holder of a credential, if it is in memory and valid.
    pub fn known(&self, store: &Store, key: &str) -> Result<Option<H>> {
        if !self.knows(key) {
            return Ok(None);
        }
        let version = store.version()?;
        Ok(lock(&self.0).get(key).filter(|(read_at, _)| *read_at == version).map(|(_, holder)| holder.clone()))
    }

    /// The holder of a credential, from memory or from the database.
    pub fn get(
        &self,
        store: &Store,
        key: &str,
        read: impl FnOnce(&Read, &str) -> Result<Option<H>>,
    ) -> Result<Option<H>> {
        if let Some(holder) = self.known(store, key)? {
            return Ok(Some(holder));
        }
        // The version first: a commit in between makes the holder look older than it is, never newer.
        let version = store.version()?;
        let found = store.read_first(|r| read(r, key))?;
        let mut holders = lock(&self.0);
        match &found {
            Some(holder) => {
                if holders.len() >= HOLDERS_MAX && !holders.contains_key(key) {
                    holders.clear();
                }
                holders.insert(key.to_string(), (version, holder.clone()));
            }
            None => {
                holders.remove(key);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{QueryLog, settings};

    const LOG: QueryLog = QueryLog { queries: false, params: false, sql_chars_max: 0 };

    #[test]
    fn a_holder_is_read_again_after_a_commit_by_any_connection() {
        let dir = std::env::temp_dir().join(format!("uptimemesh-holders-{}", std::process::id()));
        crate::files::private_dir(&dir).expect("a directory");
        let open = || Store::open(&dir.join("app.db"), 1, LOG).expect("a database");
        let (store, other) = (open(), open());
        let (holders, mut reads) = (Holders::default(), 0);
        let mut get = |found: Option<u8>| {
            let read = |_: &Read, key: &str| {
                reads += 1;
                assert_eq!(key, "s");
                Ok(found)
            };
            holders.get(&store, "s", read).expect("a read")
        };
        let commit = |store: &Store, value: &'static str| {
            store.write(move |w| settings::put(w, "a", value)).expect("a write");
        };
        assert_eq!(get(Some(1)), Some(1));
        assert_eq!(get(Some(2)), Some(1), "from memory");
        commit(&store, "1");
        assert_eq!(get(Some(3)), Some(3), "after a commit of its own");
        commit(&other, "2");
        assert_eq!(get(None), None, "after a commit of another");
        assert_eq!(get(Some(4)), Some(4), "an absent holder is not kept");
        assert_eq!(reads, 4);
        drop((store, other));
        std::fs::remove_dir_all(dir).expect("removed");
    }
}
