//! Options of one family of models: what they change, what is told of them, and where they are refused.

use std::fs;
use std::path::Path;

use diffprune_mini::{Family, model_name};

use crate::bad_input::refuse;
use crate::{FEW_QUESTIONS, model_of, output, picture, succeed};

/// What `ask` says of a picture of 200 by 120 pixels, on standard error.
fn asked(checkpoint: &Path, photo: &Path, options: &str) -> String {
    let line = format!(
        "ask colour? --model {{}} --image {{}} --keep 16 --pruner random --max-new-tokens 1 {options}"
    );
    let told = output(&line, &[checkpoint, photo]);
    let line = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.success(), "{options}: {line}");
    line.trim_end().to_string()
}

/// What `ask --dry-run` counts.
fn counted(checkpoint: &Path, photo: &Path, options: &str) -> String {
    let line = format!("ask --dry-run --model {{}} --image {{}} {options}");
    succeed(&line, &[checkpoint, photo])
}

#[test]
fn options_of_llava_next() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, photo, png) = (
        dir.path().join("next"),
        dir.path().join("a.png"),
        dir.path().join("b.png"),
    );
    model_of(Family::LlavaNext, &checkpoint, 32, 1);
    picture(&photo);

    // A view of 6 by 6, and of the map of 12 by 12 the 8 rows that show the picture.
    let plain = asked(&checkpoint, &photo, "");
    assert!(
        plain.starts_with("16 of 132 ") && plain.ends_with("of KV cache saved"),
        "{plain}"
    );
    let papers = asked(&checkpoint, &photo, "--next-papers");
    assert!(papers.starts_with("16 of 180 "), "{papers}");
    assert!(papers.ends_with("; next-tokens all, newlines none"), "{papers}");
    let rows = asked(&checkpoint, &photo, "--next-tokens unpadded --newlines kept-rows");
    assert!(
        rows.starts_with("16 of 132 ") && rows.ends_with("saved; newlines kept-rows"),
        "{rows}"
    );

    let slots = |options: &str, wanted: &str| {
        let told = counted(&checkpoint, &photo, options);
        assert!(told.contains(wanted), "{options}: {told}");
    };
    slots("", "132 tokens in 5 view(s) (6x6 + 8x12), 140 places");
    slots(
        "--newlines none",
        "132 tokens in 5 view(s) (6x6 + 8x12), 132 places",
    );
    slots(
        "--next-tokens all",
        "180 tokens in 5 view(s) (6x6 + 12x12), 192 places",
    );
    slots("--next-papers", "180 places");

    let told = succeed(
        "show --model {} --image {} --out {} --pruner random --keep 16 --next-papers",
        &[&checkpoint, &photo, &png],
    );
    assert!(
        told.trim_end()
            .ends_with(" tokens); next-tokens all, newlines none"),
        "{told}"
    );
    let (_, told) = told.split_once("16 of 180 tokens kept by random (").unwrap();
    let counts: Vec<usize> = told.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(counts.len() == 2 && counts.iter().sum::<usize>() == 16, "{told}");
    assert!(
        told.contains(" of the raster of 6x6 tokens, ") && told.contains(" of the raster of 12x12 tokens)"),
        "{told}"
    );
}

#[test]
fn options_of_qwen() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, photo) = (dir.path().join("qwen"), dir.path().join("a.png"));
    model_of(Family::Qwen25Vl, &checkpoint, 32, 1);
    picture(&photo);

    // 200 by 120 pixels are 14 by 9 cells of 14 pixels; at most 5000 pixels leave 6 by 3, at least 50000 ask for more.
    let count = |options: &str| {
        let told = asked(&checkpoint, &photo, options);
        let count = told
            .split(' ')
            .nth(2)
            .and_then(|count| count.parse::<usize>().ok());
        (count.unwrap_or_else(|| panic!("{told}")), told)
    };
    let (plain, told) = count("");
    assert!(told.ends_with("of KV cache saved"), "{told}");
    let (few, told) = count("--max-pixels 5000");
    assert!(
        few < plain && told.ends_with("; max-pixels 5000"),
        "{few} {plain} {told}"
    );
    let (many, told) = count("--min-pixels 50000 --max-pixels 60000");
    assert!(
        many > plain && told.ends_with("; min-pixels 50000, max-pixels 60000"),
        "{many} {plain} {told}"
    );
    let (square, told) = count("--pad-square --site after-merger");
    assert_eq!((square as f64).sqrt().fract(), 0.0, "{told}");
    assert!(told.ends_with("; site after-merger, pad-square"), "{told}");
    // Where tokens are chosen does not change how many there are.
    assert_eq!(count("--site before-merger").0, plain);
    assert_eq!(count("--site after-merger").0, plain);
    // One pixel at most is one cell.
    let told = counted(&checkpoint, &photo, "--min-pixels 1 --max-pixels 1 --pad-square");
    assert!(told.contains("1 tokens in 1 view(s) (1x1)"), "{told}");
    assert!(
        told.contains("per token; min-pixels 1, max-pixels 1, pad-square"),
        "{told}"
    );
}

