//! Shared by the operators that solve for no threshold: the rows of a batch and their ends.

use burn::tensor::{Bool, Tensor};

use crate::soft::{K, SoftTopKInput};
use crate::vjp::Tracked;

/// A batch of rows, each with its budget, its temperature and its real tokens.
pub(crate) struct Rows {
    /// `[batch, n_tokens]`, in working precision; masked entries 0.
    pub(crate) scores: Tensor<2>,
    /// `[batch, 1]`, without gradient.
    pub(crate) k: Tensor<2>,
    /// `[batch, 1]`
    pub(crate) tau: Tensor<2>,
    /// `[batch, n_tokens]`, without gradient.
    pub(crate) mask: Option<Tensor<2, Bool>>,
    /// Rows whose budget takes all of their real tokens, `[batch, 1]`.
    open: Tensor<2, Bool>,
    /// Rows whose budget takes none, `[batch, 1]`.
    closed: Tensor<2, Bool>,
}

impl Rows {
    /// The rows of an input, with the budgets as they are.
    pub(crate) fn new(input: SoftTopKInput) -> Self {
        let (Tracked { scores, k, tau }, mask) = input.track(None);
        let (k, mask) = (k.without_autodiff(), mask.map(Tensor::without_autodiff));
        let count = real(&scores, &mask).sum_dim(1);
        Self {
            open: k.clone().greater_equal(count),
            closed: k.clone().lower_equal_elem(0.0),
            scores,
            k,
            tau,
            mask,
        }
    }

    /// The rows of an input, with budgets rounded to whole tokens, half up.
    pub(crate) fn whole(mut input: SoftTopKInput) -> Self {
        input.k = match input.k {
            K::Batch(k) => K::Batch((k + 0.5).floor()),
            K::Rows(k) => K::Rows((k.without_autodiff() + 0.5).floor()),
        };
        Self::new(input)
    }

    /// Ones for real tokens, `[batch, n_tokens]`.
    pub(crate) fn real(&self) -> Tensor<2> {
        real(&self.scores, &self.mask)
    }

    /// Number of real tokens, `[batch, 1]`.
    pub(crate) fn count(&self) -> Tensor<2> {
        self.real().sum_dim(1)
    }

    /// Gives rows with nothing to decide and masked tokens their fixed values, without gradient.
    pub(crate) fn fix(&self, x: Tensor<2>, open: f64, closed: f64) -> Tensor<2> {
        let shape = x.dims();
        let x = x
            .mask_fill(self.open.clone().expand(shape), open)
            .mask_fill(self.closed.clone().expand(shape), closed);
        match &self.mask {
            Some(mask) => x.mask_fill(mask.clone().bool_not(), closed),
            None => x,
        }
    }

    /// `x` with 1 in rows with nothing to decide, `[batch, 1]`.
    pub(crate) fn one_where_decided(&self, x: Tensor<2>) -> Tensor<2> {
        let decided = self.open.clone().bool_or(self.closed.clone());
        x.mask_fill(decided, 1.0)
    }
}

fn real(scores: &Tensor<2>, mask: &Option<Tensor<2, Bool>>) -> Tensor<2> {
    match mask {
        Some(mask) => mask.clone().float().cast(scores.dtype()),
        None => scores.clone().without_autodiff().ones_like(),
    }
}
