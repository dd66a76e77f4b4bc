//! `rscaler demo` as a person sees it: samples flow, a load is turned up, the trigger acts, the leader is killed, and
//! nothing is left behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::wait::until;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rscaler");
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A demo whose place among the user's running demos is its own.
struct Demo {
    place: tempfile::TempDir,
    log: PathBuf,
    process: Child,
}

impl Demo {
    async fn start(arguments: &[&str]) -> Demo {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("log");
        let file = File::create(&log).unwrap();
        let mut command = command(place.path());
        command.arg("demo").args(arguments).stdin(Stdio::null());
        let process = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let demo = Demo { place, log, process };
        demo.says("What happens:").await;
        demo
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has printed a line with all of these words; answers the line.
    async fn says(&self, words: &str) -> String {
        until(words, PATIENCE, || async {
            let text = self.text();
            let found = text.lines().find(|line| words.split('|').all(|word| line.contains(word)));
            found.map(str::to_string).ok_or(text)
        })
        .await
    }

    /// Runs the command line in another terminal, so to speak.
    fn run(&self, arguments: &[&str]) -> Output {
        command(self.place.path()).args(arguments).output().unwrap()
    }

    fn run_well(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The processes of its peers, by name.
    fn peers(&self) -> Vec<(String, Pid)> {
        let text = self.text();
        let peer = |line: &str| {
            let (name, rest) = line.trim().split_once(' ')?;
            let pid = rest.split_once("process ")?.1.split(',').next()?.parse().ok()?;
            name.starts_with('p').then_some((name.to_string(), Pid::from_raw(pid)?))
        };
        text.lines().take_while(|line| !line.contains("In another terminal")).filter_map(peer).collect()
    }

    fn leader(&self) -> (String, Pid) {
        let text = self.text();
        let line = text.lines().find(|line| line.ends_with(", leads")).unwrap();
        let name = line.split_whitespace().next().unwrap();
        self.peers().into_iter().find(|(peer, _)| peer == name).unwrap()
    }

    async fn ended(&mut self) -> ExitStatus {
        let mut process = Some(&mut self.process);
        let status = until("the end of the demo", PATIENCE, || {
            let status = process.as_mut().unwrap().try_wait().unwrap().ok_or("it runs");
            async move { status }
        });
        status.await
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(place: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("XDG_RUNTIME_DIR", place).env("TMPDIR", place).env("TZ", "UTC");
    for key in ["RSCALER_API", "RSCALER_TOKEN", "RSCALER_CONTEXT", "RSCALER_CA"] {
        command.env_remove(key);
    }
    command
}

async fn gone(pids: &[(String, Pid)]) {
    until("the end of all peers", PATIENCE, || async {
        let left: Vec<_> = pids.iter().filter(|(_, pid)| test_kill_process(*pid).is_ok()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test]
async fn the_demo_acts_loses_its_leader_and_leaves_nothing_behind() {
    let mut demo = Demo::start(&[]).await;
    let peers = demo.peers();
    assert_eq!(peers.len(), 3, "{}", demo.text());
    demo.says("samples/s|web01|web02|web03").await;

    eprintln!("a load is turned up, and its trigger acts");
    let said = demo.run_well(&["demo", "load", "web01", "0.9"]);
    assert_eq!(said, "web01 moves to a load of 0.9 per core\n");
    demo.says("web-busy fired|web01").await;
    demo.says("run 1 succeeded|shed-load on web01|load target 0.9 -> 0.2").await;

    eprintln!("the leader is killed, and another load is turned up");
    let (leader, pid) = demo.leader();
    kill_process(pid, Signal::KILL).unwrap();
    demo.says(&format!("{leader} was killed (signal 9); 2 left")).await;
    demo.run_well(&["demo", "load", "web02", "0.9"]);
    demo.says("leads now").await;
    demo.says("web-busy fired|web02").await;
    demo.says("run 2 succeeded|shed-load on web02").await;

    eprintln!("it is restarted");
    let said = demo.run_well(&["demo", "restart", &leader]);
    assert!(said.contains("is started again") && !said.contains("does not serve"), "{said}");
    let refused = demo.run(&["demo", "restart", &leader]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("runs already"), "{refused:?}");

    eprintln!("it is told to end");
    let dir = demo.says("  data |removed at the end").await;
    let dir = dir.split_whitespace().nth(1).unwrap().to_string();
    assert!(Path::new(&dir).is_dir());
    kill_process(Pid::from_child(&demo.process), Signal::INT).unwrap();
    assert!(demo.ended().await.success(), "{}", demo.text());
    demo.says("nothing is left behind").await;
    gone(&peers).await;
    assert!(!Path::new(&dir).exists());
    let left: Vec<_> =
        std::fs::read_dir(demo.place.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["log"]);
}

#[tokio::test]
async fn a_demo_that_is_killed_takes_its_peers_along_and_can_be_gone_on_with() {
    let kept = tempfile::tempdir().unwrap();
    let dir = kept.path().join("demo");
    let arguments = ["--dir", dir.to_str().unwrap(), "--nodes", "1"];
    let mut demo = Demo::start(&arguments).await;
    demo.says("samples/s|web01").await;
    let peers = demo.peers();
    demo.process.kill().unwrap();
    assert!(!demo.ended().await.success());
    gone(&peers).await;
    let none = demo.run(&["demo", "load", "web01", "0.5"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("no demo of yours runs"), "{none:?}");

    let again = Demo::start(&arguments).await;
    again.says("3 peers again, as they were left").await;
    again.says("samples/s|web01").await;
    let second = again.run(&["demo", "--dir", dir.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&second.stderr).contains("already"), "{second:?}");
}
