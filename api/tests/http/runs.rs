use std::time::Duration;

use futures::StreamExt;
use rscaler_api::client::{Client, RunFilter, TaskFilter};
use rscaler_api::types::{ExecuteTrigger, RunRequest, RunState, Stream, TaskState, Text};
use rscaler_raft::command::{Command, Ending, EndingResult, Progress, TaskReport};
use rscaler_raft::model::Stream as Written;
use rscaler_raft::model::{Actor, OutputChunk, TaskId};
use serde_json::{Value, json};

use crate::support::{ADMIN, Answer, Fixture, OPERATOR, PATIENCE, VIEWER, name, start};

/// Plays the executor of a task.
async fn report(fixture: &Fixture, task: u64, progress: Progress) {
    let id = TaskId(task);
    let (attempt, session) = fixture.handle.read(|state| {
        let task = state.task(id).unwrap();
        (task.attempt, task.executor.unwrap().session)
    });
    let report = TaskReport { task: id, attempt, session, progress };
    fixture.handle.submit(Actor::System, Command::TaskReports(vec![report])).await.unwrap();
}

async fn print(fixture: &Fixture, task: u64, stream: Written, text: &[u8]) {
    let chunk = OutputChunk { attempt: 1, stream, bytes: text.to_vec().into() };
    report(fixture, task, Progress::Output { chunks: vec![chunk], missed_bytes: 0 }).await;
}

async fn finish(fixture: &Fixture, task: u64, exit_code: i32) {
    let result = if exit_code == 0 { EndingResult::Succeeded } else { EndingResult::Failed };
    let ending = Ending { result, exit_code: Some(exit_code), reason: None };
    report(fixture, task, Progress::Finished(ending)).await;
}

async fn only_task(fixture: &Fixture, run: u64) -> u64 {
    let tasks =
        fixture.client(ADMIN).tasks(&TaskFilter { run: Some(run), ..Default::default() }).await.unwrap();
    assert_eq!(tasks.items.len(), 1);
    tasks.items[0].id
}

#[tokio::test]
async fn a_command_runs_on_every_node_of_a_cluster() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(OPERATOR);
    let request =
        RunRequest { command: Some(Text::from("uptime")), parallelism: Some(1), ..Default::default() };
    let started = client.run_on_cluster("web", &request).await.unwrap();
    let run = client.run(started.run).await.unwrap();
    assert_eq!((run.state, run.cause.actor.as_deref()), (RunState::Running, Some("token/operator")));
    let tasks = client.tasks(&TaskFilter { run: Some(started.run), ..Default::default() }).await.unwrap();
    let nodes: Vec<String> = tasks.items.iter().map(|task| task.node.as_ref().unwrap().to_string()).collect();
    assert_eq!(nodes, ["web02", "web01"], "newest first");
    // One at a time, as asked.
    for (task, expected) in [(tasks.items[1].id, TaskState::Assigned), (tasks.items[0].id, TaskState::Queued)]
    {
        assert_eq!(client.task(task).await.unwrap().state, expected);
    }
    for task in [tasks.items[1].id, tasks.items[0].id] {
        report(&fixture, task, Progress::Started).await;
        finish(&fixture, task, 0).await;
    }
    assert_eq!(client.run(started.run).await.unwrap().state, RunState::Succeeded);
    let task = client.task(tasks.items[0].id).await.unwrap();
    assert_eq!((task.state, task.exit_code, task.peer), (TaskState::Succeeded, Some(0), Some(1)));
}

#[tokio::test]
async fn an_answer_to_a_run_says_where_it_is() {
    let fixture = start().await;
    fixture.seed().await;
    let answer = fixture.post("/api/v1/nodes/web01/run", json!({"action": "tidy"})).await;
    assert_eq!((answer.status, answer.header("location")), (202, Some("/api/v1/runs/1")));
    assert_eq!(answer.json(), json!({"run": 1}));
    assert_eq!(fixture.post("/api/v1/nodes/web09/run", json!({"action": "tidy"})).await.status, 404);
    let missing = fixture.post("/api/v1/nodes/web01/run", json!({"action": "none"})).await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn a_run_that_is_asked_for_twice_is_one_run() {
    let fixture = start().await;
    fixture.seed().await;
    let ask = |key: &'static str| {
        let request = fixture.request(reqwest::Method::POST, "/api/v1/nodes/web01/run", OPERATOR);
        let request = request.header("idempotency-key", key).json(&json!({"action": "tidy"}));
        async move { Answer::read(request.send().await.unwrap()).await.json()["run"].clone() }
    };
    assert_eq!((ask("a").await, ask("a").await, ask("b").await), (json!(1), json!(1), json!(2)));
}

