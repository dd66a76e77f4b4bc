//! Planning: which blocks and heads a query has to read. Short, so that it can be done under the state's lock.

use std::sync::Arc;

use super::head::Packed;
use super::query::{Agg, Limits, Query};
use super::record::{Sealed, Series};
use super::store::SeriesStore;
use super::{BlockId, Error, Resolution, SeriesId, SeriesKey};

/// Something to read, of which what lies in `from..to` counts.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) what: What,
    pub(super) from: i64,
    pub(super) to: i64,
}

#[derive(Debug)]
pub(super) enum What {
    Block(BlockId),
    Sealed(Arc<Sealed>),
    Head(Packed),
}

impl What {
    fn start(&self) -> i64 {
        match self {
            Self::Block(id) => id.start,
            Self::Sealed(sealed) => sealed.id.start,
            Self::Head(packed) => packed.base,
        }
    }

    fn is_rolled_up(&self) -> bool {
        matches!(self, Self::Block(id) if id.resolution != Resolution::Raw)
    }
}

#[derive(Debug)]
pub(super) struct SeriesPlan {
    pub(super) key: Arc<SeriesKey>,
    /// In the order of time.
    pub(super) sources: Vec<Source>,
}

/// What a query reads: block ids, and copies of what is only in memory. Independent of the store from here on.
#[derive(Debug)]
pub struct QueryPlan {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) step: Option<i64>,
    pub(super) agg: Agg,
    pub(super) across: Option<Agg>,
    pub(super) limits: Limits,
    pub(super) series: Vec<SeriesPlan>,
    resolution: Resolution,
    samples: u64,
}

impl QueryPlan {
    /// The coarsest resolution that fits the query's step; finer data is read where that is not made yet, coarser where nothing
    /// finer is kept.
    pub fn resolution(&self) -> Resolution {
        self.resolution
    }

    /// The blocks that will be read, in order; for readers that fetch ahead.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockId> {
        self.series.iter().flat_map(|series| &series.sources).filter_map(|source| match &source.what {
            What::Block(id) => Some(id),
            What::Sealed(_) | What::Head(_) => None,
        })
    }

    /// How many series match.
    pub fn series(&self) -> usize {
        self.series.len()
    }
}

fn limit(limit: &'static str, max: u64, asked: u64, hint: &'static str) -> Result<(), Error> {
    if asked > max { Err(Error::Limit { limit, max, asked, hint }) } else { Ok(()) }
}

impl SeriesStore {
    /// Plans a query. Copies the open heads of the series in question and nothing else, some 1 µs each.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the query makes no sense, [`Error::Limit`] if it is over `limits`.
    pub fn plan(&self, query: &Query, limits: &Limits) -> Result<QueryPlan, Error> {
        let (from, to) = query.range()?;
        let ids = self.select(query, limits)?;
        if let Some(step) = query.step {
            let steps = ((to - from) / step) as u64;
            let rows = if query.across.is_some() { 1 } else { ids.len().max(1) as u64 };
            limit(
                "the number of points in an answer",
                limits.points as u64,
                steps.saturating_mul(rows),
                "ask for a longer step, a shorter range or fewer series",
            )?;
        }
        let mut plan = QueryPlan {
            from,
            to,
            step: query.step,
            agg: query.agg,
            across: query.across,
            limits: *limits,
            series: Vec::with_capacity(ids.len()),
            resolution: fitting(query),
            samples: 0,
        };
        for id in ids {
            if let (Some(series), Some(key)) = (self.series(id), self.key(id)) {
                let sources = self.sources(id, series, &mut plan);
                plan.series.push(SeriesPlan { key: key.clone(), sources });
                limit(
                    "the number of samples that a query reads",
                    limits.samples,
                    plan.samples,
                    "ask for a shorter range or fewer series",
                )?;
            }
        }
        Ok(plan)
    }

