//! Language models.

mod attention;
mod decide_once;
mod decode;
mod kv_cache;
mod llama;
mod loss;
mod pruning;
mod rows;
mod stream;

pub use attention::{LlamaAttention, Rope};
pub use decide_once::DecideOnce;
pub use decode::decode;
pub use kv_cache::{KvCache, LayerCache};
pub use llama::{Llama, LlamaLayer, LlamaMlp};
pub use loss::{next_token_nll, sequence_nll};
pub use pruning::{DecoderPruning, DecoderReport, LayerRun, PrunedPass, SequenceReport, StageReport};
