//! Arms that choose the same tokens.

use std::collections::BTreeMap;

use crate::run::Record;

/// Groups of arms whose records are equal in all but the name, in the order of `arms`; only groups of several.
///
/// Records hold no indices of tokens. What stands for them are the probabilities of yes and no: an arm that keeps another token
/// anywhere has another last bit somewhere. Arms without probabilities are never taken for the same, whatever they answer.
pub(crate) fn equal_arms<'r>(records: &[&'r Record], arms: &[&'r str]) -> Vec<Vec<String>> {
    let mut of_arm: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for &record in records {
        of_arm.entry(&record.arm).or_default().push(record);
    }
    let key = |record: &Record| record.key();
    for own in of_arm.values_mut() {
        own.sort_by_cached_key(|record| key(record));
    }
    let is_told = |record: &&Record| record.probability.is_some_and(|p| p > 0.0 && p < 1.0);
    let same = |a: &[&Record], b: &[&Record]| {
        let equal = |(a, b): (&&Record, &&Record)| {
            let b = Record {
                arm: a.arm.clone(),
                ..(**b).clone()
            };
            **a == b
        };
        a.len() == b.len() && a.iter().any(is_told) && a.iter().zip(b).all(equal)
    };
    let mut groups: Vec<(&[&Record], Vec<String>)> = Vec::new();
    for &arm in arms {
        let Some(own) = of_arm.get(arm).map(Vec::as_slice) else {
            continue;
        };
        match groups.iter_mut().find(|(first, _)| same(first, own)) {
            Some((_, names)) => names.push(arm.into()),
            None => groups.push((own, vec![arm.into()])),
        }
    }
    groups
        .into_iter()
        .map(|group| group.1)
        .filter(|names| names.len() > 1)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_alone_are_no_equal_tokens() {
        let record = |arm: &str, question: u32, probability: Option<f64>| -> Record {
            let value = serde_json::json!({
                "arm": arm, "budget": "1/9", "seed": 0, "question": question.to_string(), "benchmark": "pope", "subset": "random",
                "kind": "all", "image": "1.png", "kept": 16, "total": 144, "answer": "yes", "score": 1.0,
                "probability": probability,
            });
            serde_json::from_value(value).unwrap()
        };
        let of =
            |arm: &str, last: Option<f64>| vec![record(arm, 1, last.map(|_| 0.75)), record(arm, 2, last)];
        let records = [
            of("a", Some(0.25)),
            of("b", Some(0.25)),
            of("c", Some(0.25000000000000006)),
            of("d", None),
            of("e", None),
        ]
        .concat();
        let records: Vec<&Record> = records.iter().rev().collect();
        let groups = equal_arms(&records, &["b", "a", "c", "d", "e", "nobody"]);
        assert_eq!(groups, [["b", "a"]]);
    }
}
