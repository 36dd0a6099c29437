//! Every method by its name.

use std::fmt::Write as _;

use diffprune_pruner::{PositionRule, Pruner, Signals, Stage};

use crate::in_llm::{dart, fastv, pyramiddrop, sparsevlm};
use crate::pre_llm::{
    cdpruner, divprune, fastervlm, hired, holov, id_selection, prumerge, prunesid, tome, visionzip, vispruner,
};
use crate::{average_pool, cls_attention, fixed, oracle, random, stratified, uniform_grid};

/// One method of the list.
#[derive(Debug, Clone, Copy)]
pub struct Baseline {
    /// Its name, as [`Pruner::name`] gives it.
    pub name: &'static str,
    /// What it keeps, in a few words.
    pub about: &'static str,
    /// True when its choice depends on the seed, so that tables should average over several.
    pub seeded: bool,
    /// True when it makes tokens that the encoder did not.
    pub merges: bool,
    /// True when its choice depends on the question.
    pub text_aware: bool,
    /// What a choice costs: N tokens of width d (D after the projector), K kept.
    pub cost: &'static str,
    /// Where it was published; `None` for the arms that use no method.
    pub paper: Option<Paper>,
    /// Makes one with its default settings.
    pub init: fn() -> Box<dyn Pruner>,
}

/// Where a method was published, and what this implementation was checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paper {
    /// Its number on arXiv.
    pub arxiv: &'static str,
    /// Where it appeared.
    pub venue: &'static str,
    /// Licence of the authors' code. Nothing of it is copied here; the note is for those who want to compare.
    pub licence: &'static str,
    /// What this implementation was checked against.
    pub check: Check,
}

/// What an implementation was checked against.
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
            about,
            seeded: false,
            merges: false,
            text_aware: false,
            cost: "N",
            paper: None,
            init,
        }
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
}

/// Every method that needs no training; adding one is a file and a line here.
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
    divprune::ENTRY,
    visionzip::ENTRY,
    visionzip::QWEN,
    holov::ENTRY,
    holov::QWEN,
    prunesid::ENTRY,
    prunesid::QWEN,
    fastervlm::ENTRY,
    prumerge::ENTRY,
    prumerge::PLUS,
    prumerge::QWEN,
    prumerge::PLUS_QWEN,
    vispruner::ENTRY,
    cdpruner::ENTRY,
    id_selection::ENTRY,
    fastv::ENTRY,
    fastv::KEPT,
    pyramiddrop::ENTRY,
    pyramiddrop::PUBLISHED_SHARES,
    dart::ENTRY,
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

/// The list as a table in Markdown.
pub fn table() -> String {
    let mut table = String::from(
        "| name | keeps | paper | stage | needs | merges | question | cost | positions | checked by | their licence |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for baseline in registry() {
        let method = (baseline.init)();
        let paper = baseline.paper;
        let published = paper.map_or("–".to_string(), |paper| {
            format!("{} ({})", paper.venue, paper.arxiv)
        });
        let stage = match method.stage() {
            Stage::Vision => "before the projector".to_string(),
            Stage::Decoder(layer) => format!("before layer {layer}"),
        };
        let positions = match method.positions() {
            PositionRule::Keep => "keep",
            PositionRule::Reindex => "reindex",
        };
        let check = paper.map_or("own tests", |paper| match paper.check {
            Check::Oracle => "their code",
            Check::OracleOfAlgorithm => "their code, inputs ours",
            Check::Text => "text only",
        });
        let yes = |flag: bool| if flag { "yes" } else { "no" };
        let _ = writeln!(
            table,
            "| `{}` | {} | {published} | {stage} | {} | {} | {} | {} | {positions} | {check} | {} |",
            baseline.name,
            baseline.about.replace("[CLS]", "`[CLS]`"),
            match method.decoder() {
                Some(_) => "rows of the decoder".into(),
                None => needs(method.signals()),
            },
            yes(baseline.merges),
            yes(baseline.text_aware),
            baseline.cost,
            paper.map_or("–", |paper| paper.licence),
        );
    }
    table
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
