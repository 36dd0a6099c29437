//! Reading and writing one head of a `[batch, tokens, heads, head_dim]` tensor.

use burn::backend::flex::FlexTensor;

use crate::fused::buffer::{dense, floats};
use crate::fused::matmul::View;
use crate::fused::parallel::SharedOut;

/// A tensor `[b, n, h, d]` whose heads are read in place.
pub(super) struct Heads {
    tensor: FlexTensor,
    start: usize,
    strides: [usize; 3],
}

impl Heads {
    /// Takes the tensor as it lies if its last axis is dense, a dense copy otherwise.
    pub(super) fn new(x: FlexTensor) -> Self {
        let readable = x.layout().strides()[3] == 1 && x.layout().strides().iter().all(|&stride| stride >= 0);
        let tensor = if readable { x } else { dense(x) };
        let strides = core::array::from_fn(|axis| tensor.layout().strides()[axis] as usize);
        Heads {
            start: tensor.layout().start_offset(),
            strides,
            tensor,
        }
    }

    /// Head `h` of sequence `b`, from token `from` on, as a matrix of tokens by `head_dim`.
    pub(super) fn view(&self, b: usize, h: usize, from: usize) -> View<'_> {
        let [batch, token, head] = self.strides;
        let start = self.start + b * batch + from * token + h * head;
        View::rows(&floats(&self.tensor)[start..], token)
    }
}

/// A dense output `[b, n, h, d]` that several threads fill, each its own heads.
#[derive(Clone, Copy)]
pub(super) struct OutHeads {
    out: SharedOut,
    tokens: usize,
    heads: usize,
    d: usize,
}

impl OutHeads {
    /// Shares the buffer of a dense `[b, tokens, heads, d]`.
    pub(super) fn new(out: &mut [f32], tokens: usize, heads: usize, d: usize) -> Self {
        OutHeads {
            out: SharedOut::new(out),
            tokens,
            heads,
            d,
        }
    }

    /// The `d` numbers of one token in one head.
    ///
    /// # Safety
    /// As for [`SharedOut::slice`]: no two users of one token of one head at a time.
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller promises that no two slices in use overlap"
    )]
    pub(super) unsafe fn row(&self, b: usize, token: usize, h: usize) -> &mut [f32] {
        let start = ((b * self.tokens + token) * self.heads + h) * self.d;
        // SAFETY: promised by the caller.
        unsafe { self.out.slice(start..start + self.d) }
    }
}

/// The summand of each key's scores: zero or minus infinity, `padded_m` of them per sequence.
pub(super) fn key_bias(mask: Option<FlexTensor>, m: usize, padded_m: usize) -> Option<Vec<f32>> {
    let mask = dense(mask?);
    let visible: &[u8] = mask.storage::<u8>();
    let mut bias = Vec::with_capacity(visible.len() / m.max(1) * padded_m);
    for row in visible.chunks_exact(m) {
        bias.extend(
            row.iter()
                .map(|&seen| if seen != 0 { 0.0 } else { f32::NEG_INFINITY }),
        );
        bias.resize(bias.len() + padded_m - m, f32::NEG_INFINITY);
    }
    Some(bias)
}
