//! A host's listener, and its connections from their first byte to their last.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::{Disconnect, MethodKind, MethodSet, server};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::server::{Connection, Shared};

/// The most connections to one host; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to log in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a refused login waits for its answer; short, for there is nothing to guess here.
const REFUSAL_DELAY: Duration = Duration::from_millis(100);
/// How long a connection may take for its last words once it is to end.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

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
    let handler = Connection::new(Arc::clone(&host), logged_in.clone());
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

fn two_handles(socket: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    socket.set_nodelay(true)?;
    let socket = socket.into_std()?;
    let second = socket.try_clone()?;
    Ok((TcpStream::from_std(socket)?, second))
}
