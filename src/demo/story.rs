//! What happened between two views, in words. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rscaler_api::types::{
    Event, PeerRole, Resource, RunState, SeriesInfo, Task, TaskState, Trigger, TriggerSubject,
};
use rscaler_raft::model;

use super::screen::{Line, Tag};
use super::seed::LOAD;
use super::view::{Ended, View};

/// Over how long samples are counted.
const RATE_MS: i64 = 10_000;
/// The most nodes whose load is shown.
const NODES_SHOWN: usize = 6;

/// A series: counter, node, instance.
type SeriesKey = (String, String, Option<String>);
/// What a trigger judges: trigger, node, position of the condition.
type SubjectKey = (String, Option<String>, Option<u8>);

/// What has been told so far, and so what would be news.
#[derive(Debug, Default)]
pub(super) struct Story {
    begun: bool,
    leader: Option<u64>,
    term: u64,
    /// All peers.
    names: BTreeMap<u64, String>,
    /// Those that the others hear of.
    alive: BTreeSet<String>,
    pending: BTreeSet<SubjectKey>,
    /// When each series had its newest sample, in ms.
    newest: BTreeMap<SeriesKey, i64>,
    /// The shortest time between two samples of the load, in ms: its interval.
    interval: Option<i64>,
    /// When views were taken, in ms, with how many samples were new in each.
    counts: VecDeque<(i64, usize)>,
    loads: BTreeMap<String, f64>,
}

impl Story {
    /// What is news in a view, oldest first. The first view is where the story begins: who leads in it and what is
    /// collected is no news.
    pub(super) fn tell(&mut self, view: &View) -> Vec<Line> {
        self.names = view.peers.iter().map(|peer| (peer.id, peer.name.clone())).collect();
        self.alive = view.peers.iter().filter(|peer| peer.alive).map(|peer| peer.name.clone()).collect();
        let mut lines = self.tell_pending(view);
        lines.extend(view.events.iter().filter_map(|event| self.tell_event(event, &view.ended)));
        lines.extend(self.tell_leader(view));
        lines.extend(self.tell_gaps(view));
        self.count(view);
        self.begun = true;
        lines
    }

    /// How things are, in one line. `running` are the peers whose processes run: a peer that has lost the others
    /// can't know what became of them.
    pub(super) fn status(&self, running: &BTreeSet<&str>) -> String {
        let all = self.names.len();
        let alive = self.alive.iter().filter(|name| running.contains(name.as_str())).count();
        let leader = self.leader().filter(|name| running.contains(name));
        let leader = leader.map_or_else(|| "no leader".to_owned(), |name| format!("{name} leads"));
        let rate = self.rate().map_or_else(String::new, |rate| format!(" · {rate:.0} samples/s"));
        format!("{alive} of {all} peers, {leader}{rate} · {LOAD}{}", self.loads_in_words())
    }

    /// The load of each node, as last seen.
    pub(super) fn loads(&self) -> &BTreeMap<String, f64> {
        &self.loads
    }

    /// The name of the peer that leads, as last seen.
    pub(super) fn leader(&self) -> Option<&str> {
        self.names.get(&self.leader?).map(String::as_str)
    }

    fn loads_in_words(&self) -> String {
        let mut loads: Vec<_> = self.loads.iter().collect();
        if loads.len() > NODES_SHOWN {
            loads.sort_by(|a, b| b.1.total_cmp(a.1));
            loads.truncate(NODES_SHOWN);
        }
        loads.iter().map(|(node, load)| format!("  {node} {load:.2}")).collect()
    }

    fn name(&self, peer: u64) -> String {
        self.names.get(&peer).cloned().unwrap_or_else(|| format!("peer {peer}"))
    }

