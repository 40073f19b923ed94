//! Inputs that the API and the pages read in the same way: one set of bounds, whatever the form.

pub mod capacity;
pub mod specs;
