//! diffprune-mini
