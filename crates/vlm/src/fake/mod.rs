//! A model for tests: no files, no weights, tiny tensors, the same numbers every time.

mod batch;
mod model;
mod reading;
mod speaker;
mod tables;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Tensor, activation};
use diffprune_pruner::Grid;

use crate::{Family, TextBatch, VisualInput, Vlm, VlmError};
use reading::{Reading, Taken, check_flags, images_of};

/// A model for tests of whatever runs a [`Vlm`]: a few tokens per image, a text of bytes, a "language model" that looks at
/// the mean of the visual tokens and the last id.
///
/// It is deterministic, needs no file, and differentiable in the visual tokens, so a scorer can be trained on it. What it
/// says is of no worth unless a test decides it with [`Self::answering`].
///
/// - A token is the mean colour of a cell of the image: its first three numbers are red, green and blue from 0 to 1, in
///   each of its [`Vlm::group`] vectors; the other numbers are sines of them. The first three numbers of a projected token
///   are its mean colour.
/// - `[CLS]` attention and received attention are a softmax over the red of the tokens. Other signals are absent.
/// - Ids are bytes (plus three marks). A prompt is, for each turn, its placeholders, the question and a line break, then
///   the answer and a line break.
/// - Methods inside the language model act on [`Self::with_layers`] layers that change nothing; every query's attention is
///   a softmax over the red of what is there.
/// - [`Vlm::decode_batch`] is a batch of its own kind, and [`Vlm::read_prefix`] gives prefixes, as in the real models.
#[derive(Clone)]
pub struct FakeVlm {
    device: Device,
    family: Family,
    grid: Grid,
    d_descriptor: usize,
    group: usize,
    d_model: usize,
    n_layers: usize,
    max_positions: usize,
    has_class: bool,
    answer: Option<Arc<AnswerFn>>,
    encoded: Arc<AtomicUsize>,
    read: Arc<AtomicUsize>,
}

type AnswerFn = dyn Fn(&FakeInput<'_>) -> String + Send + Sync;

/// A prompt as the last layer of a [`FakeVlm`] reads it.
#[derive(Debug, Clone, Copy)]
pub struct FakeInput<'a> {
    /// Its text, placeholders left out.
    pub text: &'a str,
    /// The visual tokens that are left, each `d_model` wide, in their order.
    pub visual: &'a [Vec<f32>],
}

impl FakeVlm {
    /// The id that stands for an image.
    pub const IMAGE_ID: u32 = 1;
    /// The id that ends an answer.
    pub const END_ID: u32 = 2;
    /// Number of ids: three marks and the 256 bytes.
    pub const VOCAB: usize = 259;

