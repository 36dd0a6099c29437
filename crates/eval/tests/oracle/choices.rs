//! Letters, MME's labels, and numbers of groups.

use std::collections::BTreeMap;

use diffprune_eval::{
    Aggregate, Benchmark, MME_COGNITION, MME_PERCEPTION, Protocol, Reference, Scored, extract_letter,
    mmbench_letter_lmms, mmbench_letter_vlmevalkit, mme_label, mme_label_lmms, scienceqa_correct_lmms,
    scienceqa_letter, seed_letter_lmms, tallies,
};
use serde_json::Value;

use super::support::*;

/// The options of a row of MMBench.
fn options(row: &Value) -> Vec<(char, String)> {
    ('A'..='Z')
        .filter_map(|letter| Some((letter, row[letter.to_string().as_str()].as_str()?.to_string())))
        .collect()
}

fn letter(value: &Value) -> char {
    value.as_str().unwrap().chars().next().unwrap()
}

#[test]
fn mme_answers_have_the_stored_label() {
    let name = |label: Option<bool>| match label {
        Some(true) => "yes",
        Some(false) => "no",
        None => "other",
    };
    each_row("mme_parse.jsonl", |row| {
        let answer = text(row, "text");
        assert_eq!(name(mme_label(answer)), text(row, "official_label"), "{row}");
        assert_eq!(name(mme_label_lmms(answer)), text(row, "lmms_label"), "{row}");
    });
}

#[test]
fn mme_pairs_have_the_stored_points() {
    let stored = json("mme_scores.json");
    let expected = &stored["expected"];
    let pairs = stored["pairs_per_subtask_gt_pred"].as_object().unwrap();
    let mut answers: Vec<(String, String, f64, f64)> = Vec::new();
    for (subtask, pairs) in pairs {
        let mut n_other = 0;
        for (place, pair) in pairs.as_array().unwrap().iter().enumerate() {
            for answer in pair.as_array().unwrap() {
                let [truth, said] = texts(answer).try_into().unwrap();
                let reference = Reference::YesNo(truth == "Yes");
                let score = |protocol| Benchmark::Mme.score(&said, &reference, protocol);
                n_other += usize::from(mme_label(&said).is_none());
                answers.push((
                    subtask.clone(),
                    format!("{subtask}/{place}"),
                    score(Protocol::Llava),
                    score(Protocol::LmmsEval),
                ));
            }
        }
        let stored = &expected["subtasks"][subtask.as_str()];
        assert_eq!(n_other as u64, stored["other"].as_u64().unwrap(), "{subtask}");
    }
    let points = |part: &[&str], lmms: bool| {
        let scored = answers
            .iter()
            .filter(|(subtask, ..)| part.contains(&subtask.as_str()))
            .map(|(subset, group, llava, other)| Scored {
                subset,
                group: Some(group),
                score: if lmms { *other } else { *llava },
                label: None,
                said: None,
            });
        let tallies = tallies(scored);
        (
            Aggregate::AccuracyPlus.value(&tallies.values().copied().collect::<Vec<_>>()),
            tallies.into_values().next(),
        )
    };
    for (subtask, stored) in expected["subtasks"].as_object().unwrap() {
        let (score, tally) = points(&[subtask], false);
        let tally = tally.unwrap();
        close(score, &stored["score"], subtask);
        close(tally.score / tally.questions, &stored["acc"], subtask);
        close(tally.groups_right / tally.groups, &stored["acc_plus"], subtask);
    }
    let all: Vec<&str> = MME_PERCEPTION.into_iter().chain(MME_COGNITION).collect();
    close(points(&all, false).0, &expected["total"], "total");
    for (lmms, prefix) in [(false, ""), (true, "lmms_")] {
        let stored = |name: &str| &expected[format!("{prefix}{name}").as_str()];
        close(
            points(&MME_PERCEPTION, lmms).0,
            stored("perception"),
            "perception",
        );
        close(points(&MME_COGNITION, lmms).0, stored("cognition"), "cognition");
    }
}

#[test]
fn options_are_inferred_as_stored() {
    let optional = |value: &Value| value.as_str().and_then(|text| text.chars().next());
    each_row("mmbench_infer.jsonl", |row| {
        let (answer, options) = (text(row, "prediction"), options(&row["choices"]));
        let lmms = mmbench_letter_lmms(answer, &options);
        assert_eq!(lmms, optional(&row["mmbench_lmms"]), "{row}");
        let vlmevalkit = mmbench_letter_vlmevalkit(answer, &options);
        assert_eq!(vlmevalkit, optional(&row["vlmevalkit"]), "{row}");
        let letters: Vec<char> = options.iter().map(|&(letter, _)| letter).collect();
        let fallback = extract_letter(answer, &letters);
        assert_eq!(fallback, optional(&row["lmms_static_fallback"]), "{row}");
    });
}

