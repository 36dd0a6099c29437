//! Selection judged without a language model: a classifier that sees the kept patches only.

use std::sync::Arc;

use diffprune_eval::chart::{Line, Lines, Palette};
use diffprune_eval::{Bootstrap, resize_bilinear, top_k};
use diffprune_pruner::{Budget, Grid, Pruner};
use diffprune_vlm::{Encoded, Hooks, PruneOptions, Turn, Vlm, encode, prepare_encoded, respond};
use diffprune_vlm_adapters::Vit;
use serde::{Deserialize, Serialize};

use crate::error::refuse;
use crate::study::number;
use crate::{Advance, Finding, LabelledImages, Outcome, PilotError, Study, StudyFigure, StudyTable, Trials};

/// A method that chooses tokens on the model's grid.
pub struct LlmFreeArm {
    /// Its name in tables.
    pub name: String,
    /// The method, once for each seed.
    pub pruners: Vec<Arc<dyn Pruner>>,
}

/// The two models of the study, with their names for captions.
#[derive(Clone, Copy)]
pub struct LlmFreeModels<'a> {
    /// The model on whose tokens methods choose.
    pub vlm: &'a dyn Vlm,
    /// Its name.
    pub name: &'a str,
    /// The classifier that sees the kept patches.
    pub vit: &'a Vit,
    /// Its name.
    pub classifier: &'a str,
}

/// The size of the study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LlmFreePlan {
    /// Patches of the classifier that stay.
    pub kept: Vec<usize>,
    /// Pictures of a batch.
    pub batch: usize,
    /// Seed of random methods and intervals.
    pub seed: u64,
    /// Resamples behind each interval.
    pub resamples: usize,
}

impl Default for LlmFreePlan {
    /// The papers' range: 6 to 64 of 196 patches.
    fn default() -> Self {
        Self {
            kept: vec![6, 9, 12, 16, 24, 32, 48, 64],
            batch: 32,
            seed: 0,
            resamples: 2000,
        }
    }
}

/// Claim `f3.llm-free`: masks made on the model's grid, resized to the classifier's, leave a classifier that never saw the
/// method more accurate with the first arm than with `rivals`, at every number of patches.
///
/// For each number K of the classifier's patches the method keeps the same share of the model's tokens; its mask is resized
/// (bilinear, half-pixel centres) and the K patches with the largest values stay (ties to the lowest index). The claim holds
/// when the paired difference to every rival is above 0 at every K with simultaneous 95 % intervals (Bonferroni over rivals
/// and K), fails when one is below 0, and is a tie otherwise.
///
/// # Errors
/// When arms or pictures are missing, the model has more than one raster, a method cannot choose, or `advance` stops it.
pub fn llm_free(
    models: &LlmFreeModels<'_>,
    data: &LabelledImages,
    arms: &[LlmFreeArm],
    rivals: &[&str],
    plan: &LlmFreePlan,
    advance: &mut Advance<'_>,
) -> Result<Study, PilotError> {
    let LlmFreeModels { vlm, vit, .. } = *models;
    let side = vit.config.blocks.grid_side();
    let to = Grid {
        rows: side,
        cols: side,
    };
    check(plan, data, arms, to)?;
    let n_conditions = arms.len() * plan.kept.len();
    let (mut best, mut five) = (Trials::new(n_conditions), Trials::new(n_conditions));
    for first in (0..data.len()).step_by(plan.batch) {
        let rows = first..(first + plan.batch).min(data.len());
        let images = &data.images[rows.clone()];
        let pixels = vit.preprocess(images);
        let mut hits = vec![(vec![0.0; n_conditions], vec![0.0; n_conditions]); rows.len()];
        for (a, arm) in arms.iter().enumerate() {
            for (seed, pruner) in arm.pruners.iter().enumerate() {
                let encoded = encode(vlm, images, pruner.signals())?;
                if let Some(layout) = encoded.layouts.iter().find(|layout| layout.segments.len() != 1) {
                    let found = format!("one whose pictures have {} rasters", layout.segments.len());
                    return refuse(
                        "model",
                        found,
                        "one with a single raster, LLaVA-1.5 or Qwen2.5-VL",
                    );
                }
                for (place, &kept) in plan.kept.iter().enumerate() {
                    let mut options = PruneOptions::new(Budget::rate(kept, to.n_tokens()));
                    options.seed = plan.seed + seed as u64;
                    options.sample_ids = Some(rows.clone().map(|row| row as u64).collect());
                    let chosen = chosen(vlm, &encoded, pruner.as_ref(), &options)?;
                    let keep: Vec<Vec<usize>> = encoded
                        .layouts
                        .iter()
                        .enumerate()
                        .map(|(row, layout)| {
                            let tokens = &chosen[row];
                            let from = layout.segments[0].grid;
                            let mut mask = vec![0.0; from.n_tokens()];
                            tokens.iter().for_each(|&token| mask[token] = 1.0);
                            let mut patches = top_k(&resize_bilinear(&mask, from, to), kept);
                            patches.sort_unstable();
                            patches
                        })
                        .collect();
                    let logits = vit.model.forward_keep(pixels.clone(), &keep).into_data();
                    let logits: Vec<f32> = logits.iter::<f32>().collect();
                    let width = logits.len() / rows.len();
                    let share = 1.0 / arm.pruners.len() as f64;
                    for (row, (of_best, of_five)) in hits.iter_mut().enumerate() {
                        let order = top_k(&logits[row * width..(row + 1) * width], 5);
                        let class = data.classes[rows.start + row];
                        let condition = a * plan.kept.len() + place;
                        of_best[condition] += share * f64::from(u8::from(order.first() == Some(&class)));
                        of_five[condition] += share * f64::from(u8::from(order.contains(&class)));
                    }
                }
            }
        }
        for (of_best, of_five) in hits {
            best.push(&of_best);
            five.push(&of_five);
        }
        if !advance(rows.end as f64 / data.len() as f64) {
            return Err(PilotError::Stopped);
        }
    }
    result(
        (models.name, models.classifier),
        data,
        arms,
        rivals,
        plan,
        to,
        &best,
        &five,
    )
}

