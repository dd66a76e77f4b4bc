//! Which tasks peers are given, and in which order.
//!
//! Assignment is decided here, in the entry that makes it possible: no round trip lies between a commit and the executor that begins.
//!
//! ```text
//!                back-off has passed            its node has room, a peer has room
//!   waiting --------------------------> ready ------------------------------------> assigned
//!                                       ^ | ^ |
//!     a task of its node has ended      | | | | all peers with Java are full,
//!     +---------------------------------+ | | +---------------------------+
//!     |      its node has its fill        | |   one of them has room      |
//!   blocked <-----------------------------+ +------------------------- without Java
//! ```
//!
//! Where a task stands is in memory alone. A peer that started a moment ago has all of them ready, and must give the same tasks to
//! the same peers as one that has run for weeks: so what is set aside is only what could not be given away now, and what its being
//! set aside made room for is looked at at once.

use std::time::Duration;

use super::{Notice, State};
use crate::decide::place::{self, Candidate};
use crate::model::{ActionKind, Capabilities, Elapsed, Executor, Name, TaskId, TaskState};

/// Tasks that may act on one node at once: its SSH connection carries them all.
const TASKS_PER_NODE_MAX: u32 = 4;
/// How long a peer may take to begin a task before another gets it.
const START_GRACE: Duration = Duration::from_secs(30);

/// A peer that could take tasks, its session, and whether it has Java.
struct Taker {
    candidate: Candidate,
    session: u64,
    has_java: bool,
}

impl State {
    /// Gives ready tasks to peers that have room, those that came first first.
    pub(super) fn dispatch(&mut self) {
        let now = self.globals.clock.elapsed;
        while let Some((at, id)) = self.indexes.waiting_tasks.first().copied() {
            if at > now {
                break;
            }
            self.indexes.waiting_tasks.pop_first();
            self.indexes.ready_tasks.insert(id);
        }
        if self.indexes.ready_tasks.is_empty() && self.indexes.java_tasks.is_empty() {
            return;
        }
        let mut takers = self.takers();
        // Each turn gives a task away or sets it aside: what is left of them costs nothing.
        while takers.iter().any(|taker| taker.candidate.has_room()) {
            let mut with_java = takers.iter().filter(|taker| taker.has_java).peekable();
            // Where nobody has Java, whoever takes the task says so.
            let java_is_scarce =
                with_java.peek().is_some() && !with_java.any(|taker| taker.candidate.has_room());
            let aside = self.indexes.java_tasks.first().filter(|_| !java_is_scarce);
            let Some(id) = self.indexes.ready_tasks.first().into_iter().chain(aside).min().copied() else {
                break;
            };
            let Some(node) = self.tasks.get(&id).map(|task| task.node.clone()) else {
                self.no_longer_ready(id);
                continue;
            };
            if let Some(node) = &node
                && self.indexes.tasks_by_node.get(node).copied().unwrap_or(0) >= TASKS_PER_NODE_MAX
            {
                self.no_longer_ready(id);
                self.indexes.blocked_tasks.entry(node.clone()).or_default().insert(id);
                continue;
            }
            let needs_java = self.task_needs_java(id) && takers.iter().any(|taker| taker.has_java);
            if needs_java && java_is_scarce {
                self.no_longer_ready(id);
                self.indexes.java_tasks.insert(id);
                // The place on the node that it did not take goes to the next.
                if let Some(node) = &node {
                    self.unblock(node);
                }
                continue;
            }
            let able = takers.iter().filter(|taker| taker.has_java || !needs_java);
            let able: Vec<Candidate> = able.map(|taker| taker.candidate).collect();
            let home = node.as_ref().and_then(|node| self.assignments.get(node)).map(|a| a.peer);
            let Some(peer) = place::choose(&able, home) else { break };
            let Some(taker) = takers.iter_mut().find(|taker| taker.candidate.peer == peer) else { break };
            taker.candidate.tasks += 1;
            let executor = Executor { peer, session: taker.session };
            self.assign(id, executor);
        }
    }

