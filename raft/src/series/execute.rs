//! Executing a plan: reads blocks, folds samples into steps. Takes no lock and knows no store.

use super::block::{BlockSource, open};
use super::codec::Bad;
use super::columns::{decode_rollups, decode_samples};
use super::plan::{QueryPlan, Source, What};
use super::query::{Agg, QueryResult, Row};
use super::rollup::Rollup;
use super::unpack::{Take, Times};
use super::{Error, Resolution};

/// Answers a query. What it decodes is bounded by the plan's limits.
///
/// # Errors
/// [`Error::Gone`] if a block was merged or deleted since the plan was made: plan and execute again.
/// [`Error::Corrupt`] or [`Error::Source`] if a block can't be read; [`Error::Limit`] if the answer has too many points.
pub fn execute(plan: &QueryPlan, source: &dyn BlockSource) -> Result<QueryResult, Error> {
    let mut run = Run { source, scratch: Vec::new(), rollups: Vec::new(), result: QueryResult::default() };
    match plan.step {
        Some(step) => run.by_step(plan, step)?,
        None => run.as_they_are(plan)?,
    }
    Ok(run.result)
}

struct Run<'a> {
    source: &'a dyn BlockSource,
    scratch: Vec<u8>,
    rollups: Vec<Rollup>,
    result: QueryResult,
}

/// Where samples and rollups go.
trait Sink {
    fn steady(&mut self, first: i64, step: i64, values: &[f64]);
    fn each(&mut self, times: &[i64], values: &[f64]);
    fn rollups(&mut self, rollups: &[Rollup]);
}

/// Passes on what lies in a range.
struct Within<'a, S> {
    sink: &'a mut S,
    from: i64,
    to: i64,
    count: u64,
}

impl<S: Sink> Take for Within<'_, S> {
    #[inline]
    fn take(&mut self, times: Times<'_>, values: &[f64]) {
        self.count += values.len() as u64;
        match times {
            Times::Steady { first, step } if step > 0 => {
                let n = values.len() as i64;
                let last = first.saturating_add(step.saturating_mul(n - 1));
                // How many samples are before a time.
                let before = |time: i64| match time {
                    time if time <= first => 0,
                    time if time > last => n,
                    time => (time - first - 1) / step + 1,
                };
                let (skip, end) = (before(self.from), before(self.to));
                if skip < end {
                    self.sink.steady(first + skip * step, step, &values[skip as usize..end as usize]);
                }
            }
            Times::Steady { first, .. } => self.take(Times::Each(&vec![first; values.len()]), values),
            Times::Each(times) => {
                let from = times.partition_point(|&time| time < self.from);
                let to = times.partition_point(|&time| time < self.to).max(from);
                self.sink.each(&times[from..to], &values[from..to]);
            }
        }
    }
}

