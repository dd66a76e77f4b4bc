//! What other peers ask of JVMs that this one speaks to.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rscaler_api::types::{JvmAnswer, JvmQuestion, Mbeans};
use rscaler_raft::handle::Answerer;
use rscaler_raft::model::Name;
use serde::Deserialize;
use tokio::runtime::Handle as Runtime;

use super::JvmTargets;
use crate::jvm::{Fault, FaultKind, Jvms, MbeanList};

/// Questions that are answered at once.
const ANSWERS_MAX: usize = 8;

/// Answers them.
pub struct JvmAnswerer(Arc<Inner>);

struct Inner {
    targets: Arc<JvmTargets>,
    jvms: Arc<Jvms>,
    places: tokio::sync::Semaphore,
    /// Where answers are made: the threads that carry questions have a consensus to keep.
    runtime: Runtime,
}

/// MBeans as the JVM's side tells them.
#[derive(Deserialize)]
struct Told {
    matched: u64,
    mbeans: Vec<rscaler_api::types::Mbean>,
    next: Option<String>,
}

impl JvmAnswerer {
    /// Answers by way of `jvms`. Call it within the runtime that answers are made on.
    pub fn new(targets: Arc<JvmTargets>, jvms: Arc<Jvms>) -> Arc<JvmAnswerer> {
        let places = tokio::sync::Semaphore::new(ANSWERS_MAX);
        let inner = Inner { targets, jvms, places, runtime: Runtime::current() };
        Arc::new(JvmAnswerer(Arc::new(inner)))
    }
}

impl Inner {
    async fn mbeans(&self, question: JvmQuestion) -> Result<Mbeans, Fault> {
        let invalid = |text: String| Fault::new(FaultKind::Invalid, text);
        let name = |text: &str| Name::new(text).map_err(|error| invalid(error.to_string()));
        let (node, jvm) = (name(&question.node)?, name(&question.jvm)?);
        let address = self.targets.address(&node, &jvm).map_err(|error| invalid(error.to_string()))?;
        let list = MbeanList {
            pattern: question.pattern,
            limit: question.limit,
            after: question.after,
            values: question.values,
        };
        let limit = Duration::from_millis(u64::from(question.limit_ms)).min(Duration::from_secs(60));
        let _place = self
            .places
            .try_acquire()
            .map_err(|_| Fault::new(FaultKind::Unavailable, "too many browse at once"))?;
        let told = self.jvms.browse((node.as_str(), jvm.as_str()), &address, &list, limit).await?;
        let told: Told = serde_json::from_value(told).map_err(|error| {
            Fault::new(FaultKind::Unavailable, format!("the answer is not understood: {error}"))
        })?;
        Ok(Mbeans { items: told.mbeans, matched: told.matched, next: told.next })
    }
}

#[async_trait]
impl Answerer for JvmAnswerer {
    async fn answer(&self, question: Vec<u8>) -> Result<Vec<u8>, String> {
        let question: JvmQuestion = serde_json::from_slice(&question)
            .map_err(|error| format!("the question is not understood: {error}"))?;
        if question.version != 1 {
            return Err("the question is of a newer version: upgrade this peer".to_string());
        }
        let inner = Arc::clone(&self.0);
        let answered = self.0.runtime.spawn(async move { inner.mbeans(question).await });
        let answer = match answered.await.map_err(|error| error.to_string())? {
            Ok(mbeans) => JvmAnswer::Mbeans(mbeans),
            Err(fault) => JvmAnswer::Fault { kind: word(fault.kind).to_string(), text: fault.text },
        };
        serde_json::to_vec(&answer).map_err(|error| error.to_string())
    }
}

fn word(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Unreachable => "unreachable",
        FaultKind::Authentication => "authentication",
        FaultKind::Missing => "missing",
        FaultKind::Threw => "threw",
        FaultKind::NotANumber => "not-a-number",
        FaultKind::TooLarge => "too-large",
        FaultKind::TimedOut => "timed-out",
        FaultKind::Invalid => "invalid",
        FaultKind::NoJava => "no-java",
        FaultKind::Unavailable => "unavailable",
    }
}