    fn takers(&self) -> Vec<Taker> {
        let sessions = self.sessions.iter().filter(|(_, session)| !session.draining);
        sessions
            .map(|(peer, session)| {
                let tasks = self.indexes.tasks_by_peer.get(peer).copied().unwrap_or(0);
                let tasks_max = session.capabilities.tasks_max;
                let has_java = session.capabilities.takes(Capabilities::JMX);
                let candidate = Candidate { peer: *peer, tasks, tasks_max };
                Taker { candidate, session: session.epoch, has_java }
            })
            .collect()
    }

    /// Whether a task speaks to a JVM in a way that takes a Java runtime.
    fn task_needs_java(&self, id: TaskId) -> bool {
        let Some(action) = self.action_of(id) else { return false };
        let ActionKind::JmxInvoke(invoke) = &action.kind else { return false };
        let node = self.tasks.get(&id).and_then(|task| task.node.as_ref()).and_then(|node| self.node(node));
        let jvm = invoke.jvm.as_ref().or_else(|| node.and_then(|node| node.jvms.first()));
        jvm.is_some_and(|jvm| self.needs_java(jvm))
    }

    fn assign(&mut self, id: TaskId, executor: Executor) {
        let deadline = self.globals.clock.elapsed + START_GRACE;
        self.no_longer_ready(id);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.state = TaskState::Assigned;
        task.executor = Some(executor);
        task.attempt += 1;
        task.deadline = Some(deadline);
        task.started = None;
        task.exit_code = None;
        task.reason = None;
        let node = task.node.clone();
        self.indexes.deadlines.insert((deadline, id));
        *self.indexes.tasks_by_peer.entry(executor.peer).or_default() += 1;
        if let Some(node) = node {
            *self.indexes.tasks_by_node.entry(node).or_default() += 1;
        }
        self.notify(Notice::Task(id));
    }

    /// Whether it was ready, or is set aside for want of Java.
    fn no_longer_ready(&mut self, id: TaskId) -> bool {
        self.indexes.ready_tasks.remove(&id) || self.indexes.java_tasks.remove(&id)
    }

    /// Makes the first task ready that waits for others of its node to end.
    pub(super) fn unblock(&mut self, node: &Name) {
        let Some(blocked) = self.indexes.blocked_tasks.get_mut(node) else { return };
        if let Some(next) = blocked.pop_first() {
            self.indexes.ready_tasks.insert(next);
        }
        if blocked.is_empty() {
            self.indexes.blocked_tasks.remove(node);
        }
    }

    /// Makes a task that was released by its step ready, now or after its back-off.
    pub(super) fn enqueue(&mut self, id: TaskId, not_before: Elapsed) {
        if not_before > self.globals.clock.elapsed {
            self.indexes.waiting_tasks.insert((not_before, id));
        } else {
            self.indexes.ready_tasks.insert(id);
        }
    }

    /// Forgets a task that has ended.
    pub(super) fn unqueue(&mut self, id: TaskId) {
        let was_ready = self.no_longer_ready(id);
        let Some(task) = self.tasks.get(&id).map(std::sync::Arc::clone) else { return };
        self.indexes.waiting_tasks.remove(&(task.not_before, id));
        let Some(node) = &task.node else { return };
        if was_ready {
            // The place on the node that was kept for it goes to the next.
            self.unblock(node);
        } else if let Some(blocked) = self.indexes.blocked_tasks.get_mut(node) {
            blocked.remove(&id);
            if blocked.is_empty() {
                self.indexes.blocked_tasks.remove(node);
            }
        }
    }

    /// What nodes and JVM profiles say has changed: who needs Java is found out again.
    pub(super) fn reconsider_java(&mut self) {
        let aside = std::mem::take(&mut self.indexes.java_tasks);
        self.indexes.ready_tasks.extend(aside);
    }
}
