//! Token buckets in a bounded table: limits how often a source may do something. A full bucket allows a burst and
//! refills at a steady pace. The callers decide what a source is and what is counted.

use crate::clock;
use crate::thread::lock;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Instant;

/// Sources remembered at once. A forgotten source starts again with a full bucket.
const SOURCES_MAX: usize = 10_000;

/// One bucket per source.
pub struct Buckets<K> {
    per_s: f64,
    burst: f64,
    table: Mutex<Table<K>>,
}

/// Two generations: used buckets move to the young one; when that is full, the old one is dropped as a whole. The least
/// recently used are forgotten first, and no request pays for a search, even if the table is flooded.
struct Table<K> {
    young: HashMap<K, Bucket>,
    old: HashMap<K, Bucket>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
    /// Refusals since the last success.
    refused: u64,
}

impl<K: Hash + Eq> Buckets<K> {
    /// `per_s` tokens a second, in bursts of up to `burst`.
    pub fn new(per_s: f64, burst: f64) -> Buckets<K> {
        Buckets { per_s, burst, table: Mutex::new(Table { young: HashMap::new(), old: HashMap::new() }) }
    }

    /// Takes a token. Returns the number of refusals since the last success, or the seconds until a retry is
    /// worthwhile.
    pub fn take(&self, key: K) -> Result<u64, u64> {
        self.with(key, |bucket| {
            if bucket.left < 1.0 {
                bucket.refused += 1;
                return Err(self.wait_s(bucket));
            }
            bucket.left -= 1.0;
            Ok(std::mem::take(&mut bucket.refused))
        })
    }

    /// Takes a token even from an empty bucket: for what has already happened.
    pub fn spend(&self, key: K) {
        self.with(key, |bucket| bucket.left = (bucket.left - 1.0).max(0.0));
    }

    /// Returns a token that was not needed.
    pub fn give_back(&self, key: K) {
        self.with(key, |bucket| bucket.left = (bucket.left + 1.0).min(self.burst));
    }

    /// Seconds until a retry is worthwhile; `None` if a token is left.
    pub fn retry_after_s(&self, key: &K) -> Option<u64> {
        let table = lock(&self.table);
        let mut bucket = *table.young.get(key).or_else(|| table.old.get(key))?;
        self.refill(&mut bucket);
        (bucket.left < 1.0).then(|| self.wait_s(&bucket))
    }

    fn with<T>(&self, key: K, f: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut table = lock(&self.table);
        if !table.young.contains_key(&key) {
            if table.young.len() >= SOURCES_MAX / 2 {
                table.old = std::mem::take(&mut table.young);
            }
            let known = table.old.remove(&key);
            let fresh = || Bucket { left: self.burst, at: clock::tick(), refused: 0 };
            return f(self.refill(table.young.entry(key).or_insert(known.unwrap_or_else(fresh))));
        }
        let bucket = table.young.get_mut(&key).expect("it was found under this lock");
        f(self.refill(bucket))
    }

    fn refill<'b>(&self, bucket: &'b mut Bucket) -> &'b mut Bucket {
        let now = clock::tick();
        bucket.left =
            (bucket.left + now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_s).min(self.burst);
        bucket.at = now;
        bucket
    }

    fn wait_s(&self, bucket: &Bucket) -> u64 {
        (((1.0 - bucket.left) / self.per_s).ceil() as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_burst_and_then_waits() {
        let buckets = Buckets::new(0.01, 3.0);
        assert_eq!([(); 3].map(|()| buckets.take("a")), [Ok(0); 3]);
        assert_eq!(buckets.take("a"), Err(100));
        assert_eq!(
            (buckets.take("b"), buckets.retry_after_s(&"a"), buckets.retry_after_s(&"never seen")),
            (Ok(0), Some(100), None)
        );
        buckets.give_back("a");
        assert_eq!(buckets.take("a"), Ok(1), "and returns the number of refusals");
        buckets.spend("a");
        assert!(buckets.take("a").is_err());
    }

    #[test]
    fn a_flood_of_sources_forgets_the_least_used() {
        let buckets = Buckets::new(0.01, 1.0);
        let used = usize::MAX;
        assert_eq!(buckets.take(used), Ok(0));
        for i in 0..3 * SOURCES_MAX {
            assert_eq!(buckets.take(i), Ok(0));
            if i % 1000 == 0 {
                assert!(buckets.take(used).is_err(), "what is used is remembered");
            }
        }
        let table = lock(&buckets.table);
        assert!(table.young.len() + table.old.len() <= SOURCES_MAX);
    }
}
