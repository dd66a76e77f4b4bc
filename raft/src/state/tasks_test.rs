#![allow(clippy::unwrap_used)]

use super::testing::*;
use crate::command::{Command, EndingResult, Progress, RejectionKind};
use crate::model::*;

fn with_nodes(peers: u64, nodes: &[&str]) -> Driver {
    let mut driver = Driver::with_peers(peers);
    driver.fleet(nodes);
    driver
}

fn printed(driver: &mut Driver, task: u64, text: &[u8]) {
    let chunk = OutputChunk { attempt: 0, stream: Stream::Stdout, bytes: text.into() };
    assert!(driver.report(task, Progress::Output { chunks: vec![chunk], missed_bytes: 0 }));
}

fn output(driver: &Driver, task: u64) -> Vec<u8> {
    driver.state.output(TaskId(task), 0).flat_map(|(_, chunk)| chunk.bytes.to_vec()).collect()
}

#[test]
fn a_task_goes_to_the_peer_that_holds_the_nodes_connection() {
    let mut driver = with_nodes(3, &["web01", "web02", "web03"]);
    driver.run_on_web(command(|_| ()));
    for task in 1..=3 {
        let task = driver.task(task);
        let home = driver.state.assignment(task.node.as_ref().unwrap()).unwrap().peer;
        assert_eq!((task.state, task.attempt), (TaskState::Assigned, 1));
        assert_eq!(task.executor.unwrap().peer, home);
    }
}

#[test]
fn only_the_current_attempt_of_the_current_session_is_heard() {
    let mut driver = with_nodes(2, &["web01"]);
    driver.run_on_web(command(|a| a.on_executor_loss = OnExecutorLoss::Retry));
    driver.begin(1);
    let first = driver.task(1).executor.unwrap();
    driver.alive.remove(&first.peer);
    driver.pass(2_000);
    let second = driver.task(1).executor.unwrap();
    assert_ne!(second.session, first.session);
    let table = [
        ("the lost one", 1, first.session),
        ("the lost session under the new attempt", 2, first.session),
        ("the new session under the old attempt", 1, second.session),
        ("an attempt to come", 3, second.session),
    ];
    for (case, attempt, session) in table {
        for progress in [
            Progress::Started,
            Progress::AwaitingInput(true),
            Progress::Output { chunks: Vec::new(), missed_bytes: 9 },
            finished(EndingResult::Succeeded),
        ] {
            assert!(!driver.report_as(1, attempt, session, progress), "{case}");
        }
    }
    assert_eq!(driver.task(1).output.missed_bytes, 0);
    driver.carry_out(1, EndingResult::Succeeded);
    assert_eq!(driver.task(1).state, TaskState::Succeeded);
    assert!(!driver.report_as(1, 2, second.session, finished(EndingResult::Failed)), "it is over");
}

#[test]
fn a_lost_command_stays_lost_by_default_and_says_so() {
    let mut driver = with_nodes(2, &["web01"]);
    let run = driver.run_on_web(command(|_| ()));
    driver.begin(1);
    let peer = driver.task(1).executor.unwrap().peer;
    driver.alive.remove(&peer);
    driver.pass(1_999);
    assert_eq!(driver.task(1).state, TaskState::Running, "its lease has not run out");
    driver.pass(1);
    assert_eq!(driver.task(1).state, TaskState::Lost);
    assert_eq!(driver.run_state(run), RunState::Failed);
    let note = driver.state.output(TaskId(1), 0).next().unwrap().1;
    assert_eq!(note.stream, Stream::Note);
    assert!(String::from_utf8_lossy(&note.bytes).contains("last second of its output may be missing"));
    assert_eq!(driver.events(|kind| matches!(kind, EventKind::TaskLost(_))).len(), 1);
}

