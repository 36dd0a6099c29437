//! The tables for a paper.

use super::markdown::{circumstances, title};
use super::result::Report;
use super::text_table::{TextTable, text_tables};

/// A fragment with one `table` per table of the report, for documents that use the package `booktabs`.
pub(crate) fn page(report: &Report) -> String {
    let mut page = format!(
        "% {}\n% {}\n% Needs \\usepackage{{booktabs}}.\n",
        comment(title(&report.meta)),
        comment(&circumstances(&report.meta))
    );
    for (number, shown) in text_tables(report).iter().enumerate() {
        page += &table(shown, &report.meta.note, number + 1);
    }
    page
}

fn table(shown: &TextTable, note: &str, number: usize) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
        format!("{} \\\\\n", cells.join(" & "))
    };
    let rows: String = shown.rows.iter().map(|row| line(row)).collect();
    let columns = format!("l{}", "r".repeat(shown.header.len().saturating_sub(1)));
    let caption = format!("{}. {}", shown.title, note);
    format!(
        "\n\\begin{{table}}\n\\centering\n\\caption{{{}}}\n\\label{{tab:report-{number}}}\n\\begin{{tabular}}{{{columns}}}\n\
         \\toprule\n{}\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n",
        escape(caption.trim()),
        line(&shown.header)
    )
}

/// Text without line ends.
fn comment(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text in which every character stands for itself.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '<' => escaped += "\\textless{}",
            '>' => escaped += "\\textgreater{}",
            '|' => escaped += "\\textbar{}",
            '–' => escaped += "--",
            // A bracket after a line end would be taken for an option.
            '[' => escaped += "{[}",
            ']' => escaped += "{]}",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(character);
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_stands_for_itself() {
        assert_eq!(escape("50 % of_a & {b}"), "50 \\% of\\_a \\& \\{b\\}");
        assert_eq!(
            escape("\\x ~ ^ # $ < > –"),
            "\\textbackslash{}x \\textasciitilde{} \\textasciicircum{} \\# \\$ \\textless{} \\textgreater{} --"
        );
        assert_eq!(escape("[1, 2]"), "{[}1, 2{]}");
        assert_eq!(escape("plain 1/9"), "plain 1/9");
    }

    #[test]
    fn a_table_has_as_many_columns_as_its_lines() {
        let shown = TextTable {
            title: "t".into(),
            header: vec!["a".into(), "b".into(), "c".into()],
            rows: vec![vec!["x&y".into(), "2".into(), "3".into()]],
        };
        let text = table(&shown, "", 1);
        assert!(text.contains("\\begin{tabular}{lrr}") && text.contains("x\\&y & 2 & 3 \\\\\n"));
        for rule in ["\\toprule", "\\midrule", "\\bottomrule"] {
            assert_eq!(text.matches(rule).count(), 1, "{text}");
        }
    }
}
