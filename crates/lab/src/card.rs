//! The card of a small model: its architecture, recipe, limits and scores.

use std::fs;
use std::path::Path;

use diffprune::Budget;
use diffprune::vlm::{self, Conversation, Hooks, PruneOptions};
use diffprune_eval::{Annotations, Meta, Metric, Report, ReportOptions, TableId};
use diffprune_files::write_whole;
use diffprune_mini::{
    Family, MiniCounts, MiniWorld, PretrainConfig, QuestionKind, SceneDataset, Split, WorldConfig,
    model_name, plainly, question_of_kind, render,
};

use crate::annotations::SceneTruth;
use crate::arms::{ArmSource, Scorers};
use crate::comparison::{Comparison, RunSettings};
use crate::data;
use crate::digest::Digest;
use crate::error::LabError;
use crate::experiment::write_world;
use crate::files::make_folder;
use crate::methods;
use crate::model::LoadedModel;
use crate::observer::Observer;
use crate::shipped::shipped_folder;

/// Name of a card.
pub const CARD: &str = "README.md";
/// Name of the recipe beside a small model.
pub const RECIPE: &str = "training.toml";
/// Name of the recipe of the copy that a training began with.
const EARLIER: &str = "training-1.toml";
/// The measured arms and budgets, with their columns of the card.
const COLUMNS: [(&str, &str, &str); 6] = [
    ("full", "all", "all tokens"),
    ("text-only", "all", "no picture"),
    ("random", "1/9", "random 1/9"),
    ("oracle-keep", "1/3", "background dropped, 1/3 kept"),
    ("oracle-drop", "1/3", "objects dropped first, 1/3 kept"),
    ("oracle-keep", "1/9", "most relevant 1/9 kept"),
];
/// Seed of the world that the card is measured on; its test scenes are never trained on.
const SEED: u64 = 20_000;

/// Scenes of the plain questions.
const PLAIN_SCENES: u64 = 60;
/// Kinds of the plain questions.
const PLAIN_KINDS: [QuestionKind; 5] = [
    QuestionKind::ExistenceRandom,
    QuestionKind::Colour,
    QuestionKind::Shape,
    QuestionKind::Position,
    QuestionKind::Count,
];
/// Plain questions that the card shows.
const PLAIN_SHOWN: usize = 8;

/// Measures a small model as it was published, in f32, and writes its card into its folder; records and report go to `out`.
///
/// # Errors
/// When the recipe cannot be read, the model fails, or the disk refuses.
pub fn write_card(model: &LoadedModel, out: &Path, observer: &mut dyn Observer) -> Result<Report, LabError> {
    let report = measure(model, out, observer)?;
    let path = model.dir.join(RECIPE);
    let recipe = fs::read_to_string(&path).map_err(LabError::io(&path, "read"))?;
    let text = card_without_scores(&recipe)? + &scores(&report) + &plain_questions(model)?;
    write_whole(model.dir.join(CARD), text.as_bytes())?;
    Ok(report)
}

