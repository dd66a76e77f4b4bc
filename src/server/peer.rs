//! The process of `rscaler server`: what the configuration says becomes a peer that runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use rscaler_raft::command::{Change, Command, Expect};
use rscaler_raft::handle::Handle;
use rscaler_raft::identity::Origin;
use rscaler_raft::model::{Actor, Kind, Name, Role, Spec, Token};
use rscaler_raft::network::join::JoinToken;
use rscaler_raft::peer::{Peer, PeerConfig, Stopped};
use rscaler_raft::secrets;
use tracing::{info, warn};

use super::{ControlPlane, Parts, durable};
use crate::config::{Config, Start};
use crate::metrics::Metrics;

/// The name of the first token, and of the file in the data directory that holds its text.
const ADMIN_TOKEN: &str = "admin";
const ADMIN_TOKEN_FILE: &str = "admin.token";

/// Runs a peer until it is asked to stop or cannot go on.
///
/// # Errors
/// Why it could not begin, or had to stop.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let api = super::api::Bound::bind(&config).await?;
    let peer_config = PeerConfig {
        advertise: config.peer_advertise.clone(),
        ..PeerConfig::new(&config.data_dir, &config.name, &config.peer, api.url())
    };
    let peer = match &config.start {
        Start::Bootstrap => Peer::bootstrap(peer_config).await,
        Start::Join { addr, token } => {
            let token: JoinToken = token.expose().parse().context("the join token is not one")?;
            Peer::join(peer_config, &token, addr).await
        }
        Start::Open => Peer::open(peer_config).await,
    };
    let peer = peer.context("this peer cannot start")?;
    let handle = peer.handle(Arc::new(peer.blocks().clone()));
    if peer.identity().origin == Origin::Bootstrap {
        give_admin_token(&handle, &config.data_dir).await?;
    }
    info!(peer = %peer.identity().peer, name = peer.identity().name, api = api.url(), addr = peer.addr(), "running");
    let metrics = Arc::new(Metrics::default());
    let options = config.server_options(api.url());
    let api = api.serving(&peer, handle.clone(), Arc::clone(&metrics));
    let parts = Parts { handle, control_plane: Box::new(peer), api: Box::new(api), metrics };
    Ok(super::run(parts, options).await?)
}

#[async_trait]
impl ControlPlane for Peer {
    async fn failed(&mut self) -> String {
        let mut stopped = self.stopped();
        let why = match stopped.wait_for(Option::is_some).await {
            Ok(why) => why.clone(),
            Err(_) => return "the replicated part ended".to_string(),
        };
        match why {
            Some(Stopped::Removed(why)) => format!("{why}; this peer must not be started again"),
            Some(Stopped::Failed(why)) => why,
            None => "the replicated part ended".to_string(),
        }
    }

    async fn shutdown(self: Box<Self>, grace: Duration) {
        Peer::shutdown(*self, grace).await;
    }
}

/// Makes the control plane's first token where there is none, and writes it to the data directory. The text is on
/// disk before its hash is proposed, so that a crash between the two locks nobody out.
async fn give_admin_token(handle: &Handle, data_dir: &Path) -> anyhow::Result<()> {
    let somebody = handle.read(|state| {
        state.objects_of(Kind::Token).next().is_some() || state.objects_of(Kind::User).next().is_some()
    });
    if somebody {
        return Ok(());
    }
    let path = data_dir.join(ADMIN_TOKEN_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().to_string(),
        Err(_) => {
            let text = secrets::random_token()?;
            durable::write(&path, format!("{text}\n").as_bytes(), 0o600)?;
            text
        }
    };
    let name = Name::new(ADMIN_TOKEN).expect("`admin` follows the grammar of names");
    let token = Token { role: Role::Admin, hash: secrets::hash_token(&text), expires: None };
    let put = Change::Put {
        name,
        spec: Spec::Token(token),
        labels: Default::default(),
        description: "the first token, made when this control plane began".to_string(),
        expect: Expect::Absent,
    };
    handle
        .submit(Actor::System, Command::Configure(vec![put]))
        .await
        .context("cannot make the first token")?;
    eprintln!("the first admin token is in {}", path.display());
    Ok(())
}

/// Asks this process to stop when standard input ends: it was started by somebody who is gone.
pub fn stop_when_stdin_ends() {
    // A thread of its own: reads of standard input cannot be cancelled.
    let watch = std::thread::Builder::new().name("stdin".to_string()).spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let this = rustix::process::getpid();
        if let Err(error) = rustix::process::kill_process(this, rustix::process::Signal::TERM) {
            warn!(%error, "could not stop");
        }
    });
    if let Err(error) = watch {
        warn!(%error, "the end of standard input is not watched");
    }
}
