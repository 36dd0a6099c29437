//! Notes that a reader needs before the numbers of an experiment.

use super::trainings::{Outcomes, TunedArms};
use super::{Learned, Lineup, Plan};

/// The notes, in the order of the report: the plan, the budgets of the trainings, the contrasts, the tuning, the warnings.
pub(super) fn notes(
    plan: &Plan,
    lineup: &Lineup,
    outcomes: &Outcomes,
    tuned: Option<&TunedArms>,
) -> Vec<String> {
    let mut notes = vec![sizes(plan)];
    notes.extend(budgets(plan, lineup));
    notes.extend(contrasts(lineup));
    if let Some(tuned) = tuned {
        notes.push(format!(
            "Learning rates and temperatures were tuned on the validation captions of {} alone, with the same trials for \
             every arm; `NAME-tuned` stands beside `NAME` where the tuning chose another recipe than the declared one.",
            tuned.model
        ));
        notes.extend(tuned.arms.iter().map(super::Tuned::sentence));
    }
    for (name, report) in &outcomes.reports {
        let warnings: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
        if !warnings.is_empty() {
            notes.push(format!("Warning, training of {name}: {}.", warnings.join("; ")));
        }
    }
    notes
}

/// The plan and its seeds: the same sentence for every model.
fn sizes(plan: &Plan) -> String {
    let name = match plan.name() {
        Some(name) => format!("Plan `{name}`"),
        None => "A plan of its own sizes".into(),
    };
    let mut text = format!(
        "{name}: {} updates of {} captions each; DiffPrune, its contrasts and ablations trained from {}, rivals from {}, \
         `untrained` drawn from {}, `random` from {}.",
        plan.steps,
        plan.batch,
        of_seeds(plan.training_seeds),
        of_seeds(plan.rival_seeds),
        of_seeds(plan.untrained_seeds),
        of_seeds(plan.random_seeds)
    );
    if plan.training_seeds <= 1 {
        text += " **One training seed: a sign, not a result.** Intervals hold the trainings fixed.";
    }
    text
}

/// The budgets at which scorers were trained.
fn budgets(plan: &Plan, lineup: &Lineup) -> Option<String> {
    let (own, shared): (Vec<_>, Vec<_>) = lineup.learned.iter().partition(|learned| learned.own_budgets);
    let names = |list: &[&Learned]| {
        listed(
            &list
                .iter()
                .map(|learned| learned.arm.as_str())
                .collect::<Vec<_>>(),
        )
    };
    let at = plan.train_budget;
    match (shared.is_empty(), own.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!(
            "One scorer, trained at {at} of the tokens, serves every budget of {}.",
            names(&shared)
        )),
        (true, false) => Some(format!(
            "{}: a training for each budget, compared there alone.",
            names(&own)
        )),
        (false, false) => Some(format!(
            "One scorer, trained at {at} of the tokens, serves every budget of {}. {}: a training for each budget, compared \
             there alone.",
            names(&shared),
            names(&own)
        )),
    }
}

/// The rows of the contrast, in words.
fn contrasts(lineup: &Lineup) -> Option<String> {
    let has = |arm: &str| lineup.learned.iter().any(|learned| learned.arm == arm);
    has("gumbel-ste").then(|| {
        "`gumbel-ste` multiplies unselected tokens by zero, where the gradients of normalising layers are singular: a named row, \
         no fair contrast (docs/contrasts.md). Claims about the hard mask are judged on `gumbel-noise`, which changes the mask \
         alone, and `gumbel-gathered`, which sends the selected tokens on."
            .into()
    })
}

fn of_seeds(count: u64) -> String {
    match count {
        0 | 1 => "1 seed".into(),
        count => format!("{count} seeds"),
    }
}

fn listed(arms: &[&str]) -> String {
    let quoted: Vec<String> = arms.iter().map(|arm| format!("`{arm}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use diffprune::vlm::Family;
    use diffprune::{TrainReport, TrainWarning};

    use super::*;

    fn of(plan: &Plan) -> String {
        let lineup = Lineup::of(Family::Llava15, plan, 0);
        notes(plan, &lineup, &Outcomes::default(), None).join("\n")
    }

    #[test]
    fn a_quick_report_says_so_first() {
        let quick = of(&Plan::quick());
        assert!(
            quick.starts_with("Plan `quick`") && quick.contains("a sign, not a result"),
            "{quick}"
        );
        let default = of(&Plan::default());
        assert!(
            default.starts_with("Plan `default`") && !default.contains("a sign"),
            "{default}"
        );
        assert!(
            default.contains("trained from 3 seeds") && default.contains("from 5 seeds"),
            "{default}"
        );
    }

    #[test]
    fn the_budgets_of_the_trainings_are_named() {
        let quick = of(&Plan::quick());
        assert!(
            quick.contains("trained at 2/9 of the tokens, serves every budget"),
            "{quick}"
        );
        assert!(!quick.contains("a training for each budget"), "{quick}");
        let default = of(&Plan::default());
        assert!(
            default.contains("`dynamic-vit`, `dynamic-llava`, `atp`: a training for each budget"),
            "{default}"
        );
    }

    #[test]
    fn warnings_of_trainings_are_notes() {
        let report = TrainReport {
            steps: 2,
            finished: true,
            stopped_early: false,
            last_nll: None,
            start_val_nll: None,
            best_step: None,
            best_val_nll: None,
            warnings: vec![TrainWarning::OffBudget {
                kept: 70.0,
                budget: 32.0,
            }],
            out_dir: "runs/x".into(),
        };
        let outcomes = Outcomes {
            reports: vec![("dynamic-vit at 2/9".into(), report)],
            ..Outcomes::default()
        };
        let plan = Plan::default();
        let lineup = Lineup::of(Family::Llava15, &plan, 0);
        let notes = notes(&plan, &lineup, &outcomes, None);
        let last = notes.last().unwrap();
        assert!(
            last.contains("dynamic-vit at 2/9") && last.contains("70.0"),
            "{last}"
        );
    }
}