#[test]
fn what_was_not_begun_is_not_lost_with_its_peer() {
    let mut driver = with_nodes(2, &["web01"]);
    driver.run_on_web(command(|_| ()));
    let first = driver.task(1).executor.unwrap().peer;
    driver.alive.remove(&first);
    driver.pass(2_000);
    let task = driver.task(1);
    assert_eq!((task.state, task.attempt, task.losses), (TaskState::Assigned, 2, 0));
    assert_ne!(task.executor.unwrap().peer, first);
}

#[test]
fn a_task_that_loses_every_executor_gives_up_in_the_end() {
    let mut driver = with_nodes(1, &["web01"]);
    let run = driver.run_on_web(command(|a| a.retry.on = vec![RetryOn::Lost]));
    for boot in 2..20 {
        if driver.task(1).state.is_final() {
            break;
        }
        driver.begin(1);
        driver.open(1, boot);
    }
    assert_eq!((driver.task(1).state, driver.task(1).losses), (TaskState::Lost, Task::LOSSES_MAX + 1));
    assert_eq!(driver.run_state(run), RunState::Failed);
}

#[test]
fn failures_are_tried_again_with_growing_pauses() {
    let mut driver = with_nodes(1, &["web01"]);
    let run = driver.run_on_web(command(|a| a.retry.attempts = 3));
    for (attempt, pause) in [(1, 5_000), (2, 10_000)] {
        driver.carry_out(1, EndingResult::Failed);
        assert_eq!(driver.task(1).state, TaskState::Queued);
        driver.pass(pause - 1);
        assert_eq!(driver.task(1).state, TaskState::Queued, "after attempt {attempt}");
        driver.restart();
        driver.pass(1);
        assert_eq!((driver.task(1).state, driver.task(1).attempt), (TaskState::Assigned, attempt + 1));
    }
    driver.carry_out(1, EndingResult::Failed);
    let task = driver.task(1);
    assert_eq!((task.state, task.exit_code), (TaskState::Failed, Some(1)));
    let history: Vec<_> = task.history.iter().map(|a| (a.attempt, a.state)).collect();
    assert_eq!(history, [(1, TaskState::Failed), (2, TaskState::Failed), (3, TaskState::Failed)]);
    assert_eq!(driver.run_state(run), RunState::Failed);
}

#[test]
fn only_the_endings_named_are_tried_again() {
    let table = [
        (EndingResult::Failed, TaskState::Failed),
        (EndingResult::TimedOut, TaskState::Queued),
        (EndingResult::Unknown, TaskState::Lost),
        (EndingResult::Succeeded, TaskState::Succeeded),
        (EndingResult::Cancelled, TaskState::Cancelled),
    ];
    for (ending, expected) in table {
        let mut driver = with_nodes(1, &["web01"]);
        driver.run_on_web(command(|a| {
            a.retry = Retry { attempts: 2, backoff: secs(60), on: vec![RetryOn::TimedOut] };
        }));
        driver.carry_out(1, ending);
        assert_eq!(driver.task(1).state, expected, "{ending:?}");
    }
}

#[test]
fn handing_back_costs_no_attempt_unless_it_had_begun() {
    let mut driver = with_nodes(2, &["web01"]);
    driver.run_on_web(command(|_| ()));
    driver.finish(1, EndingResult::HandedBack);
    let task = driver.task(1);
    assert_eq!((task.state, task.attempt, task.tries), (TaskState::Assigned, 2, 0));
    driver.carry_out(1, EndingResult::HandedBack);
    assert_eq!(driver.task(1).state, TaskState::Lost);
}

#[test]
fn what_is_handed_back_again_and_again_is_given_away_ever_more_slowly() {
    let mut driver = with_nodes(1, &["web01"]);
    driver.run_on_web(command(|_| ()));
    driver.finish(1, EndingResult::HandedBack);
    assert_eq!(driver.task(1).state, TaskState::Assigned, "the first time at once");
    for pause in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
        driver.finish(1, EndingResult::HandedBack);
        driver.pass(pause - 1);
        assert_eq!(driver.task(1).state, TaskState::Queued, "{pause} ms");
        driver.pass(1);
        assert_eq!(driver.task(1).state, TaskState::Assigned, "{pause} ms");
    }
    driver.carry_out(1, EndingResult::Succeeded);
    assert_eq!(driver.task(1).state, TaskState::Succeeded);
}

