//! Linearizability: whether there is one order of all operations, each between its call and its return, in which each
//! has the result that its client saw.
//!
//! The search is that of Wing and Gong with Lowe's memory of what was tried. Three facts keep it short for long histories:
//!
//! - An operation that changes nothing and fits now may be taken now: taking it later forbids no more and allows no more.
//! - An operation whose end is unknown may have happened at any time after its call, or not at all. It is worth taking only
//!   where the next one sees it.
//! - Operations that did return are tried before those, for most of those that did not return did not happen.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// One operation of one client. Times are of one clock, in any unit.
#[derive(Clone, Debug)]
pub(crate) struct Operation<I, O> {
    /// When it was called.
    pub(crate) called: u64,
    /// When it returned, and what. `None`: nobody knows whether it happened.
    pub(crate) returned: Option<(u64, O)>,
    /// What was asked.
    pub(crate) input: I,
}

/// What the object does when one operation runs at a time.
pub(crate) trait Spec {
    /// The object.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked of it.
    type Input: Clone + Debug;
    /// What it answers.
    type Output: Clone + Eq + Debug;

    /// Its state at the beginning.
    fn initial() -> Self::State;
    /// What an operation does to it, and answers.
    fn apply(state: &Self::State, input: &Self::Input) -> (Self::State, Self::Output);
    /// Whether the answer to it depends on the state.
    fn observes(input: &Self::Input) -> bool;
}

/// What is known of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none. With how many operations the search came, and the first that then had to fit and did not.
    Violated { explained: usize, of: usize, stuck: String },
    /// The search was given up.
    Undecided,
}

/// So many states are looked at before the search is given up.
const STATES_MAX: usize = 2_000_000;

/// Judges a history.
pub(crate) fn check<S: Spec>(history: &[Operation<S::Input, S::Output>]) -> Verdict {
    let mut order: Vec<&Operation<S::Input, S::Output>> = history.iter().collect();
    order.sort_by_key(|operation| operation.called);
    Search::<S>::new(order).run()
}

/// Where a search stands: what has been taken, and what the object is then.
#[derive(Clone)]
struct Place<State> {
    taken: Box<[u64]>,
    /// Operations that returned and were taken.
    explained: usize,
    state: State,
    /// The last one taken was one whose end is unknown.
    must_be_seen: bool,
}

struct Search<'a, S: Spec> {
    operations: Vec<&'a Operation<S::Input, S::Output>>,
    returned: usize,
    seen: HashSet<(Box<[u64]>, S::State, bool)>,
    best: Option<Place<S::State>>,
}

fn has(taken: &[u64], at: usize) -> bool {
    taken[at / 64] & (1 << (at % 64)) != 0
}

impl<'a, S: Spec> Search<'a, S> {
    fn new(operations: Vec<&'a Operation<S::Input, S::Output>>) -> Self {
        let returned = operations.iter().filter(|operation| operation.returned.is_some()).count();
        Search { operations, returned, seen: HashSet::new(), best: None }
    }

    fn run(mut self) -> Verdict {
        let begin = Place {
            taken: vec![0; self.operations.len().div_ceil(64).max(1)].into(),
            explained: 0,
            state: S::initial(),
            must_be_seen: false,
        };
        let mut open = vec![begin];
        while let Some(mut place) = open.pop() {
            self.take_what_changes_nothing(&mut place);
            if place.explained == self.returned {
                return Verdict::Linearizable;
            }
            if !self.seen.insert((place.taken.clone(), place.state.clone(), place.must_be_seen)) {
                continue;
            }
            if self.seen.len() > STATES_MAX {
                return Verdict::Undecided;
            }
            self.next_of(&place, &mut open);
            if self.best.as_ref().is_none_or(|best| best.explained < place.explained) {
                self.best = Some(place);
            }
        }
        self.violated()
    }

    /// Those that may come next: called before any that is left returned.
    fn may_come(&self, place: &Place<S::State>) -> Vec<usize> {
        let mut first_return = u64::MAX;
        let mut found = Vec::new();
        for (at, operation) in self.operations.iter().enumerate() {
            if operation.called > first_return {
                break;
            }
            if !has(&place.taken, at) {
                found.push(at);
                if let Some((returned, _)) = &operation.returned {
                    first_return = first_return.min(*returned);
                }
            }
        }
        found.retain(|at| self.operations[*at].called <= first_return);
        found
    }

    fn take_what_changes_nothing(&self, place: &mut Place<S::State>) {
        loop {
            let before = place.explained;
            for at in self.may_come(place) {
                let operation = self.operations[at];
                let Some((_, output)) = &operation.returned else { continue };
                let (state, answer) = S::apply(&place.state, &operation.input);
                if S::observes(&operation.input) && state == place.state && answer == *output {
                    place.taken[at / 64] |= 1 << (at % 64);
                    place.explained += 1;
                    place.must_be_seen = false;
                }
            }
            if place.explained == before {
                return;
            }
        }
    }

    fn next_of(&self, place: &Place<S::State>, open: &mut Vec<Place<S::State>>) {
        // The last one pushed is tried first.
        for with_return in [false, true] {
            for at in self.may_come(place).into_iter().rev() {
                let operation = self.operations[at];
                if operation.returned.is_some() != with_return
                    || (place.must_be_seen && !S::observes(&operation.input))
                {
                    continue;
                }
                let (state, answer) = S::apply(&place.state, &operation.input);
                let fits = match &operation.returned {
                    Some((_, output)) => *output == answer,
                    None => state != place.state,
                };
                if fits {
                    let mut next = place.clone();
                    next.taken[at / 64] |= 1 << (at % 64);
                    next.explained += usize::from(with_return);
                    next.state = state;
                    next.must_be_seen = !with_return;
                    open.push(next);
                }
            }
        }
    }

    fn violated(&self) -> Verdict {
        let Some(best) = &self.best else {
            return Verdict::Undecided;
        };
        let stuck = self.may_come(best).into_iter().take(12).map(|at| format!("{:?}", self.operations[at]));
        let stuck = format!("with {:?}: {}", best.state, stuck.collect::<Vec<_>>().join("; "));
        Verdict::Violated { explained: best.explained, of: self.returned, stuck }
    }
}
