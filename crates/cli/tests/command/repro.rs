//! The whole experiment on models with random weights: interrupted, resumed, and what it writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use diffprune_mini::Family;
use serde_json::Value;

use crate::{diffprune, model_of, output, succeed};

pub(crate) const PLAN: &str = "rounds = 1\nsteps = 2\nbatch = 4\ncheckpoint_every = 1\ntraining_seeds = 2\nrival_seeds = 1\n\
                    untrained_seeds = 2\nrandom_seeds = 2\nablations = \"none\"\nown_budgets = false\ntuned_contrasts = false\noracle_questions = 2\n\
                    resamples = 50\nmax_new_tokens = 2\npope_per_image = 1\npictures = 1\n[counts]\n\
                    pope_images = 2\ngqa_per_kind = 1\ntextvqa_questions = 2\nvqav2_questions = 1\n\
                    vizwiz_questions = 1\nmme_pictures = 1\nmmbench_questions = 1\nmmbench_cn_questions = 1\n\
                    seed_bench_questions = 1\nscienceqa_questions = 1\ntrain_captions = 8\nval_captions = 4\n[studies]\n\
                    images = 4\nbatches = 3\nbatch = 2\nnoises = 0\ndirections = 1\nsteps = 8\nsurface = 0\npictures = 2\n";
const RUN: &str = "run repro --models {},{},{} --plan {} --out {} --seed 3";

/// Models of the three families and a plan, in a folder.
struct Setup {
    models: Vec<PathBuf>,
    plan: PathBuf,
}

impl Setup {
    fn new(dir: &Path) -> Self {
        let models = Family::ALL.map(|family| {
            let folder = dir.join(family.name());
            // As many layers as the shipped models have: where methods inside the model act depends on it.
            model_of(family, &folder, 32, 4);
            folder
        });
        let plan = dir.join("plan.toml");
        fs::write(&plan, PLAN).unwrap();
        Self {
            models: models.to_vec(),
            plan,
        }
    }

    fn paths<'a>(&'a self, out: &'a Path) -> Vec<&'a Path> {
        let models = self.models.iter().map(PathBuf::as_path);
        models.chain([self.plan.as_path(), out]).collect()
    }
}

