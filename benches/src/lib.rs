//! Criterion benches; see the `benches` folder.
