//! One set of tensor names, whichever release wrote the file.

use crate::weights::canonical_name;

/// Prefixes of newer module trees and what the hub's (older) files call the same thing.
///
/// In an older file `model.` is the language model alone, in a newer one the whole model; the level below tells.
const PREFIXES: [(&str, &str); 2] = [("model.language_model.", "model."), ("model.visual.", "visual.")];

/// Buffers that old exports stored beside the parameters.
const IGNORED: [&str; 2] = ["rotary_emb.inv_freq", "rotary_pos_emb.inv_freq"];

/// The name that the hub's Qwen2.5-VL files use for the tensor `name` of an older or newer file; `None` for stored
/// buffers that no model needs. Names of neither layout are returned unchanged.
pub fn canonical_qwen_name(name: &str) -> Option<String> {
    canonical_name(name, &IGNORED, &PREFIXES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_get_the_same_name_and_buffers_none() {
        for (name, wanted) in [
            (
                "model.layers.0.mlp.up_proj.weight",
                Some("model.layers.0.mlp.up_proj.weight"),
            ),
            ("model.language_model.norm.weight", Some("model.norm.weight")),
            (
                "model.visual.blocks.1.attn.qkv.bias",
                Some("visual.blocks.1.attn.qkv.bias"),
            ),
            ("visual.merger.mlp.0.weight", Some("visual.merger.mlp.0.weight")),
            ("lm_head.weight", Some("lm_head.weight")),
            ("visual.rotary_pos_emb.inv_freq", None),
            ("model.language_model.rotary_emb.inv_freq", None),
        ] {
            assert_eq!(canonical_qwen_name(name).as_deref(), wanted);
        }
    }
}
