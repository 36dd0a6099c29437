//! The whole experiment on a model with random weights: interrupted, resumed, and what it writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{diffprune, model, succeed};

const PLAN: &str = "steps = 2\nbatch = 4\ncheckpoint_every = 1\nrandom_seeds = 2\nresamples = 50\nmax_new_tokens = 2\n\
                    pope_per_image = 1\npictures = 1\n[counts]\npope_images = 2\ngqa_per_kind = 1\n\
                    textvqa_questions = 2\nvqav2_questions = 1\nvizwiz_questions = 1\nmme_pictures = 1\n\
                    mmbench_questions = 1\nmmbench_cn_questions = 1\nseed_bench_questions = 1\n\
                    scienceqa_questions = 1\ntrain_captions = 8\nval_captions = 4\n";
const RUN: &str = "run repro --model {} --plan {} --out {} --seed 3";

/// Starts the experiment and kills it as soon as it has recorded some answers.
fn interrupt(paths: &[&Path], out: &Path) {
    let mut child = diffprune(RUN, paths)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while records(out).is_none_or(|path| fs::read_to_string(path).is_ok_and(|text| text.lines().count() < 40))
    {
        assert!(started.elapsed() < Duration::from_secs(300), "no answers");
        if child.try_wait().unwrap().is_some() {
            break;
        }
        sleep(Duration::from_millis(5));
    }
    child.kill().ok();
    child.wait().unwrap();
}

fn records(out: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(out.join("stages")).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
}

fn report(out: &Path) -> Value {
    let mut report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    assert!(report["meta"]["wall_s"].as_f64().unwrap() > 0.0);
    report["meta"]["wall_s"] = Value::Null;
    let config = report["meta"]["config"].as_object_mut().unwrap();
    config.remove("stages_s");
    let stages = config.remove("stages").unwrap();
    let stages = stages.as_object().unwrap();
    assert!(stages.len() == 4 && stages.values().all(|stage| stage["revision"].is_string()));
    // What was interrupted says so and nothing else does.
    let resumed = stages.values().filter(|stage| stage["resumed"] == true).count();
    assert_eq!(resumed, usize::from(out.ends_with("broken")), "{stages:?}");
    report
}

#[test]
fn an_interrupted_experiment_ends_with_the_same_report() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (checkpoint, plan, broken, whole) = (at("model"), at("plan.toml"), at("broken"), at("whole"));
    model(&checkpoint, 32);
    fs::write(&plan, PLAN).unwrap();
    interrupt(&[&checkpoint, &plan, &broken], &broken);
    assert!(!broken.join("report.json").exists());
    let told = succeed(RUN, &[&checkpoint, &plan, &broken]);
    assert!(
        told.contains("report.md") && told.contains("oracle-drop"),
        "{told}"
    );
    succeed(RUN, &[&checkpoint, &plan, &whole]);
    let resumed = report(&broken);
    assert_eq!(resumed, report(&whole));
    shape(&resumed);
    for file in [
        "report.md",
        "report.html",
        "report.tex",
        "report.csv",
        "retention.svg",
        "cost.svg",
        "pictures/1-diffprune.png",
    ] {
        assert!(broken.join(file).is_file(), "{file}");
    }
    let page = fs::read_to_string(broken.join("report.md")).unwrap();
    assert!(page.contains("](pictures/1-gumbel-ste.png)"));
    let html = fs::read_to_string(broken.join("report.html")).unwrap();
    assert!(html.contains("src=\"data:image/png;base64,") && !html.contains("src=\"pictures"));
    // Pictures of an earlier run do not come back; files of others stay.
    fs::copy(
        broken.join("pictures/1-diffprune.png"),
        broken.join("pictures/9-diffprune.png"),
    )
    .unwrap();
    fs::write(broken.join("pictures/mine.txt"), "").unwrap();
    // A third time, nothing is left to do and nothing changes.
    succeed(RUN, &[&checkpoint, &plan, &broken]);
    assert_eq!(report(&broken), resumed);
    assert_eq!(fs::read_to_string(broken.join("report.md")).unwrap(), page);
    assert!(!broken.join("pictures/9-diffprune.png").exists() && broken.join("pictures/mine.txt").exists());
}

/// `report.json` as its readers expect it.
fn shape(report: &Value) {
    let meta = &report["meta"];
    for (field, found) in [("device", "cpu"), ("tier", "mini")] {
        assert_eq!(meta[field], found);
    }
    assert_eq!(meta["seed"], 3);
    assert!(meta["revision"].is_string() && meta["config"].is_object());
    let tables = report["tables"].as_array().unwrap();
    assert!(tables.iter().any(|table| table["id"] == "main"));
    for row in tables.iter().flat_map(|table| table["rows"].as_array().unwrap()) {
        assert!(
            row["arm"].is_string() && row["budget"].is_string() && row["metric"].is_string(),
            "{row}"
        );
        let number = |field: &str| row[field].as_f64().unwrap_or_else(|| panic!("{field} of {row}"));
        assert!(
            number("lo") <= number("hi") && number("n") > 0.0 && number("value").is_finite(),
            "{row}"
        );
    }
    let main = tables.iter().find(|table| table["id"] == "main").unwrap()["rows"]
        .as_array()
        .unwrap();
    let arms: std::collections::BTreeSet<_> = main.iter().map(|row| row["arm"].as_str().unwrap()).collect();
    assert_eq!(arms.len(), 15, "{arms:?}");
    let rows = tables.iter().flat_map(|table| table["rows"].as_array().unwrap());
    let metrics: std::collections::BTreeSet<_> = rows.map(|row| row["metric"].as_str().unwrap()).collect();
    for benchmark in diffprune_eval::Benchmark::ALL {
        assert!(metrics.contains(benchmark.metric()), "{benchmark:?}: {metrics:?}");
    }
    let claims = report["claims"].as_array().unwrap();
    let has = |id: &str| claims.iter().any(|claim| claim["id"] == id);
    for id in [
        "above-random",
        "above-gumbel-ste",
        "above-cls-attention",
        "gap-grows",
    ] {
        assert!(has(id), "{id}");
    }
    for claim in claims {
        assert!(["holds", "fails", "tie"].contains(&claim["verdict"].as_str().unwrap()));
        assert!(
            claim["statement"].is_string() && claim["estimate"].is_number(),
            "{claim}"
        );
        assert!(claim["lo"].is_number() && claim["hi"].is_number());
    }
}
