//! What a peer does besides: founds its control plane, refuses who was removed, remembers where others are, renews
//! its certificate, compares states, and notices that it must stop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{Error, Stopped, submit};
use crate::command::{Command, RejectionKind};
use crate::consensus::{Comparison, Consensus, Digest};
use crate::handle::Engine;
use crate::identity::{self, ControlPlaneId, DataDir, Identity, Origin, TlsFiles};
use crate::model::{PeerId, RequestId, Timestamp};
use crate::network::certificate::{self, Authority, PeerCertificate, RENEWED_BEFORE_END, wall_clock};
use crate::network::tls::{RefusedList, Tls};
use crate::replica::Replica;
use crate::store::Fatal;

const LOOK_INTERVAL: Duration = Duration::from_millis(250);
const RENEWAL_LOOK_INTERVAL: Duration = Duration::from_secs(3600);
const ADDRESS_LOOK_INTERVAL: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long others may take to say what differs: meanwhile this peer goes on with a state that is not theirs.
const DIFFERENCES_PATIENCE: Duration = Duration::from_secs(3);

/// What the loops need.
pub(super) struct Parts {
    pub(super) identity: Identity,
    pub(super) addr: String,
    pub(super) api_url: String,
    pub(super) consensus: Arc<Consensus>,
    pub(super) replica: Arc<Replica>,
    pub(super) data: Arc<DataDir>,
    pub(super) tls: Arc<Tls>,
    pub(super) authority: Arc<Authority>,
    pub(super) removed: watch::Receiver<Option<String>>,
    pub(super) fatal: Fatal,
    pub(super) comparison: Arc<Comparison>,
    pub(super) stopped: watch::Sender<Option<Stopped>>,
}

