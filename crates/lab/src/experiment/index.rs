//! The page over the reports of several models.

use std::path::{Path, PathBuf};

use diffprune_eval::{
    Absent, Block, EvalError, Ledger, Page, Plot, Report, Row, Section, Sheet, TableId, Tier, TimesTable,
    Verdict, forest,
};
use diffprune_files::write_whole;

use super::studies::{STUDIES, StudyPage, publish, studies_beside, verdict_of};
use super::trainings::TunedArms;
use super::transfer::{TRANSFER, transfer};
use super::tuning::Tuned;
use crate::LabError;
use crate::evaluation::MINI;

/// The report of one model, with its folder.
pub struct ModelReport {
    /// The folder, relative to the page.
    pub folder: String,
    /// The report.
    pub report: Report,
}

impl ModelReport {
    /// Whether the report is that of an experiment, which [`write_index`] can show beside others.
    pub fn is_experiment(&self) -> bool {
        self.report.meta.config["lineup"]["arms"].is_array()
    }
}

/// The text in place of a missing number.
const NOTHING: &str = "–";
/// Name of the drawing of the ledger.
const CLAIMS: &str = "claims";
/// Drawings of each model's report that the page shows, by the beginnings of their names.
const SHOWN: [&str; 2] = ["retention", "ranked"];

/// Writes the page over several reports into `out`: `report.md`, `report.html`, the papers' tables as `report.tex`, and the
/// drawing of the ledger; gives the path of the page. The pilot studies beside the reports in `from` enter the ledger, and their
/// pages are copied where `out` is another folder. The page depends on reports and studies alone, in the order of the papers'
/// tables.
///
/// # Errors
/// When the data of a study cannot be read, a drawing cannot be made, or a file cannot be written.
pub fn write_index(from: &Path, out: &Path, mut reports: Vec<ModelReport>) -> Result<PathBuf, LabError> {
    reports.sort_by_cached_key(|shown| (text(&shown.report, "table"), shown.folder.clone()));
    let studies = studies_beside(from)?;
    if from != out {
        TunedArms::copy(from, out)?;
        if !studies.is_empty() {
            publish(&from.join(STUDIES), &out.join(STUDIES))?;
        }
    }
    let ledger = together(&reports, &studies);
    let claims = forest(&ledger, CLAIMS)?;
    let timed = |shown: &ModelReport| from.join(&shown.folder).join(TimesTable::FILE).is_file();
    let times: Vec<bool> = reports.iter().map(timed).collect();
    let page = index_page(&reports, &times, &studies, &ledger, claims.as_ref())?;
    let write = |name: &str, text: &str| -> Result<PathBuf, LabError> {
        let path = out.join(name);
        write_whole(&path, text.as_bytes())?;
        Ok(path)
    };
    if let Some(claims) = &claims {
        write(&format!("{CLAIMS}.svg"), &claims.svg)?;
    }
    write("report.html", &page.to_html())?;
    let tables = reports
        .iter()
        .map(|shown| shown.report.papers_table(&shown.folder));
    write("report.tex", &tables.collect::<String>())?;
    write("report.md", &page.to_markdown())
}

/// The claims with the verdicts of all models, of the pilot studies, and of the trainings' settings.
fn together(reports: &[ModelReport], studies: &[StudyPage]) -> Ledger {
    let ledgers: Vec<(String, Ledger)> = reports
        .iter()
        .map(|shown| (text(&shown.report, "model"), shown.report.ledger()))
        .collect();
    let named: Vec<(&str, &Ledger)> = ledgers
        .iter()
        .map(|(model, ledger)| (model.as_str(), ledger))
        .collect();
    let mut ledger = Ledger::together(&named);
    let configs: Vec<_> = reports.iter().map(|shown| &shown.report.meta.config).collect();
    let tier = reports
        .first()
        .and_then(|shown| Tier::of(&shown.report.meta.tier));
    ledger.enter(TRANSFER, tier.unwrap_or(Tier::Mini), transfer(&configs));
    for finding in studies.iter().flat_map(|study| &study.findings) {
        ledger.enter(&finding.claim, Tier::Mini, verdict_of(finding));
    }
    ledger
}