#[test]
fn no_task_runs_for_ever() {
    let mut driver = with_nodes(1, &["web01"]);
    let run = driver.run_on_web(command(|a| a.timeout = secs(60)));
    driver.begin(1);
    driver.pass(74_999);
    assert_eq!(driver.task(1).state, TaskState::Running);
    driver.pass(1);
    assert_eq!(driver.task(1).state, TaskState::TimedOut);
    assert_eq!(driver.run_state(run), RunState::Failed);
}

#[test]
fn a_task_nobody_begins_goes_to_somebody_else() {
    let mut driver = with_nodes(1, &["web01"]);
    driver.run_on_web(command(|_| ()));
    driver.pass(29_999);
    assert_eq!(driver.task(1).attempt, 1);
    driver.pass(1);
    assert_eq!((driver.task(1).attempt, driver.task(1).state), (2, TaskState::Assigned));
}

#[test]
fn a_cancelled_task_ends_when_its_executor_says_so_or_after_a_grace() {
    let cancel = |driver: &mut Driver| driver.apply(Command::CancelTask(TaskId(1)));
    let mut driver = with_nodes(1, &["web01"]);
    driver.run_on_web(command(|a| a.retry.attempts = 5));
    driver.begin(1);
    cancel(&mut driver).unwrap();
    assert!(driver.task(1).cancel_requested && driver.task(1).state == TaskState::Running);
    driver.finish(1, EndingResult::Cancelled);
    assert_eq!(driver.task(1).state, TaskState::Cancelled);
    assert_eq!(cancel(&mut driver).unwrap_err().kind, RejectionKind::Conflict);

    let mut driver = with_nodes(1, &["web01"]);
    driver.run_on_web(command(|a| a.retry.attempts = 5));
    driver.begin(1);
    cancel(&mut driver).unwrap();
    driver.pass(15_000);
    assert_eq!(driver.task(1).state, TaskState::Cancelled, "its executor said nothing");

    let mut driver = with_nodes(1, &["web01"]);
    driver.run_on_web(command(|_| ()));
    cancel(&mut driver).unwrap();
    assert!(!driver.report(1, Progress::Started), "what is cancelled is not begun");

    let mut driver = with_nodes(0, &["web01"]);
    driver.run_on_web(command(|_| ()));
    cancel(&mut driver).unwrap();
    assert_eq!(driver.task(1).state, TaskState::Cancelled, "what waits ends at once");
}

#[test]
fn a_failure_after_a_cancel_is_not_tried_again() {
    let mut driver = with_nodes(1, &["web01"]);
    driver.run_on_web(command(|a| a.retry.attempts = 5));
    driver.begin(1);
    driver.apply(Command::CancelTask(TaskId(1))).unwrap();
    driver.finish(1, EndingResult::Failed);
    assert_eq!(driver.task(1).state, TaskState::Failed);
}

#[test]
fn a_peer_takes_no_more_tasks_than_it_says() {
    let mut driver = Driver::new();
    driver.admit(1);
    driver.open_with(1, 1, Capabilities { tasks_max: 2, ..Capabilities::default() });
    driver.fleet(&["web01", "web02", "web03"]);
    driver.run_on_web(command(|_| ()));
    use TaskState::{Assigned, Queued};
    assert_eq!(driver.task_states(), [Assigned, Assigned, Queued]);
    driver.restart();
    driver.carry_out(2, EndingResult::Succeeded);
    assert_eq!(driver.task_states(), [Assigned, TaskState::Succeeded, Assigned]);
}

