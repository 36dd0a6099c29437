//! The answers that ten people would give.

/// The answers of ten annotators in lower case: all the same for one question in three, else one or two of them say it
/// otherwise or are wrong. The answer itself always has at least eight voices. `seed` decides, any number will do.
pub(super) fn ten_answers(answer: &str, seed: usize) -> Vec<String> {
    let answer = answer.to_lowercase();
    let others = others(&answer);
    let mut answers = vec![answer; 10];
    for (i, other) in others.into_iter().enumerate().take(seed % 3) {
        // Two different places, whatever the seed.
        answers[(seed / 3 + 5 * i) % 10] = other;
    }
    answers
}

/// Two other answers that a hasty or wordy annotator may give.
fn others(answer: &str) -> [String; 2] {
    const NUMBERS: [&str; 10] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    ];
    if let Ok(n) = answer.parse::<usize>() {
        let word = NUMBERS.get(n).map_or("many", |word| word);
        return [word.to_owned(), (n + 1).to_string()];
    }
    let spelled: Vec<&str> = answer.split(' ').collect();
    let others = match answer {
        "yes" => ["no", "yeah"],
        "no" => ["yes", "nope"],
        "unanswerable" => ["unsuitable", "too blurry"],
        _ if spelled.iter().all(|word| word.len() == 1) => return [spelled.concat(), spelled[0].to_owned()],
        _ => return [format!("maybe {answer}"), format!("{answer} side")],
    };
    others.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_keeps_eight_voices() {
        for answer in ["red", "top left", "3", "yes", "no", "unanswerable", "H K T"] {
            let mut dissent = 0;
            for seed in 0..60 {
                let answers = ten_answers(answer, seed);
                let same = answers.iter().filter(|a| **a == answer.to_lowercase()).count();
                assert_eq!(
                    (answers.len(), same),
                    (10, 10 - seed % 3),
                    "{answer}: {answers:?}"
                );
                dissent += 10 - same;
            }
            assert_eq!(dissent, 60);
        }
    }
}
