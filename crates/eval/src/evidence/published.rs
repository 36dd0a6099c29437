//! The tier `published`: what the printed cells say by themselves.

mod ablations;
#[cfg(test)]
mod tests;
mod times;

use super::cells::{PrintedRow, Published};
use super::claims::{Claims, PaperClaim, Tier};
use super::estimand::Estimand;
use super::ledger::{Reading, TierVerdict};
use super::printed::{Cells, Columns, Printed, smallest, within};
use crate::EvalError;
use crate::stats::{Estimate, Verdict};

/// A verdict with the row that decides.
pub(super) struct Judged {
    pub(super) bracket: Estimate,
    pub(super) verdict: Verdict,
    pub(super) remark: String,
}

impl Judged {
    /// "Above zero".
    pub(super) fn above(bracket: Estimate, remark: String) -> Self {
        Self {
            verdict: Verdict::of(bracket.lo, bracket.hi),
            bracket,
            remark,
        }
    }

    pub(super) fn bound(bracket: Estimate, bound: f64, remark: String) -> Self {
        Self {
            verdict: within(&bracket, bound),
            bracket,
            remark,
        }
    }

    pub(super) fn entered(self) -> TierVerdict {
        let Estimate { value, lo, hi } = self.bracket;
        TierVerdict::of(self.verdict, value, lo, hi).remarked(&self.remark)
    }
}

/// The distance of a number that the cells give from the printed one, which was itself rounded to within `half`.
pub(super) fn distance(found: &Estimate, printed: f64, half: f64) -> Estimate {
    Estimate {
        value: found.value - printed,
        lo: found.lo - printed - half,
        hi: found.hi - printed + half,
    }
}

/// The verdicts of the printed cells on every claim, in the claims' order.
///
/// Brackets are what rounding of the cells leaves open; printed cells have no other interval. Between rows the columns that
/// all rows have decide, and the reading on each row's own columns stands beside it; a printed level is about the row's own
/// columns.
///
/// # Errors
/// When a table lacks a row or cell that a claim is about.
pub fn judge_published(
    published: &Published,
    claims: &Claims,
) -> Result<Vec<(String, TierVerdict)>, EvalError> {
    let judge = Judge(Cells { published, claims });
    let of = |claim: &PaperClaim| {
        let verdict = match claim.untestable.get(&Tier::Published) {
            Some(reason) => TierVerdict::untestable(reason.clone()),
            None => judge.claim(claim)?,
        };
        Ok((claim.id.clone(), verdict))
    };
    claims.claims.iter().map(of).collect()
}

pub(super) struct Judge<'a>(pub(super) Cells<'a>);

