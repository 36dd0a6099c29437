//! A report as a page.

use super::beside::beside_published;
use super::counted::Counted;
use super::figures::Figures;
use super::headings::differing;
use super::metric::Metric;
use super::plots::{Plot, of_tokens};
use super::result::{Meta, Report};
use super::table::{Row, distinct};
use super::table_id::TableId;
use super::text_table::{
    CANNOT, NOTHING, TextTable, absent, claims, data, interval, ledger, merge, of_table, times,
};
use crate::evidence::Ledger;
use crate::page::{Block, LatexTable, Page, Section, Sheet, latex_document};

/// The headline of the pages.
pub(crate) fn title(meta: &Meta) -> &str {
    if meta.title.is_empty() {
        "Evaluation report"
    } else {
        &meta.title
    }
}

/// One sentence on how the report was made.
pub(crate) fn circumstances(meta: &Meta) -> String {
    format!(
        "Tier {}, device {}, seed {}, revision {}. Brackets are paired-bootstrap 95 % intervals over images; a claim whose \
         interval covers zero is a tie.",
        meta.tier, meta.device, meta.seed, meta.revision
    )
}

/// What stands above all else: the model and its data, the first note of the run, how many claims have which verdict.
fn lead(report: &Report) -> Vec<String> {
    let meta = &report.meta;
    let mut lead = vec![circumstances(meta), meta.note.trim().to_string()];
    lead.extend(meta.notes.first().cloned());
    lead.push(report.ledger().counted());
    lead.retain(|sentence| !sentence.is_empty());
    lead
}

/// What a reader must know before the numbers: further notes of the run, which benchmarks enter averages, which data are not
/// those of the papers, which arms are the same.
fn notes(report: &Report) -> Vec<Block> {
    let mut notes: Vec<String> = report.meta.notes.iter().skip(1).cloned().collect();
    notes.extend(report.counted.as_ref().map(Counted::sentence));
    notes.extend(differing(&report.data));
    if !report.equal.is_empty() {
        let groups: Vec<String> = report.equal.iter().map(|group| group.join(" = ")).collect();
        notes.push(format!(
            "Arms that chose the same tokens on every picture are one row: {}.",
            groups.join("; ")
        ));
    }
    notes.into_iter().map(Block::Text).collect()
}

/// The page of a report with its drawings and pictures.
pub(crate) fn page(report: &Report, plots: &[Plot], figures: &Figures) -> Page {
    let drawn = |name: &str| -> Vec<Block> {
        let is_of = |plot: &&Plot| plot.name == name || plot.name.starts_with(&format!("{name}-"));
        let block = |plot: &Plot| Block::Plot(plot.clone(), format!("{}.svg", plot.name));
        plots.iter().filter(is_of).map(block).collect()
    };
    let mut claimed = drawn("claims");
    if !report.ledger().claims.is_empty() {
        claimed.push(Block::Text(Ledger::RULES.into()));
    }
    // A report whose data of the papers are damaged has no ledger either.
    let beside = beside_published(report).unwrap_or_default();
    let mut sections = vec![
        Section {
            parts: parts([ledger(report), claims(report), beside]),
            ..Section::new("Claims", claimed)
        },
        Section::new("Notes", notes(report)),
        Section {
            parts: results(report),
            ..Section::new(
                "Results",
                [drawn("retention"), drawn("ranked"), drawn("cost")].concat(),
            )
        },
    ];
    for table in report.tables.iter().filter(|table| table.id != TableId::Main) {
        let blocks = match table.id {
            TableId::Benchmarks => drawn("benchmarks"),
            TableId::Kinds => drawn("kinds"),
            _ => Vec::new(),
        };
        let mut section = Section::new(table.title.clone(), blocks);
        let mut shown: Vec<TextTable> = of_table(table, report)
            .into_iter()
            .filter(|shown| !shown.sheet.rows.is_empty())
            .collect();
        let is_long = shown.iter().any(|shown| shown.sheet.rows.len() > 12);
        match shown.as_mut_slice() {
            [one] => {
                section.title = std::mem::take(&mut one.title);
                section.blocks.push(Block::Sheet(std::mem::take(&mut one.sheet)));
                section.is_folded = is_long && section.blocks.len() == 1;
            }
            _ => {
                // The heading above says it already.
                let head = format!("{}: ", table.title);
                for shown in &mut shown {
                    shown.title = shown.title.replacen(&head, "", 1);
                }
                let fold = |part: Section| if is_long { part.folded() } else { part };
                section.parts = parts(shown).into_iter().map(fold).collect();
            }
        }
        sections.push(section);
    }
    if report.table(TableId::Main).is_none() {
        sections.extend(parts([data(report)]));
    }
    sections.extend(parts([times(report)]));
    let pictures = figures.figures.iter().cloned().map(Block::Figure);
    let legend = Block::Text(figures.legend.clone());
    if !figures.figures.is_empty() {
        let blocks = std::iter::once(legend).chain(pictures).collect();
        sections.push(Section::new("Pictures", blocks));
    }
    let config = serde_json::to_string_pretty(&report.meta.config).unwrap_or_default();
    sections.push(Section::new("Configuration", vec![Block::Code(config, "json")]).folded());
    sections.retain(|section| !section.is_empty());
    Page {
        title: title(&report.meta).into(),
        lead: lead(report),
        sections,
    }
}

