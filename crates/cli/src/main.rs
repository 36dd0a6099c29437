//! The `diffprune` command.
fn main() {}
