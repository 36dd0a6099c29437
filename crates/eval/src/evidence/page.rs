//! The ledger and the printed tables as pages: text cells that every format shares.

use super::cells::{PRINTED_MEAN, Published};
use super::claims::{Claims, Tier};
use super::ledger::{ClaimVerdict, Ledger, TierVerdict};
use super::printed::{Cells, Columns, Printed};
use super::{judge_published, judge_shape};
use crate::EvalError;
use crate::page::{Block, Page, Section, Sheet};
use crate::report::LEDGER;
use crate::stats::Verdict;

/// Stands where a tier says nothing.
const NOTHING: &str = "–";

/// The rules by which verdicts are made, one sentence each.
const RULES: &str = "A claim holds where its whole interval lies above zero and fails where it lies below; elsewhere \
     it is a tie, which is no proof of equality. Claims of equivalence were given a bound before the run and are equivalent \
     where the 90 % interval lies within it. A claim about several rows or budgets is about the smallest of its comparisons; \
     their intervals cover together (max-t over the claim's comparisons), and p belongs to them: it is at most 0.05 exactly \
     where the interval excludes zero. The tier `published` reads the printed cells alone: its brackets are what their \
     rounding leaves open.";

/// The number of claims with each verdict, in words.
pub(crate) fn counted(ledger: &Ledger, tier: Tier) -> String {
    let counts = ledger.counts(tier);
    let total: usize = counts.values().sum();
    let named = Verdict::ALL.into_iter().filter_map(|verdict| {
        let count = counts.get(verdict.name())?;
        let word = match verdict {
            Verdict::Holds => "hold",
            Verdict::Equivalent => "are equivalent",
            Verdict::Tie => "tie",
            Verdict::Fails => "fail",
            Verdict::Untestable => "cannot be tested here",
        };
        Some(format!("{count} {word}"))
    });
    format!(
        "Tier {tier}: of {total} claims {}.",
        named.collect::<Vec<_>>().join(", ")
    )
}

impl Ledger {
    /// The ledger as a table: one line for each claim, in its order, with what each tier says; the verdicts come first, so that
    /// they are seen together, then the numbers behind them.
    pub fn to_sheet(&self) -> Sheet {
        let tiers = self.tiers();
        let mut header = vec!["id".to_string(), "claim".into()];
        header.extend(tiers.iter().map(Tier::to_string));
        header.extend(["p".into(), "unit".into()]);
        header.extend(tiers.iter().map(|tier| format!("{tier}: estimate [interval]")));
        header.push("remarks".into());
        let row = |claim: &ClaimVerdict| {
            let of = |tier: &Tier| claim.tiers.get(tier);
            let word = |tier| of(tier).map_or(NOTHING.to_string(), |verdict| verdict.verdict.to_string());
            let estimate = |tier| of(tier).and_then(number).unwrap_or_else(|| NOTHING.into());
            let mut row = vec![claim.id.clone(), claim.says.clone()];
            row.extend(tiers.iter().map(word));
            row.extend([p_of(claim, &tiers), claim.unit.clone()]);
            row.extend(tiers.iter().map(estimate));
            row.push(remarks(claim, &tiers));
            row
        };
        Sheet::new(header).with(self.claims.iter().map(row))
    }

    /// The rules by which verdicts are made.
    pub const RULES: &str = RULES;

    /// How many claims have which verdict at each tier, a sentence for each.
    pub fn counted(&self) -> String {
        let tiers = self.tiers();
        let sentences: Vec<String> = tiers.iter().map(|&tier| counted(self, tier)).collect();
        sentences.join(" ")
    }
}

fn number(verdict: &TierVerdict) -> Option<String> {
    let small = verdict.estimate?.abs() < 0.095;
    verdict.number(if small { 3 } else { 1 })
}

/// The p of the last tier that has one: printed cells have none.
fn p_of(claim: &ClaimVerdict, tiers: &[Tier]) -> String {
    let p = tiers.iter().rev().find_map(|tier| claim.tiers.get(tier)?.p);
    match p {
        None => NOTHING.into(),
        Some(p) if p < 0.001 => "<0.001".into(),
        Some(p) => format!("{p:.3}"),
    }
}

