//! Tables for papers: fragments for documents that use the packages `booktabs` and `longtable`.

use super::{Piece, Sheet, pieces};

/// More lines than this do not fit on one page.
const PAGE: usize = 45;
/// Cells with more characters than this are broken into lines.
const LONG: usize = 36;

/// A table with its caption and label.
pub(crate) struct Table {
    /// The caption.
    pub(crate) caption: String,
    /// The label, without `tab:`.
    pub(crate) label: String,
    /// Groups of rows under a heading across the table; an empty heading is not shown. All have the same header.
    pub(crate) groups: Vec<(String, Sheet)>,
}

/// The fragment.
pub(crate) fn document(comments: &[String], tables: &[Table]) -> String {
    let mut page = String::new();
    for comment in comments {
        page += &format!("% {}\n", comment.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    page += "% Needs \\usepackage{booktabs} and \\usepackage{longtable}.\n";
    page + &tables.iter().map(table_of).collect::<String>()
}

fn table_of(table: &Table) -> String {
    let Some((_, first)) = table.groups.first() else {
        return String::new();
    };
    let n_columns = first.header.len();
    let column = |column: usize| {
        let sheets = || table.groups.iter().map(|group| &group.1);
        let longest = sheets().map(|sheet| sheet.longest(column)).max().unwrap_or(0);
        let is_numeric = sheets().any(|sheet| sheet.is_numeric(column));
        match (longest > LONG, is_numeric) {
            (true, _) => "p{0.3\\linewidth}",
            (_, true) => "r",
            _ => "l",
        }
    };
    let columns: String = (0..n_columns).map(column).collect();
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    let head = line(first.header.iter().map(|cell| escape(cell)).collect());
    let mut rows = String::new();
    for (heading, sheet) in &table.groups {
        if !heading.is_empty() {
            rows += &format!(
                "\\midrule\n\\multicolumn{{{n_columns}}}{{c}}{{\\textit{{{}}}}} \\\\\n\\midrule\n",
                escape(heading)
            );
        }
        for (place, cells) in sheet.rows.iter().enumerate() {
            let cell = |(column, cell): (usize, &String)| match sheet.strong.contains(&(place, column)) {
                true => format!("\\textbf{{{}}}", escape(cell)),
                false => escape(cell),
            };
            rows += &line(cells.iter().enumerate().map(cell).collect());
        }
    }
    let middle = if table.groups[0].0.is_empty() {
        "\\midrule\n"
    } else {
        ""
    };
    let caption = format!(
        "\\caption{{{}}}\n\\label{{tab:{}}}",
        escape(&table.caption),
        table.label
    );
    let body = format!("\\toprule\n{head}{middle}{rows}\\bottomrule\n");
    if table.groups.iter().map(|group| group.1.rows.len()).sum::<usize>() > PAGE {
        return format!(
            "\n{{\\scriptsize\\setlength{{\\tabcolsep}}{{3pt}}\n\\begin{{longtable}}{{{columns}}}\n{caption} \\\\\n{body}\
             \\end{{longtable}}}}\n"
        );
    }
    format!(
        "\n\\begin{{table*}}\n\\centering\\scriptsize\\setlength{{\\tabcolsep}}{{3pt}}\n{caption}\n\\begin{{tabular}}{{{columns}}}\n{body}\
         \\end{{tabular}}\n\\end{{table*}}\n"
    )
}

/// Text in which every character stands for itself; code is set as such, of links the text is left.
fn escape(text: &str) -> String {
    let piece = |piece: Piece<'_>| match piece {
        Piece::Plain(text) | Piece::Link(text, _) => plain(text),
        Piece::Code(text) => format!("\\texttt{{{}}}", plain(text)),
    };
    pieces(text).into_iter().map(piece).collect()
}

fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let characters: Vec<char> = text.chars().collect();
    for (place, &character) in characters.iter().enumerate() {
        let before_digit = characters.get(place + 1).is_some_and(char::is_ascii_digit);
        let after_letter = place > 0 && characters[place - 1].is_alphanumeric();
        match character {
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '<' => escaped += "\\textless{}",
            '>' => escaped += "\\textgreater{}",
            '|' => escaped += "\\textbar{}",
            '"' => escaped += "''",
            '–' => escaped += "--",
            '—' => escaped += "---",
            '‘' => escaped += "`",
            '’' => escaped += "'",
            '…' => escaped += "\\dots{}",
            // A hyphen before a number is a minus, unless it is part of a name.
            '-' if before_digit && !after_letter => escaped += "$-$",
            '\u{2212}' => escaped += "$-$",
            '×' => escaped += "$\\times$",
            '±' => escaped += "$\\pm$",
            '≤' => escaped += "$\\leq$",
            '≥' => escaped += "$\\geq$",
            '→' => escaped += "$\\to$",
            '∞' => escaped += "$\\infty$",
            'α' => escaped += "$\\alpha$",
            'τ' => escaped += "$\\tau$",
            'σ' => escaped += "$\\sigma$",
            'χ' => escaped += "$\\chi$",
            // A bracket after a line end would be taken for an option.
            '[' => escaped += "{[}",
            ']' => escaped += "{]}",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other if other.is_ascii() || other.is_alphabetic() && u32::from(other) < 0x180 => {
                escaped.push(other)
            }
            // What the usual fonts of LaTeX lack would end its run.
            _ => escaped.push('?'),
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
        assert_eq!(escape("-1.5 [-2, x-3]"), "$-$1.5 {[}$-$2, x-3{]}");
        assert_eq!(
            escape("τ ≤ 字 `a_b` [r](x.md)"),
            "$\\tau$ $\\leq$ ? \\texttt{a\\_b} r"
        );
    }

    #[test]
    fn groups_stand_under_their_headings_and_the_best_is_bold() {
        let mut sheet = Sheet::new(["a", "b", "c"]).with([vec!["x&y".into(), "2".into(), "3".into()]]);
        sheet.strong.insert((0, 2));
        let table = |heading: &str, rows: usize| {
            let mut sheet = sheet.clone();
            sheet.rows = vec![sheet.rows[0].clone(); rows];
            table_of(&Table {
                caption: "t".into(),
                label: "main".into(),
                groups: vec![(heading.into(), sheet)],
            })
        };
        let text = table("1/9 of the tokens", 1);
        assert!(text.contains("\\begin{tabular}{lrr}") && text.contains("x\\&y & 2 & \\textbf{3} \\\\\n"));
        assert!(text.contains("\\multicolumn{3}{c}{\\textit{1/9 of the tokens}}"));
        assert!(text.contains("\\label{tab:main}"));
        let plain = table("", 1);
        for rule in ["\\toprule", "\\midrule", "\\bottomrule"] {
            assert_eq!(plain.matches(rule).count(), 1, "{plain}");
        }
        let long = table("", 80);
        assert!(long.contains("\\begin{longtable}{lrr}") && !long.contains("\\begin{table"));
    }
}
