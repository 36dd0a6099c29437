//! `ask` and `show`: methods, pictures, types and positions.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use diffprune_mini::{Family, model_name};

use crate::bad_input::refuse;
use crate::{FEW_QUESTIONS, diffprune, model, model_of, output, picture, succeed};

/// Standard error of a run that must succeed.
fn noted(line: &str, paths: &[&Path]) -> String {
    let output = output(line, paths);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {told}");
    told
}

/// Runs a conversation with these lines on standard input.
fn chat(line: &str, paths: &[&Path], lines: &str) -> Output {
    let mut child = diffprune(line, paths)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn every_family_has_a_method_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (photo, png) = (dir.path().join("a.png"), dir.path().join("b.png"));
    picture(&photo);
    for family in Family::ALL {
        let checkpoint = dir.path().join(model_name(family));
        model_of(family, &checkpoint, 32, 1);
        let method = match family {
            Family::Qwen25Vl => "holov-qwen",
            _ => "cls",
        };
        for keep in ["all", "1/9", "5"] {
            let ask = format!("ask colour? --model {{}} --image {{}} --keep {keep} --max-new-tokens 1");
            let told = noted(&ask, &[&checkpoint, &photo]);
            assert!(
                told.contains(&format!("visual tokens kept by {method};")),
                "{told}"
            );
            let dry = succeed(&format!("{ask} --dry-run"), &[&checkpoint, &photo]);
            let kept = told.split(" visual tokens").next().unwrap();
            assert!(
                dry.contains(&format!("{kept} visual tokens stay")),
                "{told} {dry}"
            );
            let show = format!("show --model {{}} --image {{}} --out {{}} --keep {keep}");
            let told = succeed(&show, &[&checkpoint, &photo, &png]);
            assert!(told.contains(&format!("tokens kept by {method}")), "{told}");
            assert!(image::open(&png).is_ok());
            fs::remove_file(&png).unwrap();
        }
        // A text without pictures needs no method.
        noted("ask colour? --model {} --max-new-tokens 1", &[&checkpoint]);
    }
    // A method that the family cannot run is still told when it is named, with and without weights.
    let qwen = dir.path().join(model_name(Family::Qwen25Vl));
    for line in ["ask colour? --pruner cls", "ask --dry-run --pruner cls"] {
        let line = format!("{line} --model {{}} --image {{}}");
        refuse(
            &line,
            &[&qwen, &photo],
            &["cls-attention needs", "[CLS] attention"],
        );
    }
}

#[test]
fn methods_inside_the_language_model_are_not_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, photo, png) = (at("model"), at("a.png"), at("b.png"));
    model_of(Family::Llava15, &checkpoint, 32, 4);
    picture(&photo);
    for method in ["fastv", "dart", "pyramiddrop", "sparsevlm"] {
        let line = format!("show --model {{}} --image {{}} --out {{}} --keep 1/2 --pruner {method}");
        refuse(&line, &[&checkpoint, &photo, &png], &[method, "diffprune ask"]);
        let per_view = format!("ask what? --model {{}} --image {{}} --keep 1/2 --pruner {method}-per-view");
        refuse(
            &per_view,
            &[&checkpoint, &photo],
            &[&format!("{method}-per-view")],
        );
    }
    assert!(!png.exists());
    // In a conversation every turn is told with what it kept.
    let line = "ask --chat --model {} --image {} --keep 3/4 --pruner fastv --max-new-tokens 2";
    let told = chat(line, &[&checkpoint, &photo], "what colour is it?\nand why?\n");
    let lines = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.success(), "{lines}");
    assert_eq!(
        lines.matches("108 of 144 visual tokens kept by fastv").count(),
        2,
        "{lines}"
    );
}

