//! From an endpoint to an authenticated session.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use russh::client::{self, AuthResult, DisconnectReason, KeyboardInteractiveAuthResponse};
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{MethodKind, MethodSet, Preferred};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::connection::Connection;
use super::endpoint::{Endpoint, HostKeyPolicy};
use super::error::{Error, HostKeyError};
use super::host_keys::{self, HostKeys, Verdict};
use super::keys::KeyCache;
use super::kill_switch::KillSwitch;
use super::pool::Options;

/// Hosts with a dial under way that are remembered before the forgotten ones are swept out.
const HOSTS_SWEEP: usize = 1024;

/// Tries at a server that hangs up during the handshake.
const HANG_UPS_MAX: u32 = 4;
/// The pause before the second try; the third and fourth come four and nine times later.
const HANG_UP_PAUSE: Duration = Duration::from_millis(100);

/// Why one try at a dial failed.
enum Failed {
    /// The server ended the connection before the login.
    HungUp(Error),
    Otherwise(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Otherwise(error)
    }
}

/// What every dial of a pool shares.
pub(super) struct Dialer {
    pub(super) options: Options,
    host_keys: Arc<dyn HostKeys>,
    keys: KeyCache,
    total: Arc<Semaphore>,
    per_host: Mutex<HashMap<(String, u16), Weak<Semaphore>>>,
}

/// An authenticated session.
pub(super) struct Dialled {
    pub(super) handle: client::Handle<Client>,
    /// Cuts the stream below the session.
    pub(super) cut: CancellationToken,
    /// Why the session ended, once it has.
    pub(super) ended: Arc<Mutex<Option<String>>>,
}

impl Dialer {
    pub(super) fn new(options: Options, host_keys: Arc<dyn HostKeys>) -> Self {
        let total = Arc::new(Semaphore::new(options.dials_total.max(1)));
        Self { options, host_keys, keys: KeyCache::default(), total, per_host: Mutex::default() }
    }

    /// Connects, checks the host key and logs in. `via` is a connection to `endpoint.jump`. Takes at most the connect and the
    /// login time of the options, after the wait for its turn, which the caller bounds. Cancel safe: dropped, it leaves
    /// nothing open.
    pub(super) async fn dial(&self, endpoint: &Endpoint, via: Option<&Connection>) -> Result<Dialled, Error> {
        let key = match &endpoint.auth.key_pem {
            Some(key) => Some(self.keys.open(key, endpoint.auth.passphrase.as_ref()).await?),
            None => None,
        };
        let _turn = self.turn(endpoint).await?;
        // A server that is being logged in to by many hangs up on some (MaxStartups): it is there, and takes the next.
        let mut tries = 1;
        loop {
            match self.try_dial(endpoint, via, key.clone()).await {
                Ok(dialled) => return Ok(dialled),
                Err(Failed::HungUp(error)) if tries < HANG_UPS_MAX => {
                    debug!(host = %endpoint.address(), %error, "the server hung up, trying again");
                    sleep(HANG_UP_PAUSE * tries * tries + HANG_UP_PAUSE.mul_f64(rand::random())).await;
                    tries += 1;
                }
                Err(Failed::HungUp(error) | Failed::Otherwise(error)) => return Err(error),
            }
        }
    }

