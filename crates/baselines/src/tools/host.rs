//! Numbers of one image on the host.

use std::borrow::Cow;

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use diffprune_pruner::{PruneError, PruningContext};
use rayon::prelude::*;

/// Rows below which a product with a vector is not worth a second thread.
const ROWS_PER_TASK: usize = 128;

/// A row-major matrix of f32 on the host: one row per token.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    values: Vec<f32>,
    width: usize,
}

impl Matrix {
    /// A matrix of rows of `width` numbers.
    ///
    /// # Panics
    /// When `width` is zero or the numbers do not fill whole rows.
    pub fn new(values: Vec<f32>, width: usize) -> Self {
        assert!(
            width > 0 && values.len().is_multiple_of(width),
            "numbers must fill rows of one width"
        );
        Self { values, width }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `index`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }

    /// The rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    /// All numbers, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All numbers, row after row.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// The rows of these indices.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut values = Vec::with_capacity(indices.len() * self.width);
        indices
            .iter()
            .for_each(|&index| values.extend_from_slice(self.row(index)));
        Self::new(values, self.width)
    }

    /// As [`Self::select`], without a copy when these are all rows in order.
    ///
    /// # Panics
    /// As [`Self::select`].
    pub fn selected(&self, indices: &[usize]) -> Cow<'_, Self> {
        if indices.iter().copied().eq(0..self.n_rows()) {
            Cow::Borrowed(self)
        } else {
            Cow::Owned(self.select(indices))
        }
    }

    /// Rows divided by their length plus `epsilon`; a row of zeros stays one.
    pub fn normalised(&self, epsilon: f32) -> Self {
        let mut values = vec![0.0; self.values.len()];
        let rows = self.values.par_chunks_exact(self.width);
        values
            .par_chunks_exact_mut(self.width)
            .zip(rows)
            .with_min_len(ROWS_PER_TASK)
            .for_each(|(unit, row)| {
                let length = dot(row, row).sqrt() + epsilon;
                let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
                unit.iter_mut()
                    .zip(row)
                    .for_each(|(unit, value)| *unit = scale * value);
            });
        Self::new(values, self.width)
    }

    /// Inner products of every row with `vector`.
    pub fn products(&self, vector: &[f32], out: &mut [f32]) {
        out.par_iter_mut()
            .zip(self.values.par_chunks_exact(self.width))
            .with_min_len(ROWS_PER_TASK)
            .for_each(|(out, row)| *out = dot(row, vector));
    }

    /// The matrix on a device, in f32.
    pub fn into_tensor(self, device: &Device) -> Tensor<2> {
        let shape = [self.n_rows(), self.width];
        Tensor::from_data(TensorData::new(self.values, shape), (device, DType::F32))
    }
}

/// Inner products of the rows of `a` with those of `b`, computed on their device: `a b^T`.
pub(crate) fn inner_products(a: Tensor<2>, b: Tensor<2>) -> Matrix {
    let width = b.dims()[0];
    Matrix::new(to_host(a.matmul(b.transpose())), width)
}

/// Inner product.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_blocks.remainder().iter().zip(b_blocks.remainder());
    let rest: f32 = rest.map(|(x, y)| x * y).sum();
    for (x, y) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// `sum += weight * row`.
pub(crate) fn add_scaled(sum: &mut [f32], weight: f32, row: &[f32]) {
    sum.iter_mut()
        .zip(row)
        .for_each(|(sum, value)| *sum += weight * value);
}

/// The numbers of a tensor in f32.
pub(crate) fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.cast(FloatDType::F32).into_data();
    if data.as_slice::<f32>().is_err() {
        return data.iter::<f32>().collect();
    }
    data.try_into_vec().unwrap_or_default()
}

