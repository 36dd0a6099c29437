//! The papers' printed cells beside those of a run.

use super::metric::Metric;
use super::options::ReportOptions;
use super::result::Report;
use super::table_id::TableId;
use super::text_table::{NOTHING, TextTable};
use crate::EvalError;
use crate::data::Benchmark;
use crate::evidence::{Claims, Published, PublishedCell, Tier};
use crate::page::Sheet;

/// The printed table that the run shows, with its numbers beside it; without rows where no row of it ran.
///
/// A run of published weights on published data is compared number by number: `reproduced` where the printed number lies in our
/// interval (by half of its last digit more), `differs by` elsewhere. Other models have other scores; of them the order can
/// be compared: the lead of the method over each row, by sign.
pub(crate) fn beside_published(report: &Report) -> Result<TextTable, EvalError> {
    let options = report.options();
    let table = super::judge::table_of(&report.meta, &options);
    let Some(table) = table.filter(|_| !report.ledger().claims.is_empty()) else {
        return Ok(TextTable::default());
    };
    let beside = Beside {
        report,
        options,
        table,
        published: Published::builtin()?,
        claims: Claims::builtin()?,
    };
    Ok(match Tier::of(&report.meta.tier) {
        Some(Tier::Full) => beside.numbers(),
        _ => beside.order(),
    })
}

struct Beside<'r> {
    report: &'r Report,
    options: ReportOptions,
    table: usize,
    published: Published,
    claims: Claims,
}

/// A row of a paper with its arm and its budget here.
struct Pair<'p> {
    paper: &'p str,
    row: &'p str,
    share: &'p str,
    arm: String,
    budget: String,
}

