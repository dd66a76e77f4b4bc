//! Whether a history of reads, writes and compare-and-sets on one object could have been made one after the other.

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

/// One value, or none yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Register(Option<u64>);

/// What is done to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Read,
    Write(u64),
    /// Sets it where it has the first value.
    Swap(Option<u64>, u64),
}

/// What that answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ret {
    Value(Option<u64>),
    Written,
    Swapped(bool),
}

impl SequentialSpec for Register {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Read => Ret::Value(self.0),
            Op::Write(value) => {
                self.0 = Some(*value);
                Ret::Written
            }
            Op::Swap(from, to) => {
                let holds = self.0 == *from;
                if holds {
                    self.0 = Some(*to);
                }
                Ret::Swapped(holds)
            }
        }
    }
}

/// An operation with when it began and ended; without an end, it may have happened at any time since, or never.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) op: Op,
    pub(crate) begun: u64,
    pub(crate) ended: Option<(u64, Ret)>,
}

/// Whether the operations are linearizable.
pub(crate) fn is_linearizable(operations: &[Operation]) -> bool {
    let mut events = Vec::new();
    for (thread, operation) in operations.iter().enumerate() {
        // Of a read that was never answered nobody knows anything.
        if operation.op == Op::Read && operation.ended.is_none() {
            continue;
        }
        events.push((operation.begun, thread, None));
        if let Some((ended, ret)) = &operation.ended {
            events.push((*ended, thread, Some(ret.clone())));
        }
    }
    // What ends and begins at the same moment overlaps.
    events.sort_by_key(|(at, thread, ret)| (*at, ret.is_some(), *thread));
    let mut tester = LinearizabilityTester::new(Register::default());
    for (_, thread, ret) in events {
        let told = match ret {
            None => tester.on_invoke(thread, operations[thread].op.clone()),
            Some(ret) => tester.on_return(thread, ret),
        };
        if told.is_err() {
            return false;
        }
    }
    tester.is_consistent()
}

/// The checker finds what it should.
pub(crate) fn checker_tells_stale_reads() {
    let operation = |op, begun, ended| Operation { op, begun, ended };
    let written = |value, begun, ended| operation(Op::Write(value), begun, Some((ended, Ret::Written)));
    let read = |value, begun, ended| operation(Op::Read, begun, Some((ended, Ret::Value(value))));
    assert!(is_linearizable(&[written(1, 0, 2), read(Some(1), 3, 4)]));
    assert!(is_linearizable(&[written(1, 0, 5), read(None, 1, 2), read(Some(1), 3, 4)]));
    assert!(!is_linearizable(&[written(1, 0, 2), read(None, 3, 4)]), "a stale read");
    assert!(
        !is_linearizable(&[written(1, 0, 9), read(Some(1), 1, 2), read(None, 3, 4)]),
        "a value that goes again"
    );
    let unknown = operation(Op::Write(2), 1, None);
    assert!(is_linearizable(&[written(1, 0, 2), unknown.clone(), read(Some(2), 30, 40)]));
    assert!(
        !is_linearizable(&[unknown, read(Some(2), 3, 4), written(1, 5, 6), read(Some(2), 7, 8)]),
        "written twice"
    );
}