    /// 4 by 4 tokens of 8 numbers, a language model of width 6 with 4 layers and 512 positions.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            family: Family::Other("fake"),
            grid: Grid { rows: 4, cols: 4 },
            d_descriptor: 8,
            group: 1,
            d_model: 6,
            n_layers: 4,
            max_positions: 512,
            has_class: true,
            answer: None,
            encoded: Arc::default(),
            read: Arc::default(),
        }
    }

    /// The same with this raster of tokens for every image.
    pub fn with_grid(mut self, rows: usize, cols: usize) -> Self {
        self.grid = Grid { rows, cols };
        self
    }

    /// The same with tokens of `group` vectors of `d_descriptor` numbers side by side.
    ///
    /// # Panics
    /// When `d_descriptor` has no room for a colour, or `group` is 0.
    pub fn with_tokens(mut self, d_descriptor: usize, group: usize) -> Self {
        assert!(d_descriptor >= 3 && group >= 1, "a token holds a colour");
        (self.d_descriptor, self.group) = (d_descriptor, group);
        self
    }

    /// The same with a language model of this width.
    ///
    /// # Panics
    /// When it has no room for a colour.
    pub fn with_d_model(mut self, d_model: usize) -> Self {
        assert!(d_model >= 3, "a projected token holds a colour");
        self.d_model = d_model;
        self
    }

    /// The same with as many layers, for methods inside the language model.
    pub fn with_layers(mut self, n_layers: usize) -> Self {
        self.n_layers = n_layers;
        self
    }

    /// The same with as many positions.
    pub fn with_positions(mut self, max_positions: usize) -> Self {
        self.max_positions = max_positions;
        self
    }

    /// The same as a member of a family.
    pub fn with_family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// The same without `[CLS]`: only received attention is observed.
    pub fn without_class(mut self) -> Self {
        self.has_class = false;
        self
    }

    /// The same with answers of the test's choice.
    pub fn answering(mut self, answer: impl Fn(&FakeInput<'_>) -> String + Send + Sync + 'static) -> Self {
        self.answer = Some(Arc::new(answer));
        self
    }

    /// Images that this model and its copies have encoded.
    pub fn images_encoded(&self) -> usize {
        self.encoded.load(Ordering::Relaxed)
    }

    /// Tokens of prompts that the language model of this model and its copies has read; those of a prefix once.
    pub fn tokens_read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }

    /// Tokens of each image.
    pub fn n_tokens(&self) -> usize {
        self.grid.n_tokens()
    }

    /// Checks prompts and gives the images of each: the first of them, and how many.
    fn images_of(
        &self,
        prompts: &[Vec<u32>],
        visual: Option<&VisualInput>,
        taken: Taken,
    ) -> Result<Vec<(usize, usize)>, VlmError> {
        let limits = reading::Limits {
            image_id: Self::IMAGE_ID,
            vocab: Self::VOCAB,
            max_positions: self.max_positions,
        };
        images_of(prompts, visual, limits, taken)
    }

    /// Reads a prompt whose first image is `first`.
    fn read(&self, prompt: &[u32], visual: Option<&VisualInput>, first: usize) -> Reading {
        let table = tables::rows(self.table());
        let reading = Reading::new(prompt, visual, first, Self::IMAGE_ID, &table, &self.device);
        self.read.fetch_add(reading.len(), Ordering::Relaxed);
        reading
    }

    /// Bytes of the keys and values of one token in one layer.
    fn layer_bytes(&self) -> u64 {
        (2 * self.d_model * size_of::<f32>()) as u64
    }

    /// The negative log-likelihoods of the targets of each sequence, `[targets]`.
    fn nll(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Vec<Tensor<1>>, VlmError> {
        check_flags(batch)?;
        let images = self.images_of(&batch.ids, visual, Taken::default())?;
        let table = self.table();
        let nll = |(row, (ids, &(first, n))): (usize, (&Vec<u32>, &(usize, usize)))| {
            let targets = &batch.targets[row];
            let places: Vec<usize> = (1..ids.len()).filter(|&place| targets[place]).collect();
            if places.is_empty() {
                let problem = "found no target token in the sequence, expected at least one".into();
                return Err(VlmError::Prompt { index: row, problem });
            }
            let before: Vec<u32> = places.iter().map(|&place| ids[place - 1]).collect();
            let mut hidden = self.embed_text(&before);
            if let Some(visual) = visual.filter(|_| n > 0) {
                hidden = hidden + self.mean_of(visual, first, n);
            }
            let logits = hidden.matmul(table.clone().transpose());
            let wanted = places.iter().map(|&place| ids[place]);
            let wanted = tables::one_hot(wanted, Self::VOCAB, &self.device);
            let picked = activation::log_softmax(logits, 1) * wanted;
            Ok(picked.sum_dim(1).squeeze_dim::<1>(1).neg())
        };
        batch.ids.iter().zip(&images).enumerate().map(nll).collect()
    }

    /// The mean of the features of some images, `[1, d_model]`.
    fn mean_of(&self, visual: &VisualInput, first: usize, n: usize) -> Tensor<2> {
        let rows = (first..first + n).map(|image| {
            let k = visual.sequences[image].n_features();
            let all = visual.features.clone().slice([image..image + 1, 0..k]);
            all.reshape([k, self.d_model])
        });
        Tensor::cat(rows.collect(), 0).mean_dim(0)
    }

    /// The embeddings of all ids, `[vocab, d_model]`.
    fn table(&self) -> Tensor<2> {
        tables::waves(Self::VOCAB, self.d_model, &self.device)
    }

    /// The answer's ids where the test decides them, the stop mark left out.
    fn scripted(&self, reading: &Reading, prompt: &[u32]) -> Option<Vec<u32>> {
        let answer = self.answer.as_ref()?;
        let input = FakeInput {
            text: &self.text_of(prompt),
            visual: &reading.visual(),
        };
        Some(tables::ids(&answer(&input)))
    }
}

impl fmt::Debug for FakeVlm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeVlm")
            .field("family", &self.family)
            .field("grid", &self.grid)
            .field("d_descriptor", &self.d_descriptor)
            .field("group", &self.group)
            .field("d_model", &self.d_model)
            .finish_non_exhaustive()
    }
}
