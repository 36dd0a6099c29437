//! The ledger of a run: every claim judged from its records.

mod arms;
mod measure;
mod plan;
mod planned;
mod verdicts;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::arms::Arms;
use self::measure::Measures;
use self::plan::plan;
use self::planned::Outcome;
use super::answered::Answered;
use super::matrix::Matrix;
use super::options::ReportOptions;
use super::result::Meta;
use crate::EvalError;
use crate::data::Benchmark;
use crate::evidence::{Claims, Ledger, PaperClaim, Published, Tier, TierVerdict, published_ledger};

/// Input of a ledger beside the records.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EvidenceOptions {
    /// The table of the papers that the run shows: 1 for LLaVA-1.5, 2 for LLaVA-NeXT, 3 for Qwen2.5-VL. Without it the
    /// `family` in the report's configuration decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<usize>,
    /// Arms whose seeds are trainings, beside those that the claims name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trained: Vec<String>,
    /// Verdicts of what is not in records: times, counts, pilot studies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Given>,
}

impl EvidenceOptions {
    /// The same for a run that shows this table of the papers.
    pub fn with_table(mut self, table: impl Into<Option<usize>>) -> Self {
        self.table = table.into();
        self
    }

    /// The same with these arms beside those that the claims name.
    pub fn with_trained(mut self, trained: Vec<String>) -> Self {
        self.trained = trained;
        self
    }

    /// The same with these verdicts.
    pub fn with_given(mut self, given: Vec<Given>) -> Self {
        self.given = given;
        self
    }
}

/// A verdict that something else than records has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// The claim's id.
    pub id: String,
    /// The tier.
    pub tier: Tier,
    /// The verdict.
    pub verdict: TierVerdict,
}

/// The table that a family of models has in the papers; every other family is shown as the first.
pub(crate) fn table_of(meta: &Meta, options: &ReportOptions) -> Option<usize> {
    let of_family = || match meta.config.get("family")?.as_str()? {
        "llava-next" => Some(2),
        "qwen2.5-vl" => Some(3),
        _ => Some(1),
    };
    options.evidence.table.or_else(of_family)
}

/// Roles whose arms are scorers with seeds of their own: a seed is a start, and a training from it.
const TRAINED_ROLES: [&str; 6] = ["ours", "gumbel", "scale", "global", "own-budget", "untrained"];

/// Ends of the names of arms that use the scorers of the arm before them: positions numbered anew, a count made to fit the budget.
const FORMS: [&str; 2] = ["-reindexed", "-at-budget"];
/// DiffPrune's scorers upside down.
const INVERTED: &str = "inverted";

/// The arms whose seeds are trainings, or the starts of trainings: those of the claims' roles, those that the options name, and
/// the learned ones of a line-up in the report's configuration.
pub(crate) fn trained(claims: &Claims, meta: &Meta, options: &ReportOptions) -> BTreeSet<String> {
    let named = TRAINED_ROLES.into_iter().filter_map(|role| claims.role(role));
    let named = named.flat_map(|role| role.arms.iter().chain(&role.instead));
    let list = |pointer: &str| {
        let list = meta.config.pointer(pointer).and_then(|list| list.as_array());
        list.into_iter().flatten()
    };
    let learned: Vec<&str> = list("/lineup/learned")
        .filter_map(|learned| learned.get("arm")?.as_str())
        .collect();
    // The same scorers under another rule.
    let is_form = |arm: &&str| {
        let rest = learned.iter().filter_map(|learned| arm.strip_prefix(learned));
        *arm == INVERTED || rest.into_iter().any(|rest| FORMS.contains(&rest))
    };
    let forms: Vec<&str> = list("/lineup/arms")
        .filter_map(|arm| arm.as_str())
        .filter(is_form)
        .collect();
    let own = options.evidence.trained.iter().chain([&options.method]);
    named
        .chain(own)
        .map(String::as_str)
        .chain(learned)
        .chain(forms)
        .map(String::from)
        .collect()
}

/// Judges every claim: the printed cells, the published shape, and these records at the tier of the run.
///
/// # Errors
/// When the data of this crate are damaged.
pub(crate) fn ledger(
    answered: &Answered<'_>,
    matrix: &Matrix,
    meta: &Meta,
    options: &ReportOptions,
) -> Result<Ledger, EvalError> {
    let (claims, published) = (Claims::builtin()?, Published::builtin()?);
    let tier = Tier::of(&meta.tier).unwrap_or(Tier::Mini);
    let mut ledger = published_ledger()?;
    let counted: Vec<Benchmark> = matrix.counted.iter().copied().collect();
    let table = table_of(meta, options);
    let columns = table.map_or(Vec::new(), |table| published.benchmarks(table));
    let arms = Arms::new(answered, (table, columns), &claims, options);
    let trained = trained(&claims, meta, options);
    let mut measures = Measures::default();
    let plans: Vec<(&PaperClaim, Outcome)> = claims
        .claims
        .iter()
        .map(|claim| (claim, plan(claim, &arms, &counted, &mut measures)))
        .collect();
    let found = measures.compute(answered, options, &|arm| trained.contains(arm));
    for (claim, outcome) in plans {
        let already = ledger
            .claim(&claim.id)
            .is_some_and(|entry| entry.tiers.contains_key(&tier));
        let cannot = claim.untestable.get(&tier);
        let verdict = match (outcome, cannot) {
            (Outcome::Cannot(_), _) if already => continue,
            (Outcome::Cannot(_), Some(reason)) => TierVerdict::untestable(reason.clone()),
            (Outcome::Cannot(reason), None) => TierVerdict::untestable(reason),
            (Outcome::Planned(planned), cannot) => {
                verdicts::judge(&planned, &found, matrix.n_questions, cannot)
            }
        };
        ledger.enter(&claim.id, tier, verdict);
    }
    for given in &options.evidence.given {
        ledger.enter(&given.id, given.tier, given.verdict.clone());
    }
    Ok(ledger)
}
