//! From claims to comparisons.

use super::arms::Arms;
use super::measure::{Measure, Measures};
use super::planned::{Outcome, Planned, Rule};
use crate::data::Benchmark;
use crate::evidence::{Estimand, Number, PaperClaim};

/// Numbers that are compared, and how.
struct Planner<'p, 'a> {
    arms: &'p Arms<'a>,
    number: Number,
    columns: Vec<Benchmark>,
    planned: Planned,
    measures: &'p mut Measures,
}

/// The comparisons of a claim, entered into `measures`.
pub(crate) fn plan(
    claim: &PaperClaim,
    arms: &Arms<'_>,
    counted: &[Benchmark],
    measures: &mut Measures,
) -> Outcome {
    let (number, wanted) = asked(&claim.estimand, arms);
    if number == Number::Retention && arms.full().is_none() {
        return Outcome::Cannot("needs the unpruned arm".into());
    }
    let columns: Vec<Benchmark> = match wanted {
        [] => counted.to_vec(),
        names => counted
            .iter()
            .copied()
            .filter(|benchmark| names.iter().any(|name| name == benchmark.name()))
            .collect(),
    };
    let mut planner = Planner {
        arms,
        number,
        columns,
        planned: Planned {
            rule: Rule::Smallest,
            members: Vec::new(),
            without: Vec::new(),
            remarks: Vec::new(),
            seeds: usize::MAX,
        },
        measures,
    };
    if !wanted.is_empty() && planner.columns.len() < wanted.len() {
        let missing: Vec<&str> = wanted
            .iter()
            .map(String::as_str)
            .filter(|name| planner.columns.iter().all(|benchmark| benchmark.name() != *name))
            .collect();
        planner.planned.remarks.push(format!(
            "without {}, which does not count here",
            missing.join(", ")
        ));
    }
    if planner.columns.is_empty() {
        return Outcome::Cannot("none of its benchmarks counts here".into());
    }
    match planner.estimand(&claim.estimand) {
        Err(reason) => Outcome::Cannot(reason),
        Ok(()) if planner.planned.members.is_empty() => {
            let remarks = planner.planned.remarks.join("; ");
            Outcome::Cannot(if remarks.is_empty() {
                "no arm that it is about ran".into()
            } else {
                remarks
            })
        }
        Ok(()) => Outcome::Planned(planner.planned),
    }
}

/// The number that a claim compares and its benchmarks; none for all that count. A claim about a table is about the benchmarks
/// that the table prints.
fn asked<'c>(estimand: &'c Estimand, arms: &'c Arms<'_>) -> (Number, &'c [String]) {
    match estimand {
        Estimand::LeadOver { number, columns, .. } => (*number, columns),
        Estimand::LeadGrows { columns, .. } | Estimand::LargestLoss { columns, .. } => {
            (Number::Retention, columns)
        }
        Estimand::EqualTo { number, .. } => (*number, &[]),
        Estimand::Spread { .. } => (Number::Average, &[]),
        Estimand::Level { .. }
        | Estimand::LeadOverRows { .. }
        | Estimand::EqualToRow { .. }
        | Estimand::LeadOverRowGrows { .. }
        | Estimand::EveryCell { .. } => (Number::Retention, &arms.columns),
        _ => (Number::Retention, &[]),
    }
}

