//! Settings of the whole control plane.

use std::time::Duration;

use super::State;
use crate::command::{FieldError, Outcome, Rejection, RejectionKind, Reply};
use crate::model::{Actor, EventKind, Settings};
use crate::series::Retention;

const KEEP_LEAST: Duration = Duration::from_secs(3600);
const KEEP_MOST: Duration = Duration::from_secs(3660 * 24 * 3600);

impl State {
    pub(super) fn change_settings(&mut self, actor: &Actor, settings: &Settings) -> Outcome {
        let kept = [
            ("/keep_raw", settings.keep_raw),
            ("/keep_five_minutes", settings.keep_five_minutes),
            ("/keep_hours", settings.keep_hours),
        ];
        let fields: Vec<FieldError> = kept
            .into_iter()
            .filter(|(_, kept)| *kept < KEEP_LEAST || *kept > KEEP_MOST)
            .map(|(pointer, _)| FieldError {
                document: 0,
                pointer: pointer.to_string(),
                detail: "samples are kept for an hour to ten years".to_string(),
            })
            .collect();
        if !fields.is_empty() {
            let message = format!("{}: {}", fields[0].pointer, fields[0].detail);
            return Err(Rejection { kind: RejectionKind::Invalid, message, fields });
        }
        if self.globals.settings != *settings {
            self.globals.settings = settings.clone();
            self.globals_changed.set();
            self.record(actor.clone(), EventKind::SettingsChanged, "settings were changed".to_string());
        }
        Ok(Reply::Done)
    }

    pub(super) fn retention(&self) -> Retention {
        let settings = &self.globals.settings;
        Retention {
            raw: settings.keep_raw,
            five_minutes: settings.keep_five_minutes,
            hour: settings.keep_hours,
        }
    }
}