/// Starts the experiments and kills them as soon as the second model has recorded some answers.
fn interrupt(paths: &[&Path], out: &Path) {
    let mut child = diffprune(RUN, paths)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let second = out.join(Family::LlavaNext.name());
    let few = |path: PathBuf| fs::read_to_string(path).is_ok_and(|text| text.lines().count() < 40);
    while records(&second).is_none_or(few) {
        assert!(started.elapsed() < Duration::from_secs(400), "no answers");
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

/// The report of a folder; `resumed` of its stages were interrupted.
fn report(out: &Path, resumed: usize) -> Value {
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let report = read(out.join("report.json"));
    let trainings = report["meta"]["config"]["trainings"].as_object().unwrap();
    // What depends on the clock stands beside the report.
    let stages = read(out.join("stages/stages.json"));
    let mut stages = stages.as_object().unwrap().clone();
    // The studies stand beside the page over the models, which is the report itself where there is one; the times beside each.
    stages.retain(|name, _| !name.starts_with("study-") && !name.starts_with("times-"));
    let is_noted = |stage: &Value| stage["seconds"].is_number() && stage["revisions"][0].is_string();
    assert!(
        // The data, the captions' features, the records.
        stages.len() == 3 + trainings.len() && stages.values().all(is_noted),
        "{stages:?}"
    );
    let timing = read(out.join("timing.json"));
    assert!(
        timing["wall_s"].as_f64().unwrap() > 0.0 && timing["arms"][0]["prefill_ms"].as_f64().unwrap() > 0.0
    );
    // What was interrupted says so and nothing else does.
    let found = stages.values().filter(|stage| stage["resumed"] == true).count();
    assert_eq!(found, resumed, "{stages:?}");
    report
}

/// Every stage says its place among all of them, and the last one is the last.
fn counts_its_stages(told: &str) {
    let places = told
        .lines()
        .filter_map(|line| line.strip_prefix("[repro] stage "));
    let places = places.map(|line| {
        let mut numbers = line
            .split([' ', ',', ':'])
            .filter_map(|word| word.parse::<usize>().ok());
        (
            numbers.next().expect("a place"),
            numbers.next().expect("how many there are"),
        )
    });
    let places: Vec<(usize, usize)> = places.collect();
    let total = places.len();
    assert!(total > 20, "{told}");
    assert_eq!(
        places,
        (1..=total).map(|place| (place, total)).collect::<Vec<_>>()
    );
    assert!(told.contains(" passed, about "), "{told}");
}

/// The page over the reports.
fn index(out: &Path) -> String {
    fs::read_to_string(out.join("report.md")).unwrap()
}

#[test]
fn interrupted_experiments_end_with_the_same_reports() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(dir.path());
    let (broken, whole) = (dir.path().join("broken"), dir.path().join("whole"));
    let (of_broken, of_whole) = (setup.paths(&broken), setup.paths(&whole));
    interrupt(&of_broken, &broken);
    assert!(broken.join("llava-1.5/report.json").is_file());
    assert!(!broken.join("llava-next/report.json").exists() && !broken.join("report.md").exists());
    let told = succeed(RUN, &of_broken);
    assert!(
        told.contains("report.md") && told.contains("oracle-drop"),
        "{told}"
    );
    let told = output(RUN, &of_whole);
    assert!(told.status.success());
    counts_its_stages(&String::from_utf8_lossy(&told.stderr));
    let page = index(&broken);
    assert_eq!(page, index(&whole));
    for family in Family::ALL {
        let name = family.name();
        let resumed = report(&broken.join(name), usize::from(family == Family::LlavaNext));
        assert_eq!(resumed, report(&whole.join(name), 0), "{name}");
        for file in ["report.json", "report.md"] {
            let bytes = |out: &Path| fs::read(out.join(name).join(file)).unwrap();
            assert!(bytes(&broken) == bytes(&whole), "{name}: {file}");
        }
        shape(&resumed, family);
        shows(&page, &resumed, name);
    }
    let data = |out: &Path| {
        let names = fs::read_dir(out.join("stages")).unwrap();
        names
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count()
    };
    // The world, the seven pilot studies and the answers of one are written once, above the models' folders; those have features,
    // trainings and times.
    assert_eq!((data(&broken), data(&broken.join("llava-next"))), (9, 8));
    files(&broken.join("llava-1.5"));
    // Pictures of an earlier run do not come back; files of others stay.
    let pictures = broken.join("llava-1.5/pictures");
    fs::copy(pictures.join("1-diffprune.png"), pictures.join("9-diffprune.png")).unwrap();
    fs::write(pictures.join("mine.txt"), "").unwrap();
    // A third time, nothing is left to do and nothing changes.
    let before = fs::read_to_string(broken.join("llava-1.5/report.md")).unwrap();
    succeed(RUN, &of_broken);
    assert_eq!(
        fs::read_to_string(broken.join("llava-1.5/report.md")).unwrap(),
        before
    );
    assert_eq!(index(&broken), page);
    archived(&broken, &dir.path().join("kept"), &dir.path().join("again"));
    assert!(!pictures.join("9-diffprune.png").exists() && pictures.join("mine.txt").exists());
    // One model alone has the same numbers, in the folder itself, and the verdicts of the studies with them.
    let alone = dir.path().join("alone");
    let line = "run repro --model {} --plan {} --out {} --seed 3";
    succeed(line, &[&setup.models[2], &setup.plan, &alone]);
    let (alone, among) = (report(&alone, 0), report(&broken.join("qwen2.5-vl"), 0));
    for part in ["tables", "data", "counted", "absent", "equal"] {
        assert_eq!(alone[part], among[part], "{part}");
    }
    let judged = |report: &Value, id: &str| {
        let claims = report["claims"].as_array().unwrap();
        let claim = claims.iter().find(|claim| claim["id"] == id).unwrap();
        claim["tiers"]["mini"]["estimate"].is_number()
    };
    assert!(judged(&alone, "f1.coherence") && !judged(&among, "f1.coherence"));
}

#[test]
fn models_that_are_not_there_are_told_before_anything_is_computed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("there");
    model_of(Family::Llava15, &folder, 32, 1);
    let (plan, out) = (dir.path().join("plan.toml"), dir.path().join("out"));
    fs::write(&plan, PLAN).unwrap();
    let refused = |code: i32, line: &str, paths: &[&Path]| {
        let output = diffprune(line, paths).current_dir(dir.path()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(!out.exists());
        told
    };
    let line = "run repro --models {},{} --plan {} --out {}";
    let told = refused(1, line, &[&folder, &dir.path().join("missing"), &plan, &out]);
    assert!(
        told.contains("missing") && told.contains("expected an existing folder"),
        "{told}"
    );
    let told = refused(1, line, &[&folder, &folder, &plan, &out]);
    assert!(told.contains("differ in their last name"), "{told}");
    let told = refused(2, "run repro --model {} --models a,b --out {}", &[&folder, &out]);
    assert!(told.contains("cannot be used with"), "{told}");
}

/// The small copy of the experiments gives their pages again, byte for byte.
fn archived(out: &Path, kept: &Path, again: &Path) {
    succeed("report {} --archive {}", &[out, kept]);
    succeed("report {} --out {}", &[kept, again]);
    let mut compared = 0;
    let models = Family::ALL.map(|family| family.name());
    for folder in models.into_iter().chain([""]) {
        for entry in fs::read_dir(again.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(again).unwrap();
                let bytes = fs::read(&path).unwrap();
                assert!(bytes == fs::read(out.join(name)).unwrap(), "{}", name.display());
                assert!(bytes == fs::read(kept.join(name)).unwrap(), "{}", name.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 30, "{compared} files");
}

/// What lies in the folder of a model.
fn files(out: &Path) {
    for file in [
        "report.md",
        "report.html",
        "report.tex",
        "report.csv",
        "retention.svg",
        "cost.svg",
        "pictures/1-diffprune.png",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(
        page.contains("![Image 1: gumbel-noise](pictures/1-gumbel-noise.png)")
            && page.contains("Arms that cannot run here")
    );
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("src=\"data:image/png;base64,") && !html.contains("src=\"pictures"));
}

/// The page names the model, links its report, and has every arm, with a number or a reason, at every budget.
fn shows(page: &str, report: &Value, name: &str) {
    assert!(page.contains(&format!("]({name}/report.md)")));
    let config = &report["meta"]["config"];
    assert!(page.contains(&format!("{name}: {} in small", config["table"].as_str().unwrap())));
    let absent = report["absent"].as_array().cloned().unwrap_or_default();
    for budget in config["lineup"]["budgets"].as_array().unwrap() {
        let head = format!("### {name} at {} of the tokens", budget.as_str().unwrap());
        let table = page.split(&head).nth(1).expect("a table for each budget");
        let table = table.split("\n###").next().unwrap();
        for arm in config["lineup"]["arms"].as_array().unwrap() {
            let line = table.lines().find(|line| {
                let names = line.split('|').nth(1).unwrap_or_default();
                names.split(" = ").any(|name| name.trim() == arm)
            });
            if arm == "oracle-loo" {
                continue;
            }
            let line = line.unwrap_or_else(|| panic!("{arm} at {budget}"));
            let cannot = absent
                .iter()
                .any(|absent| absent["arm"] == *arm && absent["budget"] == *budget);
            assert_eq!(line.contains("cannot"), cannot, "{line}");
            assert_eq!(line.contains('['), !cannot, "{line}");
        }
    }
}

/// `report.json` as its readers expect it.
fn shape(report: &Value, family: Family) {
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
    let absent = report["absent"].as_array().cloned().unwrap_or_default();
    assert!(
        absent
            .iter()
            .all(|absent| absent["reason"].as_str().is_some_and(|text| !text.is_empty()))
    );
    let named = |rows: &[Value]| -> BTreeSet<String> {
        rows.iter()
            .map(|row| row["arm"].as_str().unwrap().to_string())
            .collect()
    };
    let arms: BTreeSet<String> = named(main).union(&named(&absent)).cloned().collect();
    let wanted = meta["config"]["lineup"]["arms"].as_array().unwrap();
    let wanted = wanted.iter().map(|arm| arm.as_str().unwrap().to_string());
    assert_eq!(arms, wanted.filter(|arm| arm != "oracle-loo").collect());
    assert!(tables.iter().any(|table| table["id"] == "partial"));
    let protocol = if family == Family::Qwen25Vl {
        "lmms-eval"
    } else {
        "llava"
    };
    assert_eq!(meta["config"]["prompts"], protocol);
    assert!(meta["note"].as_str().unwrap().contains(protocol));
    let rows = tables.iter().flat_map(|table| table["rows"].as_array().unwrap());
    let metrics: BTreeSet<_> = rows.map(|row| row["metric"].as_str().unwrap()).collect();
    for benchmark in diffprune_eval::Benchmark::ALL {
        assert!(metrics.contains(benchmark.metric()), "{benchmark:?}: {metrics:?}");
    }
    notes(report, family);
    let claims = report["claims"].as_array().unwrap();
    let has = |id: &str| claims.iter().any(|claim| claim["id"] == id);
    for id in ["s.above-random", "t5.gumbel-largest"] {
        assert!(has(id), "{id}");
    }
    for claim in claims {
        let verdict = claim["verdict"].as_str().unwrap();
        assert!(
            ["holds", "fails", "tie", "equivalent", "untestable"].contains(&verdict),
            "{claim}"
        );
        assert!(claim["statement"].is_string(), "{claim}");
        // What was measured has an interval, what was not says why.
        match claim["estimate"].is_number() {
            true => assert!(claim["lo"].is_number() && claim["hi"].is_number(), "{claim}"),
            false => assert!(claim["reason"].is_string(), "{claim}"),
        }
    }
}

/// Seeds of trainings beside the numbers, and what stands above the tables.
fn notes(report: &Value, family: Family) {
    let tables = report["tables"].as_array().unwrap();
    let main = tables.iter().find(|table| table["id"] == "main").unwrap();
    let rows = main["rows"].as_array().unwrap();
    let seeds = |arm: &str| {
        let row = rows
            .iter()
            .find(|row| row["arm"] == arm && row["metric"] == "average");
        row.unwrap_or_else(|| panic!("{arm}"))["train_seeds"].clone()
    };
    for arm in ["diffprune", "gumbel-noise", "gumbel-gathered", "untrained"] {
        assert_eq!(seeds(arm), serde_json::json!([3, 4]), "{arm}");
    }
    assert!(seeds("first-k").is_null());
    let notes = report["meta"]["notes"].as_array().unwrap();
    let has = |text: &str| notes.iter().any(|note| note.as_str().unwrap().contains(text));
    assert!(has("A plan of its own sizes: 2 updates of 4 captions each") && has("trained from 2 seeds"));
    assert!(has("trained at 2/9 of the tokens, serves every budget"));
    assert_eq!(has("no fair contrast"), family == Family::Llava15);
    let trainings = report["meta"]["config"]["trainings"].as_object().unwrap();
    for (name, training) in trainings {
        let warnings = training["warnings"].as_array().unwrap();
        assert_eq!(
            has(&format!("Warning, training of {name}:")),
            !warnings.is_empty(),
            "{name}"
        );
    }
}