impl Planner<'_, '_> {
    fn estimand(&mut self, estimand: &Estimand) -> Result<(), String> {
        match estimand {
            Estimand::Level {
                table,
                budget,
                printed,
            } => {
                self.own_table(&[*table])?;
                let budget = self.budget(budget)?;
                self.planned.rule = Rule::Level(*printed);
                self.compare(format!("at {budget}"), &[(1.0, "", &budget)])
            }
            Estimand::LeadOverRows { tables, budgets } => {
                self.own_table(tables)?;
                if tables.len() > 1 {
                    let table = self.arms.table.unwrap_or_default();
                    self.planned
                        .remarks
                        .push(format!("the settings of table {table}"));
                }
                for budget in self.budgets(budgets)? {
                    self.rows_at(&budget, |planner, row, arm, budget| {
                        planner.lead(row, arm, budget)
                    })?;
                }
                Ok(())
            }
            Estimand::EqualToRow {
                table,
                row,
                budget,
                bound,
            } => {
                self.own_table(&[*table])?;
                self.planned.rule = Rule::Within(*bound);
                let budget = self.budget(budget)?;
                let arm = self.row_arm(row, &budget)?;
                self.lead(row, &arm, &budget)
            }
            Estimand::LeadOverRowGrows { table, row, from, to } => {
                self.own_table(&[*table])?;
                let (from, to) = (self.budget(from)?, self.budget(to)?);
                let arms = [self.row_arm(row, &from)?, self.row_arm(row, &to)?];
                self.growth(row, &arms[0], &from, &arms[1], &to)
            }
            Estimand::EveryCell { table, budgets } => {
                self.own_table(&[*table])?;
                let all = self.columns.clone();
                for budget in self.budgets(budgets)? {
                    for &benchmark in &all {
                        self.columns = vec![benchmark];
                        self.rows_at(&budget, |planner, row, arm, budget| {
                            planner.lead(&format!("{benchmark} of {row}"), arm, budget)
                        })?;
                    }
                }
                self.planned.remarks.dedup();
                Ok(())
            }
            Estimand::LeadOver {
                subject,
                roles,
                budgets,
                ..
            } => {
                for budget in self.budgets(budgets)? {
                    let subject = self.subject(subject, &budget)?;
                    for role in roles {
                        for arm in self.cast(role, &budget) {
                            let name = format!("{arm} at {budget}");
                            self.compare(name, &[(1.0, &subject, &budget), (-1.0, &arm, &budget)])?;
                        }
                    }
                }
                self.needs(roles)
            }
            Estimand::LeadGrows { rival, from, to, .. } => {
                let (from, to) = (self.budget(from)?, self.budget(to)?);
                for arm in self.cast(rival, &to) {
                    if self.arms.ran(&arm, &from) {
                        self.growth(&arm, &arm, &from, &arm, &to)?;
                    }
                }
                self.needs(std::slice::from_ref(rival))
            }
            Estimand::LargestLoss {
                variant,
                others,
                budgets,
                ..
            } => {
                for budget in self.budgets(budgets)? {
                    let rest: Vec<String> = others.iter().flat_map(|role| self.cast(role, &budget)).collect();
                    if rest.is_empty() {
                        let names: Vec<String> = others.iter().map(|role| self.arms.wanted(role)).collect();
                        return Err(format!("needs the arms {}", names.join(", ")));
                    }
                    for arm in self.cast(variant, &budget) {
                        self.lead(&arm, &arm, &budget)?;
                        for other in &rest {
                            let name = format!("{arm} beside {other} at {budget}");
                            self.compare(name, &[(1.0, other, &budget), (-1.0, &arm, &budget)])?;
                        }
                    }
                }
                self.needs(std::slice::from_ref(variant))
            }
            Estimand::EqualTo {
                subject,
                role,
                budgets,
                bound,
                ..
            } => {
                self.planned.rule = Rule::Within(*bound);
                for budget in self.budgets(budgets)? {
                    let others = self.cast(role, &budget);
                    if others.is_empty() {
                        continue;
                    }
                    let subject = self.subject(subject, &budget)?;
                    for arm in others {
                        let name = format!("{arm} at {budget}");
                        self.compare(name, &[(1.0, &subject, &budget), (-1.0, &arm, &budget)])?;
                    }
                }
                self.needs(std::slice::from_ref(role))
            }
            Estimand::Spread { budgets } => {
                self.planned.rule = Rule::Spread;
                for budget in self.budgets(budgets)? {
                    if self.arms.n_seeds(self.arms.method(), &budget) < 2 {
                        return Err("needs trainings from more than one seed".into());
                    }
                    self.compare(format!("at {budget}"), &[(1.0, "", &budget)])?;
                }
                Ok(())
            }
            Estimand::SpeedUp { .. }
            | Estimand::Lowest { .. }
            | Estimand::SmallShare { .. }
            | Estimand::Order { .. }
            | Estimand::Flat { .. } => {
                Err("needs times of the published shape, as `diffprune bench` measures them".into())
            }
            Estimand::Flops { .. } => Err("computed from the shape: see the tier shape".into()),
            Estimand::Outside { by, .. } => Err(format!("needs {by}")),
        }
    }

    fn own_table(&self, tables: &[usize]) -> Result<(), String> {
        match self.arms.table {
            None => Err("the report does not say which family of models it is about".into()),
            Some(table) if tables.contains(&table) => Ok(()),
            Some(_) => {
                let family = match tables {
                    [2] => "LLaVA-NeXT",
                    [3] => "Qwen2.5-VL",
                    _ => "LLaVA-1.5",
                };
                Err(format!("needs a model of {family}"))
            }
        }
    }

    fn budget(&self, share: &str) -> Result<String, String> {
        let found = self.arms.budget(share);
        found
            .map(String::from)
            .ok_or_else(|| format!("needs the budget {share}"))
    }

