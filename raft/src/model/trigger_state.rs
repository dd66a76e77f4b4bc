//! What a trigger knows between two samples, and how that is shown.
//!
//! Stored in small rows: one [`Watched`] a trigger, one [`Tracked`] for each subject that is not ok, one [`Bell`]
//! for each unit that ever fired or is held back. `crate::decide::watch` has the rules.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Evidence, Name, RunId, SeriesId, SeriesKey, Timestamp};

/// Where a subject of a trigger stands. Moments are of samples' own time.
///
/// ```text
///        holds                held for `for`              between `recover` and `threshold`
///   ok --------> pending ------------------> firing -------------------------> recovering
///    ^              |                         |   ^                               |   |
///    +--------------+                         |   +-------------------------------+   |
///    |   does not hold                        |             holds again               |
///    +----------------------------------------+---------------------------------------+
///                              neither threshold nor `recover` holds
/// ```
///
/// With `for: 0s` ok becomes firing at once. No data leaves every state as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Phase {
    /// The condition does not hold.
    #[default]
    Ok,
    /// It holds, not yet for long enough.
    Pending {
        /// Since when it holds: the first sample's time, moved on by gaps without data.
        since: Timestamp,
    },
    /// It has held for long enough.
    Firing {
        /// Since when it held, as in [`Phase::Pending`].
        held_since: Timestamp,
        /// The sample at which it had held for long enough.
        since: Timestamp,
    },
    /// It held for long enough, does not hold now, and has not passed `recover`.
    Recovering {
        /// As in [`Phase::Firing`].
        held_since: Timestamp,
        /// As in [`Phase::Firing`].
        since: Timestamp,
        /// The sample at which it stopped to hold.
        from: Timestamp,
    },
}

impl Phase {
    /// The state's name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Ok => "ok",
            Phase::Pending { .. } => "pending",
            Phase::Firing { .. } => "firing",
            Phase::Recovering { .. } => "recovering",
        }
    }

    /// Whether it has fired and not recovered.
    pub fn is_active(self) -> bool {
        matches!(self, Phase::Firing { .. } | Phase::Recovering { .. })
    }
}

/// What a trigger judges by itself: it has a [`Phase`] of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Subject {
    /// One condition on one series: `aggregate: each` with one condition, or with `match: any`.
    Series {
        /// Position of the condition.
        condition: u8,
        /// The series.
        series: SeriesId,
    },
    /// All conditions at one place: `aggregate: each` with `match: all`.
    Place {
        /// The node.
        node: Name,
        /// The JVM, where one of the conditions is about JVMs.
        jvm: Option<Arc<str>>,
        /// The instance, where one of the conditions has several.
        instance: Option<Arc<str>>,
    },
    /// Values over the cluster.
    Cluster {
        /// Position of the condition; absent with `match: all`: all of them.
        condition: Option<u8>,
    },
    /// The absence of samples: `no_data: {fire_after}`.
    Silence {
        /// Position of the condition.
        condition: u8,
        /// The silent node; absent where `aggregate` is over the cluster.
        node: Option<Name>,
    },
}

/// A subject that is not ok, as stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tracked {
    /// Where it stands.
    pub phase: Phase,
    /// While pending on several series: when it was last seen to hold, so that a gap can be told.
    pub seen: Option<Timestamp>,
}

/// A trigger that is watched, as stored. Present while it is enabled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Watched {
    /// Samples before this moment are not judged: the trigger was created, enabled or changed then.
    pub from: Timestamp,
    /// Only with several series together: the newest moment that a sample has told, never going back.
    pub clock: Timestamp,
    /// Samples have come that are not judged yet.
    pub open: bool,
    /// They are not judged before this moment: the cluster was silent, and not all have reported again.
    pub not_before: Timestamp,
}

/// What fires: a whole trigger, or with `per: node` one of its nodes. Keyed by that node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Bell {
    /// It has fired, and not all of its subjects have recovered since.
    pub rung: bool,
    /// It would fire, but for this.
    pub held: Option<Held>,
    /// When it last fired, in samples' time; [`super::Trigger::cooldown`] counts from here.
    pub fired: Option<Timestamp>,
    /// The run that followed.
    pub run: Option<RunId>,
    /// Why no run followed.
    pub refused: Option<String>,
}

/// What keeps a trigger from firing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Held {
    /// A maintenance window.
    Maintenance(Name),
    /// The cooldown of the last firing.
    Cooldown,
}

/// How a trigger stands, for people. Made for reading, not stored.
#[derive(Clone, PartialEq, Debug)]
pub struct TriggerReport {
    /// Whether it is watched at all.
    pub enabled: bool,
    /// The worst phase of its subjects: firing, recovering, pending, ok.
    pub phase: Phase,
    /// Since when samples count.
    pub from: Option<Timestamp>,
    /// What fires: one for the trigger, or one a node; those that never fired and are not held back are absent.
    pub bells: Vec<BellReport>,
    /// What is judged, in order; at most [`TriggerReport::SUBJECTS_MAX`].
    pub subjects: Vec<SubjectReport>,
    /// How many more there are.
    pub more: usize,
}

impl TriggerReport {
    /// The most subjects in one report.
    pub const SUBJECTS_MAX: usize = 10_000;

    /// The report of a trigger that watches nothing.
    pub fn unwatched(enabled: bool) -> TriggerReport {
        let phase = Phase::Ok;
        TriggerReport { enabled, phase, from: None, bells: Vec::new(), subjects: Vec::new(), more: 0 }
    }
}

/// How a [`Bell`] stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BellReport {
    /// The node, with `per: node`.
    pub node: Option<Name>,
    /// As stored.
    pub bell: Bell,
    /// Until when it does not fire again, while that is ahead.
    pub cooldown_until: Option<Timestamp>,
}

/// How one subject stands.
#[derive(Clone, PartialEq, Debug)]
pub struct SubjectReport {
    /// Which.
    pub subject: Subject,
    /// The node it is about; absent where it is about the cluster.
    pub node: Option<Name>,
    /// The series, where it is a single one.
    pub series: Option<SeriesKey>,
    /// Where it stands.
    pub phase: Phase,
    /// How much of `for` it has held.
    pub held: Duration,
    /// What is compared: the series' last value, or the value over the cluster.
    pub value: Option<f64>,
    /// When that was measured.
    pub at: Option<Timestamp>,
    /// What it is made of, at most [`SubjectReport::SAMPLES_MAX`].
    pub samples: Vec<Evidence>,
}

impl SubjectReport {
    /// The most samples with one subject, and with one firing.
    pub const SAMPLES_MAX: usize = 16;
}
