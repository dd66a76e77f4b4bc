//! One reading of one counter of a node's JVMs: all of them at the same time, each for itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use rscaler_raft::model::{FailureKind, JmxCounter, Name};
use tokio::time::Instant;

use super::outcome::{Failure, Measured, Outcome};
use super::parse::instance_name;
use crate::inventory::JvmTargets;
use crate::jvm::{Fault, FaultKind, Jvms, Readings};

/// JVMs whose faults a reason names.
const NAMED_MAX: usize = 3;
/// Values of one counter on one node whose growth is followed.
const RATES_MAX: usize = 4096;

/// What reads JVMs.
pub(super) struct JmxReader {
    pub(super) targets: Arc<JvmTargets>,
    pub(super) jvms: Arc<Jvms>,
}

/// What was read last, of values whose growth is the sample: by JVM and instance.
#[derive(Default)]
pub(super) struct Rates(Mutex<HashMap<(Name, Option<String>), (f64, Instant)>>);

impl Rates {
    /// The growth per second since the last reading. None at the first, and after a value became less: it was set back, and by how much it has
    /// grown since is not known.
    fn growth(&self, key: (Name, Option<String>), value: f64, at: Instant) -> Option<f64> {
        let mut last = self.0.lock();
        if last.len() >= RATES_MAX && !last.contains_key(&key) {
            last.clear();
        }
        let (before, then) = last.insert(key, (value, at))?;
        let seconds = at.checked_duration_since(then)?.as_secs_f64();
        (value >= before && seconds > 0.0).then(|| (value - before) / seconds)
    }
}

impl JmxReader {
    /// Reads a counter of all JVMs of a node. Takes at most `limit`. Cancel safe.
    pub(super) async fn read(
        &self,
        node: &Name,
        counter: &JmxCounter,
        rates: &Rates,
        limit: Duration,
    ) -> Outcome {
        let jvms = self.targets.jvms(node);
        let read = jvms.iter().map(|jvm| self.one(node, jvm, counter, limit));
        let read = join_all(read).await;
        self.join(counter, rates, jvms.into_iter().zip(read))
    }

    async fn one(
        &self,
        node: &Name,
        jvm: &Name,
        counter: &JmxCounter,
        limit: Duration,
    ) -> Result<Readings, Fault> {
        let address = self.targets.address(node, jvm);
        let address = address.map_err(|error| Fault::new(FaultKind::Invalid, error.to_string()))?;
        let value = (counter.attribute.as_str(), counter.key.as_deref().unwrap_or_default());
        self.jvms.read((node.as_str(), jvm.as_str()), &address, &counter.mbean, value, limit).await
    }

    fn join(
        &self,
        counter: &JmxCounter,
        rates: &Rates,
        read: impl Iterator<Item = (Name, Result<Readings, Fault>)>,
    ) -> Outcome {
        let mut measured = Vec::new();
        let mut failed: Vec<(Name, Fault)> = Vec::new();
        let mut warnings = Vec::new();
        let mut is_read = false;
        for (jvm, result) in read {
            let readings = match result {
                Ok(readings) => readings,
                Err(fault) => {
                    failed.push((jvm, fault));
                    continue;
                }
            };
            is_read = true;
            if let Some((fault, count)) = &readings.faults {
                warnings.push(format!("jvm `{jvm}`: {count} MBeans yield nothing, such as: {fault}"));
            }
            if readings.beyond > 0 {
                warnings.push(format!("jvm `{jvm}`: {} more MBeans match than are read", readings.beyond));
            }
            for reading in readings.values {
                let instance = reading.instance.map(|instance| instance_name(&instance));
                let value = match counter.rate {
                    true => rates.growth((jvm.clone(), instance.clone()), reading.value, reading.at),
                    false => Some(reading.value),
                };
                let Some(value) = value else { continue };
                measured.push(Measured { jvm: Some(jvm.clone()), instance: instance.map(Arc::from), value });
            }
        }
        let shown =
            failed.iter().take(NAMED_MAX).map(|(jvm, fault)| format!("jvm `{jvm}`: {}", self.words(fault)));
        let mut shown: Vec<String> = shown.collect();
        if failed.len() > NAMED_MAX {
            shown.push(format!("and {} more", failed.len() - NAMED_MAX));
        }
        match failed.first() {
            Some((_, fault)) if !is_read => {
                Outcome::failed(Failure::new(failure_kind(fault.kind), shown.join("; ")))
            }
            _ => {
                warnings.extend(shown);
                let warning = Some(warnings.join("; ")).filter(|warning| !warning.is_empty());
                Outcome { result: Ok(measured), warning, output: None }
            }
        }
    }

    fn words(&self, fault: &Fault) -> String {
        if fault.kind == FaultKind::NoJava && !self.targets.somebody_has_java() {
            return "no peer has a Java runtime: install one at a peer (Debian: default-jre-headless), or use transport jolokia"
                .to_string();
        }
        fault.text.clone()
    }
}

fn failure_kind(kind: FaultKind) -> FailureKind {
    match kind {
        FaultKind::Unreachable | FaultKind::Unavailable => FailureKind::JvmUnreachable,
        FaultKind::Authentication => FailureKind::JvmAuthentication,
        FaultKind::Missing => FailureKind::Missing,
        FaultKind::Threw => FailureKind::Threw,
        FaultKind::NotANumber => FailureKind::Parse,
        FaultKind::TooLarge => FailureKind::TooMuchOutput,
        FaultKind::TimedOut => FailureKind::TimedOut,
        FaultKind::Invalid => FailureKind::Configuration,
        FaultKind::NoJava => FailureKind::NoJava,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn growth_is_per_second_and_a_reset_yields_none() {
        let rates = Rates::default();
        let begin = Instant::now();
        let key = || (Name::new("app").unwrap(), None);
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(rates.growth(key(), 100.0, at(0)), None);
        assert_eq!(rates.growth(key(), 150.0, at(10)), Some(5.0));
        assert_eq!(rates.growth(key(), 150.0, at(20)), Some(0.0));
        assert_eq!(rates.growth(key(), 3.0, at(30)), None, "the JVM was started again");
        assert_eq!(rates.growth(key(), 23.0, at(40)), Some(2.0));
        let other = (Name::new("app").unwrap(), Some("b".to_string()));
        assert_eq!(rates.growth(other, 5.0, at(40)), None, "each instance for itself");
    }
}
