//! Every command once, on a model with random weights.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use diffprune_mini::Family;

use crate::{FEW_QUESTIONS, diffprune, model, model_of, output, picture, succeed};

#[test]
fn data_train_eval_report_show_ask() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, world, scorer, out) = (at("model"), at("world"), at("scorer"), at("out"));
    model(&checkpoint, 32);
    let counts = format!("--images 8 --val-images 4 {FEW_QUESTIONS}");
    succeed(&format!("mini data --out {{}} {counts}"), &[&world]);
    let told = succeed(&format!("mini data --out {{}} {counts}"), &[&world]);
    assert!(told.contains("already"));

    let told = succeed(
        "train --model {} --data {} --out {} --steps 2 --keep 2/9",
        &[&checkpoint, &world, &scorer],
    );
    assert!(told.contains("2 updates"), "{told}");
    assert!(scorer.join("diffprune.json").is_file() && scorer.join("train.toml").is_file());

    let arms = "full,random,cls,diffprune,inverted,diffprune-reindexed,oracle-keep,text-only,\
                downsampled-image,oracle-loo";
    let eval = format!(
        "eval --model {{}} --data {{}} --out {{}} --scorer diffprune={{}} --arms {arms} --budgets 16,1/3 --limit 3 \
         --random-seeds 2 --max-new-tokens 3 --oracle-questions 2"
    );
    succeed(&eval, &[&checkpoint, &world, &out, &scorer]);
    let records = fs::read_to_string(out.join("records.jsonl")).unwrap();
    // Two arms without a budget, seven with two (random twice), three questions of each benchmark but one reading; two
    // questions for the oracle that leaves out one token at a time.
    let questions = 3 + 3 + 1;
    assert_eq!(records.lines().count() - 1, questions * (2 + 2 * (7 + 1)) + 2 * 2);
    let report = fs::read_to_string(out.join("report.json")).unwrap();
    fs::remove_file(out.join("report.md")).unwrap();
    succeed("report {}", &[&out]);
    assert_eq!(fs::read_to_string(out.join("report.json")).unwrap(), report);
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(
        page.contains("leave-one-out oracle") && page.contains("downsampled picture"),
        "{page}"
    );
    assert!(
        report.contains("\"tier\": \"mini\""),
        "the small world is no real data"
    );

    // Two devices give what one gives, to the byte and in the same order, and continue each other's runs.
    let two = at("two");
    let on_two = format!("{eval} --device cpu,cpu");
    succeed(&on_two, &[&checkpoint, &world, &two, &scorer]);
    assert_eq!(fs::read_to_string(two.join("records.jsonl")).unwrap(), records);
    fs::write(two.join("records.jsonl"), &records[..records.len() / 2]).unwrap();
    succeed(&eval, &[&checkpoint, &world, &two, &scorer]);
    assert_eq!(fs::read_to_string(two.join("records.jsonl")).unwrap(), records);
    assert!(records.contains("\"probability\":") && report.contains("pope calibration error"));

    compared(&at, &out, &report);
    let same = succeed("report {} {} --same-result", &[&out, &out]);
    assert!(same.contains(" 0 apart") && same.contains(" 0 at odds"), "{same}");

    // Without --arms: the controls, the scorer and its inversion. Data without a manifest may be anybody's.
    let short = "eval --model {} --data {} --out {} --scorer diffprune={} --budgets 16 --limit 1 --random-seeds 1 \
                 --max-new-tokens 1";
    fs::remove_file(world.join("manifest.json")).unwrap();
    succeed(short, &[&checkpoint, &world, &at("default"), &scorer]);
    let report = fs::read_to_string(at("default").join("report.json")).unwrap();
    assert!(report.contains("\"inverted\"") && report.contains("\"tier\": \"full\""));

    let (photo, png) = (at("photo.png"), at("heat.png"));
    picture(&photo);
    for pruner in ["cls", "random", "uniform-grid", "untrained"] {
        let line = format!("show --model {{}} --image {{}} --out {{}} --pruner {pruner} --keep 16");
        let told = succeed(&line, &[&checkpoint, &photo, &png]);
        assert!(told.contains("16 of 144"), "{told}");
    }
    succeed(
        "show --model {} --image {} --out {} --pruner diffprune:{}",
        &[&checkpoint, &photo, &png, &scorer],
    );
    assert!(image::open(&png).is_ok());
    let ask = "ask colour? --model {} --image {} --keep 11% --pruner inverted:{} --max-new-tokens 2";
    succeed(ask, &[&checkpoint, &photo, &scorer]);
}