impl Run<'_> {
    fn read(&mut self, source: &Source, sink: &mut impl Sink) -> Result<(), Error> {
        let mut within = Within { sink, from: source.from, to: source.to, count: 0 };
        let scratch = &mut self.scratch;
        match &source.what {
            What::Block(id) => {
                let bytes = self.source.get(id)?.ok_or(Error::Gone(*id))?;
                let opened = open(*id, &bytes)?;
                let corrupt = |bad: Bad| Error::corrupt(id, bad.0);
                self.result.blocks_read += 1;
                if id.resolution == Resolution::Raw {
                    decode_samples(&opened, scratch, &mut within).map_err(corrupt)?;
                } else {
                    let rollups = &mut self.rollups;
                    rollups.clear();
                    decode_rollups(&opened, rollups).map_err(corrupt)?;
                    within.count = rollups.len() as u64;
                    let from = rollups.partition_point(|rollup| rollup.start < source.from);
                    let to = rollups.partition_point(|rollup| rollup.start < source.to).max(from);
                    within.sink.rollups(&rollups[from..to]);
                }
            }
            What::Sealed(sealed) => {
                let unpacked = sealed.packed.unpack(scratch, &mut within);
                unpacked.map_err(|bad| Error::corrupt(sealed.id, bad.0))?;
            }
            What::Head(packed) => {
                let unpacked = packed.unpack(scratch, &mut within);
                unpacked.map_err(|bad| Error::corrupt("an open head", bad.0))?;
            }
        }
        self.result.samples_read += within.count;
        Ok(())
    }

    fn by_step(&mut self, plan: &QueryPlan, step: i64) -> Result<(), Error> {
        let steps = ((plan.to - plan.from) / step) as usize;
        let mut cells =
            Cells { agg: plan.agg, from: plan.from, step, cells: vec![Cell::default(); steps], last: None };
        let mut across = plan.across.map(|agg| (agg, vec![Cell::default(); steps]));
        for series in &plan.series {
            cells.cells.fill(Cell::default());
            cells.last = None;
            for source in &series.sources {
                self.read(source, &mut cells)?;
            }
            let values = cells.values();
            if let Some((agg, all)) = &mut across {
                for (at, value) in values {
                    all[at].add(*agg, value);
                }
            } else {
                let points: Vec<_> =
                    values.map(|(at, value)| (plan.from + at as i64 * step, value)).collect();
                if !points.is_empty() {
                    self.result.rows.push(Row { key: Some(series.key.clone()), points });
                }
            }
        }
        if let Some((agg, all)) = across {
            let values = all.iter().enumerate().filter(|(_, cell)| cell.count > 0);
            let points: Vec<_> =
                values.map(|(at, cell)| (plan.from + at as i64 * step, cell.value(agg, step))).collect();
            if !points.is_empty() {
                self.result.rows.push(Row { key: None, points });
            }
        }
        Ok(())
    }

    fn as_they_are(&mut self, plan: &QueryPlan) -> Result<(), Error> {
        let mut points = 0;
        for series in &plan.series {
            let mut row = Points { agg: plan.agg, points: Vec::new() };
            for source in &series.sources {
                self.read(source, &mut row)?;
                let asked = points + row.points.len();
                if asked > plan.limits.points {
                    return Err(Error::Limit {
                        limit: "the number of points in an answer",
                        max: plan.limits.points as u64,
                        asked: asked as u64,
                        hint: "ask for a step, a shorter range or fewer series",
                    });
                }
            }
            points += row.points.len();
            if !row.points.is_empty() {
                self.result.rows.push(Row { key: Some(series.key.clone()), points: row.points });
            }
        }
        Ok(())
    }
}

/// One step of one series: what its aggregation needs, in two words.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    value: f64,
    count: u64,
}

impl Cell {
    #[inline]
    fn add(&mut self, agg: Agg, value: f64) {
        self.value = match agg {
            _ if self.count == 0 => value,
            Agg::Avg | Agg::Sum | Agg::Rate => self.value + value,
            Agg::Min => self.value.min(value),
            Agg::Max => self.value.max(value),
            Agg::Count | Agg::Last => value,
        };
        self.count += 1;
    }

    fn value(&self, agg: Agg, step: i64) -> f64 {
        match agg {
            Agg::Avg => self.value / self.count as f64,
            Agg::Count => self.count as f64,
            Agg::Rate => self.value / (step as f64 / 1000.0),
            Agg::Sum | Agg::Min | Agg::Max | Agg::Last => self.value,
        }
    }
}

/// The steps of one series.
struct Cells {
    agg: Agg,
    from: i64,
    step: i64,
    cells: Vec<Cell>,
    /// For rates, the newest value seen.
    last: Option<f64>,
}

impl Cells {
    fn values(&self) -> impl Iterator<Item = (usize, f64)> {
        let filled = self.cells.iter().enumerate().filter(|(_, cell)| cell.count > 0);
        filled.map(|(at, cell)| (at, cell.value(self.agg, self.step)))
    }

    /// Calls `fold` with each step's cell and the values in it.
    #[inline]
    fn runs(&mut self, times: Times<'_>, values: &[f64], fold: impl Fn(&mut Cell, &[f64])) {
        let put = |cell: Option<&mut Cell>, values: &[f64]| {
            if let Some(cell) = cell {
                fold(cell, values);
                cell.count += values.len() as u64;
            }
        };
        match times {
            Times::Steady { mut first, step } => {
                let mut values = values;
                let per_cell = if self.step % step == 0 { (self.step / step) as usize } else { usize::MAX };
                while !values.is_empty() {
                    let at = (first - self.from) / self.step;
                    let end = self.from + (at + 1) * self.step;
                    let length = ((end - first - 1) / step + 1) as usize;
                    let (these, mut rest) = values.split_at(length.min(values.len()));
                    let mut cells = self.cells.iter_mut().skip(at as usize);
                    put(cells.next(), these);
                    // From here on every cell gets as many, until the last.
                    while rest.len() >= per_cell {
                        let (these, after) = rest.split_at(per_cell);
                        put(cells.next(), these);
                        rest = after;
                    }
                    first += step * (values.len() - rest.len()) as i64;
                    values = rest;
                }
            }
            Times::Each(mut times) => {
                let mut values = values;
                while let Some(&time) = times.first() {
                    let at = (time - self.from) / self.step;
                    let end = self.from + (at + 1) * self.step;
                    let length = times.iter().position(|&time| time >= end).unwrap_or(times.len());
                    put(self.cells.get_mut(at as usize), &values[..length]);
                    (times, values) = (&times[length..], &values[length..]);
                }
            }
        }
    }