/// Checks that a tensor `[b, m, d]` has a row for each of `counts` and as many vectors in it.
///
/// # Errors
/// [`PruneError::Shape`] when it has not.
pub(crate) fn check_shape(
    tensor: &Tensor<3>,
    what: &'static str,
    counts: &[usize],
) -> Result<(), PruneError> {
    let [batch, height, width] = tensor.dims();
    let most = counts.iter().copied().max().unwrap_or(0);
    for (found, wanted) in [
        (batch, counts.len()),
        (height, height.max(most)),
        (width, width.max(1)),
    ] {
        if found != wanted {
            return Err(PruneError::Shape { what, found, wanted });
        }
    }
    Ok(())
}

/// The first `count(row)` vectors of each image.
///
/// # Shapes
/// - tensor: `[b, m, d]`
///
/// # Errors
/// [`PruneError::Shape`] when there are fewer, [`PruneError::NotFinite`] when one of them is not finite.
pub(crate) fn matrices(
    tensor: &Tensor<3>,
    method: &str,
    what: &'static str,
    counts: &[usize],
) -> Result<Vec<Matrix>, PruneError> {
    check_shape(tensor, what, counts)?;
    let [batch, height, width] = tensor.dims();
    let mut values = to_host(tensor.clone());
    let image = |(row, &count): (usize, &usize)| {
        let mut values = match batch {
            1 => std::mem::take(&mut values),
            _ => values[row * height * width..(row + 1) * height * width].to_vec(),
        };
        values.truncate(count * width);
        if values.par_iter().all(|value| value.is_finite()) {
            Ok(Matrix::new(values, width))
        } else {
            Err(PruneError::NotFinite {
                method: method.to_string(),
                what,
                row,
            })
        }
    };
    counts.iter().enumerate().map(image).collect()
}

/// The vectors of each image's tokens; see [`matrices`].
pub(crate) fn token_matrices(
    context: &PruningContext,
    tensor: &Tensor<3>,
    method: &str,
    what: &'static str,
) -> Result<Vec<Matrix>, PruneError> {
    let counts: Vec<usize> = (0..context.batch()).map(|row| context.n_tokens(row)).collect();
    matrices(tensor, method, what, &counts)
}

/// The vectors of each image's tokens as the language model takes them, and the tensor they come from.
///
/// # Errors
/// When the model does not give projected tokens, or they are of another size or not finite.
pub(crate) fn projected_tokens<'a>(
    context: &'a PruningContext,
    method: &str,
) -> Result<(Vec<Matrix>, &'a Tensor<3>), PruneError> {
    let what = "projected tokens";
    let projected = context.require(|observed| &observed.projected, method, what)?;
    Ok((token_matrices(context, projected, method, what)?, projected))
}

/// The place of the largest of the numbers, the first of equals; NaN never wins.
pub(crate) fn argmax(values: impl IntoIterator<Item = f32>) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (place, value) in values.into_iter().enumerate() {
        if best.is_none_or(|(_, most)| value > most) && !value.is_nan() {
            best = Some((place, value));
        }
    }
    best.map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_agree_with_the_device() {
        let values: Vec<f32> = (0..37 * 19)
            .map(|i| ((i * 7919) % 101) as f32 / 50.0 - 1.0)
            .collect();
        let matrix = Matrix::new(values, 37);
        let tensor = matrix.clone().into_tensor(&Device::flex());
        let all = inner_products(tensor.clone(), tensor);
        let mut out = vec![0.0; 19];
        for i in 0..19 {
            matrix.products(matrix.row(i), &mut out);
            for (found, wanted) in out.iter().zip(all.row(i)) {
                assert!((found - wanted).abs() < 1e-4, "{found} {wanted}");
            }
        }
        let unit = matrix.normalised(0.0);
        assert!(unit.rows().all(|row| (dot(row, row) - 1.0).abs() < 1e-5));
    }

    #[test]
    fn the_first_of_the_largest_wins() {
        assert_eq!(argmax([1.0, 3.0, f32::NAN, 3.0]), Some(1));
        assert_eq!(argmax([f32::NAN]), None);
        assert_eq!(argmax([f32::NEG_INFINITY; 2]), Some(0));
    }
}
