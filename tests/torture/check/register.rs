//! A register: read, write, compare and set. Every value is written by one operation only, so that a value tells its writer.

use super::linear::Spec;

/// The register as it should be.
pub(crate) struct Register;

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    /// What it holds.
    Read,
    /// To hold this.
    Write(u64),
    /// To hold the second, if it holds the first.
    Set(u64, u64),
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// It holds this; 0: nothing was ever written.
    Holds(u64),
    /// It was done.
    Done,
    /// It holds something else.
    Moved,
}

impl Spec for Register {
    type State = u64;
    type Input = Ask;
    type Output = Answer;

    fn initial() -> u64 {
        0
    }

    fn apply(state: &u64, input: &Ask) -> (u64, Answer) {
        match input {
            Ask::Read => (*state, Answer::Holds(*state)),
            Ask::Write(value) => (*value, Answer::Done),
            Ask::Set(from, to) if from == state => (*to, Answer::Done),
            Ask::Set(..) => (*state, Answer::Moved),
        }
    }

    fn observes(input: &Ask) -> bool {
        !matches!(input, Ask::Write(_))
    }
}
