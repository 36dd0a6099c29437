//! Load on `diffprune serve`, over loopback: throughput and time to the first token against the number of clients at three
//! budgets, and a crowd of a thousand clients.
//!
//! ```sh
//! cargo run -r -p diffprune-benches --bin serve-load -- --out runs/load assets/mini-llava-1.5 …
//! ```
//!
//! `--draw DIR` draws the curves of a record again. Every number of requests and every time is bounded. A thousand clients need two thousand files: `ulimit -n 4096`.

mod client;
mod crowd;
mod curve;
mod plot;

use std::path::{Path, PathBuf};

use diffprune_serve::{ModelSource, ServeConfig, Server};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    if let [_, word, dir] = std::env::args().collect::<Vec<_>>().as_slice()
        && word == "--draw"
    {
        return draw_again(Path::new(dir));
    }
    let (out, models) = arguments()?;
    std::fs::create_dir_all(&out)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // What else the machine did: processes that wanted a core over the last minute, before and after each part.
    let mut others = vec![load_average()?];
    let mut curves = Vec::new();
    for dir in &models {
        let name = dir
            .file_name()
            .map_or("model".into(), |name| name.to_string_lossy().into_owned());
        eprintln!("{name}");
        let points = runtime.block_on(curve::run(dir))?;
        for (file, svg) in plot::draw(&name, &points)? {
            std::fs::write(out.join(file), svg)?;
        }
        curves.push(json!({"model": name, "points": points}));
        others.push(load_average()?);
    }
    eprintln!("crowd");
    let crowd = runtime.block_on(crowd::run())?;
    let record = json!({
        "revision": diffprune_lab::revision(),
        "cores": std::thread::available_parallelism()?.get(),
        "release": !cfg!(debug_assertions),
        "load_average": others,
        "settings": {
            "clients": curve::CLIENTS, "budgets": curve::BUDGETS, "new_tokens": curve::NEW_TOKENS, "rounds": curve::ROUNDS,
            "caches": "off in the curves, so that every picture is encoded, chosen from and read",
        },
        "curves": curves,
        "crowd": crowd,
    });
    std::fs::write(
        out.join("load.json"),
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

/// The folder for results, and those of the models.
fn arguments() -> Result<(PathBuf, Vec<PathBuf>), Failure> {
    let mut out = PathBuf::from("runs/load");
    let mut models = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--out" => out = words.next().ok_or("--out: expected a folder behind it")?.into(),
            dir => models.push(PathBuf::from(dir)),
        }
    }
    match models.iter().find(|dir| !Path::new(dir).is_dir()) {
        Some(dir) => Err(format!("{}: found no folder, expected that of a model", dir.display()).into()),
        None => Ok((out, models)),
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
