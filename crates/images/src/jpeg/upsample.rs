//! Subsampled components back to full size.

use super::frame::{Component, Frame};

/// The way in which a component becomes as large as the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is.
    Same,
    /// Twice as wide: three parts of the nearer sample, one of the other.
    Wide,
    /// Twice as high, likewise.
    High,
    /// Both.
    Both,
    /// Each sample this many times in a row, each row this many times.
    Repeat([usize; 2]),
}

/// A component at the picture's size, row by row.
#[derive(Debug)]
pub(super) struct Enlarged<'a> {
    component: &'a Component,
    way: Way,
}

impl<'a> Enlarged<'a> {
    /// The component of a frame.
    pub(super) fn new(frame: &Frame, component: &'a Component) -> Self {
        let (h, v) = (frame.h_max / component.h, frame.v_max / component.v);
        // Of narrow components there are no two neighbours to mix.
        let mixes = component.width > 2;
        let way = match (h, v) {
            (1, 1) => Way::Same,
            (2, 1) if mixes => Way::Wide,
            (1, 2) => Way::High,
            (2, 2) if mixes => Way::Both,
            _ => Way::Repeat([h, v]),
        };
        Self { component, way }
    }

    /// Row `y` of the picture; `out` gets at least as many samples as the picture has columns.
    pub(super) fn row(&self, y: usize, out: &mut Vec<u8>) {
        out.clear();
        match self.way {
            Way::Same => out.extend_from_slice(self.samples(y)),
            Way::Wide => wide(self.samples(y), out),
            Way::High => {
                let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                let [near, far] = self.nearest(y);
                let mix =
                    |(&near, &far): (&u8, &u8)| ((u16::from(near) * 3 + u16::from(far) + bias) >> 2) as u8;
                out.extend(near.iter().zip(far).map(mix));
            }
            Way::Both => {
                let [near, far] = self.nearest(y);
                both(near, far, out);
            }
            Way::Repeat([h, v]) => {
                for &sample in self.samples(y / v) {
                    out.resize(out.len() + h, sample);
                }
            }
        }
    }

    fn samples(&self, row: usize) -> &[u8] {
        let start = row.min(self.component.height - 1) * self.component.stride;
        &self.component.samples[start..start + self.component.width]
    }

    /// For a picture of twice the rows: the row at `y`, and the next but one, above or below; at the edges the row itself.
    fn nearest(&self, y: usize) -> [&[u8]; 2] {
        let row = y / 2;
        let far = if y.is_multiple_of(2) {
            row.saturating_sub(1)
        } else {
            row + 1
        };
        [self.samples(row), self.samples(far)]
    }
}

/// Twice as many samples. Halves are rounded down at the left sample of each pair and up at the right one.
fn wide(samples: &[u8], out: &mut Vec<u8>) {
    let at = |i: usize| u16::from(samples[i]);
    let last = samples.len() - 1;
    for i in 0..=last {
        let left = if i == 0 {
            at(0)
        } else {
            (at(i) * 3 + at(i - 1) + 1) >> 2
        };
        let right = if i == last {
            at(last)
        } else {
            (at(i) * 3 + at(i + 1) + 2) >> 2
        };
        out.extend([left as u8, right as u8]);
    }
}

/// A row of twice as many samples from two rows, of which `near` weighs three times as much.
fn both(near: &[u8], far: &[u8], out: &mut Vec<u8>) {
    let sum = |i: usize| u16::from(near[i]) * 3 + u16::from(far[i]);
    let last = near.len() - 1;
    let (mut before, mut this) = (sum(0), sum(0));
    for i in 0..=last {
        let after = if i == last { this } else { sum(i + 1) };
        out.extend([
            ((this * 3 + before + 8) >> 4) as u8,
            ((this * 3 + after + 7) >> 4) as u8,
        ]);
        (before, this) = (this, after);
    }
}
