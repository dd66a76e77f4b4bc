//! What is preloaded into peers: disks that lose power, fail or are slow, and wrong clocks. `faults.c` does it; this
//! compiles it, tells it what to do, and plays the power cut. (`switch.c` beside it is the bad network of `net.rs`.)

pub(crate) mod journal;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use parking_lot::Mutex;

/// Fields of the control page, 8 bytes each, as `faults.c` has them.
#[derive(Clone, Copy)]
enum Field {
    Sequence = 0,
    WallOffset,
    Skew,
    Anchor,
    BeforePpm,
    RatePpm,
    SyncDelay,
    SyncErrno,
    WriteErrno,
    ClockCaught,
}

/// The control page of one peer.
pub(crate) struct Control {
    page: File,
    /// Beside the peer's directory: page, journal, and what the journal keeps.
    at: PathBuf,
    root: PathBuf,
}

impl Control {
    /// For the peer whose data is below `root`.
    pub(crate) fn new(root: &Path) -> Control {
        let at = root.with_extension("shim");
        std::fs::create_dir_all(at.join("kept")).unwrap();
        let page = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(at.join("control"))
            .unwrap();
        page.set_len(4096).unwrap();
        Control { page, at, root: root.to_path_buf() }
    }

    /// What the peer's process is given. With `journal`, power can be cut.
    pub(crate) fn environment(&self, journal: bool) -> Vec<(String, String)> {
        let path = |path: &Path| path.display().to_string();
        let mut all = vec![
            ("LD_PRELOAD".to_string(), path(&compiled("faults", &["-shared", "-fPIC"]))),
            ("FAULTS_CONTROL".to_string(), path(&self.at.join("control"))),
        ];
        if journal {
            all.push(("FAULTS_ROOT".to_string(), path(&self.root)));
            all.push(("FAULTS_JOURNAL".to_string(), path(&self.at.join("journal"))));
            all.push(("FAULTS_KEPT".to_string(), path(&self.at.join("kept"))));
        }
        all
    }

    fn get(&self, field: Field) -> i64 {
        let mut bytes = [0; 8];
        self.page.read_exact_at(&mut bytes, field as u64 * 8).unwrap();
        i64::from_ne_bytes(bytes)
    }

    fn set(&self, field: Field, value: i64) {
        self.page.write_all_at(&value.to_ne_bytes(), field as u64 * 8).unwrap();
    }

    /// Whether the process's clocks are in our hands.
    pub(crate) fn has_clock(&self) -> bool {
        self.get(Field::ClockCaught) == 1
    }

    /// Moves the wall clock by so much from the truth.
    pub(crate) fn set_wall_offset(&self, seconds: i64) {
        self.clock(|| self.set(Field::WallOffset, seconds * 1_000_000_000));
    }

    /// All clocks run so many millionths faster from now on, going on from what they show.
    pub(crate) fn set_rate(&self, ppm: i64) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        // A little later, so that it is never told too late: clocks that were read already may not go back.
        let anchor = now.tv_sec * 1_000_000_000 + now.tv_nsec + 200_000_000;
        let rate = self.get(Field::RatePpm);
        let since = i128::from(anchor - self.get(Field::Anchor)) * i128::from(rate) / 1_000_000;
        let skew = self.get(Field::Skew) + i64::try_from(since).unwrap_or(0);
        self.clock(|| {
            self.set(Field::Skew, skew);
            self.set(Field::Anchor, anchor);
            self.set(Field::BeforePpm, rate);
            self.set(Field::RatePpm, ppm);
        });
    }

    /// All clocks go back, the monotonic ones too, which no machine's do: to see what follows where a promise is broken.
    pub(crate) fn turn_back(&self, seconds: i64) {
        self.clock(|| self.set(Field::Skew, self.get(Field::Skew) - seconds * 1_000_000_000));
    }

    fn clock(&self, change: impl FnOnce()) {
        let sequence = self.get(Field::Sequence);
        self.set(Field::Sequence, sequence + 1);
        change();
        self.set(Field::Sequence, sequence + 2);
    }

    /// Every sync takes so much longer.
    pub(crate) fn set_sync_delay(&self, delay: Duration) {
        self.set(Field::SyncDelay, i64::try_from(delay.as_micros()).unwrap_or(i64::MAX));
    }

    /// Every sync fails with EIO, or none.
    pub(crate) fn fail_syncs(&self, fail: bool) {
        self.set(Field::SyncErrno, if fail { 5 } else { 0 });
    }

    /// Every write fails with EIO, or none.
    pub(crate) fn fail_writes(&self, fail: bool) {
        self.set(Field::WriteErrno, if fail { 5 } else { 0 });
    }

    /// Brings the peer's directory to what a power cut would have left of it. The process is dead.
    pub(crate) fn cut_power(&self, luck: &mut impl rand::Rng) -> journal::Lost {
        let lost = journal::cut_power(&self.root, &self.at, luck);
        for entry in std::fs::read_dir(self.at.join("kept")).unwrap().flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
        lost
    }
}

/// A C program of this directory, compiled once for this process; gives where it is.
pub(crate) fn compiled(name: &str, flags: &[&str]) -> PathBuf {
    static BUILT: Mutex<Option<(tempfile::TempDir, BTreeSet<String>)>> = Mutex::new(None);
    let mut built = BUILT.lock();
    let (dir, names) = built.get_or_insert_with(|| (tempfile::tempdir().unwrap(), BTreeSet::new()));
    let path = dir.path().join(name);
    if names.insert(name.to_string()) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/torture/shim/{name}.c"));
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-Wall", "-Wextra", "-Werror"]).args(flags).arg("-o").arg(&path).arg(source);
        let made = cc.args(["-ldl", "-lpthread"]).output().expect("cc is installed: the build needs it too");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    path
}
