//! A field that was read.

use super::{Fields, WrongType};
use crate::http::describe;
use serde_json::Value;

/// A field that was read; the caller says what its absence means.
pub struct Got<'f, 'b, T> {
    pub(super) fields: &'f mut Fields<'b>,
    pub(super) name: &'static str,
    pub(super) value: Option<T>,
    /// Set if a fault was already found; the invalid input.
    pub(super) faulty: bool,
    pub(super) null: Option<WrongType>,
}

impl<T> Got<'_, '_, T> {
    /// The value, if present.
    pub fn optional(self) -> Option<T> {
        self.value
    }

    /// The value, or a default.
    pub fn or(self, default: T) -> T {
        self.value.unwrap_or(default)
    }

    /// The value; its absence is a fault.
    pub fn required(self) -> T
    where
        T: Default,
    {
        self.required_with(T::default())
    }

    /// The value; its absence is a fault, and `stand_in` replaces it until `finish` refuses the request.
    pub fn required_with(self, stand_in: T) -> T {
        if describe::is_active() {
            describe::require(self.fields.place, &self.fields.path_of(self.name));
        } else if self.value.is_none() && !self.faulty {
            match self.null {
                Some((kind, msg)) => self.fields.fault(kind, vec![self.name.into()], msg.to_string(), &Value::Null),
                None => {
                    let input = Value::Object(self.fields.values.clone());
                    self.fields.fault("missing", vec![self.name.into()], "Field required".into(), &input);
                }
            }
        }
        self.value.unwrap_or(stand_in)
    }
}
