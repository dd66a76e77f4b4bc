//! A control plane of one peer in memory, with the real state machine and no disk or network: for tests of the
//! packages above, and for trying things out.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::command::{Command, Outcome, Proposal, Reply};
use crate::consensus::Payload;
use crate::handle::{Engine, EngineError, Handle, Leadership, Member};
use crate::model::{Actor, Capabilities, PeerId, Timestamp};
use crate::replica::Replica;
use crate::secrets::{Keyring, SecretBytes};
use crate::series::{BlockId, BlockSource};
use crate::state::State;

/// Agreement with oneself.
pub struct Solo {
    replica: Arc<Replica>,
    next: Mutex<u64>,
    leadership: watch::Sender<Leadership>,
}

/// No sealed blocks: samples stay in their heads.
struct NoBlocks;

impl BlockSource for NoBlocks {
    fn get(&self, _: &BlockId) -> Result<Option<Arc<[u8]>>, crate::series::Error> {
        Ok(None)
    }
}

impl Solo {
    /// A control plane whose peer 1 leads, is admitted and has a session that takes work.
    pub async fn start() -> Handle {
        let replica = Replica::new(State::new(), 0);
        let local = PeerId(1);
        let leadership = watch::Sender::new(Leadership { local, leader: Some(local), term: 1 });
        let keyring = Keyring::generate(SecretBytes::new(Vec::new())).expect("the system has random bytes");
        let engine = Arc::new(Solo { replica: Arc::clone(&replica), next: Mutex::new(1), leadership });
        let handle = Handle::new(replica, engine, Arc::new(NoBlocks), Arc::new(keyring));
        let admit = Command::AdmitPeer {
            token: None,
            name: "solo".to_string(),
            peer_addr: "127.0.0.1:0".to_string(),
            api_url: "http://127.0.0.1:0".to_string(),
        };
        let work = ["ssh".to_string()].into();
        let open = Command::OpenSession {
            peer: local,
            boot: 1,
            capabilities: Capabilities { work, tasks_max: 64, version: "0".to_string() },
            api_url: "http://127.0.0.1:0".to_string(),
        };
        for command in [admit, open] {
            handle.submit(Actor::System, command).await.expect("a new state admits its first peer");
        }
        handle
    }

    /// Moves a solo control plane's clock on by `delta`, keeping its session alive.
    ///
    /// # Errors
    /// What [`Handle::submit`] says.
    pub async fn advance(handle: &Handle, delta: Duration) -> Result<(), crate::handle::SubmitError> {
        let mut left = u64::try_from(delta.as_millis()).unwrap_or(u64::MAX);
        while left > 0 {
            let step = left.min(1000);
            left -= step;
            let wall = handle.read(|state| state.clock().wall.0) + i64::try_from(step).unwrap_or(0);
            let delta_ms = u32::try_from(step).unwrap_or(1000);
            let tick = Command::Tick { term: 1, first: false, delta_ms, wall: Timestamp(wall) };
            if let Some((peer, epoch)) =
                handle.read(|state| state.sessions().next().map(|(p, s)| (p, s.epoch)))
            {
                let renewal = handle.submit(Actor::System, Command::RenewSession { peer, epoch }).await?;
                debug_assert!(matches!(renewal, Reply::Session { .. }));
            }
            handle.submit(Actor::System, tick).await?;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Engine for Solo {
    async fn propose(&self, payload: Payload, _: Instant) -> Result<Outcome, EngineError> {
        let proposal: Proposal = payload.decode().map_err(|error| EngineError::Refused(error.to_string()))?;
        let mut next = self.next.lock();
        let index = *next;
        *next += 1;
        let outcome = self.replica.apply(&[(index, proposal)]).pop();
        outcome.ok_or_else(|| EngineError::Unavailable("nothing was applied".to_string()))
    }

    async fn read_index(&self, _: Instant) -> Result<u64, EngineError> {
        Ok(self.replica.applied())
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    async fn members(&self) -> Vec<Member> {
        let applied = Some(self.replica.applied());
        vec![Member {
            peer: PeerId(1),
            addr: "127.0.0.1:0".to_string(),
            voter: true,
            answers: true,
            last_log: applied,
            applied,
        }]
    }

    async fn transfer_leader(&self, to: PeerId, _: Instant) -> Result<(), EngineError> {
        Err(EngineError::Refused(format!("there is no other peer {to}")))
    }
}
