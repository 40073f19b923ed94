//! Versions of objects: the tag in an answer (`ETag`), and the condition of a write (`If-Match`), so that of two people
//! who edit one object the later does not unknowingly undo the earlier.

use crate::crypto;
use crate::error::{Doing, Error, Result};
use serde::Serialize;

/// Hexadecimal digits of a tag: 64 bits of SHA-256, against accidents, not against forgery.
const TAG_DIGITS: usize = 16;

/// Suffixes that compressing proxies append to the tag; nginx marks it weak instead.
const CODINGS: [&str; 5] = ["gzip", "br", "zstd", "deflate", "compress"];

/// An object with the tag of its version.
pub struct Versioned<T> {
    /// The object.
    pub object: T,
    /// The tag, in quotes as in headers.
    pub tag: String,
    /// True if fields outside the tag (lease times) were overlaid; such an answer is never a 304.
    pub is_live: bool,
}

impl<T: Serialize> Versioned<T> {
    /// An object as in the database. State in memory is overlaid afterwards, with [`Versioned::with`].
    pub fn of(object: T) -> Result<Versioned<T>> {
        let tag = tag_of(&object)?;
        Ok(Versioned { object, tag, is_live: false })
    }

    /// Changes what is shown, not the version. `change` returns true if it changed anything.
    pub fn with(mut self, change: impl FnOnce(&mut T) -> bool) -> Versioned<T> {
        self.is_live |= change(&mut self.object);
        self
    }
}

fn tag_of(object: &impl Serialize) -> Result<String> {
    Ok(tag_of_json(&serde_json::to_string(object).doing("write an object as JSON")?))
}

/// The tag of an object that is JSON already.
pub fn tag_of_json(json: &str) -> String {
    format!("\"{}\"", &crypto::sha256_hex(json.as_bytes())[..TAG_DIGITS])
}

/// The tags in the value of `If-Match` or `If-None-Match`, separated by commas.
pub fn tags_in(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|tag| tag.trim_matches([' ', '\t']))
}

/// True if a caller means this tag of ours. A compressing proxy's form of it still names the version: `W/"x"`,
/// `"x-gzip"`, `"x;br"`.
pub fn is_same(given: &str, tag: &str) -> bool {
    let inner = |tag: &str| tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(str::to_string);
    let (Some(given), Some(own)) = (inner(given.strip_prefix("W/").unwrap_or(given)), inner(tag)) else { return false };
    given.strip_prefix(&own).is_some_and(|added| {
        let coding = added.trim_start_matches(['-', ';', ':', '+', '_', '.']);
        added.is_empty() || (coding.len() < added.len() && CODINGS.contains(&coding))
    })
}

/// Condition of a write on the current object.
#[derive(Default)]
pub struct Condition(Wanted);

#[derive(Default)]
enum Wanted {
    #[default]
    Anything,
    /// The object exists, in any version.
    Found,
    /// The object has one of these tags.
    Tags(Vec<String>),
}

impl Condition {
    /// Parses `If-Match`: tags separated by commas, or `*` for any existing object.
    pub fn if_match(header: Option<&str>) -> Condition {
        Condition(match header.map(str::trim) {
            None => Wanted::Anything,
            Some("*") => Wanted::Found,
            Some(tags) => Wanted::Tags(tags_in(tags).map(str::to_string).collect()),
        })
    }

    /// Refuses if the object is not one of the versions that the caller has seen.
    pub fn check(&self, object: &impl Serialize) -> Result<()> {
        if matches!(self.0, Wanted::Tags(_)) { self.check_tag(&tag_of(object)?) } else { Ok(()) }
    }

    /// Refuses if the condition needs an object and there is none.
    pub fn check_found(&self, object: Option<&impl Serialize>) -> Result<()> {
        match (object, &self.0) {
            (Some(object), _) => self.check(object),
            (None, Wanted::Anything) => Ok(()),
            (None, Wanted::Found | Wanted::Tags(_)) => Err(Error::PreconditionFailed),
        }
    }

    /// Refuses if this is not one of the tags.
    fn check_tag(&self, tag: &str) -> Result<()> {
        match &self.0 {
            Wanted::Tags(tags) if !tags.iter().any(|given| is_same(given, tag)) => Err(Error::PreconditionFailed),
            _ => Ok(()),
        }
    }

    /// The object unchanged, for a write that changes nothing.
    pub fn unchanged<T>(&self, object: Versioned<T>) -> Result<Versioned<T>> {
        self.check_tag(&object.tag)?;
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_for_the_version_it_names() {
        let tag = Versioned::of(1).expect("a number is JSON").tag;
        for (header, holds) in [(None, true), (Some("*"), true), (Some("\"x\""), false), (Some(""), false)] {
            assert_eq!(Condition::if_match(header).check(&1).is_ok(), holds, "{header:?}");
        }
        let one_of = format!("\"x\", {tag}");
        assert!(Condition::if_match(Some(&one_of)).check(&1).is_ok());
        assert!(matches!(Condition::if_match(Some(&one_of)).check(&2), Err(Error::PreconditionFailed)));
    }

    #[test]
    fn a_proxys_change_to_a_tag_is_ignored() {
        let tag = "\"0123456789abcdef\"";
        for same in ["", "-gzip", "--gzip", ";br", ":zstd", "-br", "+deflate", "_gzip", "-zstd"] {
            for weak in ["", "W/"] {
                assert!(is_same(&format!("{weak}\"0123456789abcdef{same}\""), tag), "{weak} {same}");
            }
        }
        for other in [
            "",
            "W/",
            "0123456789abcdef",
            "\"0123456789abcde\"",
            "\"0123456789abcdef0\"",
            "\"0123456789abcdefgzip\"",
            "\"",
            "\"\"",
            "*",
        ] {
            assert!(!is_same(other, tag), "{other}");
        }
        for other in [
            "\"0123456789abcdef-\"",
            "\"0123456789abcdef-gzip-br\"",
            "\"0123456789abcdef-x\"",
            "\"-gzip\"",
            "w/\"0123456789abcdef\"",
        ] {
            assert!(!is_same(other, tag), "{other}");
        }
    }
}