    async fn try_dial(
        &self,
        endpoint: &Endpoint,
        via: Option<&Connection>,
        key: Option<Arc<russh::keys::PrivateKey>>,
    ) -> Result<Dialled, Failed> {
        let recorded = self.recorded(endpoint).await?;
        let ended = Arc::new(Mutex::new(None));
        let client = Client {
            address: endpoint.address(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            policy: endpoint.host_key.clone(),
            recorded: recorded.clone(),
            host_keys: self.host_keys.clone(),
            ended: ended.clone(),
        };
        let config = Arc::new(self.config(&endpoint.host_key, &recorded));
        let cut = CancellationToken::new();
        // Whatever goes wrong from here on, including being dropped, must not leave a half-open session behind.
        let cut_unless_done = cut.clone().drop_guard();
        let handle = match via {
            Some(via) => {
                let stream = self.forwarded(endpoint, via).await?;
                self.shake_hands(endpoint, config, KillSwitch::new(stream, &cut), client).await?
            }
            None => {
                let stream = self.connect(endpoint).await?;
                self.shake_hands(endpoint, config, KillSwitch::new(stream, &cut), client).await?
            }
        };
        let mut handle = handle;
        let after = self.options.login_timeout;
        match timeout(after, log_in(&mut handle, endpoint, key, &ended)).await {
            Ok(result) => result?,
            Err(_) => return Err(took_too_long(endpoint, "logging in", after).into()),
        }
        Ok(Dialled { handle, cut: cut_unless_done.disarm(), ended })
    }

    /// Waits for a turn among all dials and among those to this server: sshd drops unauthenticated connections at random when
    /// there are many (MaxStartups).
    async fn turn(&self, endpoint: &Endpoint) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Error> {
        let host = {
            let mut hosts = self.per_host.lock();
            if hosts.len() >= HOSTS_SWEEP {
                hosts.retain(|_, host| host.strong_count() > 0);
            }
            let entry = hosts.entry((endpoint.host.clone(), endpoint.port)).or_default();
            match entry.upgrade() {
                Some(host) => host,
                None => {
                    let host = Arc::new(Semaphore::new(self.options.dials_per_host.max(1)));
                    *entry = Arc::downgrade(&host);
                    host
                }
            }
        };
        // The host first: waiting for a slow host must not take a place from all others.
        let host = host.acquire_owned().await.map_err(|_| Error::ShutDown)?;
        let total = self.total.clone().acquire_owned().await.map_err(|_| Error::ShutDown)?;
        Ok((host, total))
    }

    async fn recorded(&self, endpoint: &Endpoint) -> Result<Vec<String>, Error> {
        if matches!(endpoint.host_key, HostKeyPolicy::Pinned(_)) {
            return Ok(Vec::new());
        }
        let unavailable = |detail| HostKeyError::RecordUnavailable { host: endpoint.address(), detail };
        match timeout(self.options.login_timeout, self.host_keys.recorded(&endpoint.host, endpoint.port))
            .await
        {
            Ok(Ok(keys)) => Ok(keys),
            Ok(Err(error)) => Err(unavailable(error.to_string()).into()),
            Err(_) => Err(unavailable("no answer in time".into()).into()),
        }
    }

    fn config(&self, policy: &HostKeyPolicy, recorded: &[String]) -> client::Config {
        let known = host_keys::known_keys(policy, recorded);
        let is_known = |algorithm: &Algorithm| {
            known.iter().any(|key| match (key.algorithm(), algorithm) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (known, offered) => known == *offered,
            })
        };
        let mut algorithms = Preferred::DEFAULT.key.into_owned();
        algorithms.sort_by_key(|algorithm| !is_known(algorithm));
        client::Config {
            nodelay: true,
            keepalive_interval: Some(self.options.keepalive_interval),
            keepalive_max: self.options.keepalive_max,
            // Nothing is unpacked that a node sends, so that nothing is larger than it came.
            preferred: Preferred {
                key: Cow::Owned(algorithms),
                compression: Cow::Borrowed(&[russh::compression::NONE]),
                ..Preferred::DEFAULT
            },
            ..client::Config::default()
        }
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<TcpStream, Error> {
        let after = self.options.connect_timeout;
        match timeout(after, TcpStream::connect((endpoint.host.as_str(), endpoint.port))).await {
            Ok(Ok(stream)) => {
                // Without it small requests wait for the acknowledgement of the one before. A failure costs only time.
                let _ = stream.set_nodelay(true);
                Ok(stream)
            }
            Ok(Err(error)) => Err(Error::Unreachable { host: endpoint.address(), detail: error.to_string() }),
            Err(_) => Err(Error::Unreachable {
                host: endpoint.address(),
                detail: format!("no answer to a connection request within {after:?}"),
            }),
        }
    }

    async fn forwarded(
        &self,
        endpoint: &Endpoint,
        via: &Connection,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, Error> {
        let after = self.options.connect_timeout;
        match timeout(after, via.open_tcp(&endpoint.host, endpoint.port)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Unreachable {
                host: endpoint.address(),
                detail: format!("no answer through {} within {after:?}", via.address()),
            }),
        }
    }

    async fn shake_hands<S>(
        &self,
        endpoint: &Endpoint,
        config: Arc<client::Config>,
        stream: S,
        client: Client,
    ) -> Result<client::Handle<Client>, Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let after = self.options.login_timeout;
        match timeout(after, client::connect_stream(config, stream, client)).await {
            Ok(Ok(handle)) => Ok(handle),
            Ok(Err(HandlerError::HostKey(error))) => Err(Error::from(error).into()),
            Ok(Err(HandlerError::Library(error))) => Err(handshake_error(endpoint, error)),
            Err(_) => Err(took_too_long(endpoint, "the SSH handshake", after).into()),
        }
    }
}