    /// The ids of the series that match, ascending.
    fn select(&self, query: &Query, limits: &Limits) -> Result<Vec<SeriesId>, Error> {
        let selector = &query.selector;
        let mut ids = Vec::new();
        let mut take = |found: &mut dyn Iterator<Item = SeriesId>| {
            ids.extend(found.filter(|&id| self.key(id).is_some_and(|key| selector.matches(key))));
            limit(
                "the number of series in a query",
                limits.series as u64,
                ids.len() as u64,
                "name the nodes or the instance",
            )
        };
        match &selector.nodes {
            None => take(&mut self.dictionary.of_counter(&selector.counter))?,
            Some(nodes) => {
                for node in nodes {
                    take(&mut self.dictionary.of_counter_on(&selector.counter, node))?;
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// What to read of one series, in the order of time. Each sample is in exactly one source, at one resolution.
    fn sources(&self, id: SeriesId, series: &Series, plan: &mut QueryPlan) -> Vec<Source> {
        let mut sources = Vec::new();
        let rolled =
            [Resolution::FiveMinutes, Resolution::Hour].map(|resolution| series.rolled_to(resolution));
        // From where on each resolution is read. A coarser one takes over where the finer is no longer kept, or where it will do;
        // what is not rolled up yet is read finer, whatever its age.
        let begin = |finer: Resolution, coarser: Resolution, rolled_to: i64| {
            let width = coarser.width_ms();
            let kept_from = self.floors.of(finer).saturating_add(width - 1) / width * width;
            if plan.resolution >= coarser || rolled_to < kept_from {
                After::Blocks
            } else {
                After::Time(kept_from)
            }
        };
        let hour_to_minutes = begin(Resolution::FiveMinutes, Resolution::Hour, rolled[1]);
        let minutes_to_raw = begin(Resolution::Raw, Resolution::FiveMinutes, rolled[0]);
        let (from, to) = (plan.from.max(self.floors.of(Resolution::Hour)), plan.to);
        let cut = |after: &After| match after {
            After::Time(time) => *time,
            After::Blocks => i64::MAX,
        };
        let mut add = |resolution: Resolution, after: Option<(&After, i64)>, until: i64| {
            let (mut from, mut newer_than) = (from, i64::MIN);
            match after {
                Some((After::Time(time), _)) => from = from.max(*time),
                Some((After::Blocks, rolled_to)) => newer_than = rolled_to,
                None => {}
            }
            let to = to.min(until);
            // A rollup counts by its begin, which may be before the first sample in it.
            let slack = resolution.width_ms() - 1;
            for block in &series.blocks[resolution.index()] {
                if block.start > newer_than && block.start - slack < to && block.end >= from {
                    plan.samples += u64::from(block.count);
                    sources.push(Source { what: What::Block(block.id(id, resolution)), from, to });
                }
            }
            (from, to)
        };
        add(Resolution::Hour, None, cut(&hour_to_minutes));
        add(Resolution::FiveMinutes, Some((&hour_to_minutes, rolled[1])), cut(&minutes_to_raw));
        let (from, to) = add(Resolution::Raw, Some((&minutes_to_raw, rolled[0])), i64::MAX);
        for (sealed, _) in self.sealing.get(&id).into_iter().flatten() {
            if sealed.id.start < to && sealed.end >= from {
                plan.samples += u64::from(sealed.packed.count);
                sources.push(Source { what: What::Sealed(sealed.clone()), from, to });
            }
        }
        // Heads may be stored out of order, and then one that is not lies between blocks.
        let raw = sources.partition_point(|source| source.what.is_rolled_up());
        sources[raw..].sort_by_key(|source| source.what.start());
        if series.head.count() > 0 && series.head.first() < to && series.last >= from {
            plan.samples += u64::from(series.head.count());
            sources.push(Source { what: What::Head(series.head.copy()), from, to });
        }
        sources
    }
}

/// From where on the finer of two resolutions is read.
enum After {
    /// From this time on; a multiple of the coarser one's width.
    Time(i64),
    /// All of it that is not rolled up.
    Blocks,
}

/// The coarsest resolution whose rollups lie within the query's steps.
fn fitting(query: &Query) -> Resolution {
    let Some(step) = query.step.filter(|_| !matches!(query.agg, Agg::Last | Agg::Rate)) else {
        return Resolution::Raw;
    };
    let mut coarsest_first = Resolution::ALL.into_iter().rev();
    coarsest_first.find(|resolution| step % resolution.width_ms() == 0).unwrap_or(Resolution::Raw)
}
