//! What a check over SSH costs: ours and the watched host's CPU time, on connections that are kept and on fresh ones.
//!
//! Twenty sshd on loopback addresses; a check runs `cat /proc/loadavg` and reads five fields. `kept`: connections and shells are
//! open beforehand, one check under way on each host. `fresh`: a connection for each check, ten under way. The host's side is sshd
//! with everything below it, reaped processes included; what the script takes by itself, without us, is shown beside it.
//!
//! Nothing is asserted but that answers are right: figures depend on the machine and on what else it does.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs};

use rscaler::ssh::{
    Auth, CheckEnd, CheckLimits, CheckOutput, Endpoint, HostKeyPolicy, MemoryHostKeys, Options, Pool, Urgency,
};
use sshd::{Setup, Sshd, user_name};

#[path = "../../src/ssh/testing/sshd.rs"]
#[allow(dead_code, unreachable_pub)]
mod sshd;

/// What is asked for on the command line.
struct Asked {
    kept: bool,
    fresh: bool,
    hosts: usize,
    runs: usize,
    checks: usize,
    script: String,
    sh: Option<&'static str>,
}

impl Asked {
    fn read(arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut asked = Asked {
            kept: false,
            fresh: false,
            hosts: 20,
            runs: 3,
            checks: 6000,
            script: "cat /proc/loadavg".into(),
            sh: None,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} takes a value"));
            match argument.as_str() {
                // What cargo adds.
                "--bench" => {}
                "kept" => asked.kept = true,
                "fresh" => asked.fresh = true,
                "--hosts" => asked.hosts = number(&value()?)?,
                "--runs" => asked.runs = number(&value()?)?,
                "--checks" => asked.checks = number(&value()?)?,
                "--script" => asked.script = value()?,
                "--bash" => asked.sh = Some("/bin/bash"),
                other => {
                    return Err(format!(
                        "`{other}`? There are: kept, fresh, --hosts N, --runs N, --checks N, --script TEXT, --bash"
                    ));
                }
            }
        }
        if !asked.kept && !asked.fresh {
            (asked.kept, asked.fresh) = (true, true);
        }
        Ok(asked)
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn main() {
    let asked = match Asked::read(env::args().skip(1)) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}");
            std::process::exit(2);
        }
    };
    let setup = Setup { sh: asked.sh, ..Setup::default() };
    let hosts: Vec<Sshd> = (0..asked.hosts).map(|_| Sshd::start(setup.clone())).collect();
    let sh = asked.sh.unwrap_or("sh");
    println!("{} hosts, `{}` in {sh}", hosts.len(), asked.script);
    println!(
        "{:<8}{:>9}{:>11}{:>13}{:>14}{:>16}   load",
        "", "checks", "checks/s", "ours, ms", "host's, ms", "script's, ms"
    );
    // As a peer has it.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for (name, wanted, in_flight) in [("kept", asked.kept, hosts.len()), ("fresh", asked.fresh, 10)] {
        if !wanted {
            continue;
        }
        let mut rows: Vec<Row> = (0..asked.runs)
            .map(|_| {
                let alone = script_alone(sh, &asked.script);
                let row = runtime.block_on(measure(&hosts, &asked, name == "kept", in_flight));
                Row { alone, ..row }
            })
            .collect();
        rows.iter().for_each(|row| row.print(name));
        rows.sort_by(|a, b| a.ours.total_cmp(&b.ours));
        let ours = rows[rows.len() / 2].ours;
        rows.sort_by(|a, b| a.theirs.total_cmp(&b.theirs));
        println!("{name:<8} median: ours {ours:.3} ms, the host's {:.3} ms", rows[rows.len() / 2].theirs);
    }
}

/// Milliseconds of CPU are for one check.
struct Row {
    checks: usize,
    rate: f64,
    ours: f64,
    theirs: f64,
    alone: f64,
}

impl Row {
    fn print(&self, name: &str) {
        println!(
            "{name:<8}{:>9}{:>11.0}{:>13.3}{:>14.3}{:>16.3}   {}",
            self.checks,
            self.rate,
            self.ours,
            self.theirs,
            self.alone,
            fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        );
    }
}

