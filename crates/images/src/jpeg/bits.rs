//! The bits between two markers.

use super::Problem;

/// Bits of one restart interval of a scan. Beyond its end there are zeros to look at, but none to take.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    buffer: u64,
    count: u32,
    ended: bool,
}

impl<'a> Bits<'a> {
    /// The bits from byte `at` to the next marker.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            buffer: 0,
            count: 0,
            ended: false,
        }
    }

    /// A place at or before the marker that follows, behind every byte that was taken.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// Brings at least 16 bits in, as far as there are any.
    #[inline]
    pub(super) fn fill(&mut self) {
        if self.count < 16 && !self.ended {
            self.refill();
        }
    }

    fn refill(&mut self) {
        while self.count <= 48 {
            let Some(&byte) = self.bytes.get(self.at) else {
                self.ended = true;
                return;
            };
            let mut next = self.at + 1;
            if byte == 0xff {
                // A zero behind it makes it data; further bytes of the same kind are padding.
                while self.bytes.get(next) == Some(&0xff) {
                    next += 1;
                }
                if self.bytes.get(next) != Some(&0) {
                    self.ended = true;
                    return;
                }
                next += 1;
            }
            self.at = next;
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// The next `n` bits, at most 16, as a number; they stay.
    #[inline]
    pub(super) fn peek(&self, n: u32) -> u32 {
        let mask = (1u64 << n) - 1;
        let value = match self.count.checked_sub(n) {
            Some(rest) => self.buffer >> rest,
            None => self.buffer << (n - self.count),
        };
        (value & mask) as u32
    }

    /// Drops `n` bits.
    #[inline]
    pub(super) fn skip(&mut self, n: u32) -> Result<(), Problem> {
        self.count = self.count.checked_sub(n).ok_or_else(|| self.short())?;
        Ok(())
    }

    /// The next `n` bits, at most 16, as a number.
    #[inline]
    pub(super) fn take(&mut self, n: u32) -> Result<u32, Problem> {
        self.fill();
        let value = self.peek(n);
        self.skip(n)?;
        Ok(value)
    }

    /// One bit.
    #[inline]
    pub(super) fn flag(&mut self) -> Result<bool, Problem> {
        Ok(self.take(1)? == 1)
    }

    /// A signed number of `size` bits, at most 15, as differences and coefficients are written.
    #[inline]
    pub(super) fn signed(&mut self, size: u32) -> Result<i32, Problem> {
        if size == 0 {
            return Ok(0);
        }
        let value = self.take(size)? as i32;
        let below = value < 1 << (size - 1);
        Ok(if below { value - (1 << size) + 1 } else { value })
    }

    fn short(&self) -> Problem {
        if self.at >= self.bytes.len() {
            Problem::truncated(format!("its {} bytes end inside a scan", self.bytes.len()))
        } else {
            Problem::damaged(format!("a scan ends too early, at byte {}", self.at))
        }
    }
}
