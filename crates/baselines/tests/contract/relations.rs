//! Relations between methods, and between budgets of one method.

use burn::tensor::Tensor;
use diffprune_baselines::pre_llm::visionzip::VisionZip;
use diffprune_baselines::{
    ClsAttention, Encoder, Fidelity, Hired, HoloV, PruMerge, Shuffled, VisPruner, find, find_for, registry,
};
use diffprune_pruner::{Budget, Grid, PositionRule, Pruner};

use crate::common::next_layout;
use crate::images::{Images, methods};

fn kept(images: &Images, method: &dyn Pruner, k: usize) -> Vec<usize> {
    images.kept(method, Budget::Tokens(k)).remove(0).0
}

#[test]
fn greedy_methods_are_nested() {
    let images = Images::random(1, Grid { rows: 6, cols: 7 });
    for name in ["divprune", "cdpruner", "id-selection", "random"] {
        let method = find(name).unwrap();
        let mut smaller = Vec::new();
        for k in 1..=42 {
            let larger = kept(&images, method.as_ref(), k);
            assert!(smaller.iter().all(|token| larger.contains(token)), "{name} k {k}");
            smaller = larger;
        }
    }
}

#[test]
fn methods_that_rank_alike_keep_the_same() {
    for images in [
        Images::random(1, Grid { rows: 8, cols: 9 }),
        Images::constant(1, Grid { rows: 8, cols: 9 }),
    ] {
        for k in [1, 2, 9, 32, 70] {
            let wanted = kept(&images, &ClsAttention, k);
            for name in ["fastervlm", "hired"] {
                assert_eq!(
                    kept(&images, find(name).unwrap().as_ref(), k),
                    wanted,
                    "{name} k {k}"
                );
            }
            let important = VisPruner {
                important_ratio: 1.0,
                ..VisPruner::default()
            };
            assert_eq!(kept(&images, &important, k), wanted, "vispruner k {k}");
            // One token more, which is [CLS].
            let dominant = VisionZip {
                contextual: Some(0),
                ..VisionZip::default()
            };
            let found = kept(&images, &dominant, k + 1);
            assert_eq!(found[1..], wanted, "visionzip k {k}");
        }
    }
}

#[test]
fn crops_get_equal_shares_where_the_authors_split() {
    let layout = next_layout(Grid { rows: 2, cols: 2 }, 6, 100, 100);
    let images = Images::random(1, layout.clone());
    for name in ["fastervlm", "vispruner", "cdpruner", "tome"] {
        let kept = kept(&images, find(name).unwrap().as_ref(), 40);
        for view in &layout.views {
            let of_view = kept
                .iter()
                .filter(|&&token| view.tokens.contains(&Some(token)))
                .count();
            assert_eq!(of_view, 8, "{name}");
        }
    }
}

#[test]
fn crops_with_class_rows_are_packed_as_published() {
    let layout = next_layout(Grid { rows: 2, cols: 2 }, 6, 100, 100);
    let images = Images::random(1, layout.clone());
    // Eight rows per crop: [CLS] and seven patches, or six and one contextual token.
    for (name, n_patches, n_contextual) in [("prunesid", 7, 0), ("visionzip", 6, 1)] {
        let (kept, tokens) = images
            .kept(find(name).unwrap().as_ref(), Budget::Tokens(40))
            .remove(0);
        let (whole, tiles) = kept.split_at(8);
        assert!(whole.iter().all(|&token| token < 36), "{name}");
        let (patches, rest) = tiles.split_at(4 * n_patches);
        assert!(
            patches.windows(2).all(|pair| pair[0] < pair[1]),
            "{name}: raster order"
        );
        let (classes, contextual) = rest.split_at(4);
        let first_tokens: Vec<usize> = layout.views[1..]
            .iter()
            .filter_map(|view| view.tokens[0])
            .collect();
        assert_eq!(classes, first_tokens, "{name}");
        assert_eq!(contextual.len(), 4 * n_contextual, "{name}");
        for (tile, &token) in contextual.iter().enumerate() {
            assert!(layout.views[tile + 1].tokens.contains(&Some(token)), "{name}");
        }
        let wanted = images.classes.clone().into_data().try_to_vec::<f32>().unwrap();
        let found = |row: usize| &tokens[row * 6..(row + 1) * 6];
        for view in 0..5 {
            let row = if view == 0 {
                0
            } else {
                8 + 4 * n_patches + view - 1
            };
            assert_eq!(
                found(row),
                &wanted[view * 6..(view + 1) * 6],
                "{name}: [CLS] of crop {view}"
            );
        }
    }
}

