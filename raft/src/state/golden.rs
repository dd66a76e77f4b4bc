//! Rows of the state, each with its key: its part of [`crate::golden`].
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::table::{RowKey, Rows, Table};
use super::{FileVersion, Globals, Remembered, State, prefix};
use crate::command::Reply;
use crate::golden::{Entry, action, entry, name, raw, samples};
use crate::model::*;

/// A row by way of its table: key and value, the length of the key before them.
fn row<K, V>(name: &str, prefix: u8, key: K, value: V) -> Entry
where
    K: RowKey,
    V: Clone + serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    fn bytes<K, V>(table: &Table<K, V>) -> Vec<u8>
    where
        K: RowKey,
        V: Clone + serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        let mut out = Vec::new();
        table.each(&mut |key, value| out.extend([&[key.len() as u8], &key[..], &value].concat()));
        out
    }
    let mut table = Table::new(prefix);
    table.insert(key, value);
    raw(name, bytes(&table), move |golden| {
        let (key, value) = golden[1..].split_at(usize::from(golden[0]));
        let mut again = Table::<K, V>::new(prefix);
        again.load(&key[1..], value).map_err(|error| error.to_string())?;
        // A table that does not know its rows could not be restored.
        let mut state = State::new();
        state.load_row(key, value).map_err(|error| error.to_string())?;
        assert_eq!(state.row(key).as_deref(), Some(value));
        Ok(bytes(&again))
    })
}

fn globals() -> Globals {
    Globals {
        clock: Clock { elapsed: Elapsed(300), wall: Timestamp(1_700_000_000_000) },
        tick_term: 3,
        next_peer: 4,
        next_session: 5,
        next_assignment: 6,
        next_run: 7,
        next_task: 8,
        next_event: 9,
        expired_at: Elapsed(10),
        resumed: Timestamp(11),
        settings: samples::settings(),
        revoked: BTreeSet::from([vec![1, 2]]),
    }
}

fn task() -> Task {
    Task {
        id: TaskId(8),
        run: RunId(7),
        step: 1,
        node: Some(name("web01")),
        state: TaskState::Running,
        executor: Some(Executor { peer: PeerId(3), session: 5 }),
        attempt: 2,
        tries: 1,
        losses: 1,
        not_before: Elapsed(1),
        deadline: Some(Elapsed(300)),
        cancel_requested: true,
        awaiting_input: false,
        exit_code: Some(-1),
        reason: Some("why".to_string()),
        history: vec![Attempt {
            attempt: 1,
            peer: PeerId(2),
            started: Some(Timestamp(1)),
            finished: Timestamp(2),
            state: TaskState::Lost,
            exit_code: None,
            reason: None,
        }],
        output: OutputTotals {
            next: 3,
            head_bytes: 4,
            tail_bytes: 5,
            cut_bytes: 6,
            missed_bytes: 7,
            head_end: 1,
            tail_start: 2,
        },
        created: Timestamp(1),
        started: Some(Timestamp(2)),
        finished: None,
    }
}

fn run() -> Run {
    Run {
        id: RunId(7),
        cause: Cause::Person(Actor::User(name("ada"))),
        scope: Scope { cluster: Some(name("web")), node: None },
        steps: vec![RunStep {
            action: Some(name("tidy")),
            plan: Arc::new(action()),
            target: Target::Cluster,
            on_failure: OnFailure::Stop,
            state: StepState::Running,
            tasks: vec![TaskId(8)],
            released: 1,
            ended: 0,
            failed: 0,
        }],
        current: 0,
        state: RunState::Running,
        reason: Some("why".to_string()),
        cancel_requested: false,
        retry_of: Some(RunId(6)),
        created: Timestamp(1),
        finished: None,
    }
}

