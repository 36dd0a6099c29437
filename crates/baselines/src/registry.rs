//! Every method by its name.

use std::fmt::Write as _;

use diffprune_pruner::{
    AttentionRows, Budget, DecoderPruner, DecoderSignals, DecoderStage, PositionRule, Pruner, Queries,
    RowsOf, Signals,
};

use crate::arms::{average_pool, cls_attention, fixed, oracle, random, stratified, uniform_grid};
use crate::fidelity::Fidelity;
use crate::in_llm::{dart, fastv, pyramiddrop, sparsevlm};
use crate::pre_llm::{
    cdpruner, divprune, fastervlm, hired, holov, id_selection, prumerge, prunesid, tome, visionzip, vispruner,
};
use crate::tools::encoder::Encoder;

/// One method of the list.
#[derive(Debug, Clone, Copy)]
pub struct Baseline {
    /// Its name, as [`Pruner::name`] gives it.
    pub name: &'static str,
    /// The name by which the method is found for every kind of encoder: that of the form for encoders with `[CLS]`.
    pub method: &'static str,
    /// The kind of encoder that this form of the method is for; `None` when it is the only form.
    pub encoder: Option<Encoder>,
    /// A description of what it keeps, in a few words.
    pub about: &'static str,
    /// True when its choice depends on the seed, so that tables should average over several.
    pub seeded: bool,
    /// True when it makes tokens that the encoder did not.
    pub merges: bool,
    /// True when its choice depends on the question.
    pub text_aware: bool,
    /// The cost of a choice: N tokens of width d (D after the projector), K kept.
    pub cost: &'static str,
    /// Its publication; `None` for the arms that use no method.
    pub paper: Option<Paper>,
    /// The difference between the published code and the paper, and which of them this follows; `None` where no difference is
    /// known, or there is one of them alone.
    pub differs: Option<Differs>,
    /// Makes one with its default settings.
    pub init: fn() -> Box<dyn Pruner>,
}

/// The publication of a method, and what this implementation was checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paper {
    /// Its number on arXiv.
    pub arxiv: &'static str,
    /// The venue: conference and year, or `preprint`.
    pub venue: &'static str,
    /// Licence of the authors' code. Nothing of it is copied here; the note is for those who want to compare.
    pub licence: &'static str,
    /// The reference that this implementation was checked against.
    pub check: Check,
}

/// A difference between the published code of a method and its paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Differs {
    /// The behaviour of the code.
    pub reference: &'static str,
    /// The rule of the paper; *not here* behind it when nothing follows it.
    pub corrected: &'static str,
    /// Which of the two the method follows.
    pub follows: Fidelity,
}

/// The reference that an implementation was checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// Numbers that the authors' code made.
    Oracle,
    /// The same for the algorithm; what goes into it here is ours, the authors have no code for such models.
    OracleOfAlgorithm,
    /// The paper's text alone.
    Text,
}

impl Baseline {
    /// A method that draws nothing, merges nothing and does not read the question.
    pub const fn arm(name: &'static str, about: &'static str, init: fn() -> Box<dyn Pruner>) -> Self {
        Self {
            name,
            method: name,
            encoder: None,
            about,
            seeded: false,
            merges: false,
            text_aware: false,
            cost: "N",
            paper: None,
            differs: None,
            init,
        }
    }

    /// The form of its method for encoders with `[CLS]`, beside which there is one for those without.
    pub const fn with_class(self) -> Self {
        Self {
            encoder: Some(Encoder::WithClass),
            ..self
        }
    }

    /// The form of `method` for encoders without `[CLS]`.
    pub const fn without_class(self, method: &'static str) -> Self {
        Self {
            method,
            encoder: Some(Encoder::WithoutClass),
            ..self
        }
    }

    /// `true` if this is the form of its method for such an encoder.
    pub fn is_for(&self, encoder: Encoder) -> bool {
        self.encoder.is_none_or(|own| own == encoder)
    }

    /// The same with choices that depend on the seed.
    pub const fn seeded(self) -> Self {
        Self { seeded: true, ..self }
    }

    /// The same with merged tokens.
    pub const fn merging(self) -> Self {
        Self { merges: true, ..self }
    }

    /// The same with choices that depend on the question.
    pub const fn text_aware(self) -> Self {
        Self {
            text_aware: true,
            ..self
        }
    }

    /// The same with another cost.
    pub const fn cost(self, cost: &'static str) -> Self {
        Self { cost, ..self }
    }

