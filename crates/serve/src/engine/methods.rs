//! The methods that a server offers for a model.

use std::path::PathBuf;
use std::sync::Arc;

use diffprune_baselines::registry;
use diffprune_lab::{LabError, Method, PER_VIEW, check_method, default_method, nearest};
use diffprune_pruner::{Pruner, Signals};
use diffprune_vlm::Vlm;

use crate::error::ApiError;

/// The text that names no method: every token stays.
const NONE: &str = "none";

/// Seed that draws the weights of `untrained`.
const UNTRAINED_SEED: u64 = 0;

/// A method under the name that requests use.
pub(crate) struct Offered {
    pub name: String,
    /// What it keeps, in a few words.
    pub about: String,
    pub method: Method,
    pub pruner: Arc<dyn Pruner>,
    /// True when its choice depends on the seed.
    pub seeded: bool,
}

impl Offered {
    /// True when it acts inside the language model.
    pub fn is_inside(&self) -> bool {
        self.pruner.decoder().is_some()
    }

    /// True when its choice depends on the question.
    pub fn reads_question(&self) -> bool {
        self.pruner.signals().text_relevance
    }

    /// The seed that its choice depends on: 0 where it depends on none.
    pub fn seed(&self, seed: u64) -> u64 {
        if self.seeded { seed } else { 0 }
    }
}

/// All methods of a model. Requests name them; only the command line names folders.
pub(crate) struct Methods {
    offered: Vec<Offered>,
    /// Methods that this model cannot run, and why.
    refused: Vec<(String, String)>,
    /// Place of the default among the offered ones.
    default: usize,
}

impl Methods {
    /// The methods that need no training, and the trained scorers of the command line.
    ///
    /// # Errors
    /// When a scorer cannot be read, or the default is no method of this model.
    pub fn new(
        vlm: &dyn Vlm,
        scorers: &[(String, PathBuf)],
        default: Option<&str>,
    ) -> Result<Self, LabError> {
        let mut methods = Self {
            offered: Vec::new(),
            refused: Vec::new(),
            default: 0,
        };
        for (name, dir) in scorers {
            let dir = dir.display();
            let about = "a trained scorer";
            methods.offer(name, &format!("diffprune:{dir}"), about, false, vlm)?;
            methods.offer(
                &format!("{name}{PER_VIEW}"),
                &format!("diffprune{PER_VIEW}:{dir}"),
                about,
                false,
                vlm,
            )?;
        }
        for known in registry() {
            if let Err(error) = check_method(known.name, vlm.family()) {
                methods.refused.push((known.name.into(), error.to_string()));
                continue;
            }
            methods.offer(known.name, known.name, known.about, known.seeded, vlm)?;
            if !methods.offered.last().is_some_and(Offered::is_inside) {
                let per_view = format!("{}{PER_VIEW}", known.name);
                methods.offer(&per_view, &per_view, known.about, known.seeded, vlm)?;
            }
        }
        methods.offer(
            "untrained",
            "untrained",
            "a scorer before its training",
            false,
            vlm,
        )?;
        let default = default.unwrap_or(default_method(vlm.family()));
        methods.default = methods.place(default).map_err(|error| LabError::UnknownMethod {
            found: default.into(),
            wanted: error.message,
        })?;
        Ok(methods)
    }

    fn offer(
        &mut self,
        name: &str,
        text: &str,
        about: &str,
        seeded: bool,
        vlm: &dyn Vlm,
    ) -> Result<(), LabError> {
        let method = Method::parse(text, vlm, UNTRAINED_SEED)?;
        self.offered.push(Offered {
            name: name.into(),
            about: about.into(),
            pruner: method.pruner(),
            method,
            seeded,
        });
        Ok(())
    }

    /// The method of a request; `None` takes the default.
    pub fn find(&self, name: Option<&str>) -> Result<&Offered, ApiError> {
        let place = match name {
            Some(name) => self.place(name)?,
            None => self.default,
        };
        Ok(&self.offered[place])
    }

    fn place(&self, name: &str) -> Result<usize, ApiError> {
        // What `diffprune ask` calls it too; and with every token kept any method does the same.
        let known = match name {
            "cls" => "cls-attention",
            NONE => return Ok(self.default),
            name => name,
        };
        if let Some(place) = self.offered.iter().position(|offered| offered.name == known) {
            return Ok(place);
        }
        if let Some((_, problem)) = self.refused.iter().find(|(refused, _)| refused == known) {
            return Err(ApiError::unsupported("pruner", format!("pruner: {problem}")));
        }
        let hint = match name.contains([':', '/']) {
            true => "; folders of scorers are given to the server, with --scorer NAME=DIR".into(),
            false => match nearest(name, self.offered.iter().map(|offered| offered.name.as_str())) {
                Some(meant) => format!("; did you mean `{meant}`?"),
                None => String::new(),
            },
        };
        let message = format!("pruner: found `{name}`, expected a method that GET /v1/models lists{hint}");
        Err(ApiError::unsupported("pruner", message))
    }

    /// True for the text that asks for every token.
    pub fn is_none(name: Option<&str>) -> bool {
        name == Some(NONE)
    }

    /// The methods in the order in which they are listed.
    pub fn offered(&self) -> &[Offered] {
        &self.offered
    }

    /// Name of the default.
    pub fn default_name(&self) -> &str {
        &self.offered[self.default].name
    }
}

/// True when what was computed covers what is asked for.
pub(crate) fn covers(computed: Signals, asked: Signals) -> bool {
    computed.union(asked) == computed
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use diffprune_vlm::{FakeVlm, Family};

    #[test]
    fn methods_are_found_by_their_names_alone() {
        let vlm = FakeVlm::new(&Device::flex());
        let methods = Methods::new(&vlm, &[], None).unwrap();
        assert_eq!(methods.find(None).unwrap().name, "cls-attention");
        assert_eq!(methods.find(Some("cls")).unwrap().name, "cls-attention");
        assert!(methods.find(Some("fastv")).unwrap().is_inside());
        assert!(methods.find(Some("random")).unwrap().seeded);
        assert!(methods.find(Some("random-per-view")).is_ok());
        let error = |name| methods.find(Some(name)).err().unwrap().message;
        assert!(error("diffprune:/etc").contains("--scorer NAME=DIR"));
        assert!(error("randon").contains("`random`"), "{}", error("randon"));
    }

    #[test]
    fn methods_that_a_model_cannot_run_are_told_with_the_reason() {
        let qwen = FakeVlm::new(&Device::flex()).with_family(Family::Qwen25Vl);
        let methods = Methods::new(&qwen, &[], None).unwrap();
        let error = methods.find(Some("cls")).err().unwrap();
        assert!(error.message.contains("[CLS]"), "{}", error.message);
        let error = methods.find(Some("oracle-keep")).err().unwrap();
        assert!(error.message.contains("truth"), "{}", error.message);
        assert!(Methods::new(&qwen, &[], Some("cls")).is_err());
    }
}
