//! Options of a report.

use serde::{Deserialize, Serialize};

use super::judge::EvidenceOptions;
use super::prompt_rules::PromptRules;
use super::result::Absent;
use crate::cost::ModelShape;
use crate::stats::{Bootstrap, ChanceLevels};

/// Options of a report: its arms' roles, its intervals, its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ReportOptions {
    /// The computation of intervals.
    pub bootstrap: Bootstrap,
    /// Order of the arms in tables; others follow by name.
    pub order: Vec<String>,
    /// The method that claims are about.
    pub method: String,
    /// Name of the unpruned arm.
    pub full: String,
    /// Name of the arm without a picture.
    pub text_only: String,
    /// Points, of percent of the most, by which the unpruned model must be above its level without a picture for a benchmark to
    /// enter averages; `None` lets every benchmark in, as reports of earlier versions did.
    #[serde(default = "every_benchmark")]
    pub average_margin: Option<f64>,
    /// Name of the arm that keeps the most relevant tokens by annotation.
    pub oracle_keep: String,
    /// Name of the arm that keeps the least relevant tokens by annotation.
    pub oracle_drop: String,
    /// Name of the arm that sees a smaller picture: the questions that it has right are easy.
    pub downsampled: String,
    /// Names of arms that answer some of the questions only: they have a table of their own, in which every arm is compared
    /// on their questions, and are left out of the others.
    pub partial: Vec<String>,
    /// Arms that could not run, for the tables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Absent>,
    /// Points that dropping background may cost at most.
    pub background_cost: f64,
    /// Points that dropping objects must cost at least.
    pub object_cost: f64,
    /// The number that guessing earns on each benchmark, where the records do not tell or another level is wanted.
    pub chance: ChanceLevels,
    /// The rules that the run's questions and scores follow.
    #[serde(rename = "asked")]
    pub prompt_rules: PromptRules,
    /// Input of the ledger of claims beside the records.
    pub evidence: EvidenceOptions,
    /// The model whose forward pass is priced; without it the report has no cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostOptions>,
}

/// The model whose cost is counted, and beside how many other tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CostOptions {
    /// Sizes of the model.
    pub shape: ModelShape,
    /// Tokens beside the visual ones, the same for every question.
    pub text_tokens: usize,
    /// Bytes of a number in the cache.
    pub bytes_per_value: usize,
}

impl CostOptions {
    /// 97 other tokens, the number behind the printed 8.89 and 2.13 TFLOPs, and 16-bit caches.
    pub fn new(shape: ModelShape) -> Self {
        Self {
            shape,
            text_tokens: 97,
            bytes_per_value: 2,
        }
    }

    /// The same beside so many other tokens.
    pub fn with_text_tokens(mut self, text_tokens: usize) -> Self {
        self.text_tokens = text_tokens;
        self
    }

    /// The same with so many bytes for a number in the cache.
    pub fn with_bytes_per_value(mut self, bytes_per_value: usize) -> Self {
        self.bytes_per_value = bytes_per_value;
        self
    }
}

/// Settings that were stored before there was a rule mean every benchmark.
fn every_benchmark() -> Option<f64> {
    None
}

impl Default for ReportOptions {
    fn default() -> Self {
        let order = [
            "full",
            "diffprune",
            "gumbel-ste",
            "cls-attention",
            "random",
            "stratified",
            "uniform-grid",
            "average-pool",
            "downsampled-image",
            "untrained",
            "shuffled",
            "inverted",
            "oracle-keep",
            "oracle-drop",
            "oracle-loo",
            "blank-image",
            "text-only",
        ];
        Self {
            bootstrap: Bootstrap::default(),
            order: order.map(String::from).to_vec(),
            method: "diffprune".into(),
            full: "full".into(),
            text_only: "text-only".into(),
            average_margin: Some(15.0),
            oracle_keep: "oracle-keep".into(),
            oracle_drop: "oracle-drop".into(),
            downsampled: "downsampled-image".into(),
            partial: vec!["oracle-loo".into(), "oracle-loo-reindexed".into()],
            absent: Vec::new(),
            background_cost: 5.0,
            object_cost: 10.0,
            chance: ChanceLevels::default(),
            prompt_rules: PromptRules::default(),
            evidence: EvidenceOptions::default(),
            cost: None,
        }
    }
}

impl ReportOptions {
    /// The same with intervals computed like this.
    pub fn with_bootstrap(mut self, bootstrap: Bootstrap) -> Self {
        self.bootstrap = bootstrap;
        self
    }

    /// The same with the arms in this order.
    pub fn with_order(mut self, order: Vec<String>) -> Self {
        self.order = order;
        self
    }

    /// The same with arms that could not run.
    pub fn with_absent(mut self, absent: Vec<Absent>) -> Self {
        self.absent = absent;
        self
    }

    /// The same for questions and scores that follow these rules.
    pub fn with_prompt_rules(mut self, prompt_rules: PromptRules) -> Self {
        self.prompt_rules = prompt_rules;
        self
    }

    /// The same with what the ledger of claims needs beside the records.
    pub fn with_evidence(mut self, evidence: EvidenceOptions) -> Self {
        self.evidence = evidence;
        self
    }

    /// The same with the cost of this model.
    pub fn with_cost(mut self, cost: impl Into<Option<CostOptions>>) -> Self {
        self.cost = cost.into();
        self
    }
}
