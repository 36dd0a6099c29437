//! Weight files: safetensors, whole or in shards, read in place and written atomically.

mod convert;
mod files;
mod names;
mod pretrained;
mod save;
mod table;

pub use files::WeightFiles;
pub use names::canonical_llava_name;
pub(crate) use names::canonical_name;
pub(crate) use pretrained::save_checkpoint;
pub use save::{save_safetensors, write_atomic};
pub(crate) use table::{Slot, Table, has_own_head};