#[tokio::test]
async fn only_an_admin_gives_a_command_a_secret() {
    let fixture = start().await;
    fixture.seed().await;
    let request = RunRequest {
        command: Some(Text::from("env")),
        env: [("KEY".to_string(), Text::Secret(name("ops-key")))].into(),
        ..Default::default()
    };
    let refused = fixture.client(OPERATOR).run_on_node("web01", &request).await.unwrap_err();
    assert_eq!(refused.status(), Some(403));
    assert!(refused.to_string().contains("secrets of its own"), "{refused}");
    assert!(fixture.client(ADMIN).run_on_node("web01", &request).await.is_ok());
}

#[tokio::test]
async fn an_operation_of_an_mbean_is_run_without_an_action_of_its_own() {
    let fixture = start().await;
    fixture.seed().await;
    let run = |body: Value, token| {
        let request = fixture.request(reqwest::Method::POST, "/api/v1/nodes/web01/run", token).json(&body);
        async move { Answer::read(request.send().await.unwrap()).await }
    };
    let gc = json!({"mbean": "java.lang:type=Memory", "operation": "gc"});
    let begun = run(json!({"invoke": gc, "timeout": "5s"}), OPERATOR).await;
    assert_eq!(begun.status, 202, "{}", begun.text());
    let run_id = begun.json()["run"].as_u64().unwrap();
    assert_eq!(fixture.client(OPERATOR).run(run_id).await.unwrap().steps[0].action, None);
    for (body, status, pointer) in [
        (json!({"invoke": gc, "env": {"A": "b"}}), 422, "/env"),
        (json!({"invoke": gc, "action": "tidy"}), 422, "/action"),
        (json!({"invoke": {"mbean": "no name", "operation": "gc"}}), 422, "/invoke/mbean"),
        (json!({"action": "tidy", "args": ["x"]}), 422, "/args"),
    ] {
        let refused = run(body.clone(), OPERATOR).await;
        assert_eq!(
            (refused.status, refused.json()["errors"][0]["pointer"].as_str()),
            (status, Some(pointer)),
            "{body}"
        );
    }
    assert_eq!(run(json!({"invoke": gc}), VIEWER).await.status, 403);
    assert_eq!(run(json!({"invoke": gc, "args": [{"secret": "ops-key"}]}), OPERATOR).await.status, 403);
}

#[tokio::test]
async fn lists_of_runs_and_tasks_are_narrowed() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(OPERATOR);
    let action = RunRequest { action: Some(name("tidy")), ..Default::default() };
    client.run_on_node("web01", &action).await.unwrap();
    client.run_on_cluster("web", &action).await.unwrap();
    client.execute_trigger("busy", &ExecuteTrigger { node: Some(name("web02")) }).await.unwrap();
    let runs = |filter: RunFilter| {
        let client = client.clone();
        async move { client.runs(&filter).await.unwrap().items.iter().map(|run| run.id).collect::<Vec<_>>() }
    };
    assert_eq!(runs(RunFilter::default()).await, [3, 2, 1]);
    assert_eq!(runs(RunFilter { node: Some("web01".into()), ..Default::default() }).await, [1]);
    assert_eq!(runs(RunFilter { trigger: Some("busy".into()), ..Default::default() }).await, [3]);
    assert_eq!(runs(RunFilter { state: Some("failed".into()), ..Default::default() }).await, [] as [u64; 0]);
    let page = client.runs(&RunFilter { limit: Some(2), ..Default::default() }).await.unwrap();
    assert_eq!(page.next.as_deref(), Some("2"));
    assert_eq!(runs(RunFilter { limit: Some(2), cursor: page.next, ..Default::default() }).await, [1]);
    let tasks = |filter: TaskFilter| {
        let client = client.clone();
        async move { client.tasks(&filter).await.unwrap().items.len() }
    };
    assert_eq!(tasks(TaskFilter { node: Some("web02".into()), ..Default::default() }).await, 2);
    assert_eq!(tasks(TaskFilter { action: Some("tidy".into()), ..Default::default() }).await, 4);
    assert_eq!(tasks(TaskFilter { state: Some("open".into()), ..Default::default() }).await, 4);
    assert_eq!(tasks(TaskFilter { state: Some("timed-out".into()), ..Default::default() }).await, 0);
    assert_eq!(tasks(TaskFilter { peer: Some(1), ..Default::default() }).await, 4);
}

