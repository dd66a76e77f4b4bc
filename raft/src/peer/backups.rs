use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::consensus::Consensus;
use crate::handle::{Engine, EngineError};
use crate::identity::ControlPlaneId;
use crate::replica::Replica;
use crate::store::{SnapshotHandle, Store};

/// How long a snapshot for a backup may take to be made.
const BACKUP_PATIENCE: Duration = Duration::from_secs(60);
const BACKUP_PAUSE: Duration = Duration::from_millis(100);

/// Makes consistent copies of all that the control plane knows.
#[derive(Clone)]
pub struct Backups {
    pub(super) control_plane: ControlPlaneId,
    pub(super) consensus: Arc<Consensus>,
    pub(super) replica: Arc<Replica>,
    pub(super) store: Store,
}

impl Backups {
    /// A snapshot that holds everything that was acknowledged before this call.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    pub async fn snapshot(&self) -> Result<SnapshotHandle, EngineError> {
        let deadline = Instant::now() + BACKUP_PATIENCE;
        let index = self.consensus.read_index(deadline).await?;
        let unavailable = || EngineError::Unavailable("no snapshot was made in time".to_string());
        if !self.replica.wait_applied(index, BACKUP_PATIENCE).await {
            return Err(unavailable());
        }
        while Instant::now() < deadline {
            // Raft's own membership entries may follow the last one that was applied here.
            if let Some(snapshot) = self.store.current_snapshot().filter(|s| s.manifest().id() > index) {
                return Ok(snapshot);
            }
            self.consensus.trigger_snapshot().await;
            tokio::time::sleep(BACKUP_PAUSE).await;
        }
        Err(unavailable())
    }

    /// The bytes of a backup of `snapshot`, a piece at a time; reads the disk as it goes.
    ///
    /// # Errors
    /// [`crate::backup::Error`].
    pub fn pieces(
        &self,
        snapshot: &SnapshotHandle,
    ) -> Result<impl Iterator<Item = Result<Vec<u8>, crate::backup::Error>> + use<>, crate::backup::Error>
    {
        crate::backup::pieces(self.control_plane, snapshot)
    }
}
