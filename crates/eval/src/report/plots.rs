//! The drawings of a report.

use super::metric::Metric;
use super::options::ReportOptions;
use super::result::Report;
use super::table::{Row, distinct};
use super::table_id::TableId;
use crate::EvalError;
use crate::chart::{DotRow, Dots, Forest, ForestRow, Grid, Line, Lines, Palette, Shading};
use crate::evidence::{Ledger, Tier, TierVerdict, counted};
use crate::stats::{Estimate, Verdict};

/// A drawn plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// File name without ending.
    pub name: String,
    /// What it says.
    pub title: String,
    /// The SVG document.
    pub svg: String,
}

/// Tiers that judge by something run or computed, the most telling first.
const RUN: [Tier; 3] = [Tier::Full, Tier::Mini, Tier::Shape];
/// More kinds of questions than this do not fit beside each other.
const MOST_KINDS: usize = 48;

/// Every plot of the report.
pub(crate) fn all(report: &Report) -> Result<Vec<Plot>, EvalError> {
    let sight = Sight::of(report);
    let mut plots = Vec::new();
    plots.extend(forest(&report.ledger(), "claims")?);
    plots.extend(sight.over_tokens()?);
    for budget in sight.budgets() {
        plots.extend(sight.ranked(budget)?);
    }
    plots.extend(sight.over_cost()?);
    for budget in sight.budgets() {
        plots.extend(sight.benchmarks(budget)?);
        plots.extend(sight.kinds(budget)?);
    }
    Ok(plots)
}

/// A budget in a sentence.
pub(crate) fn of_tokens(budget: &str) -> String {
    match budget.parse::<usize>() {
        Ok(_) => format!("{budget} tokens"),
        Err(_) => format!("{budget} of the tokens"),
    }
}

/// The claims of a ledger that a run or the published shape has judged with an interval; `None` without any.
///
/// # Errors
/// When it cannot be drawn.
pub fn forest(ledger: &Ledger, name: &str) -> Result<Option<Plot>, EvalError> {
    let mut rows = Vec::new();
    for claim in &ledger.claims {
        let is_judged =
            |found: &&TierVerdict| found.verdict != Verdict::Untestable && found.estimate.is_some();
        let mut own = RUN.iter().filter_map(|tier| claim.tiers.get(tier));
        let Some(found) = own.find(is_judged) else {
            continue;
        };
        let interval = |found: &TierVerdict| {
            Some(Estimate {
                value: found.estimate?,
                lo: found.lo.unwrap_or(f64::NEG_INFINITY),
                hi: found.hi.unwrap_or(f64::INFINITY),
            })
        };
        rows.extend(interval(found).map(|estimate| ForestRow {
            label: claim.says.clone(),
            unit: claim.unit.clone(),
            verdict: found.verdict,
            estimate,
            beside: claim.tiers.get(&Tier::Published).and_then(interval),
        }));
    }
    let tiers = ledger.tiers();
    let tier = RUN.into_iter().find(|tier| tiers.contains(tier));
    let Some(tier) = tier.filter(|_| !rows.is_empty()) else {
        return Ok(None);
    };
    let title = counted(ledger, tier);
    let chart = Forest {
        name: name.into(),
        title: title.clone(),
        note: "The number of each claim, which holds above zero, with its interval; claims of equivalence hold within their bound."
            .into(),
        rows,
    };
    Ok(Some(Plot {
        name: name.into(),
        title,
        svg: chart.svg()?,
    }))
}

/// A report as its drawings see it.
struct Sight<'r> {
    report: &'r Report,
    options: ReportOptions,
    palette: Palette,
}

impl<'r> Sight<'r> {
    fn of(report: &'r Report) -> Self {
        let rows = report
            .table(TableId::Main)
            .into_iter()
            .flat_map(|table| &table.rows);
        let arms = distinct(rows.map(|row| row.arm.as_str()));
        Self {
            report,
            options: report.options(),
            palette: Palette::of(arms.into_iter().filter(|arm| !report.is_repeated(arm))),
        }
    }

    /// The budgets below the whole, from the largest to the smallest.
    fn budgets(&self) -> Vec<&'r str> {
        let rows = self
            .report
            .table(TableId::Main)
            .into_iter()
            .flat_map(|table| &table.rows);
        let mut budgets = distinct(
            rows.map(|row| row.budget.as_str())
                .filter(|budget| *budget != "all"),
        );
        let most = |budget: &str| {
            let kept = self
                .report
                .table(TableId::Tokens)
                .into_iter()
                .flat_map(|table| &table.rows);
            let values = kept.filter(|row| row.budget == budget).map(|row| row.value);
            let mut values: Vec<f64> = values.collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        budgets.sort_by(|a, b| most(b).total_cmp(&most(a)));
        budgets
    }

