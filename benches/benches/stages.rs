//! The time of an answer, stage by stage, in the three families: the small models' sizes with random weights, one
//! picture of the small world.
//!
//! Names are `family/stage`, with the number of kept tokens where it matters. The LLaVA-1.5 member has 144 tokens, the
//! LLaVA-NeXT member 36 + 144, the Qwen2.5-VL member 144 cells of four patches. Two of nine tokens are the small budget.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::tensor::{DType, Device};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use diffprune::scorer::ScorerConfig;
use diffprune::vlm::{Encoded, GenerateOptions, Hooks, PruneOptions, Turn, pruning_context};
use diffprune::{
    Budget, LearnedPruner, LoadOptions, PreparedImages, Pruner, Signals, Vlm, load_vlm, prepare_encoded,
    respond,
};
use diffprune_mini::{
    Family, PretrainConfig, SceneDataset, Split, WorldConfig, model_name, render, untrained,
    write_processor_files,
};

/// New tokens after the first one.
const DECODED: usize = 16;

/// A model of the family's shipped size with random weights.
fn model(family: Family, world: &WorldConfig, device: &Device) -> Box<dyn Vlm> {
    let dir: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("random-{}", model_name(family)));
    std::fs::create_dir_all(&dir).expect("a writable target folder");
    untrained(&PretrainConfig::of(family), world, device)
        .and_then(|model| model.save_pretrained(&dir, DType::F16))
        .expect("a writable target folder");
    write_processor_files(&dir, family, world).expect("a writable target folder");
    load_vlm(&dir, device, LoadOptions::f32()).expect("the checkpoint just written")
}

/// The visual tokens that a budget leaves.
fn prepared<'p>(
    vlm: &dyn Vlm,
    encoded: &Encoded,
    pruner: &'p LearnedPruner,
    budget: Budget,
) -> PreparedImages<'p> {
    let prepared = prepare_encoded(vlm, encoded, pruner, &PruneOptions::new(budget));
    prepared.expect("a budget that keeps something")
}

/// Seconds until the first new token, and for those after it.
fn answer(vlm: &dyn Vlm, prompt: &[u32], images: &PreparedImages<'_>, more: usize) -> [Duration; 2] {
    let options = GenerateOptions::default().with_max_new_tokens(1 + more);
    let start = Instant::now();
    let mut read = Duration::ZERO;
    let mut on_prefill = || read = start.elapsed();
    let mut hooks = Hooks {
        on_prefill: Some(&mut on_prefill),
        ..Hooks::default()
    };
    let answers = respond(vlm, &[prompt.to_vec()], images, &options, &mut hooks);
    assert_eq!(answers.expect("a prompt with one picture")[0].len(), 1 + more);
    [read, start.elapsed() - read]
}

fn stages(criterion: &mut Criterion) {
    let device = Device::flex();
    let world = WorldConfig::default();
    let scenes = SceneDataset::new(world.clone(), 1, Split::Test).expect("the world's own settings");
    let picture = [render(&scenes.get(0))];
    let few = Budget::rate(2, 9);
    for family in Family::ALL {
        let vlm = model(family, &world, &device);
        let vlm = vlm.as_ref();
        let mut group = criterion.benchmark_group(family.name());
        group.bench_function("preprocess", |b| b.iter(|| black_box(vlm.preprocess(&picture))));

        let pixels = vlm.preprocess(&picture).expect("a picture of the world");
        // The families differ in what they can show of their attention.
        let attention = match family {
            Family::Qwen25Vl => Signals {
                received_attention: true,
                ..Signals::default()
            },
            _ => Signals {
                cls_attention: true,
                ..Signals::default()
            },
        };
        for (name, signals) in [
            ("encode", Signals::default()),
            ("encode-with-attention", attention),
        ] {
            group.bench_function(name, |b| {
                b.iter(|| black_box(vlm.encode(pixels.clone(), signals).tokens.into_data()))
            });
        }

        let encoded = vlm.encode(pixels.clone(), Signals::default());
        let pruner = LearnedPruner::new(ScorerConfig::mini(vlm.d_descriptor()).init(&device));
        let context = pruning_context(vlm, &encoded, pruner.signals(), &PruneOptions::new(few));
        let context = context.expect("a budget that keeps something");
        group.bench_function("select", |b| b.iter(|| black_box(pruner.select(&context))));

        let turn = Turn::ask("what colour is the circle?").with_images(1);
        let prompt = vlm.prompt_ids(&[turn]).expect("a question");
        for budget in [Budget::All, few] {
            let kept = budget
                .resolve(encoded.counts()[0])
                .expect("a budget that keeps something");
            let tokens = encoded.tokens.clone().narrow(1, 0, kept);
            group.bench_with_input(BenchmarkId::new("project", kept), &tokens, |b, tokens| {
                b.iter(|| black_box(vlm.project(tokens.clone()).into_data()))
            });
            let images = prepared(vlm, &encoded, &pruner, budget);
            group.bench_with_input(BenchmarkId::new("prefill", kept), &images, |b, images| {
                b.iter_custom(|n| (0..n).map(|_| answer(vlm, &prompt, images, 0)[0]).sum())
            });
            let decode = format!("decode-{DECODED}-tokens");
            group.bench_with_input(BenchmarkId::new(decode, kept), &images, |b, images| {
                b.iter_custom(|n| (0..n).map(|_| answer(vlm, &prompt, images, DECODED)[1]).sum())
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = diffprune_benches::brief();
    targets = stages
}
criterion_main!(benches);
