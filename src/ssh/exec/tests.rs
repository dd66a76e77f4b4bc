//! Commands against real sshd servers.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::testing::{
    Setup, Sshd, eventually, odd_seconds, pool, quick_options, send_signal, sleepers,
};
use super::super::{Connection, Error, Pool, Urgency};
use super::probe::Probe;
use super::*;

struct Node {
    sshd: Sshd,
    pool: Pool,
    connection: Connection,
}

impl Node {
    async fn start(sh: &'static str) -> Self {
        Self::with(Setup { sh: Some(sh), ..Setup::default() }).await
    }

    async fn with(setup: Setup) -> Self {
        let sshd = Sshd::start(setup);
        let (pool, _) = pool(quick_options());
        let connection = pool.connection("n", &Arc::new(sshd.endpoint()), Urgency::Now).await.unwrap();
        Self { sshd, pool, connection }
    }

    async fn run(&self, request: Request) -> (Finished, String, String) {
        let running = self.connection.exec(request).await.unwrap();
        let (finished, stdout, stderr) = running.collect(10 << 20).await.unwrap();
        (finished, text(&stdout), text(&stderr))
    }

    async fn reconnect(&mut self) {
        let endpoint = Arc::new(self.sshd.endpoint());
        self.connection = self.pool.connection("n", &endpoint, Urgency::Now).await.unwrap();
    }

    async fn end(self) {
        self.pool.shutdown().await;
    }
}