fn took_too_long(endpoint: &Endpoint, what: &str, after: Duration) -> Error {
    Error::Timeout { host: endpoint.address(), what: format!("{what} (nothing was started)"), after }
}

fn handshake_error(endpoint: &Endpoint, error: russh::Error) -> Failed {
    let host = endpoint.address();
    match error {
        russh::Error::IO(_) | russh::Error::Disconnect | russh::Error::HUP => {
            let detail = format!(
                "the server ended the connection during the handshake ({error}); it may be busy, or no SSH server"
            );
            Failed::HungUp(Error::Unreachable { host, detail })
        }
        error => Failed::Otherwise(Error::Protocol { host, detail: error.to_string() }),
    }
}

async fn log_in(
    handle: &mut client::Handle<Client>,
    endpoint: &Endpoint,
    key: Option<Arc<russh::keys::PrivateKey>>,
    ended: &Mutex<Option<String>>,
) -> Result<(), Error> {
    let broken = |error: russh::Error| Error::Unreachable {
        host: endpoint.address(),
        detail: format!("the connection broke during login: {error}"),
    };
    let mut tried = Vec::new();
    let mut accepted = MethodSet::empty();
    if let Some(key) = key {
        let hash = if key.algorithm().is_rsa() {
            // A server too old to say what it takes gets SHA-256 rather than SHA-1.
            handle.best_supported_rsa_hash().await.map_err(broken)?.unwrap_or(Some(HashAlg::Sha256))
        } else {
            None
        };
        tried.push("key");
        let key = PrivateKeyWithHashAlg::new(key, hash);
        match handle.authenticate_publickey(endpoint.user.as_str(), key).await.map_err(broken)? {
            AuthResult::Success => return Ok(()),
            AuthResult::Failure { remaining_methods, .. } => accepted = remaining_methods,
        }
    }
    if let Some(password) = &endpoint.auth.password
        && !handle.is_closed()
    {
        let interactive_only =
            accepted.contains(&MethodKind::KeyboardInteractive) && !accepted.contains(&MethodKind::Password);
        if !interactive_only {
            tried.push("password");
            let result = handle.authenticate_password(endpoint.user.as_str(), password.expose()).await;
            match result.map_err(broken)? {
                AuthResult::Success => return Ok(()),
                AuthResult::Failure { remaining_methods, .. } => accepted = remaining_methods,
            }
        }
        if !handle.is_closed() && (interactive_only || accepted.contains(&MethodKind::KeyboardInteractive)) {
            tried.push("keyboard-interactive");
            match interactive(handle, &endpoint.user, password.expose()).await.map_err(broken)? {
                AuthResult::Success => return Ok(()),
                AuthResult::Failure { remaining_methods, .. } => accepted = remaining_methods,
            }
        }
    }
    if handle.is_closed() && accepted.is_empty() {
        // The library answers "failure" as well when the connection breaks.
        let reason = ended.lock().clone().unwrap_or_else(|| "no reason given".into());
        return Err(Error::Unreachable {
            host: endpoint.address(),
            detail: format!("the server ended the connection during login: {reason}"),
        });
    }
    let tried = if tried.is_empty() {
        "neither a key nor a password is configured".to_owned()
    } else {
        format!("{} refused", tried.join(", "))
    };
    let accepted: Vec<&str> = accepted.iter().map(Into::into).collect();
    Err(Error::AuthFailed {
        host: endpoint.address(),
        user: endpoint.user.clone(),
        detail: format!("{tried}; the server accepts: {}", accepted.join(", ")),
    })
}