#[test]
fn a_conversation_prunes_for_its_first_question() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, photo) = (dir.path().join("model"), dir.path().join("a.png"));
    model(&checkpoint, 32);
    picture(&photo);
    let options = "--model {} --image {} --keep 2 --pruner cdpruner --max-new-tokens 12";
    let paths: [&Path; 2] = [&checkpoint, &photo];
    // The question goes where it is typed: as an argument, or as the first line.
    for question in ["what", "colour", "where is it", "how many red circles are there"] {
        let words = question.split(' ').collect::<Vec<_>>();
        let mut command = diffprune(&format!("ask {options}"), &paths);
        let argument = command.arg(words.join(" ")).output().unwrap();
        assert!(argument.status.success());
        let line = chat(
            &format!("ask --chat {options}"),
            &paths,
            &format!("{question}\n\n"),
        );
        assert!(line.status.success());
        assert_eq!(
            String::from_utf8_lossy(&line.stdout),
            String::from_utf8_lossy(&argument.stdout),
            "{question}"
        );
    }
    // Nobody asks: nothing is encoded, and that is no error.
    let silent = chat(&format!("ask --chat {options}"), &paths, "");
    assert!(silent.status.success() && silent.stdout.is_empty() && silent.stderr.is_empty());
}

#[test]
fn each_view_may_choose_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, photo, png) = (at("next"), at("a.png"), at("b.png"));
    model_of(Family::LlavaNext, &checkpoint, 32, 1);
    picture(&photo);
    // A small view of 6 by 6 tokens and four tiles of as many: of 45 tokens each has 9.
    let shares = |method: &str| {
        let line =
            format!("show --model {{}} --image {{}} --out {{}} --keep 45 --next-papers --pruner {method}");
        let told = succeed(&line, &[&checkpoint, &photo, &png]);
        assert!(
            told.contains(&format!("45 of 180 tokens kept by {method} (")),
            "{told}"
        );
        let (_, told) = told.split_once(" (").unwrap();
        let numbers: Vec<usize> = told.split(' ').filter_map(|word| word.parse().ok()).collect();
        (numbers[0], numbers[1])
    };
    for method in ["first-k", "last-k", "random", "cls", "untrained"] {
        assert_eq!(shares(&format!("{method}-per-view")), (9, 36), "{method}");
    }
    assert_eq!(shares("first-k"), (36, 9));
    assert_eq!(shares("last-k"), (0, 45));
    noted(
        "ask what? --model {} --image {} --keep 45 --pruner visionzip-per-view --max-new-tokens 1",
        &[&checkpoint, &photo],
    );
    let unknown = "ask what? --model {} --image {} --pruner best-per-view";
    refuse(
        unknown,
        &[&checkpoint, &photo],
        &["`best-per-view`", "uniform-grid"],
    );
    let world = at("world");
    succeed(
        &format!("mini data --out {{}} --images 1 --val-images 1 {FEW_QUESTIONS}"),
        &[&world],
    );
    let eval = "eval --model {} --data {} --out {} --arms full,cls-per-view,random-per-view --budgets 1/9 --limit 1 \
                --random-seeds 2 --max-new-tokens 1";
    succeed(eval, &[&checkpoint, &world, &at("out")]);
    let records = fs::read_to_string(at("out").join("records.jsonl")).unwrap();
    assert!(records.contains("\"cls-attention-per-view\"") || records.contains("\"cls-per-view\""));
    assert!(records.contains("\"random-per-view\""), "{records}");
    let wrong = "eval --model {} --data {} --out {} --arms full,fastv-per-view";
    refuse(wrong, &[&checkpoint, &world, &at("other")], &["fastv-per-view"]);
}