/// Reports about a finished run: in some formats, against itself and a part of it, and in a leaderboard.
fn compared(at: &dyn Fn(&str) -> PathBuf, out: &Path, report: &str) {
    let part = at("part");
    fs::create_dir(&part).unwrap();
    let records = fs::read_to_string(out.join("records.jsonl")).unwrap();
    let pope = records.lines().enumerate();
    let pope = pope.filter(|(number, line)| *number == 0 || line.contains("\"benchmark\":\"pope\""));
    let pope: String = pope.map(|(_, line)| format!("{line}\n")).collect();
    fs::write(part.join("records.jsonl"), pope).unwrap();

    let told = succeed("report {} --format csv,tex --out {}", &[out, &at("few")]);
    assert!(told.contains("report.csv") && told.contains("average"), "{told}");
    let mut files: Vec<_> = fs::read_dir(at("few"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["report.csv", "report.tex"]);
    assert!(report.contains("\"prefill GFLOPs\"") && report.contains("\"loyalty\""));

    let told = succeed("report {} {}", &[out, &part]);
    assert!(
        told.contains("out minus part") && told.contains("pope mean F1"),
        "{told}"
    );
    assert!(
        !told.contains("better") && !told.contains("worse") && !told.contains("gqa"),
        "{told}"
    );
    succeed("report {} {} --out {}", &[out, out, &at("both")]);
    let page = fs::read_to_string(at("both").join("report.md")).unwrap();
    assert!(page.contains("# out (1) against out (2)") && page.contains("gqa accuracy"));

    let told = succeed("report --leaderboard {} {}", &[out, &part]);
    assert!(told.contains("common benchmarks: pope ("), "{told}");
    assert!(
        told.contains("part: full") && told.contains("out: text-only"),
        "{told}"
    );
    assert_eq!(
        fs::read_to_string(out.join("report.json")).unwrap(),
        report,
        "nothing is touched"
    );
}

/// Starts a run and kills the process when its file has so many lines; whether it was killed before the end.
fn killed_at(lines: usize, line: &str, paths: &[&Path], records: &Path) -> bool {
    let mut child = diffprune(line, paths)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let written = || fs::read(records).map_or(0, |bytes| bytes.iter().filter(|&&byte| byte == b'\n').count());
    while written() < lines && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(400), "no answers");
        sleep(Duration::from_millis(1));
    }
    child.kill().ok();
    !child.wait().unwrap().success()
}

#[test]
fn a_run_that_is_killed_ends_with_the_same_report_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, world, whole) = (at("model"), at("world"), at("whole"));
    model_of(Family::Llava15, &checkpoint, 32, 4);
    let counts = "--pope-images 6 --gqa-per-kind 1 --textvqa-questions 2 --vqav2-questions 2 --vizwiz-questions 1 \
                  --mme-pictures 2 --mmbench-questions 1 --mmbench-cn-questions 0 --seed-bench-questions 1 \
                  --scienceqa-questions 1";
    succeed(
        &format!("mini data --out {{}} --images 1 --val-images 1 {counts}"),
        &[&world],
    );
    let eval = "eval --model {} --data {} --out {} --arms full,random,cls,fastv-kept,text-only,downsampled-image \
                --budgets 1/3,1/9 --random-seeds 2 --max-new-tokens 2";
    succeed(eval, &[&checkpoint, &world, &whole]);
    let n_lines = fs::read_to_string(whole.join("records.jsonl"))
        .unwrap()
        .lines()
        .count();
    let mut killed = 0;
    // The header alone, a few answers, and twice anywhere: the clock chooses.
    let anywhere = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .subsec_nanos() as usize;
    let cuts = [
        1,
        7,
        2 + anywhere % (n_lines / 2),
        2 + anywhere / 7 % (n_lines / 2),
    ];
    for (number, cut) in cuts.into_iter().enumerate() {
        let out = at(&format!("killed-{number}"));
        let paths: [&Path; 3] = [&checkpoint, &world, &out];
        killed += usize::from(killed_at(cut, eval, &paths, &out.join("records.jsonl")));
        succeed(eval, &paths);
        for file in [
            "records.jsonl",
            "report.json",
            "report.md",
            "report.csv",
            "report.html",
            "report.tex",
        ] {
            let bytes = |folder: &Path| fs::read(folder.join(file)).unwrap();
            assert!(
                bytes(&out) == bytes(&whole),
                "{file} of a run killed at {cut} of {n_lines} lines"
            );
        }
        let timing = fs::read_to_string(out.join("timing.json")).unwrap();
        assert!(
            // The files hold f16, and the fused kernels serve f32 alone.
            timing.contains("\"attention\": \"composed\"") && timing.contains("\"prefill_ms\""),
            "{timing}"
        );
        fs::remove_file(out.join("report.md")).unwrap();
        succeed("report {}", &[&out]);
        assert!(fs::read(out.join("report.md")).unwrap() == fs::read(whole.join("report.md")).unwrap());
    }
    assert!(killed > 1, "{killed} runs were killed before their end");
    asked_otherwise(&at, &whole, eval, [&checkpoint, &world]);
}

