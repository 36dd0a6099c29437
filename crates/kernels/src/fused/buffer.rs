//! Between Burn's CPU tensors and slices of f32.

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};

/// The same numbers in one dense block from the start of the buffer. Consumes its argument, so that a tensor nobody
/// else holds can afterwards be written in place.
pub(super) fn dense(x: FlexTensor) -> FlexTensor {
    // `to_contiguous` takes a reference: without the drop its result would count as shared.
    let y = x.to_contiguous();
    drop(x);
    y
}

/// The numbers of a [`dense`] f32 tensor.
pub(super) fn floats(x: &FlexTensor) -> &[f32] {
    x.storage::<f32>()
}

/// A tensor of the given shape around `data`.
pub(super) fn tensor(data: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(data), Layout::contiguous(shape), DType::F32)
}

/// A vector of `n` numbers written by `f`, without zeroing it first.
///
/// `f` must write every element and read none before it has written it.
pub(super) fn written(n: usize, f: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut data: Vec<f32> = Vec::with_capacity(n);
    // SAFETY: the capacity is there, any bits are a valid f32, and `f` writes before it reads.
    f(unsafe { std::slice::from_raw_parts_mut(data.as_mut_ptr(), n) });
    // SAFETY: `f` has written all `n` elements.
    unsafe { data.set_len(n) };
    data
}

/// Rows and width of a shape, its last axis being the width.
pub(super) fn rows_and_width(shape: &Shape) -> (usize, usize) {
    let width = shape[shape.num_dims() - 1];
    (shape.num_elements() / width.max(1), width)
}
