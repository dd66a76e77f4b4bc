//! What an entry changed, for those who wait for it on this peer: executors, collectors, watchers.

use crate::model::{EventId, Kind, Name, PeerId, RunId, TaskId};

/// Something that changed. Not stored and not sent: each peer makes its own as it applies.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Notice {
    /// A configuration object was created, changed or deleted.
    Object(Kind, Name),
    /// A run moved.
    Run(RunId),
    /// A task moved: assigned, started, ended, cancel requested.
    Task(TaskId),
    /// A task printed something.
    Output(TaskId),
    /// A node is collected by another peer, or by none.
    Assignment(Name),
    /// A node's host keys changed.
    HostKeys(Name),
    /// A session began or ended.
    Session(PeerId),
    /// A peer was admitted, changed or removed.
    Peer(PeerId),
    /// Samples of a node arrived.
    Samples(Name),
    /// The status of a counter on a node changed: (node, counter).
    Check(Name, Name),
    /// A trigger's state changed.
    Trigger(Name),
    /// There is a new event.
    Event(EventId),
    /// Everything may have changed: a snapshot was installed.
    Everything,
}

impl Notice {
    /// Whether it may change what peers have to do: nodes to collect, tasks to run, who belongs. What passes by in numbers,
    /// such as samples, output, events and contents of files, does not.
    pub fn is_of_work(&self) -> bool {
        match self {
            Notice::Object(kind, _) => *kind != Kind::File,
            Notice::Task(_)
            | Notice::Assignment(_)
            | Notice::HostKeys(_)
            | Notice::Session(_)
            | Notice::Peer(_)
            | Notice::Everything => true,
            Notice::Run(_)
            | Notice::Output(_)
            | Notice::Samples(_)
            | Notice::Check(..)
            | Notice::Trigger(_)
            | Notice::Event(_) => false,
        }
    }
}