/// Reasons, readings and the seeds' share, each with its tier.
fn remarks(claim: &ClaimVerdict, tiers: &[Tier]) -> String {
    let mut remarks = Vec::new();
    for (tier, verdict) in tiers
        .iter()
        .filter_map(|tier| Some((tier, claim.tiers.get(tier)?)))
    {
        let mut own: Vec<String> = verdict.reason.iter().cloned().collect();
        own.extend(verdict.readings.iter().map(|reading| {
            let (lo, hi) = (reading.lo, reading.hi);
            format!(
                "on {}: {} {:.1} [{lo:.1}, {hi:.1}]",
                reading.name, reading.verdict, reading.estimate
            )
        }));
        match verdict.seeds {
            Some(1) => own.push("one training seed: the interval holds the training fixed".into()),
            Some(seeds) => own.push(format!(
                "{seeds} training seeds, {:.0} % of the variance",
                100.0 * verdict.seed_share.unwrap_or(0.0)
            )),
            None => {}
        }
        if !own.is_empty() {
            remarks.push(format!("{tier}: {}", own.join("; ")));
        }
    }
    remarks.join(". ")
}

/// The ledger of what needs no run: printed cells, and the arithmetic of the published shape.
///
/// # Errors
/// When the data of this crate are damaged.
pub fn published_ledger() -> Result<Ledger, EvalError> {
    let (published, claims) = (Published::builtin()?, Claims::builtin()?);
    let mut ledger = Ledger::new(&claims);
    for (id, verdict) in judge_published(&published, &claims)? {
        ledger.enter(&id, Tier::Published, verdict);
    }
    for (id, verdict) in judge_shape(&claims) {
        ledger.enter(&id, Tier::Shape, verdict);
    }
    Ok(ledger)
}

/// Every printed table with its means recomputed, and every claim with what the cells say of it, in Markdown.
///
/// # Errors
/// When the data of this crate are damaged.
pub fn published_page() -> Result<String, EvalError> {
    let (published, claims) = (Published::builtin()?, Claims::builtin()?);
    let ledger = published_ledger()?;
    let cells = Cells {
        published: &published,
        claims: &claims,
    };
    let mut sections = vec![Section::new(LEDGER, vec![Block::Sheet(ledger.to_sheet())])];
    for number in 1..=3 {
        let (title, sheet) = means(&cells, number);
        sections.push(Section::new(title, vec![Block::Sheet(sheet)]));
    }
    for number in 4..=5 {
        let title = format!("Table {number} as printed");
        sections.push(Section::new(
            title,
            vec![Block::Sheet(printed(&published, number))],
        ));
    }
    let page = Page {
        title: "What the papers' printed cells say".into(),
        lead: vec![
            format!(
                "Nothing here was run: {} cells of both papers, and the arithmetic of the published shape. {}",
                published.cells.len(),
                counted(&ledger, Tier::Published)
            ),
            RULES.into(),
        ],
        sections,
    };
    Ok(page.to_markdown())
}

/// The same as JSON: `ledger`, and for each of tables 1 to 3 the rows with the printed mean and both recomputed ones.
///
/// # Errors
/// When the data of this crate are damaged.
pub fn published_json() -> Result<serde_json::Value, EvalError> {
    let (published, claims) = (Published::builtin()?, Claims::builtin()?);
    let cells = Cells {
        published: &published,
        claims: &claims,
    };
    let row = |table: usize, printed: &Printed| {
        let [ragged, common] =
            Columns::BOTH.map(|columns| cells.retention(table, columns, &[(1.0, printed)]));
        serde_json::json!({
            "table": table, "paper": printed.row.paper, "method": printed.row.method, "budget": printed.row.budget,
            "printed": mean_cell(&published, printed), "columns": printed.row.columns().len(),
            "own_columns": ragged.value, "common_columns": common.value,
        })
    };
    let means: Vec<serde_json::Value> = (1..=3)
        .flat_map(|table| cells.rows(table).into_iter().map(move |printed| (table, printed)))
        .map(|(table, printed)| row(table, &printed))
        .collect();
    Ok(serde_json::json!({ "ledger": published_ledger()?, "means": means }))
}

fn mean_cell(published: &Published, printed: &Printed) -> Option<f64> {
    Some(published.cells[printed.row.place(PRINTED_MEAN)?].value)
}

