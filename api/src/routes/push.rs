//! Samples that programs write: read where they lie in the body, and resolved to series before they are proposed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rscaler_raft::command::{Command, Reply, RowSeries, SampleBatch, SampleRow, SampleSource};
use rscaler_raft::model::{Counter, CounterSource, Kind, Name, SeriesKey};
use rscaler_raft::series::KeyRef;
use rscaler_raft::state::State;

use super::endpoint::Answer;
use super::reply;
use crate::error::Problem;
use crate::request::Request;
use crate::types::{FieldError, Pushed, Sample, SamplesPushed};

/// The bytes of a full batch with long names.
const BATCH_BYTES_MAX: usize = 4 << 20;
const INSTANCE_BYTES_MAX: usize = 200;
/// Mistakes told of one batch.
const ERRORS_MAX: usize = 100;

/// Takes pushed samples.
pub(super) async fn push(mut request: Request) -> Answer {
    request.query()?.finish()?;
    let body = request.json_bytes(BATCH_BYTES_MAX).await?;
    // Read where they lie. Whatever is wrong is told by the way that documents are read, which knows where it stands.
    let pushed = match serde_json::from_slice::<Borrowed<'_>>(&body) {
        Ok(pushed) => pushed,
        Err(_) => {
            let pushed: Pushed = crate::request::read_as(crate::request::json_of(&body)?)?;
            return push_all(&request, &pushed.samples.iter().map(Measured::from).collect::<Vec<_>>()).await;
        }
    };
    push_all(&request, &pushed.samples).await
}

async fn push_all(request: &Request, samples: &[Measured<'_>]) -> Answer {
    if samples.is_empty() || samples.len() > SampleBatch::ROWS_MAX {
        let detail = format!("1 to {} samples at once, not {}", SampleBatch::ROWS_MAX, samples.len());
        return Err(Problem::field("/samples", detail));
    }
    let now = request.ctx.now().0;
    let batch = request.ctx.handle().read(|state| batch(state, samples, now)).map_err(Problem::invalid)?;
    match request.submit(0, Command::Samples(batch)).await? {
        Reply::Samples { accepted, dropped } => reply::ok(&SamplesPushed { accepted, dropped }),
        other => Err(Problem::internal(&format!("an unexpected reply: {other:?}"))),
    }
}

/// [`Pushed`], whose texts stay in the body.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Borrowed<'a> {
    #[serde(borrow)]
    samples: Vec<Measured<'a>>,
}

/// [`Sample`], whose texts lie elsewhere.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured<'a> {
    #[serde(borrow)]
    counter: Cow<'a, str>,
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(default)]
    jvm: Option<Cow<'a, str>>,
    #[serde(default)]
    instance: Option<Cow<'a, str>>,
    #[serde(default)]
    t: Option<i64>,
    v: f64,
}

impl<'a> From<&'a Sample> for Measured<'a> {
    fn from(sample: &'a Sample) -> Measured<'a> {
        Measured {
            counter: Cow::Borrowed(&sample.counter),
            node: Cow::Borrowed(&sample.node),
            jvm: sample.jvm.as_deref().map(Cow::Borrowed),
            instance: sample.instance.as_deref().map(Cow::Borrowed),
            t: sample.t,
            v: sample.v,
        }
    }
}

impl Measured<'_> {
    fn key(&self) -> KeyRef<'_> {
        KeyRef {
            counter: &self.counter,
            node: &self.node,
            jvm: self.jvm.as_deref(),
            instance: self.instance.as_deref(),
        }
    }
}

