//! Answers to scores, one case at a time.

use std::collections::HashMap;

use diffprune_eval::{
    Aggregate, Benchmark, CommaRule, Confusion, Protocol, Reference, Scored, digits_and_articles,
    evalai_normalise, evalai_tokenise, gqa_correct, gqa_prediction, lmms_vqav2_accuracy, pope_label,
    pope_label_lmms, punctuation, retention, score, tallies, textvqa_accuracy, vqa_clean, vqa_normalise,
    vqa_official_accuracy,
};
use serde_json::Value;

use super::support::*;

#[test]
fn answers_are_normalised_as_stored() {
    each_row("vqa_normalise.jsonl", |row| {
        let input = text(row, "input");
        let clean = vqa_clean(input);
        let after_punct = punctuation(&clean, CommaRule::One);
        assert_eq!(after_punct, text(row, "vqa_after_punct"), "{row}");
        assert_eq!(digits_and_articles(&after_punct), text(row, "vqa_final"), "{row}");
        assert_eq!(vqa_normalise(input), text(row, "vqa_final"), "{row}");
        let tokenised = evalai_tokenise(input);
        assert_eq!(tokenised, text(row, "evalai_after_tokenise"), "{row}");
        let after_punct = punctuation(&vqa_clean(&tokenised), CommaRule::Several);
        assert_eq!(after_punct, text(row, "evalai_after_punct"), "{row}");
        assert_eq!(evalai_normalise(input), text(row, "evalai_final"), "{row}");
    });
}

#[test]
fn ten_annotators_score_as_stored() {
    let (mut official, mut lmms, mut textvqa) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_class: HashMap<(&str, String), Vec<f64>> = HashMap::new();
    each_row("vqa_score.jsonl", |row| {
        let (prediction, answers) = (text(row, "prediction"), texts(&row["answers"]));
        official.push(vqa_official_accuracy(prediction, &answers));
        lmms.push(lmms_vqav2_accuracy(prediction, &answers));
        textvqa.push(textvqa_accuracy(prediction, &answers));
        close(
            official[official.len() - 1],
            &row["vqa_official"]["accuracy"],
            &format!("official {row}"),
        );
        close(
            lmms[lmms.len() - 1],
            &row["lmms_vqav2_val"]["accuracy"],
            &format!("lmms {row}"),
        );
        close(
            textvqa[textvqa.len() - 1],
            &row["textvqa_vizwiz_evalai"]["accuracy"],
            &format!("textvqa {row}"),
        );
        let used = evalai_normalise(prediction);
        assert_eq!(
            used,
            text(&row["textvqa_vizwiz_evalai"], "prediction_used"),
            "{row}"
        );
        for class in ["question_type", "answer_type"] {
            by_class
                .entry((class, text(row, class).into()))
                .or_default()
                .push(official[official.len() - 1]);
        }
    });
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
    let expected = json("vqa_score_expected.json");
    close(
        two_decimals(100.0 * mean(&official)),
        &expected["vqa_official"]["overall"],
        "overall",
    );
    close(mean(&lmms), &expected["lmms_vqav2_val_mean"], "lmms mean");
    close(
        mean(&textvqa),
        &expected["textvqa_vizwiz_evalai_mean"],
        "textvqa mean",
    );
    for ((class, name), scores) in by_class {
        let key = if class == "question_type" {
            "perQuestionType"
        } else {
            "perAnswerType"
        };
        close(
            two_decimals(100.0 * mean(&scores)),
            &expected["vqa_official"][key][name.as_str()],
            &name,
        );
    }
}

#[test]
fn pope_answers_have_the_stored_label() {
    each_row("pope_parse.jsonl", |row| {
        let answer = text(row, "text");
        assert_eq!(pope_label(answer), text(row, "llava_label") == "yes", "{row}");
        let lmms = match text(row, "lmms_label") {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        };
        assert_eq!(pope_label_lmms(answer), lmms, "{row}");
    });
}

pub fn check_counts(counts: &Confusion, wanted: &Value, what: &str) {
    close(counts.true_positives, &wanted["TP"], what);
    close(counts.false_positives, &wanted["FP"], what);
    close(counts.true_negatives, &wanted["TN"], what);
    close(counts.false_negatives, &wanted["FN"], what);
    close(counts.accuracy(), &wanted["accuracy"], what);
    close(counts.precision(), &wanted["precision"], what);
    close(counts.recall(), &wanted["recall"], what);
    close(counts.f1(), &wanted["f1"], what);
    close(counts.yes_ratio(), &wanted["yes_ratio"], what);
}

