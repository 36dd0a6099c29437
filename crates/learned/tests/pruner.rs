//! The pruner around a head: what is kept, in which order, and what is refused.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use diffprune_learned::{AtpSelectorConfig, Head, LearnedPruner, ScoringHead};
use diffprune_pruner::{Budget, Grid, PruneError, Pruner, PruningContext};
use diffprune_scorer::ScorerConfig;

/// Burn has one random generator per process.
static DRAWING: std::sync::Mutex<()> = std::sync::Mutex::new(());

const GRID: Grid = Grid { rows: 3, cols: 4 };

fn tokens(fill: impl Fn(usize) -> f32) -> Tensor<3> {
    let values: Vec<f32> = (0..2 * 12 * 8).map(fill).collect();
    Tensor::from_data(TensorData::new(values, [2, 12, 8]), &Device::flex())
}

/// One that was never trained, the same at every call.
fn pruner() -> LearnedPruner {
    let _guard = DRAWING.lock();
    let device = Device::flex();
    device.seed(3);
    LearnedPruner::new(ScorerConfig::mini(8).init(&device)).with_name("untrained")
}

#[test]
fn inverted_and_straight_share_out_the_tokens() {
    let context = PruningContext::new(tokens(|i| (i as f32 * 0.7).sin()), GRID, &Budget::Tokens(6)).unwrap();
    let best = pruner().select(&context).unwrap();
    let worst = pruner().inverted().select(&context).unwrap();
    for row in 0..2 {
        let mut all = [best.keep_indices(row), worst.keep_indices(row)].concat();
        all.sort_unstable();
        assert_eq!(all, (0..12).collect::<Vec<_>>());
    }
    assert_eq!(pruner().inverted().name(), "untrained_inverted");
}

#[test]
fn thresholds_decide_on_the_count_below_the_budget() {
    let selector = {
        let _guard = DRAWING.lock();
        let device = Device::flex();
        device.seed(3);
        let selector = AtpSelectorConfig::new(8).init(&device);
        // Values are drawn when they are first read.
        let _ = selector.scores(Tensor::zeros([1, 12, 8], &device), &[], None);
        selector
    };
    let pruner = LearnedPruner::new(Head::Atp(selector));
    let counts = |pruner: &LearnedPruner, budget| {
        let tokens = tokens(|i| (i as f32 * 0.7).sin() * (1.0 + (i / 96) as f32));
        let context = PruningContext::new(tokens, GRID, &budget).unwrap();
        let selection = pruner.select(&context).unwrap();
        [
            selection.keep_indices(0).to_vec(),
            selection.keep_indices(1).to_vec(),
        ]
    };
    let Head::Atp(selector) = pruner.head() else {
        panic!("{:?}", pruner.head().config());
    };
    let free = counts(&pruner, Budget::All);
    let tokens = tokens(|i| (i as f32 * 0.7).sin() * (1.0 + (i / 96) as f32));
    let spatial = selector.spatial(GRID.rows, GRID.cols, &Device::flex());
    let keep: Vec<bool> = selector
        .forward(tokens, spatial, None)
        .keep
        .into_data()
        .iter::<bool>()
        .collect();
    for (row, kept) in free.iter().enumerate() {
        let wanted: Vec<usize> = (0..12).filter(|i| keep[12 * row + i]).collect();
        assert!(!wanted.is_empty() && wanted.len() < 12, "{wanted:?}");
        assert_eq!(*kept, wanted);
    }
    let capped = counts(&pruner, Budget::Tokens(2));
    for (capped, free) in capped.iter().zip(&free) {
        assert!(capped.len() <= 2 && capped.iter().all(|index| free.contains(index)));
    }
    let exact = counts(&pruner.clone().at_budget(), Budget::Tokens(7));
    assert!(exact.iter().all(|row| row.len() == 7));
    let inverted = counts(&pruner.inverted(), Budget::All);
    for (low, high) in inverted.iter().zip(&free) {
        assert_eq!(low.len(), high.len());
    }
}

#[test]
fn padding_is_never_kept_and_does_not_matter() {
    let grids = vec![GRID, Grid { rows: 1, cols: 5 }];
    let mask: Vec<bool> = (0..24).map(|i| i < 12 + 5).collect();
    let mask = Tensor::<2, Bool>::from_data(TensorData::new(mask, [2, 12]), &Device::flex());
    let select = |padding: f32| {
        let tokens = tokens(|i| {
            if i >= (12 + 5) * 8 {
                padding
            } else {
                (i as f32 * 0.3).cos()
            }
        });
        let budget = Budget::rate(2, 5);
        let context = PruningContext::ragged(tokens, Some(mask.clone()), grids.clone(), &budget).unwrap();
        pruner().select(&context).unwrap()
    };
    let (zeros, ones) = (select(0.0), select(1.0));
    assert_eq!(zeros.rows(), ones.rows());
    assert_eq!((zeros.count(0), zeros.count(1)), (5, 2));
    assert!(zeros.keep_indices(1).iter().all(|&index| index < 5));
}

#[test]
fn nan_and_other_widths_are_errors_and_large_budgets_keep_all() {
    let context = PruningContext::new(
        tokens(|i| if i == 100 { f32::NAN } else { 0.5 }),
        GRID,
        &Budget::Tokens(2),
    );
    let error = pruner().select(&context.unwrap()).unwrap_err();
    assert!(matches!(error, PruneError::NotFinite { row: 1, .. }), "{error}");
    let narrow = Tensor::<3>::zeros([1, 12, 4], &Device::flex());
    let error = pruner()
        .select(&PruningContext::new(narrow, GRID, &Budget::All).unwrap())
        .unwrap_err();
    assert!(
        matches!(
            error,
            PruneError::Shape {
                found: 4,
                wanted: 8,
                ..
            }
        ),
        "{error}"
    );
    let context = PruningContext::new(tokens(|i| i as f32), GRID, &Budget::Tokens(99)).unwrap();
    assert_eq!(pruner().select(&context).unwrap().count(0), 12);
}
