//! diffprune-baselines
