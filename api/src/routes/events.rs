//! Who did what, what fired, what failed.

use std::sync::Arc;

use rscaler_raft::model::{self, EventId};

use super::endpoint::{Answer, Endpoint};
use super::reply;
use super::resources::cursor;
use crate::auth::Access;
use crate::request::Request;
use crate::types::{Event, List};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/events", Access::VIEWER, "Lists events, newest first", list)
            .pages()
            .query("type", "Only events of this type.")
            .query("actor", "Only what this actor did: `user/NAME`, `token/NAME`, `peer/ID`, `system`.")
            .query("object", "Only events about this kind of object: `node`.")
            .query("name", "Only events about what has this name.")
            .answers::<List<Event>>(200, "A page."),
    ]
}

async fn list(request: Request) -> Answer {
    let mut query = request.query()?;
    let limit = query.limit()?;
    let before = cursor::<EventId>(&mut query)?;
    let kind = query.text("type");
    let actor = query.text("actor");
    let object = query.text("object");
    let name = query.text("name");
    query.finish()?;
    // At most 20,000 are kept; they are shared, and shown without the state's lock.
    let events: Vec<Arc<model::Event>> =
        request.ctx.handle().read(|state| state.events_before(before).cloned().collect());
    let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
    let mut found: Vec<Event> = events
        .iter()
        .map(|event| Event::from(&**event))
        .filter(|event| is(&kind, Some(&event.kind)) && is(&actor, Some(&event.actor)))
        .filter(|event| {
            is(&object, event.object.as_deref()) && is(&name, event.name.as_ref().map(|name| name.as_str()))
        })
        .take(limit + 1)
        .collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { found.last().map(|event| event.id.to_string()) } else { None };
    reply::ok(&List { items: found, next })
}
