//! Methods that only choose.

use burn::tensor::Device;
use diffprune_baselines::pre_llm::id_selection::Suppression;
use diffprune_baselines::pre_llm::{cdpruner, divprune, hired, id_selection, vispruner};
use diffprune_baselines::{
    CdPruner, ClsAttention, DivPrune, FasterVlm, Hired, IdSelection, Matrix, VisPruner,
};
use diffprune_pruner::{Grid, Pruner, PruningContext};

use crate::case::{Case, answer, batch, context, list, mean, scores};
use crate::common::next_layout;

/// One row of tokens: methods that work on the whole sequence do not look at the grid.
pub fn line(n_tokens: usize) -> Grid {
    Grid {
        rows: 1,
        cols: n_tokens,
    }
}

fn blank(n_tokens: usize, k: usize) -> PruningContext {
    context(&Matrix::new(vec![0.0; n_tokens], 1), line(n_tokens), k)
}

fn kept(method: &dyn Pruner, context: &PruningContext) -> Vec<usize> {
    answer(method, context).0.keep_indices(0).to_vec()
}

fn by_attention(case: &Case, methods: &[&dyn Pruner]) {
    let attention = case.heads("cls_attention");
    for k in case.budgets() {
        let mut context = blank(attention.width(), k);
        context.observed.cls_attention = Some(batch(&attention));
        for method in methods {
            case.assert_indices(&format!("k{k}.kept"), &kept(*method, &context));
        }
    }
}

pub fn fastervlm(case: &Case) {
    by_attention(case, &[&FasterVlm::default(), &ClsAttention]);
}

pub fn hired(case: &Case) {
    if case.has("late_layer_cls_attention") {
        hired_next(case);
    } else {
        by_attention(case, &[&Hired::default()]);
    }
}

/// The heads of one crop of `[crops, heads, 1 + n]`.
fn crop_heads(all: &Matrix, n_heads: usize, crop: usize) -> Matrix {
    all.select(&(crop * n_heads..(crop + 1) * n_heads).collect::<Vec<_>>())
}

fn hired_next(case: &Case) {
    let &[n_crops, n_heads, _] = case.shape("late_layer_cls_attention") else {
        panic!("{}: three dimensions", case.name);
    };
    let late = case.heads("late_layer_cls_attention");
    let first = case.heads("first_layer_cls_attention");
    let n_cells = late.width();
    let numbers = |name: &str| -> Vec<usize> {
        list(case.param(name))
            .iter()
            .map(|x| x.as_u64().unwrap() as usize)
            .collect()
    };
    let (size, tiles) = (numbers("image_size_h_w"), numbers("grid_as_returned"));
    let tiles = Grid {
        rows: tiles[0],
        cols: tiles[1],
    };
    let layout = next_layout(tiles, n_cells.isqrt(), size[0], size[1]);
    let alpha = case.param("alpha").as_f64().unwrap();
    for (label, rate) in case.param("token_budget_rate").as_object().unwrap() {
        let total = ((n_crops * n_cells) as f64 * rate.as_f64().unwrap()) as usize;
        let runs = hired::runs(n_cells, n_crops - 1);
        let budgets = hired::crop_budgets(total, alpha, &vec![n_cells; n_crops], &mean(&first), &runs);
        case.assert_indices(&format!("{label}.counts"), &budgets);
        let mut mask = vec![0; n_crops * n_cells];
        let mut packed = Vec::new();
        for (crop, &k) in budgets.iter().enumerate() {
            let mut context = blank(n_cells, k.max(1));
            context.observed.cls_attention = Some(batch(&crop_heads(&late, n_heads, crop)));
            for cell in kept(&ClsAttention, &context).into_iter().take(k) {
                mask[crop * n_cells + cell] = 1;
                packed.extend(layout.views[crop].tokens[cell].map(|token| (token, crop, cell)));
            }
        }
        case.assert_indices(&format!("{label}.mask"), &mask);
        packed.sort_unstable();
        let of = |f: fn(&(usize, usize, usize)) -> usize| packed.iter().map(f).collect::<Vec<_>>();
        case.assert_indices(&format!("{label}.packed_crop"), &of(|kept| kept.1));
        case.assert_indices(&format!("{label}.packed_index"), &of(|kept| kept.2));
        if layout.n_tokens() == n_crops * n_cells {
            // Nothing was padded: the method itself sees all that the authors' code sees.
            let mut attention = vec![0.0; n_heads * layout.n_tokens()];
            let mut first_attention = attention.clone();
            for head in 0..n_heads {
                for (crop, view) in layout.views.iter().enumerate() {
                    for (cell, token) in view.tokens.iter().enumerate() {
                        let place = head * layout.n_tokens() + token.unwrap();
                        attention[place] = late.row(crop * n_heads + head)[cell];
                        first_attention[place] = first.row(head)[cell];
                    }
                }
            }
            let blank = Matrix::new(vec![0.0; layout.n_tokens()], 1);
            let mut context = context(&blank, layout.clone(), total);
            context.observed.cls_attention = Some(batch(&Matrix::new(attention, layout.n_tokens())));
            context.observed.first_cls_attention =
                Some(batch(&Matrix::new(first_attention, layout.n_tokens())));
            let method = Hired {
                alpha,
                ..Hired::default()
            };
            assert_eq!(
                kept(&method, &context),
                of(|kept| kept.0),
                "{}: {label}",
                case.name
            );
        }
    }
}

