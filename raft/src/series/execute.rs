//! Executing a plan: reads blocks, folds samples into steps. Takes no lock and knows no store.

use super::block::{BlockSource, open};
use super::columns::{Samples, decode_rollups, decode_samples};
use super::plan::{QueryPlan, Source, What};
use super::query::{Agg, QueryResult, Row};
use super::rollup::Rollup;
use super::{Error, Resolution};

/// Answers a query. What it decodes is bounded by the plan's limits.
///
/// # Errors
/// [`Error::Gone`] if a block was merged or deleted since the plan was made: plan and execute again.
/// [`Error::Corrupt`] or [`Error::Source`] if a block can't be read; [`Error::Limit`] if the answer has too many points.
pub fn execute(plan: &QueryPlan, source: &dyn BlockSource) -> Result<QueryResult, Error> {
    let mut run = Run { source, buffers: Buffers::default(), result: QueryResult::default() };
    match plan.step {
        Some(step) => run.by_step(plan, step)?,
        None => run.as_they_are(plan)?,
    }
    Ok(run.result)
}

#[derive(Default)]
struct Buffers {
    scratch: Vec<u8>,
    samples: Samples,
    rollups: Vec<Rollup>,
}

struct Run<'a> {
    source: &'a dyn BlockSource,
    buffers: Buffers,
    result: QueryResult,
}

/// Where samples go.
trait Sink {
    fn samples(&mut self, times: &[i64], values: &[f64]);
    fn rollups(&mut self, rollups: &[Rollup]);
}

impl Run<'_> {
    fn read(&mut self, source: &Source, sink: &mut impl Sink) -> Result<(), Error> {
        let Buffers { scratch, samples, rollups } = &mut self.buffers;
        samples.clear();
        rollups.clear();
        match &source.what {
            What::Block(id) => {
                let bytes = self.source.get(id)?.ok_or(Error::Gone(*id))?;
                let opened = open(*id, &bytes)?;
                self.result.blocks_read += 1;
                if id.resolution == Resolution::Raw {
                    decode_samples(&opened, scratch, samples)
                } else {
                    decode_rollups(&opened, rollups)
                }
                .map_err(|bad| Error::corrupt(id, bad.0))?;
            }
            What::Sealed(sealed) => {
                let unpacked = sealed.packed.unpack(scratch, samples);
                unpacked.map_err(|bad| Error::corrupt(sealed.id, bad.0))?;
            }
            What::Head(packed) => {
                let unpacked = packed.unpack(scratch, samples);
                unpacked.map_err(|bad| Error::corrupt("an open head", bad.0))?;
            }
        }
        self.result.samples_read += (samples.times.len() + rollups.len()) as u64;
        let times = &samples.times;
        let from = times.partition_point(|&time| time < source.from);
        let to = times.partition_point(|&time| time < source.to).max(from);
        sink.samples(&times[from..to], &samples.values[from..to]);
        let from = rollups.partition_point(|rollup| rollup.start < source.from);
        let to = rollups.partition_point(|rollup| rollup.start < source.to).max(from);
        sink.rollups(&rollups[from..to]);
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
    fn runs(&mut self, times: &[i64], values: &[f64], fold: impl Fn(&mut Cell, &[f64])) {
        let (mut times, mut values) = (times, values);
        while let Some(&time) = times.first() {
            let at = (time - self.from) / self.step;
            let end = self.from + (at + 1) * self.step;
            let length = times.iter().position(|&time| time >= end).unwrap_or(times.len());
            if let Some(cell) = self.cells.get_mut(at as usize) {
                fold(cell, &values[..length]);
                cell.count += length as u64;
            }
            (times, values) = (&times[length..], &values[length..]);
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
    fn samples(&mut self, times: &[i64], values: &[f64]) {
        match self.agg {
            Agg::Avg | Agg::Sum => {
                self.runs(times, values, |cell, values| {
                    cell.value = values.iter().fold(cell.value, |sum, v| sum + v)
                });
            }
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
                cell.value = values.last().copied().unwrap_or(cell.value)
            }),
            Agg::Rate => times.iter().zip(values).for_each(|(&time, &value)| self.rise(time, value)),
        }
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
    fn samples(&mut self, times: &[i64], values: &[f64]) {
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
