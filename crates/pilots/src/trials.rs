//! Numbers of many pictures under many conditions, and what they say on average.

use diffprune_eval::{Bootstrap, Estimate, Statistic, Stratum};

/// Called after each batch with the share of the study that is done, from 0 to 1; `false` stops the study.
pub type Advance<'a> = dyn FnMut(f64) -> bool + 'a;

/// One number for each picture and condition: a hit (0 or 1) or any other measure. Means and differences of means are over
/// pictures; intervals are paired, as every condition sees the same resampled pictures.
#[derive(Debug, Clone)]
pub struct Trials {
    n_conditions: usize,
    /// Picture after picture.
    values: Vec<f64>,
}

impl Trials {
    /// No pictures yet.
    pub fn new(n_conditions: usize) -> Self {
        Self {
            n_conditions,
            values: Vec::new(),
        }
    }

    /// Adds a picture.
    ///
    /// # Panics
    /// When there is not one number per condition.
    pub fn push(&mut self, row: &[f64]) {
        assert_eq!(row.len(), self.n_conditions, "one number per condition");
        self.values.extend_from_slice(row);
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.values.len() / self.n_conditions.max(1)
    }

    /// True without pictures.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The mean of each linear combination of conditions (weights times 100 give points), with its interval.
    pub fn contrasts(&self, contrasts: &[Vec<(usize, f64)>], bootstrap: &Bootstrap) -> Vec<Estimate> {
        // The last column counts pictures.
        let columns = self.n_conditions + 1;
        let mut sums = Vec::with_capacity(self.len() * columns);
        for row in self.values.chunks_exact(self.n_conditions.max(1)) {
            sums.extend_from_slice(row);
            sums.push(1.0);
        }
        let stratum = Stratum {
            columns: 0..columns,
            sums,
        };
        let statistics: Vec<Statistic<'_>> = contrasts
            .iter()
            .map(|terms| {
                let statistic = move |sums: &[f64]| {
                    let total: f64 = terms.iter().map(|&(column, weight)| weight * sums[column]).sum();
                    total / sums[columns - 1]
                };
                Box::new(statistic) as Statistic<'_>
            })
            .collect();
        bootstrap.intervals(&[stratum], &statistics)
    }

    /// The mean of every condition, times `scale`.
    pub fn means(&self, scale: f64, bootstrap: &Bootstrap) -> Vec<Estimate> {
        let single: Vec<_> = (0..self.n_conditions)
            .map(|column| vec![(column, scale)])
            .collect();
        self.contrasts(&single, bootstrap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrasts_are_paired() {
        let mut trials = Trials::new(2);
        for i in 0..200 {
            let hit = f64::from(u8::from(i % 3 == 0));
            trials.push(&[hit, hit - 0.25]);
        }
        let bootstrap = Bootstrap::new(300, 0);
        let found = trials.contrasts(&[vec![(0, 1.0)], vec![(0, 1.0), (1, -1.0)]], &bootstrap);
        assert!((found[0].value - 67.0 / 200.0).abs() < 1e-12);
        assert!(found[0].hi - found[0].lo > 0.05);
        // The difference is the same in every picture, so its interval has no width.
        assert!((found[1].value - 0.25).abs() < 1e-12 && found[1].hi - found[1].lo < 1e-9);
    }
}
