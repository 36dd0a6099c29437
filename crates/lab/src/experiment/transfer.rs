//! Claim `x.transfer`: whether the trainings of several models have one recipe.

use std::collections::{BTreeMap, BTreeSet};

use diffprune_eval::{TierVerdict, Verdict};
use serde_json::Value;

/// The claim's id.
pub(super) const TRANSFER: &str = "x.transfer";

/// The settings of DiffPrune's training on each model beside each other: the claim holds when none differs, and fails with the
/// list of those that do. One model alone says nothing. `configs` are those of the models' reports.
pub(super) fn transfer(configs: &[&Value]) -> TierVerdict {
    let settings: Vec<(String, BTreeMap<String, String>)> = configs
        .iter()
        .map(|config| {
            let mut flat = BTreeMap::new();
            flatten(&config["train"], "", &mut flat);
            (config["model"].as_str().unwrap_or("?").to_string(), flat)
        })
        .collect();
    if settings.len() < 2 || settings.iter().any(|(_, flat)| flat.is_empty()) {
        return TierVerdict::untestable("needs the trainings of several models in one run");
    }
    let names: BTreeSet<&String> = settings.iter().flat_map(|(_, flat)| flat.keys()).collect();
    let mut differ = Vec::new();
    for name in names {
        let values: Vec<&str> = settings
            .iter()
            .map(|(_, flat)| flat.get(name).map_or("–", String::as_str))
            .collect();
        if values.windows(2).any(|pair| pair[0] != pair[1]) {
            let each: Vec<String> = settings
                .iter()
                .zip(&values)
                .map(|((model, _), value)| format!("{value} on {model}"))
                .collect();
            differ.push(format!("{name} is {}", each.join(", ")));
        }
    }
    let count = differ.len() as f64;
    let models: Vec<&str> = settings.iter().map(|(model, _)| model.as_str()).collect();
    let (verdict, reason) = match differ.is_empty() {
        true => (
            Verdict::Holds,
            format!(
                "all {} settings of the training are equal on {}; that the recipe also works on each is for the other claims",
                settings[0].1.len(),
                models.join(", ")
            ),
        ),
        false => (Verdict::Fails, differ.join("; ")),
    };
    TierVerdict::of(verdict, count, count, count).remarked(&reason)
}

/// The leaves of a value by their paths.
fn flatten(value: &Value, path: &str, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                flatten(value, &path, into);
            }
        }
        Value::Null => {}
        leaf => {
            into.insert(path.to_string(), leaf.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(model: &str, lr: f64) -> Value {
        serde_json::json!({"model": model, "train": {"lr": lr, "diffprune": {"tau_end": 0.1}}})
    }

    #[test]
    fn settings_that_differ_are_listed() {
        let (a, b, c) = (config("a", 1e-3), config("b", 1e-3), config("c", 3e-4));
        let same = transfer(&[&a, &b]);
        assert_eq!((same.verdict, same.estimate), (Verdict::Holds, Some(0.0)));
        let other = transfer(&[&a, &b, &c]);
        assert_eq!((other.verdict, other.estimate), (Verdict::Fails, Some(1.0)));
        let reason = other.reason.unwrap();
        assert_eq!(reason, "lr is 0.001 on a, 0.001 on b, 0.0003 on c");
        assert_eq!(transfer(&[&a]).verdict, Verdict::Untestable);
    }
}
