//! `cargo xtask fuzz`: mutated inputs for every way in, for so many seconds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use diffprune_files::Fnv64;
use diffprune_fuzz_targets::{Bench, Mutator, TARGETS, Target, inputs};

/// A run that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(5);
/// The same for a run that computes nothing meanwhile.
const IDLE: Duration = Duration::from_secs(60);
/// A run that holds more than this at once asks for too much.
const MOST: usize = 1 << 30;

/// Counts the bytes that are held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is handed on to the system's allocator with its own arguments; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is the one that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `pointer` came from the system's allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Mutates the stored corpus and reads what comes of it. Findings are inputs that panic, take more than five seconds or more than
/// a gibibyte; they are written to a folder, and the exit code is 1.
#[derive(Debug, Parser)]
struct Flags {
    /// Seconds, shared evenly by the targets.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// One target alone.
    #[arg(long)]
    target: Option<String>,
    /// Seed of the mutations.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the findings.
    #[arg(long, default_value = "target/fuzz", value_name = "DIR")]
    out: PathBuf,
    /// Print where a panic comes from as it happens.
    #[arg(long)]
    backtrace: bool,
}

thread_local! {
    /// Where the last panic of this thread came from, and its message.
    static PLACE: RefCell<(String, String)> = const { RefCell::new((String::new(), String::new())) };
}

/// The input that is being read, for whoever sees that it hangs.
struct Running {
    since: Instant,
    target: &'static str,
    input: Vec<u8>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| flags.target.as_ref().is_none_or(|name| name == target.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!(
            "error: target: expected one of {}, found another name",
            names.join(", ")
        );
        return ExitCode::from(2);
    }
    let loud = flags.backtrace;
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("a panic").to_string();
        PLACE.with(|last| last.replace((place, message)));
        if loud {
            eprintln!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
        }
    }));
    let running: Arc<Mutex<Option<Running>>> = Arc::default();
    watch(running.clone(), flags.out.clone());
    let bench = match Bench::new() {
        Ok(bench) => bench,
        Err(error) => {
            eprintln!("error: cannot prepare the files that targets need: {error}");
            return ExitCode::FAILURE;
        }
    };
    let share = Duration::from_secs(flags.seconds) / chosen.len() as u32;
    let mut found = 0;
    let mut total = 0;
    for target in chosen {
        let (executions, findings) = run(target, &bench, &flags, share, &running);
        println!(
            "{:18} {executions:9} executions, {findings} findings",
            target.name
        );
        total += executions;
        found += findings;
    }
    println!("{total} executions, {found} findings");
    ExitCode::from(u8::from(found > 0))
}

/// Runs one target for its share of the time; gives the numbers of executions and of different findings.
fn run(
    target: &'static Target,
    bench: &Bench,
    flags: &Flags,
    share: Duration,
    running: &Mutex<Option<Running>>,
) -> (u64, usize) {
    let pool: Vec<Vec<u8>> = inputs(target.name)
        .unwrap_or_default()
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    if pool.is_empty() {
        eprintln!("{}: no stored inputs", target.name);
        return (0, 1);
    }
    let mut mutator = Mutator::new(flags.seed);
    let started = Instant::now();
    let (executions, mut places) = (AtomicU64::new(0), Vec::new());
    while started.elapsed() < share {
        let input = match target.shaped {
            true => mutator.choices(&pool),
            false => mutator.next(&pool),
        };
        if let Ok(mut running) = running.lock() {
            *running = Some(Running {
                since: Instant::now(),
                target: target.name,
                input: input.clone(),
            });
        }
        let held = HELD.load(Ordering::Relaxed);
        PEAK.store(held, Ordering::Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(bench, &input)));
        executions.fetch_add(1, Ordering::Relaxed);
        let peak = PEAK.load(Ordering::Relaxed).saturating_sub(held);
        let (place, why) = match outcome {
            Err(_) => PLACE.with(|last| last.borrow().clone()),
            Ok(()) if peak > MOST => ("memory".into(), format!("{} MiB at once", peak >> 20)),
            Ok(()) => continue,
        };
        // One input for each place is enough.
        if !places.contains(&place) {
            keep(&flags.out, target.name, &input, &format!("{place}: {why}"));
            places.push(place);
        }
    }
    if let Ok(mut running) = running.lock() {
        *running = None;
    }
    (executions.into_inner(), places.len())
}

/// Writes down an input that ended badly.
fn keep(out: &std::path::Path, target: &str, input: &[u8], why: &str) {
    let name = format!("{target}-{}", Fnv64::new().bytes(input).short());
    let written = std::fs::create_dir_all(out).and_then(|()| std::fs::write(out.join(&name), input));
    let place = match written {
        Ok(()) => out.join(name).display().to_string(),
        Err(error) => format!("not written: {error}"),
    };
    println!("{target}: {why} ({place})");
}

/// Ends the program when an input hangs: no thread can be ended from outside.
///
/// On a busy machine a process may stand still for seconds, so half of the time must be the process's own; an input that waits and
/// computes nothing hangs after [`IDLE`].
fn watch(running: Arc<Mutex<Option<Running>>>, out: PathBuf) {
    std::thread::spawn(move || {
        let mut seen: Option<(Instant, Option<Duration>)> = None;
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let Ok(running) = running.lock() else { return };
            let Some(now) = running.as_ref() else { continue };
            let (since, before) = match seen {
                Some(seen) if seen.0 == now.since => seen,
                _ => *seen.insert((now.since, processor_time())),
            };
            let passed = since.elapsed();
            let own = processor_time().zip(before).map(|(now, before)| now - before);
            let computes = own.is_none_or(|own| 2 * own > LONGEST);
            if passed > IDLE || passed > LONGEST && computes {
                let seconds = passed.as_secs();
                keep(
                    &out,
                    now.target,
                    &now.input,
                    &format!("takes {seconds} seconds and more"),
                );
                std::process::exit(1);
            }
        }
    });
}

/// Time that processors have worked for this process; `None` where the system does not say.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, which stands in brackets, may hold blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    // A tick is a hundredth of a second on every Linux.
    Some(Duration::from_millis(10 * (user + system)))
}
