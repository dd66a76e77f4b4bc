//! What a connection to a simulated host may ask for: one key, one user, `exec` and `shell`.

use std::collections::HashMap;
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Disconnect, MethodKind, MethodSet, Pty, Sig,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::session::{Control, Session};
use super::stdin::{self, Queue};
use super::{USER, process};

/// The most connections to one host; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// The most channels of one connection, as OpenSSH's `MaxSessions` has it.
const CHANNELS_MAX: usize = 10;
/// The most signals of one session that wait to be delivered.
const SIGNALS_MAX: usize = 16;
/// How long a client may take to log in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a refused login waits for its answer; short, for there is nothing to guess here.
const REFUSAL_DELAY: Duration = Duration::from_millis(100);
/// How long a connection may take for its last words once it is to end.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the connections of one host have in common.
pub(super) struct Shared {
    name: String,
    home: PathBuf,
    authorized_key: PublicKey,
    stdin_budget: Arc<Semaphore>,
    cancel: CancellationToken,
    futures: TaskTracker,
}

impl Shared {
    /// For the host `name` with the directory `home`; ends when `cancel` says so, with all it has put into
    /// `futures`.
    pub(super) fn new(
        name: &str,
        home: &Path,
        authorized_key: &PublicKey,
        cancel: CancellationToken,
        futures: TaskTracker,
    ) -> Self {
        Self {
            name: name.to_owned(),
            home: home.to_owned(),
            authorized_key: authorized_key.clone(),
            stdin_budget: stdin::budget(),
            cancel,
            futures,
        }
    }

    fn is_authorized(&self, user: &str, key: &PublicKey) -> bool {
        // The comment of a key is not part of it.
        user == USER && key.key_data() == self.authorized_key.key_data()
    }
}

/// Accepts connections until the host is stopped.
pub(super) async fn serve(host: Arc<Shared>, listener: TcpListener, host_key: PrivateKey) {
    let config = Arc::new(server::Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: REFUSAL_DELAY,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        max_auth_attempts: 6,
        // Kept connections are idle for as long as they like; dead ones are found by the keepalive.
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 3,
        nodelay: true,
        ..server::Config::default()
    });
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, socket) = tokio::select! {
            biased;
            () = host.cancel.cancelled() => return,
            (slot, accepted) = accepted => match accepted {
                Ok((socket, _)) => (slot, socket),
                Err(error) => {
                    // Out of descriptors, most likely; without a pause this would spin.
                    warn!(host = host.name, %error, "could not accept a connection");
                    tokio::time::sleep(REFUSAL_DELAY).await;
                    continue;
                }
            },
        };
        let connection = connection(Arc::clone(&host), Arc::clone(&config), socket);
        host.futures.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
}

/// One connection from its first byte to its last.
async fn connection(host: Arc<Shared>, config: Arc<server::Config>, socket: TcpStream) {
    // The library owns the socket; a second handle to it is the sure way to end a connection.
    let (socket, breaker) = match two_handles(socket) {
        Ok(handles) => handles,
        Err(error) => return debug!(host = host.name, %error, "connection lost at once"),
    };
    let logged_in = CancellationToken::new();
    let all_sessions = host.cancel.child_token();
    let handler = Connection {
        host: Arc::clone(&host),
        channels: HashMap::new(),
        logged_in: logged_in.clone(),
        all_sessions: all_sessions.clone(),
        _end_sessions: all_sessions.drop_guard(),
    };
    let running = tokio::select! {
        biased;
        () = host.cancel.cancelled() => return,
        running = tokio::time::timeout(LOGIN_TIMEOUT, server::run_stream(config, socket, handler)) => match running {
            Ok(Ok(running)) => running,
            // Someone who knocked and did not speak SSH.
            Ok(Err(_)) | Err(_) => return,
        },
    };
    let handle = running.handle();
    tokio::pin!(running);
    let login = tokio::time::timeout(LOGIN_TIMEOUT, logged_in.cancelled_owned());
    let overdue = async {
        if login.await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = host.cancel.cancelled() => {
            let goodbye = handle.disconnect(Disconnect::ByApplication, "the host is stopped".into(), String::new());
            let _ = tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await;
            // The client closes its side when it has read the goodbye.
            if tokio::time::timeout(GOODBYE_TIMEOUT, &mut running).await.is_ok() {
                return;
            }
        }
        () = overdue => debug!(host = host.name, "login took too long"),
        ended = &mut running => {
            return debug!(host = host.name, error = ?ended.err(), "connection ended");
        }
    }
    let _ = breaker.shutdown(Shutdown::Both);
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, running).await;
}

