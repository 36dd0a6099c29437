#![doc = include_str!("../README.md")]

mod api;
mod budget;
mod config;
mod engine;
mod error;
mod http;
mod metrics;
mod picture;
mod server;

pub use config::{Limits, ServeConfig};
pub use engine::{LoadFailure, ModelSource};
pub use error::ServeError;
pub use server::{Readiness, Server, Told, run, stop_signal};
