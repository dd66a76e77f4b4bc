//! The checkers checked: against another one, and with histories that are wrong on purpose.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::check::linear::{Operation, Spec, Verdict, check};
use crate::check::register::{Answer, Ask, Register};

/// The same register for the other checker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Other(u64);

impl SequentialSpec for Other {
    type Op = Ask;
    type Ret = Answer;

    fn invoke(&mut self, ask: &Ask) -> Answer {
        let (state, answer) = Register::apply(&self.0, ask);
        self.0 = state;
        answer
    }
}

/// A history of few clients on a register that is correct, its operations taking effect somewhere between call and
/// return; some never return, of which some took effect.
fn correct_history(rng: &mut StdRng, clients: u64, steps: usize) -> Vec<Operation<Ask, Answer>> {
    struct Open {
        at: usize,
        effect: Option<Answer>,
    }
    let (mut history, mut open) = (Vec::new(), Vec::<Option<Open>>::new());
    open.resize_with(clients as usize, || None);
    let (mut state, mut next_value, mut now) = (0, 1, 0);
    for _ in 0..steps {
        now += 1;
        let client = rng.random_range(0..open.len());
        match open[client].take() {
            None => {
                next_value += 1;
                let input = match rng.random_range(0..4) {
                    0 => Ask::Write(next_value),
                    1 => Ask::Set(if rng.random_bool(0.7) { state } else { 1 }, next_value),
                    _ => Ask::Read,
                };
                open[client] = Some(Open { at: history.len(), effect: None });
                history.push(Operation { called: now, returned: None, input });
            }
            Some(Open { at, effect: None }) => {
                if rng.random_bool(0.05) {
                    continue; // It never happens, and nobody learns of it.
                }
                let (after, answer) = Register::apply(&state, &history[at].input);
                state = after;
                if rng.random_bool(0.9) {
                    open[client] = Some(Open { at, effect: Some(answer) });
                }
            }
            Some(Open { at, effect: Some(answer) }) => history[at].returned = Some((now, answer)),
        }
    }
    history
}

fn others_verdict(history: &[Operation<Ask, Answer>]) -> bool {
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (at, operation) in history.iter().enumerate() {
        events.push((operation.called, at, false));
        if let Some((returned, _)) = &operation.returned {
            events.push((*returned, at, true));
        }
    }
    events.sort();
    let mut tester = LinearizabilityTester::new(Other::default());
    for (_, at, returns) in events {
        // Every operation is of a thread of its own: one that never returns keeps nobody else waiting.
        let said = match &history[at].returned {
            Some((_, answer)) if returns => tester.on_return(at, *answer).map(|_| ()),
            _ => tester.on_invoke(at, history[at].input).map(|_| ()),
        };
        said.expect("calls and returns are in order");
    }
    tester.is_consistent()
}

/// Changes what one read saw.
fn spoil(rng: &mut StdRng, history: &mut [Operation<Ask, Answer>]) -> bool {
    let reads: Vec<usize> = (0..history.len())
        .filter(|at| history[*at].input == Ask::Read && history[*at].returned.is_some())
        .collect();
    if reads.is_empty() {
        return false;
    }
    let at = reads[rng.random_range(0..reads.len())];
    let values = [1, 2, 3, 4, 5, 6, 7, 8, 0];
    let value = values[rng.random_range(0..values.len())];
    history[at].returned = history[at].returned.as_ref().map(|(when, _)| (*when, Answer::Holds(value)));
    true
}

/// Two independent checkers say the same of small histories, right and wrong ones.
pub(crate) fn the_checker_agrees_with_another() {
    let mut rng = StdRng::seed_from_u64(7);
    let (mut right, mut wrong) = (0, 0);
    for round in 0..3000 {
        let mut history = correct_history(&mut rng, 3, 24);
        if round % 2 == 1 && !spoil(&mut rng, &mut history) {
            continue;
        }
        let ours = check::<Register>(&history) == Verdict::Linearizable;
        assert_eq!(ours, others_verdict(&history), "round {round}: {history:#?}");
        if ours { right += 1 } else { wrong += 1 }
    }
    println!("{right} right and {wrong} wrong histories were judged alike");
    assert!(right > 1000 && wrong > 300);
}

/// In long histories of many clients every read of a value that had been overwritten is found, and right ones are accepted.
pub(crate) fn every_stale_read_is_found() {
    let mut rng = StdRng::seed_from_u64(11);
    for _ in 0..40 {
        let mut history = correct_history(&mut rng, 8, 1600);
        assert_eq!(check::<Register>(&history), Verdict::Linearizable);
        // A read that begins after a later value than the one it returns was read by somebody.
        let reads: Vec<(u64, u64, u64)> = history
            .iter()
            .filter_map(|operation| match (operation.input, &operation.returned) {
                (Ask::Read, Some((at, Answer::Holds(value)))) => Some((operation.called, *at, *value)),
                _ => None,
            })
            .collect();
        let (_, old_end, old) = reads[reads.len() / 3];
        let Some((_, new_end, _)) =
            reads.iter().find(|(called, _, value)| *called > old_end && *value != old).copied()
        else {
            continue;
        };
        let late = history.iter_mut().find(|operation| {
            operation.input == Ask::Read && operation.called > new_end && operation.returned.is_some()
        });
        let Some(late) = late else { continue };
        late.returned = late.returned.as_ref().map(|(at, _)| (*at, Answer::Holds(old)));
        assert!(matches!(check::<Register>(&history), Verdict::Violated { .. }));
    }
}