/// The prompt under which methods inside the language model choose.
const PROMPT: &str = "Describe the image.";

/// The tokens of each picture that stay: before the language model, or at the first drop inside it.
fn chosen(
    vlm: &dyn Vlm,
    encoded: &Encoded,
    pruner: &dyn Pruner,
    options: &PruneOptions,
) -> Result<Vec<Vec<usize>>, PilotError> {
    let prepared = prepare_encoded(vlm, encoded, pruner, options)?;
    if pruner.decoder().is_none() {
        return Ok(prepared.keep().to_vec());
    }
    let prompt = vlm.prompt_ids(&[Turn::ask(PROMPT).with_images(1)])?;
    let prompts = vec![prompt; encoded.layouts.len()];
    let mut hooks = Hooks::default();
    let generate = vlm.generate_options().with_max_new_tokens(1);
    respond(vlm, &prompts, &prepared, &generate, &mut hooks)?;
    let sequences = hooks.report.map(|report| report.sequences).unwrap_or_default();
    let kept = |(row, all): (usize, Vec<usize>)| {
        let stage = sequences.get(row).and_then(|sequence| sequence.stages.first());
        stage.map_or(all, |stage| stage.keep.clone())
    };
    Ok(encoded.all_indices().into_iter().enumerate().map(kept).collect())
}

