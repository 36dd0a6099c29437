//! The protocol of each benchmark: whose words ask and whose rules score.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::benchmark::Benchmark;
use super::question::Protocol;

/// A [`Protocol`] for each benchmark. As text: `llava`, `lmms-eval`, `papers`, or one of these followed by exceptions, as in
/// `llava,seed_bench=lmms-eval`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Protocols {
    usual: Protocol,
    /// Never the usual one, so that equal settings are equal.
    exceptions: BTreeMap<Benchmark, Protocol>,
}

impl From<Protocol> for Protocols {
    fn from(usual: Protocol) -> Self {
        Self {
            usual,
            exceptions: BTreeMap::new(),
        }
    }
}

impl Protocols {
    /// Those behind the LLaVA-1.5 rows of the papers' tables: LLaVA's, but lmms-eval's for SEED-Bench and VizWiz.
    pub fn papers() -> Self {
        let own = |protocols: Self, benchmark: Benchmark| {
            protocols.with(benchmark, benchmark.spec().protocol_of_the_papers())
        };
        Benchmark::ALL.into_iter().fold(Self::from(Protocol::Llava), own)
    }

    /// The same with another protocol for one benchmark.
    #[must_use]
    pub fn with(mut self, benchmark: Benchmark, protocol: Protocol) -> Self {
        if protocol == self.usual {
            self.exceptions.remove(&benchmark);
        } else {
            self.exceptions.insert(benchmark, protocol);
        }
        self
    }

    /// The protocol of a benchmark.
    pub fn of(&self, benchmark: Benchmark) -> Protocol {
        self.exceptions.get(&benchmark).copied().unwrap_or(self.usual)
    }
}

impl Protocol {
    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llava => "llava",
            Self::LmmsEval => "lmms-eval",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::Llava, Self::LmmsEval]
            .into_iter()
            .find(|protocol| protocol.name() == name)
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.usual.name())?;
        for (benchmark, protocol) in &self.exceptions {
            write!(f, ",{benchmark}={}", protocol.name())?;
        }
        Ok(())
    }
}

impl FromStr for Protocols {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',').map(str::trim);
        let usual = parts.next().unwrap_or_default();
        let mut protocols = match (usual, Protocol::of_name(usual)) {
            ("papers", _) => Self::papers(),
            (_, Some(protocol)) => Self::from(protocol),
            _ => return Err(format!("found `{usual}`, expected llava, lmms-eval or papers")),
        };
        for part in parts {
            let named = part.split_once('=').and_then(|(name, protocol)| {
                let benchmark = Benchmark::named(name)?;
                Some((benchmark, Protocol::of_name(protocol)?))
            });
            let Some((benchmark, protocol)) = named else {
                return Err(format!(
                    "found `{part}`, expected NAME=llava or NAME=lmms-eval with a benchmark such as seed_bench"
                ));
            };
            protocols = protocols.with(benchmark, protocol);
        }
        Ok(protocols)
    }
}

impl From<Protocols> for String {
    fn from(protocols: Protocols) -> Self {
        protocols.to_string()
    }
}

impl TryFrom<String> for Protocols {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back() {
        for text in [
            "llava",
            "lmms-eval",
            "llava,vizwiz=lmms-eval",
            "lmms-eval,gqa=llava,pope=llava",
        ] {
            let protocols: Protocols = text.parse().unwrap();
            assert_eq!(protocols.to_string(), text);
        }
        let papers: Protocols = "papers".parse().unwrap();
        assert_eq!(papers, Protocols::papers());
        assert_eq!(papers.of(Benchmark::SeedBench), Protocol::LmmsEval);
        assert_eq!(papers.of(Benchmark::Gqa), Protocol::Llava);
        assert_eq!(papers.to_string().parse(), Ok(papers));
        // An exception that is none leaves no trace.
        assert_eq!("llava,gqa=llava".parse(), Ok(Protocols::from(Protocol::Llava)));
        for wrong in ["", "gqa=llava", "llava,best=llava", "llava,gqa=mine", "llava,gqa"] {
            assert!(
                wrong.parse::<Protocols>().unwrap_err().contains("expected"),
                "{wrong}"
            );
        }
    }
}
