//! Images with every signal, drawn on the device's stream.

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffprune_baselines::{Baseline, ScoreOrder, Scores, registry};
use diffprune_pruner::{
    Budget, Keys, Layout, PruneError, Pruner, PruningContext, Selection, Space, WideAttention,
};
use diffprune_test_support::{normal, uniform};

/// The registered methods that choose before the language model; the law of the others is in `tests/in_llm`.
pub fn early() -> impl Iterator<Item = &'static Baseline> {
    registry()
        .iter()
        .filter(|baseline| (baseline.init)().decoder().is_none())
}

/// Every method that chooses before the language model, and pruners of all score orders.
pub fn methods() -> Vec<Box<dyn Pruner>> {
    let mut methods: Vec<Box<dyn Pruner>> = early().map(|baseline| (baseline.init)()).collect();
    for (name, order) in [
        ("high", ScoreOrder::Highest),
        ("low", ScoreOrder::Lowest),
        ("shuffled", ScoreOrder::Shuffled),
    ] {
        let score = |context: &PruningContext| Ok(context.tokens.clone().sum_dim(2).squeeze_dim::<2>(2));
        methods.push(Box::new(Scores::new(name, order, score)));
    }
    methods
}

/// The name without what says that the method follows the paper: it reads the same.
pub fn plain(name: &str) -> String {
    name.replace("-corrected", "")
}

/// Names of the signals, as the fields of `Observed`, and the tokens.
pub const SIGNALS: [&str; 10] = [
    "tokens",
    "cls_attention",
    "first_cls_attention",
    "class_tokens",
    "keys",
    "wide_attention",
    "received_attention",
    "projected",
    "text_relevance",
    "relevance",
];

/// Tokens and signals of a batch of images that share a layout.
#[derive(Clone)]
pub struct Images {
    pub tokens: Tensor<3>,
    /// Width 4; the language model's side.
    pub projected: Tensor<3>,
    pub keys: Tensor<3>,
    pub wide_keys: Tensor<3>,
    pub classes: Tensor<3>,
    /// First and last layer, `[b, 3, n]`.
    pub attention: [Tensor<3>; 2],
    /// Full width, received, question, annotation, `[b, n]`.
    pub scores: [Tensor<2>; 4],
    pub layout: Layout,
    pub ids: Vec<u64>,
    /// `true` if the encoder has `[CLS]`.
    pub has_class: bool,
}

impl Images {
    pub fn random(batch: usize, layout: impl Into<Layout>) -> Self {
        let layout = layout.into();
        let n = layout.n_tokens();
        let seeds = std::cell::Cell::new(0);
        let seed = || seeds.replace(seeds.get() + 1);
        let normal = |rows: usize, width: usize| normal::<3>(seed(), [batch, rows, width]);
        let rows = |heads: usize| uniform::<3>(seed(), [batch, heads, n]);
        let scores = || rows(1).squeeze_dim::<2>(1);
        Self {
            tokens: normal(n, 6),
            projected: normal(n, 4),
            keys: normal(n, 5),
            wide_keys: normal(n, 6),
            classes: normal(layout.views.len(), 6),
            attention: [rows(3), rows(3)],
            scores: [scores(), scores(), scores(), scores()],
            ids: (0..batch as u64).map(|id| 1000 + 17 * id).collect(),
            layout,
            has_class: true,
        }
    }

    /// All tokens and all signals of an image alike.
    pub fn constant(batch: usize, layout: impl Into<Layout>) -> Self {
        Self::random(batch, layout).map(|x| x.ones_like(), |x| x.ones_like())
    }

    /// The same from an encoder without `[CLS]`.
    pub fn without_class(mut self) -> Self {
        self.has_class = false;
        self
    }

    fn map(self, wide: impl Fn(Tensor<3>) -> Tensor<3>, flat: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        Self {
            tokens: wide(self.tokens),
            projected: wide(self.projected),
            keys: wide(self.keys),
            wide_keys: wide(self.wide_keys),
            classes: wide(self.classes),
            attention: self.attention.map(wide),
            scores: self.scores.map(flat),
            ..self
        }
    }

