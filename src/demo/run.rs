//! The demo from its first to its last moment.
//!
//! ```text
//! directory -> hosts -> p1 (bootstrap) -> p2, p3 (join) -> documents -> log of what happens -> end
//! ```
//!
//! A signal at any moment leads to the end, which is the same whatever came before.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rscaler_api::client::Client;
use rscaler_api::types::{ApplyOptions, JoinToken, Kind, PeerRole};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::control::{Answer, Asked, Control, HostStatus, PeerStatus, Request, Status};
use super::directory::{Directory, Record, remove_left};
use super::hosts::{Fleet, SimulatedHost};
use super::jvm::{self, DemoJvm};
use super::peers::{
    Peer, Peers, Start, choose_addresses, end_of_log, how_it_ended, read_token, taken_address,
};
use super::registry::{Entry, Listed, Registry};
use super::screen::{Line, Screen, Tag};
use super::story::Story;
use super::view::Viewer;
use super::watch::Watch;
use super::{Options, seed, welcome};

/// How long a peer may take to serve. Loopback and an empty log: seconds, on a slow machine too.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long addresses of a demo that was just killed may still be taken by its peers.
const ADDRESSES_TIMEOUT: Duration = Duration::from_secs(15);
/// How long is waited for a peer that was restarted.
const RESTART_TIMEOUT: Duration = Duration::from_secs(15);
/// How long peers may take to end when they are asked to. The last ones have no majority to say goodbye to.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// The same, where nobody will need what they write.
const STOP_TIMEOUT_TEMPORARY: Duration = Duration::from_secs(2);
/// How long a peer that joined may take to become a voter.
const VOTERS_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one question to a peer that starts may take.
const QUESTION_PATIENCE: Duration = Duration::from_millis(50);
/// How often is asked for what is waited for.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the state of things is printed where no line moves.
const STATUS_PERIOD: Duration = Duration::from_secs(10);
const HOSTS_MAX: usize = 200;
const PEERS_MAX: usize = 7;

/// Runs a demo until it is told to end by Ctrl-C, SIGTERM, or its terminal closing.
///
/// # Errors
/// When it can't be started; why, in words, with the end of a peer's log where a peer is to blame.
pub async fn run(options: Options) -> anyhow::Result<()> {
    if !(1..=HOSTS_MAX).contains(&options.nodes) {
        bail!("a demo has 1 to {HOSTS_MAX} nodes, not {}", options.nodes);
    }
    if !(1..=PEERS_MAX).contains(&options.peers) {
        bail!("a demo has 1 to {PEERS_MAX} peers, not {}", options.peers);
    }
    // First of all: from here on a signal leads to a clean end.
    let mut signals = Signals::new()?;
    let mut screen = Screen::new();
    let mut demo = tokio::select! {
        biased;
        () = signals.next() => return Ok(()),
        demo = Demo::prepare(&options) => demo?,
    };
    let result = tokio::select! {
        biased;
        () = signals.next() => Ok(()),
        result = demo.live(&mut screen) => result,
    };
    let rest = demo.end(&mut screen, &mut signals).await;
    let result = result.or_else(|error| if nobody_reads(&error) { Ok(()) } else { Err(error) });
    if result.is_ok() {
        let _ = screen.line(&Line::now(Tag::Demo, rest));
    }
    result
}