#[test]
fn a_scorer_keeps_the_name_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, world, scorer, out) = (at("model"), at("world"), at("scorer"), at("out"));
    model(&checkpoint, 32);
    succeed(
        &format!("mini data --out {{}} --images 2 --val-images 1 {FEW_QUESTIONS}"),
        &[&world],
    );
    succeed(
        "train --model {} --data {} --out {} --steps 1 --keep 2/9",
        &[&checkpoint, &world, &scorer],
    );
    // None of these is a scorer called `own` that is used in another way.
    let names = ["own-per-view", "own-reindexed", "own-at-budget"];
    let scorers = names.map(|name| format!("--scorer {name}={{}}")).join(" ");
    let eval = format!(
        "eval --model {{}} --data {{}} --out {{}} {scorers} --arms full,{},own-per-view-reindexed --budgets 16 --limit 1 \
         --max-new-tokens 1",
        names.join(",")
    );
    succeed(&eval, &[&checkpoint, &world, &out, &scorer, &scorer, &scorer]);
    let report = fs::read_to_string(out.join("report.json")).unwrap();
    for name in names.into_iter().chain(["own-per-view-reindexed"]) {
        assert!(report.contains(&format!("\"{name}\"")), "{name}: {report}");
    }
}

#[test]
fn very_long_pictures_are_drawn_small_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let png = at("b.png");
    for (name, width, height) in [("wide.png", 20000, 10), ("high.png", 1, 20000)] {
        image::RgbImage::new(width, height).save(at(name)).unwrap();
    }
    for family in Family::ALL {
        let checkpoint = at(&model_name(family));
        model_of(family, &checkpoint, 32, 1);
        for name in ["wide.png", "high.png"] {
            let photo = at(name);
            let show = "show --model {} --image {} --out {} --keep 1/9";
            let dry = "ask --dry-run --model {} --image {}";
            if family == Family::Qwen25Vl {
                for (line, paths) in [
                    (show, vec![&checkpoint, &photo, &png]),
                    (dry, vec![&checkpoint, &photo]),
                ] {
                    let paths: Vec<&Path> = paths.into_iter().map(|path| path.as_path()).collect();
                    refuse(line, &paths, &["20000", "crop"]);
                }
                assert!(!png.exists());
                continue;
            }
            succeed(dry, &[&checkpoint, &photo]);
            succeed(show, &[&checkpoint, &photo, &png]);
            let (width, height) = image::image_dimensions(&png).unwrap();
            assert!(width.max(height) <= 5 * 4096 + 56, "{name}: {width} by {height}");
            fs::remove_file(&png).unwrap();
        }
    }
}

#[test]
fn what_does_not_fit_the_context_is_told_with_a_remedy_that_helps() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, photo) = (dir.path().join("model"), dir.path().join("a.png"));
    model(&checkpoint, 32);
    picture(&photo);
    let config = checkpoint.join("config.json");
    let mut settings: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    settings["text_config"]["max_position_embeddings"] = 100.into();
    fs::write(&config, settings.to_string()).unwrap();
    let ask = "ask colour? --model {} --image {} --keep 16 --max-new-tokens 1";
    let paths: [&Path; 2] = [&checkpoint, &photo];
    for line in [ask.to_string(), format!("{ask} --dry-run")] {
        refuse(&line, &paths, &["expected at most 100", "`--positions reindex`"]);
    }
    noted(&format!("{ask} --positions reindex"), &paths);
    let told = succeed(&format!("{ask} --positions reindex --dry-run"), &paths);
    assert!(told.contains(" of 100 positions"), "{told}");
    // Inside the language model nothing is dropped before it reads.
    refuse(
        "ask colour? --model {} --image {} --keep 16 --dry-run --pruner fastv --positions reindex",
        &paths,
        &[
            "expected at most 100",
            "keep fewer visual tokens in front of the language model",
        ],
    );
}

