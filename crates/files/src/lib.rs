#![doc = include_str!("../README.md")]

mod digest;
mod error;
pub mod faults;
mod lock;
mod stop;
mod whole;

pub use digest::Fnv64;
#[cfg(feature = "sha256")]
pub use digest::sha256_hex;
pub use error::WriteError;
pub use lock::{FolderLock, LockError};
pub use stop::Stop;
pub use whole::{Staged, replace_whole, write_whole};
