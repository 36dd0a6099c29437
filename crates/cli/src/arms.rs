//! Arms by their names.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use diffprune::pruning::PerView;
use diffprune::{LearnedPruner, PositionRule, Pruner, Vlm};
use diffprune_eval::Arm;

use crate::pruners::{PER_VIEW, in_each_view, names, untrained};

/// Added to an arm's name: kept tokens are numbered anew instead of keeping their positions.
const REINDEXED: &str = "-reindexed";

/// Added to the name of a trained rival: it keeps as many tokens as the budget allows, whatever its thresholds say.
const AT_BUDGET: &str = "-at-budget";

/// Questions that the arm `oracle-loo` is asked, unless somebody says otherwise: each costs as many forward passes as its
/// picture has tokens.
pub const ORACLE_QUESTIONS: usize = 32;

/// What arms are made of.
pub struct ArmSource<'a> {
    /// The model.
    pub vlm: &'a dyn Vlm,
    /// Trained scorers by name.
    pub scorers: BTreeMap<String, LearnedPruner>,
    /// Number of seeds of the arm `random`.
    pub random_seeds: u64,
    /// Seed of everything else that is drawn.
    pub seed: u64,
}

impl ArmSource<'_> {
    /// The arms of that name; several when seeds are averaged.
    ///
    /// `inverted` is the scorer called `diffprune` upside down, `NAME-inverted` any other one; `NAME-at-budget` keeps as many
    /// tokens as the budget allows even where the method decides on the count; `NAME-reindexed` is an arm whose kept tokens
    /// are numbered anew; in `NAME-per-view` each view of a picture chooses by itself, with its share of the budget. A scorer
    /// that was given under such a name is that scorer, used as it is.
    pub fn arms(&self, name: &str) -> anyhow::Result<Vec<Arm>> {
        if let Some(inner) = self.before(name, REINDEXED) {
            let arms = self.arms(inner)?.into_iter();
            return Ok(arms
                .map(|arm| arm.with_positions(PositionRule::Reindex).named(name))
                .collect());
        }
        let one = |arm: Arm| {
            Ok(vec![Arm {
                seed: self.seed,
                ..arm
            }])
        };
        if let Some(inner) = self.before(name, PER_VIEW) {
            let pruner = self.in_each_view(inner)?;
            return match inner {
                "random" => Ok(Arm::seeded(pruner, self.seeds())),
                _ => one(Arm::pruned(pruner).named(name)),
            };
        }
        if let Some(inner) = self.before(name, AT_BUDGET) {
            let scorer = self.scorer(inner)?.clone().at_budget();
            return one(Arm::pruned(shared(scorer)).named(name));
        }
        match name {
            "full" => Ok(vec![Arm::full()]),
            "text-only" => Ok(vec![Arm::text_only()]),
            "blank-image" => Ok(vec![Arm::blank_image()]),
            "downsampled-image" => Ok(vec![Arm::downsampled_image()]),
            "untrained" => one(Arm::pruned(shared(untrained(self.vlm, self.seed)?)).named(name)),
            "random" => Ok(Arm::seeded(self.baseline(name)?, self.seeds())),
            "oracle-loo" => one(Arm::by_leaving_out(
                self.baseline("oracle-keep")?,
                ORACLE_QUESTIONS,
            )),
            "cls" => self.arms("cls-attention"),
            "inverted" => self.arms("diffprune-inverted").map(|arms| named(arms, name)),
            _ => match (self.scorers.get(name), name.strip_suffix("-inverted")) {
                (Some(scorer), _) => one(Arm::pruned(shared(scorer.clone())).named(name)),
                (None, Some(inner)) => {
                    one(Arm::pruned(shared(self.scorer(inner)?.clone().inverted())).named(name))
                }
                (None, None) => one(Arm::pruned(self.baseline(name)?)),
            },
        }
    }

    /// What stands before the suffix, unless a scorer was given under the whole name.
    fn before<'n>(&self, name: &'n str, suffix: &str) -> Option<&'n str> {
        let inner = name.strip_suffix(suffix);
        inner.filter(|_| !self.scorers.contains_key(name))
    }

    /// The method of an arm, view by view.
    fn in_each_view(&self, name: &str) -> anyhow::Result<Arc<dyn Pruner>> {
        if let Some(scorer) = self.scorers.get(name) {
            return Ok(Arc::new(PerView::new(scorer.clone())));
        }
        match name {
            "untrained" => Ok(Arc::new(PerView::new(untrained(self.vlm, self.seed)?))),
            "cls" => self.in_each_view("cls-attention"),
            _ => match diffprune_baselines::find(name) {
                Some(pruner) => Ok(Arc::new(in_each_view(pruner)?)),
                None => bail!(
                    "arms: found `{name}{PER_VIEW}`, wanted {PER_VIEW} behind untrained, {}, or a scorer given with \
                     --scorer {name}=DIR",
                    names().join(", ")
                ),
            },
        }
    }

    /// The seeds over which a drawn arm is averaged.
    fn seeds(&self) -> std::ops::Range<u64> {
        self.seed..self.seed + self.random_seeds.max(1)
    }

    fn scorer(&self, name: &str) -> anyhow::Result<&LearnedPruner> {
        match self.scorers.get(name) {
            Some(scorer) => Ok(scorer),
            None => bail!("arms: found no scorer called `{name}`; give it with --scorer {name}=DIR"),
        }
    }

    fn baseline(&self, name: &str) -> anyhow::Result<Arc<dyn Pruner>> {
        match diffprune_baselines::find(name) {
            Some(pruner) => Ok(pruner.into()),
            None => bail!(
                "arms: found `{name}`, wanted full, text-only, blank-image, downsampled-image, oracle-loo, untrained, \
                 inverted, {}, or a scorer given with --scorer {name}=DIR",
                names().join(", ")
            ),
        }
    }
}

fn shared(scorer: LearnedPruner) -> Arc<dyn Pruner> {
    Arc::new(scorer)
}

fn named(arms: Vec<Arm>, name: &str) -> Vec<Arm> {
    arms.into_iter().map(|arm| arm.named(name)).collect()
}
