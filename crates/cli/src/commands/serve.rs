//! `diffprune serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use diffprune::Budget;
use diffprune_lab::WeightType;
use diffprune_serve::{ModelSource, ServeConfig, Told, run};

use crate::family::FamilyArgs;
use crate::method::HELP;
use crate::model::{ModelArgs, weight_types};
use crate::print::{say, tell};

/// Where the key may stand in place of the command line, which other users of the machine can read.
const KEY: &str = "DIFFPRUNE_API_KEY";

/// Answers OpenAI's chat requests with a budget of visual tokens for each picture, and shows a page (docs/serve.md).
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// A model as `ask` takes it; NAME=MODEL gives it the name that requests use. Give it again for further models.
    #[arg(
        long = "model",
        value_name = "[NAME=]MODEL",
        default_value = "mini-llava-1.5",
        help_heading = "Model"
    )]
    models: Vec<String>,
    /// cpu, wgpu, vulkan or cuda, with an index as in cuda:1.
    #[arg(long, default_value = "cpu", help_heading = "Hardware")]
    device: String,
    /// Type that the weights are held in, as in `ask`.
    #[arg(long, value_parser = weight_types(), value_name = "TYPE", help_heading = "Hardware")]
    dtype: Option<WeightType>,
    #[command(flatten)]
    family: FamilyArgs,
    /// Address to listen on; any but loopback needs a key.
    #[arg(long, default_value = "127.0.0.1:8080")]
    addr: SocketAddr,
    /// Key that requests carry as `Authorization: Bearer KEY` [default: $DIFFPRUNE_API_KEY].
    #[arg(long, help_heading = "Access")]
    api_key: Option<String>,
    /// A further name by which the server may be called; give it again for more.
    #[arg(long = "allowed-host", value_name = "NAME", help_heading = "Access")]
    allowed_hosts: Vec<String>,
    /// A web page's origin (https://example.org) that may call the server; give it again for more.
    #[arg(long = "allowed-origin", value_name = "ORIGIN", help_heading = "Access")]
    allowed_origins: Vec<String>,
    /// Fetch pictures from http and https addresses that requests name; private networks are refused.
    #[arg(long, help_heading = "Access")]
    allow_remote_images: bool,
    /// Folder below which requests may name pictures as file:// addresses.
    #[arg(long, value_name = "DIR", help_heading = "Access")]
    media_root: Option<PathBuf>,
    /// Tokens that stay of pictures whose request does not say: a count, a fraction, a percentage or all.
    #[arg(long, default_value = "1/3", help_heading = "Pruning")]
    keep: Budget,
    /// How tokens are chosen where the request does not say.
    #[arg(long, value_name = "METHOD", help = HELP, help_heading = "Pruning")]
    pruner: Option<String>,
    /// A trained scorer under the name that requests use; give it again for more.
    #[arg(long = "scorer", value_name = "NAME=DIR", help_heading = "Pruning")]
    scorers: Vec<String>,
    /// Answers that a model makes at the same time.
    #[arg(long, default_value_t = 16, help_heading = "Limits")]
    running: usize,
    /// Requests that wait for a model; further ones are told to come again.
    #[arg(long, default_value_t = 64, help_heading = "Limits")]
    queue: usize,
    /// Most new tokens of an answer.
    #[arg(long, default_value_t = 1024, help_heading = "Limits")]
    max_tokens: usize,
}

impl ServeArgs {
    /// Runs the command until SIGINT or SIGTERM.
    pub fn run(self) -> anyhow::Result<()> {
        let sources = self.models.iter().map(|model| self.source(model));
        let sources = sources.collect::<anyhow::Result<Vec<_>>>()?;
        let mut config = ServeConfig::default();
        config.addr = self.addr;
        config.api_key = self.api_key.or_else(|| std::env::var(KEY).ok());
        config.allowed_hosts = self.allowed_hosts;
        config.allowed_origins = self.allowed_origins;
        config.visual_tokens = self.keep;
        config.pruner = self.pruner;
        config.allow_remote_images = self.allow_remote_images;
        config.media_root = self.media_root;
        config.limits.running = self.running;
        config.limits.queue = self.queue;
        config.limits.max_tokens = self.max_tokens;
        let mut closed = Ok(());
        run(config, sources, |told| match told {
            Told::Listening(addr) => closed = listening(addr),
            Told::Ready(names) => tell!("ready: {}", names.join(", ")),
            Told::Stopped => tell!("stopped"),
            _ => {}
        })?;
        closed
    }

    fn source(&self, text: &str) -> anyhow::Result<ModelSource> {
        let last = Path::new(text).file_name().and_then(|name| name.to_str());
        let (name, model) = text.split_once('=').unwrap_or((last.unwrap_or(text), text));
        let model = ModelArgs {
            model: Some(model.into()),
            device: self.device.clone(),
            dtype: self.dtype,
            half: false,
            family: self.family.clone(),
        };
        let read = move || Ok(model.load()?);
        self.scorers
            .iter()
            .try_fold(ModelSource::checkpoint(name, read), |source, scorer| {
                let (name, dir) = scorer
                    .split_once('=')
                    .with_context(|| format!("--scorer {scorer}: expected NAME=DIR"))?;
                Ok(source.with_scorer(name, dir))
            })
    }
}

fn listening(addr: SocketAddr) -> anyhow::Result<()> {
    say!("listening on http://{addr}");
    Ok(())
}
