//! The tier `published`: what the printed cells say by themselves.

use super::cells::{PrintedRow, Published};
use super::claims::{Claims, Estimand, PaperClaim, Tier};
use super::ledger::{Reading, TierVerdict};
use super::printed::{Cells, Columns, Printed, smallest, within};
use crate::EvalError;
use crate::stats::{Estimate, Verdict};

/// Column of table 5.
const ABLATION: &str = "retention_gqa_mmbench_pope_mme";
/// The table of times, and that of ablations.
const TIMES: usize = 4;
const ABLATIONS: usize = 5;

/// Rows of table 5 by the part that they play in claims.
const VARIANTS: [(&str, [&str; 2]); 3] = [
    ("gumbel", ["Gumbel-STE Throttler", ""]),
    ("scale", ["Scale-gate Throttler", "Scale gating"]),
    ("global", ["Global-attention Denoiser", "Global attention"]),
];

/// A verdict with the row that decides.
struct Judged {
    bracket: Estimate,
    verdict: Verdict,
    remark: String,
}

impl Judged {
    /// "Above zero".
    fn above(bracket: Estimate, remark: String) -> Self {
        Self {
            verdict: Verdict::of(bracket.lo, bracket.hi),
            bracket,
            remark,
        }
    }

    fn bound(bracket: Estimate, bound: f64, remark: String) -> Self {
        Self {
            verdict: within(&bracket, bound),
            bracket,
            remark,
        }
    }

    fn entered(self) -> TierVerdict {
        let Estimate { value, lo, hi } = self.bracket;
        TierVerdict::of(self.verdict, value, lo, hi).remarked(&self.remark)
    }
}

/// What the printed cells say of every claim, in the claims' order.
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

