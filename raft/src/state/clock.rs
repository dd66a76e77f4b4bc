//! What passes with time. Deadlines are judged here and nowhere else.

use super::State;
use crate::command::{Outcome, Rejection, Reply};
use crate::model::{Elapsed, Timestamp};

/// The most a single tick moves the clock, in ms: a leader that was suspended does not expire the world.
const DELTA_MAX_MS: u32 = 2_000;

impl State {
    pub(super) fn tick(
        &mut self,
        index: u64,
        term: u64,
        first: bool,
        delta_ms: u32,
        wall: Timestamp,
    ) -> Outcome {
        if term < self.globals.tick_term {
            let newer = self.globals.tick_term;
            return Err(Rejection::stale(format!("term {newer} ticks by now, not {term}")));
        }
        self.globals.tick_term = term;
        let clock = &mut self.globals.clock;
        let before = clock.wall;
        clock.elapsed.0 += u64::from(delta_ms.min(DELTA_MAX_MS));
        clock.wall = clock.wall.max(wall);
        self.globals_changed.set();
        if first {
            self.extend_sessions();
        }
        self.expire_sessions();
        self.expire_tasks();
        self.expire_requests();
        self.expire_join_tokens();
        self.expire_samples(index);
        self.tick_triggers(before);
        self.dispatch();
        Ok(Reply::Done)
    }

    fn expire_requests(&mut self) {
        let now = self.globals.clock.elapsed;
        while let Some((expires, request)) = self.indexes.request_expiry.first().copied() {
            if expires > now {
                break;
            }
            self.indexes.request_expiry.pop_first();
            self.requests.remove(&request);
        }
    }

    fn expire_join_tokens(&mut self) {
        let now = self.globals.clock.elapsed;
        let over: Vec<_> = self
            .join_tokens
            .iter()
            .filter(|(_, token)| token.expires <= now)
            .map(|(hash, _)| *hash)
            .collect();
        for hash in over {
            self.join_tokens.remove(&hash);
        }
    }

    /// When the next deadline passes: the leader ticks then, or after a second, whichever is first.
    pub fn next_deadline(&self) -> Option<Elapsed> {
        let sessions = self.sessions.iter().map(|(_, session)| session.expires).min();
        let tasks = self.indexes.deadlines.first().map(|(at, _)| *at);
        let waiting = self.indexes.waiting_tasks.first().map(|(at, _)| *at);
        [sessions, tasks, waiting].into_iter().flatten().min()
    }
}
