//! The contract of every method in the registry, and of pruners made from scores.

#[path = "../common/mod.rs"]
mod common;
mod errors;
mod images;
mod relations;

use burn::tensor::{Bool, Device, Tensor, TensorData};
use common::next_layout;
use diffprune_baselines::{find, registry, table};
use diffprune_pruner::{Budget, Grid, Layout, Pruner, PruningContext};
use images::{Images, early, methods, plain};

const GRIDS: [(usize, usize); 6] = [(12, 12), (1, 1), (1, 7), (5, 1), (3, 8), (9, 4)];

/// One raster of each shape, and images of several crops: square, wide (padded above and below) and tall.
fn layouts() -> Vec<Layout> {
    let one = GRIDS.map(|(rows, cols)| Layout::from(Grid { rows, cols }));
    let tiles = |rows, cols| Grid { rows, cols };
    let several = [
        next_layout(tiles(2, 2), 4, 100, 100),
        next_layout(tiles(2, 2), 4, 50, 90),
        next_layout(tiles(1, 3), 3, 100, 310),
        next_layout(tiles(3, 1), 3, 400, 90),
    ];
    one.into_iter().chain(several).collect()
}

/// Images of a layout that the methods have to cope with.
fn kinds(layout: &Layout) -> Vec<Images> {
    vec![
        Images::random(2, layout.clone()),
        Images::constant(2, layout.clone()),
        Images::random(2, layout.clone()).without_class(),
    ]
}

fn check_counts(images: &Images, method: &dyn Pruner, k: usize) {
    let n_tokens = images.layout.n_tokens();
    let Some(selection) = images.select(method, Budget::Tokens(k)) else {
        return;
    };
    let name = method.name();
    let several = images.layout.views.len() > 1;
    for row in 0..selection.batch() {
        let kept = selection.keep_indices(row);
        let wanted = k.min(n_tokens);
        if plain(name) == "hired" && several && k < n_tokens {
            // Its shares are cut to whole numbers.
            assert!(kept.len() <= wanted, "{name} k {k}: {}", kept.len());
        } else {
            assert_eq!(kept.len(), wanted, "{name} k {k} {:?}", images.layout.segments);
        }
        assert!(kept.iter().all(|&index| index < n_tokens), "{name} in range");
        if !selection.is_merged() {
            assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "{name} ascends");
        }
    }
    let tokens = selection.gather(images.tokens.clone()).into_data();
    assert!(tokens.iter::<f32>().all(f32::is_finite), "{name} finite");
}

#[test]
fn counts_are_met_in_range_and_in_order() {
    for layout in layouts() {
        let n_tokens = layout.n_tokens();
        for images in kinds(&layout) {
            for method in methods() {
                for k in [
                    1,
                    2,
                    3,
                    5,
                    n_tokens / 3 + 1,
                    n_tokens.max(2) - 1,
                    n_tokens,
                    n_tokens + 5,
                ] {
                    check_counts(&images, method.as_ref(), k);
                }
            }
        }
    }
}

#[test]
fn a_budget_of_all_keeps_every_token_as_it_is() {
    for layout in layouts() {
        let images = Images::random(1, layout.clone());
        for method in methods() {
            for budget in [Budget::All, Budget::Tokens(10_000)] {
                let space = images.select(method.as_ref(), budget).unwrap().space();
                let all = images.all(space).into_data().try_to_vec::<f32>().unwrap();
                let (kept, tokens) = images.kept(method.as_ref(), budget).remove(0);
                assert!(kept.into_iter().eq(0..layout.n_tokens()), "{}", method.name());
                assert_eq!(tokens, all, "{}", method.name());
            }
        }
    }
}

#[test]
fn an_image_is_chosen_apart_from_its_batch() {
    for layout in layouts() {
        for images in [
            Images::random(3, layout.clone()),
            Images::random(3, layout.clone()).without_class(),
        ] {
            let budget = Budget::rate(1, 3);
            for method in methods() {
                let together = images.kept(method.as_ref(), budget);
                for (row, expected) in together.iter().enumerate() {
                    let alone = images.rows(&[row]).kept(method.as_ref(), budget).remove(0);
                    assert_eq!(alone, *expected, "{} alone", method.name());
                }
                let order = [2, 0, 1];
                let permuted = images.rows(&order).kept(method.as_ref(), budget);
                for (found, row) in permuted.iter().zip(order) {
                    assert_eq!(*found, together[row], "{} permuted", method.name());
                }
            }
        }
    }
}

