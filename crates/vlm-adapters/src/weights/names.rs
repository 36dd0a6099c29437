//! One set of tensor names, whichever release wrote the file.

/// Prefixes of newer module trees and what the hub's (older) files call the same thing. The first match counts.
///
/// Releases 4.52 to 4.x keep the `vision_model` level below the tower, 5.x drops it, hence the two tower rows.
const PREFIXES: [(&str, &str); 7] = [
    ("model.language_model.model.", "language_model.model."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
    ("model.vision_tower.vision_model.", "vision_tower.vision_model."),
    ("model.vision_tower.", "vision_tower.vision_model."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.image_newline", "image_newline"),
];

/// Buffers that old exports stored beside the parameters.
const IGNORED: [&str; 2] = ["embeddings.position_ids", "rotary_emb.inv_freq"];

/// The name that the hub's LLaVA files (1.5 and NeXT) use for the tensor `name` of an older or newer file;
/// `None` for stored buffers that no model needs. Names of neither layout are returned unchanged.
pub fn canonical_llava_name(name: &str) -> Option<String> {
    canonical_name(name, &IGNORED, &PREFIXES)
}

/// `name` with the first of these prefixes replaced by the older one; `None` for a buffer with one of these endings.
pub(crate) fn canonical_name(name: &str, ignored: &[&str], prefixes: &[(&str, &str)]) -> Option<String> {
    if ignored.iter().any(|ending| name.ends_with(ending)) {
        return None;
    }
    let renamed = prefixes
        .iter()
        .find_map(|(newer, older)| name.strip_prefix(newer).map(|rest| format!("{older}{rest}")));
    Some(renamed.unwrap_or_else(|| name.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_layouts_get_the_same_name() {
        for (name, wanted) in [
            (
                "model.language_model.embed_tokens.weight",
                "language_model.model.embed_tokens.weight",
            ),
            (
                "language_model.model.norm.weight",
                "language_model.model.norm.weight",
            ),
            ("lm_head.weight", "language_model.lm_head.weight"),
            (
                "model.vision_tower.pre_layrnorm.bias",
                "vision_tower.vision_model.pre_layrnorm.bias",
            ),
            (
                "model.vision_tower.vision_model.pre_layrnorm.bias",
                "vision_tower.vision_model.pre_layrnorm.bias",
            ),
            (
                "vision_tower.vision_model.pre_layrnorm.bias",
                "vision_tower.vision_model.pre_layrnorm.bias",
            ),
            (
                "model.multi_modal_projector.linear_1.bias",
                "multi_modal_projector.linear_1.bias",
            ),
            ("model.image_newline", "image_newline"),
            ("something.else", "something.else"),
        ] {
            assert_eq!(canonical_llava_name(name).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn stored_buffers_are_ignored() {
        assert_eq!(
            canonical_llava_name("vision_tower.vision_model.embeddings.position_ids"),
            None
        );
        assert_eq!(
            canonical_llava_name("language_model.model.layers.3.self_attn.rotary_emb.inv_freq"),
            None
        );
    }
}
