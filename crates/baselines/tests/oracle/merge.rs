//! Methods that merge, or that have an order of their own.

use burn::tensor::Device;
use diffprune_baselines::pre_llm::prumerge::{self, Centres};
use diffprune_baselines::pre_llm::{holov, tome};
use diffprune_baselines::{CropTokens, HoloV, PruMerge, ToMe, VisionZip, pack_crops};
use diffprune_pruner::{Grid, Keys, WideAttention};
use serde_json::Value;

use crate::case::{Case, answer, batch, context, list, scores, without_first};
use crate::common::next_layout;
use crate::keep::line;

fn number(value: &Value, name: &str) -> usize {
    value[name].as_u64().unwrap_or_else(|| panic!("no number {name}")) as usize
}

pub fn tome(case: &Case) {
    if case.has("metric") {
        tome_step(case);
    } else if case.has("features") {
        tome_to_k(case);
    } else {
        tome_schedule(case);
    }
}

fn tome_schedule(case: &Case) {
    for setting in list(&case.meta["cases"]) {
        let numbers = |name: &str| -> Vec<usize> {
            list(&setting[name])
                .iter()
                .map(|x| x.as_u64().unwrap() as usize)
                .collect()
        };
        let n_layers = number(setting, "layers");
        let found = if setting["r_list"].is_array() {
            tome::padded(&numbers("r_list"), n_layers)
        } else {
            tome::schedule(
                n_layers,
                number(setting, "r"),
                setting["inflection"].as_f64().unwrap(),
            )
        };
        assert_eq!(found, numbers("expected"), "{}: {setting}", case.name);
    }
}

fn tome_step(case: &Case) {
    let state = tome::State {
        sizes: case.vector("size"),
        ..tome::State::new(case.matrix("x"))
    };
    let class_token = case.param("class_token").as_bool().unwrap();
    let matching = tome::matching(
        &case.matrix("metric"),
        case.number("r"),
        class_token,
        &Device::flex(),
    );
    case.assert_indices("assign", &matching.assignment(state.sizes.len()));
    let merged = tome::merge(&state, &matching);
    case.assert_close("out_x", merged.tokens.values());
    case.assert_close("out_size", &merged.sizes);
}

fn tome_to_k(case: &Case) {
    let features = case.matrix("features");
    for k in case.budgets() {
        let (selection, tokens) = answer(&ToMe::default(), &context(&features, line(features.n_rows()), k));
        case.assert_close(&format!("k{k}.out_x"), &tokens);
        let assign = case.indices(&format!("k{k}.assign"));
        for (row, &place) in selection.keep_indices(0).iter().enumerate() {
            assert_eq!(
                assign[place], row,
                "{}: a token stands where one of its patches does",
                case.name
            );
        }
        let state = tome::reduce(features.clone(), k, &Device::flex());
        case.assert_close(&format!("k{k}.out_size"), &state.sizes);
    }
}

pub fn visionzip(case: &Case) {
    if case.has("kept_rows") {
        return packing(case);
    }
    let (hidden, keys) = (case.matrix("hidden"), case.matrix("key_metric"));
    let attention = case.heads("cls_attention");
    for setting in case.cases() {
        let (dominant, contextual) = (number(setting, "dominant"), number(setting, "contextual"));
        let label = format!("d{dominant}_c{contextual}");
        let tokens = without_first(&hidden);
        let mut context = context(&tokens, line(tokens.n_rows()), dominant + contextual);
        context.observed.cls_attention = Some(batch(&attention));
        context.observed.class_tokens = Some(batch(&hidden.select(&[0])));
        context.observed.keys = Some(Keys {
            tokens: batch(&without_first(&keys)),
            class: Some(batch(&keys.select(&[0]))),
        });
        let method = VisionZip {
            contextual: Some(contextual),
            ..VisionZip::default()
        };
        let (selection, tokens) = answer(&method, &context);
        case.assert_close(&format!("{label}.tokens"), &tokens);
        let rows: Vec<usize> = selection.keep_indices(0)[1..dominant]
            .iter()
            .map(|patch| patch + 1)
            .collect();
        let rows: Vec<usize> = std::iter::once(0).chain(rows).collect();
        case.assert_indices(&format!("{label}.dominant"), &rows);
    }
}

