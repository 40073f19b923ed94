//! The reader of a manifest: strict JSON, and a position in it that collects every fault with its place.

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// Maximum length of the name of a channel or an architecture, in bytes.
const NAME_BYTES_MAX: usize = 32;
/// Maximum number of faults in one report.
const FAULTS_MAX: usize = 50;

/// JSON that two readers cannot interpret differently: no object has a key twice.
pub(super) enum Tree {
    Object(BTreeMap<String, Tree>),
    Text(String),
    Number(u64),
    Other,
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Tree, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
                Ok(Tree::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
                Ok(Tree::Other)
            }

            fn visit_u64<E>(self, n: u64) -> Result<Tree, E> {
                Ok(Tree::Number(n))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
                Ok(Tree::Other)
            }

            fn visit_str<E>(self, s: &str) -> Result<Tree, E> {
                Ok(Tree::Text(s.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
                while items.next_element::<Tree>()?.is_some() {}
                Ok(Tree::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = entries.next_entry()? {
                    if map.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key stands twice in one object"));
                    }
                }
                Ok(Tree::Object(map))
            }
        }
        d.deserialize_any(Reader)
    }
}

/// A position in the manifest, and the faults found so far.
pub(super) struct Node<'t, 'f> {
    at: String,
    /// `None` if it is missing, which has been reported already.
    tree: Option<&'t Tree>,
    faults: &'f mut Vec<String>,
}

impl<'t, 'f> Node<'t, 'f> {
    /// The whole of a tree.
    pub(super) fn root(tree: &'t Tree, faults: &'f mut Vec<String>) -> Node<'t, 'f> {
        Node { at: String::new(), tree: Some(tree), faults }
    }

    /// Adds a fault of a field of this node, or of the node itself.
    fn fault(&mut self, field: &str, why: &str) {
        let dot = if self.at.is_empty() || field.is_empty() { "" } else { "." };
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(format!("{}{dot}{field} {why}", self.at));
        }
    }

    /// True if this object has a field.
    pub(super) fn has(&self, name: &str) -> bool {
        matches!(self.tree, Some(Tree::Object(map)) if map.contains_key(name))
    }

    /// A required field of this object.
    pub(super) fn child(&mut self, name: &str) -> Node<'t, '_> {
        let tree = match self.tree {
            Some(Tree::Object(map)) => {
                if !map.contains_key(name) {
                    self.fault(name, "is missing");
                }
                map.get(name)
            }
            Some(_) => {
                self.fault("", "must be an object");
                self.tree = None;
                None
            }
            None => None,
        };
        let dot = if self.at.is_empty() { "" } else { "." };
        Node { at: format!("{}{dot}{name}", self.at), tree, faults: self.faults }
    }

    /// The value here, parsed by `read`.
    pub(super) fn read<T>(&mut self, what: &str, read: impl Fn(&Tree) -> Option<T>) -> Option<T> {
        let value = read(self.tree?);
        if value.is_none() {
            self.fault("", &format!("must be {what}"));
        }
        value
    }

    /// The text here, parsed by `read`.
    pub(super) fn text<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.read(what, |tree| if let Tree::Text(text) = tree { read(text) } else { None })
    }

    /// The entries of this object, `count` of them, under valid names. If `read` returns `None`, it has reported why.
    pub(super) fn entries<T>(
        &mut self,
        count: std::ops::RangeInclusive<usize>,
        mut read: impl FnMut(Node<'t, '_>) -> Option<T>,
    ) -> Option<BTreeMap<String, T>> {
        let Tree::Object(map) = self.tree? else {
            self.fault("", "must be an object");
            return None;
        };
        if !count.contains(&map.len()) {
            self.fault("", &format!("must have {} to {} entries", count.start(), count.end()));
            return None;
        }
        let mut entries = BTreeMap::new();
        for name in map.keys() {
            if !is_name(name) {
                self.fault("", "has an entry whose name is not of a-z, 0-9 and -, 32 at most");
                continue;
            }
            if let Some(entry) = read(self.child(name)) {
                entries.insert(name.clone(), entry);
            }
        }
        Some(entries)
    }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