/// The page: claims, then the tables of each model.
fn index_page(
    reports: &[ModelReport],
    times: &[bool],
    studies: &[StudyPage],
    ledger: &Ledger,
    claims: Option<&Plot>,
) -> Result<Page, EvalError> {
    let shared = shared_notes(reports);
    let is_mini = reports.iter().all(|shown| shown.report.meta.tier == MINI);
    let about = match is_mini {
        true => {
            "Tier mini: small trained models and ten generated benchmarks in the official formats. Nothing here is a number of \
             the papers. "
        }
        false => "",
    };
    let mut lead = vec![format!(
        "{about}Brackets are paired-bootstrap 95 % intervals over images; a claim whose interval covers zero is a tie."
    )];
    let tuned = tuned(reports);
    // What a table below says better.
    let is_listed = |note: &&&String| tuned.iter().any(|arm| arm.sentence() == ***note);
    lead.extend(
        shared
            .iter()
            .filter(|note| !is_listed(note))
            .map(|note| note.to_string()),
    );
    lead.push(ledger.counted());
    let plot = claims.map(|plot| Block::Plot(plot.clone(), format!("{CLAIMS}.svg")));
    let rules = Block::Text(Ledger::RULES.into());
    let mut sections = vec![
        Section {
            parts: vec![
                Section::new("Every claim", vec![Block::Sheet(ledger.to_sheet())]),
                Section::new("Claims by model", vec![Block::Sheet(by_model(reports))]).folded(),
            ],
            ..Section::new(
                "Claims of the papers, and our own",
                plot.into_iter().chain([rules]).collect(),
            )
        },
        Section::new("Reports", vec![Block::Sheet(overview(reports, times))]),
    ];
    if !studies.is_empty() {
        sections.push(Section::new("Pilot studies", vec![Block::Sheet(pilots(studies))]));
    }
    for shown in reports {
        sections.push(section(shown, &shared)?);
    }
    if !tuned.is_empty() {
        sections.push(Section::new("Tuning", vec![Block::Sheet(trials(&tuned))]));
    }
    Ok(Page {
        title: "The papers' tables in small".into(),
        lead,
        sections,
    })
}

/// The pilot studies with their verdicts.
fn pilots(studies: &[StudyPage]) -> Sheet {
    let row = |study: &StudyPage| {
        let findings = study.findings.iter();
        let verdicts = findings.map(|finding| format!("`{}` {}", finding.claim, finding.outcome));
        vec![
            format!("[{}]({})", study.title, study.page),
            study.question.clone(),
            match study.findings.is_empty() {
                true => NOTHING.into(),
                false => verdicts.collect::<Vec<_>>().join(", "),
            },
        ]
    };
    Sheet::new(["study", "question", "verdicts"]).with(studies.iter().map(row))
}

/// The models with their reports, the pages of their times where there are any, and their verdicts.
fn overview(reports: &[ModelReport], times: &[bool]) -> Sheet {
    let row = |(ModelReport { folder, report }, timed): (&ModelReport, &bool)| {
        // Times differ from run to run, and this page does not.
        let times = match timed {
            true => format!(", [times]({folder}/times.md)"),
            false => String::new(),
        };
        let count = |verdict| {
            let claims = report.claims.iter();
            claims
                .filter(|claim| claim.verdict == verdict)
                .count()
                .to_string()
        };
        vec![
            text(report, "model"),
            text(report, "table"),
            format!(
                "[report]({folder}/report.md), [HTML]({folder}/report.html), [JSON]({folder}/report.json){times}"
            ),
            count(Verdict::Holds),
            count(Verdict::Tie),
            count(Verdict::Fails),
        ]
    };
    Sheet::new(["model", "table", "report", "holds", "tie", "fails"]).with(reports.iter().zip(times).map(row))
}

/// The notes that every report has.
fn shared_notes(reports: &[ModelReport]) -> Vec<&String> {
    let Some((first, others)) = reports.split_first() else {
        return Vec::new();
    };
    let everywhere = |note: &&String| others.iter().all(|other| other.report.meta.notes.contains(*note));
    first.report.meta.notes.iter().filter(everywhere).collect()
}

/// The tuning whose recipes the models share.
fn tuned(reports: &[ModelReport]) -> Vec<Tuned> {
    let arms = reports
        .first()
        .and_then(|shown| shown.report.meta.config.pointer("/tuning/arms"));
    let read = |arms: &serde_json::Value| serde_json::from_value(arms.clone()).ok();
    arms.and_then(read).unwrap_or_default()
}

/// The trials of every arm: the loss of each on the validation captions, the lowest one marked.
fn trials(tuned: &[Tuned]) -> Sheet {
    let recipes: Vec<_> = tuned
        .iter()
        .flat_map(|arm| &arm.trials)
        .map(|trial| trial.recipe)
        .collect();
    let mut distinct = Vec::new();
    for recipe in recipes {
        if !distinct.contains(&recipe) {
            distinct.push(recipe);
        }
    }
    let columns = distinct.iter().map(ToString::to_string);
    let row = |arm: &Tuned| {
        let lowest = arm.best().map(|best| best.recipe);
        let loss = |recipe| {
            let trial = arm.trials.iter().find(|trial| trial.recipe == recipe);
            match trial.and_then(|trial| trial.val_nll) {
                Some(loss) if lowest == Some(recipe) => format!("**{loss:.4}**"),
                Some(loss) => format!("{loss:.4}"),
                None => NOTHING.into(),
            }
        };
        let losses = distinct.iter().map(|recipe| loss(*recipe));
        std::iter::once(arm.arm.clone()).chain(losses).collect::<Vec<_>>()
    };
    let columns: Vec<String> = std::iter::once("arm; loss by recipe".to_string())
        .chain(columns)
        .collect();
    Sheet::new(columns).with(tuned.iter().map(row))
}