/// The means of a table of benchmarks, both side by side.
fn means(cells: &Cells<'_>, number: usize) -> (String, Sheet) {
    let common = cells
        .published
        .common_columns(number, &|method| cells.is_quoted(method));
    let title = format!(
        "Table {number}: mean retention over each row's own columns and over the {} that all rows have ({})",
        common.len(),
        common.join(", ")
    );
    let header = [
        "paper",
        "kept",
        "row",
        "printed mean",
        "own columns",
        "columns",
        "common columns",
        "rank on own",
        "rank on common",
    ];
    let mut table = Sheet::new(header);
    let rows = cells.rows(number);
    for budget in ["1/3", "2/9", "1/9"] {
        let at: Vec<&Printed> = rows
            .iter()
            .filter(|printed| printed.row.budget == budget)
            .collect();
        let mean = |columns| -> Vec<f64> {
            at.iter()
                .map(|printed| cells.retention(number, columns, &[(1.0, printed)]).value)
                .collect()
        };
        let [own, shared] = Columns::BOTH.map(mean);
        // Both papers print their method's row.
        let rank = |values: &[f64], place: usize| {
            let above = (0..at.len()).filter(|&other| {
                let repeated = cells.is_ours(&at[other].row) && other > 0;
                !repeated && values[other] > values[place] + 1e-9
            });
            (1 + above.count()).to_string()
        };
        for (place, printed) in at.iter().enumerate() {
            let complete = cells.columns(number, &printed.row, Columns::Common).len() == common.len();
            let missing = if complete { "" } else { " (fewer)" };
            table.rows.push(vec![
                printed.row.paper.clone(),
                budget.into(),
                printed.row.method.clone(),
                mean_cell(cells.published, printed).map_or(NOTHING.into(), |mean| format!("{mean:.1}")),
                format!("{:.2}", own[place]),
                printed.row.columns().len().to_string(),
                format!("{:.2}{missing}", shared[place]),
                rank(&own, place),
                rank(&shared, place),
            ]);
        }
    }
    (title, table)
}

/// A table as it is printed.
fn printed(published: &Published, number: usize) -> Sheet {
    let mut columns: Vec<&str> = Vec::new();
    for cell in published.cells.iter().filter(|cell| cell.table == number) {
        if !columns.contains(&cell.quantity.as_str()) {
            columns.push(&cell.quantity);
        }
    }
    let header: Vec<&str> = ["paper", "kept", "row"]
        .into_iter()
        .chain(columns.iter().copied())
        .collect();
    let mut table = Sheet::new(header);
    for paper in published.papers(number) {
        for row in published.rows(paper, number) {
            let value = |column: &&str| {
                let place = row.place(column);
                place.map_or(NOTHING.to_string(), |place| {
                    published.cells[place].value.to_string()
                })
            };
            let names = [row.paper.clone(), row.budget.clone(), row.method.clone()];
            table
                .rows
                .push(names.into_iter().chain(columns.iter().map(value)).collect());
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_claim_and_every_row() {
        let page = published_page().unwrap();
        for claim in Claims::builtin().unwrap().claims {
            assert!(page.contains(&format!("| {} |", claim.id)), "{}", claim.id);
        }
        for cell in Published::builtin().unwrap().cells {
            if !cell.is_unpruned() {
                assert!(page.contains(&cell.method), "{}", cell.method);
            }
        }
        assert!(page.contains("fail"), "failures are counted");
        let widths = |line: &str| line.replace("\\|", "").matches('|').count();
        let lines: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
        assert!(
            lines
                .windows(2)
                .all(|pair| widths(pair[0]) == widths(pair[1]) || pair[1].starts_with("| paper"))
        );
    }

    #[test]
    fn json_has_the_same_numbers() {
        let json = published_json().unwrap();
        let rows = json["means"].as_array().unwrap();
        let ours = rows
            .iter()
            .find(|row| row["method"] == "DiffPrune" && row["budget"] == "1/9")
            .unwrap();
        assert!(
            (ours["common_columns"].as_f64().unwrap() - 95.2).abs() < 0.05,
            "{ours}"
        );
        assert_eq!(ours["printed"], 96.5);
        let ledger: Ledger = serde_json::from_value(json["ledger"].clone()).unwrap();
        assert_eq!(ledger, published_ledger().unwrap());
    }
}