fn measure(model: &LoadedModel, out: &Path, observer: &mut dyn Observer) -> Result<Report, LabError> {
    let counts = MiniCounts {
        train_captions: 0,
        val_captions: 0,
        ..MiniCounts::default()
    };
    let world = MiniWorld {
        counts,
        seed: SEED,
        ..MiniWorld::default()
    };
    let folder = out.join("data");
    make_folder(out)?;
    write_world(&world, &folder, observer)?;
    let vlm = model.vlm.as_ref();
    let protocol = data::protocol(vlm);
    let questions = data::thinned(data::read_questions(&folder, protocol)?, 2);
    let truth = SceneTruth::open(&folder)?;
    let source = ArmSource {
        vlm,
        scorers: &Scorers::new(),
        random_seeds: 3,
        untrained_seeds: 1,
        oracle_questions: 0,
        seed: 0,
    };
    let names = ["full", "text-only", "random", "oracle-keep", "oracle-drop"].map(String::from);
    let fingerprint = Digest::new()
        .text(&model.fingerprint()?)
        .text(&data::question_digest(&questions)?)
        .hex();
    let records = out.join(format!("records-{}.jsonl", &fingerprint[..8]));
    let comparison = Comparison {
        model,
        device: String::new(),
        copies: Vec::new(),
        questions,
        names: names.to_vec(),
        arms: source.all(&names)?,
        absent: Vec::new(),
        budgets: vec![Budget::rate(1, 3), Budget::rate(1, 9)],
        truth: truth.map(|truth| Box::new(truth) as Box<dyn Annotations>),
        run: RunSettings {
            protocols: protocol.into(),
            max_new_tokens: Some(8),
            fingerprint,
            ..RunSettings::default()
        },
        seed: 0,
        resamples: None,
        given: Vec::new(),
    };
    let answers = comparison.answer(&records, observer)?;
    let options = ReportOptions::default().with_order(names.to_vec());
    // The card has numbers only: no cost, no circumstances.
    let report = Report::from_records(&answers.records, Meta::default(), &options)?;
    report.write(out)?;
    Ok(report)
}

/// The card of a model with this recipe, without scores.
///
/// # Errors
/// When the recipe cannot be read.
pub fn card_without_scores(recipe: &str) -> Result<String, LabError> {
    let config: PretrainConfig = toml::from_str(recipe).map_err(Box::new)?;
    let (tower, language) = (&config.tower, &config.language);
    let phrases = Architecture::of(config.family);
    let start = match &config.start {
        Some(hash) if config.start_tower => {
            format!(", on the tower of another copy (its weights hash to `{hash}`)")
        }
        Some(hash) => {
            format!(", from an earlier copy (its weights hash to `{hash}`; its recipe is `{EARLIER}`)")
        }
        None => String::new(),
    };
    let (own, name) = (model_name(config.family), config.model_name());
    let command = match config.start_tower {
        true => format!(
            "diffprune mini train --model {} --config {RECIPE} --start assets/{own}",
            config.family
        ),
        false => format!("cargo xtask mini --model {}", config.family),
    };
    let first = match tower.steps {
        0 => "The tower stays as it was.".to_string(),
        steps => format!(
            "The tower alone, {} images: {}.",
            steps * config.batch(),
            phrases.lessons
        ),
    };
    let late = match config.practice > 0.0 {
        true => format!(
            " In a share of {:.2} of the conversations all questions are of one of the forms that come late: relations, places \
             among lettered options, lettered options in two languages, yes and no about places, numbers and signs.",
            config.practice
        ),
        false => String::new(),
    };
    let plain = match config.plain > 0.0 {
        true => format!(
            "A share of {:.2} of the questions without options came without a benchmark's sentence, as a person types \
             them; other wordings than those of the small world it does not know.",
            config.plain
        ),
        false => "Every question that it was taught ends in a line of the benchmarks' prompts; without it an answer does not \
                  end."
            .to_string(),
    };
    Ok(format!(
        "---\nlicense: mit\npipeline_tag: image-text-to-text\n---\n\n\
         # {name}\n\n\
         A {large} for people without weights and data: the architecture of the large ones ({parts}), small enough for \
         a laptop, trained from scratch on drawn scenes. It exists to measure visual-token pruning with; it knows \
         nothing of the real world.\n\n\
         ## What it is\n\n\
         {tokens}; tower of {vision_layers} layers of width {d_vision}{spare}, {language_layers} decoder layers of \
         width {d_model}, {heads} heads; f16. The tokenizer knows the words of the small world and the fixed sentences \
         of the benchmarks' prompts.\n\n\
         ## How it was made\n\n\
         `{command}`, from the seed {seed}{start}, with no outside data or weights:\n\n\
         1. {first}\n\
         2. {bridge} and decoder on the frozen tower, {language_images} images: up to {turns} question-answer turns \
         per image in one sequence, in the words of the ten benchmarks, and in half of the sequences its caption; loss \
         on answers only, captions at weight 0.3.{late}\n\n\
         In a share of {subset:.2} of the second stage's shards the decoder is given random subsets of the visual \
         tokens ({subset_min:.0} to {subset_max:.0} % of them, at their own positions: white-noise, clustered and \
         feature-driven subsets). Without this a decoder this small takes an incomplete token grid for a foreign input \
         and falls apart, which large models do not do; with it, fewer tokens mostly mean less information. Keep that \
         in mind when comparing with models that never saw subsets.\n\n\
         The full recipe is `{RECIPE}`. `scorer` holds the scorer that DiffPrune learned for it (`diffprune mini scorer \
         --model {model}`: 60 updates on captions, as the default plan of `cargo xtask repro` trains it); `ask` and `show` use it \
         unless told otherwise.\n\n\
         ## Limits\n\n\
         Scenes of 1 to 4 drawn objects and, in half of them, a sign. Counting leans on the share of object tokens \
         among those given: it suffers when only background is dropped, although nothing that it needs is missing. \
         {plain} Numbers say how much information pruning leaves, not how a 7B model behaves.\n",
        model = match name == own {
            true => own,
            false => shipped_folder(&name).display().to_string(),
        },
        large = phrases.large,
        parts = phrases.parts,
        tokens = phrases.tokens,
        spare = phrases.spare,
        bridge = phrases.bridge,
        d_vision = config.d_vision,
        vision_layers = config.vision_layers,
        language_layers = config.language_layers,
        d_model = config.d_model,
        heads = config.n_heads,
        seed = config.seed,
        language_images = language.steps * config.batch(),
        turns = config.turns,
        subset = config.subset_share,
        subset_min = 100.0 * config.subset_min,
        subset_max = 100.0 * config.subset_max,
    ))
}