/// Every claim with its verdict on each model.
fn by_model(reports: &[ModelReport]) -> Sheet {
    let mut statements: Vec<(&str, &str)> = Vec::new();
    for claim in reports.iter().flat_map(|shown| &shown.report.claims) {
        if statements.iter().all(|(id, _)| *id != claim.id) {
            statements.push((&claim.id, &claim.statement));
        }
    }
    let models = reports.iter().map(|shown| text(&shown.report, "model"));
    let row = |(id, statement): (&str, &str)| {
        let verdict = |shown: &ModelReport| {
            let claim = shown.report.claims.iter().find(|claim| claim.id == id);
            claim.map_or(NOTHING.to_string(), |claim| {
                format!("{}: {}", claim.verdict, claim.number())
            })
        };
        std::iter::once(statement.to_string())
            .chain(reports.iter().map(verdict))
            .collect()
    };
    Sheet::new(std::iter::once("claim".to_string()).chain(models)).with(statements.into_iter().map(row))
}

/// One model: its drawings, a table for each budget, what cannot run, and the leave-one-out oracle on its questions.
fn section(shown: &ModelReport, notes_above: &[&String]) -> Result<Section, EvalError> {
    let ModelReport { folder, report } = shown;
    let name = text(report, "model");
    let config = &report.meta.config;
    let positions = &config["positions"];
    let n = report
        .table(TableId::Main)
        .and_then(|table| table.rows.first())
        .map_or(0, |row| row.n);
    let mut blocks = vec![Block::Text(report.meta.note.clone())];
    let own = report
        .meta
        .notes
        .iter()
        .filter(|note| !notes_above.contains(note));
    blocks.extend(own.map(|note| Block::Text(note.clone())));
    let is_shown = |plot: &Plot| SHOWN.iter().any(|name| plot.name.starts_with(name));
    let plots = report.plots()?.into_iter().filter(is_shown);
    blocks.extend(plots.map(|plot| {
        let path = format!("{folder}/{}.svg", plot.name);
        Block::Plot(plot, path)
    }));
    let mut parts = Vec::new();
    for budget in list(&config["lineup"]["budgets"]) {
        let mut sheet = report.budget_sheet(&budget);
        sheet.insert_column(1, "positions", |row| {
            let first = row[0].split(" = ").next().unwrap_or_default();
            positions[first].as_str().unwrap_or(NOTHING).to_string()
        });
        let title = format!("{name} at {budget} of the tokens ({n} questions)");
        parts.push(Section::new(title, vec![Block::Sheet(sheet)]));
    }
    parts.extend(partial(report));
    parts.extend(absent(report));
    Ok(Section {
        parts,
        ..Section::new(format!("{name}: {} in small", text(report, "table")), blocks)
    })
}

/// The arms that cannot run, one line for each reason.
fn absent(report: &Report) -> Option<Section> {
    let mut groups: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for Absent { arm, budget, reason } in &report.absent {
        match groups
            .last_mut()
            .filter(|group| group.0 == arm && group.1 == reason)
        {
            Some(group) => group.2.push(budget),
            None => groups.push((arm, reason, vec![budget])),
        }
    }
    let rows = groups
        .into_iter()
        .map(|(arm, reason, budgets)| vec![arm.to_string(), budgets.join(", "), reason.to_string()]);
    let sheet = Sheet::new(["arm", "budget", "why it cannot run"]).with(rows);
    let title = format!("What cannot run on {}", text(report, "model"));
    (!sheet.rows.is_empty()).then(|| Section::new(title, vec![Block::Sheet(sheet)]))
}

/// The leave-one-out oracle beside others on its own questions.
fn partial(report: &Report) -> Option<Section> {
    let table = report.table(TableId::Partial)?;
    let n = table.rows.first().map_or(0, |row| row.n);
    let budgets = list(&report.meta.config["lineup"]["budgets"]);
    let arms = [
        "full",
        "diffprune",
        "gumbel-noise",
        "random",
        "oracle-keep",
        "oracle-loo",
    ];
    let row = |arm: &str| {
        let cell = |budget: &String| {
            let at = |budget: &str| {
                let mut rows = table.rows.iter();
                rows.find(|row| row.arm == arm && row.budget == budget)
            };
            at(budget).or_else(|| at("all")).map_or(NOTHING.into(), number)
        };
        std::iter::once(arm.to_string())
            .chain(budgets.iter().map(cell))
            .collect()
    };
    let header = std::iter::once("arm".to_string()).chain(budgets.iter().cloned());
    let sheet = Sheet::new(header).with(arms.map(row));
    let title = format!("Mean score on the {n} questions of the leave-one-out oracle, percent");
    Some(Section::new(title, vec![Block::Sheet(sheet)]))
}

fn text(report: &Report, field: &str) -> String {
    report.meta.config[field].as_str().unwrap_or(NOTHING).to_string()
}

fn list(value: &serde_json::Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .filter_map(|item| Some(item.as_str()?.to_string()))
        .collect()
}

fn number(row: &Row) -> String {
    format!("{:.1} [{:.1}, {:.1}]", row.value, row.lo, row.hi)
}
