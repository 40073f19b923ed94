//! Ids, each of its own type. The text is 1 to 64 characters of `A-Z a-z 0-9 . _ : -`, the first a letter or a digit.

use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// The rule as clients see it in a 422.
pub const PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$";

/// True if this text is a valid id.
pub fn is_id(text: &str) -> bool {
    let b = text.as_bytes();
    b.len() <= 64
        && b.first().is_some_and(u8::is_ascii_alphanumeric)
        && b.iter().all(|c| c.is_ascii_alphanumeric() || b"._:-".contains(c))
}

/// Error for a text that is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "An id should match pattern '{PATTERN}'")
    }
}

impl std::error::Error for NotAnId {}

/// Text that is known to be a valid id.
pub trait Id: Default {
    /// Parses an id.
    fn parse(text: &str) -> Option<Self>;
}

/// Ids that cannot be confused with others.
impl Id for String {
    fn parse(text: &str) -> Option<String> {
        is_id(text).then(|| text.to_string())
    }
}

/// An id as it was given.
fn as_given(text: &str) -> Option<String> {
    String::parse(text)
}

/// An id in lower case.
fn in_lower_case(text: &str) -> Option<String> {
    is_id(text).then(|| text.to_ascii_lowercase())
}

/// Declares types of ids, each with its form. The default is empty: it stands for a faulty field until the request is
/// refused.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($form:ident))*) => {$(
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// An id from a database row, or a generated one, unchecked: one of an older version must stay readable.
            pub(crate) fn of_row(text: String) -> $name {
                $name(text)
            }

            /// Its text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Id for $name {
            fn parse(text: &str) -> Option<$name> {
                $form(text).map($name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnId;

            fn try_from(text: String) -> Result<$name, NotAnId> {
                text.parse()
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<$name, NotAnId> {
                $name::parse(text).ok_or(NotAnId)
            }
        }

        #[cfg(any(test, fuzzing))]
        impl From<&str> for $name {
            fn from(text: &str) -> $name {
                text.parse().expect("an id")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                self.0 == text
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self.0 == *text
            }
        }

        impl log::kv::ToValue for $name {
            fn to_value(&self) -> log::kv::Value<'_> {
                self.0.to_value()
            }
        }

        impl From<$name> for serde_json::Value {
            fn from(id: $name) -> serde_json::Value {
                id.0.into()
            }
        }

        impl From<&$name> for serde_json::Value {
            fn from(id: &$name) -> serde_json::Value {
                id.as_str().into()
            }
        }
    )*};
}

ids! {
    /// Id of a node.
    NodeId(as_given)
    /// Id of a service.
    ServiceId(as_given)
    /// Id of a replica.
    ReplicaId(as_given)
    /// Id of an endpoint.
    EndpointId(as_given)
    /// Id of a router assignment.
    AssignmentId(as_given)
    /// Id of a join token.
    JoinTokenId(as_given)
    /// Id of an API token.
    ApiTokenId(as_given)
    /// Id of a session.
    SessionId(as_given)
    /// Name of a user.
    UserName(in_lower_case)
    /// Id of a request for a snapshot or a support bundle.
    RunId(as_given)
    /// Id of a fleet update.
    UpdateId(as_given)
    /// Id of a backup.
    BackupId(as_given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded() {
        for good in ["a", "0", "node-a.b_c:d", &"x".repeat(64)] {
            assert!(is_id(good), "{good}");
            assert_eq!(serde_json::from_value::<NodeId>(good.into()).expect("an id"), good);
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "\u{e9}", "a\n", &"x".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
            assert_eq!(bad.parse::<NodeId>(), Err(NotAnId));
            assert!(serde_json::from_value::<NodeId>(bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_users_are_in_lower_case() {
        assert_eq!("Ada.L".parse::<UserName>().expect("a name"), "ada.l");
        assert_eq!(serde_json::from_value::<UserName>("ADA".into()).expect("a name"), "ada");
        assert_eq!("Ada L".parse::<UserName>(), Err(NotAnId));
    }
}
