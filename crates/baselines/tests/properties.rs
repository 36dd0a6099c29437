//! The contract of every method in the registry, and of pruners made from scores.

use burn::tensor::{Bool, Device, Distribution, Tensor, TensorData};
use diffprune_baselines::{ScoreOrder, Scores, find, registry};
use diffprune_pruner::{Budget, Grid, PruneError, Pruner, PruningContext, Selection};

const GRIDS: [(usize, usize); 6] = [(12, 12), (1, 1), (1, 7), (5, 1), (3, 8), (9, 4)];

/// Every registered method that acts before the language model, and pruners of all score orders.
fn methods() -> Vec<Box<dyn Pruner>> {
    let mut methods: Vec<Box<dyn Pruner>> = registry().iter().map(|baseline| (baseline.init)()).collect();
    methods.retain(|method| method.decoder().is_none());
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

/// Tokens and signals of `b` images, drawn on the device's stream.
struct Images {
    tokens: Tensor<3>,
    attention: Tensor<3>,
    relevance: Tensor<2>,
    grid: Grid,
    ids: Vec<u64>,
}

impl Images {
    fn random(batch: usize, grid: Grid) -> Self {
        let device = Device::flex();
        device.seed(7);
        let n_tokens = grid.n_tokens();
        Self {
            tokens: Tensor::random([batch, n_tokens, 6], Distribution::Normal(0.0, 1.0), &device),
            attention: Tensor::random([batch, 3, n_tokens], Distribution::Uniform(0.0, 1.0), &device),
            relevance: Tensor::random([batch, n_tokens], Distribution::Uniform(0.0, 1.0), &device),
            grid,
            ids: (0..batch as u64).map(|id| 1000 + 17 * id).collect(),
        }
    }

    fn constant(batch: usize, grid: Grid) -> Self {
        let device = Device::flex();
        let mut images = Self::random(batch, grid);
        images.tokens = Tensor::ones(images.tokens.dims(), &device);
        images.attention = Tensor::ones(images.attention.dims(), &device);
        images.relevance = Tensor::ones(images.relevance.dims(), &device);
        images
    }

    fn rows(&self, rows: &[usize]) -> Self {
        let indices = Tensor::from_data(
            TensorData::new(rows.iter().map(|&row| row as i64).collect(), [rows.len()]),
            &Device::flex(),
        );
        Self {
            tokens: self.tokens.clone().select(0, indices.clone()),
            attention: self.attention.clone().select(0, indices.clone()),
            relevance: self.relevance.clone().select(0, indices),
            grid: self.grid,
            ids: rows.iter().map(|&row| self.ids[row]).collect(),
        }
    }

    fn context(&self, budget: Budget) -> PruningContext {
        let mut context = PruningContext::new(self.tokens.clone(), self.grid, &budget).unwrap();
        context.observed.cls_attention = Some(self.attention.clone());
        context.observed.relevance = Some(self.relevance.clone());
        context.sample_ids = self.ids.clone();
        context.seed = 5;
        context
    }

    fn select(&self, method: &dyn Pruner, budget: Budget) -> Selection {
        method
            .select(&self.context(budget))
            .unwrap_or_else(|error| panic!("{}: {error}", method.name()))
    }

    /// Kept indices and kept tokens of each image.
    fn kept(&self, method: &dyn Pruner, budget: Budget) -> Vec<(Vec<usize>, Vec<f32>)> {
        let selection = self.select(method, budget);
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

fn check_counts(images: &Images, method: &dyn Pruner, k: usize) {
    let n_tokens = images.grid.n_tokens();
    let selection = images.select(method, Budget::Tokens(k));
    for row in 0..selection.batch() {
        let kept = selection.keep_indices(row);
        assert_eq!(
            kept.len(),
            k.min(n_tokens),
            "{} k {k} grid {:?}",
            method.name(),
            images.grid
        );
        assert!(
            kept.windows(2).all(|pair| pair[0] < pair[1]),
            "{} ascends",
            method.name()
        );
        assert!(
            kept.iter().all(|&index| index < n_tokens),
            "{} in range",
            method.name()
        );
    }
}

#[test]
fn counts_are_met_in_range_and_ascending() {
    for (rows, cols) in GRIDS {
        let grid = Grid { rows, cols };
        for images in [Images::random(2, grid), Images::constant(2, grid)] {
            for method in methods() {
                for k in [
                    1,
                    2,
                    grid.n_tokens() / 3 + 1,
                    grid.n_tokens(),
                    grid.n_tokens() + 5,
                ] {
                    check_counts(&images, method.as_ref(), k);
                }
            }
        }
    }
}

#[test]
fn a_budget_of_all_keeps_every_token_as_it_is() {
    for (rows, cols) in GRIDS {
        let images = Images::random(1, Grid { rows, cols });
        let all = images.tokens.clone().into_data().try_to_vec::<f32>().unwrap();
        for method in methods() {
            for budget in [Budget::All, Budget::Tokens(10_000)] {
                let (kept, tokens) = images.kept(method.as_ref(), budget).remove(0);
                assert!(kept.into_iter().eq(0..rows * cols), "{}", method.name());
                assert_eq!(tokens, all, "{}", method.name());
            }
        }
    }
}

#[test]
fn an_image_is_chosen_apart_from_its_batch() {
    for (rows, cols) in GRIDS {
        let images = Images::random(3, Grid { rows, cols });
        let budget = Budget::rate(1, 3);
        for method in methods() {
            let together = images.kept(method.as_ref(), budget);
            for (row, expected) in together.iter().enumerate() {
                assert_eq!(
                    images.rows(&[row]).kept(method.as_ref(), budget)[0],
                    *expected,
                    "{} alone",
                    method.name()
                );
            }
            let permuted = images.rows(&[2, 0, 1]).kept(method.as_ref(), budget);
            for (place, row) in [2, 0, 1].into_iter().enumerate() {
                assert_eq!(permuted[place], together[row], "{} permuted", method.name());
            }
        }
    }
}

#[test]
fn seeded_methods_follow_the_seed_and_others_do_not() {
    let images = Images::constant(1, Grid { rows: 12, cols: 12 });
    for baseline in registry() {
        let method = (baseline.init)();
        let kept = |seed| {
            let mut context = images.context(Budget::Tokens(16));
            context.seed = seed;
            method.select(&context).unwrap().keep_indices(0).to_vec()
        };
        assert_eq!(kept(1), kept(1), "{}", baseline.name);
        assert_eq!(kept(1) != kept(2), baseline.seeded, "{}", baseline.name);
    }
}

#[test]
fn ragged_rows_never_keep_padding() {
    let device = Device::flex();
    let images = Images::random(2, Grid { rows: 4, cols: 6 });
    let real: Vec<bool> = (0..48).map(|place| place < 24 || place % 24 < 15).collect();
    let mask = Tensor::<2, Bool>::from_data(TensorData::new(real, [2, 24]), &device);
    let grids = vec![Grid { rows: 4, cols: 6 }, Grid { rows: 5, cols: 3 }];
    for budget in [Budget::Tokens(20), Budget::rate(1, 3), Budget::Tokens(1)] {
        let mut context =
            PruningContext::ragged(images.tokens.clone(), Some(mask.clone()), grids.clone(), &budget)
                .unwrap();
        context.observed.cls_attention = Some(images.attention.clone());
        context.observed.relevance = Some(images.relevance.clone());
        for method in methods() {
            let selection = method.select(&context).unwrap();
            for row in 0..2 {
                assert_eq!(selection.count(row), context.budget(row), "{}", method.name());
                let last = selection.keep_indices(row).last().copied().unwrap();
                assert!(last < context.n_tokens(row), "{}", method.name());
            }
        }
    }
}

#[test]
fn scores_that_are_not_finite_are_a_typed_error() {
    let grid = Grid { rows: 3, cols: 4 };
    for bad in [f32::NAN, f32::INFINITY] {
        let mut images = Images::random(2, grid);
        images.attention = images.attention.slice_fill([1..2, 0..1, 5..6], bad);
        images.relevance = images.relevance.slice_fill([1..2, 5..6], bad);
        images.tokens = images.tokens.slice_fill([1..2, 5..6, 0..1], bad);
        let context = images.context(Budget::Tokens(4));
        for method in methods() {
            let scored = [
                "cls-attention",
                "oracle-keep",
                "oracle-drop",
                "high",
                "low",
                "shuffled",
            ]
            .contains(&method.name());
            match method.select(&context) {
                Err(PruneError::NotFinite { row, .. }) => assert!(scored && row == 1, "{}", method.name()),
                result => assert!(!scored && result.is_ok(), "{}", method.name()),
            }
        }
    }
}

#[test]
fn missing_signals_are_named() {
    let tokens = Tensor::zeros([1, 4, 2], &Device::flex());
    let context = PruningContext::new(tokens, Grid { rows: 2, cols: 2 }, &Budget::Tokens(2)).unwrap();
    for (name, signal) in [
        ("cls-attention", "[CLS]"),
        ("oracle-keep", "relevance"),
        ("oracle-drop", "relevance"),
    ] {
        let error = find(name).unwrap().select(&context).unwrap_err();
        assert!(
            error.to_string().contains(signal) && error.to_string().contains(name),
            "{error}"
        );
    }
}

#[test]
fn names_are_unique_and_found() {
    for baseline in registry() {
        assert_eq!(find(baseline.name).unwrap().name(), baseline.name);
        assert_eq!(
            registry()
                .iter()
                .filter(|other| other.name == baseline.name)
                .count(),
            1
        );
    }
    assert!(find("no-such-method").is_none());
}

#[test]
fn inverted_scores_keep_what_scores_drop() {
    let images = Images::random(1, Grid { rows: 4, cols: 4 });
    let methods = methods();
    let by_name = |name: &str| methods.iter().find(|method| method.name() == name).unwrap();
    let high = images.kept(by_name("high").as_ref(), Budget::Tokens(8))[0]
        .0
        .clone();
    let low = images.kept(by_name("low").as_ref(), Budget::Tokens(8))[0]
        .0
        .clone();
    assert!((0..16).all(|index| high.contains(&index) != low.contains(&index)));
}
