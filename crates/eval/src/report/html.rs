//! The report as one HTML page that needs no other file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::figures::{Figure, Figures};
use super::markdown::{circumstances, preface, title};
use super::plots::Plot;
use super::result::Report;
use super::text_table::{TextTable, text_tables};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:.5em 0 1.5em;font-variant-numeric:tabular-nums}\
th,td{border-bottom:1px solid #ddd;padding:.25em .7em;text-align:left}th{border-bottom:2px solid #888}\
.holds,.better,.equivalent{color:#176b2c;font-weight:600}.fails,.worse{color:#a3161d;font-weight:600}.tie{color:#7a6200}.untestable{color:#777}\
.wide{overflow-x:auto}svg,img{max-width:100%;height:auto}.note{color:#555}pre{background:#f5f5f5;padding:1em;overflow-x:auto}";

/// The whole report with its plots and figures.
pub(crate) fn page(report: &Report, plots: &[Plot], figures: &Figures) -> String {
    let title = escape(title(&report.meta));
    let note = escape(&report.meta.note);
    let mut body = format!(
        "<h1>{title}</h1>\n<p>{}</p>\n",
        escape(&circumstances(&report.meta))
    );
    for sentence in preface(report) {
        body += &format!("<p>{}</p>\n", escape(&sentence));
    }
    let mut tables = text_tables(report).into_iter();
    if let Some(claims) = tables.next() {
        body += &section(&claims, &note);
    }
    for plot in plots {
        body += &format!("<h2>{}</h2>\n{}\n", escape(&plot.title), plot.svg);
    }
    tables.for_each(|table| body += &section(&table, &note));
    let config = serde_json::to_string_pretty(&report.meta.config).unwrap_or_default();
    body += &format!("<h2>Configuration</h2>\n<pre>{}</pre>\n", escape(&config));
    body += &pictures(figures);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// A section that holds the pictures themselves; nothing without pictures.
fn pictures(figures: &Figures) -> String {
    if figures.figures.is_empty() {
        return String::new();
    }
    let picture = |Figure { title, png, .. }: &Figure| {
        let (title, data) = (escape(title), STANDARD.encode(png));
        format!("<p>{title}<br><img src=\"data:image/png;base64,{data}\" alt=\"{title}\"></p>\n")
    };
    let pictures: String = figures.figures.iter().map(picture).collect();
    format!(
        "<h2>Pictures</h2>\n<p>{}</p>\n{pictures}",
        escape(&figures.legend)
    )
}

fn section(table: &TextTable, note: &str) -> String {
    let cells = |tag: &str, row: &[String]| row.iter().map(|cell| element(tag, cell)).collect::<String>();
    let rows: String = table
        .rows
        .iter()
        .map(|row| format!("<tr>{}</tr>\n", cells("td", row)))
        .collect();
    format!(
        "<h2>{}</h2>\n<div class=\"wide\"><table>\n<tr>{}</tr>\n{rows}</table></div>\n<p class=\"note\">{note}</p>\n",
        escape(&table.title),
        cells("th", &table.header)
    )
}

/// One cell; verdicts get their colour.
fn element(tag: &str, text: &str) -> String {
    match text {
        "holds" | "fails" | "tie" | "better" | "worse" | "equivalent" | "untestable" => {
            format!("<{tag} class=\"{text}\">{text}</{tag}>")
        }
        _ => format!("<{tag}>{}</{tag}>", escape(text)),
    }
}

/// Text without markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_inside_the_page() {
        let figures = Figures {
            legend: "left < right".into(),
            figures: vec![Figure {
                title: "1-random".into(),
                path: "pictures/1-random.png".into(),
                png: b"\x89PNG".to_vec(),
            }],
        };
        let html = pictures(&figures);
        assert!(html.contains("src=\"data:image/png;base64,iVBORw==\"") && html.contains("left &lt; right"));
        assert!(pictures(&Figures::default()).is_empty());
    }
}
