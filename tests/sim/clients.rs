//! Clients that read, write and compare-and-set configuration, on any peer, and remember what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use rscaler_raft::command::{Change, Command, Expect, Rejection, RejectionKind};
use rscaler_raft::handle::{EngineError, Handle, SubmitError};
use rscaler_raft::model::{Actor, Cluster, Kind, RequestId, Spec};
use rscaler_raft::state::State;

use super::check::linear::{self, Operation, Verdict};
use super::check::register::{Answer, Ask, Register};
use super::objects::name;
use super::world::World;
use super::{chance, clock, trace};

const REGISTERS: u64 = 4;
/// Operations on one register, so that checking stays cheap; then it gets a successor.
const OPERATIONS_MAX: usize = 40;
const PATIENCE: Duration = Duration::from_secs(3);

/// What came of an operation.
enum Told {
    Done(Ask, Answer),
    /// Certainly nothing.
    Nothing,
    /// Perhaps something: this operation.
    Unknown(Ask),
}

type Slot = Arc<Mutex<Option<Told>>>;

enum What {
    Register(String),
    Element(String),
}

struct Going {
    what: What,
    op: Ask,
    begun: u64,
    host: u64,
    starts: u64,
    answer: Slot,
}

/// All clients.
pub(crate) struct Clients {
    chance: StdRng,
    going: Vec<Going>,
    clients_max: usize,
    histories: BTreeMap<String, Vec<Operation<Ask, Answer>>>,
    next_value: u64,
    next_element: u64,
    /// Elements that were acknowledged, and those that certainly were not added.
    pub(crate) added: BTreeSet<String>,
    pub(crate) not_added: BTreeSet<String>,
    pub(crate) unknown: u64,
    pub(crate) done: u64,
}

/// The value of a register: it is kept in an object's description.
fn value_of(state: &State, register: &str) -> (Option<u64>, Option<u64>) {
    let object = state.object(Kind::Cluster, &name(register));
    let value = object.and_then(|object| object.meta.description.parse().ok());
    (value, object.map(|object| object.meta.version))
}

fn put(object: &str, description: String, expect: Expect) -> Command {
    Command::Configure(vec![Change::Put {
        name: name(object),
        spec: Spec::Cluster(Cluster::default()),
        labels: BTreeMap::new(),
        description,
        expect,
    }])
}

async fn act(handle: Handle, what: String, op: Ask, request: RequestId) -> Told {
    let (command, op) = match op {
        Ask::Read => {
            return match handle.linearize().await {
                Ok(_) => Told::Done(
                    Ask::Read,
                    Answer::Holds(handle.read(|state| value_of(state, &what).0).unwrap_or(0)),
                ),
                Err(_) => Told::Nothing,
            };
        }
        Ask::Write(value) => (put(&what, value.to_string(), Expect::Any), op),
        Ask::Set(_, to) => {
            // What this peer has may be old: then the version is, too.
            let (from, version) = handle.read(|state| value_of(state, &what));
            let expect = version.map_or(Expect::Absent, Expect::Version);
            (put(&what, to.to_string(), expect), Ask::Set(from.unwrap_or(0), to))
        }
    };
    let actor = Actor::User(name("sim"));
    let done = |ret| Told::Done(op, ret);
    match handle.submit_within(PATIENCE, Some(request), actor, command).await {
        Ok(_) => done(Answer::Done),
        Err(SubmitError::Rejected(Rejection {
            kind: RejectionKind::VersionMoved | RejectionKind::Conflict,
            ..
        })) => done(Answer::Moved),
        Err(
            SubmitError::Rejected(_)
            | SubmitError::Engine(EngineError::Unavailable(_) | EngineError::Refused(_)),
        ) => Told::Nothing,
        Err(SubmitError::Engine(EngineError::Unknown(_))) => Told::Unknown(op),
    }
}

impl Clients {
    pub(crate) fn new(seed: u64, clients_max: usize) -> Clients {
        Clients {
            chance: chance::source(seed, "clients"),
            going: Vec::new(),
            clients_max,
            histories: BTreeMap::new(),
            next_value: 1,
            next_element: 1,
            added: BTreeSet::new(),
            not_added: BTreeSet::new(),
            unknown: 0,
            done: 0,
        }
    }

    /// Takes answers, and asks anew.
    pub(crate) fn step(&mut self, world: &World) {
        self.collect(world);
        while self.going.len() < self.clients_max {
            // Not all at once.
            if self.chance.random_ratio(9, 10) {
                return;
            }
            let up: Vec<u64> = world.hosts.values().filter(|h| h.inside().is_some()).map(|h| h.id).collect();
            if up.is_empty() {
                return;
            }
            let host = up[self.chance.random_range(0..up.len())];
            self.begin(world, host);
        }
    }