#[test]
fn hired_counts_cells_by_run_or_by_tile() {
    let layout = next_layout(Grid { rows: 2, cols: 2 }, 4, 100, 100);
    let mut images = Images::random(1, layout.clone());
    // The first layer looks at the left half of the whole image.
    let ahead: Vec<f32> = (0..80)
        .map(|i| if i < 16 && i % 4 < 2 { 1.0 } else { 0.0 })
        .collect();
    let ahead = Tensor::<1>::from_floats(ahead.as_slice(), &images.tokens.device()).reshape([1, 1, 80]);
    images.attention[0] = ahead.expand([1, 3, 80]);
    let of_views = |fidelity| {
        let method = Hired {
            fidelity,
            ..Hired::default()
        };
        let kept = kept(&images, &method, 32);
        let count =
            |view: &diffprune_pruner::View| kept.iter().filter(|&&t| view.tokens.contains(&Some(t))).count();
        layout.views.iter().map(count).collect::<Vec<_>>()
    };
    assert_eq!(of_views(Fidelity::Reference), [16, 4, 4, 4, 4]);
    assert_eq!(of_views(Fidelity::Corrected), [16, 8, 0, 8, 0]);
}

#[test]
fn corrected_methods_hold_what_the_paper_says() {
    let images = Images::constant(1, Grid { rows: 6, cols: 6 });
    let all_ones = |method: &dyn Pruner| {
        let (_, tokens) = images.kept(method, Budget::Tokens(12)).remove(0);
        tokens.iter().all(|x| (x - 1.0).abs() < 1e-5)
    };
    // Means of equal tokens are those tokens; sums are not.
    for (fidelity, wanted) in [(Fidelity::Corrected, true), (Fidelity::Reference, false)] {
        let zip = VisionZip {
            fidelity,
            ..VisionZip::default()
        };
        assert_eq!(all_ones(&zip), wanted, "visionzip {fidelity}");
        for plus in [false, true] {
            let merge = PruMerge {
                fidelity,
                ..PruMerge::new(plus)
            };
            assert_eq!(all_ones(&merge), wanted, "prumerge {fidelity}");
        }
    }
    // All attention in one run: the code pads with zeros, the correction hands the tokens on.
    let mut images = Images::random(1, Grid { rows: 6, cols: 6 });
    let peak: Vec<f32> = (0..36).map(|i| if i < 4 { 1.0 } else { 1e-6 }).collect();
    let peak = Tensor::<1>::from_floats(peak.as_slice(), &images.tokens.device()).reshape([1, 1, 36]);
    images.attention[1] = peak.expand([1, 3, 36]);
    for (fidelity, wanted) in [(Fidelity::Corrected, 0), (Fidelity::Reference, 8)] {
        let method = HoloV {
            fidelity,
            runs: Some(9),
            ..HoloV::default()
        };
        let (_, tokens) = images.kept(&method, Budget::Tokens(12)).remove(0);
        let zeros = tokens
            .chunks_exact(4)
            .filter(|token| token.iter().all(|&x| x == 0.0))
            .count();
        assert_eq!(zeros, wanted, "holov {fidelity}");
    }
}