impl Beside<'_> {
    /// The printed rows that an arm of the run stands for, each once, in printed order.
    fn pairs(&self) -> Vec<Pair<'_>> {
        let mut pairs: Vec<Pair<'_>> = Vec::new();
        for cell in self.cells() {
            let (row, share) = (cell.method.as_str(), cell.budget());
            let known =
                |pair: &Pair<'_>| (pair.paper, pair.row, pair.share) == (cell.paper.as_str(), row, share);
            if pairs.iter().any(known) {
                continue;
            }
            let Some(budget) = self.budget(cell) else { continue };
            let Some(arm) = self.arm(cell, &budget) else {
                continue;
            };
            pairs.push(Pair {
                paper: &cell.paper,
                row,
                share,
                arm,
                budget,
            });
        }
        pairs
    }

    fn cells(&self) -> impl Iterator<Item = &PublishedCell> {
        self.published
            .cells
            .iter()
            .filter(|cell| cell.table == self.table)
    }

    /// The name that the run has for a printed budget.
    fn budget(&self, cell: &PublishedCell) -> Option<String> {
        let mut budgets = self.report.budgets();
        budgets.push("all".into());
        budgets
            .into_iter()
            .find(|budget| budget == cell.budget() || *budget == cell.kept)
    }

    /// The arm that stands for a printed row.
    fn arm(&self, cell: &PublishedCell, budget: &str) -> Option<String> {
        let ran = |arm: &&String| {
            let rows = self
                .report
                .table(TableId::Tokens)
                .into_iter()
                .flat_map(|table| &table.rows);
            rows.into_iter()
                .any(|row| row.arm == **arm && row.budget == budget)
        };
        if cell.is_ours() {
            return Some(&self.options.method).filter(ran).cloned();
        }
        if cell.is_unpruned() {
            return Some(&self.options.full).filter(ran).cloned();
        }
        let row = self.claims.row(&cell.method)?;
        let arms = match self.table == 3 && !row.qwen.is_empty() {
            true => &row.qwen,
            false => &row.arms,
        };
        arms.iter().find(ran).cloned()
    }

    /// Benchmarks that the table prints and the run has.
    fn columns(&self) -> Vec<Benchmark> {
        let here = self.report.table(TableId::Benchmarks);
        let metrics = here.map(|table| table.metrics()).unwrap_or_default();
        let own: Vec<Benchmark> = metrics.iter().filter_map(|metric| metric.benchmark()).collect();
        let printed = self.published.benchmarks(self.table);
        let named = printed.iter().filter_map(|name| Benchmark::named(name));
        named.filter(|benchmark| own.contains(benchmark)).collect()
    }

    fn printed(&self, pair: &Pair<'_>, row: &str, column: Benchmark) -> Option<&PublishedCell> {
        self.cells().find(|cell| {
            cell.paper == pair.paper
                && cell.method == row
                && cell.budget() == pair.share
                && cell.quantity == column.name()
        })
    }

    fn here(&self, arm: &str, budget: &str, column: Benchmark) -> Option<&super::table::Row> {
        self.report
            .row(TableId::Benchmarks, arm, budget, &Metric::Benchmark(column))
    }

    fn head(&self, last: &str) -> Sheet {
        let names = ["paper", "kept", "row", "arm here"].map(String::from);
        let columns = self.columns().into_iter().map(|column| column.to_string());
        Sheet::new(names.into_iter().chain(columns).chain([last.to_string()]))
    }

    /// Leads of the method over each row: printed, then found.
    fn order(&self) -> TextTable {
        let mut sheet = self.head("same sign");
        let ours = |pair: &Pair<'_>| {
            let own = |cell: &&PublishedCell| {
                cell.is_ours() && cell.paper == pair.paper && cell.budget() == pair.share
            };
            self.cells().find(own).map(|cell| cell.method.clone())
        };
        for pair in self.pairs() {
            let Some(ours) = ours(&pair).filter(|ours| ours != pair.row && pair.share != "all") else {
                continue;
            };
            let (mut same, mut all) = (0, 0);
            let lead = |column: Benchmark| {
                let printed =
                    self.printed(&pair, &ours, column)?.value - self.printed(&pair, pair.row, column)?.value;
                let here = self.here(&self.options.method, &pair.budget, column)?.value
                    - self.here(&pair.arm, &pair.budget, column)?.value;
                Some((printed, here))
            };
            let mut line = [pair.paper, pair.share, pair.row, &pair.arm]
                .map(String::from)
                .to_vec();
            for column in self.columns() {
                let Some((printed, here)) = lead(column) else {
                    line.push(NOTHING.into());
                    continue;
                };
                // Numbers that are printed alike have no order.
                if printed.abs() > 1e-9 && here.abs() > 1e-9 {
                    all += 1;
                    same += usize::from((printed > 0.0) == (here > 0.0));
                }
                line.push(format!("{printed:+.1} / {here:+.1}"));
            }
            line.push(format!("{same} of {all}"));
            sheet.rows.push(line);
        }
        TextTable {
            title: format!(
                "Table {} of the papers beside this run: the lead over each row, printed / here (small models: only signs \
                 compare)",
                self.table
            ),
            sheet,
        }
    }

    /// Every printed number beside ours.
    fn numbers(&self) -> TextTable {
        let mut sheet = self.head("reproduced");
        for pair in self.pairs() {
            let (mut same, mut all) = (0, 0);
            let mut line = [pair.paper, pair.share, pair.row, &pair.arm]
                .map(String::from)
                .to_vec();
            for column in self.columns() {
                let found = self.printed(&pair, pair.row, column);
                let (Some(printed), Some(here)) = (found, self.here(&pair.arm, &pair.budget, column)) else {
                    line.push(NOTHING.into());
                    continue;
                };
                let half = printed.half_digit();
                let is_within = here.lo - half <= printed.value && printed.value <= here.hi + half;
                all += 1;
                same += usize::from(is_within);
                let said = match is_within {
                    true => "reproduced".to_string(),
                    false => format!("differs by {:+.1}", here.value - printed.value),
                };
                line.push(format!("{} / {:.1} {said}", printed.value, here.value));
            }
            line.push(format!("{same} of {all}"));
            sheet.rows.push(line);
        }
        TextTable {
            title: format!(
                "Table {} of the papers beside this run: printed / found",
                self.table
            ),
            sheet,
        }
    }
}
