//! What fuzzers begin with: small and real. `UPDATE_SEEDS=1` writes it to `tests/fuzz/seeds`.
#![allow(clippy::unwrap_used)]

use crate::backup::Piece;
use crate::codec::{self, encode_plain};
use crate::command::{Command, EndingResult, Progress, Proposal, Reply, StartStep, What};
use crate::consensus::fuzz as consensus;
use crate::identity::{ControlPlaneId, Identity, Origin};
use crate::model::*;
use crate::network::certificate::{self, Authority};
use crate::network::frame::{self, Frame, Kind as FrameKind};
use crate::network::join::JoinToken;
use crate::secrets::{Keyring, SecretBytes};
use crate::series::fuzz as series;
use crate::state::fuzz::settled;
use crate::state::testing::{Driver, name};
use crate::store::{Applied, Manifest, Section, SectionKind};

/// One seed: target, file, bytes.
type Seed = (&'static str, String, Vec<u8>);

/// In one file, as [`crate::fuzz::parts`] takes it apart again.
pub(crate) fn joined(parts: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let with_length = |part: Vec<u8>| [&u16::try_from(part.len()).unwrap().to_le_bytes()[..], &part].concat();
    parts.into_iter().flat_map(with_length).collect()
}

/// A row with its key, as the targets of rows take it.
fn row(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&[u8::try_from(key.len()).unwrap()], key, value].concat()
}

/// A day in the life: samples, a trigger that fires, a run, output, a peer that goes.
fn lived() -> (Driver, usize) {
    let mut driver = settled();
    let from = driver.log.len();
    driver.push(&[("web01", 1, 5.0), ("web02", 1, 1.0)]);
    driver.pass(2000);
    let on = Scope { cluster: Some(name("web")), node: None };
    let step =
        StartStep { what: What::Named(name("tidy")), target: Target::Cluster, on_failure: OnFailure::Stop };
    driver.start(on, vec![step]);
    let open: Vec<u64> = driver.state.open_tasks().map(|task| task.id.0).collect();
    for task in open {
        driver.report(task, Progress::Started);
        let chunks = vec![OutputChunk { attempt: 1, stream: Stream::Stdout, bytes: (*b"hello\n").into() }];
        driver.report(task, Progress::Output { chunks, missed_bytes: 3 });
        driver.report(task, crate::state::testing::finished(EndingResult::Succeeded));
    }
    driver
        .apply(Command::RecordHostKey { node: name("web01"), key: "ssh-ed25519 AAAA".to_string() })
        .unwrap();
    driver.push(&[("web01", 11, 1.0)]);
    driver.pass(2000);
    driver.apply(Command::RemovePeer(PeerId(2))).unwrap();
    (driver, from)
}

fn of_state(seeds: &mut Vec<Seed>) {
    let (mut driver, from) = lived();
    let log: Vec<Proposal> = driver.log.split_off(from);
    for (at, proposal) in log.iter().enumerate().take(16) {
        seeds.push(("proposals", format!("entry-{at}"), encode_plain(proposal)));
    }
    let rejected = driver.apply(Command::CancelRun(RunId(77)));
    for (file, outcome) in [("refused", rejected), ("done", Ok(Reply::Done))] {
        seeds.push(("proposals", file.to_string(), encode_plain(&outcome)));
    }
    let mut entries: Vec<Vec<u8>> = log.iter().map(encode_plain).collect();
    entries.insert(3, Vec::new());
    entries.insert(6, vec![0]);
    seeds.push(("apply", "lived".to_string(), joined(entries)));

    let rows = driver.state.drain().rows;
    let (mut all, mut samples) = (Vec::new(), Vec::new());
    for change in rows {
        let Some(value) = change.value.map(|make| make()) else { continue };
        // The targets put rows of samples in their envelope: version and checksum.
        let of_series = b"dhi".contains(&change.key[0]);
        let row = row(&change.key, if of_series { &value[5..] } else { &value });
        if of_series {
            samples.push(row.clone());
        }
        all.push(row);
    }
    seeds.push(("series_rows", "three".to_string(), joined(samples)));
    for (at, row) in all.iter().enumerate().take(8) {
        seeds.push(("checkpoint_rows", format!("row-{at}"), row.clone()));
    }
    seeds.push(("state_rows", "lived".to_string(), joined(all)));
}

