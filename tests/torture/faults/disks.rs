//! What is done to disks.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::sleep;

use crate::plane::{Plane, STARTING};

/// Power fails at some peers at once, and comes back.
pub(super) async fn power(plane: &mut Plane, places: &[usize], rng: &mut StdRng) -> Result<(), String> {
    for place in places {
        plane.disturb(*place);
        plane.peers[*place].kill();
    }
    for place in places {
        let lost = plane.peers[*place].control.as_ref().ok_or("there is no journal")?.cut_power(rng);
        plane.peers[*place].note(&format!("---- power was cut: it took {lost}"));
    }
    for place in places {
        plane.peers[*place].restart();
    }
    for place in places {
        plane.ready(*place, STARTING).await?;
    }
    Ok(())
}

/// Syncs of one or all peers take longer than they should.
pub(super) async fn slow(plane: &mut Plane, rng: &mut StdRng, time: Duration) {
    let leader = plane.leader().await;
    let slow = if rng.random_bool(0.5) { vec![leader] } else { plane.places() };
    let delay = Duration::from_millis(rng.random_range(30..400));
    for place in &slow {
        plane.disturb(*place);
        plane.peers[*place].control.as_ref().unwrap().set_sync_delay(delay);
    }
    sleep(time).await;
    for place in &slow {
        plane.peers[*place].control.as_ref().unwrap().set_sync_delay(Duration::ZERO);
    }
}

/// A peer's syncs or writes fail: it must end rather than go on, for nobody knows what is on its disk.
pub(super) async fn failing(plane: &mut Plane, place: usize, rng: &mut StdRng) -> Result<(), String> {
    plane.disturb(place);
    let control = plane.peers[place].control.as_ref().ok_or("there is no control")?;
    let is_sync = rng.random_bool(0.5);
    if is_sync {
        control.fail_syncs(true)
    } else {
        control.fail_writes(true)
    }
    let ended = wait_for_end(plane, place).await;
    let control = plane.peers[place].control.as_ref().ok_or("there is no control")?;
    control.fail_syncs(false);
    control.fail_writes(false);
    ended?;
    plane.peers[place].kill();
    // What it could not sync is lost with the power.
    power(plane, &[place], rng).await
}

async fn wait_for_end(plane: &mut Plane, place: usize) -> Result<(), String> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(15) {
        if plane.peers[place].has_ended() {
            return Ok(());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Err(format!("{} went on for 15 s with a disk that fails", plane.peers[place].name))
}

/// Little room: the peer refuses. No room: it may end, and comes back when there is room.
pub(super) async fn full(plane: &mut Plane, place: usize) -> Result<(), String> {
    plane.disturb(place);
    for leave_mib in [40, 0] {
        plane.peers[place].disk.as_ref().ok_or("it has no disk of its own")?.fill(leave_mib);
        sleep(Duration::from_millis(2500)).await;
    }
    // It must start, or say no, on a full disk; and start once there is room.
    plane.peers[place].kill();
    plane.peers[place].restart();
    sleep(Duration::from_millis(1500)).await;
    plane.peers[place].disk.as_ref().ok_or("it has no disk of its own")?.clear();
    plane.peers[place].kill();
    plane.peers[place].restart();
    plane.ready(place, STARTING).await
}

/// A bit of the log is flipped. The peer must not start from it unless nothing is missing; it is removed, and another joins.
pub(super) async fn damaged_log(plane: &mut Plane, place: usize, rng: &mut StdRng) -> Result<(), String> {
    plane.disturb(place);
    plane.peers[place].kill();
    let files = files(&plane.peers[place].data.join("log"));
    let file = files.choose(rng).ok_or("there is no log")?;
    flip(file, rng)?;
    plane.peers[place].note(&format!("---- a bit of {} was flipped", file.display()));
    plane.peers[place].restart();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if plane.peers[place].has_ended() {
            break;
        }
        if plane.ready(place, Duration::ZERO).await.is_ok() {
            // The bit was where nothing is.
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    if !plane.peers[place].has_ended() {
        plane.ready(place, STARTING).await?;
        return Ok(());
    }
    plane.remove(place).await?;
    plane.join().await.map(drop)
}

/// The database is damaged in some way. The peer must make it again, and keep its number.
pub(super) async fn damaged_state(plane: &mut Plane, place: usize, rng: &mut StdRng) -> Result<(), String> {
    plane.disturb(place);
    plane.peers[place].kill();
    let data = &plane.peers[place].data;
    let files = [files(&data.join("state")), files(&data.join("blocks"))].concat();
    let file = files.choose(rng).ok_or("there is no database")?;
    let what = match rng.random_range(0..3) {
        0 => flip(file, rng).map(|()| "a bit was flipped")?,
        1 => {
            let length = fs::metadata(file).map_err(|error| error.to_string())?.len();
            let open = OpenOptions::new().write(true).open(file).map_err(|error| error.to_string())?;
            open.set_len(length / 2).map_err(|error| error.to_string())?;
            "it was cut to half its length"
        }
        _ => {
            fs::remove_file(file).map_err(|error| error.to_string())?;
            "it was removed"
        }
    };
    plane.peers[place].note(&format!("---- {}: {what}", file.display()));
    plane.peers[place].restart();
    plane.ready(place, STARTING).await
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) if meta.len() > 0 => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn flip(file: &Path, rng: &mut StdRng) -> Result<(), String> {
    let open = OpenOptions::new().read(true).write(true).open(file).map_err(|error| error.to_string())?;
    let length = open.metadata().map_err(|error| error.to_string())?.len();
    let at = rng.random_range(0..length);
    let mut byte = [0];
    open.read_exact_at(&mut byte, at).map_err(|error| error.to_string())?;
    byte[0] ^= 1 << rng.random_range(0..8);
    open.write_all_at(&byte, at).map_err(|error| error.to_string())
}
