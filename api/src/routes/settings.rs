//! Settings of the whole control plane.

use rscaler_raft::command::Command;
use utoipa::openapi::Required;

use super::endpoint::{Answer, Endpoint};
use super::reply;
use crate::auth::Access;
use crate::error::Problem;
use crate::request::{Request, read_as};
use crate::types::{Patch, Settings};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/settings", Access::VIEWER, "Shows the control plane's settings", show)
            .answers::<Settings>(200, "All of them."),
        Endpoint::patch("/api/v1/settings", Access::ADMIN, "Changes settings", change)
            .describe("Those that the body names are changed, `null` sets one to its default.")
            .header("Idempotency-Key", "A retry under the same key is answered as the first try was.")
            .body_as::<Patch<Settings>>(&["application/merge-patch+json", "application/json"], Required::True)
            .answers::<Settings>(200, "As they are now."),
    ]
}

async fn show(request: Request) -> Answer {
    request.query()?.finish()?;
    reply::ok(&current(&request))
}

fn current(request: &Request) -> Settings {
    request.ctx.handle().read(|state| Settings::from(state.settings()))
}

async fn change(mut request: Request) -> Answer {
    request.query()?.finish()?;
    let bytes_max = request.ctx.limits().body_bytes_max;
    let patch = request.json_value(bytes_max, Some("application/merge-patch+json")).await?;
    let serde_json::Value::Object(patch) = patch else {
        return Err(Problem::field("", "a merge patch is an object"));
    };
    let mut document = serde_json::to_value(current(&request)).map_err(|error| Problem::internal(&error))?;
    if let Some(fields) = document.as_object_mut() {
        for (key, value) in patch {
            if value.is_null() {
                fields.remove(&key);
            } else {
                fields.insert(key, value);
            }
        }
    }
    let wanted: rscaler_raft::model::Settings = read_as::<Settings>(document)?.into();
    request.submit(0, Command::ChangeSettings(wanted.clone())).await?;
    request.ctx.wait_for(|state| (*state.settings() == wanted).then_some(())).await;
    reply::ok(&Settings::from(&wanted))
}
