use std::path::PathBuf;

use crate::consensus::{Timers, UpkeepConfig};
use crate::network::server::Limits;
use crate::store::SpaceWatch;

/// How a peer runs.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Its data directory; created where it is absent.
    pub data_dir: PathBuf,
    /// The name to be admitted under; unique in the control plane. Counts only when it begins or joins.
    pub name: String,
    /// `host:port` to listen on for peers; port 0 takes any.
    pub listen: String,
    /// `host:port` where other peers reach it, where that is not where it listens.
    pub advertise: Option<String>,
    /// Where clients reach its API.
    pub api_url: String,
    /// Raft's timers; the same on all peers.
    pub timers: Timers,
    /// Bounds of the peer port.
    pub limits: Limits,
    /// When checkpoints and snapshots are made.
    pub upkeep: UpkeepConfig,
    /// How many entries the log keeps behind a snapshot, for peers that are not far behind.
    pub log_entries_kept: u64,
    /// Below this many free bytes it takes no writes.
    pub space_threshold_bytes: u64,
}

impl PeerConfig {
    /// The usual settings.
    pub fn new(
        data_dir: impl Into<PathBuf>,
        name: impl Into<String>,
        listen: impl Into<String>,
        api_url: impl Into<String>,
    ) -> PeerConfig {
        PeerConfig {
            data_dir: data_dir.into(),
            name: name.into(),
            listen: listen.into(),
            advertise: None,
            api_url: api_url.into(),
            timers: Timers::default(),
            limits: Limits::default(),
            upkeep: UpkeepConfig::default(),
            log_entries_kept: 20_000,
            space_threshold_bytes: SpaceWatch::THRESHOLD_BYTES,
        }
    }
}
