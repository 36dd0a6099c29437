//! The readers.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use burn::tensor::Device;
use diffprune::vlm::{
    HubOptions, ImageOrientation, Turn, Vit, decode_image, image_size, load_vlm, plan_vlm, resolve_checkpoint,
};
use diffprune::{
    Budget, CaptionData, CaptionFolder, HeadCheckpoint, LoadOptions, Method, TrainConfig, Variant,
};
use diffprune_eval::{
    Benchmark, Manifest, Protocols, ReadOptions, RecordFile, Report, Stop, read_captions, unpack_captions,
    unpack_parquet,
};
use diffprune_lab::{Plan, StoredRun};
use diffprune_mini::{DeitRecipe, PretrainConfig};

use crate::served::Served;
use crate::shaped::{self, Forms};

/// One way in.
pub struct Target {
    /// Its name, also of the folder of its corpus and of its file for `cargo fuzz`.
    pub name: &'static str,
    /// Reads the bytes; what comes of it does not matter.
    pub run: fn(&Bench, &[u8]),
    /// True when the bytes are the choices of a generator: any bytes make an input of the right form.
    pub shaped: bool,
}

impl Target {
    const fn of(name: &'static str, run: fn(&Bench, &[u8])) -> Self {
        Self {
            name,
            run,
            shaped: false,
        }
    }

    const fn shaped(name: &'static str, run: fn(&Bench, &[u8])) -> Self {
        Self {
            name,
            run,
            shaped: true,
        }
    }
}

/// Every way in.
pub const TARGETS: [Target; 24] = [
    Target::of("safetensors", safetensors),
    Target::of("scorer", scorer),
    Target::of("index", index),
    Target::of("settings", settings),
    Target::of("tokenizer", tokenizer),
    Target::of("template", template),
    Target::of("image", image),
    Target::of("tsv", tsv),
    Target::of("questions", questions),
    Target::of("jsonl", jsonl),
    Target::of("toml", toml),
    Target::of("parquet", parquet),
    Target::of("hub", hub),
    Target::of("options", options),
    Target::of("http", http),
    Target::of("chat", chat),
    Target::of("select", select),
    Target::shaped("shaped_options", shaped::options),
    Target::shaped("shaped_settings", shaped::settings),
    Target::shaped("shaped_toml", shaped::toml),
    Target::shaped("shaped_safetensors", shaped::safetensors),
    Target::shaped("shaped_tokens", shaped::choice),
    Target::shaped("shaped_chat", shaped::chat),
    Target::shaped("shaped_select", shaped::select),
];

/// What targets need beside the bytes: a folder for files, checkpoints in which one file is replaced, a hub, a server.
pub struct Bench {
    folder: tempfile::TempDir,
    answer: Arc<Mutex<Vec<u8>>>,
    endpoint: String,
    forms: Forms,
    server: LazyLock<Served>,
}

/// Files of a checkpoint, of which the first byte of an input names one.
const SETTINGS: [&str; 7] = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.json",
];

impl Bench {
    /// Copies the tiny checkpoints of the fixtures, and starts a hub that answers with an input.
    ///
    /// # Errors
    /// When a file or a connection is refused.
    pub fn new() -> std::io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/hf/checkpoints");
        for (from, to) in [("llava15_tiny", "llava"), ("qwen25vl_tiny", "qwen")] {
            copy(&fixtures.join(from), &folder.path().join(to))?;
            copy(
                &fixtures.join(from),
                &folder.path().join(to).with_extension("weights"),
            )?;
        }
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let answer = Arc::new(Mutex::new(Vec::new()));
        let told = answer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let mut request = [0; 2048];
                // Whatever is asked, and whoever has gone away: the next connection gets the same.
                let _ = stream.read(&mut request);
                let answer = told.lock().map(|answer| answer.clone()).unwrap_or_default();
                let _ = stream.write_all(&answer);
            }
        });
        Ok(Self {
            forms: Forms::read(folder.path())?,
            // Only three targets and their generators ask it.
            server: LazyLock::new(|| Served::start().expect("a server on the loopback interface")),
            folder,
            answer,
            endpoint,
        })
    }

    /// What generators start from.
    pub(crate) fn forms(&self) -> &Forms {
        &self.forms
    }

    /// The server, which starts when it is first asked for.
    pub(crate) fn server(&self) -> &Served {
        &self.server
    }

    /// A file with these bytes, in a folder of its own.
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("files").join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).expect("a folder for inputs");
        }
        fs::write(&path, bytes).expect("room for an input");
        path
    }

    /// The folder of the files.
    fn files(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.file(name, bytes);
        path.parent().map(Path::to_path_buf).unwrap_or_default()
    }

    /// A checkpoint in which one file has these bytes while `work` looks at it.
    pub(crate) fn checkpoint(&self, name: &str, file: &str, bytes: &[u8], work: impl FnOnce(&Path)) {
        let dir = self.folder.path().join(name);
        let path = dir.join(file);
        let _restored = Restored {
            before: fs::read(&path).ok(),
            path: path.clone(),
        };
        fs::write(&path, bytes).expect("room for an input");
        work(&dir);
    }
}

