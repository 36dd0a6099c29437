//! The trait's methods, for the model for tests.

use std::sync::atomic::Ordering;

use burn::tensor::{Device, Tensor, TensorData, activation};
use diffprune_pruner::{Layout, Observed, Signals};
use image::RgbImage;

use super::batch::{FakeBatch, read_prefix};
use super::reading::{self, Reading, Taken};
use super::speaker::Speaker;
use super::{FakeVlm, tables};
use crate::{
    DecodeBatch, Encoded, Family, GenerateOptions, Hooks, ImageShape, Pixels, Prefix, PreparedImages,
    Prompts, TextBatch, Turn, VisualInput, Vlm, VlmError, check_images,
};

impl Vlm for FakeVlm {
    fn family(&self) -> Family {
        self.family
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn clone_box(&self) -> Box<dyn Vlm> {
        Box::new(self.clone())
    }

    fn d_vision(&self) -> usize {
        self.d_descriptor * self.group
    }

    fn group(&self) -> usize {
        self.group
    }

    fn d_model(&self) -> usize {
        self.d_model
    }

    fn kv_bytes_per_token(&self) -> u64 {
        self.n_layers as u64 * self.layer_bytes()
    }

    fn text_ids(&self, text: &str) -> Result<Vec<u32>, VlmError> {
        Ok(tables::ids(text))
    }

    fn text_of(&self, ids: &[u32]) -> String {
        tables::text(ids)
    }

    fn end_id(&self) -> Option<u32> {
        Some(Self::END_ID)
    }

    fn prompt_ids(&self, turns: &[Turn]) -> Result<Vec<u32>, VlmError> {
        if turns.is_empty() {
            return Err(VlmError::Text(
                "found no turns, expected at least one question".into(),
            ));
        }
        let mut ids = Vec::new();
        for turn in turns {
            ids.extend(vec![Self::IMAGE_ID; turn.n_images]);
            ids.extend(tables::ids(&turn.question));
            ids.extend(tables::ids("\n"));
            if let Some(answer) = &turn.answer {
                ids.extend(tables::ids(answer));
                ids.extend(tables::ids("\n"));
            }
        }
        Ok(ids)
    }

    fn generate_options(&self) -> GenerateOptions {
        GenerateOptions {
            stop_ids: vec![Self::END_ID],
            ..GenerateOptions::default()
        }
    }

    fn preprocess(&self, images: &[RgbImage]) -> Result<Pixels, VlmError> {
        check_images(images)?;
        let (rows, cols) = (self.grid.rows, self.grid.cols * self.group);
        let colours = images
            .iter()
            .flat_map(|image| tables::mean_colours(image, rows, cols));
        let data = TensorData::new(colours.collect::<Vec<f32>>(), [images.len(), 3, rows, cols]);
        Ok(Pixels {
            values: Tensor::from_data(data, &self.device),
            images: images.iter().map(ImageShape::single_view).collect(),
        })
    }

    fn encode(&self, pixels: Pixels, signals: Signals) -> Encoded {
        let batch = pixels.images.len();
        self.encoded.fetch_add(batch, Ordering::Relaxed);
        let (n, group, width) = (self.n_tokens(), self.group, self.d_descriptor);
        let colours = pixels.values.reshape([batch, 3, n * group]).swap_dims(1, 2);
        let sums = colours.clone().sum_dim(2);
        let extra = (3..width).map(|channel| (sums.clone() * channel as f32).sin());
        let vectors = Tensor::cat([colours.clone()].into_iter().chain(extra).collect(), 2);
        let red = colours.narrow(2, 0, 1).reshape([batch, n, group]).mean_dim(2);
        let attention = activation::softmax(red.swap_dims(1, 2), 2);
        let class = || attention.clone();
        Encoded {
            tokens: vectors.reshape([batch, n, group * width]),
            mask: None,
            layouts: vec![Layout::from(self.grid); batch],
            observed: Observed {
                cls_attention: (signals.cls_attention && self.has_class).then(class),
                first_cls_attention: (signals.first_cls_attention && self.has_class).then(class),
                received_attention: signals
                    .received_attention
                    .then(|| attention.clone().squeeze_dim::<2>(1)),
                ..Observed::default()
            },
        }
    }

    fn project(&self, tokens: Tensor<3>) -> Tensor<3> {
        let weights = tables::projection(self.d_descriptor, self.group, self.d_model, &self.device);
        tokens.matmul(weights.unsqueeze_dim(0))
    }

    fn embed_text(&self, ids: &[u32]) -> Tensor<2> {
        tables::one_hot(ids.iter().copied(), Self::VOCAB, &self.device).matmul(self.table())
    }

    fn loss(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        let nll = self.nll(batch, visual)?;
        if nll.is_empty() {
            let problem = "found no target token in the batch, expected at least one".into();
            return Err(VlmError::Prompt { index: 0, problem });
        }
        Ok(Tensor::cat(nll, 0).mean())
    }

    fn losses(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        let nll = self.nll(batch, visual)?.into_iter().map(|nll| nll.mean());
        Ok(Tensor::cat(nll.collect(), 0))
    }

    fn generate_with(&self, prompts: Prompts<'_>, hooks: &mut Hooks<'_>) -> Result<Vec<Vec<u32>>, VlmError> {
        let Prompts {
            ids: prompts,
            visual,
            options,
        } = prompts;
        let images = self.images_of(prompts, visual, Taken::default())?;
        if prompts.is_empty() || options.max_new_tokens == 0 {
            return Ok(vec![Vec::new(); prompts.len()]);
        }
        let table = tables::rows(self.table());
        let mut readings: Vec<Reading> = prompts
            .iter()
            .zip(images)
            .map(|(prompt, (first, _))| self.read(prompt, visual, first))
            .collect();
        if let Some(decoder) = hooks.decoder {
            hooks.report = Some(reading::prune(&mut readings, &decoder, self.n_layers)?);
        }
        if let Some(on_prefill) = &mut hooks.on_prefill {
            on_prefill();
        }
        let mut answers = Vec::new();
        for (row, (reading, prompt)) in readings.into_iter().zip(prompts).enumerate() {
            let mut speaker = Speaker::new(self, reading, prompt, row, options);
            let mut scores = speaker.scores(&table);
            if let Some(on_scores) = &mut hooks.on_scores {
                on_scores(row, &scores);
            }
            let mut ids = Vec::new();
            loop {
                let (id, finish) = speaker.next(&mut scores);
                ids.extend(id);
                let broken = match (id, &mut hooks.on_token) {
                    (Some(id), Some(on_token)) => on_token(row, id).is_break(),
                    _ => false,
                };
                if broken || finish.is_some() {
                    break;
                }
                scores = speaker.scores(&table);
            }
            answers.push(ids);
        }
        Ok(answers)
    }

    fn decode_batch(&self) -> Box<dyn DecodeBatch> {
        Box::new(FakeBatch::new(self.clone()))
    }

    fn read_prefix(&self, prompt: &[u32], images: &PreparedImages<'_>) -> Result<Option<Prefix>, VlmError> {
        read_prefix(self, prompt, images)
    }
}
