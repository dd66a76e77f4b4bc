//! How a peer is set up: a file, the environment and flags, in this order of growing weight. All mistakes are told at
//! once, each with where it stands.
//!
//! Every setting has one name: `data_dir` in the file, `RSCALER_SERVER_DATA_DIR` in the environment, `--data-dir` as a flag. The file
//! is YAML, a flat mapping. ([`SETTINGS`] lists them all; `RSCALER_API` and `RSCALER_TOKEN` without `SERVER` are the client's.)

mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::ssh::Secret;
use crate::telemetry::LogFormat;

pub use read::{Layers, Mistakes};

/// Begins the names of settings in the environment.
pub const ENV_PREFIX: &str = "RSCALER_SERVER_";

/// Every setting: its name, and what it is for.
pub const SETTINGS: &[(&str, &str)] = &[
    ("data_dir", "where this peer keeps its data"),
    ("name", "its name in the control plane; this machine's where absent"),
    ("api", "host:port where the API listens"),
    ("api_url", "URL where clients reach the API, where that is not where it listens"),
    ("api_cert", "PEM file with the API's certificate chain; self-signed where absent and needed"),
    ("api_key", "PEM file with the private key of api_cert"),
    ("peer", "host:port where this peer listens for the others"),
    ("peer_advertise", "host:port where the others reach it, where that is not where it listens"),
    ("bootstrap", "begins a control plane (the first time only)"),
    ("join", "host:port of a peer of the control plane to join (the first time only)"),
    ("join_token", "the right to join, from `rscaler peers token`"),
    ("log_format", "text or json"),
    ("log", "what is logged, such as `info,rscaler::ssh=debug`"),
    ("renew_every", "how often this peer says that it is alive"),
    ("tasks_max", "tasks that this peer runs at once"),
    ("grace", "how long a planned stop may take"),
    ("requests_per_second", "requests that one token may make, in the long run; twice as many at once"),
    (
        "java_home",
        "the Java runtime that speaks to JVMs; the first that is found where absent, `none` for none",
    ),
    ("ssh_connect_timeout", "how long a TCP connection to a node may take"),
    ("ssh_login_timeout", "how long the SSH handshake, and then the login, may take"),
    ("ssh_keepalive", "how long a node may be silent before it is asked for a sign of life"),
    ("ssh_idle_close", "how long an unused connection is kept"),
];

/// How a peer is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// Its name; counts only when it begins or joins.
    pub name: String,
    /// Where the API listens; port 0 takes any.
    pub api: SocketAddr,
    /// Where clients reach it, where that is not where it listens.
    pub api_url: Option<String>,
    /// Certificate chain and key of the API.
    pub api_tls: Option<TlsFiles>,
    /// `host:port` to listen on for peers; port 0 takes any.
    pub peer: String,
    /// `host:port` where peers reach it, where that is not where it listens.
    pub peer_advertise: Option<String>,
    /// What it is to become.
    pub start: Start,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log: String,
    /// How often the session is renewed: 50 ms to 1 s.
    pub renew_every: Duration,
    /// Tasks at once: 1 to 10,000.
    pub tasks_max: u32,
    /// How long a planned stop may take: 1 s to 1 h.
    pub grace: Duration,
    /// Requests of one token a second, in the long run: 1 to 10 million.
    pub requests_per_second: u32,
    /// Bounds of connections to nodes.
    pub ssh: crate::ssh::Options,
    /// Which Java speaks to JVMs.
    pub java: crate::jvm::JavaChoice,
}

/// Certificate chain and key, PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The chain, the API's own certificate first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a peer is to become.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// What its data directory says it is.
    Open,
    /// The first peer of a new control plane.
    Bootstrap,
    /// One more peer of a control plane.
    Join {
        /// `host:port` of a peer of it.
        addr: String,
        /// The right to join.
        token: Secret,
    },
}

