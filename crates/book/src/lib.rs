//! Nothing to call. `cargo test -p diffprune-book` compiles the Rust code of the front page and of the book, and runs
//! what can run. It stands in a crate of its own because a published crate cannot reach files outside its package.
//!
//! A page with code is one item below.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/add-a-backbone.md")]
mod add_a_backbone {}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/add-a-benchmark.md")]
mod add_a_benchmark {}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/add-a-learned-rival.md")]
mod add_a_learned_rival {}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/baselines.md")]
mod baselines {}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/in-llm.md")]
mod in_llm {}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/training.md")]
mod training {}
