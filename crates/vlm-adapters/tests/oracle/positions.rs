//! Positions of pruned sequences, for every family and random layouts of images and text.

use burn::tensor::{Device, Tensor};
use diffprune_pruner::{Area, Grid, Layout, PositionRule, Segment};
use diffprune_vlm_adapters::{
    Family, Llama, LlamaConfig, LoadOptions, Newlines, Padding, Slot, SplicePlan, VisualInput, VisualSource,
    Vlm, load_vlm, plan_splice, splice,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{entries, fixture};

/// The placeholder in the prompts of this test.
const IMAGE: u32 = 60;

/// An image: the rasters of its tokens, and for each token whether it stays.
#[derive(Debug, Clone)]
struct Picture {
    grids: [Grid; 2],
    keep: Vec<bool>,
}

impl Picture {
    fn layout(&self, family: Family) -> Layout {
        let segment = |grid| Segment {
            grid,
            area: Area::IMAGE,
        };
        match family {
            Family::LlavaNext => Layout {
                segments: self.grids.map(segment).to_vec(),
                views: Vec::new(),
            },
            _ => Layout::from(self.grids[0]),
        }
    }

    fn kept(&self, layout: &Layout) -> Vec<usize> {
        (0..layout.n_tokens()).filter(|&token| self.keep[token]).collect()
    }
}

fn grid() -> impl Strategy<Value = Grid> {
    (1usize..4, 1usize..5).prop_map(|(rows, cols)| Grid { rows, cols })
}

fn picture() -> impl Strategy<Value = Picture> {
    ([grid(), grid()], vec(any::<bool>(), 24)).prop_map(|(grids, keep)| Picture { grids, keep })
}

/// The parts of one prompt: texts of some length, and images.
fn prompt() -> impl Strategy<Value = Vec<Result<usize, Picture>>> {
    vec(
        prop_oneof![(1usize..4).prop_map(Ok), picture().prop_map(Err)],
        1..6,
    )
}

fn input(
    vlm: &dyn Vlm,
    layouts: &[Layout],
    keep: &[Vec<usize>],
    rule: PositionRule,
    d_model: usize,
) -> VisualInput {
    let k_max = keep.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let features = Tensor::zeros([layouts.len().max(1), k_max, d_model], &Device::flex());
    let mut visual = vlm.visual_input(features, layouts, keep, rule);
    visual.separator = visual
        .separator
        .map(|_| Tensor::zeros([d_model], &Device::flex()));
    visual
}

fn plan(prompt: &[u32], visual: &VisualInput, language: &Llama) -> SplicePlan {
    let visual = (!visual.sequences.is_empty()).then_some(visual);
    plan_splice(&[prompt.to_vec()], visual, IMAGE, language)
        .unwrap()
        .remove(0)
}

/// Positions of the full sequence by the families' own rules, computed on their own.
fn expected(family: Family, prompt: &[u32], layouts: &[Layout]) -> (Vec<[usize; 3]>, usize) {
    let (mut positions, mut next, mut images) = (Vec::new(), 0, layouts.iter());
    for &id in prompt {
        if id != IMAGE {
            positions.push([next; 3]);
            next += 1;
            continue;
        }
        let layout = images.next().unwrap();
        let first = layout.segments[0].grid;
        match family {
            Family::Qwen25Vl => {
                for row in 0..first.rows {
                    positions.extend((0..first.cols).map(|col| [next, next + row, next + col]));
                }
                next += first.rows.max(first.cols);
            }
            _ => {
                let newlines = layout.segments.get(1).map_or(0, |map| map.grid.rows);
                let n = layout.n_tokens() + newlines;
                positions.extend((next..next + n).map(|place| [place; 3]));
                next += n;
            }
        }
    }
    (positions, next)
}

/// Slots of both plans that are the same thing: text, token of an image, or (in order) newline of an image.
fn check(vlm: &dyn Vlm, language: &Llama, parts: &[Result<usize, Picture>]) -> Result<(), TestCaseError> {
    let family = vlm.family();
    let mut prompt = Vec::new();
    let mut pictures = Vec::new();
    for part in parts {
        match part {
            Ok(n) => prompt.extend(std::iter::repeat_n(5, *n)),
            Err(picture) => {
                prompt.push(IMAGE);
                pictures.push(picture);
            }
        }
    }
    let layouts: Vec<Layout> = pictures.iter().map(|picture| picture.layout(family)).collect();
    let all: Vec<Vec<usize>> = layouts
        .iter()
        .map(|layout| (0..layout.n_tokens()).collect())
        .collect();
    let keep: Vec<Vec<usize>> = pictures
        .iter()
        .zip(&layouts)
        .map(|(picture, layout)| picture.kept(layout))
        .collect();
    let d_model = language.d_model();
    let make = |keep: &[Vec<usize>], rule| input(vlm, &layouts, keep, rule, d_model);
    let full = plan(&prompt, &make(&all, PositionRule::Keep), language);
    let (positions, next) = expected(family, &prompt, &layouts);
    prop_assert_eq!(&full.positions, &positions);
    prop_assert_eq!(full.next_position, next);

    let visual = make(&keep, PositionRule::Keep);
    let n_separators: usize = layouts
        .iter()
        .filter_map(|layout| layout.segments.get(1))
        .map(|map| map.grid.rows)
        .sum();
    let n_kept: usize = keep.iter().map(Vec::len).sum();
    let n_text = prompt.iter().filter(|&&id| id != IMAGE).count();
    let n = n_text + n_kept + n_separators;
    if n == 0 {
        return Ok(());
    }
    let pruned = plan(&prompt, &visual, language);
    // The full sequence without the places of dropped tokens.
    let survives = |slot: &Slot| match *slot {
        Slot::Visual { image, row } => keep[image].contains(&row),
        Slot::Text(_) | Slot::Separator => true,
    };
    let gathered = full
        .slots
        .iter()
        .zip(&full.positions)
        .filter(|(slot, _)| survives(slot));
    let wanted: Vec<(Slot, [usize; 3])> = gathered.map(|(&slot, &position)| (slot, position)).collect();
    let original = |slot: &Slot| match *slot {
        Slot::Visual { image, row } => Slot::Visual {
            image,
            row: keep[image][row],
        },
        other => other,
    };
    let found: Vec<(Slot, [usize; 3])> = pruned
        .slots
        .iter()
        .map(original)
        .zip(pruned.positions.clone())
        .collect();
    prop_assert_eq!(found, wanted);
    prop_assert_eq!(pruned.next_position, full.next_position);
    prop_assert_eq!(pruned.slots.len(), n);

    // The cache holds what was kept, however far the positions go.
    let plans = vec![pruned.clone()];
    let visual_or_none = (!layouts.is_empty()).then_some(&visual);
    let spliced = splice(&[prompt.clone()], visual_or_none, plans, Padding::Left, language);
    let mut cache = language.cache(1, n + 1);
    language.forward(
        spliced.embeds,
        spliced.position_ids,
        spliced.mask,
        Some(&mut cache),
    );
    prop_assert_eq!(cache.len(), n);

    let reindexed = plan(&prompt, &make(&keep, PositionRule::Reindex), language);
    prop_assert_eq!(&reindexed.slots, &pruned.slots);
    prop_assert!(
        reindexed
            .positions
            .iter()
            .enumerate()
            .all(|(i, position)| *position == [i; 3])
    );
    prop_assert_eq!(reindexed.next_position, n);
    Ok(())
}

/// Failures are printed, not stored beside the sources.
fn config(cases: u32) -> Config {
    Config {
        failure_persistence: None,
        ..Config::with_cases(cases)
    }
}

#[test]
fn kept_tokens_keep_the_positions_of_the_full_sequence() {
    let mut families = Vec::new();
    for name in entries("checkpoints", |_| true).unwrap() {
        let dir = fixture("checkpoints").join(name);
        let vlm = load_vlm(&dir, &Device::flex(), LoadOptions::f32()).unwrap();
        if families.contains(&vlm.family()) {
            continue;
        }
        families.push(vlm.family());
        let mut sizes = LlamaConfig::tiny();
        sizes.mrope_section = (vlm.family() == Family::Qwen25Vl).then_some([2, 1, 1]);
        let language = sizes.init(&Device::flex());
        let mut runner = TestRunner::new(config(100));
        runner
            .run(&prompt(), |parts| check(&*vlm, &language, &parts))
            .unwrap_or_else(|error| panic!("{}: {error}", vlm.family()));
    }
    families.sort_unstable();
    assert_eq!(families, Family::ALL);
}

/// Newlines beside the default policy: dropped ones leave gaps, or no places at all.
#[test]
fn newline_policies_change_separators_and_nothing_else() {
    let mut runner = TestRunner::new(config(200));
    runner
        .run(&picture(), |picture| {
            let layout = picture.layout(Family::LlavaNext);
            let keep = picture.kept(&layout);
            let packed = |newlines: Newlines, rule| newlines.sequence(&layout, &keep, rule);
            let [all, kept, none] = [Newlines::All, Newlines::KeptRows, Newlines::None]
                .map(|newlines| packed(newlines, PositionRule::Keep));
            let features = |sequence: &diffprune_vlm_adapters::VisualSequence| -> Vec<_> {
                let slots = sequence.slots.iter();
                slots
                    .filter(|slot| slot.source != VisualSource::Separator)
                    .copied()
                    .collect()
            };
            prop_assert_eq!(features(&all), features(&kept));
            prop_assert!(kept.slots.iter().all(|slot| all.slots.contains(slot)));
            let first = layout.segments[0].grid.n_tokens();
            let cols = layout.segments[1].grid.cols;
            let mut rows: Vec<usize> = keep
                .iter()
                .filter(|&&t| t >= first)
                .map(|t| (t - first) / cols)
                .collect();
            rows.dedup();
            prop_assert_eq!(kept.slots.len(), keep.len() + rows.len());
            prop_assert_eq!(
                (all.span, kept.span),
                (layout.n_tokens() + layout.segments[1].grid.rows, all.span)
            );
            let offsets: Vec<usize> = none.slots.iter().map(|slot| slot.offset[0]).collect();
            prop_assert_eq!(offsets, keep.clone());
            prop_assert_eq!(none.span, layout.n_tokens());
            Ok(())
        })
        .unwrap();
}
