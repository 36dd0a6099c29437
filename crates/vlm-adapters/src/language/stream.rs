//! The residual stream of a batch of sequences that lose visual tokens on their way.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use diffprune_pruner::{DecoderSelection, PositionRule};

use crate::splice::ints;
use crate::{Slot, Spliced};

/// Hidden states `[b, n, d_model]`, padded on the left, and what stands at each place.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) hidden: Tensor<3>,
    pub(super) rows: Vec<Vec<Place>>,
    /// The position id of the first new token of each sequence.
    pub(super) next_positions: Vec<usize>,
}

/// A place of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    position: [usize; 3],
    visual: bool,
}

impl Stream {
    /// The input of the first layer. What belongs to an image is visual (separators too), but for the last place of a
    /// sequence: it predicts the next token.
    pub(super) fn new(spliced: &Spliced) -> Self {
        let row = |plan: &crate::SplicePlan| {
            let last = plan.slots.len().saturating_sub(1);
            let place = |(i, (slot, &position)): (usize, (&Slot, &[usize; 3]))| Place {
                position,
                visual: i != last && !matches!(slot, Slot::Text(_)),
            };
            plan.slots
                .iter()
                .zip(&plan.positions)
                .enumerate()
                .map(place)
                .collect()
        };
        Self {
            hidden: spliced.embeds.clone(),
            rows: spliced.plans.iter().map(row).collect(),
            next_positions: spliced.plans.iter().map(|plan| plan.next_position).collect(),
        }
    }

    /// Number of places, n.
    pub(super) fn width(&self) -> usize {
        self.hidden.dims()[1]
    }

    /// Places of padding before sequence `row`.
    pub(super) fn pad(&self, row: usize) -> usize {
        self.width() - self.rows[row].len()
    }

    /// The places of the visual tokens of sequence `row`.
    pub(super) fn visual(&self, row: usize) -> Vec<usize> {
        let is_visual = |&(_, place): &(usize, &Place)| place.visual;
        let places = self.rows[row].iter().enumerate();
        places.filter(is_visual).map(|(i, _)| i).collect()
    }

    /// Number of visual tokens of sequence `row`.
    pub(super) fn n_visual(&self, row: usize) -> usize {
        self.rows[row].iter().filter(|place| place.visual).count()
    }

    /// Number of text tokens after the last visual one of sequence `row`.
    pub(super) fn n_text_after(&self, row: usize) -> usize {
        let places = &self.rows[row];
        places.iter().rev().take_while(|place| !place.visual).count()
    }

    /// Real places, `[b, n]`; `None` when there is no padding.
    pub(super) fn mask(&self) -> Option<Tensor<2, Bool>> {
        let width = self.width();
        if self.rows.iter().all(|row| row.len() == width) {
            return None;
        }
        let row = |row: &Vec<Place>| (0..width).map(|i| i >= width - row.len()).collect::<Vec<_>>();
        let mask: Vec<bool> = self.rows.iter().flat_map(row).collect();
        let data = TensorData::new(mask, [self.rows.len(), width]);
        Some(Tensor::from_data(data, &self.device()))
    }

    /// Position ids, `[axes, b, n]`; 0 on padding.
    pub(super) fn position_ids(&self, axes: usize) -> Tensor<3, Int> {
        let (batch, width) = (self.rows.len(), self.width());
        let mut ids = vec![0; axes * batch * width];
        for (row, places) in self.rows.iter().enumerate() {
            for (i, place) in places.iter().enumerate() {
                for axis in 0..axes {
                    ids[(axis * batch + row) * width + self.pad(row) + i] = place.position[axis] as i64;
                }
            }
        }
        ints(ids, [axes, batch, width], &self.device())
    }

    /// Hidden states of sequence `row` without padding, `[t, d_model]`.
    pub(super) fn of_row(&self, row: usize) -> Tensor<2> {
        let (pad, len) = (self.pad(row), self.rows[row].len());
        self.hidden
            .clone()
            .narrow(0, row, 1)
            .narrow(1, pad, len)
            .squeeze_dim(0)
    }

    /// Keeps what the selections say (`None` keeps all); merged vectors stand after the place of the last visual token.
    pub(super) fn apply(&mut self, selections: &[Option<DecoderSelection>], rule: PositionRule) {
        let [batch, width, d_model] = self.hidden.dims();
        let table = self.hidden.clone().reshape([batch * width, d_model]);
        let mut sources = vec![table.clone()];
        let mut n_sources = batch * width;
        let mut kept = Vec::with_capacity(batch);
        for (row, selection) in selections.iter().enumerate() {
            let first = row * width + self.pad(row);
            let Some(selection) = selection else {
                kept.push((first..first + self.rows[row].len()).collect());
                continue;
            };
            let (index, mut places) = survivors(&self.rows[row], selection, first, n_sources);
            if let Some(merged) = &selection.merged {
                n_sources += merged.dims()[0];
                sources.push(merged.clone().cast(table.dtype()));
            }
            if rule == PositionRule::Reindex {
                for (i, place) in places.iter_mut().enumerate() {
                    place.position = [i; 3];
                }
                self.next_positions[row] = places.len();
            }
            kept.push(index);
            self.rows[row] = places;
        }
        let width = kept.iter().map(Vec::len).max().unwrap_or(0);
        let padded = |index: &Vec<usize>| {
            let pad = std::iter::repeat_n(0, width - index.len());
            pad.chain(index.iter().map(|&i| i as i64)).collect::<Vec<_>>()
        };
        let index: Vec<i64> = kept.iter().flat_map(padded).collect();
        let index = ints(index, [batch * width], &self.device());
        let rows = match sources.len() {
            1 => table,
            _ => Tensor::cat(sources, 0),
        };
        self.hidden = rows.select(0, index).reshape([batch, width, d_model]);
    }

    pub(super) fn device(&self) -> Device {
        self.hidden.device()
    }
}

/// The rest of a sequence: the sources of its places, and the places. Its own places are sources from `first` on, its
/// merged vectors from `merged` on.
fn survivors(
    places: &[Place],
    selection: &DecoderSelection,
    first: usize,
    merged: usize,
) -> (Vec<usize>, Vec<Place>) {
    let last_visual = places.iter().rposition(|place| place.visual);
    let mut wanted = selection.keep.iter().copied().peekable();
    let (mut nth, mut index, mut kept) = (0, Vec::new(), Vec::new());
    for (i, place) in places.iter().enumerate() {
        let stays = !place.visual || wanted.next_if_eq(&nth).is_some();
        nth += usize::from(place.visual);
        if stays {
            index.push(first + i);
            kept.push(*place);
        }
        if Some(i) == last_visual {
            for j in 0..selection.n_merged() {
                index.push(merged + j);
                kept.push(*place);
            }
        }
    }
    (index, kept)
}
