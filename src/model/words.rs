//! Enums whose values are words: on the wire, in the database and on the command line.

/// Declares an enum and the word of each value.
macro_rules! words {
    ($(#[$about:meta])* pub enum $name:ident { $($(#[$says:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$says])* $value,)*
        }

        impl $name {
            /// The words of all values, in their order.
            pub const WORDS: &[&str] = &[$($word),*];

            /// The value of a word.
            pub fn parse(word: &str) -> Option<$name> {
                match word {
                    $($word => Some($name::$value),)*
                    _ => None,
                }
            }

            /// The word of a value.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$value => $word,)*
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                let word = <std::borrow::Cow<str>>::deserialize(from)?;
                $name::parse(&word).ok_or_else(|| serde::de::Error::unknown_variant(&word, $name::WORDS))
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::model::leases::LeaseState;

    #[test]
    fn a_value_is_its_word_in_every_form() {
        for word in LeaseState::WORDS {
            let value = LeaseState::parse(word).expect("a word of the list");
            assert_eq!(value.as_str(), *word);
            let json = serde_json::to_string(&value).expect("a text");
            assert_eq!(json, format!("{word:?}"));
            assert_eq!(serde_json::from_str::<LeaseState>(&json).expect("the same value"), value);
        }
        assert_eq!(LeaseState::parse("Alive"), None);
        assert!(serde_json::from_str::<LeaseState>("\"gone\"").is_err());
    }
}