async fn measure(hosts: &[Sshd], asked: &Asked, is_kept: bool, in_flight: usize) -> Row {
    let pool = Pool::new(Options::default(), Arc::new(MemoryHostKeys::default()));
    let endpoints: Arc<Vec<Arc<Endpoint>>> = Arc::new(hosts.iter().map(endpoint).map(Arc::new).collect());
    // Host keys are recorded, and kept connections open, before anything is measured.
    for (index, endpoint) in endpoints.iter().enumerate() {
        check(&pool, &format!("host{index}"), endpoint, &asked.script).await;
        if !is_kept {
            pool.close(&format!("host{index}"));
        }
    }
    settled(hosts, if is_kept { hosts.len() } else { 0 }).await;
    let checks = if is_kept { asked.checks } else { asked.checks / 10 };
    let (theirs, ours, begun) = (hosts_cpu(hosts), own_cpu(), Instant::now());
    let next = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..in_flight)
        .map(|worker| {
            let (pool, endpoints, next) = (pool.clone(), Arc::clone(&endpoints), Arc::clone(&next));
            let script = asked.script.clone();
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= checks {
                        return;
                    }
                    if is_kept {
                        let host = worker % endpoints.len();
                        check(&pool, &format!("host{host}"), &endpoints[host], &script).await;
                    } else {
                        // Each under a name of its own, so that none waits for another's connection.
                        let (name, host) = (format!("fresh{number}"), number % endpoints.len());
                        check(&pool, &name, &endpoints[host], &script).await;
                        pool.close(&name);
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let elapsed = begun.elapsed();
    // Connections that are being closed still cost something; looking for the hosts' processes is not to count.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ours = own_cpu() - ours;
    settled(hosts, if is_kept { hosts.len() } else { 0 }).await;
    let theirs = hosts_cpu(hosts) - theirs;
    pool.shutdown().await;
    let each = |cpu: f64| cpu * 1000.0 / checks as f64;
    Row {
        checks,
        rate: checks as f64 / elapsed.as_secs_f64(),
        ours: each(ours),
        theirs: each(theirs),
        alone: 0.0,
    }
}

async fn check(pool: &Pool, name: &str, endpoint: &Arc<Endpoint>, script: &str) {
    let connection = pool.connection(name, endpoint, Urgency::Now).await.unwrap();
    let output = connection.run_check(script, Duration::from_secs(30), CheckLimits::default()).await.unwrap();
    verify(&output);
}

fn verify(output: &CheckOutput) {
    assert_eq!(output.end, CheckEnd::Exited(0), "{output:?}");
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let fields: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(fields.len(), 5, "{text}");
    assert!(fields[..3].iter().all(|field| field.parse::<f64>().is_ok()), "{text}");
}

fn endpoint(host: &Sshd) -> Endpoint {
    Endpoint {
        host: host.host.clone(),
        port: host.port,
        user: user_name(),
        auth: Auth { key_pem: Some(host.client_key().into()), ..Auth::default() },
        host_key: HostKeyPolicy::AcceptNew,
        jump: None,
    }
}

/// Waits until as many connections are left as there are to be, so that what a host spent on one is counted.
async fn settled(hosts: &[Sshd], connections: usize) {
    let began = Instant::now();
    // Above its listener sshd has one process for a connection of root's, two for another's.
    while hosts.iter().map(|host| host.connection_processes().len()).sum::<usize>() > 2 * connections {
        assert!(began.elapsed() < Duration::from_secs(30), "connections do not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Seconds of CPU that this process used.
fn own_cpu() -> f64 {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    clock.tv_sec as f64 + clock.tv_nsec as f64 / 1e9
}

/// Seconds of CPU that the hosts used: sshd, what runs below it, and what has ended there.
fn hosts_cpu(hosts: &[Sshd]) -> f64 {
    let pids = hosts.iter().flat_map(|host| host.pid().into_iter().chain(host.processes()));
    pids.map(|pid| cpu(Path::new(&format!("/proc/{pid}/stat")))).sum()
}

fn cpu(stat: &Path) -> f64 {
    let stat = fs::read_to_string(stat).unwrap_or_default();
    // The name, in parentheses, may hold anything.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 =
        after.split_whitespace().skip(11).take(4).filter_map(|text| text.parse::<u64>().ok()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// What the script alone takes in a loop of a shell, without sshd, without us: milliseconds of CPU for one.
fn script_alone(sh: &str, script: &str) -> f64 {
    const TIMES: u32 = 300;
    let program =
        format!("i=0; while [ $i -lt {TIMES} ]; do {script}; i=$((i+1)); done; exec cat /proc/self/stat");
    let output = Command::new(sh).args(["-c", &program]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text.lines().last().unwrap()).unwrap();
    cpu(file.path()) * 1000.0 / f64::from(TIMES)
}
