//! What is done to clocks. They are caught below the C library, so every reader in the process sees the same.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use crate::plane::Plane;
use crate::shim::Control;

fn control(plane: &Plane, place: usize) -> Result<&Control, String> {
    let control = plane.peers[place].control.as_ref().ok_or("its clocks are not in our hands")?;
    if control.has_clock() {
        Ok(control)
    } else {
        Err("clocks can not be caught on this machine".to_string())
    }
}

/// Wall clocks jump by an hour, there and back.
pub(super) async fn jump(plane: &mut Plane, rng: &mut StdRng, time: Duration) -> Result<(), String> {
    for _ in 0..2 {
        for place in plane.places() {
            let hours = rng.random_range(-1..=1);
            control(plane, place)?.set_wall_offset(hours * 3600);
        }
        sleep(time / 2).await;
    }
    for place in plane.places() {
        control(plane, place)?.set_wall_offset(0);
    }
    Ok(())
}

/// Each clock runs at a rate of its own, up to a tenth off.
pub(super) async fn rate(plane: &mut Plane, rng: &mut StdRng, time: Duration) -> Result<(), String> {
    for place in plane.places() {
        let ppm = [-100_000, 100_000, 0][rng.random_range(0..3)];
        control(plane, place)?.set_rate(ppm);
    }
    sleep(time * 2).await;
    Ok(())
}
