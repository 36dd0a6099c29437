//! Texts of questions.

use diffprune_eval::{Benchmark, OPTION_LETTER, Protocol, Template, mme_text};
use diffprune_vlm_adapters::{PromptStyle, Turn, render_prompt};
use serde_json::Value;

use super::support::*;

/// Letters and texts of the options that a record has, until the first that is missing.
fn options(record: &Value) -> Vec<(char, String)> {
    let letters = 'A'..='Z';
    if let Some(choices) = record.get("choices") {
        return letters.zip(texts(choices)).collect();
    }
    let option = |letter: char| {
        let upper = &record[letter.to_string().as_str()];
        let lower = &record[format!("choice_{}", letter.to_ascii_lowercase()).as_str()];
        let text = upper.as_str().or(lower.as_str())?;
        (text != "nan").then(|| (letter, text.to_string()))
    };
    letters.map_while(option).collect()
}

/// The text of a row of LLaVA's question files, taken apart by its lines (the question, OCR tokens, options; other lines
/// are the template's) and put together again.
fn again(benchmark: Benchmark, whole: &str) -> String {
    let mut lines = whole.split('\n');
    let question = lines.next().unwrap();
    let mut ocr = None;
    let mut options = Vec::new();
    for line in lines {
        if let Some(tokens) = line.strip_prefix("Reference OCR token: ") {
            let tokens = tokens.split(", ").filter(|token| !token.is_empty());
            ocr = Some(tokens.map(String::from).collect::<Vec<_>>());
        } else if let Some((letter @ ("A" | "B" | "C" | "D"), option)) = line.split_once(". ") {
            options.push((letter.chars().next().unwrap(), option.to_string()));
        }
    }
    if benchmark == Benchmark::Mme {
        return mme_text(&format!("{question} Please answer yes or no."), Protocol::Llava);
    }
    Template::of(benchmark, Protocol::Llava).render(None, question, ocr.as_deref(), &options)
}

/// The text that the crate makes of a record, and whether a picture goes with it.
fn user_text(bench: &str, flavour: &str, record: &Value) -> (String, bool) {
    if let Some(conversations) = record.get("conversations") {
        let said = text(&conversations[0], "value");
        let bare = said.replace("<image>", "").trim().to_string();
        return (bare + OPTION_LETTER, record.get("image").is_some());
    }
    let benchmark = match bench {
        "gqa" => Benchmark::Gqa,
        "pope" => Benchmark::Pope,
        "textvqa" => Benchmark::TextVqa,
        "mmbench" => Benchmark::MmBench,
        "mmbench_cn" => Benchmark::MmBenchCn,
        "MME" => Benchmark::Mme,
        "scienceqa" => Benchmark::ScienceQa,
        "vqav2" => Benchmark::VqaV2,
        "seed_bench" => Benchmark::SeedBench,
        "vizwiz" => Benchmark::VizWiz,
        other => panic!("unknown benchmark {other}"),
    };
    let protocol = match flavour {
        "llava" => Protocol::Llava,
        "lmms-eval" | "lmms-eval-ocr" => Protocol::LmmsEval,
        other => panic!("unknown flavour {other}"),
    };
    if flavour == "llava" && record.get("text").is_some() {
        return (again(benchmark, text(record, "text")), true);
    }
    let question = text(record, "question");
    let has_image = record["has_image"].as_bool().unwrap_or(true);
    if benchmark == Benchmark::Mme {
        return (mme_text(question, protocol), true);
    }
    let ocr = (flavour == "lmms-eval-ocr").then(|| texts(&record["ocr_tokens"]));
    let hint = record["hint"].as_str().filter(|hint| *hint != "nan");
    let template = Template::of(benchmark, protocol);
    (
        template.render(hint, question, ocr.as_deref(), &options(record)),
        has_image,
    )
}

#[test]
fn prompts_are_the_stored_ones() {
    each_row("prompts.jsonl", |row| {
        let (question, has_image) = user_text(text(row, "bench"), text(row, "flavour"), &row["record"]);
        let tag = if has_image { "<image>\n" } else { "" };
        assert_eq!(format!("{tag}{question}"), text(row, "user_message"), "{row}");
        if let Some(prompt) = row["full_prompt"].as_str() {
            let turn = Turn::ask(question).with_images(usize::from(has_image));
            let rendered = render_prompt(PromptStyle::VicunaV1, None, &[turn]).unwrap();
            assert_eq!(rendered, prompt, "{row}");
        }
    });
}