/// Runs that were asked or scored by other rules are not compared question by question, and a leaderboard says so.
fn asked_otherwise(at: &dyn Fn(&str) -> PathBuf, whole: &Path, eval: &str, [checkpoint, world]: [&Path; 2]) {
    let (other, bare) = (at("other"), at("bare"));
    succeed(
        &format!("{eval} --prompts lmms-eval"),
        &[checkpoint, world, &other],
    );
    let told = output("report {} {}", &[whole, &other]);
    let error = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(1), "{error}");
    assert!(
        error.contains("different protocol (whole: llava, other: lmms-eval)"),
        "{error}"
    );
    let told = succeed("report --leaderboard {} {}", &[whole, &other]);
    assert!(
        told.contains("differ in their protocol (whole: llava, other: lmms-eval)"),
        "{told}"
    );
    // Other prompts for one benchmark under the same rules: said. The small world's TextVQA has no OCR tokens.
    let mut report: serde_json::Value =
        serde_json::from_slice(&fs::read(whole.join("report.json")).unwrap()).unwrap();
    let ocr = &mut report["meta"]["config"]["report"]["asked"]["ocr"];
    assert_eq!(*ocr, false);
    *ocr = true.into();
    fs::create_dir(&bare).unwrap();
    fs::copy(whole.join("records.jsonl"), bare.join("records.jsonl")).unwrap();
    fs::write(bare.join("report.json"), report.to_string()).unwrap();
    let told = succeed("report {} {}", &[whole, &bare]);
    let wanted = "TextVQA prompts (whole: without OCR tokens, bare: with OCR tokens)";
    assert!(told.contains(wanted) && told.contains("Paired over"), "{told}");
}

#[test]
fn pictures_are_talked_about_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, photo) = (at("model"), at("photo.png"));
    model(&checkpoint, 32);
    picture(&photo);

    // Two pictures in one prompt; methods that merge and methods that read the question answer too.
    for pruner in ["cls", "divprune", "visionzip", "cdpruner"] {
        let ask = format!(
            "ask colour? --model {{}} --image {{}} --image {{}} --keep 1/2 --pruner {pruner} --positions keep \
             --max-new-tokens 2"
        );
        let told = output(&ask, &[&checkpoint, &photo, &photo]);
        let line = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.status.success(), "{pruner}: {line}");
        assert!(
            line.contains("of 288 visual tokens kept") && line.contains("KV cache saved"),
            "{line}"
        );
        assert!(line.contains("144 of 288"), "{line}");
    }
    // One layer is too few to drop anything inside.
    let ask = "ask colour? --model {} --image {} --keep 1/2 --pruner fastv-kept";
    let told = output(ask, &[&checkpoint, &photo]);
    let line = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        !told.status.success() && line.contains("cannot average 72 of 144"),
        "{line}"
    );

    // Without weights: only the settings are read.
    let whole = succeed(
        "ask --dry-run --model {} --image {} --keep 1/9 --dtype f16",
        &[&checkpoint, &photo],
    );
    fs::remove_file(checkpoint.join("model.safetensors")).unwrap();
    let told = succeed(
        "ask --dry-run --model {} --image {} --keep 1/9 --dtype f16",
        &[&checkpoint, &photo],
    );
    assert_eq!(told, whole);
    assert!(
        told.contains("144 tokens in 1 view(s) (12x12)") && told.contains("16 of 144"),
        "{told}"
    );
}

