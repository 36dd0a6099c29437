//! diffprune-training
