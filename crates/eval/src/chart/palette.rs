//! Colours, the same for a method everywhere.

use std::collections::BTreeMap;

use plotters::style::RGBColor;

/// A colour: red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    /// Text and axes.
    pub const INK: Self = Self(34, 34, 34);
    /// Text that explains.
    pub const FAINT: Self = Self(95, 95, 95);
    /// Methods without a colour of their own.
    pub const GREY: Self = Self(190, 190, 190);
    /// Lines of the grid.
    pub const RULE: Self = Self(232, 232, 232);
    /// A claim that holds.
    pub const HOLDS: Self = BLUE;
    /// A claim that fails.
    pub const FAILS: Self = VERMILLION;
    /// A claim of which the interval tells nothing.
    pub const TIE: Self = Self(120, 120, 120);
}

impl From<Colour> for RGBColor {
    fn from(Colour(red, green, blue): Colour) -> Self {
        Self(red, green, blue)
    }
}

// The palette of Okabe and Ito, which people with any colour vision can tell apart, with wine in place of its yellow: yellow
// lines cannot be seen on white.
const BLACK: Colour = Colour(0, 0, 0);
const VERMILLION: Colour = Colour(213, 94, 0);
const BLUE: Colour = Colour(0, 114, 178);
const GREEN: Colour = Colour(0, 158, 115);
const PURPLE: Colour = Colour(204, 121, 167);
const SKY: Colour = Colour(86, 180, 233);
const ORANGE: Colour = Colour(230, 159, 0);
const WINE: Colour = Colour(136, 34, 85);

/// Every colour, in the order in which methods without a colour of their own get what is left.
const ALL: [Colour; 8] = [BLACK, VERMILLION, BLUE, GREEN, PURPLE, SKY, ORANGE, WINE];

/// Methods with a colour of their own, the most important first. Where two of one colour meet, the first has it.
const OWN: [(&str, Colour); 21] = [
    ("full", BLACK),
    ("diffprune", VERMILLION),
    ("cls-attention", BLUE),
    ("cls", BLUE),
    ("gumbel-noise", PURPLE),
    ("random", WINE),
    ("holov", GREEN),
    ("holov-qwen", GREEN),
    ("visionzip", SKY),
    ("visionzip-qwen", SKY),
    ("prunesid", ORANGE),
    ("prunesid-qwen", ORANGE),
    ("gumbel-gathered", GREEN),
    ("gumbel-ste", BLUE),
    ("diffprune-scale", ORANGE),
    ("fastv-kept", SKY),
    ("fastv", SKY),
    ("untrained", ORANGE),
    ("hard top-k", BLUE),
    ("VP-noise", VERMILLION),
    ("scale gate", ORANGE),
];

/// The colours of the methods of a drawing, or of all drawings of a report: at most eight methods have one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Palette(BTreeMap<String, Colour>);

impl Palette {
    /// Colours for these methods: those that have one of their own first, then the others in their order, as long as colours
    /// are left.
    pub fn of<'a>(methods: impl IntoIterator<Item = &'a str>) -> Self {
        let methods: Vec<&str> = methods.into_iter().collect();
        let mut given: BTreeMap<String, Colour> = BTreeMap::new();
        let known = OWN.iter().filter(|(name, _)| methods.contains(name));
        for (name, colour) in known {
            if !given.values().any(|taken| taken == colour) {
                given.insert(name.to_string(), *colour);
            }
        }
        let mut left = ALL
            .into_iter()
            .filter(|colour| !given.values().any(|taken| taken == colour));
        let mut more = Vec::new();
        for method in &methods {
            if !given.contains_key(*method) && more.iter().all(|(name, _)| name != method) {
                let Some(colour) = left.next() else { break };
                more.push((method.to_string(), colour));
            }
        }
        given.extend(more);
        Self(given)
    }

    /// The colour of a method; `None` for one that is drawn in grey.
    pub fn colour(&self, method: &str) -> Option<Colour> {
        self.0.get(method).copied()
    }

    /// Colours for series that are no methods, in their order.
    pub fn series(number: usize) -> Colour {
        [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, WINE, BLACK][number % ALL.len()]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_method_has_one_colour_whoever_is_beside_it() {
        let few = Palette::of(["diffprune", "random"]);
        let many: Vec<String> = (0..60).map(|i| format!("other-{i}")).collect();
        let many = Palette::of(
            many.iter()
                .map(String::as_str)
                .chain(["random", "diffprune", "full"]),
        );
        for method in ["diffprune", "random"] {
            assert_eq!(few.colour(method), many.colour(method));
        }
        assert_eq!(few.colour("full"), None);
    }

    #[test]
    fn at_most_eight_have_one_and_no_two_the_same() {
        let names: Vec<&str> = OWN.iter().map(|(name, _)| *name).collect();
        let palette = Palette::of(names.iter().copied());
        let colours: BTreeSet<Colour> = names.iter().filter_map(|name| palette.colour(name)).collect();
        let count = names.iter().filter(|name| palette.colour(name).is_some()).count();
        assert_eq!((count, colours.len()), (8, 8));
        let small = Palette::of(["a", "b", "a"]);
        assert!(small.colour("a").is_some() && small.colour("a") != small.colour("b"));
    }
}
