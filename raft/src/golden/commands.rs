//! What the log's entries hold, and what applying them answers.

use std::collections::BTreeMap;

use super::model::{action, check_output, file, name, series_key, settings, specs};
use super::{Entry, entries, entry, raw, variants};
use crate::codec::{FormatKind, encode};
use crate::command::*;
use crate::consensus::Payload;
use crate::model::*;

variants!(expects: Expect {
    Expect::Any => Expect::Any,
    Expect::Absent => Expect::Absent,
    Expect::Present => Expect::Present,
    Expect::Version(_) => Expect::Version(300),
});
variants!(changes: Change {
    Change::Put { .. } => Change::Put {
        name: name("web01"),
        spec: specs().remove(1),
        labels: BTreeMap::from([("app".to_string(), "web".to_string())]),
        description: "a node".to_string(),
        expect: Expect::Version(3),
    },
    Change::Delete { .. } => Change::Delete { kind: Kind::Node, name: name("web01"), expect: Expect::Any },
});
variants!(sample_sources: SampleSource {
    SampleSource::Collector { .. } => SampleSource::Collector { node: name("web01"), epoch: 4 },
    SampleSource::Push => SampleSource::Push,
});
variants!(row_series: RowSeries {
    RowSeries::Known(_) => RowSeries::Known(SeriesId(300)),
    RowSeries::New(_) => RowSeries::New(0),
});
variants!(whats: What {
    What::Named(_) => What::Named(name("tidy")),
    What::Inline(_) => What::Inline(Box::new(action())),
});
variants!(ending_results: EndingResult {
    EndingResult::Succeeded => EndingResult::Succeeded,
    EndingResult::Failed => EndingResult::Failed,
    EndingResult::Cancelled => EndingResult::Cancelled,
    EndingResult::TimedOut => EndingResult::TimedOut,
    EndingResult::Unknown => EndingResult::Unknown,
    EndingResult::HandedBack => EndingResult::HandedBack,
});
variants!(progresses: Progress {
    Progress::Started => Progress::Started,
    Progress::Output { .. } => Progress::Output {
        chunks: vec![OutputChunk { attempt: 1, stream: Stream::Stderr, bytes: (*b"hello\n").into() }],
        missed_bytes: 9,
    },
    Progress::AwaitingInput(_) => Progress::AwaitingInput(true),
    Progress::Finished(_) => Progress::Finished(Ending {
        result: EndingResult::Failed,
        exit_code: Some(-2),
        reason: Some("why".to_string()),
    }),
});

fn report(progress: Progress) -> TaskReport {
    TaskReport { task: TaskId(8), attempt: 2, session: 5, progress }
}

variants!(commands: Command {
    Command::Tick { .. } => Command::Tick { term: 3, first: true, delta_ms: 1000, wall: Timestamp(1_700_000_000_000) },
    Command::Configure(_) => Command::Configure(changes()),
    Command::Samples(_) => Command::Samples(SampleBatch {
        source: SampleSource::Push,
        keys: vec![series_key()],
        rows: row_series().into_iter().map(|series| SampleRow { series, at: 1_700_000_000_123, value: 1.5 }).collect(),
    }),
    Command::Checks(_) => Command::Checks(CheckBatch {
        node: name("web01"),
        epoch: 4,
        reports: vec![CheckReport {
            counter: name("load1"),
            at: Timestamp(7),
            failure: Some((FailureKind::Parse, "no number".to_string())),
            failures: 2,
            output: Some(check_output()),
        }],
    }),
    Command::OpenSession { .. } => Command::OpenSession {
        peer: PeerId(3),
        boot: 1 << 100,
        capabilities: capabilities(),
        api_url: "https://p3:7700".to_string(),
    },
    Command::RenewSession { .. } => Command::RenewSession { peer: PeerId(3), epoch: 5 },
    Command::CloseSession { .. } => Command::CloseSession { peer: PeerId(3), epoch: 5, draining: true },
    Command::StartRun(_) => Command::StartRun(StartRun {
        scope: Scope { cluster: Some(name("web")), node: None },
        steps: whats()
            .into_iter()
            .map(|what| StartStep { what, target: Target::Cluster, on_failure: OnFailure::Stop })
            .collect(),
    }),
    Command::ExecuteTrigger { .. } => Command::ExecuteTrigger { trigger: name("hot"), node: Some(name("web01")) },
    Command::CancelRun(_) => Command::CancelRun(RunId(7)),
    Command::CancelTask(_) => Command::CancelTask(TaskId(8)),
    Command::RetryRun(_) => Command::RetryRun(RunId(7)),
    Command::TaskReports(_) => Command::TaskReports(progresses().into_iter().map(report).collect()),
    Command::RecordHostKey { .. } => Command::RecordHostKey { node: name("web01"), key: "ssh-ed25519 AAAA".to_string() },
    Command::SetHostKeys { .. } => Command::SetHostKeys { node: name("web01"), keys: vec!["ssh-ed25519 AAAA".to_string()] },
    Command::CreateJoinToken { .. } => Command::CreateJoinToken { hash: [9; 32], ttl_ms: 600_000, role: PeerRole::Learner },
    Command::AdmitPeer { .. } => Command::AdmitPeer {
        token: Some([9; 32]),
        name: "p3".to_string(),
        peer_addr: "p3:7701".to_string(),
        api_url: "https://p3:7700".to_string(),
    },
    Command::RecordCertificate { .. } => Command::RecordCertificate { peer: PeerId(3), serial: vec![1, 2, 3] },
    Command::SetPeerRole { .. } => Command::SetPeerRole { peer: PeerId(3), role: PeerRole::Voter },
    Command::RemovePeer(_) => Command::RemovePeer(PeerId(3)),
    Command::ChangeSettings(_) => Command::ChangeSettings(settings()),
    Command::VerifyDigest { .. } => Command::VerifyDigest { index: 10_000, digest: [2; 32] },
    Command::MovePeer { .. } => Command::MovePeer { peer: PeerId(3), peer_addr: "p3:7801".to_string() },
    Command::PutFiles(_) => Command::PutFiles(vec![FilePut { name: name("f"), file: file(), expect: Expect::Present }]),
});