impl Parts {
    /// Starts them all, until `stop`.
    pub(super) fn spawn(self: &Arc<Self>, loops: &TaskTracker, stop: &CancellationToken, runtime: &Handle) {
        let parts = Arc::clone(self);
        let spawn = |future: futures::future::BoxFuture<'static, ()>| {
            let stop = stop.clone();
            loops.spawn_on(
                async move {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = future => {}
                    }
                },
                runtime,
            );
        };
        if parts.identity.origin == Origin::Bootstrap {
            spawn(Box::pin(Arc::clone(&parts).found()));
        }
        spawn(Box::pin(Arc::clone(&parts).announce_move()));
        spawn(Box::pin(Arc::clone(&parts).follow_members()));
        spawn(Box::pin(Arc::clone(&parts).renew()));
        spawn(Box::pin(Arc::clone(&parts).compare()));
        spawn(Box::pin(Arc::clone(&parts).stop_when_different()));
        spawn(Box::pin(parts.watch_for_the_end()));
    }

    /// Admits the first peer of a control plane. May be interrupted anywhere and begun again.
    async fn found(self: Arc<Self>) {
        let mut leadership = self.consensus.leadership();
        loop {
            if self.is_founded() {
                return;
            }
            if leadership.borrow_and_update().is_local() {
                match self.try_found().await {
                    Ok(()) => return,
                    Err(error) => warn!(error, "the control plane is not founded yet"),
                }
            }
            let _ = tokio::time::timeout(RETRY_PAUSE, leadership.changed()).await;
        }
    }

    /// Whether there is a peer that was admitted with all that belongs to it: it takes two entries.
    fn is_founded(&self) -> bool {
        self.replica.read(|state| state.peers().any(|(_, peer)| !peer.certificate_serial.is_empty()))
    }

    async fn try_found(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        // What comes next shall bear the time it happens at, and not the beginning of the epoch.
        let now = wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        let term = self.consensus.leadership().borrow().term;
        let tick = Command::Tick { term, first: false, delta_ms: 0, wall };
        submit(&self.consensus, None, tick, deadline).await.map_err(|error| error.to_string())?.ok();
        let admit = Command::AdmitPeer {
            token: None,
            name: self.identity.name.clone(),
            peer_addr: self.addr.clone(),
            api_url: self.api_url.clone(),
        };
        let request = founding_request(self.identity.control_plane);
        let outcome = submit(&self.consensus, Some(request), admit, deadline).await;
        match outcome.map_err(|error| error.to_string())? {
            Ok(_) => {}
            // It was admitted before an interruption; its certificate may not have been recorded.
            Err(rejection) if rejection.kind == RejectionKind::Conflict => {}
            Err(rejection) => return Err(rejection.message),
        }
        let files = self.data.tls().map_err(|error| error.to_string())?;
        let serial = PeerCertificate::read(&files.certificate).map_err(|error| error.to_string())?.serial;
        let record = Command::RecordCertificate { peer: self.identity.peer, serial };
        let outcome = submit(&self.consensus, None, record, deadline).await;
        outcome.map_err(|error| error.to_string())?.map_err(|rejection| rejection.message)?;
        Ok(())
    }

    /// Tells the others where this peer is, if that has changed since it was last known.
    async fn announce_move(self: Arc<Self>) {
        let peer = self.identity.peer;
        let mut committed = self.replica.subscribe_to_work();
        loop {
            let known = self.replica.read(|state| state.peer(peer).map(|row| row.peer_addr.clone()));
            if known.is_some_and(|known| known != self.addr) {
                let moved = Command::MovePeer { peer, peer_addr: self.addr.clone() };
                match submit(&self.consensus, None, moved, Instant::now() + PATIENCE).await {
                    Ok(Ok(_)) => info!(addr = self.addr, "this peer is reached elsewhere than before"),
                    Ok(Err(rejection)) => {
                        warn!(reason = rejection.message, "this peer's address is not changed")
                    }
                    Err(error) => warn!(%error, "this peer's address is not changed yet"),
                }
            }
            // Its row may come only with the log, or be changed by what was under way.
            let _ = tokio::time::timeout(ADDRESS_LOOK_INTERVAL, committed.recv()).await;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Keeps the list of refused peers true, and remembers where the others are for the next start.
    async fn follow_members(self: Arc<Self>) {
        let mut ticker = tokio::time::interval(LOOK_INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut remembered = Vec::new();
        loop {
            ticker.tick().await;
            self.tls.refused().set(self.refused());
            let neighbours: Vec<(PeerId, String)> = self.replica.read(|state| {
                let others = state.peers().filter(|(id, _)| *id != self.identity.peer);
                others.map(|(id, peer)| (id, peer.peer_addr.clone())).collect()
            });
            if neighbours.is_empty() || neighbours == remembered {
                continue;
            }
            let (data, saved) = (Arc::clone(&self.data), neighbours.clone());
            match tokio::task::spawn_blocking(move || data.save_neighbours(&saved)).await {
                Ok(Ok(())) => remembered = neighbours,
                Ok(Err(error)) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "where the other peers are was not written down"
                    );
                }
                Err(_) => return,
            }
        }
    }

    fn refused(&self) -> RefusedList {
        let members = self.consensus.member_ids();
        self.replica.read(|state| {
            let here: BTreeSet<PeerId> = state.peers().map(|(id, _)| id).collect();
            RefusedList {
                serials: state.revoked().map(<[u8]>::to_vec).collect(),
                peers: (1..=state.last_peer().0).map(PeerId).filter(|id| !here.contains(id)).collect(),
                members,
            }
        })
    }

    /// Renews the certificate when its time comes: signed here, recorded by the control plane, then shown.
    async fn renew(self: Arc<Self>) {
        let mut ticker = tokio::time::interval(RENEWAL_LOOK_INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticker.tick().await;
            match self.renew_if_due(wall_clock()).await {
                Ok(true) => info!("this peer's certificate is renewed"),
                Ok(false) => {}
                Err(error) => warn!(error, "this peer's certificate is not renewed"),
            }
        }
    }

    /// True where there is a new one.
    pub(super) async fn renew_if_due(&self, now: SystemTime) -> Result<bool, String> {
        let peer = self.identity.peer;
        let is_new = self.renew_expired(now).map_err(|error| error.to_string())?;
        let mut files = self.data.tls().map_err(|error| error.to_string())?;
        let mut shown = PeerCertificate::read(&files.certificate).map_err(|error| error.to_string())?;
        let is_due = now + RENEWED_BEFORE_END >= shown.expires;
        if is_due {
            let (new, serial) = renewed(&self.authority, peer, &files).map_err(|error| error.to_string())?;
            (files, shown.serial) = (new, serial);
        }
        let recorded = self.replica.read(|state| Some(state.peer(peer)?.certificate_serial.clone()));
        if recorded.is_some_and(|recorded| recorded != shown.serial) {
            let record = Command::RecordCertificate { peer, serial: shown.serial };
            let outcome = submit(&self.consensus, None, record, Instant::now() + PATIENCE).await;
            outcome.map_err(|error| error.to_string())?.map_err(|rejection| rejection.message)?;
        }
        if is_due {
            self.show(&files).map_err(|error| error.to_string())?;
        }
        Ok(is_new || is_due)
    }

    /// Renews a certificate whose time is over without asking anybody: no other peer would listen, and after a long rest
    /// of all peers there might never be a leader. It is recorded later.
    fn renew_expired(&self, now: SystemTime) -> Result<bool, Error> {
        let files = self.data.tls()?;
        if now < PeerCertificate::read(&files.certificate)?.expires {
            return Ok(false);
        }
        self.show(&renewed(&self.authority, self.identity.peer, &files)?.0)?;
        Ok(true)
    }

    /// Keeps a certificate, and shows it on all connections from now on.
    fn show(&self, files: &TlsFiles) -> Result<(), Error> {
        self.data.save_certificate(&files.certificate)?;
        self.tls.replace(files)?;
        Ok(())
    }

    /// The leader lets all peers compare their states with its own.
    async fn compare(self: Arc<Self>) {
        let mut digests = self.comparison.newest();
        while digests.changed().await.is_ok() {
            let digest = *digests.borrow_and_update();
            let Some(Digest { index, digest }) = digest else { continue };
            if !self.consensus.leadership().borrow().is_local() {
                continue;
            }
            let command = Command::VerifyDigest { index, digest };
            if let Err(error) = submit(&self.consensus, None, command, Instant::now() + PATIENCE).await {
                info!(%error, index, "states are not compared this time");
            }
        }
    }

    /// A state that differs from the leader's stops this peer. What differs is written down before.
    async fn stop_when_different(self: Arc<Self>) {
        let mut differs = self.comparison.differs();
        let Ok(Some(index)) = differs.wait_for(Option::is_some).await.map(|index| *index) else { return };
        warn!(index, "this peer's state is not the leader's");
        let differences = self.consensus.differences(index, Instant::now() + DIFFERENCES_PATIENCE).await;
        let path = self.data.path().join(format!("differences-{index}.txt"));
        let written = path.clone();
        let saved =
            tokio::task::spawn_blocking(move || identity::write_durably(&written, differences.as_bytes()));
        let told = match saved.await {
            Ok(Ok(())) => format!("what differs is in {}", path.display()),
            Ok(Err(error)) => format!("what differs could not be written down: {error}"),
            Err(error) => format!("what differs could not be written down: {error}"),
        };
        self.fatal.report(format!(
            "after entry {index} the state of this peer differs from the leader's; {told}. Remove this peer from the \
             control plane, and let it join again as a new peer with an empty data directory"
        ));
    }

    /// Notices what must stop this peer.
    async fn watch_for_the_end(self: Arc<Self>) {
        let mut told = self.removed.clone();
        let stopped = tokio::select! {
            biased;
            reason = self.fatal.failed() => Stopped::Failed(reason.to_string()),
            told = told.wait_for(Option::is_some) => {
                let reason = told.ok().and_then(|reason| reason.clone());
                Stopped::Removed(reason.unwrap_or_default())
            }
            () = self.gone() => Stopped::Removed(format!(
                "peer {} was removed from the control plane",
                self.identity.peer
            )),
        };
        warn!(?stopped, "this peer stops");
        self.stopped.send_replace(Some(stopped));
    }

    /// Returns once this peer was admitted and has no row any more, and Raft's membership has let it go.
    async fn gone(&self) {
        let peer = self.identity.peer;
        let mut ticker = tokio::time::interval(LOOK_INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticker.tick().await;
            let removed = self.replica.read(|state| state.last_peer() >= peer && state.peer(peer).is_none());
            if removed && !self.consensus.member_ids().contains(&peer) {
                return;
            }
        }
    }
}