    /// Nothing is asked any more; what goes on is waited for.
    pub(crate) fn is_idle(&self) -> bool {
        self.going.is_empty()
    }

    /// Takes answers.
    pub(crate) fn collect(&mut self, world: &World) {
        let going = std::mem::take(&mut self.going);
        for one in going {
            let told = one.answer.lock().take();
            let lives = world
                .hosts
                .get(&one.host)
                .is_some_and(|host| host.starts == one.starts && host.process.is_some());
            match told {
                Some(told) => self.note(one, told),
                None if lives => self.going.push(one),
                None => {
                    // What a peer would have answered that is gone, nobody knows. Of a swap not even what it expected:
                    // it counts as a write that may have been.
                    let op = match one.op {
                        Ask::Set(_, to) => Ask::Write(to),
                        op => op,
                    };
                    self.note(one, Told::Unknown(op));
                }
            }
        }
    }

    fn begin(&mut self, world: &World, id: u64) {
        let host = &world.hosts[&id];
        let (Some(inside), Some(process)) = (host.inside(), &host.process) else { return };
        let (what, text, op) = if self.chance.random_ratio(1, 3) {
            let element = format!("e{}", self.next_element);
            self.next_element += 1;
            (What::Element(element.clone()), element, Ask::Set(0, 1))
        } else {
            let mut register = format!("r{}", self.chance.random_range(0..REGISTERS));
            while self.histories.get(&register).is_some_and(|all| all.len() >= OPERATIONS_MAX) {
                register.push('x');
            }
            let value = self.next_value;
            self.next_value += 1;
            let op = match self.chance.random_range(0..3) {
                0 => Ask::Read,
                1 => Ask::Write(value),
                _ => Ask::Set(0, value),
            };
            self.histories.entry(register.clone()).or_default();
            (What::Register(register.clone()), register, op)
        };
        let request =
            RequestId(u128::from(self.chance.next_u64()) << 64 | u128::from(self.chance.next_u64()));
        let answer: Slot = Arc::default();
        let slot = Arc::clone(&answer);
        let future = act(inside.handle.clone(), text, op, request);
        process.spawn(async move {
            let told = future.await;
            *slot.lock() = Some(told);
        });
        self.going.push(Going { what, op, begun: clock::now(), host: id, starts: host.starts, answer });
    }

    fn note(&mut self, going: Going, told: Told) {
        let now = clock::now();
        match &told {
            Told::Done(op, ret) => {
                self.done += 1;
                trace::told(&format!("{op:?} {ret:?}"));
            }
            Told::Nothing => trace::told("nothing"),
            Told::Unknown(op) => {
                self.unknown += 1;
                trace::told(&format!("{op:?} unknown"));
            }
        }
        match (going.what, told) {
            (What::Register(register), told) => {
                let operation = match told {
                    Told::Nothing => return,
                    Told::Done(op, ret) => {
                        Operation { input: op, called: going.begun, returned: Some((now, ret)) }
                    }
                    Told::Unknown(op) => Operation { input: op, called: going.begun, returned: None },
                };
                self.histories.entry(register).or_default().push(operation);
            }
            (What::Element(element), Told::Done(_, Answer::Done)) => {
                self.added.insert(element);
            }
            // The version that was expected is none: refused is not added, or added before by the same request.
            (What::Element(element), Told::Done(..) | Told::Nothing) => {
                self.not_added.insert(element);
            }
            (What::Element(_), Told::Unknown(_)) => {}
        }
    }

    /// What is wrong with what was told, given what all peers have in the end.
    pub(crate) fn verdict(&self, world: &World) -> Result<(), String> {
        for (register, operations) in &self.histories {
            let verdict = linear::check::<Register>(operations);
            if verdict != Verdict::Linearizable {
                return Err(format!("the history of {register} is not linearizable: {verdict:?}"));
            }
        }
        for host in world.hosts.values() {
            let Some(inside) = host.inside() else { continue };
            let has = |element: &String| {
                inside.handle.read(|state| state.object(Kind::Cluster, &name(element)).is_some())
            };
            if let Some(lost) = self.added.iter().find(|element| !has(element)) {
                return Err(format!("peer {} lacks {lost}, which was acknowledged", host.id));
            }
            if let Some(found) = self.not_added.iter().find(|element| has(element)) {
                return Err(format!("peer {} has {found}, of which was said that nothing happened", host.id));
            }
        }
        Ok(())
    }
}