    /// The budgets that ran, those of the method where none is named; those that did not run are remarked.
    fn budgets(&mut self, shares: &[String]) -> Result<Vec<String>, String> {
        if shares.is_empty() {
            let own = self.arms.budgets_of(self.arms.method());
            return match own.is_empty() {
                true => Err(format!("needs the arm {}", self.arms.method())),
                false => Ok(own),
            };
        }
        let (found, missing): (Vec<_>, Vec<_>) =
            shares.iter().partition(|share| self.arms.budget(share).is_some());
        if found.is_empty() {
            return Err(format!("needs the budget {}", shares.join(" or ")));
        }
        // Tables differ in their budgets: table 2 has one.
        if !missing.is_empty() && self.arms.table != Some(2) {
            let missing: Vec<&str> = missing.into_iter().map(String::as_str).collect();
            self.planned
                .remarks
                .push(format!("not at {}", missing.join(", ")));
        }
        found.into_iter().map(|share| self.budget(share)).collect()
    }

    fn cast(&mut self, role: &str, budget: &str) -> Vec<String> {
        let cast = self.arms.cast(role, budget);
        if let Some(caveat) = cast
            .caveat
            .filter(|caveat| !self.planned.remarks.contains(caveat))
        {
            self.planned.remarks.push(caveat);
        }
        cast.arms
    }

    fn subject(&mut self, role: &str, budget: &str) -> Result<String, String> {
        let found = self.cast(role, budget).into_iter().next();
        found.ok_or_else(|| format!("needs the arm {} at {budget}", self.arms.wanted(role)))
    }

    fn needs(&self, roles: &[String]) -> Result<(), String> {
        let names: Vec<String> = roles.iter().map(|role| self.arms.wanted(role)).collect();
        match self.planned.members.is_empty() {
            true => Err(format!("needs one of the arms {}", names.join(", "))),
            false => Ok(()),
        }
    }

    fn row_arm(&mut self, name: &str, budget: &str) -> Result<String, String> {
        let row = self
            .arms
            .claims()
            .row(name)
            .ok_or_else(|| format!("no row {name}"))?;
        let found = self.arms.of_row(row, budget);
        found.ok_or_else(|| self.arms.why_absent(row, budget))
    }

    /// Every row of the table whose arm ran; the others are remarked.
    fn rows_at(
        &mut self,
        budget: &str,
        mut add: impl FnMut(&mut Self, &str, &str, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        let claims = self.arms.claims();
        for row in claims
            .rows
            .iter()
            .filter(|row| row.stands_in(self.arms.table.unwrap_or(1)))
        {
            match self.arms.of_row(row, budget) {
                Some(arm) => {
                    if let Some(note) = row
                        .note
                        .as_ref()
                        .filter(|note| !self.planned.remarks.contains(note))
                    {
                        self.planned.remarks.push(note.clone());
                    }
                    add(self, &row.name, &arm, budget)?;
                }
                None => {
                    let why = self.arms.why_absent(row, budget);
                    if !self.planned.remarks.contains(&why) {
                        self.planned.remarks.push(why);
                    }
                }
            }
        }
        Ok(())
    }

    fn lead(&mut self, name: &str, arm: &str, budget: &str) -> Result<(), String> {
        self.compare(
            format!("{name} at {budget}"),
            &[(1.0, "", budget), (-1.0, arm, budget)],
        )
    }

    fn growth(&mut self, name: &str, at_from: &str, from: &str, at_to: &str, to: &str) -> Result<(), String> {
        let terms = [
            (1.0, "", to),
            (-1.0, at_to, to),
            (-1.0, "", from),
            (1.0, at_from, from),
        ];
        self.compare(format!("{name} from {from} to {to}"), &terms)
    }

    /// Enters a weighted sum of arms at budgets; an empty name is the method.
    fn compare(&mut self, name: String, terms: &[(f64, &str, &str)]) -> Result<(), String> {
        let method = self.arms.method().to_string();
        let mut measured = Vec::new();
        for &(weight, arm, budget) in terms {
            let arm = if arm.is_empty() { method.as_str() } else { arm };
            if !self.arms.ran(arm, budget) {
                return Err(format!("needs the arm {arm} at {budget}"));
            }
            if arm == method {
                self.planned.seeds = self.planned.seeds.min(self.arms.n_seeds(arm, budget));
            }
            measured.push((weight, arm.to_string(), budget.to_string()));
        }
        let mut enter = |columns: &[Benchmark]| {
            let terms: Vec<(f64, Measure)> = measured
                .iter()
                .map(|(weight, arm, budget)| (*weight, Measure::new(arm, budget, self.number, columns)))
                .collect();
            self.measures.contrast(&terms)
        };
        let place = enter(&self.columns);
        let rest: Vec<Benchmark> = self
            .columns
            .iter()
            .copied()
            .filter(|benchmark| *benchmark != Benchmark::TextVqa)
            .collect();
        if rest.len() < self.columns.len() && !rest.is_empty() {
            let beside = enter(&rest);
            self.planned.without.push(beside);
        }
        self.planned.members.push((place, name));
        Ok(())
    }
}
