//! What a client meets on a simulated host, seen over real connections.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use russh::{ChannelMsg, Sig};

use super::testing::*;
use super::*;

#[tokio::test]
async fn a_command_runs_in_the_hosts_directory_with_a_clean_environment() {
    let world = World::start(&["web01"]).await;
    let home = world.host().home.display().to_string();
    let client = world.client().await;
    assert_eq!(exec(&client, "pwd -P").await.text().trim(), home);
    let environment = exec(&client, "env").await;
    let mut names: Vec<_> = environment
        .text()
        .lines()
        .map(|line| line.split('=').next().unwrap())
        .filter(|n| *n != "_")
        .collect();
    names.sort();
    assert_eq!(names, ["HOME", "LOGNAME", "PATH", "PWD", "RSCALER_DEMO_HOST", "SHELL", "TMPDIR", "USER"]);
    for line in [format!("HOME={home}"), "RSCALER_DEMO_HOST=web01".to_owned(), "USER=demo".to_owned()] {
        assert!(environment.text().lines().any(|l| l == line), "{line}");
    }
    assert!(environment.text().contains(&format!("PATH={home}/bin:")));
}

#[tokio::test]
async fn the_end_of_a_command_is_reported_as_it_was() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    for (command, code, signal) in [
        ("true", Some(0), None),
        ("exit 7", Some(7), None),
        ("exit 255", Some(255), None),
        ("no-such-program", Some(127), None),
        ("kill -s TERM $$", None, Some("TERM")),
        ("kill -s KILL $$", None, Some("KILL")),
        ("kill -s USR2 $$", None, Some("Custom(\"USR2\")")),
    ] {
        let outcome = exec(&client, command).await;
        assert_eq!((outcome.code, outcome.signal.as_deref()), (code, signal), "{command}");
    }
}

#[tokio::test]
async fn both_outputs_arrive_apart_and_whole() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let outcome = exec(&client, "echo out; echo err >&2; printf 'no newline'; printf '\\377' >&2").await;
    assert_eq!((outcome.text(), &outcome.stderr[..]), ("out\nno newline", &b"err\n\xff"[..]));
    let outcome = exec(&client, "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 3").await;
    assert_eq!((outcome.stdout.len(), outcome.stderr.len(), outcome.code), (3_000_000, 3_000_000, Some(3)));
}

#[tokio::test]
async fn five_megabytes_are_echoed_without_deadlock() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let input: Vec<u8> = (0..5_000_000u32).map(|i| (i % 251) as u8).collect();
    let outcome = exec_with(&client, "cat; echo done >&2", input.clone()).await;
    assert!(outcome.stdout == input, "{} bytes came back", outcome.stdout.len());
    assert_eq!((outcome.stderr.as_slice(), outcome.code), (&b"done\n"[..], Some(0)));
}

#[tokio::test]
async fn more_input_than_the_budget_is_fine_as_long_as_it_is_read() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let size = 3 * stdin::BUDGET_BYTES;
    let slowly = "while head -c 1048576 | wc -c | { read -r n; [ \"$n\" -gt 0 ]; }; do printf .; done";
    for (command, printed) in [("cat", size), ("wc -c", 9), (slowly, 48)] {
        let outcome = exec_with(&client, command, vec![7; size]).await;
        assert_eq!(
            (outcome.stdout.len(), outcome.code),
            (printed, Some(0)),
            "{command}: {:?}",
            outcome.stderr
        );
    }
}

#[tokio::test]
async fn a_process_that_does_not_read_stalls_nobody_else() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let deaf = Dialogue::start(&client, "exec sleep 300").await;
    deaf.channel.data_bytes(vec![0; 5_000_000]).await.unwrap();
    assert_eq!(exec(&client, "echo here").await.text(), "here\n");
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_only_its_own_connection() {
    let world = World::start(&["web01"]).await;
    let (client, other) = (world.client().await, world.client().await);
    let mut unread = Dialogue::start(&client, "echo $$; exec cat /dev/zero").await;
    let pid = unread.pid().await;
    assert_eq!(exec(&other, "echo here").await.text(), "here\n");
    assert!(is_alive(pid), "it waits");
    drop(client);
    drop(unread);
    wait_for_end_of(pid).await;
}

