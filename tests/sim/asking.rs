//! Commands of clients that go on until they are answered, whichever peer that takes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use rscaler_raft::command::{Command, Reply};
use rscaler_raft::handle::SubmitError;
use rscaler_raft::model::{Actor, Name, RequestId};

use super::world::World;

const PATIENCE: Duration = Duration::from_secs(3);

/// A command under one name, asked again and again until it is answered.
pub(crate) struct Asking {
    request: RequestId,
    command: Command,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    host: u64,
    starts: u64,
    answer: Arc<Mutex<Option<Result<Reply, SubmitError>>>>,
}

impl Asking {
    pub(crate) fn new(command: Command, chance: &mut StdRng) -> Asking {
        let request = RequestId(u128::from(chance.next_u64()) << 64 | u128::from(chance.next_u64()));
        Asking { request, command, under_way: None }
    }

    /// Goes on; the answer of the state, once there is one. An error is a refusal in words.
    pub(crate) fn step(&mut self, world: &World, chance: &mut StdRng) -> Option<Result<Reply, String>> {
        if let Some(under_way) = &self.under_way {
            let told = under_way.answer.lock().take();
            let lives = world
                .hosts
                .get(&under_way.host)
                .is_some_and(|host| host.starts == under_way.starts && host.process.is_some());
            match told {
                Some(Ok(reply)) => return Some(Ok(reply)),
                Some(Err(SubmitError::Rejected(rejection))) => return Some(Err(rejection.message)),
                // It may have happened or not: under the same name it is asked again.
                Some(Err(SubmitError::Engine(_))) => {}
                None if lives => return None,
                None => {}
            }
            self.under_way = None;
        }
        let up: Vec<u64> =
            world.hosts.values().filter(|host| host.inside().is_some()).map(|host| host.id).collect();
        if up.is_empty() {
            return None;
        }
        let host = &world.hosts[&up[chance.random_range(0..up.len())]];
        let (handle, process) = (host.inside()?.handle.clone(), host.process.as_ref()?);
        let answer = Arc::default();
        let slot: Arc<Mutex<Option<Result<Reply, SubmitError>>>> = Arc::clone(&answer);
        let (request, command) = (self.request, self.command.clone());
        let actor = Actor::User(Name::new("sim").expect("it follows the grammar"));
        process.spawn(async move {
            let told = handle.submit_within(PATIENCE, Some(request), actor, command).await;
            *slot.lock() = Some(told);
        });
        self.under_way = Some(UnderWay { host: host.id, starts: host.starts, answer });
        None
    }
}
