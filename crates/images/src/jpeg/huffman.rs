//! Huffman codes.

use super::Problem;
use super::bits::Bits;

/// Length of the codes that one look at a table resolves.
const LOOK: u32 = 9;

/// A table of codes, of at most 16 bits each.
#[derive(Debug, Clone)]
pub(super) struct Huffman {
    /// For the next [`LOOK`] bits: length of the code and its symbol; length 0 where the code is longer.
    short: Vec<(u8, u8)>,
    /// The last code of each length, -1 without any.
    last: [i32; 17],
    /// The shift that turns a code of each length into the number of its symbol.
    shift: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// The table with `counts[i]` codes of `i + 1` bits for `symbols`, in order.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, Problem> {
        let mut table = Self {
            short: vec![(0, 0); 1 << LOOK],
            last: [-1; 17],
            shift: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut next) = (0u32, 0usize);
        for length in 1..=16u32 {
            let n = usize::from(counts[length as usize - 1]);
            table.shift[length as usize] = next as i32 - code as i32;
            for _ in 0..n {
                let (true, Some(&symbol)) = (code < 1 << length, symbols.get(next)) else {
                    return Err(Problem::damaged("a Huffman table that no codes fit"));
                };
                if length <= LOOK {
                    let first = (code << (LOOK - length)) as usize;
                    table.short[first..first + (1 << (LOOK - length))].fill((length as u8, symbol));
                }
                code += 1;
                next += 1;
            }
            if n > 0 {
                table.last[length as usize] = code as i32 - 1;
            }
            code <<= 1;
        }
        Ok(table)
    }

    /// The largest symbol.
    pub(super) fn largest(&self) -> u8 {
        self.symbols.iter().copied().max().unwrap_or(0)
    }

    /// The symbol that comes next.
    #[inline]
    pub(super) fn next(&self, bits: &mut Bits<'_>) -> Result<u8, Problem> {
        bits.fill();
        let (length, symbol) = self.short[bits.peek(LOOK) as usize];
        if length > 0 {
            bits.skip(u32::from(length))?;
            return Ok(symbol);
        }
        for length in LOOK + 1..=16 {
            let code = bits.peek(length) as i32;
            if code <= self.last[length as usize] {
                bits.skip(length)?;
                let number = code + self.shift[length as usize];
                return Ok(self.symbols[number as usize]);
            }
        }
        // Past the end there are zeros, which are a code; so this one is in the file.
        bits.skip(16)?;
        Err(Problem::damaged(format!(
            "a code that its table does not have, before byte {}",
            bits.place()
        )))
    }
}
