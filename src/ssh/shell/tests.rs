//! Checks against real sshd servers, with each kind of `sh` that this machine has.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::testing::{
    Setup, Sshd, eventually, is_alive, odd_seconds, pool, quick_options, send_signal, sleepers,
};
use super::super::{Connection, Error, Pool, Urgency};
use super::bootstrap::Isolation;
use super::*;

struct Node {
    sshd: Sshd,
    pool: Pool,
    connection: Connection,
    sh: &'static str,
}

impl Node {
    async fn start(setup: Setup, sh: &'static str) -> Self {
        let sshd = Sshd::start(Setup { sh: Some(sh), ..setup });
        let (pool, _) = pool(quick_options());
        let connection = pool.connection("n", &Arc::new(sshd.endpoint()), Urgency::Now).await.unwrap();
        Self { sshd, pool, connection, sh }
    }

    async fn run(&self, script: &str) -> Result<CheckOutput, Error> {
        self.run_for(script, Duration::from_secs(10)).await
    }

    async fn run_for(&self, script: &str, limit: Duration) -> Result<CheckOutput, Error> {
        self.connection.run_check(script, limit, CheckLimits::default()).await
    }

    /// The process id of the shell that a check gets.
    async fn shell(&self) -> u32 {
        text(&self.run("echo $$").await.unwrap().stdout).trim().parse().unwrap()
    }

    async fn end(self) {
        self.pool.shutdown().await;
    }
}