/// lmms-eval: accuracy over all answers, the rest over answers that are a label, yes ratio of the labels.
fn check_lmms(answers: &[String], labels: &[bool], wanted: &Value, what: &str) {
    let scored = answers.iter().zip(labels).map(|(answer, &label)| Scored {
        subset: "",
        group: None,
        score: Benchmark::Pope.score(answer, &Reference::YesNo(label), Protocol::LmmsEval),
        label: Some(label),
        said: Some(pope_label_lmms(answer).into()),
    });
    let tally = tallies(scored)[""];
    let counts = tally.confusion();
    close(tally.accuracy(), &wanted["accuracy"], what);
    close(counts.precision(), &wanted["precision"], what);
    close(counts.recall(), &wanted["recall"], what);
    close(counts.f1(), &wanted["f1"], what);
    close(Aggregate::MeanF1.value(&[tally]) / 100.0, &wanted["f1"], what);
    close(tally.label_ratio(), &wanted["yes_ratio"], what);
}

#[test]
fn pope_sets_have_the_stored_numbers() {
    let stored = json("pope_sets.json");
    let (mut f1, mut accuracy, mut all) = (Vec::new(), Vec::new(), (Vec::new(), Vec::new()));
    for set in stored["sets"].as_array().unwrap() {
        let name = text(set, "name");
        let answers = texts(&set["texts"]);
        let labels: Vec<bool> = texts(&set["labels"]).iter().map(|label| label == "yes").collect();
        let counts = Confusion::count(
            answers
                .iter()
                .map(|answer| pope_label(answer))
                .zip(labels.iter().copied()),
        );
        if set["llava"].get("error").is_some() {
            assert_eq!(counts.f1(), 0.0, "{name}: undefined is 0");
        } else {
            check_counts(&counts, &set["llava"], name);
        }
        check_lmms(&answers, &labels, &set["lmms"], name);
        if ["random", "popular", "adversarial"].contains(&name) {
            f1.push(counts.f1());
            accuracy.push(counts.accuracy());
            all.0.extend(answers);
            all.1.extend(labels);
        }
    }
    let headline = &stored["headline"];
    close(
        100.0 * f1.iter().sum::<f64>() / f1.len() as f64,
        &headline["mean_f1_over_splits_x100"],
        "mean f1",
    );
    let accuracy = 100.0 * accuracy.iter().sum::<f64>() / accuracy.len() as f64;
    close(
        accuracy,
        &headline["mean_accuracy_over_splits_x100"],
        "mean accuracy",
    );
    let pooled = Confusion::count(
        all.0
            .iter()
            .map(|answer| pope_label(answer))
            .zip(all.1.iter().copied()),
    );
    check_counts(&pooled, &headline["pooled_llava"], "pooled");
    check_lmms(&all.0, &all.1, &headline["pooled_lmms"], "pooled lmms");
}

#[test]
fn gqa_answers_match_as_stored() {
    each_row("gqa_score.jsonl", |row| {
        let (prediction, answer) = (text(row, "prediction"), text(row, "answer"));
        assert_eq!(gqa_prediction(prediction), text(row, "converted"), "{row}");
        let official = row["official_correct"].as_bool().unwrap();
        assert_eq!(
            gqa_correct(prediction, answer, Protocol::Llava),
            official,
            "{row}"
        );
        assert_eq!(
            gqa_correct(prediction, answer, Protocol::LmmsEval),
            row["lmms_correct"].as_bool().unwrap(),
            "{row}"
        );
        let reference = Reference::Exact(answer.into());
        assert_eq!(
            score(prediction, &reference, Protocol::Llava),
            f64::from(official),
            "{row}"
        );
    });
}

#[test]
fn retention_is_the_stored_one() {
    each_row("retention.jsonl", |row| {
        let upper = row["upper"].as_object().unwrap();
        let score = |name: &String| {
            row["scores"]
                .get(name)
                .and_then(Value::as_f64)
                .unwrap_or(f64::NAN)
        };
        let found = retention(upper.iter().map(|(name, upper)| (score(name), number(upper))));
        close(found, &row["retention_percent"], text(row, "name"));
    });
}
