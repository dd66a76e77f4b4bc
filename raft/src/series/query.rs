//! What a query asks for and answers.

use std::sync::Arc;

use super::block::TIME_MAX;
use super::{Error, SeriesKey};

/// How the samples of one step become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Agg {
    /// The mean.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The sum.
    Sum,
    /// How many samples.
    Count,
    /// The newest. Where only rollups are left, the mean of the newest rollup.
    Last,
    /// By how much a counter grew per second, a fall being a start from zero. Where only rollups are left, by their greatest values.
    Rate,
}

/// Which series a query is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// The counter.
    pub counter: String,
    /// Only on these nodes; all if `None`.
    pub nodes: Option<Vec<String>>,
    /// Only of this JVM.
    pub jvm: Option<String>,
    /// Only this instance.
    pub instance: Option<String>,
}

impl Selector {
    pub(super) fn matches(&self, key: &SeriesKey) -> bool {
        let fits = |wanted: &Option<String>, found: &Option<Arc<str>>| {
            wanted.is_none() || wanted.as_deref() == found.as_deref()
        };
        fits(&self.jvm, &key.jvm) && fits(&self.instance, &key.instance)
    }
}

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which series.
    pub selector: Selector,
    /// Begin, in ms, inclusive. With a step the range is widened to whole steps.
    pub from: i64,
    /// End, in ms, exclusive.
    pub to: i64,
    /// Length of a step in ms; steps begin at its multiples since the Unix epoch. Without one, samples are answered as they are.
    pub step: Option<i64>,
    /// How the samples of a step become one value.
    pub agg: Agg,
    /// How the values of all series at a step become one, if the answer is to be one row. [`Agg::Last`] and [`Agg::Rate`]
    /// are not for this. Needs a step.
    pub across: Option<Agg>,
}

/// What a query may cost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Series.
    pub series: usize,
    /// Points in the answer.
    pub points: usize,
    /// Samples and rollups that are read for it.
    pub samples: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { series: 10_000, points: 1_000_000, samples: 100_000_000 }
    }
}

/// The points of one series, or of all together.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Whose; `None` for all together.
    pub key: Option<Arc<SeriesKey>>,
    /// Times in ms and values, ascending. The time of a step is its begin; steps without a sample are left out.
    pub points: Vec<(i64, f64)>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueryResult {
    /// One row a series, by series id; those without points are left out. Or one row, if the query goes across.
    pub rows: Vec<Row>,
    /// Blocks that were decoded.
    pub blocks_read: usize,
    /// Samples and rollups that were decoded from blocks and heads.
    pub samples_read: u64,
}

impl Query {
    /// The range in ms, widened to whole steps.
    pub(super) fn range(&self) -> Result<(i64, i64), Error> {
        if self.from >= self.to {
            return Err(Error::Invalid("the range ends before it begins"));
        }
        // No sample is outside of these, and so no sum below overflows.
        let (from, to) = (self.from.clamp(0, TIME_MAX), self.to.clamp(0, TIME_MAX));
        let Some(step) = self.step else {
            return if self.across.is_some() || self.agg == Agg::Rate {
                Err(Error::Invalid("this aggregation needs a step"))
            } else {
                Ok((from, to))
            };
        };
        if !(1..=TIME_MAX).contains(&step) {
            return Err(Error::Invalid("the step is not positive, or longer than time"));
        }
        if matches!(self.across, Some(Agg::Last | Agg::Rate)) {
            return Err(Error::Invalid("series can be put together by avg, min, max, sum or count"));
        }
        Ok((from / step * step, (to + step - 1) / step * step))
    }
}
