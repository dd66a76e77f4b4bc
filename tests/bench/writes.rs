//! Row A: small replicated writes. A write puts 200 random bytes under one of 10,000 keys, and counts once it is
//! acknowledged. N clients, each of which waits for its answer, over min(N, 16) connections to the leader.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Asked;
use crate::http::{Http1, Http2};
use crate::plane::Plane;
use crate::process::{Usage, load_average};
use crate::table::{Table, quantile};
use crate::wait::until;

const KEYS: usize = 10_000;
const VALUE_BYTES: usize = 200;
const CONNECTIONS_MAX: usize = 16;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(6);
/// Keys that are read back after a run, on each peer.
const READ_BACK: usize = 50;

/// What is written to.
#[derive(Clone, Copy, PartialEq)]
enum Door {
    /// `POST /puts`: a request that goes on.
    Puts,
    /// `PUT /files/{name}/content`: a request each, over HTTP/1.1 where connections are enough, else HTTP/2.
    Requests,
    Etcd,
}

/// A client's way to write.
enum Writer {
    Http1(Http1),
    Http2(Http2),
    Etcd(Http2),
}

impl Writer {
    async fn put(&mut self, key: &str, value: &[u8]) {
        let path = || format!("/api/v1/files/{key}/content");
        let answer = match self {
            Writer::Http1(http) => http.call("PUT", &path(), "", value).await,
            Writer::Http2(http) => http.call("PUT", &path(), "", value.to_vec()).await,
            Writer::Etcd(http) => {
                http.call("POST", "/etcdserverpb.KV/Put", "application/grpc", etcd_put(key, value)).await
            }
        };
        let answer = answer.unwrap();
        assert!(answer.status < 300, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        if matches!(self, Writer::Etcd(_)) {
            assert!(answer.body.len() > 5, "etcd refused a put");
        }
    }
}

/// A frame of gRPC with a `PutRequest`: key is field 1, value field 2.
fn etcd_put(key: &str, value: &[u8]) -> Vec<u8> {
    let mut message = vec![0x0a, u8::try_from(key.len()).unwrap()];
    message.extend_from_slice(key.as_bytes());
    message.push(0x12);
    let mut length = value.len();
    while length >= 0x80 {
        message.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(value);
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}

/// What a run came to.
#[derive(Default)]
struct Run {
    writes: usize,
    seconds: f64,
    usage: Usage,
    p50_ms: f64,
    p99_ms: f64,
}

impl Run {
    fn cpu_per_100k(&self) -> f64 {
        self.usage.cpu * 1e5 / self.writes as f64
    }
}

pub(crate) async fn measure(asked: &Asked, table: &mut Table) {
    let aims = HashMap::from([(1, 45.0), (16, 8.0), (64, 4.0), (256, 2.5)]);
    let compare = asked.compare && Etcd::is_installed();
    if asked.compare && !compare {
        table.skipped("A", "etcd", "not installed (Debian: etcd-server)");
    }
    for &clients in &asked.clients {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..asked.runs {
            if compare {
                theirs.push(etcd_run(clients).await);
            }
            ours.push(our_run(Door::Puts, clients).await);
        }
        let of = |runs: &[Run], figure: fn(&Run) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
        let name = |figure: &str| format!("{clients} clients: {figure}");
        let cpu = of(&ours, Run::cpu_per_100k);
        match aims.get(&clients) {
            Some(aim) => table.at_most("A", &name("CPU per 100,000 writes"), &cpu, "s", *aim),
            None => table.note("A", &name("CPU per 100,000 writes"), &cpu, "s"),
        }
        let p50 = of(&ours, |run| run.p50_ms);
        if clients == 1 {
            table.at_most("A", &name("p50"), &p50, "ms", 0.5);
        } else {
            table.note("A", &name("p50"), &p50, "ms");
        }
        table.note("A", &name("p99"), &of(&ours, |run| run.p99_ms), "ms");
        table.note("A", &name("writes"), &of(&ours, |run| run.writes as f64 / run.seconds), "/s");
        let bytes = of(&ours, |run| run.usage.written as f64 / run.writes as f64);
        table.note("A", &name("written to disk by all three"), &bytes, "B a write");
        table.note("A", &name("memory of all three"), &of(&ours, |run| run.usage.rss_mb), "MB");
        let requests = [our_run(Door::Requests, clients).await];
        table.note("A", &name("a request each: CPU per 100,000"), &of(&requests, Run::cpu_per_100k), "s");
        table.note("A", &name("a request each: p50"), &of(&requests, |run| run.p50_ms), "ms");
        if compare {
            table.note("A", &name("etcd: CPU per 100,000"), &of(&theirs, Run::cpu_per_100k), "s");
            table.note("A", &name("etcd: p50"), &of(&theirs, |run| run.p50_ms), "ms");
            table.note("A", &name("etcd: p99"), &of(&theirs, |run| run.p99_ms), "ms");
            table.note("A", &name("etcd: writes"), &of(&theirs, |run| run.writes as f64 / run.seconds), "/s");
        }
        println!("   load average {}", load_average());
    }
}

async fn our_run(door: Door, clients: usize) -> Run {
    let plane = Plane::start(3).await;
    let leader = plane.leader().await;
    let pids: Vec<u32> = plane.peers.iter().filter_map(|peer| peer.pid()).collect();
    let (run, written) = load(door, &plane.peers[leader].api, &plane.token, clients, &pids).await;
    for peer in &plane.peers {
        let mut http = Http1::connect(&peer.api, &plane.token).await.unwrap();
        for (key, value) in written.iter().take(READ_BACK) {
            let path = format!("/api/v1/files/{key}/content?consistency=linearizable");
            let answer = http.call("GET", &path, "", &[]).await.unwrap();
            assert_eq!((answer.status, &answer.body), (200, value), "{key} on {}", peer.name);
        }
    }
    run
}

/// What was acknowledged last under each key. No two clients share a key.
pub(crate) type Written = HashMap<String, Vec<u8>>;

/// What one client writes.
pub(crate) struct Source {
    keys: std::ops::Range<usize>,
    random: rand::rngs::SmallRng,
}

impl Source {
    fn new(client: usize, clients: usize) -> Source {
        use rand::SeedableRng;
        let own = KEYS / clients;
        let random = rand::rngs::SmallRng::seed_from_u64(client as u64);
        Source { keys: client * own..(client + 1) * own, random }
    }

    pub(crate) fn next(&mut self) -> (String, Vec<u8>) {
        use rand::Rng;
        let key = format!("key-{:05}", self.random.random_range(self.keys.clone()));
        let mut value = vec![0; VALUE_BYTES];
        self.random.fill(&mut value[..]);
        (key, value)
    }
}

/// The load itself.
async fn load(door: Door, addr: &str, token: &str, clients: usize, pids: &[u32]) -> (Run, Written) {
    let warm = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    let connections = clients.min(CONNECTIONS_MAX);
    let mut tasks = Vec::new();
    for connection in 0..connections {
        let sources = (connection..clients).step_by(connections).map(|client| Source::new(client, clients));
        let (warm, stop) = (Arc::clone(&warm), Arc::clone(&stop));
        if door == Door::Puts {
            let (addr, token, sources) = (addr.to_string(), token.to_string(), sources.collect());
            tasks.push(tokio::spawn(async move {
                crate::stream::write(addr, token, sources, &warm, &stop).await.unwrap()
            }));
            continue;
        }
        let shared = match door {
            Door::Requests if clients <= CONNECTIONS_MAX => None,
            _ => Some(Http2::connect(addr, token).await.unwrap()),
        };
        for source in sources {
            let writer = match &shared {
                None => Writer::Http1(Http1::connect(addr, token).await.unwrap()),
                Some(http) if door == Door::Etcd => Writer::Etcd(http.clone()),
                Some(http) => Writer::Http2(http.clone()),
            };
            tasks.push(tokio::spawn(write(writer, source, Arc::clone(&warm), Arc::clone(&stop))));
        }
    }
    tokio::time::sleep(WARM_UP).await;
    let before = Usage::of(pids);
    let began = Instant::now();
    warm.store(true, Ordering::Relaxed);
    tokio::time::sleep(MEASURED).await;
    stop.store(true, Ordering::Relaxed);
    let usage = Usage::of(pids).since(before);
    let seconds = began.elapsed().as_secs_f64();
    let mut latencies = Vec::new();
    let mut written = Written::new();
    for task in tasks {
        let (mine, acknowledged) = task.await.unwrap();
        latencies.extend(mine);
        written.extend(acknowledged);
    }
    latencies.sort_by(f64::total_cmp);
    let run = Run {
        writes: latencies.len(),
        seconds,
        usage,
        p50_ms: quantile(&latencies, 0.5),
        p99_ms: quantile(&latencies, 0.99),
    };
    (run, written)
}

async fn write(
    mut writer: Writer,
    mut source: Source,
    warm: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> (Vec<f64>, Written) {
    let mut latencies = Vec::new();
    let mut written = Written::new();
    while !stop.load(Ordering::Relaxed) {
        let (key, value) = source.next();
        let counts = warm.load(Ordering::Relaxed);
        let began = Instant::now();
        writer.put(&key, &value).await;
        if counts && !stop.load(Ordering::Relaxed) {
            latencies.push(began.elapsed().as_secs_f64() * 1e3);
        }
        written.insert(key, value);
    }
    (latencies, written)
}

/// Three members of etcd on loopback.
struct Etcd {
    members: Vec<Child>,
    clients: Vec<String>,
    _dir: tempfile::TempDir,
}

impl Etcd {
    fn is_installed() -> bool {
        Command::new("etcd").arg("--version").output().is_ok_and(|said| said.status.success())
    }

    async fn start() -> Etcd {
        let dir = tempfile::tempdir().unwrap();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ports: Vec<_> = (0..6).map(|_| free()).collect();
        let at: Vec<String> = ports.iter().map(|port| port.local_addr().unwrap().to_string()).collect();
        drop(ports);
        let cluster: Vec<String> = (0..3).map(|m| format!("m{m}=http://{}", at[m + 3])).collect();
        let members = (0..3)
            .map(|m| {
                let log = std::fs::File::create(dir.path().join(format!("m{m}.log"))).unwrap();
                Command::new("etcd")
                    .args(["--name", &format!("m{m}"), "--initial-cluster-state", "new"])
                    .args(["--listen-client-urls", &format!("http://{}", at[m])])
                    .args(["--advertise-client-urls", &format!("http://{}", at[m])])
                    .args(["--listen-peer-urls", &format!("http://{}", at[m + 3])])
                    .args(["--initial-advertise-peer-urls", &format!("http://{}", at[m + 3])])
                    .args(["--initial-cluster", &cluster.join(",")])
                    .arg("--data-dir")
                    .arg(dir.path().join(format!("m{m}")))
                    .stdin(Stdio::null())
                    .stdout(log.try_clone().unwrap())
                    .stderr(log)
                    .spawn()
                    .unwrap()
            })
            .collect();
        let etcd = Etcd { members, clients: at[..3].to_vec(), _dir: dir };
        until("etcd to take writes", Duration::from_secs(30), || async {
            let mut http = Http2::connect(&etcd.clients[0], "").await.map_err(|error| error.to_string())?;
            let put = http.call("POST", "/etcdserverpb.KV/Put", "application/grpc", etcd_put("a", b"b"));
            let answer = put.await.map_err(|error| error.to_string())?;
            if answer.body.len() > 5 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
        etcd
    }

    /// Where the leader serves clients: its `StatusResponse` names itself (header, field 2) as leader (field 4).
    async fn leader(&self) -> String {
        for client in &self.clients {
            let mut http = Http2::connect(client, "").await.unwrap();
            let answer =
                http.call("POST", "/etcdserverpb.Maintenance/Status", "application/grpc", vec![0; 5]);
            let fields = varints(&answer.await.unwrap().body[5..]);
            if fields.iter().any(|(at, value)| *at == 4 && fields.contains(&(102, *value))) {
                return client.clone();
            }
        }
        panic!("no member of etcd leads");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

/// The numbers of a message by their field; those of the message in field 1 count from 100.
fn varints(mut bytes: &[u8]) -> Vec<(u64, u64)> {
    fn next(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let Some((first, rest)) = bytes.split_first() else { break };
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = next(&mut bytes);
        let value = next(&mut bytes);
        if tag & 7 == 2 {
            let (inside, rest) = bytes.split_at(bytes.len().min(value as usize));
            bytes = rest;
            if tag >> 3 == 1 {
                found.extend(varints(inside).into_iter().map(|(field, value)| (field + 100, value)));
            }
        } else {
            found.push((tag >> 3, value));
        }
    }
    found
}

async fn etcd_run(clients: usize) -> Run {
    let etcd = Etcd::start().await;
    let pids: Vec<u32> = etcd.members.iter().map(Child::id).collect();
    load(Door::Etcd, &etcd.leader().await, "", clients, &pids).await.0
}