#[test]
fn a_conversation_goes_on_until_an_empty_line() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, photo) = (dir.path().join("model"), dir.path().join("photo.png"));
    model(&checkpoint, 32);
    picture(&photo);
    let mut command = diffprune(
        "ask --chat --model {} --image {} --keep 1/9 --max-new-tokens 2",
        &[&checkpoint, &photo],
    );
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let questions = b"what colour?\nand what shape?\n\nnot asked\n";
    child.stdin.take().unwrap().write_all(questions).unwrap();
    let told = child.wait_with_output().unwrap();
    let lines = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.success(), "{lines}");
    assert_eq!(
        lines.matches("16 of 144 visual tokens kept").count(),
        2,
        "{lines}"
    );
    assert_eq!(
        lines.matches("encode 0 ms, select 0 ms").count(),
        1,
        "looked at once: {lines}"
    );
}

#[test]
fn published_shapes_are_timed_on_random_weights() {
    let told = succeed(
        "bench --shape llava-1.5-7b --layers 1 --keep 1/9 --runs 1 --warm-up 0 --text 8 --dtype f16",
        &[],
    );
    for part in [
        "first 1 layers only",
        "64 of 576",
        "prefill ms",
        "1.00x",
        "few runs: no claim",
        "peak memory",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("together"), "{told}");
}

