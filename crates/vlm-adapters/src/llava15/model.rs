//! The network of LLaVA-1.5, without files and texts.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use diffprune_pruner::{Observed, Signals};

use crate::vision::TokenRows;
use crate::{ClipEncoding, ClipVision, FeatureSelect, Llama, LlavaConfig, Projector, Reader};

/// The network of LLaVA-1.5. It runs on the plain device (frozen) and, after `.train()`, learns all of its weights.
#[derive(Module, Debug)]
pub struct LlavaModel {
    /// Vision encoder.
    pub vision: ClipVision,
    /// Visual tokens to the language model.
    pub projector: Projector,
    /// Language model.
    pub language: Llama,
    feature_layer: i64,
    with_class: bool,
    image_token_id: usize,
}

impl LlavaConfig {
    /// A model with random weights.
    ///
    /// # Panics
    /// When [`LlavaConfig::validate`] would refuse the sizes.
    pub fn init(&self, device: &Device) -> LlavaModel {
        let (d_vision, d_model) = (self.vision.hidden_size, self.text.hidden_size);
        let vision = self.vision.init(device);
        vision.depth(self.vision_feature_layer);
        LlavaModel {
            vision,
            projector: Projector::new(d_vision, d_model, self.projector_hidden_act, device),
            language: self.text.init(device),
            feature_layer: self.vision_feature_layer,
            with_class: self.vision_feature_select_strategy == FeatureSelect::Full,
            image_token_id: self.image_token_id as usize,
        }
    }
}

impl LlavaModel {
    /// The chosen hidden state of the vision tower with `[CLS]` first, and the tower's signals among those asked for.
    ///
    /// # Shapes
    /// - pixels: `[b, 3, image_size, image_size]`
    pub fn encode(&self, pixels: Tensor<4>, signals: Signals) -> ClipEncoding {
        self.vision.encode(pixels, self.feature_layer, signals)
    }

    /// The visual tokens of pictures that are one view each, in f32, with the signals asked for: what methods choose by.
    ///
    /// # Shapes
    /// - pixels: `[b, 3, image_size, image_size]`
    /// - tokens: `[b, n, d_vision]`
    pub fn observe(&self, pixels: Tensor<4>, signals: Signals) -> (Tensor<3>, Observed) {
        let encoding = self.encode(pixels, signals);
        let rows = TokenRows::From(if self.with_class { 0 } else { 1 });
        // Methods choose in f32, whatever the weights are held in.
        (
            rows.of(encoding.hidden.clone()),
            encoding.observed(&rows, signals),
        )
    }

    /// The visual tokens among a hidden state: the patches (and `[CLS]` where the configuration keeps it).
    ///
    /// # Shapes
    /// - hidden: `[b, 1 + n, d_vision]`
    /// - output: `[b, n, d_vision]`, or `[b, 1 + n, d_vision]` with `[CLS]`
    pub fn select_tokens(&self, hidden: Tensor<3>) -> Tensor<3> {
        let first = if self.with_class { 0 } else { 1 };
        let n_tokens = hidden.dims()[1] - first;
        hidden.narrow(1, first, n_tokens)
    }

    /// Visual tokens of pixels, `[b, n, d_vision]`.
    pub fn tokens(&self, pixels: Tensor<4>) -> Tensor<3> {
        self.select_tokens(self.vision.hidden_state(pixels, self.feature_layer))
    }

