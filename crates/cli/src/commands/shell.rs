//! `diffprune completions` and `diffprune man`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::print;

/// Prints what a shell needs to complete commands and options.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell: bash, elvish, fish, powershell or zsh.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the manual page, in roff: `diffprune man | man -l -`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The command whose page is wanted, as in `diffprune man eval` [default: that of the program].
    command: Option<String>,
}

impl CompletionsArgs {
    /// Prints the completions of `whole`, the program's command.
    pub fn run(self, mut whole: Command) -> anyhow::Result<()> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut whole, "diffprune", &mut text);
        print::text(format_args!("{}", String::from_utf8_lossy(&text)))
    }
}

impl ManArgs {
    /// Prints the page of `whole`, the program's command, or of a part of it.
    pub fn run(self, whole: Command) -> anyhow::Result<()> {
        let command = match &self.command {
            None => whole,
            Some(name) => {
                let names: Vec<&str> = whole.get_subcommands().map(Command::get_name).collect();
                let found = whole.find_subcommand(name).cloned();
                found.ok_or_else(|| {
                    anyhow::anyhow!("man: found `{name}`, expected one of {}", names.join(", "))
                })?
            }
        };
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text)?;
        print::text(format_args!("{}", String::from_utf8_lossy(&text)))
    }
}