#[tokio::test]
async fn a_run_is_cancelled_and_repeated() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(OPERATOR);
    let action = RunRequest { action: Some(name("tidy")), ..Default::default() };
    let run = client.run_on_node("web01", &action).await.unwrap().run;
    assert_eq!(client.retry_run(run).await.unwrap_err().status(), Some(409));
    client.cancel_run(run).await.unwrap();
    let task = only_task(&fixture, run).await;
    assert!(client.task(task).await.unwrap().cancel_requested);
    let ending = Ending { result: EndingResult::Cancelled, exit_code: None, reason: None };
    report(&fixture, task, Progress::Finished(ending)).await;
    assert_eq!(client.run(run).await.unwrap().state, RunState::Cancelled);
    assert_eq!(client.cancel_run(run).await.unwrap_err().status(), Some(409));
    assert_eq!(client.cancel_task(task).await.unwrap_err().status(), Some(409));
    let again = client.retry_run(run).await.unwrap().run;
    assert_eq!(client.run(again).await.unwrap().retry_of, Some(run));
}

/// The task of a command that has begun on a node.
async fn started(fixture: &Fixture, client: &Client) -> u64 {
    let request = RunRequest { command: Some(Text::from("x")), ..Default::default() };
    let run = client.run_on_node("web01", &request).await.unwrap().run;
    let task = only_task(fixture, run).await;
    report(fixture, task, Progress::Started).await;
    task
}

/// The next piece of a stream, in bounded time.
async fn next<T>(stream: &mut (impl futures::Stream<Item = T> + Unpin)) -> Option<T> {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("the next piece, or the end, comes")
}

#[tokio::test]
async fn output_is_text_by_stream_or_in_chunks() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(OPERATOR);
    let task = started(&fixture, &client).await;
    print(&fixture, task, Written::Stdout, b"out\n").await;
    print(&fixture, task, Written::Stderr, b"err\n").await;
    print(&fixture, task, Written::Stdout, b"\xff").await;
    assert_eq!(client.output_text(task, None).await.unwrap(), b"out\nerr\n\xff");
    assert_eq!(client.output_text(task, Some(Stream::Stderr)).await.unwrap(), b"err\n");
    let output = client.output(task, 0).await.unwrap();
    assert_eq!((output.chunks.len(), output.next, output.complete), (3, 3, false));
    assert_eq!(output.chunks[2].base64.as_deref(), Some("/w=="));
    assert_eq!(client.output(task, 2).await.unwrap().chunks.len(), 1);
    // The peer dies: the control plane says so in the output, on a line of its own.
    let epoch = fixture.handle.read(|state| state.session(rscaler_raft::model::PeerId(1)).unwrap().epoch);
    let close = Command::CloseSession { peer: rscaler_raft::model::PeerId(1), epoch, draining: false };
    fixture.handle.submit(Actor::System, close).await.unwrap();
    let text = client.output_text(task, None).await.unwrap();
    let tail = String::from_utf8_lossy(&text[9..]).into_owned();
    assert!(tail.starts_with("\n[rscaler: peer 1 was lost"), "{tail}");
    assert_eq!(client.task(task).await.unwrap().state, TaskState::Lost);
}

#[tokio::test]
async fn what_was_cut_from_the_middle_is_marked_there() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(OPERATOR);
    let task = started(&fixture, &client).await;
    // 6 MiB: a third more than is kept.
    for part in 0..192u32 {
        let mut line = format!("part {part}").into_bytes();
        line.resize(OutputChunk::BYTES_MAX - 1, b'.');
        line.push(b'\n');
        print(&fixture, task, Written::Stdout, &line).await;
    }
    let text = client.output_text(task, None).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    let marks: Vec<&str> = text.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(marks, ["[rscaler: 2097152 bytes are cut here]"]);
    assert!(text.starts_with("part 0.") && text.contains("part 191."));
    let output = client.output(task, 0).await.unwrap();
    assert_eq!((output.bytes.cut, output.bytes.kept), (2 << 20, 4 << 20));
}

