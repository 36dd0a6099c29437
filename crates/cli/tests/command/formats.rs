//! The small world through the real readers, prompts and scorers of all ten benchmarks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use diffprune_eval::{Benchmark, Protocol, Question, ReadOptions, Reference, Scored, Template, mme_text};
use diffprune_mini::{
    Boxes, Family, MiniCounts, MiniWorld, Prompts, SceneDataset, Split, Stop, Style, Turn, WorldConfig,
    build_tokenizer, turns,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const PROTOCOLS: [(Protocol, Prompts); 2] = [
    (Protocol::Llava, Prompts::Llava),
    (Protocol::LmmsEval, Prompts::LmmsEval),
];

fn counts() -> MiniCounts {
    MiniCounts {
        pope_images: 6,
        gqa_per_kind: 6,
        textvqa_questions: 12,
        vqav2_questions: 20,
        vizwiz_questions: 30,
        mme_pictures: 4,
        mmbench_questions: 12,
        mmbench_cn_questions: 11,
        seed_bench_questions: 16,
        scienceqa_questions: 20,
        train_captions: 0,
        val_captions: 0,
    }
}

fn read(
    root: &Path,
    benchmark: Benchmark,
    prompts: Protocol,
) -> Result<Vec<Question>, Box<dyn std::error::Error>> {
    let options = ReadOptions::default().with_prompts(prompts);
    Ok(benchmark.read(&root.join(benchmark.name()), &options)?)
}

/// The answer that most annotators or the key give.
fn truth(reference: &Reference) -> String {
    match reference {
        Reference::YesNo(true) => "Yes".to_owned(),
        Reference::YesNo(false) => "No".to_owned(),
        Reference::Exact(answer) => answer.clone(),
        Reference::Letter { letter, .. } => letter.to_string(),
        Reference::TenAnswers(answers) => {
            let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
            for answer in answers {
                *votes.entry(answer).or_default() += 1;
            }
            let most = votes.into_iter().max_by_key(|(_, votes)| *votes);
            most.map(|(answer, _)| answer.to_owned()).unwrap_or_default()
        }
        Reference::Hidden => String::new(),
    }
}

#[test]
fn a_small_world_is_read_and_scored_as_all_ten_benchmarks() -> Outcome {
    let root = tempfile::tempdir()?;
    let dir = root.path().join("world");
    let world = MiniWorld {
        counts: counts(),
        seed: 5,
        ..MiniWorld::default()
    };
    world.write(&dir, &Stop::default(), &|_| {})?;
    let boxes = Boxes::read(&dir.join("boxes.json"))?;
    let tokenizers = Family::ALL
        .map(build_tokenizer)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    for benchmark in Benchmark::ALL {
        for (protocol, _) in PROTOCOLS {
            let questions = read(&dir, benchmark, protocol)?;
            let groups: BTreeSet<&Option<String>> = questions.iter().map(|q| &q.group).collect();
            let (found, wanted) = match benchmark {
                Benchmark::Gqa => (questions.len(), 40),
                // Up to three pairs per picture in each of three sets.
                Benchmark::Pope => (usize::from((60..=108).contains(&questions.len())), 1),
                Benchmark::TextVqa => (questions.len(), 12),
                Benchmark::VqaV2 => (questions.len(), 20),
                Benchmark::VizWiz => (questions.len(), 30),
                Benchmark::Mme => (questions.len(), 40),
                Benchmark::MmBench => (groups.len(), 12),
                Benchmark::MmBenchCn => (groups.len(), 11),
                Benchmark::SeedBench => (questions.len(), 16),
                Benchmark::ScienceQa => (questions.len(), 20),
                other => panic!("the small world has no {other}"),
            };
            assert_eq!(found, wanted, "{benchmark:?}: {} questions", questions.len());
            let mut scored = Vec::new();
            for question in &questions {
                for tokenizer in &tokenizers {
                    let ids = tokenizer
                        .encode(question.text.as_str(), true)
                        .map_err(|error| error.to_string())?;
                    assert!(
                        !ids.get_ids().contains(&0),
                        "{}: {:?}",
                        question.text,
                        ids.get_tokens()
                    );
                }
                assert_eq!(question.load_image()?.dimensions(), (168, 168));
                let key: Vec<_> = question
                    .image
                    .strip_prefix(&dir)?
                    .iter()
                    .map(|part| part.to_string_lossy())
                    .collect();
                assert!(
                    boxes.images.contains_key(&key.join("/")),
                    "no truth about {key:?}"
                );
                let score = question.score(&truth(&question.reference), protocol);
                assert_eq!(score, 1.0, "{question:?}");
                scored.push(Scored {
                    subset: &question.subset,
                    group: question.group.as_deref(),
                    score,
                    label: question.label(),
                    said: None,
                });
            }
            let points = benchmark.aggregate().of(scored);
            // MME gives 200 points for each of the five subtasks that the world has.
            let most = if benchmark == Benchmark::Mme {
                1000.0
            } else {
                100.0
            };
            assert!((points - most).abs() < 1e-9, "{benchmark:?}: {points}");
        }
    }
    Ok(())
}

#[test]
fn the_small_sets_have_what_makes_each_benchmark_special() -> Outcome {
    let root = tempfile::tempdir()?;
    let dir = root.path().join("world");
    let world = MiniWorld {
        counts: counts(),
        seed: 6,
        ..MiniWorld::default()
    };
    world.write(&dir, &Stop::default(), &|_| {})?;
    let of = |benchmark| read(&dir, benchmark, Protocol::Llava);
    let has_cjk = |text: &str| {
        text.chars()
            .any(|letter| ('\u{4e00}'..='\u{9fff}').contains(&letter))
    };
    for question in of(Benchmark::MmBenchCn)? {
        let Reference::Letter { options, .. } = &question.reference else {
            return Err("no letter".into());
        };
        assert!(
            has_cjk(question.text.split('\n').next().unwrap_or_default()),
            "{}",
            question.text
        );
        assert!(
            options
                .iter()
                .all(|(_, text)| has_cjk(text) || text.parse::<u8>().is_ok())
        );
    }
    for question in of(Benchmark::MmBench)? {
        let Reference::Letter { options, .. } = &question.reference else {
            return Err("no letter".into());
        };
        let rotations = of(Benchmark::MmBench)?
            .iter()
            .filter(|q| q.group == question.group)
            .count();
        assert_eq!(rotations, options.len());
    }
    let vizwiz = of(Benchmark::VizWiz)?;
    let unanswerable = vizwiz
        .iter()
        .filter(|q| truth(&q.reference) == "unanswerable")
        .count();
    assert!(
        (6..=22).contains(&unanswerable),
        "{unanswerable} of {}",
        vizwiz.len()
    );
    let dissent =
        |q: &&Question| matches!(&q.reference, Reference::TenAnswers(a) if a.iter().any(|x| *x != a[0]));
    for benchmark in [Benchmark::TextVqa, Benchmark::VqaV2, Benchmark::VizWiz] {
        let questions = of(benchmark)?;
        let n = questions.iter().filter(dissent).count();
        assert!(
            n > questions.len() / 3 && n < questions.len(),
            "{benchmark:?}: {n}"
        );
    }
    let context = of(Benchmark::ScienceQa)?
        .iter()
        .filter(|q| q.text.starts_with("Context: "))
        .count();
    assert!((8..20).contains(&context), "{context}");
    let mme = of(Benchmark::Mme)?;
    for pair in mme.chunks(2) {
        assert_ne!(pair[0].reference, pair[1].reference, "{pair:?}");
        assert_eq!(pair[0].group, pair[1].group);
    }
    Ok(())
}

fn benchmark(style: Style) -> Benchmark {
    match style {
        Style::Pope => Benchmark::Pope,
        Style::Gqa => Benchmark::Gqa,
        Style::TextVqa => Benchmark::TextVqa,
        Style::VqaV2 => Benchmark::VqaV2,
        Style::VizWiz => Benchmark::VizWiz,
        Style::Mme => Benchmark::Mme,
        Style::MmBench => Benchmark::MmBench,
        Style::MmBenchCn => Benchmark::MmBenchCn,
        Style::SeedBench => Benchmark::SeedBench,
        Style::ScienceQa => Benchmark::ScienceQa,
    }
}

/// The text that evaluation gives the same question.
fn evaluated(turn: &Turn, protocol: Protocol) -> String {
    if turn.style == Style::Mme {
        return mme_text(&format!("{} Please answer yes or no.", turn.question), protocol);
    }
    let options: Vec<(char, String)> = ('A'..='Z').zip(turn.options.iter().cloned()).collect();
    let ocr: Option<&[String]> =
        (turn.style == Style::TextVqa && protocol == Protocol::LmmsEval).then_some(&[]);
    Template::of(benchmark(turn.style), protocol).render(turn.hint.as_deref(), &turn.question, ocr, &options)
}

#[test]
fn training_has_the_texts_of_evaluation() -> Outcome {
    let set = SceneDataset::new(WorldConfig::default(), 9, Split::Train)?;
    for (protocol, prompts) in PROTOCOLS {
        let mut styles = BTreeSet::new();
        for i in 0..300 {
            let scene = set.get_or_blur(i);
            for turn in turns(&scene, set.config(), prompts, &mut set.text_rng(i, 0), 8) {
                assert_eq!(turn.text, evaluated(&turn, protocol), "{turn:?}");
                styles.insert(turn.style);
            }
        }
        assert_eq!(styles.len(), Style::ALL.len());
    }
    Ok(())
}
