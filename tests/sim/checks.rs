//! What must hold of all peers after every step.

use std::collections::BTreeMap;

use rscaler_raft::consensus::LogPosition;
use rscaler_raft::store::wal::Record;

use super::peer::Host;

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Checks {
    /// Who led in which term, and in which of its processes.
    leaders: BTreeMap<u64, (u64, u64)>,
    /// Every entry that some peer has applied.
    committed: BTreeMap<u64, (LogPosition, u32)>,
    /// By peer: which of its processes, how far its entries are compared, how far it had applied.
    seen: BTreeMap<u64, Seen>,
    /// The state after an entry.
    digests: BTreeMap<u64, ([u8; 32], u64)>,
}

#[derive(Default)]
struct Seen {
    starts: u64,
    compared: u64,
    applied: u64,
}

fn checksum(record: &Record) -> u32 {
    match record {
        Record::Blank => 0,
        Record::Normal(bytes) | Record::Membership(bytes) => crc32fast::hash(bytes),
    }
}

impl Checks {
    /// Looks at a peer, and says what is wrong.
    pub(crate) fn look(&mut self, host: &Host) -> Result<(), String> {
        let Some(inside) = host.inside() else { return Ok(()) };
        let leadership = *inside.handle.leadership().borrow();
        if leadership.is_local() {
            let (peer, starts) = *self.leaders.entry(leadership.term).or_insert((host.id, host.starts));
            if peer != host.id {
                return Err(format!("peers {peer} and {} both lead in term {}", host.id, leadership.term));
            }
            if starts != host.starts {
                return Err(format!(
                    "peer {} was started again and leads on in term {}",
                    host.id, leadership.term
                ));
            }
        }
        let applied = inside.replica.applied();
        let seen = self.seen.entry(host.id).or_default();
        if seen.starts != host.starts {
            *seen = Seen { starts: host.starts, compared: 0, applied: 0 };
        }
        if applied < seen.applied {
            return Err(format!("peer {} had applied {} and now {applied}", host.id, seen.applied));
        }
        seen.applied = applied;
        host.log.look(|content| {
            for index in seen.compared..=applied {
                let Some((position, record)) = content.entry(index) else { continue };
                let entry = (*position, checksum(record));
                let known = *self.committed.entry(index).or_insert(entry);
                if known != entry {
                    return Err(format!(
                        "peer {} has applied entry {index} as {position:?}, another one as {:?}",
                        host.id, known.0
                    ));
                }
            }
            Ok(())
        })?;
        seen.compared = applied + 1;
        if let Some(digest) = *inside.digests.borrow() {
            let (known, peer) = *self.digests.entry(digest.index).or_insert((digest.digest, host.id));
            if known != digest.digest {
                return Err(format!(
                    "after entry {} peers {peer} and {} have different states",
                    digest.index, host.id
                ));
            }
        }
        Ok(())
    }

    /// The last entry that anybody has applied.
    pub(crate) fn last_committed(&self) -> u64 {
        self.committed.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// How many terms had a leader.
    pub(crate) fn terms(&self) -> usize {
        self.leaders.len()
    }

    /// How many digests were compared.
    pub(crate) fn digests(&self) -> usize {
        self.digests.len()
    }
}
