//! Methods inside the language model, through a run.

use burn::tensor::Device;
use diffprune_baselines::{FastV, Schedule};
use diffprune_eval::{Arm, Run};
use diffprune_pruner::{Budget, Pruner};
use diffprune_vlm::FakeVlm;

use super::{SIDE, options, red_cells, world};

#[test]
fn a_run_lets_a_method_inside_the_language_model_act() {
    let folder = tempfile::tempdir().unwrap();
    let n_images = 6;
    let questions = world(folder.path(), n_images);
    let vlm = FakeVlm::new(&Device::flex())
        .with_grid(SIDE, SIDE)
        .answering(|input| {
            let red = input.visual.iter().filter(|token| token[0] > 0.5).count();
            format!("{red} of {}", input.visual.len())
        });
    let method = FastV {
        layer: 1,
        schedule: Schedule::Kept,
    };
    let arms = [Arm::full(), Arm::pruned(Box::new(method) as Box<dyn Pruner>)];
    let run = Run {
        questions: &questions,
        arms: &arms,
        budgets: &[Budget::Tokens(4)],
        annotations: None,
        options: options(2),
    };
    let records = run.execute(&vlm, &folder.path().join("records.jsonl")).unwrap();
    assert_eq!(records.len(), 2 * questions.len());
    for record in &records {
        let image: usize = record.image.trim_end_matches(".png").parse().unwrap();
        let red = red_cells(image).len();
        // The method's attention is on red, so it loses none of it.
        let (left, layers, kept) = match record.arm.as_str() {
            "full" => (16, None, 16),
            _ => (4, Some(vec![(1, 16), (3, 4)]), 7),
        };
        assert_eq!(record.answer, format!("{red} of {left}"), "{}", record.arm);
        assert_eq!((&record.layers, record.kept, record.total), (&layers, kept, 16));
    }
    let encoded = vlm.images_encoded();
    let alone = Run {
        questions: &questions,
        arms: &arms[..1],
        budgets: &[Budget::Tokens(4)],
        annotations: None,
        options: options(2),
    };
    alone.execute(&vlm, &folder.path().join("alone.jsonl")).unwrap();
    assert_eq!(
        vlm.images_encoded(),
        2 * encoded,
        "a second arm costs no second encoding"
    );
}
