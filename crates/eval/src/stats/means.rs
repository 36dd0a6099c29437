//! Means of tables with holes.

/// The papers' mean of one row: over the columns that it has. NaN when it has none.
///
/// Rows with different holes are means of different things; [`common_means`] is what compares.
pub fn ragged_mean(row: &[Option<f64>]) -> f64 {
    mean(row.iter().copied().flatten())
}

/// The columns that every row has. Rows may differ in length; what is beyond the end is missing.
fn common_columns(rows: &[Vec<Option<f64>>]) -> Vec<usize> {
    let width = rows.iter().map(Vec::len).min().unwrap_or(0);
    (0..width)
        .filter(|&column| rows.iter().all(|row| row[column].is_some()))
        .collect()
}

/// The mean of each row over the columns that all rows have; NaN when there is none.
pub fn common_means(rows: &[Vec<Option<f64>>]) -> Vec<f64> {
    let columns = common_columns(rows);
    rows.iter()
        .map(|row| mean(columns.iter().filter_map(|&column| row[column])))
        .collect()
}

/// Mean; NaN without values.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0usize, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_moves_one_mean_and_not_the_other() {
        let rows = [
            vec![Some(60.0), Some(80.0), Some(10.0)],
            vec![Some(58.0), Some(79.0), None],
        ];
        assert_eq!(ragged_mean(&rows[0]), 50.0);
        assert_eq!(ragged_mean(&rows[1]), 68.5);
        assert_eq!(common_columns(&rows), [0, 1]);
        assert_eq!(common_means(&rows), [70.0, 68.5]);
    }

    #[test]
    fn without_common_columns_there_is_no_mean() {
        let rows = [vec![Some(1.0), None], vec![None, Some(2.0)]];
        assert!(common_means(&rows).iter().all(|mean| mean.is_nan()));
        assert!(ragged_mean(&[]).is_nan() && common_means(&[]).is_empty());
    }
}