impl Judge<'_> {
    fn claim(&self, claim: &PaperClaim) -> Result<TierVerdict, EvalError> {
        let missing = || EvalError::Setup {
            subject: format!("claim {}", claim.id),
            found: "no printed cell that it is about".into(),
            wanted: "the tables of both papers".into(),
        };
        let on_both = |of: &dyn Fn(Columns) -> Option<Judged>| {
            let [ragged, common] = Columns::BOTH.map(of);
            Some(read_both(ragged?, common?))
        };
        let verdict = match &claim.estimand {
            Estimand::Level {
                table,
                budget,
                printed,
            } => self.level(*table, budget, *printed),
            Estimand::LeadOverRows { tables, budgets } => {
                on_both(&|columns| self.leads(tables, budgets, columns))
            }
            Estimand::EqualToRow {
                table,
                row,
                budget,
                bound,
            } => on_both(&|columns| {
                let lead = self.lead(*table, budget, row, columns)?;
                let best = self.leads(&[*table], std::slice::from_ref(budget), columns)?;
                let remark = format!(
                    "DiffPrune less the best row: {:.1}, {}",
                    best.bracket.value, best.remark
                );
                Some(Judged::bound(lead, *bound, remark))
            }),
            Estimand::LeadOverRowGrows { table, row, from, to } => on_both(&|columns| {
                let pairs = [(1.0, to), (-1.0, from)]
                    .map(|(sign, budget)| Some((sign, self.pair(*table, budget, row)?)));
                let [Some(later), Some(before)] = pairs else {
                    return None;
                };
                let terms: Vec<(f64, &Printed)> = [&later, &before]
                    .into_iter()
                    .flat_map(|(sign, [ours, other])| [(*sign, ours), (-sign, other)])
                    .collect();
                Some(Judged::above(
                    self.0.retention(*table, columns, &terms),
                    String::new(),
                ))
            }),
            Estimand::EveryCell { table, budgets } => self.every_cell(*table, budgets),
            Estimand::LeadOver { roles, budgets, .. } => self.losses(roles, &[], budgets),
            Estimand::LargestLoss {
                variant,
                others,
                budgets,
                ..
            } => self.losses(std::slice::from_ref(variant), others, budgets),
            Estimand::LeadGrows { rival, from, to, .. } => self.loss_grows(rival, from, to),
            Estimand::SpeedUp {
                quantity,
                printed,
                digits,
            } => self.speed_up(quantity, *printed, *digits),
            Estimand::Lowest { quantity } => self.lowest(quantity),
            Estimand::SmallShare { quantity, of, share } => self.small_share(quantity, of, *share),
            Estimand::Order { quantity, rows } => self.order(quantity, rows),
            Estimand::Flat { quantity, bound } => self.flat(quantity, *bound),
            Estimand::Flops { bound } => super::shapes::flops(*bound).map(|found| {
                found.remarked("printed cells beside what their shape computes; see the tier shape")
            }),
            Estimand::EqualTo { .. } | Estimand::Spread { .. } | Estimand::Outside { .. } => None,
        };
        verdict.ok_or_else(missing)
    }

    /// Rows of a table at a budget: the method's own (as each paper prints it), and the others.
    fn at(&self, table: usize, budget: &str) -> (Vec<Printed>, Vec<Printed>) {
        let rows = self
            .0
            .rows(table)
            .into_iter()
            .filter(|printed| printed.row.budget == budget);
        rows.partition(|printed| self.0.is_ours(&printed.row))
    }

    /// The method's row and the named one.
    fn pair(&self, table: usize, budget: &str, row: &str) -> Option<[Printed; 2]> {
        let (ours, others) = self.at(table, budget);
        let other = others
            .into_iter()
            .find(|printed| self.0.name(&printed.row) == row)?;
        Some([ours.into_iter().next()?, other])
    }

    fn lead(&self, table: usize, budget: &str, row: &str, columns: Columns) -> Option<Estimate> {
        let [ours, other] = self.pair(table, budget, row)?;
        Some(self.0.retention(table, columns, &[(1.0, &ours), (-1.0, &other)]))
    }

    /// The smallest lead over any row of these tables.
    fn leads(&self, tables: &[usize], budgets: &[String], columns: Columns) -> Option<Judged> {
        let (mut leads, mut names) = (Vec::new(), Vec::new());
        for &table in tables {
            for budget in budgets {
                let (ours, others) = self.at(table, budget);
                let Some(ours) = ours.first() else {
                    continue;
                };
                for other in others {
                    leads.push(self.0.retention(table, columns, &[(1.0, ours), (-1.0, &other)]));
                    names.push(self.described(table, &other.row));
                }
            }
        }
        let (place, bracket) = smallest(&leads)?;
        let behind = leads.iter().filter(|lead| lead.value <= 0.0).count();
        let remark = format!(
            "least against {}; {behind} of {} rows are not below",
            names[place],
            leads.len()
        );
        Some(Judged::above(bracket, remark))
    }

    fn described(&self, table: usize, row: &PrintedRow) -> String {
        format!(
            "{} at {} in table {table} of {}",
            self.0.name(row),
            row.budget,
            row.paper
        )
    }

    fn level(&self, table: usize, budget: &str, printed: f64) -> Option<TierVerdict> {
        let (ours, _) = self.at(table, budget);
        let ours = ours.first()?;
        let level = |columns| {
            let found = self.0.retention(table, columns, &[(1.0, ours)]);
            // The printed level itself is rounded.
            let half = 0.05;
            let bracket = distance(&found, printed, half);
            let verdict = match Verdict::of(bracket.lo, bracket.hi) {
                Verdict::Tie => Verdict::Holds,
                _ => Verdict::Fails,
            };
            let n = self.0.columns(table, &ours.row, columns).len();
            let remark = format!("the cells give {:.2} over {n} columns", found.value);
            Judged {
                bracket,
                verdict,
                remark,
            }
        };
        // A level is about the columns of its row: the order of the two readings is the other way round.
        let [ragged, common] = Columns::BOTH.map(level);
        let beside = reading(Columns::Common, &common);
        let mut entered = ragged
            .entered()
            .remarked("holds where rounding can explain the difference");
        entered.readings.push(beside);
        Some(entered)
    }

    fn every_cell(&self, table: usize, budgets: &[String]) -> Option<TierVerdict> {
        let (mut leads, mut names) = (Vec::new(), Vec::new());
        for budget in budgets {
            let (ours, others) = self.at(table, budget);
            let ours = ours.first()?;
            for other in &others {
                for column in other.row.columns() {
                    let (Some((own, full)), Some(place)) = (ours.pair(column), other.row.place(column))
                    else {
                        continue;
                    };
                    let lead = |values: &[f64]| 100.0 * (values[own] - values[place]) / values[full];
                    leads.push(self.0.bracket(&[own, place, full], &lead));
                    names.push(format!("{column} of {}", self.described(table, &other.row)));
                }
            }
        }
        let (_, bracket) = smallest(&leads)?;
        let behind: Vec<String> = leads
            .iter()
            .zip(&names)
            .filter(|(lead, _)| lead.value <= 0.0)
            .map(|(lead, name)| format!("{name} ({:.1})", lead.value))
            .collect();
        let remark = match behind.as_slice() {
            [] => String::new(),
            behind => format!("not above {}", behind.join(", ")),
        };
        Some(Judged::above(bracket, remark).entered())
    }
}

fn reading(columns: Columns, judged: &Judged) -> Reading {
    let Estimate { value, lo, hi } = judged.bracket;
    Reading {
        name: columns.name().into(),
        verdict: judged.verdict,
        estimate: value,
        lo,
        hi,
    }
}

/// The verdict on common columns, with the ragged reading beside it.
fn read_both(ragged: Judged, common: Judged) -> TierVerdict {
    let beside = reading(Columns::Ragged, &ragged);
    let mut entered = common.entered();
    entered.readings.push(beside);
    entered
}
