//! Texts of options: budgets, methods, wordings.

use arbitrary::{Result, Unstructured};
use diffprune_baselines::registry;

/// Numbers as people and programs write them.
const NUMBERS: [&str; 20] = [
    "0",
    "1",
    "9",
    "16",
    "100",
    "576",
    "-1",
    "+3",
    "007",
    "1e3",
    "0x10",
    "1_000",
    "",
    " 7 ",
    "٣",
    "½",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "0.11",
];
/// Words that stand before a folder.
const PREFIXES: [&str; 5] = ["diffprune", "scorer", "inverted", "at-budget", "nothing"];
/// Wordings, benchmarks and variants.
const WORDS: [&str; 14] = [
    "llava",
    "lmms-eval",
    "papers",
    "pope",
    "gqa",
    "seed_bench",
    "scienceqa",
    "mmbench_cn",
    "diffprune",
    "no-noise",
    "mini",
    "untrained",
    "per-view",
    "all",
];

fn number(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=3)? {
        0 => u.arbitrary::<u64>()?.to_string(),
        1 => u.int_in_range(0..=700)?.to_string(),
        _ => (*u.choose(&NUMBERS)?).to_string(),
    })
}

/// A budget, or what looks like one.
pub fn budget(u: &mut Unstructured<'_>) -> Result<String> {
    let (first, second) = (number(u)?, number(u)?);
    let text = match u.int_in_range(0..=6)? {
        0 => "all".to_string(),
        1 => format!("{first}/{second}"),
        2 => format!("{first}%"),
        3 => format!("{first}.{second}%"),
        4 => format!("{first} / {second}"),
        5 => format!("{first}/{second}%"),
        _ => first,
    };
    Ok(match u.int_in_range(0..=5)? {
        0 => text.to_uppercase(),
        1 => format!(" {text}\t"),
        _ => text,
    })
}

/// The name of a method, or what looks like one.
pub fn method(u: &mut Unstructured<'_>) -> Result<String> {
    let known = u.choose(registry())?.name;
    Ok(match u.int_in_range(0..=6)? {
        0 => format!("{}:{}", u.choose(&PREFIXES)?, word(u)?),
        1 => format!("{known}{}", word(u)?),
        2 => format!("{known}-per-view"),
        3 => known.replace('-', "_"),
        4 => {
            let cut = u.choose_index(known.len().max(1))?;
            known.get(..cut).unwrap_or(known).to_string()
        }
        _ => known.to_string(),
    })
}

fn word(u: &mut Unstructured<'_>) -> Result<String> {
    match u.ratio(3, 4)? {
        true => Ok((*u.choose(&WORDS)?).to_string()),
        false => super::values::text(u),
    }
}

/// A wording for each benchmark, or what looks like it.
pub fn protocols(u: &mut Unstructured<'_>) -> Result<String> {
    let mut text = word(u)?;
    for _ in 0..u.int_in_range(0..=4)? {
        text += *u.choose(&[",", ", ", ",,", ";"])?;
        text += &word(u)?;
        text += *u.choose(&["=", "==", "", " = "])?;
        text += &word(u)?;
    }
    Ok(text)
}