/// Answers every question of a keyboard-interactive login with the password. Bounded: a server may ask for ever.
async fn interactive(
    handle: &mut client::Handle<Client>,
    user: &str,
    password: &str,
) -> Result<AuthResult, russh::Error> {
    let mut answer = handle.authenticate_keyboard_interactive_start(user, None::<String>).await?;
    for _ in 0..4 {
        match answer {
            KeyboardInteractiveAuthResponse::Success => return Ok(AuthResult::Success),
            KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                return Ok(AuthResult::Failure { remaining_methods, partial_success });
            }
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                let answers = prompts.iter().map(|_| password.to_owned()).collect();
                answer = handle.authenticate_keyboard_interactive_respond(answers).await?;
            }
        }
    }
    Ok(AuthResult::Failure { remaining_methods: MethodSet::empty(), partial_success: false })
}

/// What the library calls back.
pub(super) struct Client {
    address: String,
    host: String,
    port: u16,
    policy: HostKeyPolicy,
    recorded: Vec<String>,
    host_keys: Arc<dyn HostKeys>,
    ended: Arc<Mutex<Option<String>>>,
}

#[derive(Debug)]
pub(super) enum HandlerError {
    Library(russh::Error),
    HostKey(HostKeyError),
}

impl From<russh::Error> for HandlerError {
    fn from(error: russh::Error) -> Self {
        Self::Library(error)
    }
}

impl client::Handler for Client {
    type Error = HandlerError;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let offered = offered.public_key();
        match host_keys::judge(&self.address, &self.policy, &self.recorded, &offered) {
            Verdict::Accept => return Ok(true),
            Verdict::Refuse(error) => return Err(HandlerError::HostKey(error)),
            Verdict::RecordFirst => {}
        }
        let unavailable = |detail| {
            HandlerError::HostKey(HostKeyError::RecordUnavailable { host: self.address.clone(), detail })
        };
        let Some(text) = host_keys::record_form(&offered) else {
            return Err(unavailable("the offered key can't be written down".into()));
        };
        self.recorded = self
            .host_keys
            .record_first(&self.host, self.port, &text)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        // Another peer may have been first, with another key: from here on only the record counts.
        match host_keys::judge(&self.address, &HostKeyPolicy::Strict, &self.recorded, &offered) {
            Verdict::Refuse(error) => Err(HandlerError::HostKey(error)),
            Verdict::Accept | Verdict::RecordFirst => Ok(true),
        }
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        *self.ended.lock() = Some(match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                format!("the server said goodbye: {}", info.message.chars().take(200).collect::<String>())
            }
            DisconnectReason::Error(HandlerError::Library(russh::Error::KeepaliveTimeout)) => {
                "the server stopped answering".into()
            }
            DisconnectReason::Error(HandlerError::Library(error)) => error.to_string(),
            DisconnectReason::Error(HandlerError::HostKey(error)) => error.to_string(),
        });
        Ok(())
    }
}
