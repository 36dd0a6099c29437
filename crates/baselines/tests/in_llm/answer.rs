//! From a picture to an answer with a method inside the language model of a checkpoint.

use std::path::PathBuf;

use burn::tensor::Device;
use diffprune_baselines::{Dart, FastV, PyramidDrop, Schedule, SparseVlm};
use diffprune_pruner::{Budget, DecoderPruner, visual_tokens_per_layer};
use diffprune_vlm_adapters::{
    DecoderPruning, Family, Hooks, LoadOptions, Prompts, PruneOptions, Turn, Vlm, answer, load_image,
    load_vlm, prepare_encoded,
};

use crate::recorder::Recorder;

fn shipped(part: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/hf")).join(part);
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// The methods below may have nothing to drop of so few visual tokens.
const FEW: usize = 4;

fn check<P: DecoderPruner>(vlm: &dyn Vlm, method: P) {
    let images: Vec<_> = shipped("images")
        .iter()
        .map(|path| load_image(path).unwrap())
        .collect();
    let questions = ["what is this?", "how many of them are there in all?"];
    let prompts: Vec<Vec<u32>> = images
        .iter()
        .zip(questions.iter().cycle())
        .map(|(_, question)| vlm.prompt_ids(&[Turn::ask(*question)]).unwrap())
        .collect();
    let generate = vlm.generate_options().with_max_new_tokens(4);
    let method = Recorder::new(method);
    for budget in [Budget::rate(1, 2), Budget::All] {
        let options = PruneOptions::new(budget);
        method.calls.lock().unwrap().clear();
        let found = answer(vlm, &images, &prompts, &method, &options, &generate).unwrap();
        assert_eq!(method.calls().is_empty(), budget == Budget::All);

        // The same by hand: everything is kept before the language model, and the hook drops inside.
        let encoded = vlm.encode(vlm.preprocess(&images).unwrap(), Default::default());
        let counts = encoded.counts();
        assert!((0..images.len()).all(|row| found.images.kept(row) == counts[row]));
        let prepared = prepare_encoded(vlm, &encoded, &method, &options).unwrap();
        let visual = prepared.visual().unwrap();
        let mut hooks = Hooks {
            decoder: DecoderPruning::of(&method, budget, None),
            ..Default::default()
        };
        let asked = Prompts::new(&prompts, Some(visual), &generate);
        let again = vlm.generate_with(asked, &mut hooks).unwrap();
        assert_eq!(found.ids, again);
        assert_eq!(found.report, hooks.report);
        // Separators between the rows of LLaVA-NeXT count as visual tokens there.
        let counts: Vec<usize> = visual
            .sequences
            .iter()
            .map(|sequence| sequence.slots.len())
            .collect();
        let n_large = counts.iter().filter(|&&n_visual| n_visual > FEW).count();
        assert!(2 * n_large > counts.len(), "{counts:?}");
        for (report, n_visual) in hooks.report.unwrap().sequences.iter().zip(counts) {
            let n_layers = report.visual_tokens.len();
            let stages = method.stages(n_layers, n_visual, &budget).unwrap();
            let wanted = visual_tokens_per_layer(n_layers, n_visual, &stages);
            assert_eq!(report.visual_tokens, wanted);
            let last = report.visual_tokens[n_layers - 1];
            let drops = last < n_visual;
            assert!(
                n_visual <= FEW || drops == (budget != Budget::All),
                "{n_visual}: {last}"
            );
        }
    }
}

/// The shipped checkpoints whose name starts so.
fn checkpoints(start: &str) -> Vec<Box<dyn Vlm>> {
    let folders = shipped("checkpoints").into_iter();
    let of_family = folders.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(start));
    let found: Vec<_> = of_family
        .map(|folder| load_vlm(&folder, &Device::flex(), LoadOptions::f32()).unwrap())
        .collect();
    assert!(!found.is_empty(), "{start}");
    found
}

#[test]
fn a_picture_becomes_an_answer() {
    for vlm in checkpoints("llava15") {
        let fastv = FastV {
            layer: 1,
            schedule: Schedule::Kept,
        };
        check(vlm.as_ref(), fastv);
        check(vlm.as_ref(), PyramidDrop::default());
        check(vlm.as_ref(), SparseVlm::default());
    }
}

/// The other families: two or three layers, so that every method drops after the first.
fn check_family(start: &str, family: Family) {
    let schedule = Schedule::Fixed(vec![(1, 3)]);
    for vlm in checkpoints(start) {
        assert_eq!(vlm.family(), family);
        let vlm = vlm.as_ref();
        let fastv = FastV {
            layer: 1,
            schedule: Schedule::Kept,
        };
        check(vlm, fastv);
        let schedule = schedule.clone();
        check(
            vlm,
            PyramidDrop {
                schedule: schedule.clone(),
            },
        );
        let dart = Dart {
            layer: 1,
            image_pivots: 1,
            text_pivots: 1,
            schedule: Schedule::Fixed(vec![(1, 2)]),
            ..Dart::default()
        };
        check(vlm, dart);
        for plain in [SparseVlm::default(), SparseVlm::v2()] {
            let schedule = schedule.clone();
            check(vlm, SparseVlm { schedule, ..plain });
        }
    }
}

#[test]
fn a_picture_in_tiles_becomes_an_answer() {
    check_family("llavanext_vicuna_tiny", Family::LlavaNext);
    check_family("llavanext_mistral_tiny", Family::LlavaNext);
}

#[test]
fn a_picture_of_any_size_becomes_an_answer() {
    check_family("qwen25vl", Family::Qwen25Vl);
}
