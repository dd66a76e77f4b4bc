use std::time::Duration;

use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Settings of the whole control plane.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// How long raw samples are kept: 1 hour to 10 years; 15 days by default.
    pub keep_raw: Duration,
    /// How long 5-minute rollups are kept; 90 days by default, never shorter than raw samples.
    pub keep_five_minutes: Duration,
    /// How long hourly rollups are kept; 2 years by default, never shorter than 5-minute rollups.
    pub keep_hours: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { keep_raw: DAY * 15, keep_five_minutes: DAY * 90, keep_hours: DAY * 730 }
    }
}