pub(crate) fn capabilities() -> Capabilities {
    Capabilities { work: ["ssh".to_string()].into(), tasks_max: 64, version: "0.1.0".to_string() }
}

/// Entries as the log holds them, in their envelope.
pub(super) fn family() -> Vec<Entry> {
    let requests = [None, Some(RequestId::named(1 << 90)), Some(RequestId::passing(7))];
    let mut all = Vec::new();
    for (at, command) in commands().into_iter().enumerate() {
        let request = requests[at % requests.len()];
        let proposal = Proposal { request, actor: super::model::actors().remove(at % 4), command };
        let read = |bytes: &[u8]| {
            let proposal = Payload(bytes.into()).decode().map_err(|error| error.to_string())?;
            Ok(Payload::encode(&proposal).unwrap().0.to_vec())
        };
        all.push(raw(format!("command-{at}"), Payload::encode(&proposal).unwrap().0.to_vec(), read));
    }
    all.extend(entries("expect", expects()));
    all.extend(entries("sample-source", sample_sources()));
    all.extend(entries("ending-result", ending_results()));
    all
}

variants!(effects: Effect {
    Effect::Created => Effect::Created,
    Effect::Updated => Effect::Updated,
    Effect::Unchanged => Effect::Unchanged,
    Effect::Deleted => Effect::Deleted,
});
variants!(rejection_kinds: RejectionKind {
    RejectionKind::NotFound => RejectionKind::NotFound,
    RejectionKind::Conflict => RejectionKind::Conflict,
    RejectionKind::VersionMoved => RejectionKind::VersionMoved,
    RejectionKind::Invalid => RejectionKind::Invalid,
    RejectionKind::Stale => RejectionKind::Stale,
    RejectionKind::TooMany => RejectionKind::TooMany,
});
variants!(all_replies: Reply {
    Reply::Done => Reply::Done,
    Reply::Configured(_) => Reply::Configured(
        effects()
            .into_iter()
            .map(|effect| Changed { kind: Kind::Node, name: name("web01"), effect, version: 3 })
            .collect(),
    ),
    Reply::Samples { .. } => Reply::Samples { accepted: 300, dropped: 1 },
    Reply::Session { .. } => Reply::Session { epoch: 5, ttl_ms: 2000 },
    Reply::Run(_) => Reply::Run(RunId(7)),
    Reply::HostKeys(_) => Reply::HostKeys(vec!["ssh-ed25519 AAAA".to_string()]),
    Reply::Peer(_) => Reply::Peer(PeerId(3)),
    Reply::Reports(_) => Reply::Reports(vec![true, false]),
    Reply::Files(_) => Reply::Files(vec![Ok(Stored { effect: Effect::Updated, version: 4 }), Err(rejection())]),
});

pub(super) fn rejection() -> Rejection {
    Rejection {
        kind: RejectionKind::Invalid,
        message: "no".to_string(),
        fields: vec![FieldError { document: 1, pointer: "/a".to_string(), detail: "why".to_string() }],
    }
}

/// Outcomes, as peers answer them and the state remembers them.
pub(super) fn replies() -> Vec<Entry> {
    let mut all = entries("reply", all_replies());
    all.extend(entries("rejection-kind", rejection_kinds()));
    let outcome: Outcome = Err(rejection());
    all.push(entry("rejected", &outcome));
    let bytes = encode(FormatKind::Outcome, 1, &outcome).unwrap();
    all.push(raw("sealed", bytes, |bytes| {
        let read: Outcome =
            crate::codec::decode(FormatKind::Outcome, 1, bytes).map_err(|error| error.to_string())?;
        Ok(encode(FormatKind::Outcome, 1, &read).unwrap())
    }));
    all
}