/// The samples as a batch, with their series resolved.
fn batch(state: &State, samples: &[Measured<'_>], now: i64) -> Result<SampleBatch, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut places = Places { state, counters: BTreeMap::new(), node: None };
    let mut positions: BTreeMap<SeriesKey, u32> = BTreeMap::new();
    let mut keys = Vec::new();
    let mut rows = Vec::with_capacity(samples.len());
    for (position, sample) in samples.iter().enumerate() {
        let mut fail = |field: &str, detail: String| {
            errors.push(FieldError::new(format!("/samples/{position}/{field}"), detail));
        };
        if let Err((field, detail)) = places.judge(&sample.counter, &sample.node) {
            fail(field, detail);
        } else if let Some(field) = too_long(sample) {
            fail(field, format!("1 to {INSTANCE_BYTES_MAX} bytes"));
        } else {
            let series = match state.series().id(sample.key()) {
                Some(id) => RowSeries::Known(id),
                None => {
                    let key = sample.key().to_key();
                    RowSeries::New(*positions.entry(key.clone()).or_insert_with(|| {
                        keys.push(key);
                        u32::try_from(keys.len() - 1).unwrap_or(u32::MAX)
                    }))
                }
            };
            rows.push(SampleRow { series, at: sample.t.unwrap_or(now), value: sample.v });
        }
        if errors.len() >= ERRORS_MAX {
            break;
        }
    }
    if errors.is_empty() { Ok(SampleBatch { source: SampleSource::Push, keys, rows }) } else { Err(errors) }
}

fn too_long(sample: &Measured<'_>) -> Option<&'static str> {
    let fits = |text: &Option<Cow<'_, str>>| {
        text.as_ref().is_none_or(|text| (1..=INSTANCE_BYTES_MAX).contains(&text.len()))
    };
    if !fits(&sample.instance) {
        Some("instance")
    } else if !fits(&sample.jvm) {
        Some("jvm")
    } else {
        None
    }
}

/// Which counters are written on which nodes: looked up once each, and the node where it changes.
struct Places<'s, 'a> {
    state: &'s State,
    counters: BTreeMap<&'a str, &'s Counter>,
    node: Option<(&'a str, &'s Name)>,
}

type Refused = (&'static str, String);

impl<'s, 'a> Places<'s, 'a> {
    /// Whether samples of a counter may be written for a node.
    fn judge(&mut self, counter: &'a str, node: &'a str) -> Result<(), Refused> {
        let definition = self.counter(counter)?;
        let cluster = self.cluster(node)?;
        if definition.clusters.iter().any(|selector| selector.covers(cluster)) {
            Ok(())
        } else {
            let detail = format!("counter `{counter}` does not cover cluster `{cluster}` of node `{node}`");
            Err(("counter", detail))
        }
    }

    fn counter(&mut self, text: &'a str) -> Result<&'s Counter, Refused> {
        if let Some(known) = self.counters.get(text) {
            return Ok(known);
        }
        let found = Name::new(text).ok().and_then(|name| self.state.counter(&name));
        let definition = found.ok_or_else(|| ("counter", unknown(Kind::Counter, text)))?;
        if definition.source != CounterSource::Push {
            let detail = format!("counter `{text}` is collected by peers: samples are written for type push");
            return Err(("counter", detail));
        }
        self.counters.insert(text, definition);
        Ok(definition)
    }

    fn cluster(&mut self, text: &'a str) -> Result<&'s Name, Refused> {
        if let Some((_, cluster)) = self.node.filter(|(known, _)| *known == text) {
            return Ok(cluster);
        }
        let found = Name::new(text).ok().and_then(|name| self.state.node(&name));
        let node = found.ok_or_else(|| ("node", unknown(Kind::Node, text)))?;
        self.node = Some((text, &node.cluster));
        Ok(&node.cluster)
    }
}

fn unknown(kind: Kind, text: &str) -> String {
    let shown: String = text.chars().take(80).collect();
    format!("there is no {kind} `{shown}`")
}

/// For `crate::fuzz`: pushed samples; what is read where it lies is what is read as other documents are.
#[cfg(any(test, feature = "fuzz"))]
#[allow(clippy::unwrap_used)]
pub(crate) fn fuzz_pushed(body: &[u8]) {
    let Ok(short) = serde_json::from_slice::<Borrowed<'_>>(body) else { return };
    let long: Pushed = crate::request::read_as(crate::request::json_of(body).unwrap()).unwrap();
    assert_eq!(short.samples.len(), long.samples.len());
    for (short, long) in short.samples.iter().zip(long.samples.iter().map(Measured::from)) {
        assert_eq!((short.key(), short.t, short.v.to_bits()), (long.key(), long.t, long.v.to_bits()));
    }
}
