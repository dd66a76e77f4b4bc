//! Membership under load.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::plane::Plane;

/// One joins, and one of the others goes: the leader, every other time.
pub(super) async fn come_and_go(plane: &mut Plane, rng: &mut StdRng) -> Result<(), String> {
    let joined = plane.join().await?;
    let leader = plane.leader().await;
    let goes = if joined % 2 == 0 && leader != joined {
        leader
    } else {
        *plane.others(joined).choose(rng).unwrap_or(&leader)
    };
    plane.disturb(goes);
    plane.remove(goes).await
}