    /// The same with a publication.
    pub const fn paper(self, paper: Paper) -> Self {
        Self {
            paper: Some(paper),
            ..self
        }
    }

    /// The same with a code that differs from its paper; the method follows the code.
    pub const fn differs(self, reference: &'static str, corrected: &'static str) -> Self {
        Self {
            differs: Some(Differs {
                reference,
                corrected,
                follows: Fidelity::Reference,
            }),
            ..self
        }
    }

    /// A method that follows the paper where this one follows the code; for methods that differ ([`Self::differs`]).
    pub const fn corrected(self, name: &'static str, init: fn() -> Box<dyn Pruner>) -> Self {
        let differs = match self.differs {
            Some(differs) => Some(Differs {
                follows: Fidelity::Corrected,
                ..differs
            }),
            None => None,
        };
        // The authors' code makes no numbers for it.
        let paper = match self.paper {
            Some(paper) => Some(Paper {
                check: Check::Text,
                ..paper
            }),
            None => None,
        };
        Self {
            name,
            method: name,
            paper,
            differs,
            init,
            ..self
        }
    }
}

/// Every method that needs no training. Adding one is a file, its `mod` line and a line here, and the tables of the
/// documents written anew (`docs/baselines.md` has the command).
static REGISTRY: &[Baseline] = &[
    random::ENTRY,
    stratified::ENTRY,
    uniform_grid::ENTRY,
    average_pool::ENTRY,
    cls_attention::ENTRY,
    cls_attention::SHUFFLED,
    fixed::FIRST_K,
    fixed::LAST_K,
    fixed::CENTRE,
    oracle::KEEP,
    oracle::DROP,
    tome::ENTRY,
    hired::ENTRY,
    hired::CORRECTED,
    divprune::ENTRY,
    visionzip::ENTRY.with_class(),
    visionzip::CORRECTED.with_class(),
    visionzip::WITHOUT_CLASS.without_class("visionzip"),
    visionzip::CORRECTED_WITHOUT_CLASS.without_class("visionzip-corrected"),
    holov::ENTRY.with_class(),
    holov::CORRECTED.with_class(),
    holov::WITHOUT_CLASS.without_class("holov"),
    holov::CORRECTED_WITHOUT_CLASS.without_class("holov-corrected"),
    prunesid::ENTRY.with_class(),
    prunesid::WITHOUT_CLASS.without_class("prunesid"),
    fastervlm::ENTRY,
    prumerge::ENTRY.with_class(),
    prumerge::CORRECTED.with_class(),
    prumerge::PLUS.with_class(),
    prumerge::PLUS_CORRECTED.with_class(),
    prumerge::WITHOUT_CLASS.without_class("prumerge"),
    prumerge::CORRECTED_WITHOUT_CLASS.without_class("prumerge-corrected"),
    prumerge::PLUS_WITHOUT_CLASS.without_class("prumerge-plus"),
    prumerge::PLUS_CORRECTED_WITHOUT_CLASS.without_class("prumerge-plus-corrected"),
    vispruner::ENTRY,
    cdpruner::ENTRY,
    id_selection::ENTRY,
    fastv::ENTRY,
    fastv::KEPT,
    fastv::PUBLISHED,
    fastv::K3,
    pyramiddrop::ENTRY,
    pyramiddrop::PUBLISHED_SHARES,
    dart::ENTRY,
    dart::CORRECTED,
    dart::AVERAGE,
    sparsevlm::ENTRY,
    sparsevlm::RELEASE_2,
];

/// Every method that needs no training.
pub fn registry() -> &'static [Baseline] {
    REGISTRY
}

/// The method of that name, with its default settings.
pub fn find(name: &str) -> Option<Box<dyn Pruner>> {
    registry()
        .iter()
        .find(|baseline| baseline.name == name)
        .map(|baseline| (baseline.init)())
}

/// The method of that name in the form for such an encoder, with its default settings. The name of a form is the form
/// itself, whatever the encoder.
pub fn find_for(name: &str, encoder: Encoder) -> Option<Box<dyn Pruner>> {
    let form = |baseline: &&Baseline| baseline.method == name && baseline.is_for(encoder);
    match registry().iter().find(form) {
        Some(baseline) => Some((baseline.init)()),
        None => find(name),
    }
}

