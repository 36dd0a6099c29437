//! diffprune-vlm
