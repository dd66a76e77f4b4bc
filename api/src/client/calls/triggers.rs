//! Triggers: their state, by hand, against the past.

use super::objects::object_path;
use crate::client::{Call, Client, Error};
use crate::types::{ExecuteTrigger, Kind, RunStarted, TestTrigger, TriggerState, TriggerTest};

impl Client {
    /// How a trigger stands.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn trigger_state(&self, name: &str) -> Result<TriggerState, Error> {
        self.fetch(Call::get(format!("{}/state", object_path(Kind::Trigger, name)))).await
    }

    /// Runs a trigger's steps by hand.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn execute_trigger(&self, name: &str, request: &ExecuteTrigger) -> Result<RunStarted, Error> {
        self.fetch(Call::post(format!("{}/execute", object_path(Kind::Trigger, name))).json(request)?).await
    }

    /// When a trigger would have fired.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn test_trigger(&self, name: &str, request: &TestTrigger) -> Result<TriggerTest, Error> {
        self.fetch(Call::post(format!("{}/test", object_path(Kind::Trigger, name))).json(request)?).await
    }
}
