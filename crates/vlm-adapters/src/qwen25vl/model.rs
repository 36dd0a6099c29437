//! The network of Qwen2.5-VL, without files and texts.

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use diffprune_pruner::Grid;

use super::sets::indices;
use super::vision::cells;
use super::{QwenEncoding, QwenMerger, QwenVision};
use crate::{Llama, Qwen25VlConfig, Reader};

/// The network of Qwen2.5-VL. It runs on the plain device (frozen) and, after `.train()`, learns all of its weights.
#[derive(Module, Debug)]
pub struct Qwen25VlModel {
    /// Vision encoder.
    pub vision: QwenVision,
    /// Cells of patches to the language model.
    pub merger: QwenMerger,
    /// Language model.
    pub language: Llama,
    image_token_id: usize,
}

impl Qwen25VlConfig {
    /// A model with random weights.
    ///
    /// # Panics
    /// When [`Qwen25VlConfig::validate`] would refuse the sizes.
    pub fn init(&self, device: &Device) -> Qwen25VlModel {
        assert_eq!(
            self.vision.out_hidden_size, self.text.hidden_size,
            "the merger must fit the language model"
        );
        Qwen25VlModel {
            vision: self.vision.init(device),
            merger: QwenMerger::new(&self.vision, device),
            language: self.text.init(device),
            image_token_id: self.image_token_id as usize,
        }
    }
}

impl Qwen25VlModel {
    /// The vision tower's output; see [`QwenVision::encode`].
    pub fn encode(&self, patches: Tensor<4>, grids: &[Grid], received: bool) -> QwenEncoding {
        self.vision.encode(patches, grids, received)
    }

    /// Visual tokens before the merger, the patches of a cell side by side, and which of them are real (`None`: all).
    ///
    /// # Shapes
    /// - patches: `[patches, 3 * frames, size, size]`
    /// - grids: rows and columns of patches of each image
    /// - output: `[b, n, group * d]` and `[b, n]`; short rows are padded with zeros at the end
    pub fn tokens(&self, patches: Tensor<4>, grids: &[Grid]) -> (Tensor<3>, Option<Tensor<2, Bool>>) {
        self.by_image(self.encode(patches, grids, false).hidden, grids)
    }

    /// Values of patches, cell by cell, as rows of cells for each image.
    ///
    /// # Shapes
    /// - x: `[patches, d]`
    /// - output: `[b, n, group * d]` and `[b, n]`; short rows are padded with zeros at the end
    pub fn by_image(&self, x: Tensor<2>, grids: &[Grid]) -> (Tensor<3>, Option<Tensor<2, Bool>>) {
        let merge = self.vision.merge();
        let [_, width] = x.dims();
        let wide = merge * merge * width;
        let counts: Vec<usize> = cells(grids, merge).iter().map(Grid::n_tokens).collect();
        let (batch, n) = (counts.len(), counts.iter().copied().max().unwrap_or(0));
        let n_cells: usize = counts.iter().sum();
        let rows = x.reshape([n_cells, wide]);
        if n_cells == batch * n {
            return (rows.reshape([batch, n, wide]), None);
        }
        let (mut places, mut real, mut first) = (Vec::new(), Vec::new(), 0);
        for count in counts {
            places.extend((0..n).map(|i| if i < count { first + i } else { 0 }));
            real.extend((0..n).map(|i| i < count));
            first += count;
        }
        let device = rows.device();
        let mask = Tensor::<2, Bool>::from_data(TensorData::new(real, [batch, n]), &device);
        let rows = rows
            .select(0, indices(&places, &device))
            .reshape([batch, n, wide]);
        let padding: Tensor<3, Bool> = mask.clone().bool_not().unsqueeze_dim(2);
        (rows.mask_fill(padding.expand([batch, n, wide]), 0.0), Some(mask))
    }