    /// These images of the batch, in this order.
    pub fn rows(&self, rows: &[usize]) -> Self {
        let indices = rows.iter().map(|&row| row as i64).collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [rows.len()]), &Device::flex());
        let mut images = self
            .clone()
            .map(|x| x.select(0, indices.clone()), |x| x.select(0, indices.clone()));
        images.ids = rows.iter().map(|&row| self.ids[row]).collect();
        images
    }

    /// The same with one number of one signal replaced, in image `row`.
    pub fn spoilt(&self, signal: &str, row: usize, bad: f32) -> Self {
        let mut images = self.clone();
        let wide = |x: &mut Tensor<3>| *x = x.clone().slice_fill([row..row + 1, 0..1, 0..1], bad);
        let flat = |x: &mut Tensor<2>| *x = x.clone().slice_fill([row..row + 1, 0..1], bad);
        match signal {
            "tokens" => wide(&mut images.tokens),
            "cls_attention" => wide(&mut images.attention[1]),
            "first_cls_attention" => wide(&mut images.attention[0]),
            "class_tokens" => wide(&mut images.classes),
            "keys" => wide(&mut images.keys),
            "wide_attention" => wide(&mut images.wide_keys),
            "projected" => wide(&mut images.projected),
            "received_attention" => flat(&mut images.scores[1]),
            "text_relevance" => flat(&mut images.scores[2]),
            "relevance" => flat(&mut images.scores[3]),
            other => panic!("no signal {other}"),
        }
        images
    }

    /// Hands every signal to a context.
    pub fn observe(&self, context: &mut PruningContext) {
        let observed = &mut context.observed;
        let [wide, received, question, annotation] = self.scores.clone();
        if self.has_class {
            let [first, last] = self.attention.clone();
            observed.cls_attention = Some(last);
            observed.first_cls_attention = Some(first);
            observed.class_tokens = Some(self.classes.clone());
            observed.wide_attention = Some(WideAttention {
                cls: wide,
                keys: self.wide_keys.clone(),
            });
        }
        observed.keys = Some(Keys {
            tokens: self.keys.clone(),
            class: None,
        });
        observed.received_attention = Some(received);
        observed.projected = Some(self.projected.clone());
        observed.text_relevance = Some(question);
        observed.relevance = Some(annotation);
        context.sample_ids = self.ids.clone();
        context.seed = 5;
    }

    pub fn context(&self, budget: Budget) -> PruningContext {
        let mut context = PruningContext::new(self.tokens.clone(), self.layout.clone(), &budget).unwrap();
        self.observe(&mut context);
        context
    }

    /// The answer; `None` when the encoder lacks the `[CLS]` that the method cannot do without.
    pub fn select(&self, method: &dyn Pruner, budget: Budget) -> Option<Selection> {
        let needs_class = match plain(method.name()).as_str() {
            "cls-attention" | "cls-attention-shuffled" | "prunesid" => true,
            "hired" => self.layout.views.len() > 1,
            _ => false,
        };
        match method.select(&self.context(budget)) {
            Ok(selection) => {
                assert!(self.has_class || !needs_class, "{}", method.name());
                Some(selection)
            }
            Err(PruneError::MissingSignal { .. }) if !self.has_class && needs_class => None,
            Err(error) => panic!("{}: {error}", method.name()),
        }
    }

    /// All tokens of an image, on the side of the projector that the answer is on.
    pub fn all(&self, space: Space) -> Tensor<3> {
        match space {
            Space::Vision => self.tokens.clone(),
            Space::Language => self.projected.clone(),
        }
    }

    /// Kept indices and kept tokens of each image.
    pub fn kept(&self, method: &dyn Pruner, budget: Budget) -> Vec<(Vec<usize>, Vec<f32>)> {
        let Some(selection) = self.select(method, budget) else {
            return Vec::new();
        };
        let tokens = selection.gather(self.tokens.clone());
        let row = |row: usize| {
            let kept = tokens.clone().slice([row..row + 1, 0..selection.count(row)]);
            (
                selection.keep_indices(row).to_vec(),
                kept.into_data().try_to_vec::<f32>().unwrap(),
            )
        };
        (0..selection.batch()).map(row).collect()
    }
}
