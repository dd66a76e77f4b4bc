use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the samples of one step become one value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Agg {
    /// The mean.
    #[default]
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The sum.
    Sum,
    /// How many samples.
    Count,
    /// The newest.
    Last,
    /// By how much a counter grew per second, a fall being a start from zero.
    Rate,
}

/// Which samples: what the query string of a samples request holds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SampleQuery {
    /// Begin, inclusive: RFC 3339, ms since the epoch, or `-1h`. An hour ago where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// End, exclusive; now where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Length of a step (`1m`). Without one, samples are answered as they are, or at the resolution that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How the samples of a step become one value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agg: Option<Agg>,
    /// How the series become one: `avg`, `min`, `max`, `sum` or `count`. Needs a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub across: Option<Agg>,
    /// Only this instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// The answer to a samples request.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct SamplesAnswer {
    /// One each; series without samples in the range are left out.
    pub series: Vec<SeriesPoints>,
}

/// The samples of one series.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SeriesPoints {
    /// The counter.
    pub counter: String,
    /// The node; absent where several series were put together.
    pub node: Option<String>,
    /// The JVM, if any.
    pub jvm: Option<String>,
    /// Which of several values of the counter.
    pub instance: Option<String>,
    /// What a value counts.
    pub unit: String,
    /// `[ms since the epoch, value]`, oldest first. The time of a step is its begin.
    pub points: Vec<(i64, f64)>,
}

/// A series that is known.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SeriesInfo {
    /// The counter.
    pub counter: String,
    /// The node.
    pub node: String,
    /// The JVM, if any.
    pub jvm: Option<String>,
    /// Which of several values of the counter.
    pub instance: Option<String>,
    /// What a value counts.
    pub unit: String,
    /// The newest sample: `[ms since the epoch, value]`.
    pub last: Option<(i64, f64)>,
}

/// A sample to be written.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// A counter of type `push`.
    pub counter: String,
    /// The node it was measured on.
    pub node: String,
    /// The JVM, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jvm: Option<String>,
    /// Which of several values of the counter; at most 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// When it was measured, in ms since the Unix epoch; now where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t: Option<i64>,
    /// What was measured.
    pub v: f64,
}

/// Samples to be written.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pushed {
    /// 1 to 4096.
    pub samples: Vec<Sample>,
}

/// What became of written samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SamplesPushed {
    /// Taken.
    pub accepted: u32,
    /// Not taken: duplicates, out of order, too far in the future.
    pub dropped: u32,
}
