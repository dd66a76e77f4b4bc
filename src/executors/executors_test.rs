#![allow(clippy::unwrap_used)]
use std::path::Path;
use std::time::Duration;

use rscaler_raft::command::{Command, Progress, Reply, TaskReport};
use rscaler_raft::model::{
    Actor, File, OnExecutorLoss, PauseAction, RetryOn, Spec, Stream, TaskId, TaskState, Value,
};

use super::command::CommandExecutor;
use super::*;
use crate::ssh::testing::{Setup, Sshd, is_alive};
use crate::testing::{World, command, name, until};

/// The signals of a dispatcher that runs, and its end.
struct Dispatching {
    drain: CancellationToken,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn dispatcher(world: &World) -> Dispatcher {
    let executor = CommandExecutor::new(world.handle.clone(), Arc::clone(&world.targets), world.pool.clone());
    Dispatcher::new(
        world.handle.clone(),
        world.lease.clone(),
        Executors {
            command: Arc::new(executor),
            pause: Arc::new(PauseExecutor),
            jmx: Arc::new(PauseExecutor),
        },
        &Options { tasks_max: 8 },
        Arc::clone(&world.metrics),
    )
}

fn dispatch(world: &World) -> Dispatching {
    let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
    let task = tokio::spawn(dispatcher(world).run(drain.clone(), stop.clone()));
    Dispatching { drain, stop, task }
}

async fn world() -> (Sshd, World, Dispatching) {
    let host = Sshd::start(Setup::default());
    let world = World::start().await;
    world.add_host("web01", &host).await;
    let dispatching = dispatch(&world);
    (host, world, dispatching)
}

/// A script that says who it is in `file` and then goes on for `seconds`.
fn long(file: &Path, seconds: u32) -> String {
    format!("echo $$ >>{}; sleep {seconds}", file.display())
}

fn pids(file: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

async fn until_begun(world: &World, task: TaskId, file: &Path) -> u32 {
    until("the script runs", || !pids(file).is_empty(), || world.task(task)).await;
    pids(file)[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_its_data_as_data_and_its_result_is_told() {
    let (_host, world, _dispatching) = world().await;
    world.put_secret("word", "s3cret").await;
    let stdin: Arc<[u8]> = b"from a file\n".as_slice().into();
    world.put("input", Spec::File(File { content: stdin })).await;
    let mut action = command(r#"printf '<%s>' "$@"; echo; echo "$WORD"; cat; echo problem >&2; exit 3"#);
    let ActionKind::Command(parts) = &mut action.kind else { panic!("it is one") };
    let nasty = "a b'c\"d $(id) `id` ; exit 9\nline";
    parts.args = vec![Value::Inline(nasty.to_string()), Value::Inline(String::new())];
    parts.env.insert("WORD".to_string(), Value::Secret(name("word")));
    parts.stdin = Some(Value::File(name("input")));

    let task = world.run("web01", action).await;
    let ended = world.ended(task).await;
    assert_eq!((ended.state, ended.exit_code), (TaskState::Failed, Some(3)));
    assert_eq!(ended.reason.as_deref(), Some("exit code 3"));
    assert_eq!(world.output(task, Stream::Stdout), format!("<{nasty}><>\ns3cret\nfrom a file\n"));
    assert_eq!(world.output(task, Stream::Stderr), "problem\n");

    let well = world.run("web01", command("echo fine")).await;
    let ended = world.ended(well).await;
    assert_eq!((ended.state, ended.exit_code, &ended.reason), (TaskState::Succeeded, Some(0), &None));
    assert_eq!(world.output(well, Stream::Stdout), "fine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_readable_while_the_command_runs() {
    let (host, world, _dispatching) = world().await;
    let go = host.dir().join("go");
    let script = format!("echo first; while [ ! -e {} ]; do sleep 0.1; done; echo second", go.display());
    let task = world.run("web01", command(&script)).await;
    until("the first line", || world.output(task, Stream::Stdout) == "first\n", || world.task(task)).await;
    assert_eq!(world.task(task).state, TaskState::Running);
    std::fs::write(go, "").unwrap();
    world.ended(task).await;
    assert_eq!(world.output(task, Stream::Stdout), "first\nsecond\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_takes_its_time_and_can_be_ended() {
    let (_host, world, _dispatching) = world().await;
    let pause = |time| Action { kind: ActionKind::Pause(PauseAction { time }), ..command("") };
    let short = Duration::from_millis(300);
    let began = Instant::now();
    for (time, least) in [(Duration::ZERO, Duration::ZERO), (short, short)] {
        let task = world.run("web01", pause(time)).await;
        let ended = world.ended(task).await;
        assert_eq!((ended.state, &ended.node), (TaskState::Succeeded, &None), "{:?}", ended.reason);
        assert!(began.elapsed() >= least);
    }
    let long = world.run("web01", pause(Duration::from_secs(50))).await;
    let is_running = || world.task(long).state == TaskState::Running;
    until("the pause to begin", is_running, || world.task(long)).await;
    world.handle.submit(Actor::System, Command::CancelTask(long)).await.unwrap();
    assert_eq!(world.ended(long).await.state, TaskState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_command_ends_on_the_node_and_so_does_one_out_of_time() {
    let (host, world, _dispatching) = world().await;
    let file = host.dir().join("cancelled");
    let task = world.run("web01", command(&long(&file, 900))).await;
    let pid = until_begun(&world, task, &file).await;
    world.handle.submit(Actor::System, Command::CancelTask(task)).await.unwrap();
    assert_eq!(world.ended(task).await.state, TaskState::Cancelled);
    until("the process is gone", || !is_alive(pid), || pid).await;

    let file = host.dir().join("late");
    let action = Action { timeout: Duration::from_secs(3), ..command(&long(&file, 900)) };
    let task = world.run("web01", action).await;
    let ended = world.ended(task).await;
    assert_eq!(ended.state, TaskState::TimedOut, "{:?}", ended.reason);
    assert!(ended.reason.as_ref().unwrap().contains("3s"), "{:?}", ended.reason);
    for pid in pids(&file) {
        until("the process is gone", || !is_alive(pid), || pid).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_done_is_said_and_nothing_was_started() {
    let (mut host, world, _dispatching) = world().await;
    let mut missing = command("echo $1");
    let ActionKind::Command(parts) = &mut missing.kind else { panic!("it is one") };
    parts.args = vec![Value::Secret(name("nowhere"))];
    let task = world.run("web01", missing).await;
    let ended = world.ended(task).await;
    assert_eq!(ended.state, TaskState::Failed);
    assert_eq!(ended.reason.as_deref(), Some("there is no secret `nowhere`"));

    host.stop();
    let task = world.run("web01", command("echo")).await;
    let ended = world.ended(task).await;
    assert_eq!(ended.state, TaskState::Failed);
    assert!(ended.reason.as_ref().unwrap().contains("unreachable"), "{:?}", ended.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_lease_is_over_the_command_is_ended_and_its_reports_are_refused() {
    let (host, world, _dispatching) = world().await;
    let file = host.dir().join("lapsed");
    let task = world.run("web01", command(&long(&file, 900))).await;
    let pid = until_begun(&world, task, &file).await;
    let before = world.task(task);
    let session = before.executor.unwrap().session;

    world.keeper.lapse();
    until("the process is gone", || !is_alive(pid), || pid).await;
    assert_eq!(world.task(task).state, TaskState::Running, "we say nothing any more");

    world.replace_session(77).await;
    let ended = world.ended(task).await;
    assert_eq!(ended.state, TaskState::Lost, "a command is not repeated by itself");
    let late = ending(EndingResult::Succeeded, Some(0), "");
    let report = TaskReport { task, attempt: before.attempt, session, progress: Progress::Finished(late) };
    let answer = world.handle.submit(Actor::System, Command::TaskReports(vec![report])).await.unwrap();
    assert_eq!(answer, Reply::Reports(vec![false]));
    assert_eq!(world.task(task).state, TaskState::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_connection_breaks_is_found_again_and_counts_once() {
    let (host, world, _dispatching) = world().await;
    let file = host.dir().join("broken");
    let task = world.run("web01", command(&long(&file, 4))).await;
    until_begun(&world, task, &file).await;
    host.kill_connections();
    let ended = world.ended(task).await;
    assert_eq!((ended.state, ended.exit_code), (TaskState::Succeeded, Some(0)), "{:?}", ended.reason);
    assert_eq!(pids(&file).len(), 1);
    assert!(world.output(task, Stream::Note).contains("connection to the node was lost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_a_node_out_of_reach_is_cancelled_at_once_and_ended_when_the_node_is_back() {
    let (mut host, world, _dispatching) = world().await;
    let file = host.dir().join("out-of-reach");
    let task = world.run("web01", command(&long(&file, 900))).await;
    let pid = until_begun(&world, task, &file).await;
    host.cut_off();
    let noted = || world.output(task, Stream::Note).contains("connection to the node was lost");
    until("the loss is noticed", noted, || world.task(task)).await;

    let asked = Instant::now();
    world.handle.submit(Actor::System, Command::CancelTask(task)).await.unwrap();
    let ended = world.ended(task).await;
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(ended.state, TaskState::Cancelled);
    assert!(ended.reason.as_ref().unwrap().contains("may go on there"), "{:?}", ended.reason);
    assert!(is_alive(pid));

    host.listen();
    world.ended(world.run("web01", command("echo")).await).await;
    until("the process is gone", || !is_alive(pid), || pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_connection_broke_is_ended_by_its_marker() {
    let (host, world, _dispatching) = world().await;
    let file = host.dir().join("by-marker");
    let script = format!("trap '' TERM; {}", long(&file, 900).replace("sleep", "exec sleep"));
    let task = world.run("web01", command(&script)).await;
    let pid = until_begun(&world, task, &file).await;
    host.kill_connections();
    let noted = || world.output(task, Stream::Note).contains("connection to the node was lost");
    until("the loss is noticed", noted, || world.task(task)).await;
    // It is looked for on a new connection, once a second.
    world.pass(Duration::from_millis(1500)).await;

    world.handle.submit(Actor::System, Command::CancelTask(task)).await.unwrap();
    let ended = world.ended(task).await;
    assert_eq!(ended.state, TaskState::Cancelled);
    assert!(ended.reason.as_ref().unwrap().contains("by its marker"), "{:?}", ended.reason);
    assert!(!is_alive(pid), "SIGKILL came after the grace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_attempt_waits_for_what_a_dead_executor_began_and_takes_its_result() {
    let (host, world, dispatching) = world().await;
    let file = host.dir().join("adopted");
    let action = Action { on_executor_loss: OnExecutorLoss::Retry, ..command(&long(&file, 6)) };
    let task = world.run("web01", action).await;
    until_begun(&world, task, &file).await;
    // The executor dies without a word: its connection breaks, so that it can't end the script, and it is gone.
    host.kill_connections();
    dispatching.task.abort();
    world.keeper.lapse();

    world.replace_session(78).await;
    world.hold();
    let _second = dispatch(&world);
    let ended = world.ended(task).await;
    assert_eq!((ended.state, ended.attempt), (TaskState::Succeeded, 2), "{:?}", ended.reason);
    assert_eq!(pids(&file).len(), 1, "the script ran once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_ended_with_its_lease_is_made_again_where_the_action_says_so() {
    let (host, world, _dispatching) = world().await;
    let file = host.dir().join("repeated");
    let mut action = command(&format!(
        "echo $$ >>{f}; if [ $(wc -l <{f}) = 1 ]; then sleep 900; fi; echo done",
        f = file.display()
    ));
    action.retry.on = vec![RetryOn::Lost];
    let task = world.run("web01", action).await;
    let pid = until_begun(&world, task, &file).await;
    world.keeper.lapse();
    until("the process is gone", || !is_alive(pid), || pid).await;
    world.replace_session(79).await;
    world.hold();
    let ended = world.ended(task).await;
    assert_eq!((ended.state, ended.attempt), (TaskState::Succeeded, 2), "{:?}", ended.reason);
    assert_eq!(pids(&file).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_command_is_tried_again_as_its_retry_says() {
    let (host, world, _dispatching) = world().await;
    let file = host.dir().join("retried");
    let mut action = command(&format!("echo $$ >>{f}; [ $(wc -l <{f}) = 3 ]", f = file.display()));
    action.retry.attempts = 3;
    action.retry.backoff = Duration::from_millis(200);
    action.retry.on = vec![RetryOn::Failed];
    let task = world.run("web01", action).await;
    let ended = world.ended(task).await;
    assert_eq!((ended.state, ended.attempt), (TaskState::Succeeded, 3), "{:?}", ended.reason);
    assert_eq!(pids(&file).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_is_bounded_and_what_is_missing_is_counted() {
    let (_host, world, _dispatching) = world().await;
    let task = world.run("web01", command("head -c 30000000 /dev/zero | tr '\\0' x")).await;
    let ended = world.ended(task).await;
    assert_eq!(ended.state, TaskState::Succeeded, "{:?}", ended.reason);
    let output = ended.output;
    let notes: u64 = world.output(task, Stream::Note).len() as u64;
    let kept = output.head_bytes + output.tail_bytes;
    assert!(kept <= 4 << 20, "{output:?}");
    let all = kept + output.cut_bytes + output.missed_bytes;
    assert!((30_000_000..=30_000_000 + notes + 10_000).contains(&all), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_peer_lets_commands_finish_and_a_stopping_one_ends_them() {
    let (host, world, dispatching) = world().await;
    let file = host.dir().join("drained");
    let task = world.run("web01", command(&long(&file, 900))).await;
    let pid = until_begun(&world, task, &file).await;
    dispatching.drain.cancel();
    world.pass(Duration::from_secs(1)).await;
    assert!(is_alive(pid) && !dispatching.task.is_finished());

    dispatching.stop.cancel();
    dispatching.task.await.unwrap();
    until("the process is gone", || !is_alive(pid), || pid).await;
    let ended = world.ended(task).await;
    assert_eq!(ended.state, TaskState::Lost);
    assert!(ended.reason.as_ref().unwrap().contains("stopped"), "{:?}", ended.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_peer_hands_back_what_has_not_begun() {
    let host = Sshd::start(Setup::default());
    let world = World::start().await;
    world.add_host("web01", &host).await;
    let task = world.run("web01", command("echo")).await;
    assert_eq!(world.task(task).state, TaskState::Assigned);
    world.close_session(true).await;
    let drain = CancellationToken::new();
    drain.cancel();
    dispatcher(&world).run(drain, CancellationToken::new()).await;
    let handed_back = world.task(task);
    assert_eq!(handed_back.state, TaskState::Queued);
    assert_eq!((handed_back.history.len(), handed_back.history[0].started), (1, None));

    world.replace_session(80).await;
    world.hold();
    let _next = dispatch(&world);
    assert_eq!(world.ended(task).await.state, TaskState::Succeeded);
}
