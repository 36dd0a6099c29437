//! Arms by their names.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use diffprune::pruning::PerView;
use diffprune::{Budget, LearnedPruner, PositionRule, Pruner, Vlm};
use diffprune_baselines::IdSelection;
use diffprune_eval::Arm;

use crate::error::LabError;
use crate::methods::{PER_VIEW, in_each_view, names, untrained};
use crate::suggestion::with_nearest;

/// Added to an arm's name: kept tokens are re-indexed instead of keeping their positions.
const REINDEXED: &str = "-reindexed";

/// Added to the name of a trained rival: it keeps as many tokens as the budget allows, whatever its thresholds say.
pub(crate) const AT_BUDGET: &str = "-at-budget";

/// The default number of questions for the arm `oracle-loo`: each costs as many forward passes as its picture has tokens.
pub const ORACLE_QUESTIONS: usize = 32;

/// One outcome of a training.
#[derive(Clone)]
pub struct Trained {
    /// Seed of the training; the arm's records carry it.
    pub seed: u64,
    /// The one budget that it was trained for, at which alone it is compared; `None` for every budget.
    pub budget: Option<Budget>,
    /// The trained method.
    pub scorer: LearnedPruner,
}

/// Trained methods by the name of their arm: one for each training seed, and for each budget where they differ.
pub type Scorers = BTreeMap<String, Vec<Trained>>;

/// The parts that arms are made of.
pub struct ArmSource<'a> {
    /// The model.
    pub vlm: &'a dyn Vlm,
    /// Trained scorers by name.
    pub scorers: &'a Scorers,
    /// Number of seeds of the arm `random`.
    pub random_seeds: u64,
    /// Number of seeds of the arm `untrained`.
    pub untrained_seeds: u64,
    /// Questions for the arm `oracle-loo`.
    pub oracle_questions: usize,
    /// Seed of everything else that is drawn.
    pub seed: u64,
}

