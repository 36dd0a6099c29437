//! Every case of the fixtures, in f64 and in f32.
//!
//! `DIFFPRUNE_FIXTURES` names another root with the same layout.

mod fixture;
mod gumbel;
mod operators;
mod threshold;