pub fn divprune(case: &Case) {
    let features = case.matrix("features");
    for k in case.budgets() {
        let order = divprune::order(&features, k, &Device::flex());
        case.assert_indices(&format!("k{k}.order"), &order);
        let mut context = blank(features.n_rows(), k);
        context.observed.projected = Some(batch(&features));
        case.assert_indices(&format!("k{k}.kept"), &kept(&DivPrune::default(), &context));
    }
}

pub fn vispruner(case: &Case) {
    let (features, attention) = (case.matrix("features"), case.heads("cls_attention"));
    for setting in case.cases() {
        let k = setting["K"].as_u64().unwrap() as usize;
        let ratio = setting["important_ratio"].as_f64().unwrap();
        let label = format!("k{k}_r{ratio:?}");
        let method = VisPruner {
            important_ratio: ratio,
            ..VisPruner::default()
        };
        let mut context = context(&features, line(features.n_rows()), k);
        context.observed.cls_attention = Some(batch(&attention));
        case.assert_indices(&format!("{label}.kept"), &kept(&method, &context));
        let order = vispruner::order(
            &mean(&attention),
            &features,
            k,
            ratio,
            method.step,
            &Device::flex(),
        );
        let n_important = case.indices(&format!("{label}.important")).len();
        case.assert_indices(&format!("{label}.important"), &order[..n_important]);
    }
}

pub fn cdpruner(case: &Case) {
    let features = case.matrix("projected");
    let relevance = cdpruner::clip_relevance(&case.matrix("image_embeds"), &case.matrix("text_embeds"));
    let observe = |k: usize| {
        let mut context = blank(features.n_rows(), k);
        context.observed.projected = Some(batch(&features));
        context.observed.text_relevance = Some(scores(&relevance));
        context
    };
    for k in case.budgets() {
        case.assert_indices(&format!("k{k}.kept"), &kept(&CdPruner::default(), &observe(k)));
    }
    let (least, most) = relevance.iter().fold((f32::MAX, f32::MIN), |(least, most), &x| {
        (least.min(x), most.max(x))
    });
    let scaled: Vec<f32> = relevance
        .iter()
        .map(|x| (x - least + 1e-6) / (most - least))
        .collect();
    let wanted = case.indices("greedy_order_f64").len();
    case.assert_indices("greedy_order_f64", &cdpruner::order(&features, &scaled, wanted));
}

pub fn id_selection(case: &Case) {
    let (features, importance) = (case.matrix("features"), case.vector("importance"));
    let gamma = case.param("gamma").as_f64().unwrap() as f32;
    let (least, most) = importance.iter().fold((f32::MAX, f32::MIN), |(least, most), &x| {
        (least.min(x), most.max(x))
    });
    let scaled: Vec<f32> = importance.iter().map(|x| (x - least) / (most - least)).collect();
    for k in case.budgets() {
        let order = id_selection::order(&features, &scaled, gamma, Suppression::default(), true, k);
        case.assert_indices(&format!("k{k}.order"), &order);
        let mut context = blank(features.n_rows(), k);
        context.observed.projected = Some(batch(&features));
        context.observed.received_attention = Some(scores(&importance));
        let method = IdSelection {
            gamma,
            ..IdSelection::default()
        };
        let mut wanted = order;
        wanted.sort_unstable();
        assert_eq!(kept(&method, &context), wanted, "{}: k{k}", case.name);
    }
}
