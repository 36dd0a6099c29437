//! The choice of learning rate and temperature for every learned arm, with the same trials for each.

use diffprune::TrainReport;
use serde::{Deserialize, Serialize};

use super::{Learned, Recipe};

/// The grid of a tuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// Peak learning rates.
    pub learning_rates: Vec<f64>,
    /// Temperatures of the first and the last update.
    pub temperatures: Vec<(f64, f64)>,
}

impl Tuning {
    /// Three learning rates and two ranges of temperature: six trials for each arm.
    pub fn grid() -> Self {
        Self {
            learning_rates: vec![3e-4, 1e-3, 3e-3],
            temperatures: vec![(1.0, 0.1), (0.3, 0.05)],
        }
    }

    /// Every recipe of the grid, the declared one first whether it is in the grid or not: among equals it wins.
    pub fn recipes(&self, declared: Recipe) -> Vec<Recipe> {
        let mut recipes = vec![declared];
        for &lr in &self.learning_rates {
            for &(tau_start, tau_end) in &self.temperatures {
                let recipe = Recipe {
                    lr,
                    tau_start,
                    tau_end,
                };
                if recipe != declared {
                    recipes.push(recipe);
                }
            }
        }
        recipes
    }
}

/// The result of tuning one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// The arm.
    pub arm: String,
    /// The trials, the declared recipe first.
    pub trials: Vec<Trial>,
}

/// One training of a tuning.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its settings.
    pub recipe: Recipe,
    /// Best negative log-likelihood of the validation captions, nats per token; that before the first update counts too.
    pub val_nll: Option<f64>,
}

impl Tuned {
    /// The recipe with the lowest validation loss, when it is not the declared one.
    pub fn chosen(&self) -> Option<Recipe> {
        let (declared, best) = (self.trials.first()?, self.best()?);
        (best.recipe != declared.recipe).then_some(best.recipe)
    }

    /// The first of the trials with the lowest validation loss.
    pub(super) fn best(&self) -> Option<&Trial> {
        let known = self
            .trials
            .iter()
            .filter(|trial| trial.val_nll.is_some_and(f64::is_finite));
        known.min_by(|a, b| {
            let nll = |trial: &Trial| trial.val_nll.unwrap_or(f64::INFINITY);
            nll(a).total_cmp(&nll(b))
        })
    }

    /// One sentence for a report.
    pub(crate) fn sentence(&self) -> String {
        let (Some(declared), Some(best)) = (self.trials.first(), self.best()) else {
            return format!("{}: no trial has a validation loss.", self.arm);
        };
        let loss = |trial: &Trial| {
            trial
                .val_nll
                .map_or("unknown".to_string(), |nll| format!("{nll:.4}"))
        };
        match best.recipe == declared.recipe {
            true => format!(
                "`{}`: of {} trials the declared one ({}) has the lowest validation loss, {}.",
                self.arm,
                self.trials.len(),
                declared.recipe,
                loss(declared)
            ),
            false => format!(
                "`{}`: of {} trials {} has the lowest validation loss, {}; the declared one ({}) has {}.",
                self.arm,
                self.trials.len(),
                best.recipe,
                loss(best),
                declared.recipe,
                loss(declared)
            ),
        }
    }
}

impl Trial {
    /// The outcome of a training with this recipe.
    pub(crate) fn of(recipe: Recipe, report: &TrainReport) -> Self {
        Self {
            recipe,
            val_nll: report.best_val_nll,
        }
    }
}

/// The methods of a line-up as they are tuned: each once, at the budget and with the updates of the plan, whatever its arms
/// do later.
pub(crate) fn tried(learned: &[Learned]) -> Vec<Learned> {
    let mut tried: Vec<Learned> = Vec::new();
    for learned in learned.iter().filter(|learned| learned.recipe.is_none()) {
        let is_same = |other: &Learned| other.method == learned.method && other.variant == learned.variant;
        if !tried.iter().any(is_same) {
            tried.push(Learned {
                own_budgets: false,
                steps: None,
                seeds: Vec::new(),
                ..learned.clone()
            });
        }
    }
    tried
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(lr: f64) -> Recipe {
        Recipe {
            lr,
            tau_start: 1.0,
            tau_end: 0.1,
        }
    }

    #[test]
    fn each_method_is_tuned_once() {
        let lineup = crate::Lineup::of(diffprune::vlm::Family::Llava15, &crate::Plan::full(), 0);
        let tried = tried(&lineup.learned);
        let has = |arm: &str| tried.iter().any(|learned| learned.arm == arm);
        assert!(has("diffprune") && has("atp") && has("gumbel-ste-soft") && has("diffprune-unit-noise"));
        assert!(!has("diffprune-960") && !has("diffprune-own-budget"));
        assert!(
            tried
                .iter()
                .all(|learned| !learned.own_budgets && learned.steps.is_none())
        );
    }

    #[test]
    fn the_declared_recipe_is_one_of_the_six() {
        let recipes = Tuning::grid().recipes(recipe(1e-3));
        assert_eq!(recipes.len(), 6);
        assert_eq!(recipes[0], recipe(1e-3));
        assert_eq!(Tuning::grid().recipes(recipe(0.5)).len(), 7);
    }

    #[test]
    fn the_lowest_loss_wins_and_among_equals_the_declared_recipe() {
        let tuned = |losses: [Option<f64>; 3]| Tuned {
            arm: "a".into(),
            trials: losses
                .into_iter()
                .zip([1e-3, 3e-4, 3e-3])
                .map(|(val_nll, lr)| Trial {
                    recipe: recipe(lr),
                    val_nll,
                })
                .collect(),
        };
        assert_eq!(
            tuned([Some(0.3), Some(0.2), Some(0.25)]).chosen(),
            Some(recipe(3e-4))
        );
        assert_eq!(tuned([Some(0.2), Some(0.2), Some(0.25)]).chosen(), None);
        assert_eq!(
            tuned([Some(f64::NAN), None, Some(0.25)]).chosen(),
            Some(recipe(3e-3))
        );
        assert_eq!(tuned([None; 3]).chosen(), None);
        let text = tuned([Some(0.3), Some(0.2), Some(0.25)]).sentence();
        assert!(text.contains("0.2000") && text.contains("0.3000"), "{text}");
    }
}