/// Sections of the tables that have rows.
fn parts(tables: impl IntoIterator<Item = TextTable>) -> Vec<Section> {
    let tables = tables.into_iter().filter(|shown| !shown.sheet.rows.is_empty());
    tables
        .map(|shown| Section::new(shown.title, vec![Block::Sheet(shown.sheet)]))
        .collect()
}

/// The papers' layout for each budget, then the main table number by number, what cannot run, and the data.
fn results(report: &Report) -> Vec<Section> {
    let Some(main) = report.table(TableId::Main) else {
        return Vec::new();
    };
    let budget = |budget: &String| {
        let title = format!("Every benchmark at {}", of_tokens(budget));
        Section::new(title, vec![Block::Sheet(report.budget_sheet(budget))])
    };
    let mut sections: Vec<Section> = report.budgets().iter().map(budget).collect();
    sections.extend(parts(of_table(main, report)));
    sections.extend(parts([absent(&report.absent), data(report)]));
    sections
}

/// Numbers of the last columns of the papers' layout.
const MEANS: [(TableId, Metric); 3] = [
    (TableId::Main, Metric::Average),
    (TableId::Main, Metric::Retention),
    (TableId::Secondary, Metric::Ablation),
];

impl Report {
    /// The budgets of the main table below the whole, in its order.
    pub fn budgets(&self) -> Vec<String> {
        let rows = self
            .table(TableId::Main)
            .into_iter()
            .flat_map(|table| &table.rows);
        let budgets = distinct(
            rows.map(|row| row.budget.as_str())
                .filter(|budget| *budget != "all"),
        );
        budgets.into_iter().map(String::from).collect()
    }

    /// Every arm at a budget, those that keep everything with it: tokens kept, each benchmark's number, and the means with
    /// their intervals. The best number of arms at the budget stands out, oracles aside.
    pub fn budget_sheet(&self, budget: &str) -> Sheet {
        self.layout(budget, true)
    }

    fn layout(&self, budget: &str, with_intervals: bool) -> Sheet {
        let options = self.options();
        let main = self.table(TableId::Main);
        let missing = self.absent.iter().filter(|absent| absent.budget == budget);
        let rows = main.into_iter().flat_map(|table| &table.rows);
        let arms = rows
            .filter(|row| row.budget == budget || row.budget == "all")
            .map(|row| row.arm.as_str())
            .chain(missing.map(|absent| absent.arm.as_str()));
        let benchmarks = self.table(TableId::Benchmarks).map(|table| table.metrics());
        let benchmarks = benchmarks.unwrap_or_default().into_iter();
        let mut columns: Vec<(TableId, Metric)> = benchmarks
            .map(|metric| (TableId::Benchmarks, metric.clone()))
            .collect();
        let means = if with_intervals { &MEANS[..] } else { &MEANS[..2] };
        columns.extend(
            means
                .iter()
                .filter(|(table, metric)| {
                    let rows = self.table(*table).into_iter().flat_map(|table| &table.rows);
                    rows.into_iter().any(|row| row.metric == *metric)
                })
                .cloned(),
        );
        let row = |arm: &str, table: TableId, metric: &Metric| -> Option<&Row> {
            let at = |budget: &str| self.row(table, arm, budget, metric);
            at(budget).or_else(|| at("all"))
        };
        // The papers print the names of benchmarks alone.
        let head = |(_, metric): &(TableId, Metric)| match metric.benchmark().filter(|_| !with_intervals) {
            Some(benchmark) if self.heading(metric).ends_with('*') => format!("{benchmark}*"),
            Some(benchmark) => benchmark.to_string(),
            None => self.heading(metric),
        };
        let names = ["arm", "kept"].map(String::from);
        let mut sheet = Sheet::new(names.into_iter().chain(columns.iter().map(head)));
        let arms = distinct(arms);
        for arm in &arms {
            let is_absent = self
                .absent
                .iter()
                .any(|absent| absent.arm == **arm && absent.budget == budget);
            let kept = row(arm, TableId::Tokens, &Metric::KeptTokens);
            let mut cells = vec![
                arm.to_string(),
                kept.map_or(NOTHING.into(), |row| format!("{:.0}", row.value)),
            ];
            cells.extend(
                columns
                    .iter()
                    .map(|(table, metric)| match row(arm, *table, metric) {
                        None if is_absent && *metric == Metric::Average => CANNOT.into(),
                        None => NOTHING.into(),
                        Some(row) if with_intervals && *table != TableId::Benchmarks => {
                            interval(row.value, row.lo, row.hi)
                        }
                        Some(row) => format!("{:.1}", row.value),
                    }),
            );
            sheet.rows.push(cells);
        }
        merge(&mut sheet, 0, self);
        let shown: Vec<&str> = arms.into_iter().filter(|arm| !self.is_repeated(arm)).collect();
        let competes = |arm: &str| ![&options.oracle_keep, &options.oracle_drop].contains(&&arm.to_string());
        for (column, (table, metric)) in columns.iter().enumerate() {
            let value =
                |arm: &str| Some(self.row(*table, arm, budget, metric)?.value).filter(|_| competes(arm));
            let values: Vec<Option<f64>> = shown.iter().map(|arm| value(arm)).collect();
            let best = values.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
            // Numbers that are printed alike share the place.
            let is_best = |value: &Option<f64>| {
                value.is_some_and(|value| format!("{value:.1}") == format!("{best:.1}"))
            };
            let places = values.iter().enumerate().filter(|(_, value)| is_best(value));
            sheet.strong.extend(places.map(|(place, _)| (place, column + 2)));
        }
        sheet
    }