    /// The language model with the id of its placeholder: losses and answers.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            llama: &self.language,
            image_token_id: self.image_token_id as u32,
        }
    }

    /// `true` if `[CLS]` is one of the visual tokens.
    pub fn keeps_class_token(&self) -> bool {
        self.with_class
    }

    /// The device that holds the weights.
    pub fn device(&self) -> Device {
        self.language.device()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GenerateOptions, Padding, TextBatch, VisualInput, VlmError, next_token_nll};
    use burn::optim::GradientsParams;
    use burn::tensor::{Int, Tolerance};
    use diffprune_pruner::PositionRule;
    use diffprune_test_support::uniform;

    const IMAGE: u32 = 60;

    fn tiny() -> LlavaModel {
        LlavaConfig::tiny().init(&Device::flex())
    }

    fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
        a.into_data()
            .assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(1e-4));
    }

    /// Features of two images, three and two tokens of four kept.
    fn visual(features: Tensor<3>) -> VisualInput {
        VisualInput::raster(features, &[vec![0, 2, 3], vec![1, 2]], 4, PositionRule::Keep)
    }

    fn batch() -> TextBatch {
        TextBatch {
            ids: vec![vec![1, IMAGE, 7, 8, 9, 10], vec![1, IMAGE, 5]],
            targets: vec![
                vec![false, false, false, true, true, true],
                vec![false, false, true],
            ],
        }
    }

    /// The part of a batch that belongs to sequence `i`.
    fn alone(batch: &TextBatch, visual: &VisualInput, i: usize) -> (TextBatch, VisualInput) {
        let text = TextBatch {
            ids: vec![batch.ids[i].clone()],
            targets: vec![batch.targets[i].clone()],
        };
        let mut visual = visual.rows(&[i]);
        let n_kept = visual.sequences[0].n_features();
        visual.features = visual.features.slice([0..1, 0..n_kept]);
        (text, visual)
    }

    #[test]
    fn every_used_parameter_learns() {
        let model = tiny().train();
        let device = Device::flex().autodiff();
        let states = model
            .vision
            .hidden_states(uniform(1, [2, 3, 56, 56]).to_device(&device).autodiff());
        let pooled = model.vision.pool(states[states.len() - 1].clone());
        let tokens = model.select_tokens(states[states.len() - 2].clone());
        let visual = VisualInput::full(model.projector.forward(tokens));
        let loss = model.reader().loss(&batch(), Some(&visual)).unwrap() + pooled.square().sum();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        assert_eq!(grads.len(), burn::module::list_param_ids(&model).len());
    }

    #[test]
    fn a_loss_behind_left_padding_is_refused() {
        let model = tiny();
        let nll = |batch: &TextBatch, visual: &VisualInput, padding| {
            let spliced = model.reader().splice(&batch.ids, Some(visual), padding).unwrap();
            next_token_nll(&model.language, &spliced, batch)
        };
        let (batch, visual) = (batch(), visual(uniform(2, [2, 3, 16])));
        assert!(matches!(
            nll(&batch, &visual, Padding::Left),
            Err(VlmError::Prompt { index: 1, .. })
        ));
        assert!(nll(&batch, &visual, Padding::Right).is_ok());
        // Sequences of equal length need no padding on either side.
        let (batch, visual) = alone(&batch, &visual, 0);
        close(
            nll(&batch, &visual, Padding::Left).unwrap(),
            nll(&batch, &visual, Padding::Right).unwrap(),
        );
    }

    #[test]
    fn recomputed_layers_give_the_same_loss_and_gradient() {
        let model = tiny();
        let reader = model.reader();
        let outcome = |recompute: bool| {
            let tokens = uniform(3, [2, 3, 16]).autodiff().require_grad();
            let visual = visual(model.projector.forward(tokens.clone()));
            let loss = match recompute {
                true => reader.loss_recomputed(&batch(), Some(&visual)).unwrap(),
                false => reader.loss(&batch(), Some(&visual)).unwrap(),
            };
            // Twice the loss, so that what is behind it in the graph is passed on.
            let grads = (loss.clone() * 2.0).backward();
            (loss.without_autodiff(), tokens.grad(&grads).unwrap())
        };
        let (plain, recomputed) = (outcome(false), outcome(true));
        assert_eq!(plain.0.into_scalar::<f32>(), recomputed.0.into_scalar::<f32>());
        close(plain.1, recomputed.1);
        // Without anything to learn there is nothing to recompute.
        let visual = visual(uniform(2, [2, 3, 16]));
        close(
            reader.loss(&batch(), Some(&visual)).unwrap(),
            reader.loss_recomputed(&batch(), Some(&visual)).unwrap(),
        );
    }

    #[test]
    fn frozen_weights_pass_the_gradient_on_and_take_none() {
        let model = tiny();
        let tokens = uniform(3, [2, 3, 16]).autodiff().require_grad();
        let visual = visual(model.projector.forward(tokens.clone()));
        let grads = model.reader().loss(&batch(), Some(&visual)).unwrap().backward();
        let grad = tokens.grad(&grads).expect("a gradient of the tokens");
        let kept = grad.clone().narrow(0, 0, 1).abs().min().into_scalar::<f32>();
        assert!(kept > 0.0, "every kept token matters");
        let padding = grad.slice([1..2, 2..3]).abs().max().into_scalar::<f32>();
        assert_eq!(padding, 0.0, "a row beyond the kept ones takes no gradient");
        assert_eq!(GradientsParams::from_grads(grads, &model).len(), 0);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let model = tiny();
        let features = uniform(4, [2, 3, 16]);
        let loss = |features: Tensor<3>| model.reader().loss(&batch(), Some(&visual(features))).unwrap();
        let tracked = features.clone().autodiff().require_grad();
        let grad = tracked.grad(&loss(tracked.clone()).backward()).unwrap();
        let direction = uniform(5, [2, 3, 16]) - 0.5;
        let step = 1e-2;
        let ahead = loss(features.clone() + direction.clone() * step).into_scalar::<f32>();
        let behind = loss(features - direction.clone() * step).into_scalar::<f32>();
        let wanted = (ahead - behind) / (2.0 * step);
        let found = (grad * direction).sum().into_scalar::<f32>();
        assert!(
            (found - wanted).abs() < 2e-3 * wanted.abs().max(0.1),
            "{found} is not {wanted}"
        );
    }

    #[test]
    fn the_loss_of_a_batch_is_the_mean_over_its_targets() {
        let model = tiny();
        let (batch, visual) = (batch(), visual(uniform(6, [2, 3, 16])));
        let together = model
            .reader()
            .loss(&batch, Some(&visual))
            .unwrap()
            .into_scalar::<f32>();
        let mut sum = 0.0;
        for i in 0..2 {
            let (text, image) = alone(&batch, &visual, i);
            let n = text.targets[0].iter().filter(|&&target| target).count() as f32;
            sum += n * model
                .reader()
                .loss(&text, Some(&image))
                .unwrap()
                .into_scalar::<f32>();
        }
        assert!(
            (together - sum / 4.0).abs() < 1e-4,
            "{together} is not {}",
            sum / 4.0
        );
    }

    #[test]
    fn padding_does_not_leak() {
        let model = tiny();
        let (batch, visual) = (batch(), visual(uniform(7, [2, 3, 16])));
        let run = |ids: &[Vec<u32>], visual: &VisualInput, padding| {
            let spliced = model.reader().splice(ids, Some(visual), padding).unwrap();
            let mask = spliced.mask.clone();
            (
                model
                    .language
                    .forward(spliced.embeds.clone(), spliced.position_ids.clone(), mask, None),
                spliced,
            )
        };
        for padding in [Padding::Left, Padding::Right] {
            let (together, spliced) = run(&batch.ids, &visual, padding);
            let width = together.dims()[1];
            for i in 0..2 {
                let (text, image) = alone(&batch, &visual, i);
                let (alone, _) = run(&text.ids, &image, padding);
                let start = spliced.flat_index(i, 0) - i * width;
                let own = together.clone().slice([i..i + 1, start..start + alone.dims()[1]]);
                close(own, alone);
            }
        }
    }

    #[test]
    fn cached_decoding_equals_the_full_pass() {
        let model = tiny();
        let visual = visual(uniform(8, [2, 3, 16]));
        let spliced = model
            .reader()
            .splice(&batch().ids, Some(&visual), Padding::Left)
            .unwrap();
        let (embeds, positions, mask) = (spliced.embeds, spliced.position_ids, spliced.mask.unwrap());
        let full = model
            .language
            .forward(embeds.clone(), positions.clone(), Some(mask.clone()), None);
        let [batch, width, _] = embeds.dims();
        let mut cache = model.language.cache(batch, width);
        let mut parts = Vec::new();
        for range in [0..4, 4..5, 5..width] {
            let n = range.len();
            let part = |n: usize| [0..batch, range.start..range.start + n];
            let place = [0..1, 0..batch, range.start..range.start + n];
            parts.push(model.language.forward(
                embeds.clone().slice(part(n)),
                positions.clone().slice(place),
                Some(mask.clone().slice(part(n))),
                Some(&mut cache),
            ));
            assert_eq!(cache.len(), range.end);
        }
        let real = mask.unsqueeze_dim::<3>(2).expand([batch, width, 16]);
        let hide = |x: Tensor<3>| x.mask_fill(real.clone().bool_not(), 0.0);
        close(hide(Tensor::cat(parts, 1)), hide(full));
    }

    #[test]
    fn generation_stops_at_the_end_of_the_positions() {
        let model = tiny();
        let prompts = [vec![1; 250], vec![2; 3]];
        let options = GenerateOptions::default().with_max_new_tokens(10);
        let answers = model.reader().generate(&prompts, None, &options).unwrap();
        assert_eq!((answers[0].len(), answers[1].len()), (6, 10));
        assert_eq!(model.reader().generate(&[], None, &options).unwrap().len(), 0);
    }

    #[test]
    fn a_batch_without_a_target_or_with_odd_flags_is_refused() {
        let model = tiny();
        let mut text = TextBatch {
            ids: vec![vec![1, 2]],
            targets: vec![vec![true, false]],
        };
        assert!(matches!(
            model.reader().loss(&text, None),
            Err(VlmError::Prompt { .. })
        ));
        text.targets[0].pop();
        assert!(matches!(
            model.reader().loss(&text, None),
            Err(VlmError::Prompt { .. })
        ));
    }

    #[test]
    fn half_precision_weights_answer_nearly_the_same() {
        let config = LlavaConfig::tiny();
        let dir = tempfile::tempdir().unwrap();
        let device = Device::flex();
        tiny()
            .save_pretrained(&config, &dir, burn::tensor::DType::F16)
            .unwrap();
        let load = |dtype| config.load_weights(&dir, dtype, &device).unwrap();
        let exact = load(burn::tensor::DType::F32);
        for dtype in [burn::tensor::DType::F16, burn::tensor::DType::BF16] {
            let model = load(dtype);
            let visual =
                |model: &LlavaModel| visual(model.projector.forward(model.tokens(pixels()).narrow(1, 0, 3)));
            let loss = |model: &LlavaModel| model.reader().loss(&batch(), Some(&visual(model))).unwrap();
            let difference = (loss(&model).cast(burn::tensor::DType::F32) - loss(&exact))
                .abs()
                .into_scalar::<f32>();
            assert!(difference < 2e-2, "{dtype:?}: {difference}");
            let options = GenerateOptions::default().with_max_new_tokens(3);
            let answers = model
                .reader()
                .generate(&batch().ids, Some(&visual(&model)), &options)
                .unwrap();
            assert_eq!(answers.iter().map(Vec::len).sum::<usize>(), 6);
        }
    }

    fn pixels() -> Tensor<4> {
        let pixels = Tensor::<1, Int>::arange(0..2 * 3 * 56 * 56, &Device::flex()).float();
        (pixels * 0.01).sin().reshape([2, 3, 56, 56])
    }

    #[test]
    fn first_scores_are_told_once_and_as_the_model_gave_them() {
        let model = tiny();
        let visual = visual(uniform(9, [2, 3, model.language.d_model()]));
        crate::language::check_first_scores(&model.reader(), &batch().ids, &visual);
    }
}
