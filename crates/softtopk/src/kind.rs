//! Names of all soft top-k operators, and what each of them promises.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{ThresholdKind, VpNoiseError};

/// A soft top-k operator by name. In settings the names of [`Self::name`]; when read, case, `-` and `_` do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum SoftTopKKind {
    /// A curve around one threshold, with an exact budget: [`SoftTopK`](crate::SoftTopK).
    Threshold(ThresholdKind),
    /// A sigmoid around the middle between two order statistics: [`dftopk`](crate::dftopk()).
    DfTopK,
    /// Inclusion probabilities of a random subset: [`gradtopk`](crate::gradtopk()).
    GradTopK,
    /// Rows of a soft permutation: [`RelaxedSort::SoftSort`](crate::RelaxedSort::SoftSort).
    SoftSort,
    /// Rows of a soft permutation: [`RelaxedSort::NeuralSort`](crate::RelaxedSort::NeuralSort).
    NeuralSort,
    /// Mean of hard selections of noisy scores: [`perturbed_topk`](crate::perturbed_topk).
    Perturbed,
    /// Hard selection of `s / tau + g` with Gumbel noise, gradient passed unchanged:
    /// [`gumbel_topk_ste`](crate::gumbel_topk_ste).
    GumbelSte,
    /// The same with the Jacobian of the Laplace threshold at the perturbed scores.
    GumbelSteSoft,
    /// Two-class Gumbel-softmax per token with logits `(s, 0)`, hard, straight-through:
    /// [`gumbel_softmax_ste`](crate::gumbel_softmax_ste). The scores are never z-scored, and the budget is not used:
    /// add [`ratio_loss`](crate::ratio_loss).
    GumbelSoftmax,
}

/// A name that no operator has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("soft top-k operator: found `{found}`, expected one of {wanted}")]
pub struct UnknownOperator {
    /// The name found.
    pub found: String,
    /// All names.
    pub wanted: String,
}

impl SoftTopKKind {
    /// All operators.
    pub const ALL: [Self; 13] = [
        Self::Threshold(ThresholdKind::Laplace),
        Self::Threshold(ThresholdKind::Sigmoid),
        Self::Threshold(ThresholdKind::MinExp),
        Self::Threshold(ThresholdKind::Clip),
        Self::Threshold(ThresholdKind::Cubic),
        Self::DfTopK,
        Self::GradTopK,
        Self::SoftSort,
        Self::NeuralSort,
        Self::Perturbed,
        Self::GumbelSte,
        Self::GumbelSteSoft,
        Self::GumbelSoftmax,
    ];

    /// Name in settings and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Threshold(kind) => kind.name(),
            Self::DfTopK => "dftopk",
            Self::GradTopK => "gradtopk",
            Self::SoftSort => "soft_sort",
            Self::NeuralSort => "neural_sort",
            Self::Perturbed => "perturbed",
            Self::GumbelSte => "gumbel_ste",
            Self::GumbelSteSoft => "gumbel_ste_soft",
            Self::GumbelSoftmax => "gumbel_softmax",
        }
    }

    /// `true` if the weights of a row sum to the budget (rounded to whole tokens where the operator says so).
    pub fn sums_to_budget(self) -> bool {
        !matches!(self, Self::DfTopK | Self::GumbelSoftmax)
    }

    /// `true` if no weight exceeds 1.
    pub fn stays_below_one(self) -> bool {
        !matches!(self, Self::SoftSort | Self::NeuralSort)
    }

    /// `true` if the weights depend on a seed.
    pub fn is_random(self) -> bool {
        matches!(
            self,
            Self::Perturbed | Self::GumbelSte | Self::GumbelSteSoft | Self::GumbelSoftmax
        )
    }

    /// Checks that the variance-preserving noise gate may run on these weights: it needs a threshold argument in which
    /// the derivative of its square roots stays finite.
    ///
    /// # Errors
    /// For every operator but the Laplace and sigmoid thresholds and DFTopK.
    pub fn supports_vp_noise(self) -> Result<(), VpNoiseError> {
        let refused = |reason| VpNoiseError {
            name: self.name(),
            reason,
        };
        match self {
            Self::Threshold(kind) => kind.supports_vp_noise(),
            Self::DfTopK => Ok(()),
            Self::GradTopK => Err(refused(
                "its weights come without an argument in which the gradient of the gate's square roots is finite",
            )),
            Self::SoftSort | Self::NeuralSort => Err(refused("its weights may exceed 1")),
            Self::Perturbed | Self::GumbelSte | Self::GumbelSteSoft | Self::GumbelSoftmax => {
                Err(VpNoiseError::reaches_the_ends(self.name()))
            }
        }
    }
}

impl From<ThresholdKind> for SoftTopKKind {
    fn from(kind: ThresholdKind) -> Self {
        Self::Threshold(kind)
    }
}

impl fmt::Display for SoftTopKKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<SoftTopKKind> for &'static str {
    fn from(kind: SoftTopKKind) -> Self {
        kind.name()
    }
}

impl FromStr for SoftTopKKind {
    type Err = UnknownOperator;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let plain = |name: &str| name.replace(['-', '_'], "").to_lowercase();
        let known = Self::ALL
            .into_iter()
            .find(|kind| plain(kind.name()) == plain(name));
        known.ok_or_else(|| UnknownOperator {
            found: name.to_string(),
            wanted: Self::ALL.map(Self::name).join(", "),
        })
    }
}

impl TryFrom<String> for SoftTopKKind {
    type Error = UnknownOperator;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}
