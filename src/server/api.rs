//! The HTTP API as this peer serves it: its address and certificate, and what only the peer can do for it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rscaler_api::context::{self, Backup, CopyStream, Hooks, JoinTokenText, JoinTokens, Limits, Readiness};
use rscaler_api::server::{Certificate, Server, server_config};
use rscaler_raft::handle::Handle;
use rscaler_raft::network::join::JoinToken;
use rscaler_raft::peer::{Backups, Peer};
use rscaler_raft::store::Space;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Api, durable, open_files};
use crate::config::{Config, TlsFiles};
use crate::metrics::{MetricKind, Metrics};

/// Pieces of a backup read ahead of the client that takes them.
const PIECES_AHEAD: usize = 2;
/// A configured certificate that ends before so many days is worth a word.
const EXPIRY_DAYS_NEAR: i64 = 30;

/// The API's port, open but not yet served: bound first, so that a mistake shows before anything begins.
pub(super) struct Bound {
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    url: String,
    limits: Limits,
}

impl Bound {
    /// Opens the port. With a certificate, or away from loopback, it is for TLS.
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Bound> {
        let listener = TcpListener::bind(config.api)
            .await
            .with_context(|| format!("cannot listen for the API on {}", config.api))?;
        let address = listener.local_addr()?;
        let secure = config.api_tls.is_some() || !address.ip().is_loopback();
        let url = config.api_url.clone().unwrap_or_else(|| url_of(config, address, secure));
        let tls = match &config.api_tls {
            Some(files) => Some(configured(files)?),
            None if secure => Some(server_config(&own_certificate(config, address, &url)?)?),
            None => None,
        };
        let limits = Limits {
            requests_per_second: config.requests_per_second,
            requests_burst: config.requests_per_second * 2,
            ..limits()
        };
        Ok(Bound { listener, tls, url, limits })
    }

    /// Where clients reach it.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The API of a peer that runs.
    pub(super) fn serving(self, peer: &Peer, handle: Handle, metrics: Arc<Metrics>) -> Serving {
        let hooks = Hooks {
            backup: Arc::new(StreamedBackups(peer.backups())),
            join_tokens: Arc::new(AuthorityTokens(peer.authority().to_vec())),
            readiness: vec![Arc::new(Disk(peer.space()))],
        };
        let context = context::Context::new(handle, hooks, self.limits);
        context.metrics().register(|registry| registry.register_collector(Box::new(OwnMetrics(metrics))));
        Serving { server: Server::on(self.listener, self.tls, context) }
    }
}

/// The usual limits, with at most half of the open files for clients: the rest is for nodes, peers and storage.
fn limits() -> Limits {
    let usual = Limits::default();
    let half = usize::try_from(open_files::raise() / 2).unwrap_or(usize::MAX);
    Limits { connections_max: usual.connections_max.min(half).max(16), ..usual }
}

fn read_certificate(cert: &Path, key: &Path) -> anyhow::Result<Certificate> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(Certificate { certificate_pem: read(cert)?, key_pem: read(key)? })
}

/// The certificate that the settings name; a word where it ends soon.
fn configured(files: &TlsFiles) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let certificate = read_certificate(&files.cert, &files.key)?;
    let which = || format!("the API's certificate {} with key {}", files.cert.display(), files.key.display());
    let tls = server_config(&certificate).with_context(which)?;
    let ends = certificate.ends().with_context(which)?;
    let days = ends.duration_since(jiff::Timestamp::now()).as_hours() / 24;
    if days < EXPIRY_DAYS_NEAR {
        let certificate = files.cert.display();
        warn!(%certificate, %ends, days, "the API's certificate has expired or will soon: clients refuse it then");
    }
    Ok(tls)
}

/// The certificate that this peer made for itself, kept so that clients who trust it can go on to. One that is not whole
/// serves nobody, and is made again.
fn own_certificate(config: &Config, address: SocketAddr, url: &str) -> anyhow::Result<Certificate> {
    let (cert, key) = (config.data_dir.join("api.crt"), config.data_dir.join("api.key"));
    if cert.exists() && key.exists() {
        match read_certificate(&cert, &key)
            .and_then(|own| server_config(&own).map(|_| own).map_err(Into::into))
        {
            Ok(own) => return Ok(own),
            Err(error) => {
                warn!(%error, certificate = %cert.display(), "the API's own certificate is damaged")
            }
        }
    }
    let mut names = vec!["localhost".to_string(), "127.0.0.1".to_string(), config.name.clone()];
    if !address.ip().is_unspecified() {
        names.push(address.ip().to_string());
    }
    let host = host_of(url.split_once("://").map_or(url, |(_, rest)| rest));
    if !names.contains(&host) {
        names.push(host);
    }
    let certificate = Certificate::self_signed(&names)?;
    std::fs::create_dir_all(&config.data_dir)?;
    durable::write(&key, certificate.key_pem.as_bytes(), 0o600)?;
    durable::write(&cert, certificate.certificate_pem.as_bytes(), 0o644)?;
    info!(certificate = %cert.display(), "the API has a self-signed certificate: clients trust it with --ca");
    Ok(certificate)
}

