//! Density-peak clustering of tokens (DPC-KNN), as SparseVLM recycles dropped ones.

use burn::tensor::{FloatDType, Tensor, TensorData};
use diffprune_pruner::PruneError;

use super::scores::finite;

/// The means of `n_clusters` clusters of vectors, in the order of their centres.
///
/// With `D` the distances divided by `sqrt(d)`: the density of a vector is `exp(-mean of the n_clusters smallest D^2)`
/// (its own included), its separation the smallest `D` to a denser vector (the largest `D` of all for the densest),
/// centres are the vectors with the largest product of the two, and each vector joins its nearest centre. Means divide
/// by the count plus 1e-6. Among equal densities the first vector counts as denser; the authors add random noise of
/// 1e-6 instead.
///
/// # Shapes
/// - x: `[n, d]`
/// - output: `[n_clusters, d]`
///
/// # Errors
/// When the vectors are not finite; `method` and `row` are for the message.
pub fn density_peak_means(
    x: Tensor<2>,
    n_clusters: usize,
    method: &str,
    row: usize,
) -> Result<Tensor<2>, PruneError> {
    let [n, _] = x.dims();
    let distances = squared_distances(x.clone(), method, row)?;
    let clusters = assign(&distances, n, n_clusters);
    let mut weights = vec![0f32; n_clusters * n];
    let mut counts = vec![0usize; n_clusters];
    clusters.iter().for_each(|&cluster| counts[cluster] += 1);
    for (i, &cluster) in clusters.iter().enumerate() {
        weights[cluster * n + i] = (1.0 / (counts[cluster] as f64 + 1e-6)) as f32;
    }
    let weights = Tensor::<2>::from_data(TensorData::new(weights, [n_clusters, n]), &x.device());
    Ok(weights.matmul(x.clone().cast(FloatDType::F32)).cast(x.dtype()))
}

/// Squared distances divided by the width, `n * n`, zero on the diagonal.
fn squared_distances(x: Tensor<2>, method: &str, row: usize) -> Result<Vec<f32>, PruneError> {
    let [n, width] = x.dims();
    let x = x.cast(FloatDType::F32);
    // Distances do not see the mean; without it the squares are small and lose fewer digits.
    let x = x.clone() - x.mean_dim(0);
    let squares = x.clone().square().sum_dim(1);
    let products = x.clone().matmul(x.transpose());
    let distances = (squares.clone() + squares.transpose() - products * 2.0).clamp_min(0.0) / width as f64;
    let mut distances = finite(distances, method, "hidden states", row)?;
    (0..n).for_each(|i| distances[i * n + i] = 0.0);
    Ok(distances)
}

/// The cluster of each vector.
fn assign(distances: &[f32], n: usize, n_clusters: usize) -> Vec<usize> {
    let row = |i: usize| &distances[i * n..(i + 1) * n];
    let density = |i: usize| {
        let mut nearest = row(i).to_vec();
        nearest.sort_by(f32::total_cmp);
        let mean = nearest.iter().take(n_clusters).sum::<f32>() / n_clusters.min(n).max(1) as f32;
        (-mean).exp()
    };
    let densities: Vec<f32> = (0..n).map(density).collect();
    let furthest = distances.iter().copied().fold(0.0, f32::max).sqrt();
    let separation = |i: usize| {
        let denser = |&j: &usize| densities[j] > densities[i] || (densities[j] == densities[i] && j < i);
        let nearest = (0..n).filter(denser).map(|j| row(i)[j]).min_by(f32::total_cmp);
        nearest.map_or(furthest, f32::sqrt)
    };
    let peaks: Vec<f32> = (0..n).map(|i| densities[i] * separation(i)).collect();
    let centres = crate::tools::top::top_k(&peaks, n_clusters);
    let nearest = |i: usize| match centres.iter().position(|&centre| centre == i) {
        Some(own) => own,
        None => (0..centres.len())
            .min_by(|&a, &b| row(i)[centres[a]].total_cmp(&row(i)[centres[b]]))
            .unwrap_or(0),
    };
    (0..n).map(nearest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tolerance};

    #[test]
    fn separate_groups_become_their_means() {
        let x = [[0.0f32, 0.0], [0.1, 0.0], [9.0, 9.0], [0.0, 0.2], [9.0, 9.2]];
        let means = density_peak_means(Tensor::from_data(x, &Device::flex()), 2, "", 0).unwrap();
        let sums: Vec<f32> = means.clone().sum_dim(1).into_data().try_to_vec().unwrap();
        let wanted = if sums[0] < sums[1] {
            [[0.1f32 / 3.0, 0.2 / 3.0], [9.0, 9.1]]
        } else {
            [[9.0, 9.1], [0.1 / 3.0, 0.2 / 3.0]]
        };
        means
            .into_data()
            .assert_approx_eq::<f32>(&TensorData::from(wanted), Tolerance::absolute(1e-4));
    }

    #[test]
    fn equal_vectors_are_one_mean_and_nan_is_an_error() {
        let ones = Tensor::<2>::ones([6, 3], &Device::flex());
        let means = density_peak_means(ones.clone(), 1, "", 0).unwrap();
        means
            .into_data()
            .assert_approx_eq::<f32>(&TensorData::from([[1.0f32; 3]]), Tolerance::absolute(1e-5));
        let bad = ones.slice_fill([2..3, 0..1], f32::NAN);
        let error = density_peak_means(bad, 1, "method", 3).unwrap_err();
        assert!(matches!(error, PruneError::NotFinite { row: 3, .. }));
    }
}
