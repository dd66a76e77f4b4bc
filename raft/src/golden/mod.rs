//! The formats as they are: bytes that every later version has to read, committed in `raft/tests/golden`.
//!
//! Each family is a file of lines `name hex`. Today's encoder yields exactly these bytes, and today's decoder reads them. Every
//! variant of every stored or sent enum is in them: the `variants!` lists are matches without a wildcard, and structs are
//! written out field by field, so that a new variant or field does not compile until it has its line. `UPDATE_GOLDEN=1` writes
//! the files; `raft/DESIGN.md` ("How to change a format") says when that may be done.
#![allow(clippy::unwrap_used)]

mod commands;
mod files;
mod model;
mod wire;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{decode_plain, encode_plain};
pub(crate) use model::{action, name, series_key};
/// Values of the model.
pub(crate) mod samples {
    pub(crate) use super::commands::capabilities;
    pub(crate) use super::model::*;
}

/// One value of a family.
pub(crate) struct Entry {
    name: String,
    bytes: Vec<u8>,
    /// Reads such bytes, and writes again what was read.
    again: Box<dyn Fn(&[u8]) -> Result<Vec<u8>, String>>,
}

impl Entry {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A value that is stored or sent as a body.
pub(crate) fn entry<T: Serialize + DeserializeOwned>(name: impl Into<String>, value: &T) -> Entry {
    raw(name, encode_plain(value), |bytes| {
        decode_plain::<T>(bytes).map(|read| encode_plain(&read)).map_err(|error| error.to_string())
    })
}

/// Bytes of another form.
pub(crate) fn raw(
    name: impl Into<String>,
    bytes: Vec<u8>,
    again: impl Fn(&[u8]) -> Result<Vec<u8>, String> + 'static,
) -> Entry {
    Entry { name: name.into(), bytes, again: Box::new(again) }
}

/// Values of an enum, in the order of the format, one or more for each variant: `pattern => value`. A variant that is missing
/// does not compile; one that is out of its place fails.
macro_rules! variants {
    ($vis:vis $list:ident: $type:ty { $($pattern:pat => $value:expr),+ $(,)? }) => {
        $vis fn $list() -> Vec<$type> {
            // Without a wildcard, on purpose.
            #[allow(unreachable_patterns, dead_code)]
            fn is_known(value: &$type) {
                match value { $($pattern => {})+ }
            }
            let values: Vec<$type> = vec![$($value),+];
            let mut at = 0;
            $(assert!(matches!(values[at], $pattern), "{} is at its place", stringify!($pattern)); at += 1;)+
            assert_eq!(at, values.len());
            values
        }
    };
}
pub(crate) use variants;

/// One entry for each value, by its place.
pub(crate) fn entries<T: Serialize + DeserializeOwned>(name: &str, values: Vec<T>) -> Vec<Entry> {
    values.iter().enumerate().map(|(at, value)| entry(format!("{name}-{at}"), value)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn path(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{family}.txt"))
}

/// Compares a family with its file.
pub(crate) fn check(family: &str, entries: Vec<Entry>) {
    let path = path(family);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text: String =
            entries.iter().map(|entry| format!("{} {}\n", entry.name, hex(&entry.bytes))).collect();
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let golden: BTreeMap<&str, Vec<u8>> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, hex)| (name, unhex(hex)))
        .collect();
    let advice = "the format has changed: raft/DESIGN.md, \"How to change a format\"";
    for entry in &entries {
        let bytes = golden.get(entry.name.as_str());
        let bytes =
            bytes.unwrap_or_else(|| panic!("{family}: `{}` has no golden bytes; {advice}", entry.name));
        assert_eq!(hex(&entry.bytes), hex(bytes), "{family}: `{}`: {advice}", entry.name);
        let again = (entry.again)(bytes)
            .unwrap_or_else(|error| panic!("{family}: `{}`: {error}; {advice}", entry.name));
        assert_eq!(hex(&again), hex(bytes), "{family}: `{}` is read as something else; {advice}", entry.name);
    }
    assert_eq!(golden.len(), entries.len(), "{family}: names are unique, and nothing is dropped; {advice}");
}

#[test]
fn commands_are_what_they_were() {
    check("commands", commands::family());
}

#[test]
fn replies_are_what_they_were() {
    check("replies", commands::replies());
}

#[test]
fn the_model_is_what_it_was() {
    check("model", model::family());
}

#[test]
fn messages_between_peers_are_what_they_were() {
    check("messages", wire::family());
}

#[test]
fn files_and_records_are_what_they_were() {
    check("files", files::family());
}

#[test]
fn rows_of_the_state_are_what_they_were() {
    check("rows", crate::state::golden::family());
}