    fn kept(&self, arm: &str, budget: &str) -> Option<f64> {
        Some(
            self.report
                .row(TableId::Tokens, arm, budget, &Metric::KeptTokens)?
                .value,
        )
    }

    /// `1/9 of the tokens (16 of 144)`.
    fn at(&self, budget: &str) -> String {
        let kept = self.kept(&self.options.method, budget);
        match (kept, self.total()) {
            (Some(kept), Some(total)) => format!("{} ({kept:.0} of {total:.0})", of_tokens(budget)),
            _ => of_tokens(budget),
        }
    }

    /// Visual tokens of a picture, on average.
    fn total(&self) -> Option<f64> {
        self.kept(&self.options.full, "all")
    }

    /// The number that methods are compared by: retention, or the average where there is no unpruned model.
    fn metric(&self) -> Metric {
        let is_there = |metric: &Metric| {
            let rows = self
                .report
                .table(TableId::Main)
                .into_iter()
                .flat_map(|table| &table.rows);
            rows.into_iter().any(|row| row.metric == *metric)
        };
        match is_there(&Metric::Retention) {
            true => Metric::Retention,
            false => Metric::Average,
        }
    }

    /// The rows of a number at a budget, those of equal arms once, from the best to the worst.
    fn rows(&self, metric: &Metric, budget: &str) -> Vec<&'r Row> {
        let rows = self
            .report
            .table(TableId::Main)
            .into_iter()
            .flat_map(|table| &table.rows);
        let mut rows: Vec<&Row> = rows
            .filter(|row| row.metric == *metric && row.budget == budget && !self.report.is_repeated(&row.arm))
            .collect();
        rows.sort_by(|a, b| b.value.total_cmp(&a.value));
        rows
    }

    /// `keeps 93.4 % of the unpruned score, as the 2nd of 57 rows`: of the method, or of the best where it did not run.
    fn standing(&self, rows: &[&Row]) -> String {
        let own = rows.iter().position(|row| row.arm == self.options.method);
        let Some(row) = rows.get(own.unwrap_or(0)) else {
            return String::new();
        };
        let number = match self.metric() {
            Metric::Retention => format!("keeps {:.1} % of the unpruned score", row.value),
            _ => format!("scores {:.1} %", row.value),
        };
        let others = match (own, rows.len()) {
            (None, _) => ", the most of all".to_string(),
            (_, 1) => String::new(),
            (Some(above), n) => format!("; {above} of {} other rows are above it", n - 1),
        };
        format!("{} {number}{others}", row.arm)
    }

    /// A number of the main table over something, for arms at two budgets or more.
    fn lines(&self, metric: &Metric, x: impl Fn(&Row) -> Option<f64>) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for budget in self.budgets() {
            for row in self.rows(metric, budget) {
                let Some(x) = x(row) else { continue };
                let point = (x, estimate(row));
                match lines.iter_mut().find(|line| line.name == row.arm) {
                    Some(line) => line.points.push(point),
                    None => lines.push(Line {
                        name: row.arm.clone(),
                        label: self.short(&row.arm),
                        points: vec![point],
                        dashed: false,
                    }),
                }
            }
        }
        lines.retain(|line| line.points.len() > 1);
        lines
    }

    /// The first name of equal arms, and how many more there are.
    fn short(&self, arm: &str) -> String {
        let group = self.report.equal.iter().find(|group| group[0] == arm);
        match group {
            Some(group) => format!("{arm} (= {} more)", group.len() - 1),
            None => arm.into(),
        }
    }

    fn over_tokens(&self) -> Result<Option<Plot>, EvalError> {
        let metric = self.metric();
        let lines = self.lines(&metric, |row| self.kept(&row.arm, &row.budget));
        let Some(smallest) = self.budgets().last().copied().filter(|_| !lines.is_empty()) else {
            return Ok(None);
        };
        let title = format!(
            "At {} {}",
            self.at(smallest),
            self.standing(&self.rows(&metric, smallest))
        );
        let marks = self.budgets().into_iter();
        let marks = marks
            .filter_map(|budget| self.kept(&self.options.method, budget))
            .collect();
        let (y, level) = match metric {
            Metric::Retention => (
                "share of the unpruned score, %",
                Some((100.0, "unpruned".to_string())),
            ),
            _ => ("average score, %", None),
        };
        let of = self
            .total()
            .map_or(String::new(), |total| format!(" of {total:.0}"));
        let chart = Lines {
            name: "retention".into(),
            title: title.clone(),
            x: format!("visual tokens kept{of}, mean over layers and pictures"),
            y: y.into(),
            log_x: false,
            falling: true,
            x_marks: marks,
            level,
            decimals: Some(1),
            note: self.note(),
            lines,
        };
        self.plot(chart.name.clone(), title, chart.svg(&self.palette)?)
    }

    fn over_cost(&self) -> Result<Option<Plot>, EvalError> {
        let cost = |arm: &str, budget: &str| {
            Some(
                self.report
                    .row(TableId::Cost, arm, budget, &Metric::PrefillGflops)?
                    .value,
            )
        };
        let lines = self.lines(&Metric::Average, |row| cost(&row.arm, &row.budget));
        let full = |metric: &Metric| self.report.row(TableId::Main, &self.options.full, "all", metric);
        let Some(smallest) = self.budgets().last().copied().filter(|_| !lines.is_empty()) else {
            return Ok(None);
        };
        let rows = self.rows(&Metric::Average, smallest);
        let own = rows
            .iter()
            .find(|row| row.arm == self.options.method)
            .or(rows.first());
        let (Some(own), Some(whole), Some(full_cost)) =
            (own, full(&Metric::Average), cost(&self.options.full, "all"))
        else {
            return Ok(None);
        };
        let own_cost = cost(&own.arm, smallest).unwrap_or(f64::NAN);
        let title = format!(
            "{} scores {:.1} % for {:.0} % of the unpruned prefill's arithmetic; the unpruned model scores {:.1} %",
            own.arm,
            own.value,
            100.0 * own_cost / full_cost,
            whole.value
        );
        let chart = Lines {
            name: "cost".into(),
            title: title.clone(),
            x: format!("arithmetic of the prefill, GFLOPs (unpruned: {full_cost:.3})"),
            y: "average score, %".into(),
            log_x: false,
            falling: true,
            x_marks: Vec::new(),
            level: Some((whole.value, "unpruned".into())),
            decimals: Some(1),
            note: self.note(),
            lines,
        };
        self.plot(chart.name.clone(), title, chart.svg(&self.palette)?)
    }

    fn ranked(&self, budget: &str) -> Result<Option<Plot>, EvalError> {
        let metric = self.metric();
        let rows = self.rows(&metric, budget);
        if rows.is_empty() {
            return Ok(None);
        }
        let title = format!("At {} {}", self.at(budget), self.standing(&rows));
        let x = match metric {
            Metric::Retention => "share of the unpruned score, %",
            _ => "average score, %",
        };
        let row = |row: &&Row| DotRow {
            name: row.arm.clone(),
            label: self.short(&row.arm),
            values: vec![estimate(row)],
        };
        let chart = Dots {
            name: file("ranked", budget),
            title: title.clone(),
            x: x.into(),
            series: Vec::new(),
            level: (metric == Metric::Retention).then(|| (100.0, "unpruned".into())),
            decimals: 1,
            note: "Intervals: 95 %, over pictures.".into(),
            rows: rows.iter().map(row).collect(),
        };
        self.plot(chart.name.clone(), title, chart.svg(&self.palette)?)
    }

    /// Every arm on every benchmark, as the change of the unpruned score.
    fn benchmarks(&self, budget: &str) -> Result<Option<Plot>, EvalError> {
        let rows = self.rows(&self.metric(), budget);
        let table = self.report.table(TableId::Benchmarks);
        let metrics: Vec<&Metric> = table.map(|table| table.metrics()).unwrap_or_default();
        let change = |arm: &str, metric: &Metric| {
            let full = self
                .report
                .row(TableId::Benchmarks, &self.options.full, "all", metric)?
                .value;
            let own = self.report.row(TableId::Benchmarks, arm, budget, metric)?.value;
            (full > 0.0).then(|| 100.0 * own / full - 100.0)
        };
        let names = metrics.iter().map(|metric| {
            metric
                .benchmark()
                .map_or(metric.to_string(), |benchmark| benchmark.to_string())
        });
        let names: Vec<String> = names.collect();
        let title = |arm: &str, worst: &str, value: f64| {
            format!(
                "At {} {arm} loses most on {worst}: {} % of the unpruned score",
                self.at(budget),
                signed(value)
            )
        };
        let note = "Change of each benchmark's number, percent of the unpruned model's; rows from the best average to the worst.";
        let columns = vec![(String::new(), names)];
        let changes = changes(&rows, &metrics, change);
        self.grid("benchmarks", budget, &rows, columns, changes, title, note)
    }

    /// The arms in colour on every kind of question, as points lost or gained.
    fn kinds(&self, budget: &str) -> Result<Option<Plot>, EvalError> {
        let Some(table) = self.report.table(TableId::Kinds) else {
            return Ok(None);
        };
        let rows: Vec<&Row> = self
            .rows(&self.metric(), budget)
            .into_iter()
            .filter(|row| self.palette.colour(&row.arm).is_some())
            .collect();
        let mut columns: Vec<(String, Vec<String>)> = Vec::new();
        let mut metrics = table.metrics();
        metrics.truncate(MOST_KINDS);
        for metric in &metrics {
            let Metric::Kind(benchmark, kind) = metric else {
                continue;
            };
            match columns.last_mut().filter(|column| column.0 == benchmark.name()) {
                Some(column) => column.1.push(kind.clone()),
                None => columns.push((benchmark.name().into(), vec![kind.clone()])),
            }
        }
        let change = |arm: &str, metric: &Metric| {
            let full = table.row(&self.options.full, "all", metric)?.value;
            Some(table.row(arm, budget, metric)?.value - full)
        };
        let title = |arm: &str, worst: &str, value: f64| {
            format!(
                "At {} {arm} loses most on questions of the kind {worst}: {} points",
                self.at(budget),
                signed(value)
            )
        };
        let note = "Points of the mean score, less the unpruned model's.";
        let changes = changes(&rows, &metrics, change);
        self.grid("kinds", budget, &rows, columns, changes, title, note)
    }

    #[expect(clippy::too_many_arguments, reason = "the two maps differ in all of them")]
    fn grid(
        &self,
        name: &str,
        budget: &str,
        rows: &[&Row],
        columns: Vec<(String, Vec<String>)>,
        values: Vec<Vec<Option<f64>>>,
        title: impl Fn(&str, &str, f64) -> String,
        note: &str,
    ) -> Result<Option<Plot>, EvalError> {
        let place = rows
            .iter()
            .position(|row| row.arm == self.options.method)
            .unwrap_or(0);
        let names: Vec<String> = columns
            .iter()
            .flat_map(|(group, names)| names.iter().map(move |name| format!("{group} {name}")))
            .collect();
        let own = values.get(place).into_iter().flatten().zip(&names);
        let worst = own
            .filter_map(|(value, name)| Some(((*value)?, name)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let (Some((least, worst)), Some(row)) = (worst, rows.get(place)) else {
            return Ok(None);
        };
        let title = title(&row.arm, worst.trim(), least);
        let chart = Grid {
            name: file(name, budget),
            title: title.clone(),
            rows: rows
                .iter()
                .map(|row| (row.arm.clone(), self.short(&row.arm)))
                .collect(),
            columns,
            values,
            shading: Shading::Diverging(50.0),
            note: note.into(),
        };
        self.plot(chart.name.clone(), title, chart.svg(&self.palette)?)
    }

    /// What stands below charts of lines.
    fn note(&self) -> String {
        let rows = self
            .report
            .table(TableId::Main)
            .into_iter()
            .flat_map(|table| &table.rows);
        let arms = distinct(rows.map(|row| row.arm.as_str()));
        let is_grey = |arm: &&str| !self.report.is_repeated(arm) && self.palette.colour(arm).is_none();
        let grey = match arms.iter().copied().filter(|arm| is_grey(arm)).count() {
            0 => "",
            _ => "; thin grey lines: the other rows of the tables",
        };
        format!("Intervals: 95 %, over pictures{grey}.")
    }

    fn plot(&self, name: String, title: String, svg: String) -> Result<Option<Plot>, EvalError> {
        Ok(Some(Plot { name, title, svg }))
    }
}

/// What becomes of each number in each row.
fn changes(
    rows: &[&Row],
    metrics: &[&Metric],
    change: impl Fn(&str, &Metric) -> Option<f64>,
) -> Vec<Vec<Option<f64>>> {
    rows.iter()
        .map(|row| metrics.iter().map(|metric| change(&row.arm, metric)).collect())
        .collect()
}

fn file(name: &str, budget: &str) -> String {
    format!("{name}-{}", budget.replace(['/', '%'], "-"))
}

/// A whole number with its sign.
fn signed(value: f64) -> String {
    format!("{value:+.0}").replace('-', "\u{2212}")
}

fn estimate(row: &Row) -> Estimate {
    Estimate {
        value: row.value,
        lo: row.lo,
        hi: row.hi,
    }
}
