//! Checks of language models and weights that every family makes.

use std::collections::HashSet;
use std::path::Path;

use burn::tensor::{DType, Tensor};
use diffprune_vlm_adapters::{
    Llama, Padding, Reader, Slot, Spliced, TextBatch, TextTokenizer, VisualInput, WeightFiles,
    save_safetensors,
};
use serde_json::Value;

use crate::cases::LEAST_GAP;
use crate::tensors::Tensors;

/// A prompt with its images as one sequence: ids, length, mask and embeddings.
pub fn check_spliced(
    json: &Value,
    tensors: &Tensors,
    tokenizer: &TextTokenizer,
    reader: &Reader<'_>,
    prompt: &[u32],
    visual: &VisualInput,
) -> Spliced {
    let text = json["prompt"].as_str().unwrap();
    assert_eq!(tokenizer.encode(text, true).unwrap(), prompt, "prompt");
    tensors.check_ints("prompt_ids", prompt.iter().map(|&id| id.into()));
    let spliced = reader
        .splice(&[prompt.to_vec()], Some(visual), Padding::Right)
        .unwrap();
    let id = |slot: &Slot| match *slot {
        Slot::Text(i) => i64::from(prompt[i]),
        _ => i64::from(reader.image_token_id),
    };
    tensors.check_ints("input_ids", spliced.plans[0].slots.iter().map(id));
    assert!(spliced.mask.is_none(), "one sequence needs no padding");
    tensors.check_ints("attention_mask", vec![1; spliced.width]);
    assert_eq!(spliced.width as u64, json["seq_len"].as_u64().unwrap());
    tensors.check_rows(
        "inputs_embeds",
        "inputs_embeds_rows",
        "inputs_embeds_at_rows",
        &spliced.embeds,
    );
    spliced
}

/// Layers, attention, the last norm and the logits of a spliced prompt.
pub fn check_language(language: &Llama, tensors: &Tensors, spliced: &Spliced) {
    let (embeds, positions) = (spliced.embeds.clone(), spliced.position_ids.clone());
    let states = language.hidden_states(embeds.clone(), positions.clone(), None);
    let rope = language.rope(positions.clone());
    for (i, layer) in language.layers.iter().enumerate() {
        tensors.check(&format!("llm_layer_input_{i}"), &states[i]);
        let name = format!("llm_attention_{i}");
        if tensors.has(&name) {
            let rows = layer.attention_rows(states[i].clone(), &rope, None, spliced.width);
            tensors.check(&name, &rows);
        }
    }
    let hidden = language.forward(embeds, positions, None, None);
    tensors.check("llm_final_norm", &hidden);
    tensors.check_rows(
        "logits",
        "logit_rows",
        "logits_at_rows",
        &logits(language, hidden),
    );
}

/// The logits of normed states, `[batch, n, vocab]`.
pub fn logits(language: &Llama, hidden: Tensor<3>) -> Tensor<3> {
    let [batch, n, width] = hidden.dims();
    let logits = language.logits(hidden.reshape([batch * n, width]));
    let [_, vocab] = logits.dims();
    logits.reshape([batch, n, vocab])
}

/// The flags of the labels that are not -100, back on the prompt's own ids.
pub fn targets(prompt: &[u32], labels: &[i64], spliced: &Spliced) -> TextBatch {
    let mut targets = vec![false; prompt.len()];
    for (slot, &label) in spliced.plans[0].slots.iter().zip(labels) {
        match *slot {
            Slot::Text(i) if label >= 0 => {
                assert_eq!(label, i64::from(prompt[i]));
                targets[i] = true;
            }
            _ => assert_eq!(label, -100, "an image token is a target"),
        }
    }
    TextBatch {
        ids: vec![prompt.to_vec()],
        targets: vec![targets],
    }
}

/// Weights under the newer names of a checkpoint's tensors, loaded and saved again by `save(renamed, saved)`, are those of
/// the checkpoint, under its own names.
pub fn check_saved_files(
    name: &str,
    dir: &Path,
    newer: impl Fn(&str) -> String,
    save: impl FnOnce(&Path, &Path),
) {
    let files = WeightFiles::open(dir).unwrap();
    let renamed = tempfile::tempdir().unwrap();
    let tensor = |name: &str| (newer(name), files.tensor_data(name, DType::F32).unwrap());
    let tensors: Vec<_> = files.names().map(tensor).collect();
    save_safetensors(renamed.path().join("model.safetensors"), tensors, DType::F32).unwrap();
    let saved = tempfile::tempdir().unwrap();
    save(renamed.path(), saved.path());
    let again = WeightFiles::open(saved.path()).unwrap();
    assert!(files.names().eq(again.names()), "{name}: names changed");
    for tensor in files.names() {
        assert_eq!(
            again.tensor_f32(tensor).unwrap(),
            files.tensor_f32(tensor).unwrap(),
            "{name}: {tensor}"
        );
    }
}

/// The number of ids of an answer before the first whose best two (penalised) scores are too close to tell.
pub fn n_decided(
    reader: &Reader<'_>,
    prompt: &[u32],
    visual: &VisualInput,
    answer: &[u32],
    penalty: f32,
) -> usize {
    // An answer that holds the placeholder itself cannot be spliced beyond it.
    let image = answer.iter().position(|&id| id == reader.image_token_id);
    let n = image.map_or(answer.len(), |place| place + 1);
    if n == 0 {
        return 0;
    }
    let ids = [prompt, &answer[..n - 1]].concat();
    let spliced = reader
        .splice(std::slice::from_ref(&ids), Some(visual), Padding::Right)
        .unwrap();
    let hidden = reader
        .llama
        .forward(spliced.embeds, spliced.position_ids, None, None);
    let rows = logits(reader.llama, hidden.clone().narrow(1, hidden.dims()[1] - n, n));
    let vocab = rows.dims()[2];
    let scores: Vec<f32> = rows.into_data().try_to_vec().unwrap();
    let gap = |(step, scores): (usize, &[f32])| {
        let seen: HashSet<u32> = ids[..prompt.len() + step].iter().copied().collect();
        let penalised = |(id, &score): (usize, &f32)| match score {
            _ if !seen.contains(&(id as u32)) => score,
            _ if score > 0.0 => score / penalty,
            _ => score * penalty,
        };
        let mut scores: Vec<f32> = scores.iter().enumerate().map(penalised).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        f64::from(scores[0] - scores[1])
    };
    let gaps = scores.chunks(vocab).enumerate().map(gap);
    gaps.take_while(|&gap| gap >= LEAST_GAP).count()
}
