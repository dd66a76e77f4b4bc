//! Invokes operations of MBeans.

use std::sync::Arc;

use async_trait::async_trait;
use rscaler_raft::command::{Ending, EndingResult};
use rscaler_raft::handle::Handle;
use rscaler_raft::model::{ActionKind, JmxInvokeAction, Name, Stream};
use tokio::time::Instant;

use super::{Executor, Work, ending};
use crate::inventory::{self, JvmTargets};
use crate::jvm::{Fault, FaultKind, Invocation, Jvms};

/// Carries out [`ActionKind::JmxInvoke`]. The result is the task's output.
pub struct JmxExecutor {
    handle: Handle,
    targets: Arc<JvmTargets>,
    jvms: Arc<Jvms>,
}

impl JmxExecutor {
    /// An executor that reaches JVMs as `targets` says.
    pub fn new(handle: Handle, targets: Arc<JvmTargets>, jvms: Arc<Jvms>) -> JmxExecutor {
        JmxExecutor { handle, targets, jvms }
    }

    /// Which JVM is meant.
    fn jvm(&self, node: &Name, action: &JmxInvokeAction) -> Result<Name, String> {
        let jvms = self.targets.jvms(node);
        match (&action.jvm, jvms.as_slice()) {
            (Some(jvm), _) if jvms.contains(jvm) => Ok(jvm.clone()),
            (Some(jvm), _) => Err(format!("node `{node}` has no JVM `{jvm}`")),
            (None, [one]) => Ok(one.clone()),
            (None, []) => Err(format!("node `{node}` has no JVM")),
            (None, several) => {
                let names: Vec<&str> = several.iter().map(Name::as_str).collect();
                Err(format!("node `{node}` has several JVMs: name one of {} as `jvm`", names.join(", ")))
            }
        }
    }

    async fn invoke(&self, node: &Name, action: &JmxInvokeAction, work: &Work) -> Result<String, Ending> {
        let wrong = |why: String| ending(EndingResult::Failed, None, why);
        let jvm = self.jvm(node, action).map_err(wrong)?;
        let address = self.targets.address(node, &jvm).map_err(|error| wrong(error.to_string()))?;
        let args = action.args.iter().map(|arg| inventory::text(&self.handle, arg)).collect::<Result<_, _>>();
        let invocation = Invocation {
            mbean: action.mbean.clone(),
            operation: action.operation.clone(),
            args: args.map_err(|error| wrong(error.to_string()))?,
            signature: action.signature.clone(),
        };
        let limit = work.deadline.saturating_duration_since(Instant::now());
        let invoked = self.jvms.invoke((node.as_str(), jvm.as_str()), &address, &invocation, limit);
        let result = tokio::select! {
            biased;
            () = work.cancel.cancelled() => {
                let reason = "it was cancelled; the operation may go on in the JVM";
                return Err(ending(EndingResult::Cancelled, None, reason));
            }
            result = invoked => result,
        };
        result.map_err(|fault| judge(&jvm, &fault))
    }
}

/// What a fault means for the task. What may have happened is not said to have failed.
fn judge(jvm: &Name, fault: &Fault) -> Ending {
    let result = match fault.kind {
        FaultKind::TimedOut => EndingResult::TimedOut,
        FaultKind::Unavailable => EndingResult::Unknown,
        _ => EndingResult::Failed,
    };
    ending(result, None, format!("jvm `{jvm}`: {fault}"))
}

#[async_trait]
impl Executor for JmxExecutor {
    async fn execute(&self, work: &Work) -> Ending {
        let ActionKind::JmxInvoke(action) = &work.action.kind else {
            return ending(EndingResult::Failed, None, "this is no operation of an MBean");
        };
        let Some(node) = &work.task.node else {
            return ending(EndingResult::Failed, None, "an operation needs a node");
        };
        match self.invoke(node, action, work).await {
            Ok(result) => {
                work.output.write(Stream::Stdout, result.as_bytes());
                if !result.is_empty() && !result.ends_with('\n') {
                    work.output.write(Stream::Stdout, b"\n");
                }
                ending(EndingResult::Succeeded, None, "")
            }
            Err(ending) => ending,
        }
    }
}
