//! Continuous batching on the small models of the three families: whoever joins or leaves, each sequence says what it says
//! alone.

mod cases;
mod joining;
mod prefix;
mod refusals;