/// Where clients are told to come: where the API listens. One that listens everywhere has the host that the other
/// peers are told.
fn url_of(config: &Config, address: SocketAddr, secure: bool) -> String {
    let scheme = if secure { "https" } else { "http" };
    let peer = host_of(config.peer_advertise.as_deref().unwrap_or(&config.peer));
    let everywhere = |host: &str| host.parse::<IpAddr>().is_ok_and(|host| host.is_unspecified());
    if !address.ip().is_unspecified() || everywhere(&peer) {
        return format!("{scheme}://{address}");
    }
    let host = if peer.contains(':') { format!("[{peer}]") } else { peer };
    format!("{scheme}://{host}:{}", address.port())
}

/// The host of `host:port` or `host:port/path`, an IPv6 address without its brackets.
fn host_of(text: &str) -> String {
    let text = text.split('/').next().unwrap_or(text);
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => text,
    };
    host.trim_start_matches('[').trim_end_matches(']').to_string()
}

/// The API, ready to serve.
pub(super) struct Serving {
    server: Server,
}

#[async_trait]
impl Api for Serving {
    async fn serve(self: Box<Self>, stop: CancellationToken) -> Result<(), String> {
        self.server.run(stop).await;
        Ok(())
    }
}

struct StreamedBackups(Backups);

#[async_trait]
impl Backup for StreamedBackups {
    async fn begin(&self) -> Result<CopyStream, String> {
        let snapshot = self.0.snapshot().await.map_err(|error| error.to_string())?;
        let pieces = self.0.pieces(&snapshot).map_err(|error| error.to_string())?;
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        // Pieces are read from disk as the client takes them; a client that goes away ends the reading.
        tokio::task::spawn_blocking(move || {
            for piece in pieces {
                let piece = piece.map(Bytes::from).map_err(std::io::Error::other);
                let failed = piece.is_err();
                if sender.blocking_send(piece).is_err() || failed {
                    break;
                }
            }
            drop(snapshot);
        });
        Ok(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver)))
    }
}

struct AuthorityTokens(Vec<u8>);

impl JoinTokens for AuthorityTokens {
    fn token(&self, secret: [u8; 32]) -> JoinTokenText {
        let token = JoinToken::of(&self.0, secret);
        JoinTokenText { text: token.to_string(), hash: token.hash() }
    }
}

struct Disk(watch::Receiver<Space>);

impl Readiness for Disk {
    fn layer(&self) -> &'static str {
        "disk"
    }

    fn problem(&self) -> Option<String> {
        match *self.0.borrow() {
            Space::Ok => None,
            Space::Low { free_bytes } => {
                Some(format!("the disk has {free_bytes} bytes left: no writes are taken"))
            }
        }
    }
}

/// What the peer counts, in the form of `/metrics`.
#[derive(Debug)]
struct OwnMetrics(Arc<Metrics>);

impl Collector for OwnMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for metric in self.0.read() {
            // The registry adds `rscaler_`, and the encoder a counter's `_total`.
            let name = metric.name.trim_start_matches("rscaler_").trim_end_matches("_total");
            match metric.kind {
                MetricKind::Counter => {
                    let value = ConstCounter::new(metric.value);
                    let encoder = encoder.encode_descriptor(name, metric.help, None, value.metric_type())?;
                    value.encode(encoder)?;
                }
                MetricKind::Gauge => {
                    let value = ConstGauge::new(i64::try_from(metric.value).unwrap_or(i64::MAX));
                    let encoder = encoder.encode_descriptor(name, metric.help, None, value.metric_type())?;
                    value.encode(encoder)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Flags;

    #[test]
    fn a_certificate_of_its_own_is_kept_and_made_again_where_a_crash_left_it_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let flags = Flags {
            data_dir: Some(dir.path().display().to_string()),
            name: Some("p1".to_string()),
            ..Flags::default()
        };
        let config = Config::read(&flags).unwrap();
        let make = || {
            own_certificate(&config, "10.0.0.1:7700".parse().unwrap(), "https://10.0.0.1:7700")
                .unwrap()
                .certificate_pem
        };
        let first = make();
        assert_eq!(make(), first);
        for file in ["api.crt", "api.key"] {
            for left in [0, 100] {
                let before = make();
                let whole = std::fs::read(dir.path().join(file)).unwrap();
                std::fs::write(dir.path().join(file), &whole[..left]).unwrap();
                let again = make();
                assert_ne!(again, before, "{file} of {left} bytes");
                assert_eq!(make(), again);
            }
        }
    }

    #[test]
    fn hosts_are_found_in_addresses_and_urls() {
        for (text, host) in [
            ("10.0.0.1:7700", "10.0.0.1"),
            ("p1.example.org:7700/path", "p1.example.org"),
            ("p1.example.org", "p1.example.org"),
            ("[fd00::1]:7700", "fd00::1"),
        ] {
            assert_eq!(host_of(text), host, "{text}");
        }
    }
}
