//! Names that a misspelt one may have meant.

/// Least likeness (Jaro and Winkler's) of a suggestion.
const ALIKE: f64 = 0.82;

/// The name most like `text`, if one is like it.
pub fn nearest<'n>(text: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', '.', ' '], "");
    let wanted = plain(text);
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted, &plain(name)), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// `wanted` behind the suggestion for `text`, if there is one.
pub(crate) fn with_nearest<'n>(text: &str, names: impl IntoIterator<Item = &'n str>, wanted: &str) -> String {
    match nearest(text, names) {
        Some(name) => format!("`{name}` (the most alike), or one of these: {wanted}"),
        None => wanted.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_alike_is_suggested() {
        let names = ["visionzip", "fastv", "fastv-kept", "random", "mini-llava-1.5"];
        for (text, wanted) in [
            ("vision-zip", Some("visionzip")),
            ("FastV", Some("fastv")),
            ("ramdom", Some("random")),
            ("mini-llava-15", Some("mini-llava-1.5")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, names), wanted, "{text}");
        }
    }
}