/// Puts a file back as it was, also when reading it has panicked.
struct Restored {
    path: PathBuf,
    before: Option<Vec<u8>>,
}

impl Drop for Restored {
    fn drop(&mut self) {
        let outcome = match &self.before {
            Some(before) => fs::write(&self.path, before),
            None => fs::remove_file(&self.path),
        };
        outcome.expect("the file as it was");
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The weights of a checkpoint.
pub(crate) fn safetensors(bench: &Bench, bytes: &[u8]) {
    let dir = bench.folder.path().join("llava.weights");
    fs::write(dir.join("model.safetensors"), bytes).expect("room for an input");
    let _ = load_vlm(&dir, &Device::flex(), LoadOptions::default());
    let _ = Vit::load(&dir, &Device::flex());
}

/// A trained scorer: the first byte says which of its files the others are.
fn scorer(bench: &Bench, bytes: &[u8]) {
    let (which, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let name = if which % 2 == 0 {
        "model.safetensors"
    } else {
        "diffprune.json"
    };
    let dir = bench.files(&format!("scorer/{name}"), bytes);
    let _ = HeadCheckpoint::metadata(&dir);
    let _ = HeadCheckpoint::load(&dir, &Device::flex());
}

/// The index of weights in several files.
fn index(bench: &Bench, bytes: &[u8]) {
    let dir = bench.folder.path().join("qwen.weights");
    // Only without the one file is the index read.
    let (whole, apart) = (
        dir.join("model.safetensors"),
        dir.join("model-00001-of-00001.safetensors"),
    );
    if whole.is_file() {
        fs::rename(&whole, &apart).expect("a file of its own");
    }
    fs::write(dir.join("model.safetensors.index.json"), bytes).expect("room for an input");
    let _ = load_vlm(&dir, &Device::flex(), LoadOptions::default());
}

/// Settings of a checkpoint: the first byte says which file the others are, and of which of two models.
fn settings(bench: &Bench, bytes: &[u8]) {
    let (which, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let model = if which & 0x80 == 0 { "llava" } else { "qwen" };
    let file = SETTINGS[usize::from(which & 0x7f) % SETTINGS.len()];
    bench.checkpoint(model, file, bytes, plan);
}

/// What is computed of settings alone.
pub(crate) fn plan(dir: &Path) {
    let Ok(plan) = plan_vlm(dir, LoadOptions::default()) else {
        return;
    };
    let _ = plan.prompt_ids(&[Turn::ask("What is it?").with_images(1)]);
    let _ = plan.layout(500, 375);
    let _ = plan.kv_bytes_per_token();
}

fn tokenizer(bench: &Bench, bytes: &[u8]) {
    bench.checkpoint("llava", "tokenizer.json", bytes, plan);
}

fn template(bench: &Bench, bytes: &[u8]) {
    bench.checkpoint("llava", "chat_template.jinja", bytes, plan);
}

fn image(bench: &Bench, bytes: &[u8]) {
    let _ = decode_image("input", bytes);
    let path = bench.file("picture", bytes);
    let _ = image_size(path, ImageOrientation::Upright);
}

fn tsv(bench: &Bench, bytes: &[u8]) {
    let dir = bench.files("mmbench/mmbench_dev_20230712.tsv", bytes);
    read(&dir, Benchmark::MmBench);
    let dir = bench.files("table/captions.tsv", bytes);
    let _ = read_captions(&dir, false);
}

fn read(dir: &Path, benchmark: Benchmark) {
    if let Ok(loaded) = benchmark.load(dir, &ReadOptions::default()) {
        for question in loaded.questions.iter().take(4) {
            let _ = question.load_image();
        }
    }
}

/// Question files in JSON: the first byte says of which benchmark.
fn questions(bench: &Bench, bytes: &[u8]) {
    let (which, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let (benchmark, file) = [
        (Benchmark::Gqa, "gqa/testdev_balanced_questions.json"),
        (Benchmark::SeedBench, "seed/SEED-Bench.json"),
        (Benchmark::VizWiz, "vizwiz/val.json"),
        (Benchmark::TextVqa, "textvqa/TextVQA_0.5.1_val.json"),
        (Benchmark::ScienceQa, "scienceqa/problems.json"),
        (
            Benchmark::VqaV2,
            "vqav2/v2_OpenEnded_mscoco_val2014_questions.json",
        ),
    ][usize::from(*which) % 6];
    let dir = bench.files(file, bytes);
    read(&dir, benchmark);
}

fn jsonl(bench: &Bench, bytes: &[u8]) {
    let dir = bench.files("captions/captions.jsonl", bytes);
    let _ = read_captions(&dir, false);
    if let Ok(folder) = CaptionFolder::open(&dir) {
        for index in 0..folder.len().min(4) {
            let _ = folder.sample(index);
        }
        let _ = folder.digest();
    }
    let dir = bench.files("pope/coco_pope_random.json", bytes);
    read(&dir, Benchmark::Pope);
    let dir = bench.files("run/records.jsonl", bytes);
    let _ = RecordFile::read(&dir.join("records.jsonl"));
    let _ = StoredRun::read(&dir).and_then(|run| run.report());
}

/// Settings and results of the family's own: TOML and JSON.
pub(crate) fn toml(bench: &Bench, bytes: &[u8]) {
    let path = bench.file("own/train.toml", bytes);
    if let Ok(config) = TrainConfig::from_file(&path) {
        let _ = config.resolve(64, &Device::flex());
    }
    let _ = Report::read(&path);
    let _ = Manifest::read(&path);
    let text = String::from_utf8_lossy(bytes);
    let _ = ::toml::from_str::<Plan>(&text);
    let _ = ::toml::from_str::<PretrainConfig>(&text);
    let _ = ::toml::from_str::<DeitRecipe>(&text);
}

fn parquet(bench: &Bench, bytes: &[u8]) {
    let from = bench.files("parquet/test-00000-of-00001.parquet", bytes);
    bench.file("parquet/train-00000-of-00001.parquet", bytes);
    let to = bench.folder.path().join("unpacked");
    let stop = Stop::default();
    for benchmark in [Benchmark::Mme, Benchmark::Pope] {
        let _ = unpack_parquet(benchmark, &from, &to, &stop, &mut |_, _| ());
    }
    let _ = unpack_captions(&from, &to, None, &stop, &mut |_, _| ());
    let _ = fs::remove_dir_all(&to);
}

/// An answer of a hub, head and all, to whatever is asked.
fn hub(bench: &Bench, bytes: &[u8]) {
    if let Ok(mut answer) = bench.answer.lock() {
        *answer = bytes.to_vec();
    }
    let cache = bench.folder.path().join("cache");
    let mut options = HubOptions::new(&cache);
    options.endpoint = bench.endpoint.clone();
    options.retries = 0;
    options.pause = Duration::ZERO;
    options.timeout = Duration::from_secs(2);
    let _ = resolve_checkpoint("owner/name", &options);
    let _ = fs::remove_dir_all(&cache);
}

/// Texts of options.
pub(crate) fn options(_: &Bench, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(budget) = Budget::from_str(&text) {
        for n_tokens in [0, 1, 576, usize::MAX] {
            let _ = budget.resolve(n_tokens);
        }
    }
    let _ = Protocols::from_str(&text);
    let _ = Method::from_str(&text);
    let _ = Variant::named(&text);
}

/// A request to the server, head and all.
fn http(bench: &Bench, bytes: &[u8]) {
    bench.server().raw(bytes);
}

/// The body of a chat completion.
fn chat(bench: &Bench, bytes: &[u8]) {
    bench.server().chat(bytes);
}

/// The body of a selection.
fn select(bench: &Bench, bytes: &[u8]) {
    bench.server().select(bytes);
}
