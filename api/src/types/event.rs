use rscaler_raft::model::{self, Actor, EventKind, Name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// Who did what, what fired, what failed. The newest 20,000 are kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number.
    pub id: u64,
    /// When.
    pub at: Time,
    /// Who made it happen: `system`, `user/NAME`, `token/NAME`, `peer/ID`.
    pub actor: String,
    /// What happened: `created`, `updated`, `deleted`, `trigger-fired`, `trigger-silenced`, `trigger-recovered`,
    /// `run-started`, `run-finished`, `task-lost`, `peer-joined`, `peer-changed`, `peer-removed`, `peer-lost`,
    /// `peer-started`, `host-key`, `node-reachability`, `settings-changed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// In words.
    pub message: String,
    /// The kind of object it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The name of the object, trigger or node it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<Name>,
    /// The run it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// The task it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<u64>,
    /// The peer it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<u64>,
    /// What a trigger saw when it fired.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// A sample that made a trigger fire.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// The counter.
    pub counter: String,
    /// The node.
    pub node: String,
    /// The JVM, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jvm: Option<String>,
    /// Which of several values of the counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// When it was measured.
    pub at: Time,
    /// What was measured; absent where missing data was the cause.
    pub value: Option<f64>,
}

impl From<&model::Evidence> for Evidence {
    fn from(evidence: &model::Evidence) -> Self {
        Evidence {
            counter: evidence.series.counter.to_string(),
            node: evidence.series.node.to_string(),
            jvm: evidence.series.jvm.as_deref().map(str::to_string),
            instance: evidence.series.instance.as_deref().map(str::to_string),
            at: evidence.at.into(),
            value: evidence.value,
        }
    }
}

/// An actor as text.
pub(crate) fn actor_text(actor: &Actor) -> String {
    match actor {
        Actor::System => "system".to_string(),
        Actor::User(name) => format!("user/{name}"),
        Actor::Token(name) => format!("token/{name}"),
        Actor::Peer(peer) => format!("peer/{peer}"),
    }
}

impl From<&model::Event> for Event {
    fn from(event: &model::Event) -> Self {
        let mut shown = Event {
            id: event.id.0,
            at: event.at.into(),
            actor: actor_text(&event.actor),
            kind: String::new(),
            message: event.message.clone(),
            object: None,
            name: None,
            run: None,
            task: None,
            peer: None,
            evidence: Vec::new(),
        };
        let kind = match &event.kind {
            EventKind::Created(kind, name)
            | EventKind::Updated(kind, name)
            | EventKind::Deleted(kind, name) => {
                shown.object = Some(kind.as_str().to_string());
                shown.name = Some(name.clone());
                match &event.kind {
                    EventKind::Created(..) => "created",
                    EventKind::Updated(..) => "updated",
                    _ => "deleted",
                }
            }
            EventKind::TriggerFired { trigger, run, evidence } => {
                shown.name = Some(trigger.clone());
                shown.run = run.map(|run| run.0);
                shown.evidence = evidence.iter().map(Into::into).collect();
                "trigger-fired"
            }
            EventKind::TriggerSilenced(trigger) => {
                shown.name = Some(trigger.clone());
                "trigger-silenced"
            }
            EventKind::TriggerRecovered(trigger) => {
                shown.name = Some(trigger.clone());
                "trigger-recovered"
            }
            EventKind::RunStarted(run) => {
                shown.run = Some(run.0);
                "run-started"
            }
            EventKind::RunFinished(run) => {
                shown.run = Some(run.0);
                "run-finished"
            }
            EventKind::TaskLost(task) => {
                shown.task = Some(task.0);
                "task-lost"
            }
            EventKind::PeerJoined(peer) => {
                shown.peer = Some(peer.0);
                "peer-joined"
            }
            EventKind::PeerChanged(peer) => {
                shown.peer = Some(peer.0);
                "peer-changed"
            }
            EventKind::PeerRemoved(peer) => {
                shown.peer = Some(peer.0);
                "peer-removed"
            }
            EventKind::PeerLost(peer) => {
                shown.peer = Some(peer.0);
                "peer-lost"
            }
            EventKind::PeerStarted(peer) => {
                shown.peer = Some(peer.0);
                "peer-started"
            }
            EventKind::HostKey(node) => {
                shown.name = Some(node.clone());
                "host-key"
            }
            EventKind::SettingsChanged => "settings-changed",
            EventKind::NodeReachability(node) => {
                shown.name = Some(node.clone());
                "node-reachability"
            }
        };
        shown.kind = kind.to_string();
        shown
    }
}
