//! The names of the weights of ViT and DeiT, in both layouts.

use std::path::Path;

use burn::tensor::{DType, Device};

use super::VitModel;
use crate::weights::{Slot, Table};
use crate::{LoadError, VitConfig, VitLayout, VitPool, WeightFiles};

impl VitConfig {
    /// Reads the weights of a checkpoint folder. Parameters are held as `dtype` (f32, f16 or bf16).
    ///
    /// # Errors
    /// When files are absent or damaged, or a tensor is missing, unknown, or of another shape than the configuration
    /// implies.
    pub fn load_weights(
        &self,
        dir: impl AsRef<Path>,
        dtype: DType,
        device: &Device,
    ) -> Result<VitModel, LoadError> {
        self.validate()?;
        let files = WeightFiles::open(dir)?;
        let mut model = self.init(device);
        let table = table(&mut model, self);
        table.load(&files, canonical_vit_name, "ViT or DeiT", dtype, device)?;
        Ok(model)
    }
}

/// The parameters under the names of the configured layout.
pub(super) fn table<'a>(model: &'a mut VitModel, config: &VitConfig) -> Table<'a> {
    let mut table = Table::default();
    match config.layout {
        VitLayout::Timm => timm(&mut table, model, config),
        VitLayout::TransformersVit => transformers(&mut table, model, config, "vit"),
        VitLayout::TransformersDeit => transformers(&mut table, model, config, "deit"),
    }
    table
}

/// | timm | module |
/// |---|---|
/// | `cls_token`, `dist_token`, `pos_embed`, `patch_embed.proj` | before the blocks |
/// | `blocks.{i}.norm1`, `.attn.qkv`, `.attn.proj`, `.norm2`, `.mlp.fc1`, `.mlp.fc2` | `layers[i]` |
/// | `norm` (`fc_norm` where patches are averaged), `head`, `head_dist` | after them |
fn timm<'a>(table: &mut Table<'a>, model: &'a mut VitModel, config: &VitConfig) {
    let patch = config.blocks.patch_size;
    table.push("cls_token", Slot::vector(&mut model.class_token).behind_axes(2));
    if let Some(token) = &mut model.distillation_token {
        table.push("dist_token", Slot::vector(token).behind_axes(2));
    }
    table.push(
        "pos_embed",
        Slot::matrix(&mut model.position_embedding).behind_axes(1),
    );
    table.patches("patch_embed.proj", &mut model.patch_embedding, &[3, patch, patch]);
    for (i, layer) in model.layers.iter_mut().enumerate() {
        let root = format!("blocks.{i}");
        table.layer_norm(&format!("{root}.norm1"), &mut layer.layer_norm1);
        let qkv = vec![&mut layer.q_proj, &mut layer.k_proj, &mut layer.v_proj];
        table.fused(&format!("{root}.attn.qkv"), qkv);
        table.linear(&format!("{root}.attn.proj"), &mut layer.out_proj);
        table.layer_norm(&format!("{root}.norm2"), &mut layer.layer_norm2);
        table.linear(&format!("{root}.mlp.fc1"), &mut layer.fc1);
        table.linear(&format!("{root}.mlp.fc2"), &mut layer.fc2);
    }
    let norm = match config.pool {
        VitPool::ClassToken => "norm",
        VitPool::Patches => "fc_norm",
    };
    table.layer_norm(norm, &mut model.norm);
    table.linear("head", &mut model.head);
    if let Some(head) = &mut model.distillation_head {
        table.linear("head_dist", head);
    }
}

/// | `transformers` (`{root}` is `vit` or `deit`) | module |
/// |---|---|
/// | `{root}.embeddings.*` | before the blocks |
/// | `{root}.encoder.layer.{i}.*` | `layers[i]` |
/// | `{root}.layernorm`, `classifier` (`cls_classifier`, `distillation_classifier` with two heads) | after them |
fn transformers<'a>(table: &mut Table<'a>, model: &'a mut VitModel, config: &VitConfig, root: &str) {
    let patch = config.blocks.patch_size;
    let before = format!("{root}.embeddings");
    table.push(
        format!("{before}.cls_token"),
        Slot::vector(&mut model.class_token).behind_axes(2),
    );
    if let Some(token) = &mut model.distillation_token {
        table.push(
            format!("{before}.distillation_token"),
            Slot::vector(token).behind_axes(2),
        );
    }
    table.push(
        format!("{before}.position_embeddings"),
        Slot::matrix(&mut model.position_embedding).behind_axes(1),
    );
    table.patches(
        &format!("{before}.patch_embeddings.projection"),
        &mut model.patch_embedding,
        &[3, patch, patch],
    );
    for (i, layer) in model.layers.iter_mut().enumerate() {
        let root = format!("{root}.encoder.layer.{i}");
        table.layer_norm(&format!("{root}.layernorm_before"), &mut layer.layer_norm1);
        table.linear(&format!("{root}.attention.attention.query"), &mut layer.q_proj);
        table.linear(&format!("{root}.attention.attention.key"), &mut layer.k_proj);
        table.linear(&format!("{root}.attention.attention.value"), &mut layer.v_proj);
        table.linear(&format!("{root}.attention.output.dense"), &mut layer.out_proj);
        table.layer_norm(&format!("{root}.layernorm_after"), &mut layer.layer_norm2);
        table.linear(&format!("{root}.intermediate.dense"), &mut layer.fc1);
        table.linear(&format!("{root}.output.dense"), &mut layer.fc2);
    }
    table.layer_norm(&format!("{root}.layernorm"), &mut model.norm);
    match &mut model.distillation_head {
        None => table.linear("classifier", &mut model.head),
        Some(head) => {
            table.linear("cls_classifier", &mut model.head);
            table.linear("distillation_classifier", head);
        }
    }
}

/// Parts of names in newer module trees of `transformers`, and what the files call them.
const NEWER: [(&str, &str); 7] = [
    (".layers.", ".encoder.layer."),
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
];

/// The name that the files use for a tensor of the layout of timm or of an older or newer `transformers`; `None` for
/// the pooler, which no classifier reads.
pub fn canonical_vit_name(name: &str) -> Option<String> {
    let tree = ["vit.", "deit."].iter().any(|root| name.starts_with(root));
    if !tree {
        return Some(name.into());
    }
    if name.contains(".pooler.") {
        return None;
    }
    let rename = |name: String, (newer, older): &(&str, &str)| name.replacen(newer, older, 1);
    Some(NEWER.iter().fold(name.to_string(), rename))
}
