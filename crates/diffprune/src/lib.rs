//! diffprune