#[tokio::test]
async fn input_beyond_the_budget_ends_its_session_only() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let outcome = exec_with(&client, "exec sleep 300", vec![0; 2 * stdin::BUDGET_BYTES]).await;
    assert_eq!(outcome.signal.as_deref(), Some("KILL"));
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("wait unread on this host"), "{outcome:?}");
    assert_eq!(exec_with(&client, "cat", b"again".to_vec()).await.text(), "again");
}

#[tokio::test]
async fn closing_the_channel_ends_the_process_group() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let mut stubborn = Dialogue::start(&client, "trap '' HUP TERM; sleep 300 & echo $!; echo $$; wait").await;
    let (child, shell) = (stubborn.pid().await, stubborn.pid().await);
    assert!(is_alive(child) && is_alive(shell));
    stubborn.channel.close().await.unwrap();
    wait_for_end_of(child).await;
    wait_for_end_of(shell).await;
    assert_eq!(exec(&client, "echo here").await.text(), "here\n", "the connection goes on");
}

#[tokio::test]
async fn closing_the_channel_lets_the_process_clean_up() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let script = "trap 'echo tidy > tidied; exit' HUP; echo $$; while :; do sleep 0.01; done";
    let mut tidy = Dialogue::start(&client, script).await;
    let pid = tidy.pid().await;
    tidy.channel.close().await.unwrap();
    wait_for_end_of(pid).await;
    assert_eq!(std::fs::read(world.host().home.join("tidied")).unwrap(), b"tidy\n");
}

#[tokio::test]
async fn losing_the_connection_ends_its_processes() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let mut lost = Dialogue::start(&client, "sleep 300 & echo $!; wait").await;
    let pid = lost.pid().await;
    drop(lost);
    client.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap();
    drop(client);
    wait_for_end_of(pid).await;
}

#[tokio::test]
async fn a_signal_request_reaches_the_process_group() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let mut trapping =
        Dialogue::start(&client, "trap 'echo caught' USR1; echo $$; while :; do sleep 0.01; done").await;
    let pid = trapping.pid().await;
    trapping.channel.signal(Sig::USR1).await.unwrap();
    assert_eq!(trapping.line().await, "caught");
    trapping.channel.signal(Sig::TERM).await.unwrap();
    let ended = drain(trapping.channel.split().0).await;
    assert_eq!(ended.signal.as_deref(), Some("TERM"));
    wait_for_end_of(pid).await;
}

#[tokio::test]
async fn a_background_job_that_holds_the_output_keeps_the_channel_open() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let outcome = exec(&client, "{ sleep 0.2; echo late; } & exit 5").await;
    assert_eq!((outcome.text(), outcome.code), ("late\n", Some(5)));
}

#[tokio::test]
async fn one_shell_is_kept_open_and_runs_check_after_check() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let mut shell = Dialogue::start(&client, "exec sh").await;
    for i in 0..200 {
        shell
            .say(&format!("(read -r load rest < proc/loadavg; echo \"$load\") </dev/null; echo end-{i} $?"))
            .await;
        assert!(shell.line().await.parse::<f64>().is_ok());
        assert_eq!(shell.line().await, format!("end-{i} 0"));
    }
}

#[tokio::test]
async fn asking_for_job_control_without_a_terminal_stops_nothing() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let mut shell = Dialogue::start(&client, "exec sh").await;
    // Not every shell grants it (dash needs a terminal); each must go on.
    shell.say("set -m; true & wait $!; echo here $?").await;
    assert_eq!(shell.line().await, "here 0");
}

