//! PruneSID, with its own principal directions and with given ones.

use burn::tensor::Device;
use diffprune_baselines::pre_llm::prunesid::{
    Choice, Encoder, PruneSid, choose, loadings, n_directions, whole_count,
};

use crate::case::{Case, answer, batch, context, mean, without_first};
use crate::keep::line;

pub fn prunesid(case: &Case) {
    if case.has("hidden") {
        llava(case);
    } else {
        qwen(case);
    }
}

fn assert_threshold(case: &Case, choice: &Choice) {
    let wanted = case.param("threshold").as_f64().unwrap();
    let found = f64::from(choice.threshold);
    assert!(
        (found - wanted).abs() < 1e-4 * wanted.abs().max(0.1),
        "{}: threshold: found {found}, expected {wanted}",
        case.name
    );
}

fn llava(case: &Case) {
    let (hidden, attention) = (case.matrix("hidden"), case.heads("cls_attention"));
    let tokens = without_first(&hidden);
    let k = case.number("K");
    let q = n_directions(Encoder::WithClass, k);
    assert_eq!(q, case.number("q"), "{}: q", case.name);
    let given = case.has("loadings");
    let loadings = if given {
        case.matrix("loadings")
    } else {
        loadings(&tokens, q, &Device::flex())
    };
    let choice = choose(Encoder::WithClass, &loadings, &tokens, &mean(&attention), k);
    assert_threshold(case, &choice);
    case.assert_indices("component", &choice.groups);
    case.assert_indices("nms_count", &choice.survivors);
    case.assert_indices("group_quota", &choice.quotas);
    let rows: Vec<usize> = std::iter::once(0)
        .chain(choice.kept.iter().map(|patch| patch + 1))
        .collect();
    case.assert_indices("kept", &rows);
    if !given {
        let mut context = context(&tokens, line(tokens.n_rows()), k);
        context.observed.cls_attention = Some(batch(&attention));
        context.observed.class_tokens = Some(batch(&hidden.select(&[0])));
        let (selection, found) = answer(&PruneSid::new(Encoder::WithClass), &context);
        assert_eq!(selection.keep_indices(0)[1..], choice.kept, "{}", case.name);
        assert_eq!(found, hidden.select(&rows).values(), "{}: tokens", case.name);
    }
}

fn qwen(case: &Case) {
    let features = case.matrix("features");
    let k = whole_count(features.n_rows(), case.number("need_token_num"));
    assert_eq!(k, case.number("K"), "{}: K", case.name);
    let q = n_directions(Encoder::WithoutClass, k);
    assert_eq!(q, case.number("q"), "{}: q", case.name);
    let choice = choose(Encoder::WithoutClass, &case.matrix("loadings"), &features, &[], k);
    assert_threshold(case, &choice);
    case.assert_indices("component", &choice.groups);
    case.assert_indices("kept", &choice.kept);
}
