//! Every stored case of the official scoring programs.

mod answers;
mod choices;
mod group_sets;
mod imagenet;
mod more_sets;
#[cfg(feature = "parquet")]
mod parquet;
mod prompts;
mod sets;
mod support;
