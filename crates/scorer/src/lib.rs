//! diffprune-scorer
