//! Ranks that numbers share which are not told apart.

use super::table::Row;

/// The ranks of numbers from the best to the worst, `1=` where several share one.
pub(crate) fn ranks(numbers: &[Option<&Row>]) -> Vec<String> {
    let mut leaders: Vec<usize> = Vec::new();
    for (place, number) in numbers.iter().enumerate() {
        let shared = leaders
            .last()
            .copied()
            .filter(|&leader| match (numbers[leader], number) {
                (Some(leader), Some(number)) => !is_surely_above(leader, number),
                (None, None) => true,
                _ => false,
            });
        leaders.push(shared.unwrap_or(place));
    }
    let rank = |&leader: &usize| {
        let alone = leaders.iter().filter(|&&other| other == leader).count() == 1;
        format!("{}{}", leader + 1, if alone { "" } else { "=" })
    };
    leaders.iter().map(rank).collect()
}

/// True when the interval of the difference of two numbers lies above zero, as if they were independent: the half-widths add
/// up like those of a right triangle (Zou and Donner 2008). Paired numbers are rather told apart than this says.
fn is_surely_above(a: &Row, b: &Row) -> bool {
    let margin = (a.value - a.lo).hypot(b.hi - b.value);
    a.value - b.value > margin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::metric::Metric;

    fn number(value: f64, half: f64) -> Row {
        Row {
            arm: String::new(),
            budget: String::new(),
            metric: Metric::CommonMean,
            value,
            lo: value - half,
            hi: value + half,
            n: 1,
            train_seeds: Vec::new(),
            verdict: None,
            test: None,
        }
    }

    #[test]
    fn what_is_not_told_apart_shares_a_rank() {
        let of = |rows: &[Row]| ranks(&rows.iter().map(Some).collect::<Vec<_>>());
        // 3 and 4 make 5: a difference of 5 is a tie, one of 5.1 is not.
        assert_eq!(of(&[number(80.0, 3.0), number(75.0, 4.0)]), ["1=", "1="]);
        assert_eq!(of(&[number(80.1, 3.0), number(75.0, 4.0)]), ["1", "2"]);
        // Equal values without any spread.
        assert_eq!(
            of(&[number(80.0, 0.0), number(80.0, 0.0), number(79.0, 0.0)]),
            ["1=", "1=", "3"]
        );
        // The first of a group counts, not the neighbour.
        let slope = [
            number(80.0, 1.0),
            number(79.0, 1.0),
            number(78.0, 1.0),
            number(77.0, 1.0),
        ];
        assert_eq!(of(&slope), ["1=", "1=", "3=", "3="]);
        let missing = [None, None];
        assert_eq!(ranks(&missing), ["1=", "1="]);
    }
}
