//! Language models.

mod attention;
mod decode;
mod kv_cache;
mod llama;
mod loss;

pub use attention::{LlamaAttention, Rope};
pub use decode::decode;
pub use kv_cache::{KvCache, LayerCache};
pub use llama::{Llama, LlamaLayer, LlamaMlp};
pub use loss::next_token_nll;
