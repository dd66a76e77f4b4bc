//! What files have beside the routes of all kinds: their content as it is, and older versions.

use rscaler_raft::model::{Kind, Spec};
use warp::http::{HeaderValue, header};
use warp::reply::Reply as _;

use super::endpoint::{Answer, Endpoint};
use super::reply;
use crate::auth::Access;
use crate::error::Problem;
use crate::request::{Request, missing};
use crate::types::{FileVersion, List, sha256_hex};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/api/v1/files/{name}/versions",
            Access::VIEWER,
            "Lists a file's kept versions",
            versions,
        )
        .pages()
        .answers::<List<FileVersion>>(200, "Oldest first; at most 10."),
        Endpoint::get("/api/v1/files/{name}/content", Access::VIEWER, "Gives a file's bytes", content)
            .query("version", "An older version that is kept.")
            .answers_as(200, "The bytes.", "application/octet-stream"),
    ]
}

async fn versions(request: Request) -> Answer {
    let name = request.name(0, Kind::File)?;
    let query = request.query()?;
    let kept = request.ctx.handle().read(|state| {
        state.object(Kind::File, &name)?;
        Some(state.file_versions(&name).map(|(version, row)| (version, row.clone())).collect::<Vec<_>>())
    });
    let kept = kept.ok_or_else(|| missing(Kind::File, &name))?;
    let items = kept.into_iter().map(|(version, row)| FileVersion {
        version,
        at: row.at.into(),
        bytes: row.content.len() as u64,
        sha256: sha256_hex(&row.content),
    });
    reply::paged(query, items)
}

async fn content(request: Request) -> Answer {
    let name = request.name(0, Kind::File)?;
    let mut query = request.query()?;
    let version = query.value::<u64>("version")?;
    query.finish()?;
    let found = request.ctx.handle().read(|state| match (state.spec(Kind::File, &name), version) {
        (Some(Spec::File(file)), None) => Ok(file.content.clone()),
        (Some(Spec::File(_)), Some(wanted)) => state
            .file_versions(&name)
            .find(|(version, _)| *version == wanted)
            .map(|(_, row)| row.content.clone())
            .ok_or_else(|| Problem::not_found("kept version", format!("{wanted}` of file `{name}"))),
        _ => Err(missing(Kind::File, &name)),
    })?;
    let mut response = found.to_vec().into_response();
    // Whatever it holds, a browser must not run it.
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(response)
}
