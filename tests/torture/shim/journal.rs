//! The journal of changes to a directory, and what a power cut leaves of them.
//!
//! What was synced is kept. Of the rest, what lies within what a file had when it was last synced is kept page by page, each
//! up to a moment of its own, as disks do that reorder; what a file grew by is kept up to one moment, as file systems do that
//! write data before sizes. Either may be torn at a sector. Names (create, rename, remove) are kept up to some moment, too; a
//! name is safe once its directory was synced.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rand::Rng;

/// What a power cut took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lost {
    /// Writes that were not synced, and how many of them are gone or torn.
    pub(crate) writes: usize,
    pub(crate) writes_lost: usize,
    /// Names that were not synced, and how many of them are gone.
    pub(crate) names: usize,
    pub(crate) names_lost: usize,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { writes, writes_lost, names, names_lost } = self;
        write!(f, "{writes_lost} of {writes} writes and {names_lost} of {names} names that were not synced")
    }
}

const HEADER: usize = 72;
const SECTOR: u64 = 512;
const PAGE: u64 = 4096;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Write,
    Truncate,
    Create,
    Rename,
    Unlink,
    MakeDir,
    RemoveDir,
    Sync,
    SyncDir,
}

struct Record {
    kind: Kind,
    sequence: u64,
    inode: u64,
    offset: u64,
    old_size: u64,
    first: PathBuf,
    second: PathBuf,
    new: Vec<u8>,
    old: Vec<u8>,
}

/// Brings `root` to what a power cut leaves, and empties the journals in `shim`.
pub(crate) fn cut_power(root: &Path, shim: &Path, luck: &mut impl Rng) -> Lost {
    let mut journals: Vec<PathBuf> =
        fs::read_dir(shim).unwrap().flatten().map(|entry| entry.path()).collect();
    journals.retain(|path| path.to_string_lossy().contains("/journal."));
    // One for each process; names are the times of their beginning.
    journals.sort();
    let records = journals.iter().flat_map(|path| read(&fs::read(path).unwrap())).collect();
    let unsynced = unsynced(records);
    let (writes, names): (Vec<&Record>, Vec<&Record>) =
        unsynced.iter().partition(|record| matches!(record.kind, Kind::Write | Kind::Truncate));
    let mut lost = Lost { writes: writes.len(), names: names.len(), ..Lost::default() };

    // Back to what was synced, and from there on with luck.
    let mut files = Files::below(root, shim);
    for record in writes.iter().rev() {
        files.undo(record);
    }
    let mut by_file: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for record in &writes {
        by_file.entry(record.inode).or_default().push(*record);
    }
    for (inode, writes) in by_file {
        if let Some(file) = files.get(inode) {
            lost.writes_lost += keep_some(file, &writes, luck);
        }
    }
    drop(files);
    let keep = luck.random_range(0..=names.len());
    lost.names_lost = names.len() - keep;
    for record in names[keep..].iter().rev() {
        undo_name(record);
    }
    for journal in journals {
        fs::remove_file(journal).unwrap();
    }
    lost
}

/// Does again what the disk got of some writes to one file; gives how many are not whole.
fn keep_some(file: &File, writes: &[&Record], luck: &mut impl Rng) -> usize {
    let synced = file.metadata().unwrap().len();
    // So many writes grew the file, the last of them perhaps in part; the moment of each older page.
    let grown = luck.random_range(0..=writes.len());
    let mut moments: HashMap<u64, usize> = HashMap::new();
    let mut broken = 0;
    for (number, write) in writes.iter().enumerate() {
        if write.kind == Kind::Truncate {
            if number < grown {
                file.set_len(write.offset).unwrap();
            }
            continue;
        }
        let end = write.offset + write.new.len() as u64;
        let mut at = write.offset;
        let mut is_whole = true;
        while at < end {
            let is_old = at < synced;
            let next = if is_old { (at / PAGE + 1) * PAGE } else { end };
            let next = next.min(end).min(if is_old { synced } else { end });
            let moment = if is_old {
                *moments.entry(at / PAGE).or_insert_with(|| luck.random_range(0..=writes.len()))
            } else {
                grown
            };
            let keep = match number.cmp(&moment) {
                Ordering::Less => next,
                Ordering::Equal => next.min((luck.random_range(at..=next) / SECTOR * SECTOR).max(at)),
                Ordering::Greater => at,
            };
            let piece = (at - write.offset) as usize..(keep - write.offset) as usize;
            file.write_all_at(&write.new[piece], at).unwrap();
            is_whole &= keep == next;
            at = next;
        }
        broken += usize::from(!is_whole);
    }
    broken
}