/// The list as a table in Markdown.
pub fn table() -> String {
    let mut table = String::from(
        "| name | keeps | paper | stage | needs | merges | question | cost | positions | code and paper | checked by | their \
         licence |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for baseline in registry() {
        let method = (baseline.init)();
        let paper = baseline.paper;
        let published = paper.map_or("–".to_string(), |paper| {
            format!("{} ({})", paper.venue, paper.arxiv)
        });
        let positions = match method.positions() {
            PositionRule::Keep => "keep",
            PositionRule::Reindex => "reindex",
        };
        let check = paper.map_or("own tests", |paper| match paper.check {
            Check::Oracle => "their code",
            Check::OracleOfAlgorithm => "their code, inputs ours",
            Check::Text => "text only",
        });
        let (stage, needs) = match method.decoder() {
            Some(decoder) => inside(decoder),
            None => ("before the projector".to_string(), needs(method.signals())),
        };
        let yes = |flag: bool| if flag { "yes" } else { "no" };
        let _ = writeln!(
            table,
            "| `{}` | {} | {published} | {stage} | {needs} | {} | {} | {} | {positions} | {} | {check} | {} |",
            baseline.name,
            baseline.about.replace("[CLS]", "`[CLS]`"),
            yes(baseline.merges),
            yes(baseline.text_aware),
            baseline.cost,
            fidelity(baseline),
            paper.map_or("–", |paper| paper.licence),
        );
    }
    table
}

/// The rules of code and paper where they differ; the one that the method follows in bold.
fn fidelity(baseline: &Baseline) -> String {
    match (baseline.differs, baseline.paper) {
        (Some(differs), _) => {
            let (reference, corrected) = (differs.reference, differs.corrected);
            match differs.follows {
                Fidelity::Reference => format!("**reference**: {reference}; corrected: {corrected}"),
                Fidelity::Corrected => format!("reference: {reference}; **corrected**: {corrected}"),
            }
        }
        (None, Some(_)) => "one".to_string(),
        (None, None) => "–".to_string(),
    }
}

/// The layers at which a method acts inside the language model, and what it sees there: for 192, 128 and 64 of 576 tokens in 32 layers.
fn inside(decoder: &dyn DecoderPruner) -> (String, String) {
    let stages = |budget| {
        decoder
            .stages(32, 576, &Budget::Tokens(budget))
            .unwrap_or_default()
    };
    let stages: Vec<Vec<DecoderStage>> = [192, 128, 64].map(stages).to_vec();
    let layers = |stages: &Vec<DecoderStage>| {
        let layers: Vec<String> = stages.iter().map(|stage| stage.layer.to_string()).collect();
        layers.join(", ")
    };
    let mut places: Vec<String> = stages.iter().map(layers).collect();
    places.dedup();
    let several = if stages[0].len() > 1 { "s" } else { "" };
    let signals = stages[0].first().map(|stage| stage.signals).unwrap_or_default();
    (
        format!("before layer{several} {}", places.join(" / ")),
        needs_inside(signals),
    )
}

/// The names of what a decoder computes, as `DecoderObserved` has them.
fn needs_inside(signals: DecoderSignals) -> String {
    let rows = |AttentionRows { layer, queries }: AttentionRows| {
        let queries = match queries {
            Queries::Last => "last token",
            Queries::Raters => "raters",
        };
        let layer = match layer {
            RowsOf::Previous => "layer before",
            RowsOf::Next => "next layer",
        };
        format!("attention ({queries}, {layer})")
    };
    let embeds = |rows: &AttentionRows| rows.queries == Queries::Raters;
    let mut asked: Vec<String> = signals.attention.map(rows).into_iter().collect();
    let more = [
        (signals.attention.as_ref().is_some_and(embeds), "embeddings"),
        (signals.rotary_bias, "rotary_bias"),
        (signals.keys, "keys"),
        (signals.hidden, "hidden"),
        (signals.normed, "normed"),
    ];
    let more = more.iter().filter(|(asked, _)| *asked);
    asked.extend(more.map(|(_, name)| name.to_string()));
    asked.join(", ")
}

/// The names of the signals, as [`Signals`] has them.
fn needs(signals: Signals) -> String {
    let names = [
        (signals.cls_attention, "cls_attention"),
        (signals.first_cls_attention, "first_cls_attention"),
        (signals.class_tokens, "class_tokens"),
        (signals.keys, "keys"),
        (signals.wide_attention, "wide_attention"),
        (signals.received_attention, "received_attention"),
        (signals.projected, "projected"),
        (signals.text_relevance, "text_relevance"),
        (signals.relevance, "relevance"),
    ];
    let asked: Vec<&str> = names
        .iter()
        .filter(|(asked, _)| *asked)
        .map(|(_, name)| *name)
        .collect();
    if asked.is_empty() {
        "tokens".to_string()
    } else {
        asked.join(", ")
    }
}