/// The order of the crops of an image, in VisionZip and in PruneSID.
fn packing(case: &Case) {
    let tiles = Grid {
        rows: case.number("grid_height_crops"),
        cols: case.number("grid_width_crops"),
    };
    let (n_dominant, n_contextual) = (case.number("dominant"), case.number("contextual"));
    let rows = case.indices("kept_rows");
    let side = 24;
    let layout = next_layout(tiles, side, 336 * tiles.rows, 336 * tiles.cols);
    for (label, n_contextual) in [("vz", n_contextual), ("ps", 0)] {
        let nothing = CropTokens {
            class: None,
            patches: Vec::new(),
            contextual: Vec::new(),
        };
        let tile = |(tile, kept): (usize, &[usize])| {
            let mut patches: Vec<usize> = kept[1..].to_vec();
            patches.sort_unstable();
            let patch = |(nth, row): (usize, &usize)| {
                let index = layout.views[tile + 1].tokens[row - 1].unwrap();
                (index, (tile, nth + 1))
            };
            CropTokens {
                class: Some((tile, 0)),
                patches: patches.iter().enumerate().map(patch).collect(),
                contextual: (n_dominant..n_dominant + n_contextual)
                    .map(|row| (tile, row))
                    .collect(),
            }
        };
        let crops = rows.chunks_exact(n_dominant).enumerate().map(tile);
        let packed = pack_crops(std::iter::once(nothing).chain(crops));
        let (crop, row): (Vec<usize>, Vec<usize>) = packed.into_iter().unzip();
        case.assert_indices(&format!("{label}_crop"), &crop);
        case.assert_indices(&format!("{label}_row"), &row);
    }
}

pub fn holov(case: &Case) {
    let (features, attention) = (case.matrix("features"), case.vector("attention"));
    let alpha = case.param("alpha").as_f64().unwrap() as f32;
    let n_tokens = features.n_rows();
    for setting in case.cases() {
        let (n_runs, k) = (number(setting, "num_patches"), number(setting, "K"));
        let label = format!("p{n_runs}_k{k}");
        let method = HoloV {
            alpha,
            runs: Some(n_runs),
            ..HoloV::default()
        };
        let mut context = context(&features, line(n_tokens), k);
        context.observed.received_attention = Some(scores(&attention));
        context.observed.projected = Some(batch(&features));
        let (selection, tokens) = answer(&method, &context);
        let wanted = case.signed(&format!("{label}.positions"));
        assert_eq!(selection.count(0), wanted.len(), "{}: {label}", case.name);
        let mut n_zeros = 0;
        for ((&found, token), &wanted) in selection
            .keep_indices(0)
            .iter()
            .zip(tokens.chunks_exact(features.width()))
            .zip(wanted)
        {
            if wanted < 0 {
                n_zeros += 1;
                assert!(token.iter().all(|&x| x == 0.0), "{}: {label}: zeros", case.name);
            } else {
                assert_eq!(found, wanted as usize, "{}: {label}", case.name);
                assert_eq!(token, features.row(found), "{}: {label}", case.name);
            }
        }
        assert_eq!(n_zeros, number(setting, "zero_padding"), "{}: {label}", case.name);
        let lengths = holov::run_lengths(n_tokens, n_runs);
        let weights = holov::run_weights(
            features.clone().into_tensor(&Device::flex()),
            &attention,
            &lengths,
            alpha,
        );
        case.assert_indices(&format!("{label}.allocation"), &holov::allocation(&weights, k));
    }
}

pub fn prumerge(case: &Case) {
    let (hidden, keys) = (case.matrix("hidden"), case.matrix("keys"));
    let query = case.vector("query_cls");
    let scale = (keys.width() as f64).sqrt();
    let logits: Vec<f64> = keys
        .rows()
        .map(|key| {
            key.iter()
                .zip(&query)
                .map(|(k, q)| f64::from(*k) * f64::from(*q))
                .sum::<f64>()
                / scale
        })
        .collect();
    let most = logits.iter().copied().fold(f64::MIN, f64::max);
    let total: f64 = logits.iter().map(|x| (x - most).exp()).sum();
    let attention: Vec<f32> = logits[1..]
        .iter()
        .map(|x| ((x - most).exp() / total) as f32)
        .collect();
    let tokens = without_first(&hidden);
    for setting in case.cases() {
        let name = setting["name"].as_str().unwrap();
        let plus = setting["plus"].as_bool().unwrap();
        let rule = if setting["adaptive"].as_bool().unwrap() {
            Centres::Adaptive
        } else {
            Centres::Ratio(setting["ratio"].as_f64().unwrap())
        };
        let method = PruMerge {
            centres: rule,
            n_neighbours: case.number("neighbours"),
            ..PruMerge::new(plus)
        };
        let mut context = context(&tokens, line(tokens.n_rows()), 1);
        context.observed.wide_attention = Some(WideAttention {
            cls: scores(&attention),
            keys: batch(&without_first(&keys)),
        });
        let (selection, found) = answer(&method, &context);
        assert_eq!(
            selection.count(0),
            number(setting, "tokens"),
            "{}: {name}",
            case.name
        );
        let n_centres = selection.count(0) - 1;
        case.assert_indices(
            &format!("{name}.selected"),
            &selection.keep_indices(0)[..n_centres],
        );
        case.assert_close(&format!("{name}.tokens"), &found);
        if let Some(ratio) = setting["outlier_ratio"].as_f64() {
            let share = prumerge::n_outliers(&attention) as f64 / attention.len() as f64;
            assert!((share - ratio).abs() < 1e-9, "{}: {name}", case.name);
        }
    }
}
