use rscaler_raft::model;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Span;

/// Settings of the whole control plane.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long raw samples are kept: 1 h to 10 years.
    #[schema(default = "15d")]
    pub keep_raw: Span,
    /// How long 5-minute rollups are kept, never shorter than raw samples.
    #[schema(default = "90d")]
    pub keep_five_minutes: Span,
    /// How long hourly rollups are kept, never shorter than 5-minute rollups.
    #[schema(default = "730d")]
    pub keep_hours: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Settings::from(&model::Settings::default())
    }
}

impl From<&model::Settings> for Settings {
    fn from(settings: &model::Settings) -> Self {
        Settings {
            keep_raw: settings.keep_raw.into(),
            keep_five_minutes: settings.keep_five_minutes.into(),
            keep_hours: settings.keep_hours.into(),
        }
    }
}

impl From<Settings> for model::Settings {
    fn from(settings: Settings) -> Self {
        model::Settings {
            keep_raw: settings.keep_raw.into(),
            keep_five_minutes: settings.keep_five_minutes.into(),
            keep_hours: settings.keep_hours.into(),
        }
    }
}
