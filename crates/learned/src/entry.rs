//! A row of the registry, and methods by what a person types.

use std::fmt;
use std::str::FromStr;

use crate::{Method, methods};

/// One name under which a learned method can be trained.
#[derive(Debug, Clone, Copy)]
pub struct LearnedMethod {
    /// Its name on the command line and in tables.
    pub name: &'static str,
    /// A description of it, in a few words.
    pub about: &'static str,
    /// Other names that are read.
    pub aliases: &'static [&'static str],
    /// Its publication; `None` for methods of our own.
    pub paper: Option<&'static str>,
    /// The argument that may follow the name and a colon; `None`: nothing.
    pub argument: Option<Argument>,
    /// Makes one with its default settings.
    pub init: fn() -> Method,
}

/// The argument behind the name of a method and a colon.
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    /// Its placeholder in help texts.
    pub name: &'static str,
    /// An example in words.
    pub about: &'static str,
    /// Reads it.
    pub read: fn(&str) -> Result<Method, String>,
}

impl LearnedMethod {
    /// A method with no other name, no paper and no argument.
    pub const fn new(name: &'static str, about: &'static str, init: fn() -> Method) -> Self {
        Self {
            name,
            about,
            aliases: &[],
            paper: None,
            argument: None,
            init,
        }
    }

    /// The same with other names.
    pub const fn aliases(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    /// The same with a publication.
    pub const fn paper(self, paper: &'static str) -> Self {
        Self {
            paper: Some(paper),
            ..self
        }
    }

    /// The same with something that must follow the name.
    pub const fn argument(
        self,
        name: &'static str,
        about: &'static str,
        read: fn(&str) -> Result<Method, String>,
    ) -> Self {
        Self {
            argument: Some(Argument { name, about, read }),
            ..self
        }
    }
}

/// A text that names no method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("method: found `{found}`, expected {wanted}")]
pub struct UnknownMethod {
    /// The text.
    pub found: String,
    /// Values that would do.
    pub wanted: String,
}

impl Method {
    /// Texts that [`Self::from_str`] reads, for messages.
    pub fn names() -> String {
        let name = |method: &LearnedMethod| match method.argument {
            Some(argument) => format!("{}:{} ({})", method.name, argument.name, argument.about),
            None => method.name.to_string(),
        };
        let names: Vec<String> = methods().map(name).collect();
        match names.split_last() {
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => String::new(),
        }
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    /// Reads a method with its default settings; `-` and `_` do not differ.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = |wanted: &dyn fmt::Display| UnknownMethod {
            found: text.to_string(),
            wanted: wanted.to_string(),
        };
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let plain = name.replace('_', "-");
        let method =
            methods().find(|method| method.name == plain || method.aliases.contains(&plain.as_str()));
        match (method.map(|method| (method.argument, method.init)), argument) {
            (Some((None, init)), None) => Ok(init()),
            (Some((Some(wanted), _)), Some(argument)) => {
                (wanted.read)(argument).map_err(|cause| unknown(&cause))
            }
            _ => Err(unknown(&Self::names())),
        }
    }
}
