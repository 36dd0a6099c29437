//! The arms of a comparison: a method (or none) with its input, position rule and seed.

use std::fmt;
use std::sync::Arc;

use diffprune_pruner::{Budget, PositionRule, Pruner, Signals};

/// The input of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArmInput {
    /// The question's picture.
    #[default]
    Image,
    /// No picture at all.
    TextOnly,
    /// A picture of one colour, as large as the question's.
    BlankImage,
    /// The question's picture, shrunk until it is worth as many tokens as the budget keeps; the model then prepares it as
    /// any other picture and gets all tokens that come of it.
    Downsampled,
}

/// The source of the relevance of tokens, for methods that ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truth {
    /// From the annotations of the pictures.
    #[default]
    Annotations,
    /// From the model itself, for each question: how much less likely its own answer becomes without the token; see
    /// [`leave_one_out`](crate::leave_one_out).
    LeaveOneOut,
}

/// One arm of a comparison. Arms that differ in their seed only share a name and are averaged.
#[derive(Clone)]
pub struct Arm {
    /// Name in records and tables.
    pub name: String,
    /// The method; `None` leaves every token.
    pub pruner: Option<Arc<dyn Pruner>>,
    /// The input of the model.
    pub input: ArmInput,
    /// Position ids of kept tokens; `None` takes the method's own rule.
    pub positions: Option<PositionRule>,
    /// Seed of methods that draw at random.
    pub seed: u64,
    /// The source of relevance, for methods that ask for it.
    pub truth: Truth,
    /// At most so many of the run's questions, spread evenly over them; `None` asks all.
    pub questions: Option<usize>,
    /// The budgets of the run at which the arm runs; `None` takes all of them.
    pub only_at: Option<Vec<Budget>>,
}

impl Arm {
    /// The unpruned model.
    pub fn full() -> Self {
        Self::unpruned("full", ArmInput::Image)
    }

    /// The model without a picture.
    pub fn text_only() -> Self {
        Self::unpruned("text-only", ArmInput::TextOnly)
    }

    /// The model with a picture of one colour.
    pub fn blank_image() -> Self {
        Self::unpruned("blank-image", ArmInput::BlankImage)
    }

    /// The unpruned model with a picture shrunk to the budget: both sides times `sqrt(K / n)`.
    ///
    /// Encoders of one input size enlarge it again and give as many tokens as before (LLaVA-1.5): the arm then says what a
    /// picture of so little information is worth and nothing about cost. Where the number of tokens follows the picture
    /// (Qwen2.5-VL, the tiles of LLaVA-NeXT) fewer tokens come out. Records count what the language model got.
    pub fn downsampled_image() -> Self {
        Self::unpruned("downsampled-image", ArmInput::Downsampled)
    }

    /// A method under its own name.
    pub fn pruned(pruner: impl Into<Arc<dyn Pruner>>) -> Self {
        let pruner = pruner.into();
        let name = pruner.name().to_string();
        Self {
            name,
            pruner: Some(pruner),
            input: ArmInput::Image,
            positions: None,
            seed: 0,
            truth: Truth::Annotations,
            questions: None,
            only_at: None,
        }
    }

    /// A method that ranks by relevance, with the importance of each token to the model's own answer in its place.
    ///
    /// A question costs as many forward passes as the picture has tokens, so only `questions` of them are asked, spread
    /// evenly over the run. Reports compare such an arm on its own questions, see
    /// [`ReportOptions::partial`](crate::ReportOptions).
    pub fn by_leaving_out(pruner: impl Into<Arc<dyn Pruner>>, questions: usize) -> Self {
        Self {
            truth: Truth::LeaveOneOut,
            questions: Some(questions),
            ..Self::pruned(pruner).named("oracle-loo")
        }
    }

    /// The same method with each of these seeds, one arm per seed.
    pub fn seeded(pruner: impl Into<Arc<dyn Pruner>>, seeds: impl IntoIterator<Item = u64>) -> Vec<Self> {
        let pruner = pruner.into();
        seeds
            .into_iter()
            .map(|seed| Self {
                seed,
                ..Self::pruned(pruner.clone())
            })
            .collect()
    }

    /// The same arm under another name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same arm with another position rule.
    pub fn with_positions(mut self, positions: PositionRule) -> Self {
        self.positions = Some(positions);
        self
    }

    fn unpruned(name: &str, input: ArmInput) -> Self {
        Self {
            name: name.into(),
            pruner: None,
            input,
            positions: None,
            seed: 0,
            truth: Truth::Annotations,
            questions: None,
            only_at: None,
        }
    }

    /// The budgets at which the arm runs: those of the comparison, or once with every token.
    pub(crate) fn budgets(&self, budgets: &[Budget]) -> Vec<Budget> {
        if self.pruner.is_some() || self.input == ArmInput::Downsampled {
            let runs_at = |budget: &Budget| self.only_at.as_ref().is_none_or(|only| only.contains(budget));
            budgets.iter().copied().filter(runs_at).collect()
        } else {
            vec![Budget::All]
        }
    }

    /// True when the kept tokens depend on the question.
    pub(crate) fn reads_the_question(&self) -> bool {
        let signals = self.signals();
        signals.text_relevance || (signals.relevance && self.truth == Truth::LeaveOneOut)
    }

    /// The signals that must be computed beside the tokens.
    pub(crate) fn signals(&self) -> Signals {
        self.pruner
            .as_ref()
            .map(|pruner| pruner.signals())
            .unwrap_or_default()
    }
}

impl fmt::Debug for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arm")
            .field("name", &self.name)
            .field("input", &self.input)
            .field("positions", &self.positions)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