    /// The table in the papers' layout as LaTeX: methods down, benchmarks across, grouped by budget, the best in bold.
    /// Documents need the packages `booktabs` and `longtable`.
    pub fn papers_table(&self, label: &str) -> String {
        latex_document(&[], &self.papers_layout(label).into_iter().collect::<Vec<_>>())
    }

    fn papers_layout(&self, label: &str) -> Option<LatexTable> {
        let groups: Vec<(String, Sheet)> = self
            .budgets()
            .iter()
            .map(|budget| (of_tokens(budget), self.layout(budget, false)))
            .collect();
        let notes = [
            self.meta.note.trim().to_string(),
            differing(&self.data).unwrap_or_default(),
        ];
        let caption = format!("{}. {}", title(&self.meta), notes.join(" "));
        (!groups.is_empty()).then(|| LatexTable {
            caption: caption.trim().into(),
            label: label.into(),
            groups,
        })
    }

    /// The tables for a paper, as LaTeX fragments.
    pub fn to_latex(&self) -> String {
        let plain = |label: String, shown: TextTable| LatexTable {
            caption: format!("{}. {}", shown.title, self.meta.note.trim()),
            label,
            groups: vec![(String::new(), shown.sheet)],
        };
        let mut tables: Vec<LatexTable> = self.papers_layout("results").into_iter().collect();
        let shown = [
            TableId::Main,
            TableId::Differences,
            TableId::Comparison,
            TableId::Leaderboard,
            TableId::Cost,
        ];
        for table in self.tables.iter().filter(|table| shown.contains(&table.id)) {
            let parts = of_table(table, self)
                .into_iter()
                .filter(|part| !part.sheet.rows.is_empty());
            tables.extend(
                parts
                    .enumerate()
                    .map(|(number, part)| plain(format!("{}-{}", table.id, number + 1), part)),
            );
        }
        let named = [
            ("data", data(self)),
            ("times", times(self)),
            ("cannot", absent(&self.absent)),
        ];
        let named = named
            .into_iter()
            .chain([("checks", claims(self)), ("claims", ledger_in_short(self))]);
        let with_rows = named.filter(|(_, part)| !part.sheet.rows.is_empty());
        tables.extend(with_rows.map(|(label, part)| plain(label.into(), part)));
        let comments = [title(&self.meta).to_string(), circumstances(&self.meta)];
        latex_document(&comments, &tables)
    }
}

/// The ledger without remarks, units and p values, which no page is wide enough for.
fn ledger_in_short(report: &Report) -> TextTable {
    let mut shown = ledger(report);
    let kept: Vec<usize> = (0..shown.sheet.header.len())
        .filter(|&column| !["unit", "p", "remarks"].contains(&shown.sheet.header[column].as_str()))
        .collect();
    let short = |cells: &[String]| {
        kept.iter()
            .map(|&column| cells[column].clone())
            .collect::<Vec<_>>()
    };
    shown.sheet = Sheet::new(short(&shown.sheet.header)).with(shown.sheet.rows.iter().map(|row| short(row)));
    shown
}
