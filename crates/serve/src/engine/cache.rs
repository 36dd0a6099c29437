//! A cache bounded in bytes.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values by key; when they take more than a number of bytes, those that were used longest ago are dropped.
#[derive(Debug)]
pub(crate) struct ByteCache<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys by the time of their last use.
    order: BTreeMap<u64, K>,
    clock: u64,
    bytes: u64,
    most: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: u64,
    used: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> ByteCache<K, V> {
    /// An empty cache for `most` bytes; 0 keeps nothing.
    pub fn new(most: u64) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
            bytes: 0,
            most,
        }
    }

    /// The value of a key.
    pub fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        self.order.remove(&entry.used);
        entry.used = self.clock;
        self.order.insert(self.clock, key.clone());
        Some(entry.value.clone())
    }

    /// The first key that `fits`, among the latest first.
    pub fn find(&self, fits: impl Fn(&K) -> bool) -> Option<K> {
        self.order.values().rev().find(|key| fits(key)).cloned()
    }

    /// Keeps a value of `bytes` bytes, if it is not larger than the whole cache.
    pub fn put(&mut self, key: K, value: V, bytes: u64) {
        self.remove(&key);
        if bytes > self.most {
            return;
        }
        while self.bytes + bytes > self.most {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            let dropped = self.entries.remove(&oldest);
            self.bytes -= dropped.map_or(0, |entry| entry.bytes);
        }
        self.clock += 1;
        self.bytes += bytes;
        self.order.insert(self.clock, key.clone());
        let used = self.clock;
        self.entries.insert(key, Entry { value, bytes, used });
    }

    /// Drops a value.
    pub fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    /// Bytes of all values.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut cache = ByteCache::new(10);
        cache.put('a', 1, 4);
        cache.put('b', 2, 4);
        assert_eq!(cache.get(&'a'), Some(1));
        cache.put('c', 3, 4);
        assert_eq!(
            (cache.get(&'a'), cache.get(&'b'), cache.get(&'c')),
            (Some(1), None, Some(3))
        );
        assert_eq!(cache.bytes(), 8);
        cache.put('d', 4, 10);
        assert_eq!(
            (cache.get(&'a'), cache.get(&'d'), cache.bytes()),
            (None, Some(4), 10)
        );
    }

    #[test]
    fn values_are_replaced_and_large_ones_are_not_kept() {
        let mut cache = ByteCache::new(10);
        cache.put('a', 1, 4);
        cache.put('a', 2, 6);
        assert_eq!((cache.get(&'a'), cache.bytes()), (Some(2), 6));
        cache.put('a', 3, 11);
        assert_eq!((cache.get(&'a'), cache.bytes()), (None, 0));
        cache.put('b', 1, 1);
        cache.remove(&'b');
        assert_eq!(cache.bytes(), 0);
        let mut none = ByteCache::new(0);
        none.put('a', 1, 1);
        assert_eq!(none.get(&'a'), None);
    }

    #[test]
    fn keys_are_found_latest_first() {
        let mut cache = ByteCache::new(10);
        cache.put(1, 'a', 1);
        cache.put(11, 'b', 1);
        cache.put(2, 'c', 1);
        assert_eq!(cache.find(|key| key % 10 == 1), Some(11));
        cache.get(&1);
        assert_eq!(cache.find(|key| key % 10 == 1), Some(1));
        assert_eq!(cache.find(|key| *key == 7), None);
    }
}
