//! What processes have used, as the system counts it.

use std::fs;
use std::time::{Duration, Instant};

use crate::wait::until;

/// In what Linux shows to programs, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// What some processes have used so far.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Usage {
    /// User and system time, reaped children included, in seconds.
    pub(crate) cpu: f64,
    /// Bytes sent towards the disk.
    pub(crate) written: u64,
    /// Memory in use, in MB, over all of them.
    pub(crate) rss_mb: f64,
}

impl Usage {
    /// Of these processes, now.
    pub(crate) fn of(pids: &[u32]) -> Usage {
        pids.iter().fold(Usage::default(), |sum, pid| Usage {
            cpu: sum.cpu + cpu(*pid),
            written: sum.written + field(&format!("/proc/{pid}/io"), "write_bytes:"),
            rss_mb: sum.rss_mb + field(&format!("/proc/{pid}/status"), "VmRSS:") as f64 / 1024.0,
        })
    }

    /// What was used since `before`; memory is what it is now.
    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage { cpu: self.cpu - before.cpu, written: self.written.saturating_sub(before.written), ..self }
    }
}

fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 =
        after.split_whitespace().skip(11).take(4).filter_map(|text| text.parse::<u64>().ok()).sum();
    ticks as f64 / TICKS_PER_SECOND
}

fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// What the machine has to do beside: the three load averages.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Bytes that the files below a directory take on the disk.
pub(crate) fn disk_bytes(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// How long peers may take to seal heads, to write a checkpoint and to copy their files.
const SETTLED_MAX: Duration = Duration::from_secs(180);

/// Waits until peers have nothing more to do: a few seconds without work to speak of, after a checkpoint's time.
pub(crate) async fn settle(pids: &[u32]) {
    tokio::time::sleep(Duration::from_secs(40)).await;
    let last = std::cell::Cell::new(f64::INFINITY);
    let began = Instant::now();
    until("the peers to settle", SETTLED_MAX * 2, || async {
        let before = Usage::of(pids);
        tokio::time::sleep(Duration::from_secs(5)).await;
        last.set(Usage::of(pids).since(before).cpu);
        // Heartbeats and ticks of three peers stay below this.
        if last.get() < 1.0 || began.elapsed() > SETTLED_MAX { Ok(()) } else { Err(last.get()) }
    })
    .await;
}
