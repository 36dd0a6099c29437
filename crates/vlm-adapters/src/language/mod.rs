//! Language models.

mod attention;
mod kv_cache;
mod llama;

pub use attention::{LlamaAttention, Rope};
pub use kv_cache::{KvCache, LayerCache};
pub use llama::{Llama, LlamaLayer, LlamaMlp};
