//! The promises of the model for tests.

use burn::tensor::Tensor;
use diffprune_pruner::{PositionRule, Signals, descriptors};
use diffprune_vlm::{
    FakeVlm, Family, GenerateOptions, TextBatch, Turn, VisualInput, Vlm, VlmError, encode, unpruned,
};

use super::methods::{fake, picture};

#[test]
fn tokens_are_colours_at_any_width() {
    for (d_descriptor, group) in [(3, 1), (8, 1), (5, 4)] {
        let vlm = fake().with_tokens(d_descriptor, group).with_d_model(7);
        assert_eq!(vlm.d_vision(), d_descriptor * group);
        assert_eq!(vlm.d_descriptor(), d_descriptor);
        let encoded = encode(&vlm, &[picture(&[3, 12]), picture(&[])], Signals::default()).unwrap();
        assert_eq!(encoded.tokens.dims(), [2, 16, d_descriptor * group]);
        let seen = descriptors(encoded.tokens.clone(), group);
        assert_eq!(seen.dims(), [2, 16, d_descriptor]);
        let projected = vlm.project(encoded.tokens);
        assert_eq!(projected.dims(), [2, 16, 7]);
        for x in [seen, projected] {
            let red: Vec<f32> = x.narrow(2, 0, 1).into_data().try_to_vec().unwrap();
            let found: Vec<usize> = (0..32).filter(|&i| red[i] > 0.5).collect();
            assert_eq!(found, [3, 12]);
        }
    }
}

#[test]
fn only_what_was_asked_for_is_observed() {
    let vlm = fake();
    let all = Signals {
        cls_attention: true,
        received_attention: true,
        ..Signals::default()
    };
    let observed = |vlm: &FakeVlm, signals| encode(vlm, &[picture(&[5])], signals).unwrap().observed;
    assert!(observed(&vlm, Signals::default()).cls_attention.is_none());
    let found = observed(&vlm, all);
    let class = found.cls_attention.unwrap();
    assert_eq!(class.dims(), [1, 1, 16]);
    assert_eq!(class.argmax(2).into_scalar::<i64>(), 5);
    assert_eq!(found.received_attention.unwrap().dims(), [1, 16]);
    let found = observed(&vlm.without_class(), all);
    assert!(found.cls_attention.is_none() && found.received_attention.is_some());
}

#[test]
fn texts_are_bytes() {
    let vlm = fake().with_family(Family::Qwen25Vl);
    assert_eq!(vlm.family(), Family::Qwen25Vl);
    let ids = vlm.text_ids("Grüße").unwrap();
    assert_eq!((ids.len(), vlm.text_of(&ids).as_str()), (7, "Grüße"));
    let turns = [
        Turn::ask("a?").with_images(2).with_answer("b"),
        Turn::ask("c?").with_images(0),
    ];
    let prompt = vlm.prompt_ids(&turns).unwrap();
    assert_eq!(prompt[..2], [FakeVlm::IMAGE_ID; 2]);
    assert_eq!(vlm.text_of(&prompt), "a?\nb\nc?\n");
    assert!(matches!(vlm.prompt_ids(&[]), Err(VlmError::Text(_))));
}

fn batch(vlm: &FakeVlm) -> TextBatch {
    let ids = vlm.prompt_ids(&[Turn::ask("what?").with_answer("red")]).unwrap();
    let targets = (0..ids.len()).map(|i| i >= ids.len() - 4).collect();
    TextBatch {
        ids: vec![ids],
        targets: vec![targets],
    }
}

#[test]
fn the_loss_reaches_the_visual_tokens() {
    let vlm = fake();
    let encoded = encode(&vlm, &[picture(&[5])], Signals::default()).unwrap();
    let tokens = encoded.tokens.clone().autodiff().require_grad();
    let features = vlm.project(tokens.clone());
    let visual = vlm.visual_input(
        features,
        &encoded.layouts,
        &encoded.all_indices(),
        PositionRule::Keep,
    );
    let loss = vlm.loss(&batch(&vlm), Some(&visual)).unwrap();
    let gradient = tokens.grad(&loss.backward()).unwrap();
    let smallest = gradient.abs().max_dim(2).min().into_scalar::<f32>();
    assert!(smallest > 0.0, "every token matters");
}

#[test]
fn the_loss_of_a_batch_is_the_mean_over_its_targets() {
    let vlm = fake();
    let encoded = encode(&vlm, &[picture(&[5]), picture(&[1, 2])], Signals::default()).unwrap();
    let visual = unpruned(&vlm, &encoded, PositionRule::Keep)
        .visual()
        .unwrap()
        .clone();
    let mut two = batch(&vlm);
    two.ids.push(two.ids[0].clone());
    two.targets.push(two.targets[0].clone());
    two.targets[1][3] = true;
    let number = |x: Tensor<1>| x.into_data().try_to_vec::<f32>().unwrap();
    let losses = number(vlm.losses(&two, Some(&visual)).unwrap());
    let loss = number(vlm.loss(&two, Some(&visual)).unwrap())[0];
    assert!((loss - (4.0 * losses[0] + 5.0 * losses[1]) / 9.0).abs() < 1e-5);
    two.targets[0] = vec![false; two.ids[0].len()];
    assert!(matches!(
        vlm.losses(&two, Some(&visual)),
        Err(VlmError::Prompt { index: 0, .. })
    ));
}

#[test]
fn prompts_that_do_not_fit_are_refused() {
    let vlm = fake().with_positions(30);
    let encoded = encode(&vlm, &[picture(&[])], Signals::default()).unwrap();
    let visual = unpruned(&vlm, &encoded, PositionRule::Keep)
        .visual()
        .unwrap()
        .clone();
    let generate = |prompt: Vec<u32>, visual: Option<&VisualInput>| {
        vlm.generate(
            &[prompt],
            visual,
            &GenerateOptions::default().with_max_new_tokens(1),
        )
    };
    let prompt = |text: &str, n| vlm.prompt_ids(&[Turn::ask(text).with_images(n)]).unwrap();
    assert!(generate(prompt("x", 1), Some(&visual)).is_ok());
    let found = generate(prompt("x", 2), Some(&visual));
    assert!(matches!(
        found,
        Err(VlmError::Placeholders { found: 2, wanted: 1 })
    ));
    let found = generate(prompt("a question of some length", 1), Some(&visual));
    assert!(matches!(
        found,
        Err(VlmError::ContextOverflow {
            found: 42,
            wanted: 30,
            ..
        })
    ));
    assert!(matches!(
        generate(Vec::new(), None),
        Err(VlmError::Prompt { index: 0, .. })
    ));
    assert!(matches!(
        generate(vec![9999], None),
        Err(VlmError::Prompt { index: 0, .. })
    ));
}

#[test]
fn without_a_script_it_says_the_same_every_time() {
    let vlm = fake();
    let prompt = vlm.prompt_ids(&[Turn::ask("what?").with_images(0)]).unwrap();
    let options = vlm.generate_options().with_max_new_tokens(5);
    let say = || {
        vlm.generate(std::slice::from_ref(&prompt), None, &options)
            .unwrap()
    };
    assert_eq!(say(), say());
}
