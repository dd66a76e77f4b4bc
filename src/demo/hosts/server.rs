//! What a connection to a simulated host may ask for: one key, one user, `exec` and `shell`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PublicKey;
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Pty, Sig};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::session::{Control, Session};
use super::stdin::{self, Overdrawn, Queue};
use super::{USER, process};

/// The most channels of one connection, as OpenSSH's `MaxSessions` has it.
const CHANNELS_MAX: usize = 10;
/// The most signals of one session that wait to be delivered.
const SIGNALS_MAX: usize = 16;

/// What the connections of one host have in common.
pub(super) struct Shared {
    /// Its name.
    pub(super) name: String,
    home: PathBuf,
    authorized_key: PublicKey,
    stdin_budget: Arc<Semaphore>,
    /// Cancelled when the host is stopped.
    pub(super) cancel: CancellationToken,
    /// All that runs for the host.
    pub(super) futures: TaskTracker,
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

/// A channel, before and after it was told what to run.
enum Slot {
    Open(ChannelWriteHalf<Msg>),
    Running { queue: Option<Queue>, control: Control },
}

/// The state of one connection. When it is dropped, its sessions end.
pub(super) struct Connection {
    host: Arc<Shared>,
    channels: HashMap<ChannelId, Slot>,
    logged_in: CancellationToken,
    all_sessions: CancellationToken,
    _end_sessions: DropGuard,
}

impl Connection {
    /// A connection to `host` that cancels `logged_in` when it is.
    pub(super) fn new(host: Arc<Shared>, logged_in: CancellationToken) -> Self {
        let all_sessions = host.cancel.child_token();
        let end_sessions = all_sessions.clone().drop_guard();
        Self { host, channels: HashMap::new(), logged_in, all_sessions, _end_sessions: end_sessions }
    }

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
        if let Some(Slot::Running { queue: Some(queue), control }) = self.channels.get(&channel) {
            match queue.push(data) {
                Ok(Duration::ZERO) => (),
                Ok(pause) => tokio::time::sleep(pause).await,
                Err(Overdrawn) => control.overdrawn.cancel(),
            }
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
