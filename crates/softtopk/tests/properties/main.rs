//! Laws of the operators on random input.

mod operators;
mod threshold;
