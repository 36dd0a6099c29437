//! A server from its settings to its end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, Semaphore};

use crate::config::{Limits, ServeConfig};
use crate::engine::{Model, ModelSource};
use crate::error::ServeError;
use crate::http::{App, Guard, GuardedListener, Peer, now, router};
use crate::metrics::Metrics;
use crate::picture::PictureReader;

/// Bodies of the largest size that may lie in memory at once.
const LARGEST_BODIES: usize = 8;

/// A server that listens. Its models are read on threads of their own meanwhile.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    addr: SocketAddr,
}

impl Server {
    /// Listens, and starts to read the models. The first one answers requests that name none.
    ///
    /// # Errors
    /// When a setting makes no sense, the address is taken, there is no model, or two have one name.
    pub async fn bind(config: ServeConfig, sources: Vec<ModelSource>) -> Result<Self, ServeError> {
        let config = Arc::new(config.checked()?);
        check_names(&sources)?;
        let listen = |source| ServeError::Listen {
            addr: config.addr,
            source,
        };
        let listener = listen_on(config.addr, &config.limits).map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let (metrics, registry) = Metrics::new();
        let start = |source: ModelSource| {
            let metrics = metrics.of(source.name());
            Model::start(source, config.clone(), metrics)
        };
        let models = sources.into_iter().map(start).collect::<Result<Vec<_>, _>>();
        let models = models.map_err(ServeError::Threads)?;
        let created = now();
        let memory = (LARGEST_BODIES * config.limits.body_bytes / 1024).clamp(1, u32::MAX as usize);
        let app = Arc::new(App {
            guard: Guard::new(&config, addr.ip(), created),
            pictures: Arc::new(PictureReader::new(config.clone())),
            bodies: Arc::new(Semaphore::new(memory)),
            fingerprint: format!("diffprune-{}", env!("CARGO_PKG_VERSION")),
            created,
            models,
            metrics,
            registry,
            config,
        });
        Ok(Self { app, listener, addr })
    }

    /// The address, with the port that was found where the settings said 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Something to wait with for the models, while the server runs.
    pub fn readiness(&self) -> Readiness {
        Readiness {
            app: self.app.clone(),
        }
    }

    /// Answers requests until `stop`; then takes no more, lets the running answers end within
    /// [`Limits::stop_time`](crate::Limits::stop_time), and returns.
    ///
    /// # Errors
    /// When the system closes the address.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let Self { app, listener, addr } = self;
        let limits = app.config.limits.clone();
        let listener = GuardedListener::new(listener, &limits);
        let service = router(app.clone()).into_make_service_with_connect_info::<Peer>();
        let stopping = Arc::new(Notify::new());
        let told = stopping.clone();
        let for_models = app.clone();
        let serving = axum::serve(listener, service).with_graceful_shutdown(async move {
            stop.await;
            for_models.models.iter().for_each(Model::close);
            told.notify_one();
        });
        let late = async move {
            stopping.notified().await;
            tokio::time::sleep(limits.stop_time).await;
        };
        tokio::select! {
            served = serving.into_future() => served.map_err(|source| ServeError::Listen { addr, source }),
            () = late => Ok(()),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// Waits for the models of a server.
pub struct Readiness {
    app: Arc<App>,
}

impl Readiness {
    /// Waits until every model answers; gives their names.
    ///
    /// # Errors
    /// [`ServeError::Model`] about the first that cannot be read.
    pub async fn ready(&self) -> Result<Vec<String>, ServeError> {
        let mut names = Vec::new();
        for model in &self.app.models {
            let name = model.name.clone();
            model.settled().await.map_err(|problem| ServeError::Model {
                name: name.clone(),
                problem,
            })?;
            names.push(name);
        }
        Ok(names)
    }
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}

/// A listener with room for a crowd that comes at once.
fn listen_on(addr: SocketAddr, limits: &Limits) -> std::io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that starts again must not wait for the connections of the one before. (Elsewhere this means another thing.)
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(u32::try_from(limits.connections).unwrap_or(u32::MAX))
}

fn check_names(sources: &[ModelSource]) -> Result<(), ServeError> {
    let mut names: Vec<&str> = sources.iter().map(ModelSource::name).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    let found = match (names.is_empty(), twice) {
        (true, _) => "no model".into(),
        (false, Some(pair)) => format!("two models called `{}`", pair[0]),
        (false, None) => return Ok(()),
    };
    Err(ServeError::Setting {
        name: "model",
        found,
        wanted: "at least one model, each with a name of its own (NAME=DIR)".into(),
    })
}

/// What is known of a server as it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// It listens on this address; its models are being read.
    Listening(SocketAddr),
    /// All models answer; these are their names.
    Ready(Vec<String>),
    /// It was told to stop.
    Stopped,
}

/// Runs a server on threads of its own until the process gets SIGINT or SIGTERM.
///
/// # Errors
/// As [`Server::bind`] and [`Server::run`], and when a model cannot be read.
pub fn run(
    config: ServeConfig,
    sources: Vec<ModelSource>,
    mut tell: impl FnMut(Told),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(ServeError::Threads)?.block_on(async {
        let server = Server::bind(config, sources).await?;
        tell(Told::Listening(server.addr()));
        let readiness = server.readiness();
        let running = server.run(stop_signal());
        tokio::pin!(running);
        let names = tokio::select! {
            ended = &mut running => return ended,
            names = readiness.ready() => names?,
        };
        drop(readiness);
        tell(Told::Ready(names));
        running.await?;
        tell(Told::Stopped);
        Ok(())
    })
}

/// Waits for SIGINT (Ctrl-C) or SIGTERM.
pub async fn stop_signal() {
    let interrupt = async {
        // Without a handler the signal ends the process all the same.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
