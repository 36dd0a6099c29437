//! Block letters of 6 x 7 dots.

/// Width of a letter in dots.
pub(super) const WIDTH: usize = 6;
/// Height of a letter in dots.
pub(super) const HEIGHT: usize = 7;

/// Rows of a letter, top to bottom; the highest of the six low bits is the leftmost dot. Blank for unknown letters.
pub(super) fn glyph(letter: char) -> [u8; HEIGHT] {
    let rows = match letter {
        'H' => [
            "##..##", "##..##", "##..##", "######", "##..##", "##..##", "##..##",
        ],
        'J' => [
            "...###", "....##", "....##", "....##", "....##", "##..##", ".####.",
        ],
        'K' => [
            "##..##", "##.##.", "####..", "###...", "####..", "##.##.", "##..##",
        ],
        'L' => [
            "##....", "##....", "##....", "##....", "##....", "######", "######",
        ],
        'O' => [
            ".####.", "##..##", "#....#", "#....#", "#....#", "##..##", ".####.",
        ],
        'P' => [
            "#####.", "##..##", "##..##", "#####.", "##....", "##....", "##....",
        ],
        'S' => [
            ".#####", "##....", "##....", ".####.", "....##", "....##", "#####.",
        ],
        'T' => [
            "######", "######", "..##..", "..##..", "..##..", "..##..", "..##..",
        ],
        'U' => [
            "##..##", "##..##", "##..##", "##..##", "##..##", "######", ".####.",
        ],
        'V' => [
            "#....#", "#....#", "##..##", "##..##", ".####.", ".####.", "..##..",
        ],
        'X' => [
            "##..##", "##..##", ".####.", "..##..", ".####.", "##..##", "##..##",
        ],
        'Z' => [
            "######", "...##.", "...##.", "..##..", ".##...", ".##...", "######",
        ],
        _ => ["......"; HEIGHT],
    };
    rows.map(|row| row.bytes().fold(0, |bits, dot| bits << 1 | u8::from(dot == b'#')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::LETTERS;

    #[test]
    fn every_letter_differs_from_every_other_in_many_dots() {
        for (i, a) in LETTERS.iter().enumerate() {
            for b in &LETTERS[i + 1..] {
                let differing: u32 = glyph(*a)
                    .iter()
                    .zip(glyph(*b))
                    .map(|(x, y)| (x ^ y).count_ones())
                    .sum();
                assert!(differing >= 8, "{a} and {b} differ in {differing} dots only");
            }
        }
    }
}