#[test]
fn requests_are_answered_together() {
    let bench = "bench --shape llava-1.5-7b --layers 1 --keep 1/9 --runs 2 --warm-up 1 --text 8 --dtype f16";
    let told = succeed(&format!("{bench} --concurrency 1,2,4 --answer 3"), &[]);
    let lines: Vec<&str> = told.lines().filter(|line| line.contains(" together: ")).collect();
    assert_eq!(lines.len(), 3, "{told}");
    for (line, batch) in lines.iter().zip([1, 2, 4]) {
        let before = |unit: &str| -> f64 {
            let value = line.split(unit).next().unwrap().rsplit(' ').next().unwrap();
            value.parse().unwrap()
        };
        assert!(
            line.starts_with(&format!("keep 1/9: {batch} together: ")),
            "{line}"
        );
        let (answers, tokens) = (before(" answers/s"), before(" tokens/s"));
        assert!(answers > 0.0 && (tokens / answers - 3.0).abs() < 0.1, "{line}");
        for part in [
            "until all are answered: ",
            "2 runs",
            &format!("cpu, batch {batch})"),
            "f16 weights",
            "; peak memory ",
            "few runs: no claim",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    for wrong in ["--concurrency 0", "--concurrency 1 --answer 0", "--concurrency x"] {
        assert!(
            !output(&format!("{bench} {wrong}"), &[]).status.success(),
            "{wrong}"
        );
    }
    // 4096 positions hold no such answer.
    let long = output(&format!("{bench} --concurrency 1 --answer 5000"), &[]);
    assert!(String::from_utf8_lossy(&long.stderr).contains("shorter answer"));
}

#[test]
fn the_small_model_is_made_and_measured() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (recipe, run, assets) = (at("recipe.toml"), at("run"), at("assets"));
    let stage = "steps = 1\nlr = 1e-3\nwarmup = 1\nweight_decay = 0.0\nclip = 1.0\n";
    let sizes = "d_vision = 32\nd_model = 32\nvision_layers = 1\nlanguage_layers = 1\nn_heads = 2\nshards = 2\n\
                 images_per_shard = 2\nturns = 2\ncheckpoint_every = 1000\n";
    fs::write(&recipe, format!("{sizes}[tower]\n{stage}[language]\n{stage}")).unwrap();
    let train = "mini train --out {} --assets {} --config {} --no-card";
    succeed(train, &[&run, &assets, &recipe]);
    succeed(train, &[&run, &assets, &recipe]);
    assert!(
        fs::read_to_string(assets.join("README.md"))
            .unwrap()
            .contains("144 visual tokens")
    );
    assert!(assets.join("model.safetensors").is_file() && assets.join("training.toml").is_file());
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn help_is_there() {
    for line in [
        "--help",
        "-h",
        "run repro --help",
        "mini train -h",
        "eval --help",
        "--version",
    ] {
        assert!(!succeed(line, &[]).is_empty());
    }
}

#[test]
fn check_says_what_is_damaged_and_what_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (world, list) = (dir.path().join("world"), dir.path().join("files.json"));
    let counts = format!("--images 2 --val-images 1 {FEW_QUESTIONS}");
    succeed(&format!("mini data --out {{}} {counts}"), &[&world]);
    let told = succeed("check {}", &[&world]);
    assert!(
        told.contains("pope: ") && told.contains(" questions of 9000, COCO val2014"),
        "{told}"
    );
    let absent = "not there: mmbench, mmbench_cn, mme, scienceqa, vqav2, seed_bench, vizwiz";
    assert!(told.contains(absent), "{told}");
    assert!(told.contains("no list of files"), "{told}");
    // Inside the folder the list is hidden, elsewhere it has a name.
    for (made, compared) in [
        ("check {} --write", "check {}"),
        ("check {} --write --manifest {}", "check {} --manifest {}"),
    ] {
        let told = succeed(made, &[&world, &list]);
        assert!(told.contains("files listed"), "{told}");
        let told = succeed(compared, &[&world, &list]);
        assert!(told.contains(": 0 of "), "{told}");
    }
    // Nor does a list inside the folder list itself, however its path is written.
    let inside = world.join("pope").join("..").join("files.json");
    for _ in 0..2 {
        succeed("check {} --write --manifest {}", &[&world, &inside]);
        let told = succeed("check {} --manifest {}", &[&world, &inside]);
        assert!(told.contains(": 0 of "), "{told}");
    }
    fs::remove_file(&inside).unwrap();
    let path = world.join("pope").join("llava_pope_test.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let other = whole.replacen("Is there", "Was there", 1);
    assert_ne!(whole, other);
    fs::write(&path, &other).unwrap();
    let changed = output("check {}", &[&world]);
    assert!(!changed.status.success());
    let told = String::from_utf8_lossy(&changed.stdout).into_owned();
    assert!(told.contains("pope/llava_pope_test.jsonl: found"), "{told}");
    let told = String::from_utf8_lossy(&changed.stderr).into_owned();
    assert!(told.contains("1 files that differ"), "{told}");
    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    let damaged = output("check {} --sizes-only", &[&world]);
    assert!(!damaged.status.success());
    let told = String::from_utf8_lossy(&damaged.stdout).into_owned();
    assert!(
        told.contains("llava_pope_test.jsonl:") && told.contains("bytes, expected"),
        "{told}"
    );
    let empty = output("check {}", &[dir.path()]);
    let told = String::from_utf8_lossy(&empty.stderr).into_owned();
    assert!(told.contains("found none of gqa"), "{told}");
}

#[test]
fn eval_keeps_groups_whole_and_writes_files_for_official_programs() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, world, out) = (at("model"), at("world"), at("out"));
    model(&checkpoint, 32);
    let counts = "--images 2 --val-images 1 --pope-images 1 --gqa-per-kind 1 --textvqa-questions 1 \
        --vqav2-questions 1 --vizwiz-questions 1 --mme-pictures 1 --mmbench-questions 1 --mmbench-cn-questions 1 \
        --seed-bench-questions 1 --scienceqa-questions 1";
    succeed(&format!("mini data --out {{}} {counts}"), &[&world]);
    let eval = "eval --model {} --data {} --out {} --arms full --limit 1 --max-new-tokens 2 --answer-files \
        --prompts papers,mme=lmms-eval";
    succeed(eval, &[&checkpoint, &world, &out]);
    let records = fs::read_to_string(out.join("records.jsonl")).unwrap();
    let of = |name: &str| records.matches(&format!("\"benchmark\":\"{name}\"")).count();
    assert_eq!((of("gqa"), of("mme")), (1, 2), "the pair of MME is not cut");
    assert!(of("mmbench") >= 2, "nor are rotations of MMBench");
    let report = fs::read_to_string(out.join("report.json")).unwrap();
    assert!(
        report.contains("llava,mme=lmms-eval,seed_bench=lmms-eval,vizwiz=lmms-eval"),
        "{report}"
    );
    assert!(out.join("pictures").join("1-cls.png").is_file());
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(page.contains("pictures/1-cls.png"), "{page}");
    let answers = out.join("answers").join("full-all-0");
    for file in [
        "gqa/answers.jsonl",
        "gqa/testdev_balanced_predictions.json",
        "vqav2/upload.json",
        "mmbench/upload.tsv",
    ] {
        assert!(
            answers.join(file).is_file(),
            "{file} in {:?}",
            fs::read_dir(out.join("answers")).unwrap().collect::<Vec<_>>()
        );
    }
    // MME's program reads whole subtasks; of one pair there is none.
    assert!(!answers.join("mme").join("count.txt").exists());
}
