//! Waits.

use async_trait::async_trait;
use rscaler_raft::command::{Ending, EndingResult};
use rscaler_raft::model::ActionKind;
use tokio::time::sleep;

use super::{Executor, Work, ending};

/// Carries out [`ActionKind::Pause`]. One whose peer dies is begun again by the next.
pub struct PauseExecutor;

#[async_trait]
impl Executor for PauseExecutor {
    async fn execute(&self, work: &Work) -> Ending {
        let ActionKind::Pause(pause) = &work.action.kind else {
            return ending(EndingResult::Failed, None, "this is no pause");
        };
        // Most are marks: they need no timer.
        if pause.time.is_zero() {
            return ending(EndingResult::Succeeded, None, "");
        }
        tokio::select! {
            biased;
            () = work.cancel.cancelled() => ending(EndingResult::Cancelled, None, "it was ended on request"),
            () = sleep(pause.time) => ending(EndingResult::Succeeded, None, ""),
        }
    }
}