pub(crate) fn family() -> Vec<Entry> {
    let mut all = Vec::new();
    let meta = Meta {
        version: 3,
        uid: 9,
        created: Timestamp(1),
        updated: Timestamp(2),
        labels: BTreeMap::from([("app".to_string(), "web".to_string())]),
        description: "what it is".to_string(),
    };
    for spec in samples::specs() {
        let kind = spec.kind();
        let object = Object { meta: meta.clone(), spec };
        all.push(row(&format!("object-{kind}"), prefix::OBJECTS, (kind, name("it")), object));
    }
    for (at, subject) in samples::subjects().into_iter().enumerate() {
        let tracked = Tracked { phase: samples::phases()[at], seen: Some(Timestamp(4)) };
        all.push(row(&format!("tracked-{at}"), prefix::TRACKED, (name("hot"), subject), tracked));
    }
    for (at, held) in samples::held().into_iter().map(Some).chain([None]).enumerate() {
        let bell = Bell {
            rung: true,
            held,
            fired: Some(Timestamp(5)),
            run: Some(RunId(7)),
            refused: Some("why".to_string()),
        };
        let node = (at > 0).then(|| name("web01"));
        all.push(row(&format!("bell-{at}"), prefix::BELLS, (name("hot"), node), bell));
    }
    for (at, kind) in samples::event_kinds().into_iter().enumerate() {
        let (id, message) = (EventId(at as u64), "words".to_string());
        let event = Event { id, at: Timestamp(6), actor: samples::actors().remove(at % 4), kind, message };
        all.push(row(&format!("event-{at}"), prefix::EVENTS, id, event));
    }
    let version = FileVersion { at: Timestamp(1), content: Arc::from(&b"old"[..]) };
    let check = CheckStatus {
        last: Timestamp(1),
        failure: Some((FailureKind::Exit, "3".to_string())),
        failures_in_row: 2,
        failures_total: 300,
        output: Some(samples::check_output()),
    };
    let peer = Peer {
        name: "p3".to_string(),
        peer_addr: "p3:7701".to_string(),
        api_url: "https://p3:7700".to_string(),
        role: PeerRole::Voter,
        certificate_serial: vec![1, 2, 3],
        joined: Timestamp(1),
    };
    let session = Session {
        boot: 1 << 100,
        epoch: 5,
        expires: Elapsed(300),
        extended: true,
        capabilities: samples::capabilities(),
        draining: true,
    };
    let watched = Watched { from: Timestamp(1), clock: Timestamp(2), open: true, not_before: Timestamp(3) };
    let chunk = OutputChunk { attempt: 2, stream: Stream::Stderr, bytes: (*b"hello\n").into() };
    let remembered = Remembered { expires: Elapsed(300), outcome: Ok(Reply::Run(RunId(7))) };
    let assignment = Assignment { peer: PeerId(3), epoch: 4 };
    let token = JoinToken { expires: Elapsed(300), role: PeerRole::Learner };
    all.push(row("file-version", prefix::FILE_VERSIONS, (name("f"), 3u64), version));
    all.push(row("host-keys", prefix::HOST_KEYS, name("web01"), vec!["ssh-ed25519 AAAA".to_string()]));
    all.push(row("check", prefix::CHECKS, (name("web01"), name("load1")), check));
    all.push(row("peer", prefix::PEERS, PeerId(3), peer));
    all.push(row("join-token", prefix::JOIN_TOKENS, [9u8; 32], token));
    all.push(row("session", prefix::SESSIONS, PeerId(3), session));
    all.push(row("assignment", prefix::ASSIGNMENTS, name("web01"), assignment));
    all.push(row("run", prefix::RUNS, RunId(7), run()));
    all.push(row("task", prefix::TASKS, TaskId(8), task()));
    all.push(row("output", prefix::OUTPUTS, (TaskId(8), 2u64), chunk));
    all.push(row("request", prefix::REQUESTS, RequestId::named(1 << 90), remembered));
    all.push(row("watched", prefix::WATCHED, name("hot"), watched));

    // Every table has a row here: one that is new needs one.
    let state = State::new();
    let tables: BTreeSet<u8> = state.tables().iter().map(|table| table.prefix()).collect();
    let with_rows: BTreeSet<u8> = all.iter().map(|row: &Entry| row.bytes()[1]).collect();
    assert_eq!(tables, with_rows);
    all.push(entry("globals", &globals()));
    all.push(raw("prefix-of-globals", vec![prefix::GLOBALS], |bytes| Ok(bytes.to_vec())));
    all
}