#[test]
fn four_tasks_act_on_a_node_at_once() {
    let mut driver = with_nodes(2, &["web01"]);
    for _ in 0..6 {
        driver.run_on_web(command(|_| ()));
    }
    let queued =
        |driver: &Driver| driver.task_states().iter().filter(|state| **state == TaskState::Queued).count();
    assert_eq!(queued(&driver), 2);
    driver.restart();
    driver.carry_out(1, EndingResult::Succeeded);
    assert_eq!(queued(&driver), 1);
    driver.carry_out(2, EndingResult::Failed);
    assert_eq!(queued(&driver), 0);
}

#[test]
fn the_place_of_a_task_that_is_cancelled_while_it_waits_goes_to_the_next() {
    let mut driver = Driver::new();
    driver.admit(1);
    driver.open_with(1, 1, Capabilities { tasks_max: 4, ..Capabilities::default() });
    driver.fleet(&["web01", "web02"]);
    let on = |driver: &mut Driver, node: &str| {
        let what = crate::command::What::Named(name("tidy"));
        let step = crate::command::StartStep { what, target: Target::Node, on_failure: OnFailure::Stop };
        driver.start(Scope { cluster: None, node: Some(name(node)) }, vec![step]);
    };
    for _ in 0..6 {
        on(&mut driver, "web01");
    }
    // The room that task 1 leaves goes to task 7, which came before 5 was known to have a place.
    on(&mut driver, "web02");
    driver.restart();
    driver.carry_out(1, EndingResult::Succeeded);
    driver.carry_out(2, EndingResult::Succeeded);
    let waiting: Vec<u64> = (1..=7).filter(|task| driver.task(*task).state == TaskState::Queued).collect();
    for task in waiting {
        driver.apply(Command::CancelTask(TaskId(task))).unwrap();
    }
    for task in 1..=7 {
        if !driver.task(task).state.is_final() {
            driver.carry_out(task, EndingResult::Succeeded);
        }
    }
    on(&mut driver, "web01");
    assert_eq!(driver.task(8).state, TaskState::Assigned);
}

#[test]
fn output_is_kept_in_order_with_its_attempt() {
    let mut driver = with_nodes(1, &["web01"]);
    driver.run_on_web(command(|_| ()));
    driver.begin(1);
    printed(&mut driver, 1, b"one ");
    printed(&mut driver, 1, b"");
    printed(&mut driver, 1, b"two");
    assert_eq!(output(&driver, 1), b"one two");
    assert_eq!(driver.state.output(TaskId(1), 0).count(), 2, "an empty chunk takes no room");
    assert_eq!(driver.state.output(TaskId(1), 1).next().unwrap().1.attempt, 1);
}

#[test]
fn of_much_output_the_beginning_and_the_end_are_kept() {
    let mut driver = with_nodes(1, &["web01"]);
    driver.run_on_web(command(|_| ()));
    driver.begin(1);
    let half = (Task::OUTPUT_BYTES_MAX / 2) as usize;
    let total: u64 = 6 << 20;
    let chunk = 30_000;
    let mut written = 0u64;
    while written < total {
        let bytes: Vec<u8> = (0..chunk).map(|i| ((written + i) % 251) as u8).collect();
        printed(&mut driver, 1, &bytes);
        written += chunk;
    }
    let totals = driver.task(1).output;
    assert_eq!(totals.head_bytes + totals.tail_bytes + totals.cut_bytes, written);
    assert!(totals.head_bytes as usize <= half && totals.head_bytes as usize > half - chunk as usize);
    assert!(totals.tail_bytes as usize <= half && totals.tail_bytes as usize > half - chunk as usize);
    let kept = output(&driver, 1);
    assert_eq!(kept.len() as u64, totals.head_bytes + totals.tail_bytes);
    let right = |at: u64, byte: &u8| *byte == (at % 251) as u8;
    assert!((0..).zip(&kept[..totals.head_bytes as usize]).all(|(at, byte)| right(at, byte)));
    let tail_from = written - totals.tail_bytes;
    assert!((tail_from..).zip(&kept[totals.head_bytes as usize..]).all(|(at, byte)| right(at, byte)));
    let sequence: Vec<u64> = driver.state.output(TaskId(1), 0).map(|(sequence, _)| sequence).collect();
    let gap = sequence.windows(2).find(|pair| pair[1] != pair[0] + 1).unwrap();
    assert_eq!(
        (gap[0] + 1, gap[1]),
        (totals.head_end, totals.tail_start),
        "the gap is where it is said to be"
    );
    driver.restart();
    printed(&mut driver, 1, b"x");
    assert_eq!(driver.task(1).output.next, totals.next + 1);
}