/// Waits until a peer that was just restarted serves; answers what it still waits for, where it does not in time:
/// with most peers dead, no single one can serve.
///
/// # Errors
/// When it ends again, with the end of its log.
pub(super) async fn wait_for_restarted(dir: Option<&Path>, name: &str) -> anyhow::Result<Option<String>> {
    let deadline = Instant::now() + RESTART_TIMEOUT;
    let mut client = None;
    loop {
        let status = super::status(dir).await?;
        let peer = status.peers.iter().find(|peer| peer.name == name).context("the demo lost the peer")?;
        if peer.pid.is_none() {
            let ended = peer.ended.as_deref().unwrap_or("is not there");
            bail!("{name} {ended}; {}", end_of_log(&peer.log, peer.log_from));
        }
        let client = match &client {
            Some(client) => client,
            None => client.insert(question(&peer.api)?),
        };
        match client.ready().await {
            Ok(()) => return Ok(None),
            Err(error) if Instant::now() > deadline => return Ok(Some(error.to_string())),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Whatever may end the demo.
struct Signals {
    all: [Signal; 3],
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let listen = |kind| signal(kind).context("could not listen for signals");
        let all = [
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ];
        Ok(Signals { all })
    }

    /// The next one. Cancel safe.
    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.all;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// All parts of a demo. They end in the order in which they stand here, unless [`Demo::end`] ended them before.
struct Demo {
    peers: Peers,
    fleet: Fleet,
    /// A JVM on the first host, where there is Java.
    jvm: Option<DemoJvm>,
    control: Control,
    listed: Listed,
    registry: Registry,
    record: Record,
    directory: Directory,
    key: russh::keys::PrivateKey,
    program: PathBuf,
    story: Story,
}

impl Demo {
    /// Takes the directory, and starts all but the peers.
    async fn prepare(options: &Options) -> anyhow::Result<Demo> {
        let registry = Registry::of_user();
        registry.take_dead().iter().for_each(remove_left);
        let (directory, mut record) = Directory::open(options.dir.as_deref())?;
        if !record.complete {
            directory.begin_anew()?;
            record = Record::default();
            record.peers = choose_addresses(options.peers)?;
            directory.write_record(&record)?;
        }
        let (listed, control) = listen(&registry)?;
        let program = std::env::current_exe().context("could not find this program's file")?;
        let peers = Peers::new(&program, &directory.peers(), &record.peers);
        let key = directory.key()?;
        // A node whose host is not there would only be trouble.
        let count = options.nodes.max(record.hosts.len());
        let fleet = Fleet::start(directory.path(), &seed::host_names(count), key.public_key()).await?;
        let jvm = DemoJvm::start(&program).await;
        Ok(Demo {
            peers,
            fleet,
            jvm,
            control,
            listed,
            registry,
            record,
            directory,
            key,
            program,
            story: Story::default(),
        })
    }

    /// Starts the peers, has them watch the hosts, and tells what happens; ends only when nobody reads it.
    async fn live(&mut self, screen: &mut Screen) -> anyhow::Result<()> {
        let urls: Vec<_> = self.peers.all().iter().map(Peer::url).collect();
        self.start_peers(screen).await?;
        let token = read_token(&self.peers.all()[0].data)?;
        self.directory.write("admin.token", format!("{token}\n").as_bytes())?;
        let client = urls.iter().fold(Client::builder().token(&token), |builder, url| builder.endpoint(url));
        let client = client.build()?;
        self.wait_for_voters(&client, screen).await?;
        self.seed(&client).await.context("could not set up what is watched")?;
        if !self.record.complete {
            self.record.complete = true;
            self.directory.write_record(&self.record)?;
        }

        let mut viewer = Viewer::new(&urls, &token)?;
        self.story.tell(&viewer.look().await?);
        let others = !self.registry.running().is_empty();
        self.listed.announce(&Entry {
            dir: self.directory.path().to_owned(),
            temporary: self.directory.is_temporary(),
            pid: std::process::id(),
        })?;
        let program = welcome::program_to_name(&self.program);
        let text = welcome::text(
            &self.status(),
            program.as_deref(),
            self.directory.is_temporary(),
            others,
            self.jvm.is_some(),
        );
        screen.print(&text)?;
        let watch = Watch::start(viewer, self.fleet.hosts().len());
        self.tell(watch, screen).await
    }

    async fn start_peers(&mut self, screen: &mut Screen) -> anyhow::Result<()> {
        let count = self.peers.all().len();
        self.wait_for_addresses(screen).await?;
        if self.record.complete {
            screen.line(&Line::now(Tag::Demo, format!("starting {count} peers again, as they were left")))?;
            for index in 0..count {
                self.peers.start(index, Start::Again)?;
            }
            return self.wait_until_ready(0..count).await;
        }
        screen.line(&Line::now(
            Tag::Demo,
            format!("starting {count} peers and {} hosts", self.fleet.hosts().len()),
        ))?;
        self.peers.start(0, Start::Bootstrap)?;
        self.wait_until_ready(0..1).await?;
        let first = &self.peers.all()[0];
        let at = first.record.peer;
        let client = Client::builder().endpoint(first.url()).token(read_token(&first.data)?).build()?;
        for index in 1..count {
            let issued =
                client.join_token(&JoinToken::default()).await.context("could not get a join token")?;
            self.peers.start(index, Start::Join { at, token: &issued.token })?;
        }
        self.wait_until_ready(1..count).await
    }

    /// Waits until the addresses that peers had before are free: those of a demo that was killed end a moment
    /// after it.
    async fn wait_for_addresses(&self, screen: &mut Screen) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut is_told = false;
        while let Some((addr, error)) = taken_address(&self.record.peers) {
            if begun.elapsed() > ADDRESSES_TIMEOUT {
                return Err(error).with_context(|| {
                    format!("a peer of this demo had {addr}: end what uses it, or give another directory")
                });
            }
            if !is_told {
                screen
                    .line(&Line::now(Tag::Demo, format!("waiting for {addr}, which something else uses")))?;
            }
            is_told = true;
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Waits until peers serve, or one of them ends.
    async fn wait_until_ready(&mut self, range: std::ops::Range<usize>) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        for index in range.clone() {
            let client = question(&self.peers.all()[index].url())?;
            loop {
                for other in range.clone() {
                    if let Some(status) = self.peers.has_ended(other) {
                        let peer = &self.peers.all()[other];
                        bail!(
                            "{} {}; {}",
                            peer.record.name,
                            how_it_ended(status),
                            end_of_log(&peer.log, peer.log_from)
                        );
                    }
                }
                let Err(error) = client.ready().await else { break };
                if Instant::now() > deadline {
                    let peer = &self.peers.all()[index];
                    let seconds = READY_TIMEOUT.as_secs();
                    let name = &peer.record.name;
                    bail!(
                        "{name} does not serve after {seconds} s: {error}; {}",
                        end_of_log(&peer.log, peer.log_from)
                    );
                }
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Waits until every peer has a vote, before anybody is told to kill one.
    async fn wait_for_voters(&self, client: &Client, screen: &mut Screen) -> anyhow::Result<()> {
        let deadline = Instant::now() + VOTERS_TIMEOUT;
        let count = self.peers.all().len();
        loop {
            let seen = client.peers().await.context("could not ask for peers")?.items;
            let voters = seen.iter().filter(|peer| peer.role != PeerRole::Learner).count();
            if voters >= count {
                return Ok(());
            }
            if Instant::now() > deadline {
                let text = format!("only {voters} of {count} peers have a vote so far: don't kill one yet");
                screen.line(&Line::now(Tag::Trouble, text))?;
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// Applies all documents the first time; later only what is another, and hosts that are new. What the user
    /// changed or deleted stays so.
    async fn seed(&mut self, client: &Client) -> anyhow::Result<()> {
        let hosts = self.fleet.hosts();
        let apply =
            |documents: String| async move { client.apply(documents, &ApplyOptions::default()).await };
        if self.record.complete {
            let (old, new): (Vec<_>, Vec<_>) =
                hosts.iter().cloned().partition(|host| self.record.hosts.contains(&host.name));
            for host in &old {
                match client.patch(Kind::Node, &host.name, &seed::moved(host), None).await {
                    Ok(_) => (),
                    Err(error) if error.status() == Some(404) => (),
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(jvm) = &self.jvm {
                match client.patch(Kind::JvmProfile, jvm::PROFILE, &jvm.moved(), None).await {
                    Ok(_) => (),
                    // Deleted, or there was no Java when the demo began.
                    Err(error) if error.status() == Some(404) => (),
                    Err(error) => return Err(error.into()),
                }
            }
            if !new.is_empty() {
                apply(seed::nodes(&new)?).await?;
            }
        } else {
            apply(seed::all(&self.key, hosts)?).await?;
            if let Some(jvm) = &self.jvm {
                apply(seed::documents(&jvm.documents())?).await?;
                let jvms = serde_json::json!({"jvms": [jvm::PROFILE]});
                client.patch(Kind::Node, &hosts[0].name, &jvms, None).await?;
            }
        }
        let names: Vec<_> = hosts.iter().map(|host| host.name.clone()).collect();
        if self.record.hosts != names {
            self.record.hosts = names;
            self.directory.write_record(&self.record)?;
        }
        Ok(())
    }

    /// Prints what happens and does what is asked, until nobody reads it.
    async fn tell(&mut self, mut watch: Watch, screen: &mut Screen) -> anyhow::Result<()> {
        let mut status = interval(STATUS_PERIOD);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        status.tick().await;
        let mut answered = true;
        loop {
            tokio::select! {
                biased;
                (index, ended) = self.peers.next_end() => {
                    let name = &self.peers.all()[index].record.name;
                    let left = self.peers.all().iter().filter(|peer| peer.pid().is_some()).count();
                    let text = format!("{name} {}; {left} left. `rscaler demo restart {name}` starts it again", how_it_ended(ended));
                    screen.line(&Line::now(Tag::Peer, text))?;
                }
                Some(asked) = self.control.next() => self.answer(asked, screen)?,
                view = watch.next() => match view {
                    Ok(view) => {
                        if !answered {
                            screen.line(&Line::now(Tag::Demo, "the peers answer again"))?;
                        }
                        answered = true;
                        for line in self.story.tell(&view) {
                            screen.line(&line)?;
                        }
                        screen.status(&self.state())?;
                    }
                    Err(error) => {
                        if answered {
                            let left = self.peers.all().iter().any(|peer| peer.pid().is_some());
                            let text = if left { error } else { "no peer is left to watch anything".to_owned() };
                            screen.line(&Line::now(Tag::Trouble, text))?;
                        }
                        answered = false;
                    }
                },
                _ = status.tick(), if !screen.moves() => {
                    if answered {
                        screen.line(&Line::now(Tag::Samples, self.state()))?;
                    }
                }
            }
        }
    }

    /// Does what is asked, prints it, and answers.
    fn answer(&mut self, asked: Asked, screen: &mut Screen) -> anyhow::Result<()> {
        let answer = match asked.request {
            Request::Status => Answer::Status(self.status()),
            Request::Load { host, level } => match self.fleet.set_load(&host, level) {
                Ok(()) => told(screen, Tag::Node, format!("{host} moves to a load of {level} per core"))?,
                Err(error) => Answer::Failed { message: error.to_string() },
            },
            Request::Restart { peer } => match self.restart(&peer) {
                Ok(pid) => told(screen, Tag::Peer, format!("{peer} is started again (process {pid})"))?,
                Err(error) => Answer::Failed { message: format!("{error:#}") },
            },
        };
        // Who asked may be gone.
        let _ = asked.answer.send(answer);
        Ok(())
    }

    fn restart(&mut self, name: &str) -> anyhow::Result<u32> {
        let index = self.peers.all().iter().position(|peer| peer.record.name == name);
        let names =
            || self.peers.all().iter().map(|peer| peer.record.name.as_str()).collect::<Vec<_>>().join(", ");
        let index = index.with_context(|| format!("there is no peer \"{name}\"; there are {}", names()))?;
        self.peers.start(index, Start::Again)
    }

    /// How things are, in one line.
    fn state(&self) -> String {
        let peers = self.peers.all().iter().filter(|peer| peer.pid().is_some());
        self.story.status(&peers.map(|peer| peer.record.name.as_str()).collect())
    }

    fn status(&self) -> Status {
        let peer = |peer: &Peer| PeerStatus {
            name: peer.record.name.clone(),
            api: peer.url(),
            pid: peer.pid(),
            ended: peer.ended.map(how_it_ended),
            leads: peer.pid().is_some() && self.story.leader() == Some(&peer.record.name),
            log: peer.log.clone(),
            log_from: peer.log_from,
        };
        let host = |host: &SimulatedHost| HostStatus {
            name: host.name.clone(),
            addr: host.addr,
            load1: self.story.loads().get(&host.name).copied(),
        };
        Status {
            dir: self.directory.path().to_owned(),
            pid: std::process::id(),
            token_file: self.directory.token_file(),
            peers: self.peers.all().iter().map(peer).collect(),
            hosts: self.fleet.hosts().iter().map(host).collect(),
        }
    }

    /// Ends peers, then hosts, then forgets the demo. A second signal kills what has not ended by then. Answers what
    /// is left, in words.
    async fn end(mut self, screen: &mut Screen, signals: &mut Signals) -> String {
        // The terminal may be gone, which must keep nothing from ending.
        let _ = screen.line(&Line::now(Tag::Demo, "ending"));
        let is_temporary = self.directory.is_temporary();
        let patience = if is_temporary { STOP_TIMEOUT_TEMPORARY } else { STOP_TIMEOUT };
        let killed = self.peers.stop(patience, signals.next()).await;
        if !killed.is_empty() && !is_temporary {
            let text =
                format!("{} did not end in time and was killed, which loses nothing", killed.join(", "));
            let _ = screen.line(&Line::now(Tag::Peer, text));
        }
        let Demo { fleet, directory, listed, control, .. } = self;
        drop((control, listed));
        fleet.stop().await;
        if is_temporary {
            "ended; nothing is left behind".to_owned()
        } else {
            let dir = welcome::quoted(&directory.path().display().to_string());
            format!("ended; `rscaler demo --dir {dir}` goes on from here")
        }
    }
}

/// A socket for requests. Tried twice, for another demo that ends may take the directory away in between.
fn listen(registry: &Registry) -> anyhow::Result<(Listed, Control)> {
    let once = || {
        let listed = registry.reserve(std::process::id())?;
        let control = Control::listen(listed.socket())?;
        Ok((listed, control))
    };
    once().or_else(|_: anyhow::Error| once())
}

/// Prints what was done, and answers it.
fn told(screen: &mut Screen, tag: Tag, message: String) -> anyhow::Result<Answer> {
    screen.line(&Line::now(tag, &message))?;
    Ok(Answer::Done { message })
}

/// Whether there is nobody left to print for, which is a reason to end, and no failure.
fn nobody_reads(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A client for short questions to one peer.
fn question(url: &str) -> anyhow::Result<Client> {
    Ok(Client::builder().endpoint(url).patience(QUESTION_PATIENCE).build()?)
}
