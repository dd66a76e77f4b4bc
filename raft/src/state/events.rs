//! What people will want to look up later.

use super::{Notice, State};
use crate::model::{Actor, Event, EventId, EventKind};

impl State {
    /// Writes an event, and drops the oldest beyond what is kept.
    pub(super) fn record(&mut self, actor: Actor, kind: EventKind, message: String) {
        self.globals.next_event += 1;
        self.globals_changed.set();
        let id = EventId(self.globals.next_event);
        let at = self.globals.clock.wall;
        self.events.insert(id, Event { id, at, actor, kind, message });
        self.notify(Notice::Event(id));
        while self.events.len() > Event::KEPT_MAX {
            let Some(oldest) = self.events.iter().next().map(|(id, _)| *id) else { break };
            self.events.remove(&oldest);
        }
    }

    /// Events before `before` (all where absent), newest first.
    pub fn events_before(&self, before: Option<EventId>) -> impl Iterator<Item = &std::sync::Arc<Event>> {
        let end = before.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.events.range((std::ops::Bound::Unbounded, end)).rev().map(|(_, event)| event)
    }
}
