//! Documents on their way into the state, for `crate::fuzz`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::Bytes;
use rscaler_raft::command::{Change, Command, Expect, Proposal};
use rscaler_raft::model::{Actor, Meta, Object};
use rscaler_raft::state::State;

use super::convert::{self, Detail, Fields};
use super::documents;

/// A body of documents, YAML or, after an odd first byte, JSON: read, rendered, read again, and applied.
pub(crate) fn fuzz_documents(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    let media = if first % 2 == 1 { "application/json" } else { "application/yaml" };
    let Ok(wanted) = documents::read(Some(media), &Bytes::copy_from_slice(body)) else { return };
    let mut changes = Vec::new();
    for document in wanted {
        let Ok(draft) = convert::read(document.kind, document.body) else { continue };
        let Fields::Ready(spec) = draft.spec else { continue };
        let meta = Meta { labels: draft.labels, description: draft.description, ..Meta::default() };
        let object = Object { meta, spec };
        let rendered = convert::render(&document.name, &object, Detail::Whole).unwrap();
        let again = convert::read(document.kind, rendered.clone());
        match again.map(|again| (again.spec, again.labels, again.description)) {
            Ok((Fields::Ready(spec), labels, description)) => {
                assert_eq!(
                    (&spec, &labels, &description),
                    (&object.spec, &object.meta.labels, &object.meta.description)
                );
            }
            _ => panic!("what was shown is not read: {rendered}"),
        }
        changes.push(Change::Put {
            name: document.name,
            spec: object.spec,
            labels: BTreeMap::new(),
            description: String::new(),
            expect: Expect::Any,
        });
    }
    let mut state = State::new();
    let configure =
        |changes| Proposal { request: None, actor: Actor::System, command: Command::Configure(changes) };
    // All at once, as they refer to one another; and each, so that one that is refused hides no other.
    let _ = state.preview(&changes);
    let _ = state.apply(1, &configure(changes.clone()));
    for (index, change) in (2..).zip(changes) {
        let _ = state.apply(index, &configure(vec![change]));
    }
}
