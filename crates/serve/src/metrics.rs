//! What the server counts, for Prometheus.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::Usage;

/// Labels, in the order in which they are written.
type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge<u64, AtomicU64>>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Seconds, from a fast small model to a slow large one.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// All that the server counts.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Counters,
    request_time: Histograms,
    first_token: Histograms,
    between_tokens: Histograms,
    queue: Gauges,
    running: Gauges,
    kv_bytes: Gauges,
    visual_tokens: Counters,
    prompt_tokens: Counters,
    completion_tokens: Counters,
    cancelled: Counters,
    cache: Counters,
    cache_bytes: Gauges,
}

impl Metrics {
    /// Nothing counted yet; the registry knows every name.
    pub fn new() -> (Self, Registry) {
        let histograms = || Histograms::new_with_constructor(seconds);
        let metrics = Self {
            requests: Family::default(),
            request_time: histograms(),
            first_token: histograms(),
            between_tokens: histograms(),
            queue: Family::default(),
            running: Family::default(),
            kv_bytes: Family::default(),
            visual_tokens: Family::default(),
            prompt_tokens: Family::default(),
            completion_tokens: Family::default(),
            cancelled: Family::default(),
            cache: Family::default(),
            cache_bytes: Family::default(),
        };
        let mut registry = Registry::with_prefix("diffprune");
        let m = metrics.clone();
        registry.register("requests", "Requests answered, by route and status", m.requests);
        registry.register(
            "request_seconds",
            "Time from a request to the head of its answer, by route",
            m.request_time,
        );
        registry.register(
            "time_to_first_token_seconds",
            "Time from a request's arrival at its model to the first token",
            m.first_token,
        );
        registry.register(
            "time_between_tokens_seconds",
            "Time between two tokens of an answer",
            m.between_tokens,
        );
        registry.register("queue_length", "Requests that wait for a model", m.queue);
        registry.register("running", "Answers that are being made", m.running);
        registry.register(
            "kv_bytes",
            "Bytes of keys and values of the answers that are being made",
            m.kv_bytes,
        );
        registry.register(
            "visual_tokens",
            "Visual tokens of answered requests, kept and dropped",
            m.visual_tokens,
        );
        registry.register(
            "prompt_tokens",
            "Tokens of prompts, pictures included",
            m.prompt_tokens,
        );
        registry.register("completion_tokens", "New tokens", m.completion_tokens);
        registry.register(
            "cancelled",
            "Answers given up because nobody waited for them any more",
            m.cancelled,
        );
        registry.register(
            "cache_lookups",
            "Lookups in the caches of features, selections and prefixes, hits and misses",
            m.cache,
        );
        registry.register("cache_bytes", "Bytes held by each cache", m.cache_bytes);
        (metrics, registry)
    }

    /// A request is answered.
    pub fn request(&self, route: &str, status: u16, seconds: f64) {
        let route = ("route", route.to_string());
        let labels = vec![route.clone(), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
        self.request_time.get_or_create(&vec![route]).observe(seconds);
    }

    /// The counts of one model.
    pub fn of(&self, model: &str) -> ModelMetrics {
        ModelMetrics {
            all: self.clone(),
            model: model.into(),
        }
    }
}

/// The counts of one model.
#[derive(Debug, Clone)]
pub(crate) struct ModelMetrics {
    all: Metrics,
    model: String,
}

impl ModelMetrics {
    fn labels(&self, more: &[(&'static str, &str)]) -> Labels {
        let more = more.iter().map(|(name, value)| (*name, value.to_string()));
        std::iter::once(("model", self.model.clone()))
            .chain(more)
            .collect()
    }

    /// A lookup in a cache.
    pub fn cache(&self, cache: &str, hit: bool) {
        let outcome = if hit { "hit" } else { "miss" };
        let labels = self.labels(&[("cache", cache), ("outcome", outcome)]);
        self.all.cache.get_or_create(&labels).inc();
    }

    /// Bytes that a cache holds.
    pub fn cache_bytes(&self, cache: &str, bytes: u64) {
        self.all
            .cache_bytes
            .get_or_create(&self.labels(&[("cache", cache)]))
            .set(bytes);
    }

    /// The first token of an answer.
    pub fn first_token(&self, seconds: f64) {
        self.all
            .first_token
            .get_or_create(&self.labels(&[]))
            .observe(seconds);
    }

    /// A further token.
    pub fn between_tokens(&self, seconds: f64) {
        self.all
            .between_tokens
            .get_or_create(&self.labels(&[]))
            .observe(seconds);
    }

    /// An answer nobody waits for.
    pub fn cancelled(&self) {
        self.all.cancelled.get_or_create(&self.labels(&[])).inc();
    }

    /// A complete answer.
    pub fn finished(&self, usage: &Usage) {
        let labels = self.labels(&[]);
        self.all
            .prompt_tokens
            .get_or_create(&labels)
            .inc_by(usage.prompt_tokens as u64);
        self.all
            .completion_tokens
            .get_or_create(&labels)
            .inc_by(usage.completion_tokens as u64);
        let kept = usage.visual_tokens_kept as u64;
        let dropped = (usage.visual_tokens_total as u64).saturating_sub(kept);
        for (outcome, count) in [("kept", kept), ("dropped", dropped)] {
            let labels = self.labels(&[("outcome", outcome)]);
            self.all.visual_tokens.get_or_create(&labels).inc_by(count);
        }
    }

    /// How busy the model is.
    pub fn load(&self, waiting: usize, running: usize, kv_bytes: u64) {
        let labels = self.labels(&[]);
        self.all.queue.get_or_create(&labels).set(waiting as u64);
        self.all.running.get_or_create(&labels).set(running as u64);
        self.all.kv_bytes.get_or_create(&labels).set(kv_bytes);
    }
}

/// The registry in Prometheus' text format.
pub(crate) fn text(registry: &Registry) -> Option<String> {
    let mut text = String::new();
    encode(&mut text, registry).ok().map(|()| text)
}