#[tokio::test]
async fn a_second_channel_ends_a_kept_shell_with_all_it_runs() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let mut shell = Dialogue::start(&client, "exec sh").await;
    shell.say("echo $$; sh -c 'echo $$; sleep 300'").await;
    let (group, check) = (shell.pid().await, shell.pid().await);
    let killed = exec(&client, &format!("kill -s KILL -- -{group}")).await;
    assert_eq!((killed.code, &killed.stderr[..]), (Some(0), &b""[..]));
    assert_eq!(drain(shell.channel.split().0).await.signal.as_deref(), Some("KILL"));
    wait_for_end_of(check).await;
    wait_for_end_of(group).await;
}

#[tokio::test]
async fn the_shell_that_is_asked_for_reads_its_commands_from_the_input() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let channel = client.channel_open_session().await.unwrap();
    channel.request_shell(true).await.unwrap();
    channel.data_bytes("cd proc\npwd -P\nexit 4\n").await.unwrap();
    let outcome = drain(channel.split().0).await;
    assert_eq!(
        (outcome.text(), outcome.code),
        (format!("{}/proc\n", world.host().home.display()).as_str(), Some(4))
    );
}

#[tokio::test]
async fn a_script_from_the_input_gets_its_arguments_as_data() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let script = b"printf '%s|' \"$@\"; exit 9".to_vec();
    let outcome = exec_with(&client, "sh -s -- one 'two words' '$(three)'", script).await;
    assert_eq!((outcome.text(), outcome.code), ("one|two words|$(three)|", Some(9)));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_leads_its_own_session_without_a_terminal() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let script = "read -r pid name state parent group session rest </proc/$$/stat; echo $$ $group $session";
    let outcome = exec(&client, script).await;
    let mut numbers = outcome.text().split_whitespace();
    let pid = numbers.next().unwrap();
    assert_eq!(numbers.collect::<Vec<_>>(), [pid, pid]);
    assert_ne!(exec(&client, ": </dev/tty").await.code, Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn setsid_and_timeout_work_where_they_are_installed() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    if exec(&client, "command -v setsid && command -v timeout").await.code != Some(0) {
        return;
    }
    assert_eq!(exec(&client, "timeout -k 5 0.05 sleep 300").await.code, Some(124));

    let script = "exec setsid -w sh -c 'echo $$ > pidfile; echo started; sleep 300; echo never'";
    let mut detached = Dialogue::start(&client, script).await;
    assert_eq!(detached.line().await, "started");
    let pid: u32 =
        std::fs::read_to_string(world.host().home.join("pidfile")).unwrap().trim().parse().unwrap();
    assert_eq!(exec(&client, "kill -s TERM -- -$(cat pidfile)").await.code, Some(0));
    wait_for_end_of(pid).await;
    let ended = drain(detached.channel.split().0).await;
    assert!(ended.stdout.is_empty() && ended.code != Some(0), "{ended:?}");

    let mut shell = Dialogue::start(&client, "exec sh").await;
    shell.say("setsid sh -c 'echo $$; sleep 300 & echo $!; wait' </dev/null &").await;
    let (group, job) = (shell.pid().await, shell.pid().await);
    assert_eq!(exec(&client, &format!("kill -s KILL -- -{group}")).await.code, Some(0));
    wait_for_end_of(group).await;
    wait_for_end_of(job).await;
    shell.say("echo still here").await;
    assert_eq!(shell.line().await, "still here");
}

#[tokio::test]
async fn only_the_one_key_of_the_one_user_gets_in() {
    let world = World::start(&["web01"]).await;
    let host = world.host();
    assert!(connect(host, USER, &world.key).await.is_some());
    assert!(connect(host, USER, &Arc::new(new_key())).await.is_none(), "another key");
    assert!(connect(host, "root", &world.key).await.is_none(), "another user");
    assert!(!dial(host).await.authenticate_password(USER, "demo").await.unwrap().success(), "a password");
    assert!(!dial(host).await.authenticate_none(USER).await.unwrap().success(), "nothing");
    assert!(dial(host).await.channel_open_session().await.is_err(), "no login");
}

