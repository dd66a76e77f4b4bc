//! What differs between this peer's state and another one's, in words and bytes for who has to find out why. Secrets are
//! in it as they are in the state: sealed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tokio::time::Instant;

use super::engine::Consensus;
use super::wire::{AskRows, Rows};
use crate::model::PeerId;
use crate::network::client::{CallError, Lane};
use crate::network::frame::GROUP;
use crate::network::message::{Failure, FailureCode};

/// Rows whose hashes are sent at once.
const HASHES_MAX: usize = 8192;
/// Rows that are shown, and how many bytes of each.
const SHOWN_MAX: usize = 200;
const VALUE_BYTES_MAX: usize = 4096;

type Hashes = BTreeMap<Vec<u8>, u128>;

impl Consensus {
    /// Says of the rows after entry `index` which differ from those of the leader, or of whoever still knows them.
    pub async fn differences(&self, index: u64, deadline: Instant) -> String {
        let Some(ours) = self.own_hashes(index) else {
            return format!("the rows after entry {index} are not known here any more\n");
        };
        let leader = self.leadership.borrow().leader;
        let mut others: Vec<PeerId> = self.member_ids().into_iter().filter(|id| *id != self.local).collect();
        others.sort_by_key(|id| Some(*id) != leader);
        let mut text = String::new();
        for other in others {
            match self.compare_with(other, &ours, index, deadline).await {
                Ok(found) => return text + &found,
                Err(error) => {
                    let _ = writeln!(text, "not compared with peer {other}: {error}");
                }
            }
        }
        text + "no other peer could tell its rows\n"
    }

    fn own_hashes(&self, index: u64) -> Option<Hashes> {
        let mut hashes = Hashes::new();
        loop {
            let after = hashes.last_key_value().map(|(key, _)| key.clone()).unwrap_or_default();
            let page = self.comparison.rows(index, &after, HASHES_MAX)?;
            let is_last = page.len() < HASHES_MAX;
            hashes.extend(page);
            if is_last {
                return Some(hashes);
            }
        }
    }

    async fn compare_with(
        &self,
        other: PeerId,
        ours: &Hashes,
        index: u64,
        deadline: Instant,
    ) -> Result<String, CallError> {
        let unreachable = || CallError::Unreachable("where it is, is not known".into());
        let link = self.link(other, Lane::Bulk).ok_or_else(unreachable)?;
        let mut theirs = Hashes::new();
        loop {
            let after = theirs.last_key_value().map(|(key, _)| key.clone()).unwrap_or_default();
            let Rows::Hashes(page) = link.call(GROUP, &AskRows::Hashes { index, after }, deadline).await?
            else {
                return Err(CallError::Lost("it answered something else".into()));
            };
            let is_last = page.len() < HASHES_MAX;
            theirs.extend(page);
            if is_last {
                break;
            }
        }
        let differing: Vec<Vec<u8>> = differing(ours, &theirs);
        let shown: Vec<Vec<u8>> = differing.iter().take(SHOWN_MAX).cloned().collect();
        let values = link.call(GROUP, &AskRows::Values { keys: shown.clone() }, deadline).await?;
        let Rows::Values { applied, values } = values else {
            return Err(CallError::Lost("it answered something else".into()));
        };
        let Rows::Values { applied: applied_here, values: values_here } = self.row_values(&shown) else {
            return Err(CallError::Lost("rows could not be read".into()));
        };
        let mut text = format!(
            "After entry {index} peer {} has {} rows and peer {other} has {}; {} differ.\n\
             Keys begin with the byte of their table. Values are as of entry {applied_here} here and {applied} there, \
             at most {VALUE_BYTES_MAX} bytes of each.\n\n",
            self.local,
            ours.len(),
            theirs.len(),
            differing.len(),
        );
        for (at, key) in shown.iter().enumerate() {
            let side = |hashes: &Hashes, values: &[Option<Vec<u8>>]| match (
                hashes.contains_key(key),
                values.get(at),
            ) {
                (false, _) => "no such row".to_string(),
                (true, Some(Some(value))) => value.escape_ascii().to_string(),
                (true, _) => "not a stored row, or gone since".to_string(),
            };
            let _ = writeln!(text, "{}", key.escape_ascii());
            let _ = writeln!(text, "  here:  {}", side(ours, &values_here));
            let _ = writeln!(text, "  there: {}", side(&theirs, &values));
        }
        Ok(text)
    }

    /// Answers [`AskRows`].
    pub(super) fn answer_rows(&self, ask: &AskRows) -> Result<Rows, Failure> {
        match ask {
            AskRows::Hashes { index, after } => match self.comparison.rows(*index, after, HASHES_MAX) {
                Some(rows) => Ok(Rows::Hashes(rows)),
                None => {
                    let why = format!("the rows after entry {index} are not known any more");
                    Err(Failure::new(FailureCode::Unavailable, why))
                }
            },
            AskRows::Values { keys } if keys.len() <= SHOWN_MAX => Ok(self.row_values(keys)),
            AskRows::Values { .. } => Err(Failure::new(FailureCode::Refused, "too many rows at once")),
        }
    }

    fn row_values(&self, keys: &[Vec<u8>]) -> Rows {
        let values = self.replica.read(|state| {
            let value = |key: &Vec<u8>| {
                let mut value = state.row(key)?;
                value.truncate(VALUE_BYTES_MAX);
                Some(value)
            };
            keys.iter().map(value).collect()
        });
        Rows::Values { applied: self.replica.applied(), values }
    }
}

/// Keys that are on one side only, or have other values.
fn differing(ours: &Hashes, theirs: &Hashes) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = ours
        .iter()
        .filter(|(key, hash)| theirs.get(*key) != Some(hash))
        .map(|(key, _)| key.clone())
        .collect();
    keys.extend(theirs.keys().filter(|key| !ours.contains_key(*key)).cloned());
    keys.sort();
    keys
}