#[tokio::test]
async fn output_is_followed_until_the_task_has_ended() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(OPERATOR);
    let task = started(&fixture, &client).await;
    print(&fixture, task, Written::Stdout, b"one\n").await;
    let mut chunks = client.follow(task, 0);
    let mut text = client.follow_text(task, None).await.unwrap();
    let first = next(&mut chunks).await.unwrap().unwrap();
    assert_eq!(first.chunks[0].text.as_deref(), Some("one\n"));
    assert_eq!(next(&mut text).await.unwrap().unwrap(), "one\n");
    print(&fixture, task, Written::Stdout, b"two\n").await;
    let second = next(&mut chunks).await.unwrap().unwrap();
    assert_eq!(second.chunks[0].text.as_deref(), Some("two\n"));
    assert_eq!(next(&mut text).await.unwrap().unwrap(), "two\n");
    finish(&fixture, task, 3).await;
    let last = next(&mut chunks).await.unwrap().unwrap();
    assert!(last.complete && last.state == TaskState::Failed);
    assert!(next(&mut chunks).await.is_none());
    assert!(next(&mut text).await.is_none());
}

#[tokio::test]
async fn a_shutdown_ends_what_is_followed() {
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(OPERATOR);
    let request = RunRequest { command: Some(Text::from("x")), ..Default::default() };
    let run = client.run_on_node("web01", &request).await.unwrap().run;
    let task = only_task(&fixture, run).await;
    let mut text = client.follow_text(task, None).await.unwrap();
    let begun = tokio::time::Instant::now();
    fixture.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "streams do not hold it up");
    let end = next(&mut text).await;
    assert!(end.is_none_or(|end| end.is_err()));
}

#[tokio::test]
async fn checks_say_why_there_is_no_data_and_are_searched() {
    use rscaler_raft::command::{CheckBatch, CheckReport};
    use rscaler_raft::model::{CheckOutput, FailureKind, Timestamp};
    let fixture = start().await;
    fixture.seed().await;
    let client = fixture.client(ADMIN);
    let unknown = client.checks("web01").await.unwrap();
    assert_eq!((unknown.items.len(), unknown.items[0].last, unknown.items[0].collector), (1, None, Some(1)));
    let epoch = fixture.handle.read(|state| state.assignment(&name("web01")).unwrap().epoch);
    let output = CheckOutput {
        at: Timestamp(1),
        stdout: b"no such file".to_vec(),
        stderr: b"\xff<script>".to_vec(),
        exit_code: Some(2),
        duration_ms: 7,
    };
    let report = CheckReport {
        counter: name("load1"),
        at: Timestamp(1),
        failure: Some((FailureKind::Exit, "exit code 2".to_string())),
        failures: 1,
        output: Some(output),
    };
    let tell = async |report: &CheckReport| {
        let batch = CheckBatch { node: name("web01"), epoch, reports: vec![report.clone()] };
        fixture.handle.submit(Actor::System, Command::Checks(batch)).await.unwrap();
        client.checks("web01").await.unwrap().items.remove(0)
    };
    let check = tell(&report).await;
    let failure = check.failure.unwrap();
    assert_eq!((check.ok, failure.code.as_str(), failure.detail.as_str()), (false, "exit", "exit code 2"));
    assert_eq!(check.output.unwrap().stderr, "\u{fffd}<script>");
    assert_eq!(client.search_checks(Some("such file"), false, None).await.unwrap().items.len(), 1);
    assert_eq!(client.search_checks(Some("code 2"), true, None).await.unwrap().items.len(), 1);
    assert_eq!(client.search_checks(Some("nowhere"), false, None).await.unwrap().items.len(), 0);
    let paged = fixture.get("/api/v1/checks?cluster=web&counter=load1&limit=1").await;
    assert_eq!((paged.status, paged.json()["next"].is_null()), (200, true));
    // What could be read in part yields samples: that is a warning and no failure.
    let failure = Some((FailureKind::Partly, "line 2: not a number".to_string()));
    let check = tell(&CheckReport { failure, failures: 0, ..report }).await;
    assert_eq!((check.ok, check.failure, check.failures_in_row), (true, None, 0));
    assert_eq!(check.warning.as_deref(), Some("line 2: not a number"));
    assert_eq!(client.search_checks(None, true, None).await.unwrap().items.len(), 0);
    assert_eq!(client.search_checks(Some("line 2"), false, None).await.unwrap().items.len(), 1);
}