#[test]
fn circular_evaluation_gives_the_stored_numbers() {
    let rows = rows("mmbench_circular.jsonl");
    let expected = json("mmbench_circular_expected.json");
    let group = |row: &Value| (row["index"].as_u64().unwrap() % 1_000_000).to_string();
    let groups: Vec<String> = rows.iter().map(group).collect();
    let scored = |protocol: Protocol, class: &str| {
        let score = |row: &Value| {
            let reference = Reference::Letter {
                letter: letter(&row["answer"]),
                options: options(row),
            };
            Benchmark::MmBench.score(text(row, "prediction"), &reference, protocol)
        };
        let class = class.to_string();
        let answers: Vec<(String, String, f64)> = rows
            .iter()
            .zip(&groups)
            .map(|(row, group)| {
                let subset = row[class.as_str()].as_str().unwrap_or_default();
                (subset.to_string(), group.clone(), score(row))
            })
            .collect();
        answers
    };
    let as_scored = |answers: &[(String, String, f64)]| -> BTreeMap<String, f64> {
        let scored = answers.iter().map(|(subset, group, score)| Scored {
            subset,
            group: Some(group),
            score: *score,
            label: None,
            said: None,
        });
        let value = |(name, tally): (&str, _)| (name.to_string(), Aggregate::Groups.value(&[tally]) / 100.0);
        tallies(scored).into_iter().map(value).collect()
    };
    for (protocol, overall, hits) in [
        (Protocol::LmmsEval, "overall_lmms_static", "group_hit_lmms_static"),
        (
            Protocol::Llava,
            "overall_vlmevalkit_exact_matching",
            "group_hit_vlmevalkit_exact_matching",
        ),
    ] {
        close(as_scored(&scored(protocol, ""))[""], &expected[overall], overall);
        // Each group as its own part.
        let by_group: Vec<(String, String, f64)> = scored(protocol, "")
            .into_iter()
            .map(|(_, group, score)| (group.clone(), group, score))
            .collect();
        let found = as_scored(&by_group);
        let stored = expected[hits].as_object().unwrap();
        assert_eq!(found.len(), stored.len());
        for (group, hit) in stored {
            close(found[group], hit, group);
        }
    }
    for (class, key) in [("category", "category"), ("l2-category", "l2_category")] {
        let found = as_scored(&scored(Protocol::LmmsEval, class));
        for (name, stored) in expected[key].as_object().unwrap() {
            close(found[name], stored, name);
        }
    }
    let first: Vec<f64> = rows
        .iter()
        .zip(scored(Protocol::Llava, ""))
        .filter(|(row, _)| row["index"].as_u64().unwrap() < 1_000_000)
        .map(|(row, (_, group, score))| {
            close(
                score,
                &expected["first_pass_hit_vanilla"][group.as_str()],
                &row.to_string(),
            );
            score
        })
        .collect();
    close(
        first.iter().sum::<f64>() / first.len() as f64,
        &expected["overall_vanilla_first_pass"],
        "first pass",
    );
}

#[test]
fn seed_answers_score_as_stored() {
    let rows = rows("seed_score.jsonl");
    let expected = json("seed_expected.json");
    for (protocol, key) in [
        (Protocol::Llava, "llava_correct"),
        (Protocol::LmmsEval, "lmms_correct"),
    ] {
        let mut scores: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for row in &rows {
            let answer = text(row, "prediction");
            let reference = Reference::Letter {
                letter: letter(&row["answer"]),
                options: Vec::new(),
            };
            let score = Benchmark::SeedBench.score(answer, &reference, protocol);
            assert_eq!(score == 1.0, row[key].as_bool().unwrap(), "{row}");
            let read: String = seed_letter_lmms(answer).into_iter().collect();
            assert_eq!(read, text(row, "lmms_pred"), "{row}");
            for part in [
                "all",
                text(row, "data_type"),
                &format!("type {}", row["question_type_id"]),
            ] {
                scores.entry(part.into()).or_default().push(score);
            }
        }
        let mean = |part: &str| scores[part].iter().sum::<f64>() / scores[part].len() as f64;
        for part in ["all", "image", "video"] {
            close(mean(part), &expected[key][part], part);
        }
        for (kind, stored) in expected[key]["per_type"].as_object().unwrap() {
            close(mean(&format!("type {kind}")), stored, kind);
        }
    }
}

#[test]
fn scienceqa_answers_score_as_stored() {
    each_row("scienceqa_score.jsonl", |row| {
        let answer = text(row, "prediction");
        let n_choices = row["num_choices"].as_u64().unwrap() as usize;
        let options: Vec<(char, String)> = ('A'..='Z')
            .map(|letter| (letter, String::new()))
            .take(n_choices)
            .collect();
        let place = row["answer"].as_u64().unwrap() as usize;
        let reference = Reference::Letter {
            letter: options[place].0,
            options: options.clone(),
        };
        let parsed = scienceqa_letter(answer);
        let name = parsed.map_or("FAILED".into(), |letter| letter.to_string());
        assert_eq!(name, text(row, "llava_parsed"), "{row}");
        let index = options.iter().position(|&(letter, _)| parsed == Some(letter));
        let index = index.map_or(-1, |index| index as i64);
        assert_eq!(index, row["llava_index"].as_i64().unwrap(), "{row}");
        let right = |protocol| Benchmark::ScienceQa.score(answer, &reference, protocol) == 1.0;
        assert_eq!(
            right(Protocol::Llava),
            row["llava_correct"].as_bool().unwrap(),
            "{row}"
        );
        assert_eq!(
            right(Protocol::LmmsEval),
            row["lmms_correct"].as_bool().unwrap(),
            "{row}"
        );
        let lmms = scienceqa_correct_lmms(answer, options[place].0);
        assert_eq!(lmms, row["lmms_correct"].as_bool().unwrap(), "{row}");
    });
}