/// The phrases of a card that depend on the family.
struct Architecture {
    large: &'static str,
    parts: &'static str,
    tokens: &'static str,
    /// Layers that no token passes.
    spare: &'static str,
    lessons: &'static str,
    bridge: &'static str,
}

impl Architecture {
    fn of(family: Family) -> Self {
        let llava = Self {
            large: "LLaVA-1.5",
            parts: "CLIP tower with [CLS], layer -2, two-layer projector, LLaMA",
            tokens: "168 x 168 pixels in patches of 14, so 144 visual tokens",
            spare: " (the checkpoint holds one more that layer -2 passes over)",
            lessons: "shape, colour, size, place and letter that cover each patch, from the layer -2 tokens, and what \
                      is in the image, from [CLS]",
            bridge: "Projector",
        };
        match family {
            Family::LlavaNext => Self {
                large: "LLaVA-NeXT",
                parts: "CLIP tower with [CLS], layer -2, tiles on a canvas, newline vectors, two-layer projector, LLaMA",
                tokens: "views of 84 x 84 pixels in patches of 14: a small view of the whole image and four tiles, so \
                         36 + 144 visual tokens",
                lessons: "shape, colour, size and letter that cover each patch (and in the small view the place), from \
                          the layer -2 tokens, and what is in each view, from [CLS]",
                bridge: "Projector, newline vector",
                ..llava
            },
            Family::Qwen25Vl => Self {
                large: "Qwen2.5-VL",
                parts: "tower with window attention and rotary positions, merger, Qwen2.5 with three position axes and \
                        grouped keys",
                tokens: "168 x 168 pixels in patches of 7, four of which the merger makes one, so 144 visual tokens; \
                         windows of 4 x 4 tokens in every second block",
                spare: "",
                lessons: "shape, colour, size, place and letter that cover each cell of four patches",
                bridge: "Merger",
            },
            _ => llava,
        }
    }
}