#[test]
fn seeded_methods_follow_the_seed_and_others_do_not() {
    let layout = Layout::from(Grid { rows: 12, cols: 12 });
    for images in [Images::constant(1, layout.clone()), Images::random(1, layout)] {
        for baseline in early() {
            let method = (baseline.init)();
            let kept = |seed| {
                let mut context = images.context(Budget::Tokens(16));
                context.seed = seed;
                method.select(&context).unwrap().keep_indices(0).to_vec()
            };
            assert_eq!(kept(1), kept(1), "{}", baseline.name);
            assert!(baseline.seeded || kept(1) == kept(2), "{}", baseline.name);
        }
    }
}

#[test]
fn what_the_registry_says_of_a_method_is_true() {
    let images = Images::random(1, Grid { rows: 12, cols: 12 });
    for baseline in early() {
        let method = (baseline.init)();
        let budget = Budget::Tokens(16);
        let kept = |images: &Images, seed| {
            let mut context = images.context(budget);
            context.seed = seed;
            method.select(&context).unwrap().rows().to_vec()
        };
        let several_seeds = (0..20).map(|seed| kept(&images, seed));
        let varies = several_seeds.collect::<std::collections::HashSet<_>>().len() > 1;
        let ties = Images::constant(1, images.layout.clone());
        let varies_in_ties = kept(&ties, 1) != kept(&ties, 2);
        assert_eq!(
            varies || varies_in_ties,
            baseline.seeded,
            "{}: seeded",
            baseline.name
        );
        let mut asked = images.clone();
        asked.scores[2] = asked.scores[2].clone().flip([1]);
        assert_eq!(
            kept(&images, 1) != kept(&asked, 1),
            baseline.text_aware,
            "{}: question",
            baseline.name
        );
        let (indices, tokens) = images.kept(method.as_ref(), budget).remove(0);
        let space = images.select(method.as_ref(), budget).unwrap().space();
        let all = images.all(space);
        let width = all.dims()[2];
        let all = all.into_data().try_to_vec::<f32>().unwrap();
        let is_input = |token: &[f32]| all.chunks_exact(width).any(|input| input == token);
        let class = images.classes.clone().into_data().try_to_vec::<f32>().unwrap();
        let made = tokens
            .chunks_exact(width)
            .any(|token| token.iter().any(|&x| x != 0.0) && !is_input(token) && *token != class[..]);
        assert_eq!(indices.len(), 16);
        assert_eq!(made, baseline.merges, "{}: merges", baseline.name);
    }
}

#[test]
fn ragged_rows_never_keep_padding() {
    let device = Device::flex();
    // Padding may hold anything.
    let mut images = Images::random(2, Grid { rows: 4, cols: 6 });
    images.tokens = images.tokens.slice_fill([1..2, 15..24, 0..6], f32::NAN);
    images.projected = images.projected.slice_fill([1..2, 15..24, 0..4], f32::NAN);
    let real: Vec<bool> = (0..48).map(|place| place < 24 || place % 24 < 15).collect();
    let mask = Tensor::<2, Bool>::from_data(TensorData::new(real, [2, 24]), &device);
    let grids = vec![Grid { rows: 4, cols: 6 }, Grid { rows: 5, cols: 3 }];
    for budget in [Budget::Tokens(20), Budget::rate(1, 3), Budget::Tokens(1)] {
        let mut context =
            PruningContext::ragged(images.tokens.clone(), Some(mask.clone()), grids.clone(), &budget)
                .unwrap();
        images.observe(&mut context);
        for method in methods() {
            let selection = method.select(&context).unwrap();
            for row in 0..2 {
                assert_eq!(selection.count(row), context.budget(row), "{}", method.name());
                let most = selection.keep_indices(row).iter().max().unwrap();
                assert!(*most < context.n_tokens(row), "{}", method.name());
            }
            let kept = selection
                .gather(images.tokens.clone())
                .slice([1..2, 0..context.budget(1)]);
            let finite = kept.into_data().iter::<f32>().all(f32::is_finite);
            assert!(finite, "{}", method.name());
        }
    }
}

#[test]
fn names_are_unique_and_found() {
    for baseline in registry() {
        assert_eq!(find(baseline.name).unwrap().name(), baseline.name);
        let same = registry().iter().filter(|other| other.name == baseline.name);
        assert_eq!(same.count(), 1);
    }
    assert!(find("no-such-method").is_none());
}

#[test]
fn the_table_in_the_book_is_the_registry() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/baselines.md");
    let text = std::fs::read_to_string(page).unwrap();
    assert!(
        text.contains(&table()),
        "{page} does not hold this table; put it there:\n{}",
        table()
    );
}
