//! The coefficients of a scan.

use super::Problem;
use super::bits::Bits;
use super::frame::{Frame, ZIGZAG};
use super::huffman::Huffman;

/// The content of a scan header.
#[derive(Debug)]
pub(super) struct Scan<'t> {
    /// Numbers of its components in the frame, with their tables for means and for frequencies.
    pub(super) parts: Vec<Part<'t>>,
    /// First coefficient, in the file's order.
    pub(super) from: usize,
    /// Last coefficient.
    pub(super) to: usize,
    /// `true` if earlier scans had the higher bits.
    pub(super) refines: bool,
    /// The lowest bit that it brings.
    pub(super) low: u8,
    /// Units between two restart markers; 0 without.
    pub(super) restart: usize,
}

/// A component of a scan.
#[derive(Debug)]
pub(super) struct Part<'t> {
    pub(super) component: usize,
    pub(super) dc: Option<&'t Huffman>,
    pub(super) ac: Option<&'t Huffman>,
}

/// The state that is kept from block to block, up to the next restart marker.
#[derive(Debug, Default)]
struct Memory {
    /// The last mean of each component.
    means: [i32; 4],
    /// Further blocks that end here.
    ends: u32,
}

impl Scan<'_> {
    /// Reads the scan whose data begin at byte `at`; the place of the marker behind it, or before that.
    pub(super) fn read(&self, frame: &mut Frame, bytes: &[u8], at: usize) -> Result<usize, Problem> {
        let mut bits = Bits::new(bytes, at);
        let mut memory = Memory::default();
        let units = match self.parts.as_slice() {
            [part] => frame.components[part.component].blocks(),
            _ => [
                frame.width.div_ceil(8 * frame.h_max),
                frame.height.div_ceil(8 * frame.v_max),
            ],
        };
        let (mut left, mut mark) = (self.restart, 0xd0);
        for row in 0..units[1] {
            for column in 0..units[0] {
                if self.restart > 0 && left == 0 {
                    bits = Bits::new(bytes, restart(bytes, bits.place(), mark)?);
                    memory = Memory::default();
                    mark = 0xd0 | (mark + 1) & 7;
                    left = self.restart;
                }
                left = left.saturating_sub(1);
                self.unit(frame, [column, row], &mut bits, &mut memory)?;
            }
        }
        for part in &self.parts {
            frame.components[part.component].note(self.from, self.to, self.low);
        }
        Ok(bits.place())
    }

    /// The blocks of one unit: one block, or those of all components that belong together.
    fn unit(
        &self,
        frame: &mut Frame,
        [column, row]: [usize; 2],
        bits: &mut Bits<'_>,
        memory: &mut Memory,
    ) -> Result<(), Problem> {
        if let [part] = self.parts.as_slice() {
            return self.block(frame, part, 0, [column, row], bits, memory);
        }
        for (i, part) in self.parts.iter().enumerate() {
            let component = &frame.components[part.component];
            let (h, v) = (component.h, component.v);
            for y in 0..v {
                for x in 0..h {
                    self.block(frame, part, i, [column * h + x, row * v + y], bits, memory)?;
                }
            }
        }
        Ok(())
    }

    fn block(
        &self,
        frame: &mut Frame,
        part: &Part<'_>,
        i: usize,
        place: [usize; 2],
        bits: &mut Bits<'_>,
        memory: &mut Memory,
    ) -> Result<(), Problem> {
        let component = &mut frame.components[part.component];
        if !frame.progressive {
            let Some(quant) = component.quant else {
                return Err(Problem::damaged("no quantisation table"));
            };
            let mut block = [0; 64];
            mean(part, &mut block, 0, bits, &mut memory.means[i])?;
            frequencies(part, &mut block, 1..=63, 0, bits, None)?;
            component.set_block(place, &block, &quant);
            return Ok(());
        }
        let block = component.coefficients(place);
        match (self.from, self.refines) {
            (0, false) => mean(part, block, self.low, bits, &mut memory.means[i]),
            (0, true) => {
                if bits.flag()? {
                    block[0] |= 1 << self.low;
                }
                Ok(())
            }
            (from, false) => frequencies(
                part,
                block,
                from..=self.to,
                self.low,
                bits,
                Some(&mut memory.ends),
            ),
            (from, true) => refine(part, block, from..=self.to, self.low, bits, &mut memory.ends),
        }
    }
}

/// The first bits of a block's mean, as its difference to the last one.
fn mean(
    part: &Part<'_>,
    block: &mut [i16; 64],
    low: u8,
    bits: &mut Bits<'_>,
    last: &mut i32,
) -> Result<(), Problem> {
    let size = table(part.dc)?.next(bits)?;
    *last = last.wrapping_add(bits.signed(u32::from(size))?);
    block[0] = (*last << low) as i16;
    Ok(())
}