#[test]
fn options_of_another_family_and_impossible_ones() {
    let dir = tempfile::tempdir().unwrap();
    let photo = dir.path().join("a.png");
    picture(&photo);
    let ask = |options: &str| format!("ask colour? --model {{}} --image {{}} {options}");
    let dry = |options: &str| format!("ask --dry-run --model {{}} --image {{}} {options}");
    let next = ["--next-tokens all", "--newlines none", "--next-papers"];
    let qwen = [
        "--site after-merger",
        "--min-pixels 784",
        "--max-pixels 50000",
        "--pad-square",
    ];
    for family in Family::ALL {
        let checkpoint = dir.path().join(model_name(family));
        model_of(family, &checkpoint, 32, 1);
        // Whose options they are is known before the weights are read.
        fs::remove_file(checkpoint.join("model.safetensors")).unwrap();
        for (options, owner) in [(&next[..], Family::LlavaNext), (&qwen[..], Family::Qwen25Vl)] {
            for option in options.iter().filter(|_| owner != family) {
                let name = option.split(' ').next().unwrap();
                let wanted = format!("expected {owner}");
                let found = format!("found a model of the family {family}");
                for line in [ask(option), dry(option)] {
                    refuse(&line, &[&checkpoint, &photo], &[name, &found, &wanted]);
                }
            }
        }
    }
    let qwen = dir.path().join(model_name(Family::Qwen25Vl));
    let next = dir.path().join(model_name(Family::LlavaNext));
    for (checkpoint, options, parts) in [
        (
            &qwen,
            "--min-pixels 5000 --max-pixels 784",
            ["at least 5000 and at most 784", "min_pixels <= max_pixels"],
        ),
        (
            &qwen,
            "--max-pixels 99999999999999",
            ["at most 99999999999999", "max_pixels <="],
        ),
        (
            &qwen,
            "--min-pixels 0",
            ["found `0`", "expected a number of pixels, 1 or more"],
        ),
        (
            &qwen,
            "--max-pixels=-5",
            ["found `-5`", "expected a number of pixels"],
        ),
        (
            &qwen,
            "--site merger",
            ["found `merger`", "expected before-merger or after-merger"],
        ),
        (
            &next,
            "--next-tokens some",
            ["found `some`", "expected unpadded or all"],
        ),
        (
            &next,
            "--newlines kept_rows",
            ["found `kept_rows`", "expected all, kept-rows or none"],
        ),
        (
            &next,
            "--next-papers --newlines all",
            ["found --newlines beside it", "leave one out"],
        ),
        (
            &next,
            "--next-papers --next-tokens all",
            ["found --next-tokens beside it", "leave one out"],
        ),
    ] {
        for line in [ask(options), dry(options)] {
            refuse(&line, &[checkpoint, &photo], &parts);
        }
    }
    refuse(
        "mini card --model {} --site after-merger",
        &[&qwen],
        &["mini card", "found --site", "as it is published"],
    );
}

#[test]
fn records_of_other_options_stand_apart() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, world, out) = (at("next"), at("world"), at("out"));
    model_of(Family::LlavaNext, &checkpoint, 32, 1);
    succeed(
        &format!("mini data --out {{}} --images 1 --val-images 1 {FEW_QUESTIONS}"),
        &[&world],
    );
    let eval = "eval --model {} --data {} --out {} --arms full,random --budgets 1/9 --limit 1 --random-seeds 1 \
                --max-new-tokens 1";
    succeed(eval, &[&checkpoint, &world, &out]);
    let report = || fs::read_to_string(out.join("report.json")).unwrap();
    assert!(report().contains("\"options\": \"\"") && report().contains("Model next; "));
    let papers = format!("{eval} --next-papers");
    refuse(
        &papers,
        &[&checkpoint, &world, &out],
        &["differs in its model or its options"],
    );
    fs::remove_file(out.join("records.jsonl")).unwrap();
    succeed(&papers, &[&checkpoint, &world, &out]);
    let told = "next-tokens all, newlines none";
    assert!(
        report().contains(&format!("\"options\": \"{told}\"")),
        "{}",
        report()
    );
    assert!(
        report().contains(&format!("Model next; {told}; ")),
        "{}",
        report()
    );
    refuse(
        eval,
        &[&checkpoint, &world, &out],
        &["differs in its model or its options"],
    );
}
