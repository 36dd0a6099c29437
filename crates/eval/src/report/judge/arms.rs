//! The arms of a run and the parts that they play in claims.

use std::collections::{BTreeMap, BTreeSet};

use diffprune_pruner::Budget;

use crate::evidence::{Claims, RowArms};
use crate::report::answered::Answered;
use crate::report::options::ReportOptions;

/// Which arms ran at which budgets.
pub(crate) struct Arms<'a> {
    /// Seeds of each arm at each budget.
    seeds: BTreeMap<(&'a str, &'a str), BTreeSet<u64>>,
    /// Numbers of tokens of the pictures at each budget.
    totals: BTreeMap<&'a str, BTreeSet<usize>>,
    /// The table of the papers that the run shows.
    pub(crate) table: Option<usize>,
    /// The benchmarks that this table prints.
    pub(crate) columns: Vec<String>,
    claims: &'a Claims,
    options: &'a ReportOptions,
}

/// Arms that play a part at a budget, with what to know of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Cast {
    pub(crate) arms: Vec<String>,
    pub(crate) caveat: Option<String>,
}

impl<'a> Arms<'a> {
    pub(crate) fn new(
        answered: &Answered<'a>,
        (table, columns): (Option<usize>, Vec<String>),
        claims: &'a Claims,
        options: &'a ReportOptions,
    ) -> Self {
        let mut seeds: BTreeMap<(&str, &str), BTreeSet<u64>> = BTreeMap::new();
        let mut totals: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for &record in &answered.records {
            seeds
                .entry((&record.arm, &record.budget))
                .or_default()
                .insert(record.seed);
            totals.entry(&record.budget).or_default().insert(record.total);
        }
        Self {
            seeds,
            totals,
            table,
            columns,
            claims,
            options,
        }
    }

    /// The name that the run has for a share of the tokens: itself, or the count that it is on every picture.
    pub(crate) fn budget(&self, share: &str) -> Option<&'a str> {
        if let Some((&same, _)) = self.totals.get_key_value(share) {
            return Some(same);
        }
        let share: Budget = share.parse().ok()?;
        let is_share = |(name, totals): (&&'a str, &BTreeSet<usize>)| {
            let count: Budget = name.parse().ok()?;
            let same = |&total: &usize| match (share.resolve(total), count) {
                (Ok(kept), Budget::Tokens(count)) => kept == count,
                _ => false,
            };
            totals.iter().all(same).then_some(*name)
        };
        self.totals.iter().find_map(is_share)
    }

    /// `true` if an arm ran at a budget of the run.
    pub(crate) fn ran(&self, arm: &str, budget: &str) -> bool {
        self.seeds.contains_key(&(arm, budget))
    }

    /// The number of seeds of an arm at a budget.
    pub(crate) fn n_seeds(&self, arm: &str, budget: &str) -> usize {
        self.seeds.get(&(arm, budget)).map_or(0, BTreeSet::len)
    }

    /// The budgets at which an arm ran.
    pub(crate) fn budgets_of(&self, arm: &str) -> Vec<String> {
        let own = self.seeds.keys().filter(|(name, _)| *name == arm);
        own.map(|(_, budget)| budget.to_string()).collect()
    }

    /// The method that claims are about.
    pub(crate) fn method(&self) -> &str {
        &self.options.method
    }

    /// The unpruned arm; `None` when it did not run.
    pub(crate) fn full(&self) -> Option<&str> {
        let full = self.options.full.as_str();
        self.seeds.keys().any(|(arm, _)| *arm == full).then_some(full)
    }

    /// The arms that play a part at a budget; none when none of them ran.
    pub(crate) fn cast(&self, role: &str, budget: &str) -> Cast {
        let Some(role) = self.claims.role(role) else {
            return Cast::default();
        };
        if role.name == "ours" {
            let own = self.ran(self.method(), budget).then(|| self.method().to_string());
            return Cast {
                arms: own.into_iter().collect(),
                caveat: None,
            };
        }
        let present = |names: &[String]| -> Vec<String> {
            names
                .iter()
                .filter(|name| self.ran(name, budget))
                .cloned()
                .collect()
        };
        let arms = present(&role.arms);
        if !arms.is_empty() {
            return Cast { arms, caveat: None };
        }
        let arms = present(&role.instead);
        let caveat = role.caveat.clone().filter(|_| !arms.is_empty());
        Cast { arms, caveat }
    }

    /// The names of the arms that could play a part.
    pub(crate) fn wanted(&self, role: &str) -> String {
        match self.claims.role(role) {
            Some(role) if role.name == "ours" => self.method().into(),
            Some(role) => role.arms.join(", "),
            None => role.into(),
        }
    }

    /// The arm that stands for a row at a budget.
    pub(crate) fn of_row(&self, row: &RowArms, budget: &str) -> Option<String> {
        let own = match self.table {
            Some(3) if !row.qwen.is_empty() => &row.qwen,
            _ => &row.arms,
        };
        own.iter().find(|arm| self.ran(arm, budget)).cloned()
    }

    /// Why an arm that was asked for has no number at a budget.
    pub(crate) fn why_absent(&self, row: &RowArms, budget: &str) -> String {
        if row.arms.is_empty() {
            return row
                .note
                .clone()
                .unwrap_or_else(|| format!("{} is quoted", row.name));
        }
        let fits =
            |absent: &&crate::report::Absent| row.arms.contains(&absent.arm) && absent.budget == budget;
        match self.options.absent.iter().find(fits) {
            Some(_) => format!("{} cannot run at {budget}", row.name),
            None => format!("{} did not run at {budget}", row.name),
        }
    }

    /// The claims' data.
    pub(crate) fn claims(&self) -> &'a Claims {
        self.claims
    }
}
