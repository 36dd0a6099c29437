//! A method that is trained for a comparison.

use diffprune::{Budget, Method};
use serde::{Deserialize, Serialize};

/// A method that is trained for the comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// The name of its arm.
    pub arm: String,
    /// The method.
    pub method: Method,
    /// The ablation of DiffPrune that it is, by its name among [`diffprune::variants`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// True when it is trained once for each budget of the line-up and compared there alone; otherwise one training, at the
    /// budget of the plan, serves all of them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub own_budgets: bool,
    /// Updates of a training; `None` takes the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// The recipe that a tuning has chosen; `None` takes the declared one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// Seeds of its trainings, over which the arm is averaged; empty for the seed of the experiment alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
}

/// The settings of a training that a tuning may choose.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Peak learning rate.
    pub lr: f64,
    /// Temperature of the first update.
    pub tau_start: f64,
    /// Temperature of the last update.
    pub tau_end: f64,
}

impl Learned {
    /// A method under the name of its arm, trained once, with the seed of the experiment.
    pub fn new(arm: impl Into<String>, method: impl Into<Method>) -> Self {
        Self {
            arm: arm.into(),
            method: method.into(),
            variant: None,
            own_budgets: false,
            steps: None,
            recipe: None,
            seeds: Vec::new(),
        }
    }

    /// An ablation of DiffPrune, under its own name.
    pub(crate) fn variant(name: &str) -> Self {
        Self {
            variant: Some(name.into()),
            ..Self::new(name, Method::default())
        }
    }

    /// The seeds of its trainings in an experiment of that seed.
    pub fn training_seeds(&self, experiment: u64) -> Vec<u64> {
        match self.seeds.is_empty() {
            true => vec![experiment],
            false => self.seeds.clone(),
        }
    }

    /// The budgets of its trainings in a comparison at `budgets`; `None` is the plan's.
    pub(crate) fn training_budgets(&self, budgets: &[Budget]) -> Vec<Option<Budget>> {
        match self.own_budgets {
            true => budgets.iter().copied().map(Some).collect(),
            false => vec![None],
        }
    }
}

impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            lr,
            tau_start,
            tau_end,
        } = self;
        write!(f, "learning rate {lr}, temperature {tau_start} to {tau_end}")
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
