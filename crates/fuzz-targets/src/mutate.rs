//! Inputs made of others, the same for the same seed.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// No input is longer.
const LONGEST: usize = 1 << 16;
/// Words that formats know, and numbers at the edges.
const WORDS: [&[u8]; 30] = [
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"18446744073709551615",
    b"9223372036854775808",
    b"\"\"",
    b"[]",
    b"{}",
    b"[[[[[[[[",
    b"{\"a\":",
    b"\\u0000",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\r\n",
    b"\t",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"<image>",
    b"{% for x in range(999999999) %}",
    b"{{ x * 99999 }}",
    b"{% endfor %}",
    b"../../x",
    b"\xff\xd8\xff",
    b"IHDR",
    b"PAR1",
    b"Content-Length: 99999999999\r\n",
];

/// Draws inputs.
pub struct Mutator(ChaCha8Rng);

impl Mutator {
    /// A mutator that draws the same inputs for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// An input of the pool with some changes; the pool is not empty.
    pub fn next(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut input = pool[self.0.random_range(0..pool.len())].clone();
        for _ in 0..1 + self.0.random_range(0..4_u32) * self.0.random_range(0..4_u32) {
            self.change(&mut input, pool);
        }
        input.truncate(LONGEST);
        input
    }

    /// The choices of a generator: as often new ones as those of the pool with some changes.
    pub fn choices(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        if self.0.random() {
            return self.next(pool);
        }
        let mut choices = vec![0; 1 << self.0.random_range(3..12)];
        self.0.fill_bytes(&mut choices);
        choices
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let place = self.0.random_range(0..=input.len());
        let end = (place + self.0.random_range(1..=32)).min(input.len());
        match self.0.random_range(0..9) {
            0 if place < input.len() => input[place] ^= 1 << self.0.random_range(0..8),
            1 if place < input.len() => input[place] = self.0.random(),
            // A number in the file: a length, a count, a size.
            2 if place < input.len() => {
                let width = [1, 2, 4, 8][self.0.random_range(0..4)].min(input.len() - place);
                let number = self.number().to_le_bytes();
                let mut number: Vec<u8> = number[..width].to_vec();
                if self.0.random() {
                    number.reverse();
                }
                input[place..place + width].copy_from_slice(&number);
            }
            3 => drop(input.drain(place..end)),
            4 => {
                let copy = input[place..end].to_vec();
                let to = self.0.random_range(0..=input.len());
                input.splice(to..to, copy);
            }
            5 => {
                let word = WORDS[self.0.random_range(0..WORDS.len())];
                let over = if self.0.random() { place } else { end };
                input.splice(place..over, word.iter().copied());
            }
            6 => input.truncate(place),
            7 => {
                let other = &pool[self.0.random_range(0..pool.len())];
                let from = self.0.random_range(0..=other.len());
                input.truncate(place);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let digits: Vec<usize> = (0..input.len()).filter(|&i| input[i].is_ascii_digit()).collect();
                if let Some(&digit) = digits.get(self.0.random_range(0..digits.len().max(1))) {
                    let number = self.number() as i64;
                    input.splice(digit..=digit, number.to_string().into_bytes());
                }
            }
        }
    }

    /// Numbers at the edges more often than others.
    fn number(&mut self) -> u64 {
        let bits = self.0.random_range(0..64);
        let near = self.0.random_range(0..3_u64);
        match self.0.random_range(0..4) {
            0 => near,
            1 => (1_u64 << bits).wrapping_sub(near),
            2 => u64::MAX - near,
            _ => self.0.next_u64() >> bits,
        }
    }
}
