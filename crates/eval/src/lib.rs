//! diffprune-eval