/// Questions as a person types them, without a benchmark's sentences: the share of right answers by kind, and the first
/// answers as they are.
fn plain_questions(model: &LoadedModel) -> Result<String, LabError> {
    let vlm = model.vlm.as_ref();
    let scenes = SceneDataset::new(WorldConfig::default(), SEED, Split::Test)?;
    let pruner = methods::Method::parse("first-k", vlm, 0)?.pruner();
    let options = PruneOptions::new(Budget::rate(1, 1));
    let mut rows = Vec::new();
    for index in 0..PLAIN_SCENES {
        let scene = scenes.get(index);
        let images = [render(&scene)];
        let mut rng = scenes.text_rng(index, 0);
        for kind in PLAIN_KINDS {
            let Some(question) = question_of_kind(&scene, scenes.config(), kind, &mut rng) else {
                continue;
            };
            let text = plainly(&question.text, &mut rng);
            let mut conversation = Conversation::new(pruner.as_ref(), options.clone());
            let asked = vlm::Question {
                text: &text,
                images: &images,
            };
            let generate = vlm.generate_options().with_max_new_tokens(8);
            let reply = conversation.ask(vlm, asked, &generate, &mut Hooks::default())?;
            rows.push((kind, text, reply.text, question.answer));
        }
    }
    let mut text = format!(
        "\n## Plain questions\n\nAs a person types them, about {PLAIN_SCENES} of the same test scenes: right answers.\n\n| {} |\n\
         |{}\n|",
        PLAIN_KINDS.map(|kind| kind.word().replace('_', " ")).join(" | "),
        "---|".repeat(PLAIN_KINDS.len())
    );
    for kind in PLAIN_KINDS {
        let of_kind: Vec<_> = rows.iter().filter(|row| row.0 == kind).collect();
        let right = of_kind
            .iter()
            .filter(|row| row.2.eq_ignore_ascii_case(&row.3))
            .count();
        text += &format!(
            " {:.0} % of {} |",
            100.0 * right as f64 / of_kind.len().max(1) as f64,
            of_kind.len()
        );
    }
    text += "\n\nThe first of them:\n\n| question | answer | truth |\n|---|---|---|\n";
    for (_, question, answer, truth) in rows.iter().take(PLAIN_SHOWN) {
        text += &format!("| {question} | {answer} | {truth} |\n");
    }
    Ok(text)
}

/// The table of scores.
fn scores(report: &Report) -> String {
    let kinds = report
        .table(TableId::Kinds)
        .map(|table| table.rows.as_slice())
        .unwrap_or_default();
    let mut metrics: Vec<(&Metric, usize)> = Vec::new();
    for row in kinds {
        if !metrics.iter().any(|(metric, _)| **metric == row.metric) {
            metrics.push((&row.metric, row.n));
        }
    }
    let titles: Vec<&str> = COLUMNS.iter().map(|(_, _, title)| *title).collect();
    let mut text = format!(
        "\n## What it scores\n\nPercent right, with 95 % intervals (bootstrap over images), on test scenes of the seed \
         {SEED} that no training has seen.\n\n| questions | n | {} |\n|---|---|{}\n",
        titles.join(" | "),
        "---|".repeat(titles.len())
    );
    for (metric, n) in metrics {
        text += &line(report, TableId::Kinds, metric, n);
    }
    let n = report
        .table(TableId::Main)
        .and_then(|table| table.rows.first())
        .map_or(0, |row| row.n);
    text + &line(report, TableId::Main, &Metric::Average, n)
}

fn line(report: &Report, table: TableId, metric: &Metric, n: usize) -> String {
    let cell = |(arm, budget, _): &(&str, &str, &str)| match report.row(table, arm, budget, metric) {
        Some(row) => format!("{:.0} [{:.0}, {:.0}]", row.value, row.lo, row.hi),
        None => "-".to_string(),
    };
    let cells: Vec<String> = COLUMNS.iter().map(cell).collect();
    format!("| {metric} | {n} | {} |\n", cells.join(" | "))
}
