//! diffprune-softtopk
