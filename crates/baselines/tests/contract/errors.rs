//! Bad input gives a typed error, never a choice.

use burn::tensor::{Device, Tensor};
use diffprune_pruner::{Budget, Grid, PruneError, Pruner, PruningContext, Signals};

use crate::images::{Images, SIGNALS, early, methods, plain};

/// The signals that a method asks for, by name.
fn asked(method: &dyn Pruner) -> Vec<&'static str> {
    let s = method.signals();
    let flags = [
        true,
        s.cls_attention,
        s.first_cls_attention,
        s.class_tokens,
        s.keys,
        s.wide_attention,
        s.received_attention,
        s.projected,
        s.text_relevance,
        s.relevance,
    ];
    SIGNALS
        .iter()
        .zip(flags)
        .filter(|(_, asked)| *asked)
        .map(|(name, _)| *name)
        .collect()
}

/// The signals that a method asks for and does not read from an encoder with `[CLS]` and one crop.
fn unread(name: &str) -> &'static [&'static str] {
    match plain(name).as_str() {
        "prumerge" | "prumerge-plus" => &["keys", "received_attention"],
        "visionzip-qwen" | "prumerge-qwen" | "prumerge-plus-qwen" => &["tokens"],
        "hired" => &["tokens", "first_cls_attention", "received_attention"],
        "average-pool" | "tome" | "visionzip" | "prunesid" | "vispruner" | "high" | "low" | "shuffled" => {
            &["received_attention"]
        }
        _ => &["tokens", "received_attention"],
    }
}

#[test]
fn numbers_that_are_not_finite_are_a_typed_error() {
    let images = Images::random(2, Grid { rows: 3, cols: 4 });
    for bad in [f32::NAN, f32::INFINITY] {
        for signal in SIGNALS {
            let context = images.spoilt(signal, 1, bad).context(Budget::Tokens(4));
            for method in methods() {
                let name = method.name();
                let reads = asked(method.as_ref()).contains(&signal) && !unread(name).contains(&signal);
                match method.select(&context) {
                    Err(PruneError::NotFinite { row, method, .. }) => {
                        // The control tells of the method inside.
                        let named = method == name.trim_end_matches("-shuffled");
                        assert!(reads && row == 1 && named, "{name}: {signal}");
                    }
                    result => assert!(!reads && result.is_ok(), "{name}: {signal}: {result:?}"),
                }
            }
        }
    }
}

#[test]
fn an_encoder_without_class_is_read_through_what_it_has() {
    let images = Images::random(2, Grid { rows: 3, cols: 4 }).without_class();
    for signal in ["received_attention", "keys"] {
        let context = images.spoilt(signal, 1, f32::NAN).context(Budget::Tokens(4));
        for method in methods() {
            let asks = asked(method.as_ref()).contains(&signal);
            let result = method.select(&context);
            let missing = matches!(result, Err(PruneError::MissingSignal { .. }));
            let spoilt = matches!(result, Err(PruneError::NotFinite { row: 1, .. }));
            assert_eq!(spoilt, asks && !missing, "{}: {signal}", method.name());
        }
    }
}

#[test]
fn missing_signals_are_named() {
    let tokens = Tensor::zeros([1, 4, 2], &Device::flex());
    let context = PruningContext::new(tokens, Grid { rows: 2, cols: 2 }, &Budget::Tokens(2)).unwrap();
    for baseline in early() {
        let method = (baseline.init)();
        let result = method.select(&context);
        if method.signals() == Signals::default() {
            assert!(result.is_ok(), "{}", baseline.name);
            continue;
        }
        let error = result.unwrap_err();
        assert!(matches!(error, PruneError::MissingSignal { .. }), "{error}");
        // The control tells of the method inside.
        let name = baseline.name.trim_end_matches("-shuffled");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_method_reads_nothing_that_it_does_not_ask_for() {
    let images = Images::random(1, Grid { rows: 3, cols: 4 });
    for baseline in early() {
        let method = (baseline.init)();
        let mut context = images.context(Budget::Tokens(4));
        let signals = method.signals();
        let all = std::mem::take(&mut context.observed);
        let observed = &mut context.observed;
        observed.cls_attention = all.cls_attention.filter(|_| signals.cls_attention);
        observed.first_cls_attention = all.first_cls_attention.filter(|_| signals.first_cls_attention);
        observed.class_tokens = all.class_tokens.filter(|_| signals.class_tokens);
        observed.keys = all.keys.filter(|_| signals.keys);
        observed.wide_attention = all.wide_attention.filter(|_| signals.wide_attention);
        observed.received_attention = all.received_attention.filter(|_| signals.received_attention);
        observed.projected = all.projected.filter(|_| signals.projected);
        observed.text_relevance = all.text_relevance.filter(|_| signals.text_relevance);
        observed.relevance = all.relevance.filter(|_| signals.relevance);
        let with_all = method.select(&images.context(Budget::Tokens(4))).unwrap();
        let with_asked = method.select(&context).unwrap();
        assert_eq!(with_all.rows(), with_asked.rows(), "{}", baseline.name);
    }
}

#[test]
fn signals_of_another_size_are_a_typed_error() {
    let images = Images::random(2, Grid { rows: 3, cols: 4 });
    let mut small = Images::random(1, Grid { rows: 3, cols: 4 });
    small.ids = images.ids.clone();
    let mut context = images.context(Budget::Tokens(4));
    small.observe(&mut context);
    for method in methods() {
        let shuffles = method.name() == "cls-attention-shuffled";
        if method.signals() != Signals::default() && !shuffles {
            let result = method.select(&context);
            assert!(
                matches!(result, Err(PruneError::Shape { .. })),
                "{}: {result:?}",
                method.name()
            );
        }
    }
}
