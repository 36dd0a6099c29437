//! The claims as data: what the papers say, what is measured, which tiers can judge it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::estimand::Estimand;
use crate::EvalError;

/// Name of the data, for errors.
const FILE: &str = "data/claims.toml";
const TEXT: &str = include_str!("../../data/claims.toml");

/// The evidence that a verdict rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The papers' printed cells, nothing run.
    Published,
    /// Small trained models and generated data.
    Mini,
    /// The published shape with random weights: arithmetic and times.
    Shape,
    /// Published weights and data.
    Full,
}

impl Tier {
    /// Every tier.
    pub const ALL: [Self; 4] = [Self::Published, Self::Mini, Self::Shape, Self::Full];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Mini => "mini",
            Self::Shape => "shape",
            Self::Full => "full",
        }
    }

    /// The tier of a report, by the name in its [`Meta`](crate::Meta); `None` for another text.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperClaim {
    /// Stable id.
    pub id: String,
    /// Who says it: `diffprune`, `autoselect`, `id-selection`, or `ours` where no paper tests it.
    pub papers: Vec<String>,
    /// The place in the paper.
    pub place: String,
    /// The statement, in one sentence of our own.
    pub says: String,
    /// The quantity that is measured.
    pub measure: String,
    /// The unit of the number.
    pub unit: String,
    /// The number that decides.
    pub estimand: Estimand,
    /// Tiers that cannot judge the claim, and why.
    #[serde(default)]
    pub untestable: BTreeMap<Tier, String>,
}

/// Which arms stand for a row of the tables.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowArms {
    /// The row's name.
    pub name: String,
    /// Other names of the row.
    #[serde(default)]
    pub also: Vec<String>,
    /// Arms of which the first that ran stands for the row; empty for a quoted row.
    pub arms: Vec<String>,
    /// The same on Qwen2.5-VL, where they differ.
    #[serde(default)]
    pub qwen: Vec<String>,
    /// A note beside a verdict.
    #[serde(default)]
    pub note: Option<String>,
    /// Numbers of the tables that have the row.
    pub tables: Vec<usize>,
}

impl RowArms {
    /// `true` if a table has the row.
    pub fn stands_in(&self, table: usize) -> bool {
        self.tables.contains(&table)
    }

    /// `true` if the row has this name.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.also.iter().any(|other| other == name)
    }
}

/// Which arms play a part in claims.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// The part's name.
    pub name: String,
    /// Arms, all of which count.
    pub arms: Vec<String>,
    /// Arms that are taken where none of those ran.
    #[serde(default)]
    pub instead: Vec<String>,
    /// A caveat where they were.
    #[serde(default)]
    pub caveat: Option<String>,
}

/// Every claim, and the arms that they are about.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The claims, in the order of the ledger.
    #[serde(rename = "claim")]
    pub claims: Vec<PaperClaim>,
    /// Rows of the tables.
    #[serde(rename = "row")]
    pub rows: Vec<RowArms>,
    /// Parts in claims.
    #[serde(rename = "role")]
    pub roles: Vec<Role>,
}

impl Claims {
    /// The claims of the three papers and our own.
    ///
    /// # Errors
    /// When the data of this crate are damaged.
    pub fn builtin() -> Result<Self, EvalError> {
        Self::parse(TEXT)
    }

    /// Claims from TOML.
    ///
    /// # Errors
    /// [`EvalError::Line`] where the text is not what [`Claims`] holds.
    pub fn parse(text: &str) -> Result<Self, EvalError> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..before]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            EvalError::line(Path::new(FILE), line, error.message(), "claims, rows and roles")
        })
    }

    /// The row of that name.
    pub fn row(&self, name: &str) -> Option<&RowArms> {
        self.rows.iter().find(|row| row.is_named(name))
    }

    /// The part of that name.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const IDS: &str = include_str!("../../data/claim-ids.txt");

    /// Ids in the first column of the tables of `claims.md`.
    fn published_ids(text: &str) -> BTreeSet<String> {
        let cells = text
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
        let is_id = |cell: &&str| {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
            cell.contains('.') && cell.chars().all(allowed)
        };
        cells.filter(is_id).map(String::from).collect()
    }

    #[test]
    fn no_claim_is_left_out() {
        let claims = Claims::builtin().unwrap();
        let ids: Vec<&str> = claims.claims.iter().map(|claim| claim.id.as_str()).collect();
        let listed: BTreeSet<&str> = IDS.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(ids.iter().copied().collect::<BTreeSet<_>>(), listed);
        assert_eq!(ids.len(), listed.len(), "an id stands twice");
        assert!(!listed.is_empty());
        if let Some(folder) = std::env::var_os("DIFFPRUNE_PUBLISHED") {
            let path = Path::new(&folder).join("claims.md");
            let published = published_ids(&std::fs::read_to_string(&path).unwrap());
            assert!(!published.is_empty(), "{}", path.display());
            assert_eq!(
                published,
                listed.into_iter().map(String::from).collect(),
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn every_claim_says_who_can_judge_it() {
        let claims = Claims::builtin().unwrap();
        for claim in &claims.claims {
            for text in [&claim.says, &claim.measure, &claim.unit, &claim.place] {
                assert!(!text.is_empty(), "{}", claim.id);
            }
            assert!(
                claim.untestable.len() < Tier::ALL.len(),
                "{}: no tier can judge it",
                claim.id
            );
            assert!(
                claim.untestable.values().all(|reason| !reason.is_empty()),
                "{}",
                claim.id
            );
        }
    }

    #[test]
    fn parts_and_rows_exist() {
        let claims = Claims::builtin().unwrap();
        let role = |name: &String| assert!(claims.role(name).is_some(), "role {name}");
        let row = |name: &String| assert!(claims.row(name).is_some(), "row {name}");
        for claim in &claims.claims {
            match &claim.estimand {
                Estimand::LeadOver { subject, roles, .. } => roles.iter().chain([subject]).for_each(role),
                Estimand::LeadGrows { rival, .. } => role(rival),
                Estimand::LargestLoss { variant, others, .. } => {
                    others.iter().chain([variant]).for_each(role)
                }
                Estimand::EqualTo {
                    subject, role: other, ..
                } => [subject, other].into_iter().for_each(role),
                Estimand::EqualToRow { row: name, .. } | Estimand::LeadOverRowGrows { row: name, .. } => {
                    row(name)
                }
                _ => {}
            }
        }
    }

    #[test]
    fn rows_stand_in_the_tables_that_print_them() {
        let claims = Claims::builtin().unwrap();
        let published = super::super::Published::builtin().unwrap();
        let mut printed: BTreeSet<(usize, &str)> = BTreeSet::new();
        for cell in published
            .cells
            .iter()
            .filter(|cell| cell.table < 5 && !cell.is_ours() && !cell.is_unpruned())
        {
            let row = claims
                .row(&cell.method)
                .unwrap_or_else(|| panic!("no row {}", cell.method));
            printed.insert((cell.table, &row.name));
        }
        let named = claims
            .rows
            .iter()
            .flat_map(|row| row.tables.iter().map(|&table| (table, row.name.as_str())));
        assert_eq!(named.collect::<BTreeSet<_>>(), printed);
    }

    #[test]
    fn damage_is_named_with_its_line() {
        let error = Claims::parse("row = []\nrole = []\n[[claim]]\nid = 3\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("claims.toml:4:"), "{error}");
    }

    #[test]
    fn tiers_are_read_back() {
        for tier in Tier::ALL {
            assert_eq!(Tier::of(tier.name()), Some(tier));
        }
        assert_eq!(Tier::of("else"), None);
    }
}