    fn tell_leader(&mut self, view: &View) -> Option<Line> {
        // Between two terms nobody leads for a moment, which is no news until it is over; and a peer that lags
        // behind says what was.
        let leader =
            view.peers.iter().find(|peer| peer.role == PeerRole::Leader && peer.term >= self.term)?;
        let before = self.leader.replace(leader.id);
        self.term = leader.term;
        (self.begun && before != Some(leader.id)).then(|| Line {
            at: view.at,
            tag: Tag::Peer,
            text: format!("{} leads now (term {})", leader.name, leader.term),
        })
    }

    fn tell_pending(&mut self, view: &View) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut pending = BTreeSet::new();
        for (trigger, state) in &view.triggers {
            for subject in &state.subjects {
                let node = subject.node.as_ref().map(ToString::to_string);
                let key = (trigger.name.to_string(), node, subject.condition);
                let was = self.pending.contains(&key);
                let text = match subject.state.as_str() {
                    "pending" => {
                        pending.insert(key);
                        (!was).then(|| pending_text(trigger, subject))
                    }
                    "ok" => was.then(|| {
                        let hold = trigger.spec.hold;
                        format!("{}{} is ok again: it did not hold for {hold}", trigger.name, on(subject))
                    }),
                    _ => None,
                };
                lines.extend(text.map(|text| Line { at: view.at, tag: Tag::Trigger, text }));
            }
        }
        self.pending = pending;
        lines
    }

    fn tell_event(&self, event: &Event, ended: &BTreeMap<u64, Ended>) -> Option<Line> {
        let peer = event.peer.map(|peer| self.name(peer)).unwrap_or_default();
        let message = event.message.clone();
        let (tag, text) = match event.kind.as_str() {
            "trigger-fired" => (Tag::Firing, message),
            "trigger-recovered" | "trigger-silenced" => (Tag::Trigger, message),
            // A firing names its run.
            "run-started" if event.actor == "system" => return None,
            "run-started" => (Tag::Run, format!("{message}, by {}", event.actor)),
            "run-finished" => match event.run.and_then(|run| Some((run, ended.get(&run)?))) {
                Some((id, ended)) => self.run_text(id, ended),
                None => (Tag::Run, message),
            },
            "task-lost" => (Tag::Trouble, message),
            "peer-lost" => {
                (Tag::Peer, format!("{peer} is not heard of any more: the others take over its work"))
            }
            "peer-started" => (Tag::Peer, format!("{peer} takes work")),
            "peer-joined" => (Tag::Peer, format!("{peer} was admitted")),
            "peer-removed" => (Tag::Peer, format!("{peer} was removed")),
            "peer-changed" => (Tag::Peer, message),
            "node-reachability" | "host-key" => (Tag::Node, message),
            _ => (Tag::Demo, format!("{message}, by {}", event.actor)),
        };
        // What marks names in other places, and what the tag says already, would only be noise here.
        let text = text.replace('`', "");
        let text = text.strip_prefix("trigger ").map(str::to_owned).unwrap_or(text);
        Some(Line { at: event.at.to_jiff(), tag, text })
    }

    fn run_text(&self, id: u64, ended: &Ended) -> (Tag, String) {
        let Ended { run, tasks, more } = ended;
        let (tag, verdict) = match run.state {
            RunState::Succeeded => (Tag::Run, "succeeded"),
            RunState::Cancelled => (Tag::Run, "was cancelled"),
            RunState::Failed => (Tag::Trouble, "failed"),
            RunState::Running => (Tag::Run, "goes on"),
        };
        let mut text = format!("run {id} {verdict}");
        if let Some(finished) = run.finished {
            // In ticks of the replicated clock, in which what is quick takes no time.
            let seconds = finished.to_jiff().duration_since(run.created.to_jiff()).as_secs_f64();
            if seconds >= 0.1 {
                text.push_str(&format!(" after {seconds:.1} s"));
            }
        }
        if let Some(reason) = &run.reason {
            text.push_str(&format!(": {reason}"));
        }
        for (task, said) in tasks {
            text.push_str(&format!("; {}", self.task_text(task)));
            if let Some(said) = said {
                text.push_str(&format!(": \"{said}\""));
            }
        }
        if *more > 0 {
            text.push_str(&format!("; and {more} more"));
        }
        (tag, text)
    }

    fn task_text(&self, task: &Task) -> String {
        let mut text = task.action.as_ref().map_or_else(|| "the command".to_owned(), ToString::to_string);
        if let Some(node) = &task.node {
            text.push_str(&format!(" on {node}"));
        }
        if let Some(peer) = task.peer {
            text.push_str(&format!(" by {}", self.name(peer)));
        }
        if task.attempt > 1 {
            text.push_str(&format!(", attempt {}", task.attempt));
        }
        if task.state != TaskState::Succeeded {
            text.push_str(&format!(" ({})", task.reason.as_deref().unwrap_or("it did not succeed")));
        }
        text
    }

    /// How long the load of a node was not read, once it is again: what the end of a peer costs.
    fn tell_gaps(&mut self, view: &View) -> Vec<Line> {
        let mut lines = Vec::new();
        for series in view.series.iter().filter(|series| series.counter == LOAD) {
            let before = self.newest.get(&key_of(series)).copied();
            let (Some((at, _)), Some(before)) = (series.last, before) else { continue };
            if at <= before {
                continue;
            }
            let gap = at - before;
            // A single sample that is missing is no news: the machine is busy.
            if self.interval.is_some_and(|interval| gap > 2 * interval) {
                let seconds = gap as f64 / 1000.0;
                let text = format!("{} is read again, after {seconds:.0} s", series.node);
                lines.push(Line { at: view.at, tag: Tag::Samples, text });
            }
            self.interval = Some(self.interval.map_or(gap, |interval| interval.min(gap)));
        }
        lines
    }

    fn count(&mut self, view: &View) {
        let mut new = 0;
        self.loads.clear();
        for series in &view.series {
            let Some((at, value)) = series.last else { continue };
            let newest = self.newest.entry(key_of(series)).or_insert(i64::MIN);
            if at > *newest {
                *newest = at;
                new += 1;
            }
            if series.counter == LOAD {
                self.loads.insert(series.node.clone(), value);
            }
        }
        let now = view.at.as_millisecond();
        // What is there at the first look came over a time that is not known.
        self.counts.push_back((now, if self.begun { new } else { 0 }));
        while self.counts.front().is_some_and(|(at, _)| now - at > RATE_MS) {
            self.counts.pop_front();
        }
    }

    /// Samples per second over the last seconds.
    fn rate(&self) -> Option<f64> {
        let (first, last) = (self.counts.front()?.0, self.counts.back()?.0);
        // What the first look found came before it.
        let samples: usize = self.counts.iter().skip(1).map(|(_, new)| new).sum();
        (last > first).then(|| samples as f64 * 1000.0 / (last - first) as f64)
    }
}

fn key_of(series: &SeriesInfo) -> SeriesKey {
    (series.counter.clone(), series.node.clone(), series.instance.clone())
}

fn on(subject: &TriggerSubject) -> String {
    subject.node.as_ref().map_or_else(String::new, |node| format!(" on {node}"))
}

fn pending_text(trigger: &Resource<Trigger>, subject: &TriggerSubject) -> String {
    let condition = subject.condition.and_then(|position| trigger.spec.when.get(usize::from(position)));
    let mut text = format!("{}{} is pending", trigger.name, on(subject));
    if let (Some(condition), Some(value)) = (condition, subject.value) {
        let op = model::Operator::from(condition.op).as_str();
        text.push_str(&format!(": {} is {value:.2}, {op} {}", condition.counter, condition.threshold));
    }
    format!("{text}; it fires when that holds for {}", trigger.spec.hold)
}

#[cfg(test)]
#[path = "story_test.rs"]
mod story_test;