    fn fold(&mut self, times: Times<'_>, values: &[f64]) {
        match self.agg {
            Agg::Avg | Agg::Sum => self.runs(times, values, |cell, values| {
                cell.value = values.iter().fold(cell.value, |sum, value| sum + value);
            }),
            Agg::Min => self.runs(times, values, |cell, values| {
                let start = if cell.count == 0 { f64::INFINITY } else { cell.value };
                cell.value =
                    values.iter().fold(start, |least, &value| if value < least { value } else { least });
            }),
            Agg::Max => self.runs(times, values, |cell, values| {
                let start = if cell.count == 0 { f64::NEG_INFINITY } else { cell.value };
                cell.value =
                    values.iter().fold(start, |most, &value| if value > most { value } else { most });
            }),
            Agg::Count => self.runs(times, values, |_, _| {}),
            Agg::Last => self.runs(times, values, |cell, values| {
                cell.value = values.last().copied().unwrap_or(cell.value);
            }),
            Agg::Rate => match times {
                Times::Each(times) => {
                    times.iter().zip(values).for_each(|(&time, &value)| self.rise(time, value))
                }
                Times::Steady { first, step } => {
                    for (i, &value) in (0..).zip(values) {
                        self.rise(first + i * step, value);
                    }
                }
            },
        }
    }

    fn rise(&mut self, time: i64, value: f64) {
        let before = self.last.replace(value);
        let Some(before) = before else { return };
        if let Some(cell) = self.cells.get_mut(((time - self.from) / self.step) as usize) {
            cell.add(Agg::Rate, if value >= before { value - before } else { value });
        }
    }
}

impl Sink for Cells {
    fn steady(&mut self, first: i64, step: i64, values: &[f64]) {
        self.fold(Times::Steady { first, step }, values);
    }

    fn each(&mut self, times: &[i64], values: &[f64]) {
        self.fold(Times::Each(times), values);
    }

    fn rollups(&mut self, rollups: &[Rollup]) {
        for rollup in rollups {
            let at = ((rollup.start - self.from) / self.step) as usize;
            if self.agg == Agg::Rate {
                self.rise(rollup.start, rollup.max);
                continue;
            }
            let Some(cell) = self.cells.get_mut(at) else { continue };
            let count = u64::from(rollup.count);
            match self.agg {
                Agg::Avg | Agg::Sum => cell.value += rollup.sum,
                Agg::Min => cell.add(Agg::Min, rollup.min),
                Agg::Max => cell.add(Agg::Max, rollup.max),
                Agg::Last => cell.add(Agg::Last, rollup.sum / count as f64),
                Agg::Count | Agg::Rate => {}
            }
            cell.count += count;
        }
    }
}

/// The samples of one series as they are; of rollups, one point each.
struct Points {
    agg: Agg,
    points: Vec<(i64, f64)>,
}

impl Sink for Points {
    fn steady(&mut self, first: i64, step: i64, values: &[f64]) {
        self.points.extend((0..).zip(values).map(|(i, &value)| (first + i * step, value)));
    }

    fn each(&mut self, times: &[i64], values: &[f64]) {
        self.points.extend(times.iter().copied().zip(values.iter().copied()));
    }

    fn rollups(&mut self, rollups: &[Rollup]) {
        for rollup in rollups {
            let count = f64::from(rollup.count);
            let value = match self.agg {
                Agg::Avg | Agg::Last | Agg::Rate => rollup.sum / count,
                Agg::Min => rollup.min,
                Agg::Max => rollup.max,
                Agg::Sum => rollup.sum,
                Agg::Count => count,
            };
            self.points.push((rollup.start, value));
        }
    }
}
