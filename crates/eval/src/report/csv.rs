//! Every number on a line of its own.

use super::result::{Claim, Report, Source};
use super::table::{PairedTest, Row};

const HEADER: &str =
    "table,arm,budget,metric,value,lo,hi,n,verdict,wins,losses,p,p_holm,runs,dtype,attention,device,batch";

/// All tables, data (`data`, the data here as budget and those of the papers as metric, the questions here as value and those
/// of the complete set as n), claims (`claims`), arms without numbers (`absent`, the reason as metric) and times (`times`, milliseconds
/// with quartiles), with a header.
pub(crate) fn page(report: &Report) -> String {
    let mut lines = vec![HEADER.to_string()];
    for table in &report.tables {
        lines.extend(table.rows.iter().map(|row| line(of_row(table.id.name(), row))));
    }
    lines.extend(report.data.iter().map(|source| line(of_source(source))));
    lines.extend(report.claims.iter().map(|claim| line(of_claim(claim))));
    lines.extend(report.absent.iter().map(|absent| {
        let cells = ["absent", &absent.arm, &absent.budget, &absent.reason];
        line(cells.map(String::from).to_vec())
    }));
    for timing in &report.timings {
        let mut cells = cells(
            ["times", &timing.stage, "", "median ms"],
            [timing.median_ms, timing.q1_ms, timing.q3_ms],
        );
        cells.resize(13, String::new());
        let context = &timing.context;
        cells.extend([
            timing.runs.to_string(),
            context.dtype.clone(),
            context.attention.clone(),
            context.device.clone(),
            context.batch.to_string(),
        ]);
        lines.push(line(cells));
    }
    lines.join("\n") + "\n"
}

fn cells(names: [&str; 4], numbers: [f64; 3]) -> Vec<String> {
    let names = names.iter().map(|name| name.to_string());
    names
        .chain(numbers.iter().map(|number| number.to_string()))
        .collect()
}

fn of_row(table: &str, row: &Row) -> Vec<String> {
    let mut cells = cells(
        [table, &row.arm, &row.budget, &row.metric.to_string()],
        [row.value, row.lo, row.hi],
    );
    cells.push(row.n.to_string());
    cells.push(
        row.verdict
            .map_or(String::new(), |verdict| verdict.compared().into()),
    );
    if let Some(PairedTest { mcnemar, p_holm }) = row.test {
        cells.extend([mcnemar.wins.to_string(), mcnemar.losses.to_string()]);
        cells.extend([mcnemar.p.to_string(), p_holm.to_string()]);
    }
    cells
}

/// The benchmark, with the run in reports about several.
fn name(source: &Source) -> String {
    match &source.run {
        Some(run) => format!("{run}: {}", source.benchmark),
        None => source.benchmark.to_string(),
    }
}

fn of_source(source: &Source) -> Vec<String> {
    let questions = source.questions as f64;
    let mut cells = cells(
        ["data", &name(source), &source.here, &source.paper],
        [questions; 3],
    );
    cells.push(source.published.to_string());
    cells
}

fn of_claim(claim: &Claim) -> Vec<String> {
    let mut cells = ["claims", &claim.id, "", &claim.statement]
        .map(String::from)
        .to_vec();
    let numbers = [claim.estimate, claim.lo, claim.hi];
    cells.extend(numbers.map(|number| number.map_or(String::new(), |number| number.to_string())));
    cells.extend([String::new(), claim.verdict.to_string()]);
    cells
}

/// A line with as many fields as the header; fields with a comma, a quote or a line end are quoted.
fn line(mut cells: Vec<String>) -> String {
    cells.resize(HEADER.split(',').count(), String::new());
    let quoted = |cell: String| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell
        }
    };
    cells.into_iter().map(quoted).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must() {
        let text = line(vec!["a,b".into(), "say \"x\"".into(), "plain".into()]);
        assert!(text.starts_with("\"a,b\",\"say \"\"x\"\"\",plain,"), "{text}");
        assert_eq!(
            text.matches(',').count() - 1,
            HEADER.matches(',').count(),
            "the comma inside a field is no separator"
        );
    }
}