#[tokio::test]
async fn what_is_not_offered_is_refused_aloud() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let refused = |mut channel: russh::Channel<russh::client::Msg>| async move {
        loop {
            match tokio::time::timeout(DEADLINE, channel.wait()).await.expect("an answer comes") {
                Some(ChannelMsg::Failure) => return,
                Some(ChannelMsg::WindowAdjusted { .. }) => (),
                other => panic!("{other:?}"),
            }
        }
    };
    let open = || async { client.channel_open_session().await.unwrap() };
    let channel = open().await;
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    refused(channel).await;
    let channel = open().await;
    channel.request_subsystem(true, "sftp").await.unwrap();
    refused(channel).await;
    let channel = open().await;
    channel.exec(true, &b"echo \0"[..]).await.unwrap();
    refused(channel).await;
    assert!(client.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 0).await.is_err());

    let channel = open().await;
    channel.set_env(false, "RSCALER_DEMO_HOST", "other").await.unwrap();
    channel.exec(true, "echo $RSCALER_DEMO_HOST").await.unwrap();
    assert_eq!(drain(channel.split().0).await.text(), "web01\n", "env is ignored");
}

#[tokio::test]
async fn a_connection_has_ten_channels_and_gets_them_back() {
    let world = World::start(&["web01"]).await;
    let client = world.client().await;
    let mut running = Vec::new();
    for _ in 0..10 {
        running.push(Dialogue::start(&client, "read -r line; echo \"$line\"").await);
    }
    assert!(client.channel_open_session().await.is_err());
    for dialogue in &mut running {
        dialogue.say("over").await;
        assert_eq!(dialogue.line().await, "over");
    }
    for dialogue in running {
        drain(dialogue.channel.split().0).await;
    }
    for _ in 0..30 {
        assert_eq!(exec(&client, "true").await.code, Some(0));
    }
}

#[tokio::test]
async fn a_client_that_does_not_speak_ssh_disturbs_nobody() {
    use tokio::io::AsyncWriteExt;
    let world = World::start(&["web01"]).await;
    let mut noise = tokio::net::TcpStream::connect(world.host().addr).await.unwrap();
    noise.write_all(&[0xff; 100_000]).await.unwrap();
    let silent = tokio::net::TcpStream::connect(world.host().addr).await.unwrap();
    assert_eq!(exec(&world.client().await, "echo here").await.text(), "here\n");
    drop(silent);
}

#[tokio::test]
async fn the_ssh_command_works_where_it_is_installed() {
    let world = World::start(&["web01"]).await;
    let key_file = world.dir.path().join("client-key");
    let text = world.key.to_openssh(russh::keys::ssh_key::LineEnding::LF).unwrap();
    std::fs::write(&key_file, text.as_bytes()).unwrap();
    std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let known_hosts = world.dir.path().join("known_hosts");
    let addr = world.host().addr;
    let host_key = world.host().host_key.to_openssh().unwrap();
    std::fs::write(&known_hosts, format!("[{}]:{} {host_key}\n", addr.ip(), addr.port())).unwrap();

    let mut ssh = tokio::process::Command::new("ssh");
    ssh.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "StrictHostKeyChecking=yes",
    ])
    .arg("-o")
    .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
    .arg("-i")
    .arg(&key_file)
    .args(["-p", &addr.port().to_string(), &format!("{USER}@{}", addr.ip())])
    .arg("echo $RSCALER_DEMO_HOST; echo err >&2; cat proc/cpu >/dev/null; exit 7")
    .stdin(std::process::Stdio::null())
    .kill_on_drop(true);
    let output = match tokio::time::timeout(DEADLINE, ssh.output()).await.expect("ssh ends") {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(
        (output.status.code(), &output.stdout[..], &output.stderr[..]),
        (Some(7), &b"web01\n"[..], &b"err\n"[..]),
        "{output:?}"
    );
}
