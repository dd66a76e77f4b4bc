//! Decides on requests to join, on whichever peer they come to.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;
use tracing::{info, warn};

use super::submit;
use crate::command::{Command, Outcome, Reply};
use crate::consensus::{Admission, Consensus};
use crate::handle::{Engine, EngineError};
use crate::identity::ControlPlaneId;
use crate::model::{PeerId, RequestId};
use crate::network::certificate::Authority;
use crate::network::join;
use crate::network::message::{Failure, FailureCode, Join, Joined};
use crate::replica::Replica;
use crate::secrets::Keyring;

const PATIENCE: Duration = Duration::from_secs(10);

/// Admits who shows a token that is good.
pub(super) struct Admitter {
    pub(super) consensus: Arc<Consensus>,
    pub(super) replica: Arc<Replica>,
    pub(super) authority: Arc<Authority>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) control_plane: ControlPlaneId,
}

fn refused(why: impl Into<String>) -> Failure {
    Failure::new(FailureCode::Refused, why)
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        let code = match error {
            EngineError::Unavailable(_) => FailureCode::Unavailable,
            EngineError::Unknown(_) => FailureCode::Unknown,
            EngineError::Refused(_) => FailureCode::Refused,
        };
        Failure::new(code, error.to_string())
    }
}

impl Admission for Admitter {
    fn admit(self: Arc<Self>, join: Join) -> BoxFuture<'static, Result<Joined, Failure>> {
        async move {
            let name = join.name.clone();
            let joined = self.decide(join).await;
            match &joined {
                Ok(joined) => info!(peer = %joined.peer, name, "a peer has joined"),
                Err(failure) => warn!(name, reason = failure.message, "a request to join is refused"),
            }
            joined
        }
        .boxed()
    }
}

impl Admitter {
    async fn decide(&self, join: Join) -> Result<Joined, Failure> {
        let request = join::admission_id(&join)
            .map_err(|error| refused(format!("the request can't be read: {error}")))?;
        let token = join::hash_secret(&join.secret);
        // Looked up before anything is written, so that strangers can't fill the log.
        if !self.may_be_admitted(request, &token) {
            self.catch_up().await?;
            if !self.may_be_admitted(request, &token) {
                return Err(refused(
                    "the join token is not good: it was used, has expired, or was made by another control plane. \
                     Make a new one with `rscaler peers token`",
                ));
            }
        }
        let command = Command::AdmitPeer {
            token: Some(token),
            name: join.name,
            peer_addr: join.peer_addr,
            api_url: join.api_url,
        };
        let outcome = self.commit(Some(request), command).await?;
        let Reply::Peer(peer) = outcome.map_err(|rejection| refused(rejection.message))? else {
            return Err(refused("the control plane gave no number"));
        };
        self.catch_up().await?;
        if self.replica.read(|state| state.peer(peer).is_none()) {
            return Err(refused(format!(
                "peer {peer} was removed again: join with a new token and an empty data directory"
            )));
        }
        let issued = self
            .authority
            .issue(&join.request, peer)
            .map_err(|error| refused(format!("no certificate could be made: {error}")))?;
        let record = Command::RecordCertificate { peer, serial: issued.serial };
        self.commit(None, record).await?.map_err(|rejection| refused(rejection.message))?;
        Ok(Joined {
            peer,
            control_plane: self.control_plane,
            certificate: issued.certificate,
            authority: self.authority.certificate().to_vec(),
            keyring: self.keyring.encode()?,
            members: self.members(peer),
        })
    }

    /// Whether the token is good, or this very admission was decided before.
    fn may_be_admitted(&self, request: RequestId, token: &[u8; 32]) -> bool {
        self.replica.read(|state| state.join_token(token).is_some() || state.outcome_of(request).is_some())
    }

    async fn catch_up(&self) -> Result<(), Failure> {
        let index = self.consensus.read_index(Instant::now() + PATIENCE).await?;
        if self.replica.wait_applied(index, PATIENCE).await {
            return Ok(());
        }
        Err(Failure::new(FailureCode::Unavailable, "this peer lags behind: ask another one"))
    }

    async fn commit(&self, request: Option<RequestId>, command: Command) -> Result<Outcome, Failure> {
        Ok(submit(&self.consensus, request, command, Instant::now() + PATIENCE).await?)
    }

    fn members(&self, except: PeerId) -> Vec<(PeerId, String)> {
        self.replica.read(|state| {
            let others = state.peers().filter(|(id, _)| *id != except);
            others.map(|(id, peer)| (id, peer.peer_addr.clone())).collect()
        })
    }
}
