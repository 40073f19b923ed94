//! What the API and the pages read in the same way: one set of bounds for a thing, whichever form it comes in.

pub mod capacity;
pub mod specs;
