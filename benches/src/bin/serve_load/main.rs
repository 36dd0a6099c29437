//! Load on `diffprune serve`, over loopback: throughput and time to the first token against the number of clients at three
//! budgets, and a crowd of a thousand clients.
//!
//! ```sh
//! cargo run -r -p diffprune-benches --bin serve-load -- --out runs/load assets/mini-llava-1.5 …
//! cargo run -r -p diffprune-benches --bin serve-load -- --out runs/load --shape llava-1.5-7b --width 1024 --layers 4
//! ```
//!
//! A shape has random weights: a published model's proportions, all its widths divided alike and its first layers only, with
//! every visual token. `--rounds N` measures each point N times, `--seconds N` begins no request of a point later; without
//! folders and `--shape` only the crowd is measured.
//! `--draw DIR` draws the curves of a record again. Every number of requests and every time is bounded. A thousand clients need
//! two thousand files: `ulimit -n 4096`.

mod client;
mod crowd;
mod curve;
mod plot;
mod shape;

use std::path::{Path, PathBuf};
use std::time::Duration;

use burn::tensor::Device;
use diffprune_lab::LoadedModel;
use diffprune_serve::{ModelSource, ServeConfig, Server};
use diffprune_vlm_adapters::LoadOptions;
use serde_json::{Value, json};

use curve::Effort;
use shape::Shape;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    if let [_, word, dir] = std::env::args().collect::<Vec<_>>().as_slice()
        && word == "--draw"
    {
        return draw_again(Path::new(dir));
    }
    let asked = Asked::read()?;
    std::fs::create_dir_all(&asked.out)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // What else the machine did: processes that wanted a core over the last minute, before and after each part.
    let mut others = vec![load_average()?];
    let mut curves = Vec::new();
    let mut measure = |name: String, source: ModelSource, shape: Option<&Shape>| -> Result<(), Failure> {
        eprintln!("{name}");
        let points = runtime.block_on(curve::run(source, asked.effort, shape.is_some()))?;
        for (file, svg) in plot::draw(&name, &points)? {
            std::fs::write(asked.out.join(file), svg)?;
        }
        curves.push(json!({"model": name, "shape": shape, "points": points}));
        others.push(load_average()?);
        Ok(())
    };
    for dir in &asked.models {
        let name = dir
            .file_name()
            .map_or("model".into(), |name| name.to_string_lossy().into_owned());
        let dir = dir.clone();
        let read = move || Ok(LoadedModel::load(&dir, &Device::flex(), LoadOptions::f32())?);
        measure(name, ModelSource::checkpoint("model", read), None)?;
    }
    if let Some(shape) = asked.shape {
        let (vlm, shape) = shape.model()?;
        eprintln!(
            "{} weights, {} visual tokens",
            shape.parameters, shape.visual_tokens
        );
        measure(
            shape.name(),
            ModelSource::new("model", move || Ok(vlm)),
            Some(&shape),
        )?;
    }
    eprintln!("crowd");
    let crowd = runtime.block_on(crowd::run())?;
    let record = json!({
        "revision": diffprune_lab::revision(),
        "cores": std::thread::available_parallelism()?.get(),
        "release": !cfg!(debug_assertions),
        "load_average": others,
        "settings": {
            "clients": curve::CLIENTS, "budgets": curve::BUDGETS, "new_tokens": curve::NEW_TOKENS,
            "rounds": asked.effort.rounds, "seconds": asked.effort.longest.as_secs(),
            "caches": "off in the curves, so that every picture is encoded, chosen from and read",
        },
        "curves": curves,
        "crowd": crowd,
    });
    std::fs::write(
        asked.out.join("load.json"),
        serde_json::to_string_pretty(&record)? + "\n",
    )?;
    Ok(())
}

/// Draws the curves of a record again.
fn draw_again(dir: &Path) -> Result<(), Failure> {
    let record: Value = serde_json::from_slice(&std::fs::read(dir.join("load.json"))?)?;
    for curve in record["curves"].as_array().into_iter().flatten() {
        let points: Vec<curve::Point> = serde_json::from_value(curve["points"].clone())?;
        for (file, svg) in plot::draw(curve["model"].as_str().unwrap_or("model"), &points)? {
            std::fs::write(dir.join(file), svg)?;
        }
    }
    Ok(())
}

/// The first number of `/proc/loadavg`, this program's own share included.
fn load_average() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

/// What the command line asks for.
struct Asked {
    out: PathBuf,
    models: Vec<PathBuf>,
    shape: Option<Shape>,
    effort: Effort,
}

impl Asked {
    fn read() -> Result<Self, Failure> {
        let mut asked = Self {
            out: PathBuf::from("runs/load"),
            models: Vec::new(),
            shape: None,
            effort: Effort {
                rounds: curve::ROUNDS,
                longest: curve::LONGEST,
            },
        };
        let (mut width, mut layers) = (None, None);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut next = || {
                words
                    .next()
                    .ok_or_else(|| format!("{word}: expected a value behind it"))
            };
            match word.as_str() {
                "--out" => asked.out = next()?.into(),
                "--shape" => asked.shape = Some(Shape::whole(&next()?)?),
                "--width" => width = Some(next()?.parse()?),
                "--layers" => layers = Some(next()?.parse()?),
                "--rounds" => asked.effort.rounds = next()?.parse::<usize>()?.max(1),
                "--seconds" => asked.effort.longest = Duration::from_secs(next()?.parse()?),
                _ if word.starts_with("--") => {
                    let known = "--out, --shape, --width, --layers, --rounds, --seconds, --draw and folders of models";
                    return Err(format!("{word}: expected {known}").into());
                }
                _ => asked.models.push(PathBuf::from(word)),
            }
        }
        match &mut asked.shape {
            Some(shape) => {
                shape.width = width.unwrap_or(shape.width);
                shape.layers = layers.unwrap_or(shape.layers);
            }
            None if width.or(layers).is_some() => {
                return Err("--width and --layers: expected --shape beside them".into());
            }
            None => {}
        }
        match asked.models.iter().find(|dir| !dir.is_dir()) {
            Some(dir) => Err(format!("{}: found no folder, expected that of a model", dir.display()).into()),
            None => Ok(asked),
        }
    }
}

/// A server of one model on a free port of loopback, on threads of its own, until the sender is dropped.
async fn serve(
    source: ModelSource,
    change: impl FnOnce(&mut ServeConfig),
) -> Result<(std::net::SocketAddr, tokio::sync::oneshot::Sender<()>), Failure> {
    let mut config = ServeConfig::default();
    config.addr.set_port(0);
    change(&mut config);
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let server = Server::bind(config, vec![source]).await?;
            let (addr, readiness) = (server.addr(), server.readiness());
            let running = tokio::spawn(server.run(async {
                let _ = stopped.await;
            }));
            readiness.ready().await?;
            // Whoever asked for the server waits for this.
            let _ = tell.send(addr);
            Ok(running.await??)
        })
    });
    let addr = told
        .await
        .map_err(|_| "the server does not start; see its model")?;
    Ok((addr, stop))
}
