//! What files have beside the routes of all kinds: their content as it is, and older versions.

use rscaler_raft::command::{Command, Effect, Expect, FilePut, Reply, Stored};
use rscaler_raft::model::{File, Kind, Spec};
use rscaler_raft::state::State;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Reply as _;

use super::endpoint::{Answer, Endpoint};
use super::reply;
use crate::auth::Access;
use crate::error::Problem;
use crate::puts::SMALL_BYTES_MAX;
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
        Endpoint::put("/api/v1/files/{name}/content", Access::ADMIN, "Writes a file's bytes", put)
            .describe(
                "The body is the content as it is. Labels and description stay; a file that is not there is created. This is the \
                 way for programs that write often: a content that stood for less than a minute leaves neither a version nor an \
                 event when it is replaced so.",
            )
            .guarded()
            .header("If-None-Match", "`*`: only if there is none yet.")
            .takes("application/octet-stream")
            .answers_nothing(201, "It is created; `Location` says where.")
            .answers_nothing(204, "It is replaced, or was so already; `ETag` is its version."),
    ]
}

async fn versions(request: Request) -> Answer {
    let name = request.name(0, Kind::File)?;
    let query = request.query()?;
    let kept = request.ctx.handle().read(|state| {
        state.object(Kind::File, &name)?;
        Some(state.file_versions(&name).collect::<Vec<_>>())
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

async fn put(mut request: Request) -> Answer {
    let name = request.name(0, Kind::File)?;
    request.query()?.finish()?;
    let expect = request.guard()?.expect();
    let content = request.bytes(File::BYTES_MAX).await?;
    let put = FilePut { name: name.clone(), file: File { content: content[..].into() }, expect };
    let Stored { effect, version } = store(&request, put).await.map_err(|problem| unmet(problem, expect))?;
    // Whoever reads here next finds it.
    let seen =
        |state: &State| state.object(Kind::File, &name).filter(|file| file.meta.version >= version).map(drop);
    request.ctx.wait_for(seen).await;
    let mut response = reply::tagged(reply::no_content()?, version);
    if effect == Effect::Created {
        *response.status_mut() = StatusCode::CREATED;
        response = reply::located(response, &format!("/api/v1/files/{name}"));
    }
    Ok(response)
}

/// Writes a content: alone where it is large or the client named the request, else together with others.
async fn store(request: &Request, put: FilePut) -> Result<Stored, Problem> {
    let is_named = request.request_id(0)?.is_some();
    if !is_named && put.file.content.len() <= SMALL_BYTES_MAX {
        let (actor, ctx) = (request.actor()?, &request.ctx);
        return Ok(ctx.puts().put(ctx.handle(), actor, put).await?);
    }
    match request.submit(0, Command::PutFiles(vec![put])).await? {
        Reply::Files(mut stored) if stored.len() == 1 => match stored.remove(0) {
            Ok(stored) => Ok(stored),
            Err(rejection) => Err(rejection.into()),
        },
        other => Err(Problem::internal(&format!("an unexpected reply: {other:?}"))),
    }
}

/// The answer of HTTP to `If-None-Match: *` where there is a file.
fn unmet(mut problem: Problem, expect: Expect) -> Problem {
    if expect == Expect::Absent && problem.status == 409 && problem.code == "conflict" {
        problem.status = StatusCode::PRECONDITION_FAILED.as_u16();
    }
    problem
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
