//! Pictures out of focus.

/// Half the width of each averaging window, as a share of the picture's side.
const REACH: f32 = 1.0 / 6.0;
/// Averaging so often is close to a Gaussian.
const PASSES: usize = 3;

/// Blurs rows of RGB of a square picture so strongly that no outline or letter can be told; of a large object a tint may
/// be left.
pub(super) fn blur(pixels: &mut [u8], size: usize) {
    let reach = ((size as f32 * REACH) as usize).max(1);
    let mut sums = Vec::with_capacity(size + 1);
    for _ in 0..PASSES {
        // Along the rows, then along the columns.
        for (next, step) in [(3 * size, 3), (3, 3 * size)] {
            for i in 0..size {
                for channel in 0..3 {
                    average(pixels, &mut sums, size, reach, i * next + channel, step);
                }
            }
        }
    }
}

/// Replaces `size` values, `step` apart from `first` on, by the means of the windows around them.
fn average(pixels: &mut [u8], sums: &mut Vec<u32>, size: usize, reach: usize, first: usize, step: usize) {
    sums.clear();
    sums.push(0);
    let mut sum = 0;
    for i in 0..size {
        sum += u32::from(pixels[first + i * step]);
        sums.push(sum);
    }
    for i in 0..size {
        let (from, to) = (i.saturating_sub(reach), (i + reach + 1).min(size));
        let width = (to - from) as u32;
        pixels[first + i * step] = ((sums[to] - sums[from] + width / 2) / width) as u8;
    }
}