fn of_files(seeds: &mut Vec<Seed>) {
    let control_plane = ControlPlaneId(7);
    let manifest = Manifest {
        applied: Applied::default(),
        feature_level: 1,
        parts: 3,
        blocks: 1,
        sections: vec![
            Section { kind: SectionKind::Rows, len: 60, crc: 1 },
            Section { kind: SectionKind::Blocks, len: 43, crc: 2 },
        ],
    };
    seeds.push(("snapshots", "manifest".to_string(), encode_plain(&manifest)));
    let part = [&[0, 2, 0, 0, 0, 1, 0, 0, 0, 3][..], b"Ok", b"abc"].concat();
    seeds.push(("snapshots", "rows".to_string(), [part.clone(), part].concat()));
    seeds.push(("snapshots", "blocks".to_string(), vec![0; 43]));
    let pieces = [
        Piece::Header { control_plane, manifest: manifest.encode().unwrap() },
        Piece::Section { offset: 0, bytes: b"rows".to_vec() },
        Piece::Block { key: [0; 11], bytes: b"block".to_vec() },
        Piece::End { pieces: 3 },
    ];
    seeds.push(("backups", "whole".to_string(), joined(pieces.iter().map(encode_plain))));
    let identity = Identity { control_plane, peer: PeerId(3), name: "p3".to_string(), origin: Origin::Join };
    seeds.push(("own_files", "identity".to_string(), encode_plain(&identity)));
    let neighbours = vec![(PeerId(1), "10.0.0.1:7401".to_string())];
    seeds.push(("own_files", "neighbours".to_string(), encode_plain(&neighbours)));
    let keyring = Keyring::generate(SecretBytes::new(vec![1; 8])).unwrap().encode().unwrap();
    seeds.push(("own_files", "keyring".to_string(), keyring[codec::HEADER_BYTES..].to_vec()));
    let pem = "-----BEGIN CERTIFICATE-----\nAAECAw==\n-----END CERTIFICATE-----\n";
    seeds.push(("own_files", "pem".to_string(), pem.into()));

    let (key, authority) = Authority::generate(control_plane).unwrap();
    let request = certificate::request(&certificate::generate_key().unwrap()).unwrap();
    let issuing = Authority::load(control_plane, &key, &authority).unwrap();
    let issued = issuing.issue(&request, PeerId(12)).unwrap().certificate;
    let token = JoinToken::of(&authority, [7; 32]).to_string();
    for (file, bytes) in
        [("authority", authority), ("peer", issued), ("request", request), ("join-token", token.into())]
    {
        seeds.push(("certificates", file.to_string(), bytes));
    }
}

fn of_wire(seeds: &mut Vec<Seed>) {
    let mut stream = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (req, kind) in [FrameKind::Hello, FrameKind::Append, FrameKind::Rows].into_iter().enumerate() {
        let frame = Frame::request(req as u64, kind, 0, vec![0xaa; 20]);
        runtime.block_on(frame::write(&mut stream, &frame)).unwrap();
    }
    seeds.push(("frames", "three".to_string(), stream));
    for (at, bytes) in consensus::seeds().into_iter().enumerate() {
        seeds.push(("messages", format!("message-{at}"), bytes));
    }
    let records = [
        [&[0u8, 0, 0, 4][..], &[1, 1, b'a', b'b']].concat(),
        [3u64.to_be_bytes(), 9u64.to_be_bytes()].concat(),
        [3u64.to_be_bytes(), 2u64.to_be_bytes(), 1u64.to_be_bytes()].concat(),
    ];
    for (file, bytes) in ["entry", "position", "vote"].iter().zip(records) {
        seeds.push(("log_records", file.to_string(), bytes));
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    of_state(&mut seeds);
    of_files(&mut seeds);
    of_wire(&mut seeds);
    for (at, bytes) in series::seeds().into_iter().enumerate() {
        seeds.push(("blocks", format!("block-{at}"), bytes));
    }
    seeds
}