fn two_handles(socket: TcpStream) -> std::io::Result<(TcpStream, std::net::TcpStream)> {
    socket.set_nodelay(true)?;
    let socket = socket.into_std()?;
    let second = socket.try_clone()?;
    Ok((TcpStream::from_std(socket)?, second))
}

/// A channel, before and after it was told what to run.
enum Slot {
    Open(ChannelWriteHalf<Msg>),
    Running { queue: Option<Queue>, control: Control },
}

/// The state of one connection. When it is dropped, its sessions end.
struct Connection {
    host: Arc<Shared>,
    channels: HashMap<ChannelId, Slot>,
    logged_in: CancellationToken,
    all_sessions: CancellationToken,
    _end_sessions: DropGuard,
}

impl Connection {
    /// Starts the process that the client asked for, on a channel that has none yet.
    fn start(
        &mut self,
        id: ChannelId,
        command: Option<&[u8]>,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        let channel = match self.channels.remove(&id) {
            Some(Slot::Open(channel)) => channel,
            other => {
                self.channels.extend(other.map(|slot| (id, slot)));
                return session.channel_failure(id);
            }
        };
        let child = match process::spawn(&self.host.name, &self.host.home, command) {
            Ok(child) => child,
            Err(error) => {
                warn!(host = self.host.name, %error, "could not start a process");
                self.channels.insert(id, Slot::Open(channel));
                return session.channel_failure(id);
            }
        };
        debug!(host = self.host.name, pid = child.id(), "session started");
        session.channel_success(id)?;
        let (queue, feed) = stdin::queue(Arc::clone(&self.host.stdin_budget));
        let (signals, signals_received) = mpsc::channel(SIGNALS_MAX);
        let control =
            Control { signals, overdrawn: CancellationToken::new(), gone: self.all_sessions.child_token() };
        let running = Session {
            child,
            channel,
            handle: session.handle(),
            feed: Some(feed),
            signals: signals_received,
            overdrawn: control.overdrawn.clone(),
            gone: control.gone.clone(),
        };
        self.host.futures.spawn(running.run());
        self.channels.insert(id, Slot::Running { queue: Some(queue), control });
        Ok(())
    }

    /// Forgets sessions that ended by themselves: the library doesn't tell when a client confirms that.
    fn forget_ended(&mut self) {
        self.channels.retain(|_, slot| match slot {
            Slot::Open(_) => true,
            Slot::Running { control, .. } => !control.signals.is_closed(),
        });
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(if self.host.is_authorized(user, offer.public_key) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(if self.host.is_authorized(user, key.public_key) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_succeeded(&mut self, _session: &mut server::Session) -> Result<(), Self::Error> {
        self.logged_in.cancel();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        self.forget_ended();
        if self.channels.len() >= CHANNELS_MAX {
            // What OpenSSH answers at MaxSessions.
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        }
        let id = channel.id();
        // What the client sends arrives in the methods below; see `stdin.rs` why not through the read half.
        let (_, write_half) = channel.split();
        self.channels.insert(id, Slot::Open(write_half));
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        self.start(channel, Some(command), session)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        self.start(channel, None, session)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        if let Some(Slot::Running { queue: Some(queue), control }) = self.channels.get(&channel)
            && queue.push(data).is_err()
        {
            control.overdrawn.cancel();
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        _session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        if let Some(Slot::Running { queue, .. }) = self.channels.get_mut(&channel) {
            *queue = None;
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        if let Some(Slot::Running { control, .. }) = self.channels.remove(&channel) {
            control.gone.cancel();
        }
        Ok(())
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        _session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        if let Some(Slot::Running { control, .. }) = self.channels.get(&channel) {
            let _ = control.signals.try_send(signal);
        }
        Ok(())
    }

    // What is refused must be refused aloud: a client that wants an answer waits for it.

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