#[test]
fn output_of_single_bytes_is_bounded_by_its_chunks() {
    let mut driver = with_nodes(1, &["web01"]);
    driver.run_on_web(command(|_| ()));
    driver.begin(1);
    let (report, reports) = (4096u64, 25);
    for _ in 0..reports {
        let chunk = OutputChunk { attempt: 1, stream: Stream::Stdout, bytes: (*b"x").into() };
        driver.report(1, Progress::Output { chunks: vec![chunk; report as usize], missed_bytes: 0 });
    }
    let totals = driver.task(1).output;
    let kept = driver.state.output(TaskId(1), 0).count() as u64;
    assert_eq!(totals.head_bytes + totals.tail_bytes + totals.cut_bytes, report * reports);
    assert_eq!((kept, totals.head_bytes + totals.tail_bytes), (65_536, 65_536));
    driver.restart();
}

#[test]
fn of_all_tasks_together_the_newest_output_is_kept() {
    let nodes: Vec<String> = (0..48).map(|number| format!("web{number:02}")).collect();
    let mut driver = with_nodes(2, &nodes.iter().map(String::as_str).collect::<Vec<_>>());
    let (each, bound) = (512 << 10, 16 << 20);
    driver.run_on_web(command(|_| ()));
    for task in 1..=48 {
        driver.begin(task);
        for _ in 0..each / (32 << 10) {
            printed(&mut driver, task, &[b'x'; 32 << 10]);
        }
        // The first ones end; what they printed goes first, though older tasks go on.
        if (11..=20).contains(&task) {
            driver.finish(task, EndingResult::Succeeded);
        }
        let kept: usize = (1..=48).map(|task| output(&driver, task).len()).sum();
        assert!(kept <= bound, "{kept}");
    }
    let kept: Vec<u64> = (1..=48).filter(|task| !output(&driver, *task).is_empty()).collect();
    assert!(kept.contains(&48) && !(11..=20).any(|task| kept.contains(&task)), "{kept:?}");
    let cut = driver.task(11).output;
    assert_eq!((cut.head_bytes + cut.tail_bytes, cut.cut_bytes), (0, each as u64));
    driver.restart();
    driver.finish(48, EndingResult::Succeeded);
}

#[test]
fn a_chunk_too_large_is_cut_and_what_was_missed_is_counted() {
    let mut driver = with_nodes(1, &["web01"]);
    driver.run_on_web(command(|_| ()));
    driver.begin(1);
    let chunk = OutputChunk { attempt: 77, stream: Stream::Stderr, bytes: vec![b'x'; 1 << 20].into() };
    driver.report(1, Progress::Output { chunks: vec![chunk], missed_bytes: 123 });
    let kept = driver.state.output(TaskId(1), 0).next().unwrap().1;
    assert_eq!((kept.bytes.len(), kept.attempt), (OutputChunk::BYTES_MAX, 1));
    assert_eq!(driver.task(1).output.missed_bytes, 123);
}

#[test]
fn a_task_that_waits_for_input_says_so_until_it_ends() {
    let mut driver = with_nodes(1, &["web01"]);
    driver.run_on_web(command(|_| ()));
    driver.begin(1);
    driver.report(1, Progress::AwaitingInput(true));
    assert!(driver.task(1).awaiting_input);
    driver.finish(1, EndingResult::Succeeded);
    assert!(!driver.task(1).awaiting_input);
}
