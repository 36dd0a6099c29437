//! Fixed numbers of the model for tests: its embeddings, its projector, its bytes, its colours.

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

/// Marks in front of the bytes.
const MARKS: u32 = 3;

/// The ids of a text.
pub(super) fn ids(text: &str) -> Vec<u32> {
    text.bytes().map(|byte| MARKS + u32::from(byte)).collect()
}

/// The text of ids, marks left out.
pub(super) fn text(ids: &[u32]) -> String {
    let bytes = ids.iter().filter_map(|id| id.checked_sub(MARKS)?.try_into().ok());
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

fn matrix(n: usize, width: usize, device: &Device, value: impl Fn(usize, usize) -> f32) -> Tensor<2> {
    let values: Vec<f32> = (0..n * width).map(|i| value(i / width, i % width)).collect();
    Tensor::from_data(TensorData::new(values, [n, width]), device)
}

/// Rows that all differ, `[n, width]`, from -1 to 1.
pub(super) fn waves(n: usize, width: usize, device: &Device) -> Tensor<2> {
    matrix(n, width, device, |row, column| {
        ((row + 1) as f32 * (0.7 + 0.31 * column as f32)).sin()
    })
}

/// A linear map whose first three outputs are the mean of the colours of a token's vectors, `[d_vision, d_model]`.
pub(super) fn projection(d_descriptor: usize, group: usize, d_model: usize, device: &Device) -> Tensor<2> {
    let rest = waves(d_descriptor * group, d_model, device);
    let rest = rows(rest);
    let scale = 1.0 / ((d_descriptor * group) as f32).sqrt();
    matrix(d_descriptor * group, d_model, device, |row, column| {
        match (column < 3, row % d_descriptor == column) {
            (true, true) => 1.0 / group as f32,
            (true, false) => 0.0,
            (false, _) => scale * rest[row][column],
        }
    })
}

/// One 1 in each row, `[ids, n]`.
pub(super) fn one_hot(ids: impl Iterator<Item = u32>, n: usize, device: &Device) -> Tensor<2> {
    let ids: Vec<u32> = ids.collect();
    matrix(ids.len(), n, device, |row, column| {
        f32::from(u8::from(ids[row] as usize == column))
    })
}

/// The rows of a matrix on the host.
pub(super) fn rows(x: Tensor<2>) -> Vec<Vec<f32>> {
    let [_, width] = x.dims();
    let values: Vec<f32> = x.into_data().iter::<f32>().collect();
    values.chunks(width.max(1)).map(<[f32]>::to_vec).collect()
}

/// A matrix from rows of the host, `[rows, width]`.
pub(super) fn tensor(rows: &[Vec<f32>], width: usize, device: &Device) -> Tensor<2> {
    matrix(rows.len(), width, device, |row, column| rows[row][column])
}

/// The mean red, green and blue of the cells of a raster over an image, from 0 to 1: all reds, then greens, then blues.
pub(super) fn mean_colours(image: &RgbImage, rows: usize, cols: usize) -> Vec<f32> {
    let span = |i: usize, n: usize, size: u32| {
        let at = |i: usize| (i * size as usize / n) as u32;
        at(i)..at(i + 1).max(at(i) + 1)
    };
    let mut colours = Vec::with_capacity(3 * rows * cols);
    for channel in 0..3 {
        for cell in 0..rows * cols {
            let (ys, xs) = (
                span(cell / cols, rows, image.height()),
                span(cell % cols, cols, image.width()),
            );
            let values = ys.flat_map(|y| xs.clone().map(move |x| (x, y)));
            let (sum, count) = values.fold((0u64, 0u64), |(sum, count), (x, y)| {
                (sum + u64::from(image.get_pixel(x, y).0[channel]), count + 1)
            });
            colours.push(sum as f32 / (255 * count.max(1)) as f32);
        }
    }
    colours
}
