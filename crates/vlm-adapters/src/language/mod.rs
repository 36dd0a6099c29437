//! Language models.

mod attention;
mod batch;
#[cfg(test)]
mod checks;
mod continuation;
mod decode;
mod kv_cache;
mod llama;
mod loss;
mod prefix;
mod pruning;
mod reader;
mod rows;
mod stream;

pub use attention::{LlamaAttention, Rope};
#[cfg(test)]
pub(crate) use checks::check_first_scores;
pub use decode::decode;
pub use kv_cache::{KvCache, LayerCache};
pub use llama::{Llama, LlamaLayer, LlamaMlp};
pub use loss::{next_token_nll, next_token_nll_recomputed, sequence_nll};
pub use pruning::{LayerRun, PrunedPass};
pub use reader::Reader;