fn read(mut bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while bytes.len() >= HEADER {
        let field = |at: usize| u64::from_ne_bytes(bytes[at * 8..at * 8 + 8].try_into().unwrap());
        let lengths = [field(5), field(6), field(7), field(8)].map(|length| usize::try_from(length).unwrap());
        let total = HEADER + lengths.iter().sum::<usize>();
        if bytes.len() < total {
            break; // It was killed while it told of this one, and had not done it yet.
        }
        let kind = match field(0) {
            1 => Kind::Write,
            2 => Kind::Truncate,
            3 => Kind::Create,
            4 => Kind::Rename,
            5 => Kind::Unlink,
            6 => Kind::MakeDir,
            7 => Kind::RemoveDir,
            8 => Kind::Sync,
            9 => Kind::SyncDir,
            other => panic!("the journal has a record of kind {other}"),
        };
        let mut at = HEADER;
        let [first, second, new, old] = lengths.map(|length| {
            at += length;
            bytes[at - length..at].to_vec()
        });
        let path = |bytes: Vec<u8>| PathBuf::from(String::from_utf8(bytes).unwrap());
        records.push(Record {
            kind,
            sequence: field(1),
            inode: field(2),
            offset: field(3),
            old_size: field(4),
            first: path(first),
            second: path(second),
            new,
            old,
        });
        bytes = &bytes[total..];
    }
    records
}

/// Changes that no later sync covers. A sync covers what was written before it began.
fn unsynced(records: Vec<Record>) -> Vec<Record> {
    let mut files: HashMap<u64, u64> = HashMap::new();
    let mut dirs: HashMap<PathBuf, u64> = HashMap::new();
    for record in &records {
        match record.kind {
            Kind::Sync => {
                let upto = files.entry(record.inode).or_default();
                *upto = record.offset.max(*upto);
            }
            Kind::SyncDir => {
                let upto = dirs.entry(record.first.clone()).or_default();
                *upto = record.offset.max(*upto);
            }
            _ => {}
        }
    }
    let is_unsynced = |record: &Record| match record.kind {
        Kind::Sync | Kind::SyncDir => false,
        Kind::Write | Kind::Truncate => files.get(&record.inode).is_none_or(|upto| record.sequence > *upto),
        Kind::Create | Kind::Unlink | Kind::MakeDir | Kind::RemoveDir | Kind::Rename => {
            let named = if record.kind == Kind::Rename { &record.second } else { &record.first };
            let dir = named.parent().unwrap_or(Path::new("/"));
            dirs.get(dir).is_none_or(|upto| record.sequence > *upto)
        }
    };
    let mut left: Vec<Record> = records.into_iter().filter(is_unsynced).collect();
    // Names are kept in the order in which they were made: one that is safe makes those before it safe.
    left.sort_by_key(|record| record.sequence);
    left
}

/// Files by inode, those included that have lost their name.
struct Files {
    paths: HashMap<u64, PathBuf>,
    open: HashMap<u64, File>,
    missing: HashSet<u64>,
}

impl Files {
    fn below(root: &Path, shim: &Path) -> Files {
        let mut paths = HashMap::new();
        let mut open = vec![root.to_path_buf(), shim.join("kept")];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                if meta.is_dir() {
                    open.push(entry.path());
                } else {
                    paths.insert(meta.ino(), entry.path());
                }
            }
        }
        Files { paths, open: HashMap::new(), missing: HashSet::new() }
    }

    fn get(&mut self, inode: u64) -> Option<&File> {
        if !self.open.contains_key(&inode) {
            let Some(path) = self.paths.get(&inode) else {
                self.missing.insert(inode);
                return None;
            };
            let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
            self.open.insert(inode, file);
        }
        self.open.get(&inode)
    }

    fn undo(&mut self, record: &Record) {
        if let Some(file) = self.get(record.inode) {
            file.set_len(record.old_size).unwrap();
            file.write_all_at(&record.old, record.offset).unwrap();
        }
    }
}

fn undo_name(record: &Record) {
    let done = match record.kind {
        Kind::Create => fs::remove_file(&record.first),
        Kind::MakeDir => fs::remove_dir_all(&record.first),
        Kind::RemoveDir => fs::create_dir(&record.first),
        Kind::Unlink => fs::hard_link(&record.second, &record.first),
        Kind::Rename => fs::rename(&record.second, &record.first).and_then(|()| {
            let replaced = Path::new(std::str::from_utf8(&record.new).unwrap());
            if record.new.is_empty() { Ok(()) } else { fs::hard_link(replaced, &record.second) }
        }),
        _ => Ok(()),
    };
    if let Err(error) = done {
        // A name below a directory whose own name was lost with it.
        if error.kind() != std::io::ErrorKind::NotFound {
            panic!("a name could not be taken back: {error}: {:?} {:?}", record.kind, record.first);
        }
    }
}