struct Judge<'a>(Cells<'a>);

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
            let bracket = Estimate {
                value: found.value - printed,
                lo: found.lo - printed - half,
                hi: found.hi - printed + half,
            };
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

    /// Cell of table 5: of the full method, or of the variant that plays a part.
    fn ablation(&self, role: Option<&str>, budget: &str) -> Option<usize> {
        let papers = self.0.published.papers(ABLATIONS);
        let rows = papers
            .into_iter()
            .flat_map(|paper| self.0.published.rows(paper, ABLATIONS));
        let names = role.and_then(|role| VARIANTS.iter().find(|variant| variant.0 == role));
        let fits = |row: &PrintedRow| match (role, names) {
            (None, _) => self.0.is_ours(row),
            (Some(_), Some((_, names))) => names.contains(&row.method.as_str()),
            _ => false,
        };
        rows.filter(|row| row.budget == budget && fits(row))
            .find_map(|row| row.place(ABLATION))
    }

    /// The smallest loss by these variants, and of each less those by others.
    fn losses(&self, variants: &[String], others: &[String], budgets: &[String]) -> Option<TierVerdict> {
        let (mut losses, mut names) = (Vec::new(), Vec::new());
        for budget in budgets {
            let full = self.ablation(None, budget)?;
            for variant in variants {
                let own = self.ablation(Some(variant), budget)?;
                losses.push(self.0.bracket(&[full, own], &|values| values[full] - values[own]));
                names.push(format!("{variant} at {budget}"));
                for other in others {
                    let other_place = self.ablation(Some(other), budget)?;
                    losses.push(
                        self.0
                            .bracket(&[own, other_place], &|values| values[other_place] - values[own]),
                    );
                    names.push(format!("{variant} beside {other} at {budget}"));
                }
            }
        }
        let (place, bracket) = smallest(&losses)?;
        Some(Judged::above(bracket, format!("least: {}", names[place])).entered())
    }

    fn loss_grows(&self, role: &str, from: &str, to: &str) -> Option<TierVerdict> {
        let place = |role, budget: &str| self.ablation(role, budget);
        let places = [
            place(None, to)?,
            place(Some(role), to)?,
            place(None, from)?,
            place(Some(role), from)?,
        ];
        let growth = |values: &[f64]| {
            let [a, b, c, d] = places.map(|place| values[place]);
            (a - b) - (c - d)
        };
        let lead = |of: [usize; 2]| self.0.published.cells[of[0]].value - self.0.published.cells[of[1]].value;
        let mut remark = format!(
            "{:.1} at {from}, {:.1} at {to}",
            lead([places[2], places[3]]),
            lead([places[0], places[1]])
        );
        if let (Some(full), Some(own)) = (place(None, "2/9"), place(Some(role), "2/9")) {
            remark += &format!(", {:.1} at 2/9 between them", lead([full, own]));
        }
        Some(Judged::above(self.0.bracket(&places, &growth), remark).entered())
    }

    /// Rows of the table of times, the method's own first.
    fn timed(&self) -> Vec<Printed> {
        self.0.rows(TIMES)
    }

    fn speed_up(&self, quantity: &str, printed: f64, digits: u32) -> Option<TierVerdict> {
        let rows = self.timed();
        let (own, full) = rows.first()?.pair(quantity)?;
        let found = self.0.bracket(&[own, full], &|values| values[full] / values[own]);
        let half = 0.5 / 10f64.powi(digits as i32);
        let bracket = Estimate {
            value: found.value - printed,
            lo: found.lo - printed - half,
            hi: found.hi - printed + half,
        };
        let verdict = match Verdict::of(bracket.lo, bracket.hi) {
            Verdict::Fails => Verdict::Fails,
            _ => Verdict::Holds,
        };
        let remark = format!("the cells give {:.3}", found.value);
        Some(
            Judged {
                bracket,
                verdict,
                remark,
            }
            .entered(),
        )
    }

    fn lowest(&self, quantity: &str) -> Option<TierVerdict> {
        let rows = self.timed();
        let (ours, others): (Vec<&Printed>, Vec<&Printed>) =
            rows.iter().partition(|row| self.0.is_ours(&row.row));
        let mut leads = Vec::new();
        let mut names = Vec::new();
        for own in &ours {
            let (own, full) = own.pair(quantity)?;
            let places = others
                .iter()
                .filter_map(|other| Some((self.0.name(&other.row), other.row.place(quantity)?)));
            for (name, place) in places.chain([("the unpruned model", full)]) {
                leads.push(
                    self.0
                        .bracket(&[own, place], &|values| values[place] - values[own]),
                );
                names.push(name);
            }
        }
        let (place, bracket) = smallest(&leads)?;
        Some(Judged::above(bracket, format!("least against {}", names[place])).entered())
    }

    fn small_share(&self, quantity: &str, of: &str, share: f64) -> Option<TierVerdict> {
        let rows = self.timed();
        let ours = rows.first()?;
        let (small, whole) = (ours.row.place(quantity)?, ours.row.place(of)?);
        let bracket = self
            .0
            .bracket(&[small, whole], &|values| share * values[whole] - values[small]);
        let cells = &self.0.published.cells;
        let remark = format!("{} of {} ms", cells[small].value, cells[whole].value);
        Some(Judged::above(bracket, remark).entered())
    }

    fn order(&self, quantity: &str, order: &[String]) -> Option<TierVerdict> {
        let rows = self.timed();
        let place = |name: &String| {
            let ours = super::cells::OURS.contains(&name.as_str());
            let fits = |printed: &&Printed| match ours {
                true => self.0.is_ours(&printed.row),
                false => self.0.name(&printed.row) == name,
            };
            rows.iter().find(fits)?.row.place(quantity)
        };
        let places: Vec<usize> = order.iter().map(place).collect::<Option<_>>()?;
        let steps: Vec<Estimate> = places
            .windows(2)
            .map(|pair| self.0.bracket(pair, &|values| values[pair[0]] - values[pair[1]]))
            .collect();
        let (_, bracket) = smallest(&steps)?;
        Some(Judged::above(bracket, String::new()).entered())
    }

    fn flat(&self, quantity: &str, bound: f64) -> Option<TierVerdict> {
        let rows = self.timed();
        let brackets: Vec<(&str, Estimate)> = rows
            .iter()
            .filter_map(|printed| {
                let (place, full) = (printed.row.place(quantity)?, printed.unpruned_place(quantity)?);
                let share = |values: &[f64]| 100.0 * (values[place] / values[full] - 1.0);
                Some((self.0.name(&printed.row), self.0.bracket(&[place, full], &share)))
            })
            .collect();
        let (name, widest) = brackets
            .into_iter()
            .max_by(|a, b| a.1.value.abs().total_cmp(&b.1.value.abs()))?;
        Some(Judged::bound(widest, bound, format!("most: {name}")).entered())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts() -> Vec<(String, TierVerdict)> {
        judge_published(&Published::builtin().unwrap(), &Claims::builtin().unwrap()).unwrap()
    }

    fn of(id: &str) -> TierVerdict {
        verdicts().into_iter().find(|(found, _)| found == id).unwrap().1
    }

    #[test]
    fn every_claim_has_a_verdict_or_a_reason() {
        let claims = Claims::builtin().unwrap();
        let found = verdicts();
        assert_eq!(found.len(), claims.claims.len());
        for (id, verdict) in found {
            let is_open = verdict.verdict == Verdict::Untestable;
            assert_eq!(is_open, verdict.estimate.is_none(), "{id}");
            assert!(!is_open || verdict.reason.is_some(), "{id}");
        }
    }

    #[test]
    fn what_the_cells_say() {
        let ragged = |id: &str| of(id).readings[0].verdict;
        for (id, on_own, on_common) in [
            ("t1.best-64", Verdict::Holds, Verdict::Holds),
            ("t1.best-128", Verdict::Holds, Verdict::Fails),
            ("t1.second-192", Verdict::Equivalent, Verdict::Equivalent),
            ("t1.prunesid-turns", Verdict::Holds, Verdict::Holds),
            ("t2.best-320", Verdict::Holds, Verdict::Holds),
            ("t3.best-all-rates", Verdict::Holds, Verdict::Holds),
            ("t3.margin-grows", Verdict::Holds, Verdict::Holds),
            ("x.all-settings", Verdict::Fails, Verdict::Fails),
        ] {
            assert_eq!(
                (ragged(id), of(id).verdict),
                (on_own, on_common),
                "{id}: {:?}",
                of(id)
            );
        }
        for (id, verdict) in [
            ("t1.retention-64", Verdict::Holds),
            ("t3.every-benchmark", Verdict::Fails),
            ("x.gap-grows", Verdict::Holds),
            ("t4.prefill-2.85", Verdict::Holds),
            ("t4.ttft", Verdict::Holds),
            ("t4.selector-0.69", Verdict::Holds),
            ("t4.selector-order", Verdict::Holds),
            ("t4.encode-flat", Verdict::Equivalent),
            ("t4.flops", Verdict::Equivalent),
            ("t5.gumbel-largest", Verdict::Holds),
            ("t5.scale", Verdict::Holds),
            ("t5.global", Verdict::Holds),
            ("t5.global-worst", Verdict::Fails),
            ("t5.scale-widens", Verdict::Holds),
        ] {
            assert_eq!(of(id).verdict, verdict, "{id}: {:?}", of(id));
        }
        let every = of("t3.every-benchmark").reason.unwrap();
        for rate in ["pope of HoloV at 1/3", "pope of HoloV at 1/9"] {
            assert!(every.contains(rate), "{every}");
        }
        assert!(!every.contains("at 2/9"), "{every}");
    }

    /// Means of a row of table 1 as `claims.md` states them.
    #[test]
    fn means_over_common_columns_are_the_stated_ones() {
        let (published, claims) = (Published::builtin().unwrap(), Claims::builtin().unwrap());
        let cells = Cells {
            published: &published,
            claims: &claims,
        };
        let rows = cells.rows(1);
        let found = |paper: &str, name: &str, budget: &str, columns| {
            let fits = |printed: &&Printed| {
                printed.row.paper == paper && printed.row.budget == budget && cells.name(&printed.row) == name
            };
            let printed = rows.iter().find(fits).unwrap();
            cells.retention(1, columns, &[(1.0, printed)]).value
        };
        assert_eq!(
            published.common_columns(1, &|method| cells.is_quoted(method)),
            ["gqa", "mmbench", "mme", "pope", "scienceqa", "vqav2", "textvqa"]
        );
        for (paper, name, budget, stated) in [
            ("diffprune", "ours", "1/3", 97.4),
            ("diffprune", "HoloV", "1/3", 98.7),
            ("autoselect", "DART", "1/3", 98.3),
            ("diffprune", "PruneSID", "1/3", 98.1),
            ("diffprune", "ours", "2/9", 96.7),
            ("diffprune", "HoloV", "2/9", 97.1),
            ("autoselect", "DivPrune", "2/9", 96.8),
            ("autoselect", "DART", "2/9", 96.8),
            ("diffprune", "ours", "1/9", 95.2),
            ("diffprune", "HoloV", "1/9", 94.4),
            ("autoselect", "DivPrune", "1/9", 94.1),
            ("diffprune", "PruneSID", "1/9", 94.0),
            ("diffprune", "VisionZip", "1/3", 98.4),
            ("diffprune", "VisionZip", "2/9", 97.2),
            ("diffprune", "VisionZip", "1/9", 95.1),
        ] {
            let mean = found(paper, name, budget, Columns::Common);
            // Half of the last stated digit, and a little for 94.05 and its like.
            assert!(
                (mean - stated).abs() <= 0.0501,
                "{name} at {budget}: {mean}, stated {stated}"
            );
        }
        let ours = found("diffprune", "ours", "1/9", Columns::Ragged);
        assert!((ours - 96.44).abs() < 0.005, "{ours}");
    }

    #[test]
    fn printed_means_follow_from_their_cells() {
        let (published, claims) = (Published::builtin().unwrap(), Claims::builtin().unwrap());
        let cells = Cells {
            published: &published,
            claims: &claims,
        };
        let mut seen = 0;
        for table in 1..=3 {
            for printed in cells.rows(table) {
                let place = printed.row.place(super::super::cells::PRINTED_MEAN).unwrap();
                let mean = cells.retention(table, Columns::Ragged, &[(1.0, &printed)]);
                let stands = published.cells[place].value;
                assert!(
                    mean.lo - 0.05 <= stands && stands <= mean.hi + 0.05,
                    "{printed:?}: {mean:?}"
                );
                seen += 1;
            }
        }
        assert!(seen > 40, "{seen}");
    }

    #[test]
    fn damaged_tables_are_errors() {
        let mut published = Published::builtin().unwrap();
        published.cells.retain(|cell| cell.table != 5);
        assert!(judge_published(&published, &Claims::builtin().unwrap()).is_err());
    }
}
