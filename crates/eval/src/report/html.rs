//! The report as one HTML page that needs no other file.

use super::figures::Figures;
use super::markdown::{circumstances, preface, title};
use super::plots::Plot;
use super::result::Report;
use super::sheet::{Sheet, sheets};

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
    let mut sheets = sheets(report).into_iter();
    if let Some(claims) = sheets.next() {
        body += &section(&claims, &note);
    }
    for plot in plots {
        body += &format!("<h2>{}</h2>\n{}\n", escape(&plot.title), plot.svg);
    }
    sheets.for_each(|sheet| body += &section(&sheet, &note));
    let config = serde_json::to_string_pretty(&report.meta.config).unwrap_or_default();
    body += &format!("<h2>Configuration</h2>\n<pre>{}</pre>\n", escape(&config));
    body += &figures.html();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn section(sheet: &Sheet, note: &str) -> String {
    let cells = |tag: &str, row: &[String]| row.iter().map(|cell| element(tag, cell)).collect::<String>();
    let rows: String = sheet
        .rows
        .iter()
        .map(|row| format!("<tr>{}</tr>\n", cells("td", row)))
        .collect();
    format!(
        "<h2>{}</h2>\n<div class=\"wide\"><table>\n<tr>{}</tr>\n{rows}</table></div>\n<p class=\"note\">{note}</p>\n",
        escape(&sheet.title),
        cells("th", &sheet.header)
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
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
