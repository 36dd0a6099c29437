//! Texts that end an answer, while it is made.

/// Passes an answer on piece by piece up to the first of some texts. What may be the start of one is held back.
#[derive(Debug)]
pub(crate) struct StopFilter {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopFilter {
    /// A filter for these texts, none of them empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            held: String::new(),
            stopped: false,
        }
    }

    /// Takes a piece; gives what can be passed on.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(piece);
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min();
        let end = match found {
            Some(start) => {
                self.stopped = true;
                self.held.truncate(start);
                start
            }
            None => self.held.len() - self.begun(),
        };
        let rest = self.held.split_off(end);
        std::mem::replace(&mut self.held, rest)
    }

    /// True once one of the texts came.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What was held back, at the end of the answer.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end that may be the start of a text.
    fn begun(&self) -> usize {
        let starts = self.held.char_indices().map(|(start, _)| &self.held[start..]);
        let begins = |end: &&str| self.stops.iter().any(|stop| stop.starts_with(*end));
        starts.into_iter().find(begins).map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut filter = StopFilter::new(stops.iter().map(ToString::to_string).collect());
        let mut passed: Vec<String> = pieces.iter().map(|piece| filter.push(piece)).collect();
        passed.push(filter.finish());
        (passed, filter.is_stopped())
    }

    fn wanted(pieces: &[&str], stopped: bool) -> (Vec<String>, bool) {
        (pieces.iter().map(ToString::to_string).collect(), stopped)
    }

    #[test]
    fn an_answer_ends_before_the_first_text() {
        assert_eq!(
            filtered(&["END"], &["a E", "N", "Dx", "y"]),
            wanted(&["a ", "", "", "", ""], true)
        );
        assert_eq!(filtered(&["c", "b"], &["abc"]), wanted(&["a", ""], true));
    }

    #[test]
    fn what_only_looked_like_a_text_is_passed_on() {
        assert_eq!(
            filtered(&["END"], &["a E", "N", "d", "E"]),
            wanted(&["a ", "", "ENd", "", "E"], false)
        );
        assert_eq!(
            filtered(&["aab"], &["a", "a", "a", "b"]),
            wanted(&["", "", "a", "", ""], true)
        );
        assert_eq!(filtered(&[], &["x", "y"]), wanted(&["x", "y", ""], false));
    }

    #[test]
    fn letters_of_several_bytes_are_not_cut() {
        assert_eq!(
            filtered(&["ü!"], &["ö", "ü", "?"]),
            wanted(&["ö", "", "ü?", ""], false)
        );
    }
}