/// The first bits of a block's frequencies. `ends` counts further blocks without any, which only progressive pictures have.
fn frequencies(
    part: &Part<'_>,
    block: &mut [i16; 64],
    band: std::ops::RangeInclusive<usize>,
    low: u8,
    bits: &mut Bits<'_>,
    mut ends: Option<&mut u32>,
) -> Result<(), Problem> {
    if let Some(ends) = ends.as_deref_mut()
        && *ends > 0
    {
        *ends -= 1;
        return Ok(());
    }
    let table = table(part.ac)?;
    let (mut k, last) = band.into_inner();
    while k <= last {
        let symbol = table.next(bits)?;
        let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size > 0 {
            k += zeros;
            if k > last {
                return Err(beyond(bits));
            }
            block[usize::from(ZIGZAG[k])] = (bits.signed(size)? << low) as i16;
            k += 1;
        } else if zeros == 15 {
            k += 16;
        } else {
            if let Some(ends) = ends {
                *ends = (1 << zeros) - 1 + bits.take(zeros as u32)?;
            }
            break;
        }
    }
    Ok(())
}

/// One more bit of a block's frequencies, and those that begin with it.
fn refine(
    part: &Part<'_>,
    block: &mut [i16; 64],
    band: std::ops::RangeInclusive<usize>,
    low: u8,
    bits: &mut Bits<'_>,
    ends: &mut u32,
) -> Result<(), Problem> {
    let step = 1i16 << low;
    let (mut k, last) = band.into_inner();
    if *ends == 0 {
        let table = table(part.ac)?;
        while k <= last {
            let symbol = table.next(bits)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            let fresh = match size {
                0 => None,
                1 if bits.flag()? => Some(step),
                1 => Some(-step),
                _ => return Err(Problem::damaged("a refinement of more than one bit")),
            };
            if fresh.is_none() && zeros < 15 {
                *ends = (1 << zeros) + bits.take(u32::from(zeros))?;
                break;
            }
            while k <= last {
                let coefficient = &mut block[usize::from(ZIGZAG[k])];
                if *coefficient != 0 {
                    add_bit(coefficient, step, bits)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
            if let Some(fresh) = fresh {
                if k > last {
                    return Err(beyond(bits));
                }
                block[usize::from(ZIGZAG[k])] = fresh;
            }
            k += 1;
        }
    }
    if *ends > 0 {
        for k in k..=last {
            let coefficient = &mut block[usize::from(ZIGZAG[k])];
            if *coefficient != 0 {
                add_bit(coefficient, step, bits)?;
            }
        }
        *ends -= 1;
    }
    Ok(())
}

/// The next bit of a coefficient that is not zero.
fn add_bit(coefficient: &mut i16, step: i16, bits: &mut Bits<'_>) -> Result<(), Problem> {
    if bits.flag()? && *coefficient & step == 0 {
        let away = if *coefficient >= 0 { step } else { -step };
        *coefficient = coefficient.wrapping_add(away);
    }
    Ok(())
}

fn table(table: Option<&Huffman>) -> Result<&Huffman, Problem> {
    table.ok_or_else(|| Problem::damaged("a scan without its Huffman table"))
}

fn beyond(bits: &Bits<'_>) -> Problem {
    Problem::damaged(format!(
        "a coefficient outside its block, before byte {}",
        bits.place()
    ))
}

/// The place behind restart marker `mark`, which must be the first marker from byte `at` on.
fn restart(bytes: &[u8], at: usize, mark: u8) -> Result<usize, Problem> {
    let (found, behind) = next_marker(bytes, at)?;
    if found == mark {
        Ok(behind)
    } else {
        let text = format!(
            "marker {found:02x} at byte {}, where {mark:02x} is due",
            behind - 2
        );
        Err(Problem::damaged(text))
    }
}

/// The first marker from byte `at` on, and the place behind it.
pub(super) fn next_marker(bytes: &[u8], at: usize) -> Result<(u8, usize), Problem> {
    let mut rest = bytes.get(at..).unwrap_or(&[]);
    while let Some(start) = rest.iter().position(|&byte| byte == 0xff) {
        rest = &rest[start..];
        let Some(code) = rest.iter().position(|&byte| byte != 0xff) else {
            break;
        };
        let found = rest[code];
        rest = &rest[code + 1..];
        if found != 0 {
            return Ok((found, bytes.len() - rest.len()));
        }
    }
    Err(Problem::truncated(format!(
        "no end mark in its {} bytes",
        bytes.len()
    )))
}