/// A node with each kind of shell: dash has no job control without a terminal, bash has.
async fn nodes() -> Vec<Node> {
    let mut nodes = Vec::new();
    for sh in ["/bin/dash", "/bin/bash"] {
        nodes.push(Node::start(Setup::default(), sh).await);
    }
    nodes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_shell_gives_its_isolation() {
    for node in nodes().await {
        let session = node.connection.inner.open(bootstrap::COMMAND.to_owned()).await.ok().unwrap();
        let kept::Started::Shell(kept) = kept::Kept::start(&node.connection.inner, session).await.unwrap()
        else {
            panic!("no shell");
        };
        let expected = if node.sh.ends_with("dash") { Isolation::Pipe } else { Isolation::Group };
        assert_eq!(kept.identity.isolation, expected, "{}", node.sh);
        assert!(kept.identity.start.is_some());
        drop(kept);
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_give_their_output_and_exit_code() {
    type Row = (&'static str, &'static str, &'static [u8], &'static [u8], i32);
    let table: Vec<Row> = vec![
        ("number", "echo 42", b"42\n", b"", 0),
        ("no newline at the end", "printf 42", b"42", b"", 0),
        ("nothing", "", b"", b"", 0),
        ("comment at the end", "echo 1 # one", b"1\n", b"", 0),
        ("both streams", "echo out; echo err >&2", b"out\n", b"err\n", 0),
        ("exit", "echo 1; exit 3", b"1\n", b"", 3),
        ("false", "false", b"", b"", 1),
        ("exec", "exec echo replaced", b"replaced\n", b"", 0),
        ("killed", "kill -9 $(exec sh -c 'echo $PPID')", b"", b"", 137),
        ("pipeline", "printf 'a 1\\nMem: 7\\n' | grep Mem | awk '{print $2}'", b"7\n", b"", 0),
        ("quotes", r#"echo "it's" 'a "b"' \\"#, b"it's a \"b\" \\\n", b"", 0),
        ("several lines", "a=1\nb=2\necho $((a+b))\n", b"3\n", b"", 0),
        ("heredoc", "cat <<X\none 'two'\nX", b"one 'two'\n", b"", 0),
        ("quoted heredoc", "cat <<'X'\n$HOME `id`\nX\n", b"$HOME `id`\n", b"", 0),
        ("begins with a dash", "-x 2>/dev/null || echo no", b"no\n", b"", 0),
        ("begins with a word like ours", "_r=1; echo $_r", b"1\n", b"", 0),
        ("utf-8", "echo 'größe Ářš €'", "größe Ářš €\n".as_bytes(), b"", 0),
        ("binary", r"printf '\000\001\377\036\012\036'", b"\x00\x01\xff\x1e\n\x1e", b"", 0),
        ("stdin is empty", "cat; echo done", b"done\n", b"", 0),
        ("closes its output", "exec >&- 2>&-; exit 5", b"", b"", 5),
        ("no arguments", "echo $#", b"0\n", b"", 0),
        ("not found", "no-such-command 2>/dev/null", b"", b"", 127),
    ];
    for node in nodes().await {
        for (name, script, stdout, stderr, code) in &table {
            let output = node.run(script).await.unwrap();
            assert_eq!(text(&output.stdout), text(stdout), "{name} in {}", node.sh);
            assert_eq!(text(&output.stderr), text(stderr), "{name} in {}", node.sh);
            assert_eq!(output.end, CheckEnd::Exited(*code), "{name} in {}", node.sh);
            assert!(!output.truncated && !output.left_processes, "{name} in {}", node.sh);
        }
        // None of this has cost the shell.
        assert_eq!(node.connection.inner.shells.started(), 1, "{}", node.sh);
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_pyscaler_work_unchanged() {
    for node in nodes().await {
        for script in [
            "free -m | grep Mem | awk '{print $3}'",
            "cut -d' ' -f1 /proc/loadavg",
            "cat /proc/loadavg | awk '{print $1}'",
        ] {
            let output = node.run(script).await.unwrap();
            let number = text(&output.stdout);
            assert!(number.trim().parse::<f64>().is_ok(), "{script}: {output:?}");
        }
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn syntax_error_fails_only_its_own_check() {
    for node in nodes().await {
        for script in ["if true", "echo 'open", "fi", "cat <<X", "$(", ")", "a() {"] {
            let output = node.run(script).await.unwrap();
            assert!(matches!(output.end, CheckEnd::Exited(_)), "{script}");
            assert_eq!(
                text(&node.run("echo 1").await.unwrap().stdout),
                "1\n",
                "after {script} in {}",
                node.sh
            );
        }
        assert_eq!(node.connection.inner.shells.started(), 1, "{}", node.sh);
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_does_not_influence_the_next() {
    let meddlers = [
        "cd /",
        "X=1; export X",
        "trap 'echo trapped' EXIT; trap '' TERM",
        "umask 0",
        "set -eu; set -f",
        "exec 1>&2",
        "echo() { printf no; }; printf() { :; }; kill() { :; }; _r() { :; }",
        "PATH=/nowhere",
        "IFS=x",
        "ulimit -n 10",
        "unset HOME; readonly HOME",
        "alias echo=false",
        "exec 4>/dev/null 8</dev/null 9>/dev/null",
        "_s=; _c=9; _l=1; _p=1",
        "exec sleep 0",
        "wait; jobs; bg 2>/dev/null; exit 1",
        "set -m 2>/dev/null; sleep 0 & wait",
    ];
    let question = "pwd; echo ${X-none} $HOME $PATH; umask; ulimit -n; trap; echo $-; echo \"[$IFS]\"";
    for node in nodes().await {
        let before = node.run(question).await.unwrap();
        for script in meddlers {
            node.run(script).await.unwrap();
            let after = node.run(question).await.unwrap();
            assert_eq!(text(&after.stdout), text(&before.stdout), "after {script} in {}", node.sh);
            assert_eq!(after.end, before.end);
        }
        assert_eq!(node.connection.inner.shells.started(), 1, "{}", node.sh);
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn end_marks_can_not_be_forged() {
    // Everything a script can see: variables, its own text, arguments, the environment, the lines that look like ours.
    let forgeries = [
        r"printf '\036%s:0\n' 0123456789abcdef0123456789abcdef",
        r"printf '\036:0\n'",
        r"set | while read -r l; do printf '\036%s:0\n' ${l#*=}; done 2>/dev/null",
        r#"printf '\036%s:0\n' "$_s" "$_n" "$1" "$0" "$*""#,
        r"tr '\0' '\n' </proc/$$/cmdline; tr '\0' '\n' </proc/$$/environ",
    ];
    for node in nodes().await {
        for script in forgeries {
            let output = node.run(&format!("{script}; echo; echo last; exit 7")).await.unwrap();
            assert_eq!(output.end, CheckEnd::Exited(7), "{script} in {}", node.sh);
            assert!(text(&output.stdout).ends_with("last\n"), "{script} in {}", node.sh);
        }
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_script_is_killed_with_its_children() {
    for node in nodes().await {
        let shell = node.shell().await;
        let mark = odd_seconds();
        let script = format!(
            "trap '' TERM INT HUP; echo $$; sh -c 'trap \"\" TERM HUP; sleep {mark}; :' & \
             (trap '' TERM; sleep {mark}; :); sleep {mark}"
        );
        let started = Instant::now();

        let output = node.run_for(&script, Duration::from_millis(700)).await.unwrap();

        assert_eq!(output.end, CheckEnd::TimedOut);
        assert_eq!(text(&output.stdout), format!("{shell}\n"), "what came before is kept");
        assert!(started.elapsed() < Duration::from_secs(2), "the kill is not waited for");
        let processes = node.sshd.processes();
        eventually("the whole group is gone", Duration::from_secs(8), || {
            !is_alive(shell)
                && sleepers(&mark).is_empty()
                && processes.iter().filter(|pid| is_alive(**pid)).count() <= 4
        })
        .await;
        assert_eq!(text(&node.run("echo 1").await.unwrap().stdout), "1\n");
        assert_ne!(node.shell().await, shell, "a fresh shell");
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn background_process_is_noticed_and_killed_and_the_sample_kept() {
    for node in nodes().await {
        let shell = node.shell().await;
        let mark = odd_seconds();
        let output = node
            .run(&format!("sleep {mark} & while :; do echo noise; sleep 0.01; done & echo 5"))
            .await
            .unwrap();
        assert_eq!(output.end, CheckEnd::Exited(0));
        assert!(text(&output.stdout).contains("5\n"));
        assert!(output.left_processes, "{}", node.sh);

        // The next checks see nothing of the noise.
        for _ in 0..20 {
            assert_eq!(text(&node.run("echo 1").await.unwrap().stdout), "1\n", "{}", node.sh);
        }
        assert_ne!(node.shell().await, shell);
        eventually("what was left behind is gone", Duration::from_secs(8), || sleepers(&mark).is_empty())
            .await;
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn process_in_a_session_of_its_own_is_left_alone() {
    for node in nodes().await {
        let shell = node.shell().await;
        let mark = odd_seconds();
        // As daemons do it: another session, no descriptor kept, and time enough for both.
        let script = format!("setsid sleep {mark} </dev/null >/dev/null 2>&1 9>&- & sleep 0.3; echo 5");
        let output = node.run(&script).await.unwrap();
        assert!(!output.left_processes, "{}", node.sh);
        assert_eq!(node.shell().await, shell);
        eventually("it runs", Duration::from_secs(5), || sleepers(&mark).len() == 1).await;
        for pid in sleepers(&mark) {
            send_signal(pid, "KILL");
        }
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_output_costs_only_its_own_sample() {
    for node in nodes().await {
        let mark = odd_seconds();
        let stubborn = format!("trap '' PIPE TERM; head -c 100000000 /dev/zero; sleep {mark}");
        for script in ["yes", "yes >&2", &stubborn] {
            let started = Instant::now();
            let output = node.run(script).await.unwrap();
            assert_eq!(output.end, CheckEnd::TooMuchOutput, "{script}");
            assert!(output.truncated);
            assert!(output.stdout.len() <= 64 * 1024 && output.stderr.len() <= 64 * 1024);
            assert!(started.elapsed() < Duration::from_secs(8), "{script} took {:?}", started.elapsed());
            assert_eq!(text(&node.run("echo 1").await.unwrap().stdout), "1\n");
        }
        assert!(node.connection.is_open());
        eventually("nothing goes on", Duration::from_secs(8), || sleepers(&mark).is_empty()).await;
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_output_is_cut_at_the_end_and_said_so() {
    for node in nodes().await {
        let output = node.run("head -c 1000000 /dev/zero; echo err >&2").await.unwrap();
        assert_eq!(output.end, CheckEnd::Exited(0));
        assert_eq!((output.stdout.len(), output.truncated), (64 * 1024, true));
        assert_eq!(text(&output.stderr), "err\n");
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_shell_costs_only_the_one_check() {
    for node in nodes().await {
        let mut scripts = vec!["kill -9 $$", "kill $$; sleep 1"];
        if node.sh.ends_with("dash") {
            // Elsewhere the check has a group of its own to kill.
            scripts.push("kill -9 0");
        }
        for script in scripts {
            let result = node.run(script).await;
            assert!(matches!(result, Err(Error::ConnectionLost { .. })), "{script}: {result:?}");
            assert_eq!(
                text(&node.run("echo 1").await.unwrap().stdout),
                "1\n",
                "after {script} in {}",
                node.sh
            );
        }
        assert!(node.connection.is_open());
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_checks_do_not_hold_up_fast_ones() {
    for node in nodes().await {
        // Learned slow: from now on it may take all shells but one.
        let slow = "sleep 1";
        node.run(slow).await.unwrap();
        let mut slows = Vec::new();
        for _ in 0..6 {
            let connection = node.connection.clone();
            slows.push(tokio::spawn(async move {
                connection.run_check(slow, Duration::from_secs(20), CheckLimits::default()).await
            }));
        }
        tokio::task::yield_now().await;
        let mut worst = Duration::ZERO;
        while slows.iter().any(|slow| !slow.is_finished()) {
            let started = Instant::now();
            node.run("echo 1").await.unwrap();
            worst = worst.max(started.elapsed());
        }
        assert!(worst < Duration::from_millis(900), "a fast check took {worst:?} in {}", node.sh);
        for slow in slows {
            assert_eq!(slow.await.unwrap().unwrap().end, CheckEnd::Exited(0));
        }
        assert!(node.connection.inner.shells.started() <= 3, "{}", node.connection.inner.shells.started());
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_share_whatever_sessions_the_server_allows() {
    for max_sessions in [1, 2] {
        let node = Node::start(Setup { max_sessions, ..Setup::default() }, "/bin/dash").await;
        let checks = (0..12).map(|nr| {
            let connection = node.connection.clone();
            tokio::spawn(async move {
                let script = format!("sleep 0.1; echo {nr}");
                let output =
                    connection.run_check(&script, Duration::from_secs(20), CheckLimits::default()).await;
                assert_eq!(text(&output.unwrap().stdout), format!("{nr}\n"));
            })
        });
        for check in checks.collect::<Vec<_>>() {
            check.await.unwrap();
        }
        let mark = odd_seconds();
        // A hung check is killed although there is no session left to kill it from.
        let output =
            node.run_for(&format!("echo $$; sleep {mark}"), Duration::from_millis(300)).await.unwrap();
        assert_eq!(output.end, CheckEnd::TimedOut);
        eventually("it is killed", Duration::from_secs(8), || sleepers(&mark).is_empty()).await;
        assert_eq!(text(&node.run("echo 1").await.unwrap().stdout), "1\n");
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_check_is_killed() {
    for node in nodes().await {
        let mark = odd_seconds();
        let script = format!("sleep {mark}");
        let check = node.run(&script);
        tokio::time::timeout(Duration::from_millis(500), check).await.unwrap_err();
        eventually("it is killed", Duration::from_secs(8), || sleepers(&mark).is_empty()).await;
        assert_eq!(text(&node.run("echo 1").await.unwrap().stdout), "1\n");
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_shell_is_bounded() {
    let node = Node::start(Setup::default(), "/bin/dash").await;
    let busy: Vec<_> = (0..3)
        .map(|nr| {
            let connection = node.connection.clone();
            let script = format!("sleep 3.0{nr}");
            tokio::spawn(async move {
                connection.run_check(&script, Duration::from_secs(10), CheckLimits::default()).await
            })
        })
        .collect();
    eventually("all shells are busy", Duration::from_secs(5), || node.connection.inner.shells.started() == 3)
        .await;
    let result = node.run_for("echo 1", Duration::from_millis(300)).await;
    assert!(matches!(&result, Err(Error::Timeout { what, .. }) if what.contains("free shell")), "{result:?}");
    for check in busy {
        check.await.unwrap().unwrap();
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_without_a_shell_gets_a_session_per_check() {
    // What appliances do: whatever is asked for, one interpreter answers.
    let interpreter = "ForceCommand case $SSH_ORIGINAL_COMMAND in *sh*) echo '% unknown command'; exit 1;; \
                       hang) sleep 77712;; *) echo \"answer to $SSH_ORIGINAL_COMMAND\"; exit 4;; esac";
    let setup = Setup { config: vec![interpreter.into()], ..Setup::default() };
    let node = Node::start(setup, "/bin/dash").await;
    for _ in 0..3 {
        let output = node.run("display version").await.unwrap();
        assert_eq!(text(&output.stdout), "answer to display version\n");
        assert_eq!(output.end, CheckEnd::Exited(4));
    }
    let output = node.run_for("hang", Duration::from_millis(300)).await.unwrap();
    assert_eq!(output.end, CheckEnd::TimedOut);
    assert_eq!(text(&node.run("display version").await.unwrap().stdout), "answer to display version\n");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_scripts_are_refused_before_anything_is_sent() {
    let node = Node::start(Setup::default(), "/bin/dash").await;
    assert!(matches!(node.run("echo \0").await, Err(Error::Invalid(_))));
    assert!(matches!(node.run(&"x".repeat(2 << 20)).await, Err(Error::Invalid(_))));
    let large = format!("# {}\necho fits", "x".repeat(900_000));
    assert_eq!(text(&node.run(&large).await.unwrap().stdout), "fits\n");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_after_the_end_costs_the_shell_but_not_the_connection() {
    for node in nodes().await {
        let shell = node.shell().await;
        let (mark, gate) = (odd_seconds(), node.sshd.dir().join("gate"));
        // It has left the group and closed the descriptor by which it is noticed, but keeps the output.
        let script = format!(
            "setsid sh -c 'while [ ! -e {gate} ]; do sleep 0.05; done; exec yes {mark}' 9>&- & sleep 0.3; echo 5",
            gate = gate.display()
        );
        let output = node.run(&script).await.unwrap();
        assert_eq!(text(&output.stdout), "5\n");
        assert_eq!(node.shell().await, shell, "nothing is known of it yet");

        std::fs::write(&gate, "").unwrap();
        // A check that runs when it begins has its noise; after that the shell is replaced.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let answer = text(&node.run("echo $$").await.unwrap().stdout);
            if answer.trim().parse::<u32>().is_ok_and(|now| now != shell && answer.trim() != mark) {
                break;
            }
            assert!(Instant::now() < deadline, "the shell goes on");
        }
        for _ in 0..50 {
            assert_eq!(text(&node.run("echo 1").await.unwrap().stdout), "1\n", "{}", node.sh);
        }
        assert!(node.connection.is_open());
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_that_hung_when_the_connection_broke_is_killed_on_the_next() {
    for node in nodes().await {
        let mark = odd_seconds();
        let script = format!("trap '' PIPE HUP TERM; sleep {mark}; sleep {mark}");
        let (connection, kill) = (node.connection.clone(), script.clone());
        let check = tokio::spawn(async move {
            connection.run_check(&kill, Duration::from_secs(60), CheckLimits::default()).await
        });
        eventually("it runs", Duration::from_secs(5), || !sleepers(&mark).is_empty()).await;
        node.sshd.kill_connections();
        let result = check.await.unwrap();
        assert!(matches!(result, Err(Error::ConnectionLost { .. })), "{result:?}");
        assert!(!sleepers(&mark).is_empty(), "the node does not notice");

        let again = node.pool.connection("n", &Arc::new(node.sshd.endpoint()), Urgency::Now).await.unwrap();
        assert!(again.is_open());
        eventually("it is killed", Duration::from_secs(8), || sleepers(&mark).is_empty()).await;
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_login_delays_a_check_no_longer_than_its_time() {
    let setup = Setup {
        config: vec!["ForceCommand sleep 2; eval \"$SSH_ORIGINAL_COMMAND\"".into()],
        ..Setup::default()
    };
    let node = Node::start(setup, "/bin/dash").await;
    let started = Instant::now();
    let result = node.run_for("echo 1", Duration::from_millis(200)).await;
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(1));
    // The shell comes all the same and serves others.
    eventually("it has come", Duration::from_secs(10), || node.connection.inner.shells.started() == 1).await;
    assert_eq!(text(&node.run_for("echo 1", Duration::from_secs(1)).await.unwrap().stdout), "1\n");
    assert_eq!(node.connection.inner.shells.started(), 1);
    node.end().await;
}
