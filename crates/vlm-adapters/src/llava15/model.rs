//! The network of LLaVA-1.5, without files and texts.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::{ClipEncoding, ClipVision, FeatureSelect, Llama, LlavaConfig, Projector};

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
    /// The chosen hidden state of the vision tower with `[CLS]` first, and its `[CLS]` attention when asked for.
    ///
    /// # Shapes
    /// - pixels: `[b, 3, image_size, image_size]`
    pub fn encode(&self, pixels: Tensor<4>, cls_attention: bool) -> ClipEncoding {
        self.vision.encode(pixels, self.feature_layer, cls_attention)
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
        self.select_tokens(self.encode(pixels, false).hidden)
    }

    /// The id that stands for an image in a prompt.
    pub fn image_token_id(&self) -> u32 {
        self.image_token_id as u32
    }

    /// Whether `[CLS]` is one of the visual tokens.
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
    use burn::optim::GradientsParams;
    use burn::tensor::{Distribution, Int};

    fn positions(batch: usize, n: usize, device: &Device) -> Tensor<2, Int> {
        Tensor::<1, Int>::arange(0..n as i64, device)
            .reshape([1, n])
            .expand([batch, n])
    }

    /// Features of random pixels through the language model: the sum of the squared logits of the last token.
    fn score(model: &LlavaModel, tokens: Tensor<3>) -> Tensor<1> {
        let features = model.projector.forward(tokens);
        let [batch, n, width] = features.dims();
        let hidden = model
            .language
            .forward(features, positions(batch, n, &model.device()), None, None);
        let last = hidden.narrow(1, n - 1, 1).reshape([batch, width]);
        model.language.logits(last).square().sum()
    }

    #[test]
    fn every_used_parameter_learns() {
        let device = Device::flex();
        let model = LlavaConfig::tiny().init(&device).train();
        let pixels = Tensor::random([2, 3, 56, 56], Distribution::Default, &device.autodiff());
        let states = model.vision.hidden_states(pixels);
        let pooled = model.vision.pool(states[states.len() - 1].clone());
        let tokens = model.select_tokens(states[states.len() - 2].clone());
        let loss = score(&model, tokens) + pooled.square().sum();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        let n_parameters = burn::module::list_param_ids(&model).len();
        // Only the token embeddings have no part in this loss.
        assert_eq!(grads.len(), n_parameters - 1);
    }

    #[test]
    fn gradients_pass_through_frozen_plain_weights() {
        let device = Device::flex();
        let model = LlavaConfig::tiny().init(&device);
        let tokens = Tensor::<3>::random([2, 5, 16], Distribution::Default, &device);
        let tokens = tokens.autodiff().require_grad();
        let loss = score(&model, tokens.clone());
        let mut grads = loss.backward();
        let grad = tokens.grad(&grads).expect("a gradient of the tokens");
        assert!(grad.abs().max().into_scalar::<f32>() > 0.0);
        tokens.grad_remove(&mut grads);
        assert_eq!(GradientsParams::from_grads(grads, &model).len(), 0);
    }
}