#[test]
fn scores_in_window_order_are_those_of_other_tokens() {
    let images = Images::random(1, Grid { rows: 8, cols: 8 }).without_class();
    let kept_with = |alignment| {
        let method = HoloV {
            alignment,
            ..HoloV::without_class()
        };
        kept(&images, &method, 16)
    };
    let mut aligned = kept_with(Fidelity::Corrected);
    let mut shifted = kept_with(Fidelity::Reference);
    aligned.sort_unstable();
    shifted.sort_unstable();
    assert_ne!(aligned, shifted);
}

#[test]
fn shuffled_scores_keep_as_many_of_other_tokens() {
    let images = Images::random(1, Grid { rows: 12, cols: 12 });
    for name in ["fastervlm", "hired", "oracle-keep", "id-selection"] {
        let plain = kept(&images, find(name).unwrap().as_ref(), 16);
        let method: Box<dyn Pruner> = match name {
            "hired" => Box::new(Shuffled::new(Hired::default())),
            "fastervlm" => Box::new(Shuffled::new(diffprune_baselines::FasterVlm::default())),
            "oracle-keep" => Box::new(Shuffled::new(diffprune_baselines::OracleKeep)),
            _ => Box::new(Shuffled::new(diffprune_baselines::IdSelection::default())),
        };
        assert_eq!(method.name(), format!("{name}-shuffled"));
        let control = kept(&images, method.as_ref(), 16);
        assert_eq!(control.len(), 16);
        assert_ne!(control, plain, "{name}");
    }
}

#[test]
fn positions_are_those_of_the_published_code() {
    for (name, rule) in [
        ("fastervlm", PositionRule::Reindex),
        ("holov", PositionRule::Reindex),
        ("holov-qwen", PositionRule::Keep),
        ("prunesid", PositionRule::Reindex),
        ("prunesid-qwen", PositionRule::Keep),
        ("visionzip", PositionRule::Reindex),
        ("visionzip-qwen", PositionRule::Keep),
        ("prumerge-qwen", PositionRule::Keep),
        ("prumerge-plus-qwen", PositionRule::Keep),
        ("random", PositionRule::Keep),
    ] {
        assert_eq!(find(name).unwrap().positions(), rule, "{name}");
    }
}

#[test]
fn inverted_scores_keep_what_scores_drop() {
    let images = Images::random(1, Grid { rows: 4, cols: 4 });
    let methods = methods();
    let by_name = |name: &str| methods.iter().find(|method| method.name() == name).unwrap();
    let high = kept(&images, by_name("high").as_ref(), 8);
    let low = kept(&images, by_name("low").as_ref(), 8);
    assert!((0..16).all(|index| high.contains(&index) != low.contains(&index)));
}

#[test]
fn one_name_finds_the_form_for_the_encoder() {
    let name = |name: &str, encoder| find_for(name, encoder).map(|method| method.name().to_string());
    for baseline in registry() {
        for encoder in [Encoder::WithClass, Encoder::WithoutClass] {
            let forms = || registry().iter().filter(|other| other.method == baseline.method);
            assert_eq!(
                forms().filter(|form| form.is_for(encoder)).count(),
                1,
                "{}",
                baseline.name
            );
            let found = name(baseline.name, encoder).unwrap();
            let form = registry().iter().find(|other| other.name == found).unwrap();
            assert_eq!(form.method, baseline.method);
            assert!(form.is_for(encoder) || form.name == baseline.name, "{found}");
        }
    }
    assert_eq!(
        name("visionzip", Encoder::WithoutClass).as_deref(),
        Some("visionzip-qwen")
    );
    assert_eq!(
        name("visionzip", Encoder::WithClass).as_deref(),
        Some("visionzip")
    );
    assert_eq!(
        name("visionzip-qwen", Encoder::WithClass).as_deref(),
        Some("visionzip-qwen")
    );
    assert!(name("none-of-these", Encoder::WithClass).is_none());
}
