//! One function for each decoder, as a fuzzer calls it: whatever the bytes, it does not panic, takes memory in proportion to
//! them, and what it reads can be written and read again.
//!
//! The fuzzers are in `tests/fuzz` and run by `scripts/fuzz`; their seeds, and what they found before, are in
//! `tests/fuzz/seeds` and go through the same functions with the other tests. Bodies of envelopes come here without
//! their envelope: no fuzzer guesses a checksum.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backup::{self, Piece};
use crate::codec::{self, FormatKind};
use crate::command::{Outcome, Proposal};
use crate::consensus::fuzz as consensus;
use crate::identity::Identity;
use crate::model::{PeerId, SeriesKey};
use crate::network::certificate::{self, PeerCertificate};
use crate::network::frame::{self, Bounds};
use crate::network::join::JoinToken;
use crate::secrets::Keyring;
use crate::series::fuzz as series;
use crate::state::fuzz as state;
use crate::store::fuzz as store;

/// A target's name and what it does with some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this package.
pub const TARGETS: &[Target] = &[
    ("apply", state::apply),
    ("backups", backups),
    ("blocks", series::blocks),
    ("certificates", certificates),
    ("checkpoint_rows", store::checkpoint_rows),
    ("frames", frames),
    ("log_records", store::log_records),
    ("messages", consensus::messages),
    ("own_files", own_files),
    ("proposals", proposals),
    ("series_rows", series::rows),
    ("snapshots", store::snapshots),
    ("state_rows", state::rows),
];

/// Gives `data` to the target of that name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(other, _)| *other == name);
    target.expect("fuzzers name targets that there are").1(data);
}

/// Where seeds lie, and what was found before, by target.
fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds")
}

/// Gives each of `targets` all its seeds. For the ordinary tests of each package.
pub fn replay(targets: &[Target]) {
    for (name, target) in targets {
        let files: Vec<_> = std::fs::read_dir(seeds().join(name)).unwrap().collect();
        assert!(!files.is_empty(), "{name} has seeds");
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            target(&std::fs::read(path).unwrap());
        }
    }
}

/// What is read can be written and read again. Bytes are compared, since not every type can be.
pub(crate) fn stable<T: Serialize + DeserializeOwned>(body: &[u8]) -> Option<T> {
    let value: T = codec::decode_plain(body).ok()?;
    let bytes = codec::encode_plain(&value);
    let again: T = codec::decode_plain(&bytes).unwrap();
    assert_eq!(bytes, codec::encode_plain(&again));
    Some(value)
}

/// Cuts `data` into parts, each after its length in two bytes; the last may be shorter than it says.
pub(crate) fn parts(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = data.split_first_chunk()?;
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (part, rest) = rest.split_at(len);
        data = rest;
        Some(part)
    })
}

fn frames(data: &[u8]) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    }
    let bounds =
        Bounds { bytes_max: 1 << 20, idle_max: Duration::from_secs(9), stall_max: Duration::from_secs(9) };
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let mut rest = data;
            loop {
                let before = rest;
                let Ok(Some(frame)) = frame::read(&mut rest, bounds).await else { return };
                let mut written = Vec::new();
                frame::write(&mut written, &frame).await.unwrap();
                assert_eq!(written, before[..before.len() - rest.len()]);
            }
        });
    });
}

fn proposals(data: &[u8]) {
    let _ = codec::decode::<Proposal>(FormatKind::Proposal, 1, data);
    stable::<Proposal>(data);
    stable::<Outcome>(data);
}

fn backups(data: &[u8]) {
    let read = |bytes: &[u8]| {
        let Ok((mut reader, ..)) = backup::Reader::begin(Cursor::new(bytes)) else { return };
        while let Ok(Some(piece)) = reader.next_part() {
            assert!(matches!(piece, Piece::Section { .. } | Piece::Block { .. }));
        }
    };
    read(data);
    let mut whole = Vec::new();
    for part in parts(data) {
        stable::<Piece>(part);
        let sealed = codec::seal(FormatKind::Backup, 1, part).unwrap();
        whole.extend_from_slice(&u32::try_from(sealed.len()).unwrap().to_le_bytes());
        whole.extend_from_slice(&sealed);
    }
    read(&whole);
}

fn own_files(data: &[u8]) {
    stable::<Identity>(data);
    stable::<Vec<(PeerId, String)>>(data);
    stable::<SeriesKey>(data);
    let sealed = codec::seal(FormatKind::Identity, 1, data).unwrap();
    if let Ok(keyring) = Keyring::decode(&sealed) {
        assert!(Keyring::decode(&keyring.encode().unwrap()).unwrap() == keyring);
    }
    crate::identity::fuzz_pem(data);
}

fn certificates(data: &[u8]) {
    let _ = PeerCertificate::read(data);
    let _ = certificate::requested_key(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(token) = text.parse::<JoinToken>()
    {
        assert!(token.to_string().parse::<JoinToken>().unwrap() == token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz_seeds;

    #[test]
    fn what_fuzzers_begin_with_and_what_they_found_harms_nobody() {
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            for (target, name, bytes) in fuzz_seeds::all() {
                let path = seeds().join(target);
                std::fs::create_dir_all(&path).unwrap();
                std::fs::write(path.join(name), bytes).unwrap();
            }
        }
        replay(TARGETS);
    }
}