#[test]
fn counting_looks_at_the_same_things_as_asking() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, png) = (at("model"), at("a.png"));
    model(&checkpoint, 32);
    picture(&png);
    // The name of a file says nothing about its content.
    for name in ["b.jpg", "c", "d.gif"] {
        fs::copy(&png, at(name)).unwrap();
        let told = succeed("ask --dry-run --model {} --image {}", &[&checkpoint, &at(name)]);
        assert!(told.contains("200x120 pixels"), "{told}");
        noted(
            "ask what --model {} --image {} --max-new-tokens 1",
            &[&checkpoint, &at(name)],
        );
    }
    fs::write(at("e.png"), b"GIF89a\x01\x00\x01\x00\x00\x00\x00;").unwrap();
    fs::write(at("f.png"), b"nothing").unwrap();
    for (name, found) in [
        ("e.png", "decoding Gif"),
        ("f.png", "unknown kind"),
        ("g.png", "no such file"),
    ] {
        for line in [
            "ask what --dry-run --model {} --image {}",
            "ask what --model {} --image {}",
        ] {
            refuse(line, &[&checkpoint, &at(name)], &[name, found]);
        }
    }
    for method in ["best", "diffprune-per", "best:dir", "best-per-view"] {
        for line in ["ask what --dry-run", "ask what"] {
            let line = format!("{line} --model {{}} --image {{}} --pruner {method}");
            refuse(
                &line,
                &[&checkpoint, &png],
                &[&format!("`{method}`"), "uniform-grid"],
            );
        }
    }
    let scorer = "ask what --dry-run --model {} --image {} --pruner diffprune:{}";
    refuse(
        scorer,
        &[&checkpoint, &png, &at("absent")],
        &["absent", "diffprune.json"],
    );
}

#[test]
fn weights_are_held_in_the_type_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, photo, world, out) = (at("model"), at("a.png"), at("world"), at("out"));
    model(&checkpoint, 32);
    picture(&photo);
    let bytes = |options: &str| {
        let line = format!("ask --dry-run --model {{}} --image {{}} --keep all {options}");
        let told = succeed(&line, &[&checkpoint, &photo]);
        let line = told.lines().next().unwrap().to_string();
        line.split(", ").nth(1).unwrap().to_string()
    };
    // Without an option, that of the files: 16 bit here.
    assert_eq!(bytes("--half"), bytes(""));
    assert_eq!(bytes("--dtype f16"), bytes("--half"));
    assert_eq!(bytes("--dtype bf16"), bytes("--half"));
    assert_ne!(bytes("--dtype f32"), bytes(""));
    for dtype in ["f32", "f16", "bf16"] {
        let ask = format!("ask what --model {{}} --image {{}} --keep 16 --max-new-tokens 1 --dtype {dtype}");
        noted(&ask, &[&checkpoint, &photo]);
        let show = format!("show --model {{}} --image {{}} --out {{}} --dtype {dtype}");
        succeed(&show, &[&checkpoint, &photo, &at("b.png")]);
    }
    let both = output("ask what --model {} --half --dtype bf16", &[&checkpoint]);
    assert_eq!(both.status.code(), Some(2), "a usage error");
    assert!(String::from_utf8_lossy(&both.stderr).contains("cannot be used with"));
    refuse(
        "ask what --model {} --dtype f64",
        &[&checkpoint],
        &["f64", "--dtype"],
    );

    // Records of one type are not continued in another.
    succeed(
        &format!("mini data --out {{}} --images 2 --val-images 1 {FEW_QUESTIONS}"),
        &[&world],
    );
    let eval = "eval --model {} --data {} --out {} --arms full --limit 1 --max-new-tokens 1";
    succeed(&format!("{eval} --half"), &[&checkpoint, &world, &out]);
    succeed(&format!("{eval} --dtype f16"), &[&checkpoint, &world, &out]);
    succeed(eval, &[&checkpoint, &world, &out]);
    for other in ["--dtype bf16", "--dtype f32"] {
        let line = format!("{eval} {other}");
        refuse(
            &line,
            &[&checkpoint, &world, &out],
            &["its device and weights", "choose another folder"],
        );
    }
    let report = fs::read_to_string(out.join("report.json")).unwrap();
    assert!(report.contains("\"dtype\": \"f16\""), "{report}");
    succeed(
        "train --model {} --data {} --out {} --steps 1 --keep 2/9 --dtype bf16",
        &[&checkpoint, &world, &at("scorer")],
    );
}
