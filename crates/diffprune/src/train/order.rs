//! The order of the data.

use std::ops::Range;

use diffprune_training::rng;
use rand::Rng;

/// Stream of the data order.
const ORDER: u64 = 0;

/// Every sample once per epoch, each epoch in an order of its own; a function of the seed and the place alone.
pub(crate) struct DataOrder {
    seed: u64,
    len: usize,
    epoch: Option<(usize, Vec<usize>)>,
}

impl DataOrder {
    pub(crate) fn new(seed: u64, len: usize) -> Self {
        Self {
            seed,
            len,
            epoch: None,
        }
    }

    /// The samples at some places of the endless sequence.
    pub(crate) fn at(&mut self, places: Range<u64>) -> Vec<usize> {
        places.map(|place| self.one(place)).collect()
    }

    fn one(&mut self, place: u64) -> usize {
        let (epoch, offset) = (
            (place / self.len as u64) as usize,
            (place % self.len as u64) as usize,
        );
        match &self.epoch {
            Some((current, order)) if *current == epoch => order[offset],
            _ => {
                let order = shuffled(self.seed, epoch as u64, self.len);
                let index = order[offset];
                self.epoch = Some((epoch, order));
                index
            }
        }
    }
}

fn shuffled(seed: u64, epoch: u64, len: usize) -> Vec<usize> {
    let mut rng = rng(seed, ORDER, epoch);
    let mut order: Vec<usize> = (0..len).collect();
    for i in (1..len).rev() {
        // Lengths are far below 2^32, so the remainder is even enough.
        order.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_every_sample_and_its_own_order() {
        let mut order = DataOrder::new(5, 7);
        let epochs: Vec<Vec<usize>> = (0..3).map(|epoch| order.at(epoch * 7..(epoch + 1) * 7)).collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..7).collect::<Vec<_>>());
        }
        assert_ne!(epochs[0], epochs[1]);
        assert_eq!(DataOrder::new(5, 7).at(10..12), epochs[1][3..5]);
    }
}
