//! What is done to the network.

use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::time::sleep;

use crate::plane::Plane;

/// A peer's cable is out.
pub(super) async fn down(plane: &mut Plane, place: usize, time: Duration) {
    plane.disturb(place);
    plane.net.link(place, false);
    sleep(time).await;
    plane.net.link(place, true);
}

/// What the first of each pair sends to the second is lost.
pub(super) async fn cut(plane: &mut Plane, cuts: &[(usize, usize)], time: Duration) {
    for (from, to) in cuts {
        plane.disturb(*from);
        plane.disturb(*to);
        plane.net.cut(*from, *to);
    }
    sleep(time).await;
    for (from, to) in cuts {
        plane.net.heal(*from, *to);
    }
}

/// A peer can not be heard by the others, or does not hear them, or both.
pub(super) async fn cut_off(plane: &mut Plane, place: usize, mute: bool, deaf: bool, time: Duration) {
    let mut cuts = Vec::new();
    for other in plane.others(place) {
        if mute {
            cuts.push((place, other));
        }
        if deaf {
            cuts.push((other, place));
        }
    }
    cut(plane, &cuts, time).await;
}

/// Two groups.
pub(super) async fn split(plane: &mut Plane, rng: &mut StdRng, time: Duration) {
    let mut places = plane.places();
    places.shuffle(rng);
    let (few, many) = places.split_at(places.len() / 2);
    let pairs: Vec<(usize, usize)> =
        few.iter().flat_map(|a| many.iter().flat_map(move |b| [(*a, *b), (*b, *a)])).collect();
    cut(plane, &pairs, time).await;
}

/// A cable that goes in and out.
pub(super) async fn flap(plane: &mut Plane, place: usize, rng: &mut StdRng, time: Duration) {
    plane.disturb(place);
    let end = Instant::now() + time;
    while Instant::now() < end {
        plane.net.link(place, false);
        sleep(Duration::from_millis(rng.random_range(20..80))).await;
        plane.net.link(place, true);
        sleep(Duration::from_millis(rng.random_range(20..120))).await;
    }
}

/// Packets are late, lost, doubled, reordered, in several mixtures.
pub(super) async fn bad(plane: &mut Plane, rng: &mut StdRng, time: Duration) -> Result<(), String> {
    for place in plane.places() {
        plane.disturb(place);
    }
    let places = plane.places();
    let mut switch = plane.net.bad(&places)?;
    for _ in 0..3 {
        let delay = Duration::from_millis(rng.random_range(0..15));
        let jitter = Duration::from_millis(rng.random_range(0..30));
        let (lost, doubled) = (rng.random_range(0.0..0.05), rng.random_range(0.0..0.02));
        switch.set(delay, jitter, lost, doubled)?;
        sleep(time / 3).await;
    }
    drop(switch);
    Ok(())
}
