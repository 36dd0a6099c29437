//! diffprune-throttler