/// A new certificate for the same key.
fn renewed(authority: &Authority, peer: PeerId, files: &TlsFiles) -> Result<(TlsFiles, Vec<u8>), Error> {
    let issued = authority.issue(&certificate::request(&files.key)?, peer)?;
    Ok((TlsFiles { certificate: issued.certificate, ..files.clone() }, issued.serial))
}

/// What the founding peer is admitted under, so that a repetition answers the same.
fn founding_request(control_plane: ControlPlaneId) -> RequestId {
    RequestId::named(control_plane.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use super::*;
    use crate::network::certificate::CERTIFICATE_LIFE;
    use crate::peer::{Peer, PeerConfig};

    async fn until(what: &str, mut look: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !look() {
            assert!(Instant::now() < deadline, "{what}: not in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_damaged_block_is_fetched_again_from_another_peer() {
        let (first_dir, second_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = |dir: &tempfile::TempDir, name: &str| {
            PeerConfig::new(dir.path(), name, "127.0.0.1:0", "http://127.0.0.1:1")
        };
        let first = Peer::bootstrap(config(&first_dir, "p1")).await.unwrap();
        let token =
            first.create_join_token(Duration::from_secs(600), crate::model::PeerRole::Voter).await.unwrap();
        let second = Peer::join(config(&second_dir, "p2"), &token, first.addr()).await.unwrap();
        for command in crate::consensus::blocks_worth_of_samples() {
            submit(&first.consensus, None, command, Instant::now() + PATIENCE).await.unwrap().unwrap();
        }
        let blocks = |peer: &Peer| peer.replica().read(|state| state.series().status().blocks);
        until("blocks on both", || blocks(&first) > 2 && blocks(&first) == blocks(&second)).await;
        let snapshot = second.backups().snapshot().await.unwrap();
        let listed = snapshot.export().find_map(|part| match part.unwrap() {
            crate::store::ExportedPart::Block { key, bytes } => Some((key, bytes)),
            crate::store::ExportedPart::Section { .. } => None,
        });
        let (key, bytes) = listed.expect("a snapshot names blocks");
        second.blocks().damage(&key);
        assert!(second.blocks().get(&key).is_err());
        until("the block to be whole", || {
            second.blocks().get(&key).is_ok_and(|read| read == Some(bytes.clone()))
        })
        .await;
        // What it names was not deleted meanwhile.
        drop(snapshot);
        second.shutdown(Duration::from_secs(1)).await;
        first.shutdown(Duration::from_secs(1)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_certificate_is_renewed_when_a_month_is_left_and_when_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let config = PeerConfig::new(dir.path(), "p1", "127.0.0.1:0", "http://127.0.0.1:1");
        let peer = Peer::bootstrap(config).await.unwrap();
        let first = PeerCertificate::read(&peer.data.tls().unwrap().certificate).unwrap();
        let mut committed = peer.replica().subscribe();
        let founded = async {
            while !peer.own.is_founded() {
                committed.recv().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(30), founded).await.unwrap();
        let now = wall_clock();
        assert!(!peer.own.renew_if_due(now).await.unwrap());
        let due = now + CERTIFICATE_LIFE - RENEWED_BEFORE_END + Duration::from_secs(1);
        assert!(peer.own.renew_if_due(due).await.unwrap());
        let second = PeerCertificate::read(&peer.data.tls().unwrap().certificate).unwrap();
        assert_ne!(first.serial, second.serial);
        let recorded = peer.replica().read(|state| state.peer(PeerId(1)).unwrap().certificate_serial.clone());
        assert_eq!(recorded, second.serial);

        let over = now + CERTIFICATE_LIFE * 2;
        assert!(peer.own.renew_expired(over).unwrap(), "at once, whoever else is there");
        let third = PeerCertificate::read(&peer.data.tls().unwrap().certificate).unwrap();
        assert_ne!(second.serial, third.serial);
        assert!(!peer.own.renew_if_due(now).await.unwrap());
        let recorded = peer.replica().read(|state| state.peer(PeerId(1)).unwrap().certificate_serial.clone());
        assert_eq!(recorded, third.serial);
        peer.shutdown(Duration::from_secs(1)).await;
    }
}
