//! Peers whose disk is full: a small file system of its own holds their data.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::plane::{Plane, STARTING};
use crate::wait::until;
use crate::writer::{Writer, assert_has};

const MIB: u64 = 1 << 20;

/// A file system in memory, mounted at a directory.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts it in the place of `at` and moves what is there into it; nothing where mounting is not permitted.
    fn in_place_of(at: &Path) -> Option<SmallDisk> {
        let aside = at.with_extension("aside");
        std::fs::rename(at, &aside).unwrap();
        std::fs::create_dir(at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=192m", "tmpfs"]).arg(at).output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            println!("skipped: mounting is not permitted here, so no disk can be made full");
            return None;
        }
        let disk = SmallDisk { at: at.to_path_buf() };
        let copied = Command::new("cp").arg("-a").arg(aside.join(".")).arg(at).status().unwrap();
        assert!(copied.success());
        Some(disk)
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.at).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Takes all but so many bytes.
    fn fill_to(&self, left: u64) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).unwrap();
        while self.free() > left {
            let piece = vec![1; usize::try_from((self.free() - left).min(MIB)).unwrap()];
            if filler.write_all(&piece).is_err() {
                break;
            }
        }
    }

    /// Gives them back.
    fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The peer may still have files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Waits until the peers that are asked agree that another one leads than `place`.
async fn leads_no_more(plane: &Plane, place: usize) {
    until("leadership to move", STARTING, || async {
        if plane.leader().await == place { Err("it still leads") } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_a_full_disk_loses_nothing_and_comes_back() {
    let mut plane = Plane::start(3).await;
    // Not the first, which is the one that is asked.
    let full = 2;
    plane.peers[full].stop();
    let Some(disk) = SmallDisk::in_place_of(&plane.peers[full].data) else { return };
    plane.peers[full].restart();
    plane.ready(full).await;
    let id = plane.id(full).await.to_string();
    plane.cli_ok(&["peers", "transfer-leader", &id]);
    let (through_full, through_other) = (Writer::start(&plane, full), Writer::start_as(&plane, 0, "v"));
    through_other.goes_on(5).await;
    assert_eq!(plane.leader().await, full);

    disk.fill_to(32 * MIB);
    leads_no_more(&plane, full).await;
    through_other.goes_on(5).await;
    through_full.goes_on(5).await;
    let refused = plane.post("peers/leader", json!({"to": id.parse::<u64>().unwrap()})).await.unwrap_err();
    assert!(refused.0 == 409 && refused.1.to_string().contains("nearly full"), "{refused:?}");

    // Not a byte is left: what the others write can't be stored there any more.
    disk.fill_to(0);
    until("the peer to stop, for it can't write", STARTING, || {
        let ended = plane.peers[full].exit_code();
        let free = disk.free();
        async move { ended.ok_or(free) }
    })
    .await;
    through_other.goes_on(5).await;
    let mut acknowledged = through_other.stop().await;
    acknowledged.extend(through_full.stop().await);
    println!("{} writes were acknowledged; it said: {}", acknowledged.len(), why_it_stopped(&plane, full));

    disk.empty();
    plane.peers[full].kill();
    plane.peers[full].restart();
    plane.ready(full).await;
    for place in 0..3 {
        assert_has(&plane, place, &acknowledged).await;
    }
    until("it to be let lead again", STARTING, || async {
        plane.post("peers/leader", json!({"to": id.parse::<u64>().unwrap()})).await.map_err(|(_, body)| body)
    })
    .await;
    until("it to lead", STARTING, || async { if plane.leader().await == full { Ok(()) } else { Err(()) } })
        .await;
    plane.ask(full, Method::POST, "clusters", Some(json!({"name": "after"}))).await.unwrap();
    drop(disk);
}

fn why_it_stopped(plane: &Plane, place: usize) -> String {
    let log = plane.peers[place].log();
    let line = log.lines().rfind(|line| line.starts_with("rscaler: "));
    line.unwrap_or_else(|| panic!("it does not say why it stopped: {log}")).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_without_room_says_so_and_when_to_ask_again() {
    let mut plane = Plane::start(1).await;
    plane.peers[0].stop();
    let Some(disk) = SmallDisk::in_place_of(&plane.peers[0].data) else { return };
    plane.peers[0].restart();
    plane.ready(0).await;
    disk.fill_to(32 * MIB);
    let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let url = format!("http://{}/api/v1/clusters", plane.peers[0].api);
    let write = |name: String| http.post(&url).bearer_auth(&plane.token).json(&json!({"name": name})).send();
    let mut number = 0;
    let refused = until("a write to be refused", STARTING, || {
        number += 1;
        let write = write(format!("c{number}"));
        async move {
            let answer = write.await.unwrap();
            if answer.status().is_success() { Err(answer.status()) } else { Ok(answer) }
        }
    })
    .await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    let said = refused.text().await.unwrap();
    assert!(said.contains("nearly full") && said.contains("unavailable"), "{said}");
    plane.get("clusters").await.expect("reads go on");

    disk.empty();
    until("a write to be taken", STARTING, || {
        number += 1;
        let write = write(format!("c{number}"));
        async move {
            let answer = write.await.unwrap();
            if answer.status().is_success() { Ok(()) } else { Err(answer.status()) }
        }
    })
    .await;
    drop(disk);
}