    /// The language model with the id of its placeholder: losses and answers.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            llama: &self.language,
            image_token_id: self.image_token_id as u32,
        }
    }

    /// The device that holds the weights.
    pub fn device(&self) -> Device {
        self.language.device()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GenerateOptions, TextBatch, VisualInput, VisualSequence};
    use burn::optim::GradientsParams;
    use burn::tensor::{DType, Tolerance};
    use diffprune_pruner::{PositionRule, Selection};
    use diffprune_test_support::uniform;

    const IMAGE: u32 = 60;
    /// Patches of two images: 3 by 2 and 2 by 2 cells.
    const GRIDS: [Grid; 2] = [Grid { rows: 6, cols: 4 }, Grid { rows: 4, cols: 4 }];

    fn tiny() -> Qwen25VlModel {
        Qwen25VlConfig::tiny().init(&Device::flex())
    }

    fn patches() -> Tensor<4> {
        uniform(1, [40, 6, 4, 4])
    }

    fn batch() -> TextBatch {
        TextBatch {
            ids: vec![vec![1, IMAGE, 7, 8, 9], vec![1, IMAGE, 5]],
            targets: vec![vec![false, false, false, true, true], vec![false, false, true]],
        }
    }

    fn visual(features: Tensor<3>, keep: [Vec<usize>; 2]) -> VisualInput {
        let cells = cells(&GRIDS, 2).into_iter().zip(keep);
        VisualInput {
            features,
            sequences: cells
                .map(|(grid, keep)| VisualSequence::cells(grid, &keep, PositionRule::Keep))
                .collect(),
            separator: None,
        }
    }

    fn all() -> [Vec<usize>; 2] {
        [(0..6).collect(), (0..4).collect()]
    }

    fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
        a.into_data()
            .assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(1e-4));
    }

    #[test]
    fn every_parameter_learns() {
        let model = tiny().train();
        let device = Device::flex().autodiff();
        let patches = patches().to_device(&device).autodiff();
        let (tokens, mask) = model.tokens(patches, &GRIDS);
        assert_eq!(tokens.dims(), [2, 6, 64]);
        let real: Vec<bool> = mask.expect("a short row").into_data().try_to_vec().unwrap();
        assert_eq!(real, [[true; 6], [true, true, true, true, false, false]].concat());
        let visual = visual(model.merger.forward(tokens), all());
        let loss = model.reader().loss(&batch(), Some(&visual)).unwrap();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        assert_eq!(grads.len(), burn::module::list_param_ids(&model).len());
    }

    #[test]
    fn frozen_weights_pass_the_gradient_on_and_take_none() {
        let model = tiny();
        let (tokens, _) = model.tokens(patches(), &GRIDS);
        let tokens = tokens.autodiff().require_grad();
        let visual = visual(model.merger.forward(tokens.clone()), all());
        let grads = model.reader().loss(&batch(), Some(&visual)).unwrap().backward();
        let grad = tokens.grad(&grads).expect("a gradient of the tokens");
        let real = grad.clone().slice([0..1, 0..6]).abs().max_dim(2).min();
        assert!(real.into_scalar::<f32>() > 0.0, "every cell matters");
        let padding = grad.slice([1..2, 4..6]).abs().max().into_scalar::<f32>();
        assert_eq!(padding, 0.0, "padding takes no gradient");
        assert_eq!(GradientsParams::from_grads(grads, &model).len(), 0);
    }

    #[test]
    fn merging_what_was_kept_is_keeping_what_was_merged() {
        let model = tiny();
        let (tokens, _) = model.tokens(patches(), &GRIDS);
        let selection = Selection::keep(vec![vec![0, 3, 5], vec![1, 2, 3]]);
        let merged = selection.gather(model.merger.forward(tokens.clone()));
        close(model.merger.forward(selection.gather(tokens)), merged);
    }

    #[test]
    fn half_precision_weights_answer_nearly_the_same() {
        let config = Qwen25VlConfig::tiny();
        let dir = tempfile::tempdir().unwrap();
        let model = tiny();
        model.save_pretrained(&config, &dir, DType::F16).unwrap();
        let patches = patches();
        let loss = |dtype| {
            let model = config.load_weights(&dir, dtype, &Device::flex()).unwrap();
            let (tokens, _) = model.tokens(patches.clone(), &GRIDS);
            assert_eq!(tokens.dtype(), dtype);
            let received = model.encode(patches.clone(), &GRIDS, true).received.unwrap();
            assert_eq!(received.dtype(), DType::F32);
            let visual = visual(model.merger.forward(tokens), all());
            let loss = model.reader().loss(&batch(), Some(&visual)).unwrap();
            let options = GenerateOptions::default().with_max_new_tokens(3);
            let answers = model.reader().generate(&batch().ids, Some(&visual), &options);
            assert_eq!(answers.unwrap().iter().map(Vec::len).sum::<usize>(), 6);
            loss.cast(DType::F32).into_scalar::<f32>()
        };
        let exact = loss(DType::F32);
        for dtype in [DType::F16, DType::BF16] {
            let found = loss(dtype);
            assert!((found - exact).abs() < 2e-2, "{dtype:?}: {found} is not {exact}");
        }
    }

    #[test]
    fn first_scores_are_told_once_and_as_the_model_gave_them() {
        let model = tiny();
        let visual = visual(model.merger.forward(model.tokens(patches(), &GRIDS).0), all());
        crate::language::check_first_scores(&model.reader(), &batch().ids, &visual);
    }
}
