//! What triggers have beside the routes of all kinds.

use rscaler_raft::command::Command;
use rscaler_raft::model::Kind;

use super::act;
use super::endpoint::{Answer, Endpoint};
use crate::auth::Access;
use crate::request::Request;
use crate::types::{ExecuteTrigger, RunStarted};
use utoipa::openapi::Required;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post(
            "/api/v1/triggers/{name}/execute",
            Access::OPERATOR,
            "Runs a trigger's steps by hand",
            execute,
        )
        .describe("Whatever its condition, its cooldown and maintenance say.")
        .body_as::<ExecuteTrigger>(&["application/json"], Required::False)
        .answers::<RunStarted>(202, "It goes on; `Location` says where to look."),
    ]
}

async fn execute(mut request: Request) -> Answer {
    let trigger = request.name(0, Kind::Trigger)?;
    request.query()?.finish()?;
    let body: ExecuteTrigger = request.json_or_default().await?;
    let reply = request.submit(0, Command::ExecuteTrigger { trigger, node: body.node }).await?;
    act::started(&request, &reply).await
}
