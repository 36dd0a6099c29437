//! The picture's parts: components, their samples, and what of them has been read.

use super::Problem;
use super::idct;

/// Most bytes of a decoded picture, as for files of other kinds.
const MAX_BYTES: u64 = 512 << 20;

/// The place, in rows of frequencies, of each coefficient in a file's order.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The frequencies behind the mean that libjpeg-turbo would guess where a progressive file leaves them open.
const GUESSED: usize = 9;

/// A picture of several components.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    /// `true` if coefficients come in several scans.
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
    /// Largest horizontal sampling factor.
    pub(super) h_max: usize,
    /// Largest vertical sampling factor.
    pub(super) v_max: usize,
}

/// One of a picture's components: luma, a colour difference, an ink.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Horizontal sampling factor.
    pub(super) h: usize,
    /// Vertical sampling factor.
    pub(super) v: usize,
    /// Number of its quantisation table.
    pub(super) table: usize,
    /// The table's steps as they were when its first scan began.
    pub(super) quant: Option<[u16; 64]>,
    /// Samples of a row.
    pub(super) width: usize,
    /// Rows of samples.
    pub(super) height: usize,
    /// Bytes of a row of samples, whole blocks of whole units.
    pub(super) stride: usize,
    /// The samples, rows of `stride`.
    pub(super) samples: Vec<u8>,
    /// The coefficients of a progressive picture, block by block in raster order.
    coefficients: Vec<[i16; 64]>,
    /// For each coefficient in the file's order the bits that are still to come; `None` before its first scan.
    missing: [Option<u8>; 64],
}

impl Frame {
    /// From the body of a frame header.
    pub(super) fn new(body: &[u8], progressive: bool) -> Result<Self, Problem> {
        let short = || Problem::damaged("a frame header that is too short");
        let [precision, h1, h0, w1, w0, n, rest @ ..] = body else {
            return Err(short());
        };
        if *precision != 8 {
            return Err(Problem::unsupported(format!("samples of {precision} bits")));
        }
        let height = usize::from(u16::from_be_bytes([*h1, *h0]));
        let width = usize::from(u16::from_be_bytes([*w1, *w0]));
        if width == 0 || height == 0 {
            return Err(Problem::damaged(format!("{width} by {height} pixels")));
        }
        if ![1, 3, 4].contains(n) {
            return Err(Problem::unsupported(format!("{n} components")));
        }
        if width as u64 * height as u64 * 3 > MAX_BYTES {
            let (width, height) = (width as u32, height as u32);
            return Err(Problem::TooLarge { width, height });
        }
        let rows = rest.get(..3 * usize::from(*n)).ok_or_else(short)?;
        let rows = rows.as_chunks::<3>().0;
        let factors = rows.iter().map(|[_, factors, _]| (factors >> 4, factors & 15));
        let (mut h_max, mut v_max) = (1, 1);
        for (h, v) in factors {
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
                return Err(Problem::damaged(format!("sampling factors {h} by {v}")));
            }
            (h_max, v_max) = (h_max.max(usize::from(h)), v_max.max(usize::from(v)));
        }
        let units = [width.div_ceil(8 * h_max), height.div_ceil(8 * v_max)];
        let component = |&[id, factors, table]: &[u8; 3]| {
            let (h, v) = (usize::from(factors >> 4), usize::from(factors & 15));
            if h_max % h != 0 || v_max % v != 0 {
                let found = format!("sampling factors {h} by {v} beside {h_max} by {v_max}");
                return Err(Problem::unsupported(found));
            }
            let (stride, rows) = (units[0] * h * 8, units[1] * v * 8);
            let blocks = if progressive { stride * rows / 64 } else { 0 };
            Ok(Component {
                id,
                h,
                v,
                table: usize::from(table),
                quant: None,
                width: (width * h).div_ceil(h_max),
                height: (height * v).div_ceil(v_max),
                stride,
                samples: vec![0; stride * rows],
                coefficients: vec![[0; 64]; blocks],
                missing: [None; 64],
            })
        };
        Ok(Self {
            width,
            height,
            progressive,
            components: rows.iter().map(component).collect::<Result<_, _>>()?,
            h_max,
            v_max,
        })
    }

    /// Refuses a picture some part of which was in no scan.
    pub(super) fn finished(&self) -> Result<(), Problem> {
        for component in &self.components {
            if component.missing[0].is_none() {
                return Err(Problem::truncated(format!(
                    "no scan of component {}",
                    component.id
                )));
            }
            if component.missing[..=GUESSED].iter().any(|bits| *bits != Some(0)) {
                return Err(Problem::truncated(
                    "the last scans of a progressive file are absent",
                ));
            }
        }
        Ok(())
    }

    /// Computes the samples of a progressive picture, whose coefficients are complete.
    pub(super) fn transform(&mut self) {
        for component in self.components.iter_mut().filter(|_| self.progressive) {
            let Some(quant) = component.quant else { continue };
            let columns = component.stride / 8;
            for (i, coefficients) in component.coefficients.iter().enumerate() {
                let start = (i / columns * component.stride + i % columns) * 8;
                idct::block(
                    coefficients,
                    &quant,
                    &mut component.samples[start..],
                    component.stride,
                );
            }
            component.coefficients = Vec::new();
        }
    }
}

impl Component {
    /// Blocks of a row and of a column in a scan of this component alone.
    pub(super) fn blocks(&self) -> [usize; 2] {
        [self.width.div_ceil(8), self.height.div_ceil(8)]
    }

    /// The coefficients of a block of a progressive picture.
    #[inline]
    pub(super) fn coefficients(&mut self, [column, row]: [usize; 2]) -> &mut [i16; 64] {
        let columns = self.stride / 8;
        &mut self.coefficients[row * columns + column]
    }

    /// Computes the samples of a block.
    #[inline]
    pub(super) fn set_block(
        &mut self,
        [column, row]: [usize; 2],
        coefficients: &[i16; 64],
        quant: &[u16; 64],
    ) {
        let start = (row * self.stride + column) * 8;
        idct::block(coefficients, quant, &mut self.samples[start..], self.stride);
    }

    /// Notes a scan of the coefficients `from..=to` down to bit `low`.
    pub(super) fn note(&mut self, from: usize, to: usize, low: u8) {
        self.missing[from..=to].fill(Some(low));
    }
}