async fn nodes() -> Vec<Node> {
    vec![Node::start("/bin/dash").await, Node::start("/bin/bash").await]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A token that no other test and no earlier run has used.
fn token(name: &str) -> String {
    format!("test/{name}-{}", crate::ssh::quote::nonce())
}

fn fenced(script: &str, token: &str, epoch: u64, known: Option<u64>) -> Request {
    let fence = Fence { token: token.to_owned(), epoch, known };
    Request { fence: Some(fence), ..Request::new(script) }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_environment_and_stdin_arrive_unchanged() {
    let nasty = [
        "",
        " ",
        "it's \"quoted\" $HOME `id` \\",
        "two\nlines\n",
        "-n",
        "größe €",
        "*",
        ";exit 9",
        "\u{1}\u{1b}[31m",
    ];
    for node in nodes().await {
        let request = Request {
            args: nasty.iter().map(|arg| (*arg).to_owned()).collect(),
            env: nasty
                .iter()
                .enumerate()
                .map(|(nr, value)| (format!("V{nr}"), (*value).to_owned()))
                .collect(),
            stdin: Bytes::from_static(b"first line\nsecond \x00 \xff line, no newline"),
            ..Request::new(
                "for a; do printf '<%s>' \"$a\"; done; echo; printf '<%s>' \"$V0\" \"$V1\" \"$V2\" \"$V3\" \"$V4\" \
                 \"$V5\" \"$V6\" \"$V7\" \"$V8\"; echo; IFS= read -r l; echo \"[$l]\"; cat >&2; exit 5",
            )
        };
        let (finished, stdout, stderr) = node.run(request).await;
        let all: String = nasty.iter().map(|arg| format!("<{arg}>")).collect();
        assert_eq!(stdout, format!("{all}\n{all}\n[first line]\n"));
        assert_eq!(stderr, text(b"second \x00 \xff line, no newline"));
        assert_eq!(finished.outcome, Outcome::Exited(5));
        assert!(!finished.left_processes);
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_request_shows_in_ps() {
    let node = Node::start("/bin/dash").await;
    let secret = crate::ssh::quote::nonce();
    let request = Request {
        args: vec![secret.clone()],
        env: vec![("V".into(), secret.clone())],
        stdin: secret.clone().into(),
        ..Request::new(format!(": {secret}; ps -eo args; : $V"))
    };
    let (_, stdout, _) = node.run(request).await;
    assert!(stdout.contains("sshd"), "{stdout}");
    assert!(!stdout.contains(&secret), "{stdout}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_end_as_they_end() {
    let table: Vec<(&str, &str, Outcome, &str)> = vec![
        ("empty", "", Outcome::Exited(0), ""),
        ("exit", "echo a; exit 3", Outcome::Exited(3), "a\n"),
        ("exec", "exec echo a", Outcome::Exited(0), "a\n"),
        ("signal", "kill -9 $$", Outcome::Exited(137), ""),
        ("syntax", "if", Outcome::Exited(2), ""),
        ("heredoc", "cat <<X\n$((1+1))\nX", Outcome::Exited(0), "2\n"),
        ("begins with a dash", "-x 2>/dev/null || echo a", Outcome::Exited(0), "a\n"),
        ("name", "echo $0 $#", Outcome::Exited(0), "sh 0\n"),
        ("home", "cd; pwd -P >/dev/null && echo a", Outcome::Exited(0), "a\n"),
    ];
    for node in nodes().await {
        for (name, script, outcome, stdout) in &table {
            let (finished, out, err) = node.run(Request::new(*script)).await;
            // A syntax error ends dash with 2, bash with 1 or 2.
            if *name == "syntax" {
                assert!(matches!(finished.outcome, Outcome::Exited(1 | 2)), "{finished:?}");
                assert!(!err.is_empty());
                continue;
            }
            assert_eq!((&finished.outcome, out.as_str()), (outcome, *stdout), "{name}");
        }
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_script_large_stdin_and_large_output_do_not_block_each_other() {
    for node in nodes().await {
        let script = format!("# {}\nmd5sum >&2 <<X\nx\nX\ncat", "y".repeat(1_000_000));
        let stdin: Bytes = (0..8_000_000_u32).map(|nr| (nr % 251) as u8).collect::<Vec<_>>().into();
        let request = Request { stdin: stdin.clone(), ..Request::new(script) };

        let running = node.connection.exec(request).await.unwrap();
        let (finished, stdout, _) = running.collect(usize::MAX).await.unwrap();

        assert_eq!(finished.outcome, Outcome::Exited(0));
        assert!(stdout == stdin, "{} of {} bytes", stdout.len(), stdin.len());
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn script_need_not_read_its_stdin() {
    let node = Node::start("/bin/dash").await;
    let request = Request { stdin: vec![7; 20_000_000].into(), ..Request::new("echo done") };
    let (finished, stdout, _) = node.run(request).await;
    assert_eq!((finished.outcome, stdout.as_str()), (Outcome::Exited(0), "done\n"));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_comes_while_the_command_runs() {
    let node = Node::start("/bin/dash").await;
    let mut running = node.connection.exec(Request::new("echo one; sleep 60")).await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(10), running.next()).await.unwrap();
    assert_eq!(first, Some(Output::Stdout("one\n".into())));
    running.cancel();
    assert_eq!(running.wait().await.unwrap().outcome, Outcome::Cancelled);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_is_not_taken_is_cut_and_the_connection_goes_on() {
    let node = Node::start("/bin/dash").await;
    let gate = node.sshd.dir().join("gate");
    let script = format!("head -c 50000000 /dev/zero; echo; echo end; : >{}; sleep 60", gate.display());
    let mut running = node.connection.exec(Request::new(script)).await.unwrap();

    // Nobody takes the output; the other users of the connection notice nothing.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut after = 0;
    while after < 20 {
        let output =
            node.connection.run_check("echo 1", Duration::from_secs(5), Default::default()).await.unwrap();
        assert!(output.duration < Duration::from_secs(2), "{:?}", output.duration);
        assert!(Instant::now() < deadline, "the output is held up");
        after += u32::from(gate.exists());
    }

    let (mut kept, mut gaps) = (0, 0);
    while kept + gaps < 50_000_005 {
        match tokio::time::timeout(Duration::from_secs(20), running.next()).await.unwrap().unwrap() {
            Output::Stdout(data) | Output::Stderr(data) => kept += data.len() as u64,
            Output::Gap(bytes) => gaps += bytes,
        }
    }
    assert_eq!(kept + gaps, 50_000_005);
    assert!(kept <= 3 << 20, "{kept}");
    drop(running);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_output_ends_the_command() {
    let node = Node::start("/bin/dash").await;
    let request = Request { output_bytes_max: 5_000_000, ..Request::new("trap '' PIPE; yes") };
    let finished = node.connection.exec(request).await.unwrap().wait().await.unwrap();
    assert_eq!(finished.outcome, Outcome::TooMuchOutput);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_limit_ends_the_whole_group_even_if_it_ignores_term() {
    for node in nodes().await {
        let mark = odd_seconds();
        let request = Request {
            timeout: Duration::from_millis(500),
            grace: Duration::from_millis(500),
            ..Request::new(format!(
                "trap '' TERM HUP; sh -c 'trap \"\" TERM; sleep {mark}; :' & (trap '' TERM; sleep {mark}; :); sleep {mark}"
            ))
        };
        let started = Instant::now();
        let finished = node.connection.exec(request).await.unwrap().wait().await.unwrap();
        assert_eq!(finished.outcome, Outcome::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        eventually("the group is gone", Duration::from_secs(5), || sleepers(&mark).is_empty()).await;
        node.end().await;
    }
}

/// The first command on a connection looks for tools; those after it rely on what it found.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_a_group_of_its_own_which_ends_without_the_shell_around_it() {
    for node in nodes().await {
        for name in ["first", "second"] {
            let (token, mark) = (token(name), odd_seconds());
            let script = format!("sleep {mark} & sleep {mark}");
            let running = node.connection.exec(fenced(&script, &token, 1, None)).await.unwrap();
            eventually("it runs", Duration::from_secs(5), || sleepers(&mark).len() == 2).await;
            running.cancel();
            assert_eq!(running.wait().await.unwrap().outcome, Outcome::Cancelled);
            eventually("the group is gone", Duration::from_secs(5), || sleepers(&mark).is_empty()).await;
            let probe = node.connection.probe(&token).await.unwrap();
            assert!(matches!(probe, Probe::Finished { epoch: 1, .. }), "{name}: {probe:?}");
        }
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_lets_the_script_clean_up() {
    for node in nodes().await {
        let script = "trap 'echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
        let mut running = node.connection.exec(Request::new(script)).await.unwrap();
        assert_eq!(running.next().await, Some(Output::Stdout("ready\n".into())));
        running.cancel();
        let (finished, stdout, _) = running.collect(1000).await.unwrap();
        assert_eq!(finished.outcome, Outcome::Cancelled);
        assert!(text(&stdout).ends_with("cleaned\n"), "{}", text(&stdout));
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_command_is_ended() {
    let mark = odd_seconds();
    let node = Node::start("/bin/dash").await;
    let running = node.connection.exec(Request::new(format!("sleep {mark}"))).await.unwrap();
    eventually("it runs", Duration::from_secs(5), || !sleepers(&mark).is_empty()).await;
    drop(running);
    eventually("it is ended", Duration::from_secs(10), || sleepers(&mark).is_empty()).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn process_left_behind_is_reported_and_does_not_hold_up_the_end() {
    let mark = odd_seconds();
    let node = Node::start("/bin/dash").await;
    let started = Instant::now();
    let (finished, stdout, _) = node.run(Request::new(format!("sleep {mark} & echo done"))).await;
    assert_eq!((finished.outcome, stdout.as_str()), (Outcome::Exited(0), "done\n"));
    assert!(finished.left_processes);
    assert!(started.elapsed() < Duration::from_secs(6));
    for pid in sleepers(&mark) {
        send_signal(pid, "KILL");
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_beyond_the_places_wait_and_the_wait_is_bounded() {
    let node = Node::start("/bin/dash").await;
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push(node.connection.exec(Request::new("sleep 30")).await.unwrap());
    }
    let impatient = Request { start_within: Duration::from_millis(200), ..Request::new("echo 1") };
    let refused = node.connection.exec(impatient).await;
    assert!(
        matches!(&refused, Err(Error::Timeout { what, .. }) if what.contains("nothing was started")),
        "{refused:?}"
    );
    // Checks have places of their own.
    node.connection.run_check("echo 1", Duration::from_secs(5), Default::default()).await.unwrap();

    let patient = node.connection.exec(Request::new("echo 1"));
    running.pop();
    let (finished, ..) = patient.await.unwrap().collect(10).await.unwrap();
    assert_eq!(finished.outcome, Outcome::Exited(0));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connection_is_an_unknown_outcome_and_the_marker_tells_the_rest() {
    for mut node in nodes().await {
        let token = token("lost");
        let gate = node.sshd.dir().join("gate");
        let script = format!("echo on; while [ ! -e {} ]; do sleep 0.05; done; exit 7", gate.display());
        let mut running = node.connection.exec(fenced(&script, &token, 3, None)).await.unwrap();
        assert_eq!(running.next().await, Some(Output::Stdout("on\n".into())));
        node.sshd.kill_connections();
        let result = running.wait().await;
        assert!(matches!(result, Err(Error::ConnectionLost { .. })), "{result:?}");

        node.reconnect().await;
        let probe = node.connection.probe(&token).await.unwrap();
        assert!(matches!(probe, Probe::Running { epoch: 3, group: Some(_) }), "{probe:?}");
        let second = node.connection.exec(fenced("echo again", &token, 4, None)).await;
        assert!(
            matches!(&second, Err(Error::Fenced { other: 3, state, .. }) if state == "started"),
            "{second:?}"
        );

        std::fs::write(gate, "").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match node.connection.probe(&token).await.unwrap() {
                Probe::Finished { epoch: 3, code: 7 } => break,
                Probe::Running { epoch: 3, .. } if Instant::now() < deadline => {}
                other => panic!("{other:?}"),
            }
        }
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_fenced() {
    for node in nodes().await {
        let token = token("fence");
        let run = |script: &'static str, epoch, known| {
            let (connection, token) = (node.connection.clone(), token.clone());
            async move {
                match connection.exec(fenced(script, &token, epoch, known)).await {
                    Ok(running) => Ok(running.wait().await.unwrap().outcome),
                    Err(Error::Fenced { other, state, .. }) => Err((other, state)),
                    Err(other) => panic!("{other}"),
                }
            }
        };
        assert_eq!(node.connection.probe(&token).await.unwrap(), Probe::NeverStarted);
        assert_eq!(run("exit 4", 5, None).await, Ok(Outcome::Exited(4)));
        assert_eq!(node.connection.probe(&token).await.unwrap(), Probe::Finished { epoch: 5, code: 4 });

        assert!(matches!(run(":", 5, None).await, Err((5, _))), "the same attempt");
        assert_eq!(
            run(":", 4, Some(3)).await,
            Err((5, "finished".into())),
            "an older attempt that comes late"
        );
        assert_eq!(
            run(":", 6, None).await,
            Err((5, "finished".into())),
            "a newer one that does not know of it"
        );
        assert_eq!(run("exit 1", 7, Some(5)).await, Ok(Outcome::Exited(1)), "a retry that knows of it");
        assert_eq!(node.connection.probe(&token).await.unwrap(), Probe::Finished { epoch: 7, code: 1 });
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_in_one_place_do_not_see_each_other() {
    let node = Node::start("/bin/dash").await;
    let one = token("one");
    let longer = format!("{one}.2");
    for (token, code) in [(&longer, 3), (&one, 4)] {
        assert_eq!(node.connection.probe(token).await.unwrap(), Probe::NeverStarted);
        let (finished, _, _) = node.run(fenced(&format!("exit {code}"), token, 1, None)).await;
        assert_eq!(finished.outcome, Outcome::Exited(code));
    }
    assert_eq!(node.connection.probe(&longer).await.unwrap(), Probe::Finished { epoch: 1, code: 3 });
    assert_eq!(node.connection.probe(&one).await.unwrap(), Probe::Finished { epoch: 1, code: 4 });
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_attempts_at_the_same_time_at_most_one_runs() {
    let node = Node::start("/bin/dash").await;
    for round in 0..5 {
        let token = token("race");
        let file = node.sshd.dir().join(format!("ran{round}"));
        let tries: Vec<_> = (0..4)
            .map(|epoch| {
                let request = fenced(&format!("echo x >>{}", file.display()), &token, epoch, None);
                let connection = node.connection.clone();
                tokio::spawn(async move {
                    match connection.exec(request).await {
                        Ok(running) => running.wait().await.map(|_| 1).unwrap(),
                        Err(Error::Fenced { .. }) => 0,
                        Err(other) => panic!("{other}"),
                    }
                })
            })
            .collect();
        let mut ran = 0;
        for one in tries {
            ran += one.await.unwrap();
        }
        let lines = std::fs::read_to_string(&file).unwrap_or_default().lines().count();
        assert!(ran <= 1, "{ran}");
        assert_eq!(lines, ran);
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_wrapper_leaves_an_unknown_outcome() {
    let mut node = Node::start("/bin/dash").await;
    let (token, mark) = (token("unknown"), odd_seconds());
    let script = format!("echo on; sleep {mark}");
    let mut running = node.connection.exec(fenced(&script, &token, 1, None)).await.unwrap();
    assert_eq!(running.next().await, Some(Output::Stdout("on\n".into())));
    // As a reboot or the OOM killer would: everything on the node dies at once.
    for pid in node.sshd.processes() {
        send_signal(pid, "KILL");
    }
    assert!(running.wait().await.is_err());
    for pid in sleepers(&mark) {
        send_signal(pid, "KILL");
    }
    node.reconnect().await;
    assert_eq!(node.connection.probe(&token).await.unwrap(), Probe::Unknown { epoch: 1 });
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempt_that_could_not_start_counts_as_never_started() {
    let node = Node::start("/bin/dash").await;
    let token = token("aborted");
    let request =
        Request { sudo: Some(Sudo { password: None }), env: vec![], ..fenced("echo 1", &token, 1, None) };
    // A sudo that refuses, found first in the path.
    let sudo = node.sshd.dir().join("bin/sudo");
    std::fs::write(&sudo, "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n").unwrap();
    make_executable(&sudo);
    let refused = node.connection.exec(request).await;
    assert!(
        matches!(&refused, Err(Error::Refused { detail, .. }) if detail.contains("password is required")),
        "{refused:?}"
    );
    assert_eq!(node.connection.probe(&token).await.unwrap(), Probe::NeverStarted);
    node.end().await;
}

fn make_executable(path: &PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_requests_are_refused_before_anything_is_sent() {
    let node = Node::start("/bin/dash").await;
    let requests = [
        ("nul in script", Request::new("a\0b")),
        ("nul in argument", Request { args: vec!["\0".into()], ..Request::new("") }),
        ("bad name", Request { env: vec![("A B".into(), String::new())], ..Request::new("") }),
        ("long script", Request::new("x".repeat(2 << 20))),
        ("bad token", fenced("", "../x", 1, None)),
        ("token without a place", fenced("", "x", 1, None)),
        (
            "newline in password",
            Request { sudo: Some(Sudo { password: Some("a\nb".into()) }), ..Request::new("") },
        ),
    ];
    for (name, request) in requests {
        assert!(matches!(node.connection.exec(request).await, Err(Error::Invalid(_))), "{name}");
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn command_takes_the_session_of_an_idle_shell_where_there_is_but_one() {
    let node = Node::with(Setup { max_sessions: 1, ..Setup::default() }).await;
    for _ in 0..3 {
        node.connection.run_check("echo 1", Duration::from_secs(5), Default::default()).await.unwrap();
        let (finished, stdout, _) = node.run(Request::new("echo 2")).await;
        assert_eq!((finished.outcome, stdout.as_str()), (Outcome::Exited(0), "2\n"));
    }
    let running = node.connection.exec(Request::new("sleep 60")).await.unwrap();
    running.cancel();
    assert_eq!(running.wait().await.unwrap().outcome, Outcome::Cancelled);
    node.end().await;
}

async fn spare_is_there(node: &Node) {
    eventually("a session is opened ahead", Duration::from_secs(10), || {
        node.connection.inner.spare.is_there()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn next_command_takes_the_session_that_was_opened_ahead() {
    for node in nodes().await {
        let sessions = || *node.connection.inner.sessions.borrow();
        for number in 0..3 {
            let request = Request { args: vec![number.to_string()], ..Request::new("echo $1; exit 3") };
            let running = node.connection.exec(request).await.unwrap();
            assert_eq!(sessions(), 1, "the one opened ahead, from the second command on");
            let (finished, stdout, _) = running.collect(1000).await.unwrap();
            assert_eq!((finished.outcome, text(&stdout)), (Outcome::Exited(3), format!("{number}\n")));
            spare_is_there(&node).await;
        }
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_opened_ahead_that_dies_is_not_missed() {
    let node = Node::start("/bin/dash").await;
    node.run(Request::new(":")).await;
    spare_is_there(&node).await;
    let is_gone = || {
        // The host may begin its process a little after it is open.
        for pid in node.sshd.processes() {
            if !node.sshd.connection_processes().contains(&pid) {
                send_signal(pid, "KILL");
            }
        }
        !node.connection.inner.spare.is_there()
    };
    eventually("it is known to be gone", Duration::from_secs(10), is_gone).await;
    let (finished, stdout, _) = node.run(Request::new("echo 1")).await;
    assert_eq!((finished.outcome, stdout.as_str()), (Outcome::Exited(0), "1\n"));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_opened_ahead_gives_way_to_a_check() {
    let node = Node::with(Setup { max_sessions: 1, ..Setup::default() }).await;
    node.run(Request::new(":")).await;
    spare_is_there(&node).await;
    let output =
        node.connection.run_check("echo 1", Duration::from_secs(5), Default::default()).await.unwrap();
    assert_eq!(text(&output.stdout), "1\n");
    assert!(!node.connection.inner.spare.is_there());
    node.end().await;
}

/// What a command changes for logins is to be seen by the next.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_opened_ahead_while_a_command_runs() {
    let node = Node::start("/bin/dash").await;
    let long = node.connection.exec(Request::new("sleep 60")).await.unwrap();
    node.run(Request::new(":")).await;
    Spare::prepare(&node.connection.inner);
    eventually("that was considered", Duration::from_secs(10), || !node.connection.inner.spare.is_coming())
        .await;
    assert!(!node.connection.inner.spare.is_there());
    long.cancel();
    long.wait().await.unwrap();
    spare_is_there(&node).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_has_no_shell_or_talks_at_login_is_dealt_with() {
    let setup =
        Setup { config: vec!["ForceCommand echo '% unknown command'; exit 1".into()], ..Setup::default() };
    let node = Node::with(setup).await;
    let result = node.connection.exec(Request::new("echo 1")).await;
    assert!(
        matches!(&result, Err(Error::Refused { detail, .. }) if detail.contains("% unknown command")),
        "{result:?}"
    );
    node.end().await;

    let endless = Setup { config: vec!["ForceCommand yes".into()], ..Setup::default() };
    let node = Node::with(endless).await;
    let result = node.connection.exec(Request::new("echo 1")).await;
    assert!(
        matches!(&result, Err(Error::Refused { detail, .. }) if detail.contains("prints without end")),
        "{result:?}"
    );
    node.end().await;

    let talkative = "ForceCommand echo 'Welcome!'; echo 'no mail' >&2; eval \"$SSH_ORIGINAL_COMMAND\"";
    let node = Node::with(Setup { config: vec![talkative.into()], ..Setup::default() }).await;
    let (finished, stdout, stderr) = node.run(Request::new("echo 1; echo 2 >&2")).await;
    assert_eq!((finished.outcome, stdout.as_str(), stderr.as_str()), (Outcome::Exited(0), "1\n", "2\n"));
    node.end().await;
}

#[test]
fn debug_of_a_request_shows_no_secret() {
    let request = Request {
        env: vec![("TOKEN".into(), "sesame".into())],
        stdin: "sesame".into(),
        sudo: Some(Sudo { password: Some("sesame".into()) }),
        ..Request::new("echo")
    };
    let shown = format!("{request:?}");
    assert!(!shown.contains("sesame") && shown.contains("***"), "{shown}");
}

mod sudo {
    //! Against the real sudo, with a user and rules that only the test's sshd sees.

    use super::super::super::testing::{OWN_PASSWORD as PASSWORD, with_own_user};
    use super::*;

    async fn node(rule: &str) -> Option<Node> {
        node_with(rule, Setup::default()).await
    }

    /// A node whose user may use sudo as `rule` says.
    async fn node_with(rule: &str, setup: Setup) -> Option<Node> {
        if !PathBuf::from("/usr/bin/sudo").exists() {
            eprintln!("skipped: sudo is not installed");
            return None;
        }
        let (sshd, user) = with_own_user(setup, rule)?;
        let (pool, _) = pool(quick_options());
        let endpoint = crate::ssh::Endpoint { user: user.name, ..sshd.endpoint() };
        let connection = pool.connection("n", &Arc::new(endpoint), Urgency::Now).await.unwrap();
        Some(Node { sshd, pool, connection })
    }

    fn request(script: &str, password: Option<&str>) -> Request {
        Request { sudo: Some(Sudo { password: password.map(Into::into) }), ..Request::new(script) }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn password_is_given_when_asked_for_and_shows_nowhere() {
        let Some(node) = node("ALL=(ALL) ALL").await else { return };
        let request = Request {
            args: vec!["a b".into()],
            env: vec![("V".into(), "v w".into())],
            stdin: "from stdin\n".into(),
            ..request("id -u; echo \"$1|$V\"; cat; ps -eo args; env; exit 6", Some(PASSWORD))
        };
        let (finished, stdout, stderr) = node.run(request).await;
        assert!(stdout.starts_with("0\na b|v w\nfrom stdin\n"), "{stdout} {stderr}");
        assert!(!stdout.contains(PASSWORD), "{stdout}");
        assert_eq!((finished.outcome, stderr.as_str()), (Outcome::Exited(6), ""));
        node.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_password_is_asked_for_where_none_is_needed() {
        let Some(node) = node("ALL=(ALL) NOPASSWD: ALL").await else { return };
        for password in [None, Some("any")] {
            let (finished, stdout, _) = node.run(request("id -u; cat", password)).await;
            assert_eq!((finished.outcome, stdout.as_str()), (Outcome::Exited(0), "0\n"));
        }
        node.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn refusals_say_why_and_start_nothing() {
        let Some(node) = node("ALL=(ALL) ALL").await else { return };
        let table = [
            ("no password", None, "password is required"),
            ("wrong password", Some("wrong"), "sudo does not accept the password"),
        ];
        for (name, password, expected) in table {
            let result = node.connection.exec(request("id -u", password)).await;
            assert!(
                matches!(&result, Err(Error::Refused { detail, .. }) if detail.contains(expected)),
                "{name}: {result:?}"
            );
        }
        node.end().await;
        let Some(node) = super::sudo::node("ALL=(ALL) /bin/true").await else { return };
        let result = node.connection.exec(request("id -u", Some(PASSWORD))).await;
        assert!(
            matches!(&result, Err(Error::Refused { detail, .. }) if detail.contains("not allowed")),
            "{result:?}"
        );
        node.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn command_of_root_is_cancelled_and_timed_out() {
        let Some(node) = node("ALL=(ALL) ALL").await else { return };
        let mark = odd_seconds();
        let script = format!("trap '' TERM; id -u; sleep {mark}; sleep {mark}");
        let mut running = node
            .connection
            .exec(Request { grace: Duration::from_millis(500), ..request(&script, Some(PASSWORD)) })
            .await
            .unwrap();
        assert_eq!(running.next().await, Some(Output::Stdout("0\n".into())));
        running.cancel();
        assert_eq!(running.wait().await.unwrap().outcome, Outcome::Cancelled);
        assert!(sleepers(&mark).is_empty());

        let limited = Request {
            timeout: Duration::from_millis(300),
            grace: Duration::from_millis(300),
            ..request(&script, Some(PASSWORD))
        };
        let finished = node.connection.exec(limited).await.unwrap().wait().await.unwrap();
        assert_eq!(finished.outcome, Outcome::TimedOut);
        eventually("it is gone", Duration::from_secs(5), || sleepers(&mark).is_empty()).await;
        node.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn command_of_root_is_cancelled_when_no_session_is_left() {
        let setup = Setup { max_sessions: 1, ..Setup::default() };
        let Some(node) = node_with("ALL=(ALL) ALL", setup).await else { return };
        let mark = odd_seconds();
        let request = request(&format!("id -u; sleep {mark}"), Some(PASSWORD));
        let mut running = node.connection.exec(request).await.unwrap();
        assert_eq!(running.next().await, Some(Output::Stdout("0\n".into())));
        running.cancel();
        assert_eq!(running.wait().await.unwrap().outcome, Outcome::Cancelled);
        assert!(sleepers(&mark).is_empty());
        node.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn marker_of_a_command_of_root_is_the_users() {
        let Some(node) = node("ALL=(ALL) ALL").await else { return };
        let token = token("sudo");
        let fence = Some(Fence { token: token.clone(), epoch: 1, known: None });
        let (finished, ..) =
            node.run(Request { fence: fence.clone(), ..request("exit 3", Some(PASSWORD)) }).await;
        assert_eq!(finished.outcome, Outcome::Exited(3));
        assert_eq!(node.connection.probe(&token).await.unwrap(), Probe::Finished { epoch: 1, code: 3 });
        let again = node.connection.exec(Request { fence, ..request("exit 3", Some(PASSWORD)) }).await;
        assert!(matches!(again, Err(Error::Fenced { .. })), "{again:?}");
        node.end().await;
    }
}