fn check(plan: &LlmFreePlan, data: &LabelledImages, arms: &[LlmFreeArm], to: Grid) -> Result<(), PilotError> {
    if data.is_empty() {
        return refuse("images", "none", "at least one labelled picture");
    }
    if arms.is_empty() || arms.iter().any(|arm| arm.pruners.is_empty()) {
        return refuse(
            "arms",
            format!("{} arms", arms.len()),
            "at least one, each with a method",
        );
    }
    let range = 1..=to.n_tokens();
    if plan.kept.is_empty() || plan.kept.iter().any(|kept| !range.contains(kept)) {
        let expected = format!("numbers from 1 to {}", to.n_tokens());
        return refuse("kept", format!("{:?}", plan.kept), expected);
    }
    if plan.batch == 0 || plan.resamples == 0 {
        return refuse("batch", plan.batch, "at least 1, as for resamples");
    }
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "the parts of one study, passed once")]
fn result(
    (model, classifier): (&str, &str),
    data: &LabelledImages,
    arms: &[LlmFreeArm],
    rivals: &[&str],
    plan: &LlmFreePlan,
    to: Grid,
    best: &Trials,
    five: &Trials,
) -> Result<Study, PilotError> {
    let bootstrap = Bootstrap::new(plan.resamples, plan.seed);
    let n_kept = plan.kept.len();
    let (top1, top5) = (best.means(100.0, &bootstrap), five.means(100.0, &bootstrap));
    let judged: Vec<usize> = (1..arms.len())
        .filter(|&a| rivals.contains(&arms[a].name.as_str()))
        .collect();
    let missing: Vec<&str> = rivals
        .iter()
        .copied()
        .filter(|rival| arms.iter().all(|arm| arm.name != *rival))
        .collect();
    let pairs: Vec<(usize, usize)> = judged
        .iter()
        .flat_map(|&a| (0..n_kept).map(move |place| (a, place)))
        .collect();
    let simultaneous = bootstrap.with_level(1.0 - 0.05 / pairs.len().max(1) as f64);
    let contrasts: Vec<_> = pairs
        .iter()
        .map(|&(a, place)| vec![(place, 100.0), (a * n_kept + place, -100.0)])
        .collect();
    let gaps = best.contrasts(&contrasts, &simultaneous);
    let outcome = match () {
        () if gaps.is_empty() => Outcome::Untestable,
        () if gaps.iter().any(|gap| gap.hi < 0.0) => Outcome::Fails,
        () if missing.is_empty() && gaps.iter().all(|gap| gap.lo > 0.0) => Outcome::Holds,
        () => Outcome::Tie,
    };
    let least = gaps
        .iter()
        .zip(&pairs)
        .min_by(|a, b| a.0.value.total_cmp(&b.0.value));
    let reason = match least {
        None => format!("No rival of {} was among the arms.", rivals.join(", ")),
        Some((gap, &(a, place))) => format!(
            "Rule: {} above {} in top-1 at every K, simultaneous 95 % intervals (Bonferroni over {} comparisons). Above at {}, below at \
             {}; least difference {} points, to {} at K = {}.{}",
            arms[0].name,
            rivals.join(" and "),
            gaps.len(),
            gaps.iter().filter(|gap| gap.lo > 0.0).count(),
            gaps.iter().filter(|gap| gap.hi < 0.0).count(),
            number(gap),
            arms[a].name,
            plan.kept[place],
            match missing.is_empty() {
                true => String::new(),
                false => format!(" Not among the arms: {}.", missing.join(", ")),
            },
        ),
    };
    let mut rows = Vec::new();
    for (a, arm) in arms.iter().enumerate() {
        for (place, kept) in plan.kept.iter().enumerate() {
            let i = a * n_kept + place;
            rows.push(vec![
                arm.name.clone(),
                arm.pruners.len().to_string(),
                format!("{kept} of {}", to.n_tokens()),
                number(&top1[i]),
                number(&top5[i]),
            ]);
        }
    }
    let curve = |(a, arm): (usize, &LlmFreeArm)| Line {
        name: arm.name.clone(),
        label: arm.name.clone(),
        points: plan
            .kept
            .iter()
            .enumerate()
            .map(|(place, &kept)| (kept as f64, top1[a * n_kept + place]))
            .collect(),
        dashed: false,
    };
    let best = |place: usize| {
        let value = |a: &usize| top1[a * n_kept + place].value;
        (0..arms.len())
            .max_by(|a, b| value(a).total_cmp(&value(b)))
            .unwrap_or(0)
    };
    let most = (0..n_kept).max_by_key(|&place| plan.kept[place]).unwrap_or(0);
    let at_most = |a: usize| format!("{} {:.0} %", arms[a].name, top1[a * n_kept + most].value);
    let ours = match best(most) {
        0 => String::new(),
        _ => format!(", {}", at_most(0)),
    };
    let chart = Lines {
        name: "llm-free".into(),
        title: format!(
            "A classifier that sees {} of {} patches is right most often with those of {}{ours}",
            plan.kept[most],
            to.n_tokens(),
            at_most(best(most))
        ),
        x: format!("patches kept of {}", to.n_tokens()),
        y: "top-1 accuracy, %".into(),
        log_x: true,
        falling: false,
        x_marks: plan.kept.iter().map(|&kept| kept as f64).collect(),
        level: None,
        decimals: None,
        note: "Intervals: 95 %, over pictures.".into(),
        lines: arms.iter().enumerate().map(curve).collect(),
    };
    let palette = Palette::of(arms.iter().map(|arm| arm.name.as_str()));
    let setting = format!(
        "Masks by {model}, classifier {classifier}, which never saw the methods; {}; {} from {} seeds; seed {}; intervals: 95 %, over \
         pictures.",
        data.source,
        arms[0].name,
        arms[0].pruners.len(),
        plan.seed
    );
    Ok(Study {
        id: "llm-free".into(),
        title: "Selection judged without a language model".into(),
        question: "Do the patches that a method keeps, made on the model's grid and resized to the classifier's, tell a classifier more \
                   than those of its rivals (AutoSelect Fig. 3)?"
            .into(),
        findings: vec![Finding {
            claim: "f3.llm-free".into(),
            outcome,
            estimate: least.map(|(gap, _)| *gap),
            reason,
            published: Some("about 10 points over HoloV at the smallest K".into()),
        }],
        tables: vec![StudyTable {
            title: "Accuracy by method and patches kept".into(),
            columns: ["arm", "seeds", "kept", "top-1, %", "top-5, %"].map(String::from).to_vec(),
            rows,
        }],
        figures: vec![StudyFigure {
            file: "llm-free.svg".into(),
            caption: setting.clone(),
            bytes: chart.svg(&palette)?.into_bytes(),
        }],
        setting,
        limits: "It judges what identifies the main object, not what a question may ask about. In the small world the scorer was trained \
                 on captions that name that object."
            .into(),
    })
}