impl ArmSource<'_> {
    /// The arms of all these names, in their order.
    ///
    /// # Errors
    /// As [`Self::arms`].
    pub fn all<'n>(&self, names: impl IntoIterator<Item = &'n String>) -> Result<Vec<Arm>, LabError> {
        let arms = names.into_iter().map(|name| self.arms(name));
        Ok(arms.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// The arms of one name; several when seeds are averaged, those of random choices or those of trainings.
    ///
    /// `inverted` is the scorer called `diffprune` upside down, `NAME-inverted` any other one; `NAME-at-budget` keeps as many
    /// tokens as the budget allows even where the method decides on the count; the kept tokens of `NAME-reindexed` are
    /// re-indexed; `id-selection-visual` and its like are [`IdSelection::ablation`]; in `NAME-per-view` each view of a picture
    /// chooses by itself, with its share of the budget. A scorer that was given under such a name is that scorer, used as it is.
    ///
    /// # Errors
    /// When the name is unknown or asks for a scorer that was not given, or the method has no such variant.
    pub fn arms(&self, name: &str) -> Result<Vec<Arm>, LabError> {
        if let Some(inner) = self.before(name, REINDEXED) {
            let reindexed = |arm: Arm| arm.with_positions(PositionRule::Reindex).named(name);
            return Ok(self.arms(inner)?.into_iter().map(reindexed).collect());
        }
        if let Some(inner) = self.before(name, PER_VIEW) {
            return self.per_view(inner, name);
        }
        if let Some(inner) = self.before(name, AT_BUDGET) {
            return self.learned(inner, name, |scorer| shared(scorer.at_budget()));
        }
        match name {
            "full" => Ok(vec![Arm::full()]),
            "text-only" => Ok(vec![Arm::text_only()]),
            "blank-image" => Ok(vec![Arm::blank_image()]),
            "downsampled-image" => Ok(vec![Arm::downsampled_image()]),
            "untrained" => self.untrained(name, shared),
            "random" => Ok(Arm::seeded(self.baseline(name)?, self.seeds(self.random_seeds))),
            "oracle-loo" => {
                let ranked = self.baseline("oracle-keep")?;
                Ok(self.one(Arm::by_leaving_out(ranked, self.oracle_questions)))
            }
            "cls" => self.arms("cls-attention"),
            "inverted" => self.learned("diffprune", name, |scorer| shared(scorer.inverted())),
            _ if self.scorers.contains_key(name) => self.learned(name, name, shared),
            _ => match name.strip_suffix("-inverted") {
                Some(inner) => self.learned(inner, name, |scorer| shared(scorer.inverted())),
                None => Ok(self.one(Arm::pruned(self.baseline(name)?).named(name))),
            },
        }
    }

    /// The name before the suffix, unless a scorer was given under the whole name.
    fn before<'n>(&self, name: &'n str, suffix: &str) -> Option<&'n str> {
        let inner = name.strip_suffix(suffix);
        inner.filter(|_| !self.scorers.contains_key(name))
    }

    /// The arm with the seed of this comparison.
    fn one(&self, arm: Arm) -> Vec<Arm> {
        vec![Arm {
            seed: self.seed,
            ..arm
        }]
    }

    /// One arm for each training of the scorer called `scorer`, changed by `variant`.
    fn learned(
        &self,
        scorer: &str,
        name: &str,
        variant: impl Fn(LearnedPruner) -> Arc<dyn Pruner>,
    ) -> Result<Vec<Arm>, LabError> {
        let Some(trained) = self.scorers.get(scorer) else {
            return Err(LabError::UnknownScorer { name: scorer.into() });
        };
        let arm = |trained: &Trained| Arm {
            seed: trained.seed,
            only_at: trained.budget.map(|budget| vec![budget]),
            ..Arm::pruned(variant(trained.scorer.clone())).named(name)
        };
        Ok(trained.iter().map(arm).collect())
    }

    /// The arms of `inner` whose views choose by themselves.
    fn per_view(&self, inner: &str, name: &str) -> Result<Vec<Arm>, LabError> {
        if self.scorers.contains_key(inner) {
            return self.learned(inner, name, |scorer| Arc::new(PerView::new(scorer)));
        }
        let pruner: Arc<dyn Pruner> = match inner {
            "untrained" => return self.untrained(name, |scorer| Arc::new(PerView::new(scorer))),
            "cls" => return self.per_view("cls-attention", name),
            _ => match diffprune_baselines::find(inner) {
                Some(pruner) => Arc::new(in_each_view(pruner)?),
                None => {
                    return Err(LabError::UnknownArm {
                        name: format!("{inner}{PER_VIEW}"),
                        wanted: format!("{PER_VIEW} behind untrained, {}", names().join(", ")),
                    });
                }
            },
        };
        Ok(match inner {
            "random" => Arm::seeded(pruner, self.seeds(self.random_seeds)),
            _ => self.one(Arm::pruned(pruner).named(name)),
        })
    }

    /// The scorers that trainings start from, one for each seed.
    fn untrained(
        &self,
        name: &str,
        variant: impl Fn(LearnedPruner) -> Arc<dyn Pruner>,
    ) -> Result<Vec<Arm>, LabError> {
        let arm = |seed: u64| {
            let scorer = untrained(self.vlm, seed)?;
            Ok(Arm {
                seed,
                ..Arm::pruned(variant(scorer)).named(name)
            })
        };
        self.seeds(self.untrained_seeds).map(arm).collect()
    }

    /// The seeds over which an arm is averaged.
    fn seeds(&self, count: u64) -> Range<u64> {
        self.seed..self.seed + count.max(1)
    }

    fn baseline(&self, name: &str) -> Result<Arc<dyn Pruner>, LabError> {
        let ablation = IdSelection::ablation(name).map(|method| Arc::new(method) as Arc<dyn Pruner>);
        match diffprune_baselines::find(name).map(Arc::from).or(ablation) {
            Some(pruner) => Ok(pruner),
            None => Err(LabError::UnknownArm {
                name: name.into(),
                wanted: with_nearest(
                    name,
                    names().into_iter().chain(SPECIAL),
                    &format!("{}, {}", SPECIAL.join(", "), names().join(", ")),
                ),
            }),
        }
    }
}

/// Arms that are no method of the registry.
const SPECIAL: [&str; 7] = [
    "full",
    "text-only",
    "blank-image",
    "downsampled-image",
    "oracle-loo",
    "untrained",
    "inverted",
];

fn shared(scorer: LearnedPruner) -> Arc<dyn Pruner> {
    Arc::new(scorer)
}