impl Config {
    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// [`Mistakes`]: all of them.
    pub fn read(flags: &Flags) -> Result<Config, Mistakes> {
        let mut layers = Layers::default();
        if let Some(path) = &flags.config {
            layers.add_file(path);
        }
        layers.add_environment(std::env::vars_os());
        layers.add_flags(flags);
        layers.read()
    }

    /// The options of [`crate::server::run`], for an API that answers at `api_url`.
    pub fn server_options(&self, api_url: impl Into<String>) -> crate::server::Options {
        crate::server::Options {
            renew_every: self.renew_every,
            tasks_max: self.tasks_max,
            grace: self.grace,
            ssh: self.ssh.clone(),
            java: crate::jvm::Options::new(&self.java),
            ..crate::server::Options::new(api_url)
        }
    }
}

/// Settings as flags. Each is checked together with the file's and the environment's, so none is parsed here.
#[derive(clap::Args, Clone, Default)]
pub struct Flags {
    /// File with settings (YAML)
    #[arg(long, value_name = "FILE", env = "RSCALER_SERVER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where this peer keeps its data
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Its name in the control plane [default: this machine's]
    #[arg(long)]
    pub name: Option<String>,
    /// Where the API listens [default: 127.0.0.1:7700]
    #[arg(long, value_name = "HOST:PORT")]
    pub api: Option<String>,
    /// Where clients reach the API, where that is not where it listens
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,
    /// PEM file with the API's certificate chain [default: self-signed, but for loopback]
    #[arg(long, value_name = "FILE")]
    pub api_cert: Option<String>,
    /// PEM file with its private key
    #[arg(long, value_name = "FILE")]
    pub api_key: Option<String>,
    /// Where this peer listens for the others [default: 127.0.0.1:7701]
    #[arg(long, value_name = "HOST:PORT")]
    pub peer: Option<String>,
    /// Where the others reach it, where that is not where it listens
    #[arg(long, value_name = "HOST:PORT")]
    pub peer_advertise: Option<String>,
    /// Begin a control plane (the first time only)
    #[arg(long)]
    pub bootstrap: bool,
    /// Join the control plane of the peer at this address (the first time only)
    #[arg(long, value_name = "HOST:PORT")]
    pub join: Option<String>,
    /// The right to join, from `rscaler peers token`
    // It may begin with a hyphen.
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    pub join_token: Option<String>,
    /// How log lines look: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// What is logged, such as `info,rscaler::ssh=debug`
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Tasks that this peer runs at once [default: 64]
    #[arg(long, value_name = "N")]
    pub tasks_max: Option<String>,
    /// How long a planned stop may take [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub grace: Option<String>,
    /// The Java runtime that speaks to JVMs, or none [default: the first that is found]
    #[arg(long, value_name = "DIR")]
    pub java_home: Option<String>,
    /// How often this peer says that it is alive [default: 400ms]
    #[arg(long, value_name = "DURATION", hide = true)]
    pub renew_every: Option<String>,
}

impl Flags {
    /// The settings that were given, by name.
    pub fn settings(&self) -> BTreeMap<&'static str, String> {
        let given = [
            ("data_dir", &self.data_dir),
            ("name", &self.name),
            ("api", &self.api),
            ("api_url", &self.api_url),
            ("api_cert", &self.api_cert),
            ("api_key", &self.api_key),
            ("peer", &self.peer),
            ("peer_advertise", &self.peer_advertise),
            ("join", &self.join),
            ("join_token", &self.join_token),
            ("log_format", &self.log_format),
            ("log", &self.log),
            ("tasks_max", &self.tasks_max),
            ("grace", &self.grace),
            ("java_home", &self.java_home),
            ("renew_every", &self.renew_every),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        given.chain(self.bootstrap.then(|| ("bootstrap", "true".to_string()))).collect()
    }
}

impl fmt::Debug for Flags {
    /// Without the join token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut settings = self.settings();
        if let Some(token) = settings.get_mut("join_token") {
            *token = "***".to_string();
        }
        f.debug_struct("Flags").field("config", &self.config).field("settings", &settings).finish()
    }
}

#[cfg(test)]
#[path = "config_test.rs"]
mod tests;
