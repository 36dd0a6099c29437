//! diffprune-kernels
