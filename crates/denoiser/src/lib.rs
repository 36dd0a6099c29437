//! diffprune-denoiser
