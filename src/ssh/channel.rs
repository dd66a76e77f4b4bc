//! One session channel: what it sends, and that it is closed whatever happens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::Inner;

/// How long a session may take to end by itself once its stdin has ended or its process is being killed.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// The same when the process that sshd started has ended, but something that it started holds the output.
const END_TIMEOUT_AFTER_EXIT: Duration = Duration::from_secs(1);
/// How long the place of a session is kept whose process does not end: it may hang in the kernel, and each more would hang too.
const STUCK_TIMEOUT: Duration = Duration::from_secs(300);

/// What a session channel says.
#[derive(Debug)]
pub(super) enum Event {
    Stdout(Bytes),
    Stderr(Bytes),
    /// Exit code of the process sshd started.
    Exit(u32),
    /// Name of the signal that ended it, without `SIG`.
    Signal(String),
    /// The server refused a request on this channel.
    Failure,
    /// No more output.
    Eof,
    /// The channel is closed, in order if the connection still stands.
    Closed,
}

/// An open session channel. Dropped, it is told that its stdin has ended and is read to its end in the background; only then its
/// place among the server's sessions, and what it holds, count as free.
///
/// It is left to the server to close it, since the library forgets a channel that we close first: it tells no more when the server
/// has closed it too, and keeps a small piece of memory. So we do that only to a session that does not end.
pub(super) struct Session {
    halves: Option<(ChannelReadHalf, Arc<Writer>)>,
    place: Option<Place>,
    held: Vec<OwnedSemaphorePermit>,
    /// Whether the process that sshd started has ended.
    exited: bool,
    /// Whether it is not to be waited for.
    cut: bool,
}

/// The writing side of a [`Session`].
pub(super) type Writer = ChannelWriteHalf<Msg>;

/// A place among the server's sessions, given back when dropped.
pub(super) struct Place {
    connection: Arc<Inner>,
}

impl Place {
    pub(super) fn take(connection: &Arc<Inner>) -> Self {
        connection.sessions.send_modify(|count| *count += 1);
        Self { connection: connection.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.sessions.send_modify(|count| *count -= 1);
    }
}

/// How many sessions are open on a connection; changes wake who waits for a free one.
pub(super) type SessionCount = watch::Sender<usize>;

impl Session {
    pub(super) fn new(channel: Channel<Msg>, place: Place) -> Self {
        let (read, write) = channel.split();
        Self {
            halves: Some((read, Arc::new(write))),
            place: Some(place),
            held: Vec::new(),
            exited: false,
            cut: false,
        }
    }

    /// Keeps a permit until the session's process has ended, as far as the server tells.
    pub(super) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.held.push(permit);
    }

    /// Gives the held permits back, for a session that goes on.
    pub(super) fn release(&mut self) {
        self.held.clear();
    }

    /// Closes it at once: what writes to it gets SIGPIPE.
    pub(super) fn cut(mut self) {
        self.cut = true;
    }

    /// The writing side. It may outlive the session; writes then fail.
    pub(super) fn writer(&self) -> Arc<Writer> {
        let (_, write) = self.halves.as_ref().expect("halves are taken only in drop");
        write.clone()
    }

    /// The next event; after `Closed` always `Closed` again. Cancel safe.
    pub(super) async fn next(&mut self) -> Event {
        let (read, _) = self.halves.as_mut().expect("halves are taken only in drop");
        loop {
            return match read.wait().await {
                Some(ChannelMsg::Data { data }) => Event::Stdout(data),
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => Event::Stderr(data),
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    self.exited = true;
                    Event::Exit(exit_status)
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    self.exited = true;
                    Event::Signal(signal_text(&signal_name))
                }
                Some(ChannelMsg::Failure) => Event::Failure,
                Some(ChannelMsg::Eof) => Event::Eof,
                Some(ChannelMsg::Close) | None => Event::Closed,
                Some(_) => continue,
            };
        }
    }
}

fn signal_text(signal: &russh::Sig) -> String {
    match signal {
        russh::Sig::Custom(name) => name.chars().take(20).collect(),
        known => format!("{known:?}"),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (Some((read, write)), place) = (self.halves.take(), self.place.take()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let held = std::mem::take(&mut self.held);
        let (exited, cut) = (self.exited, self.cut);
        runtime.spawn(async move {
            see_off(read, write, exited, cut).await;
            drop((place, held));
        });
    }
}

/// Ends a session that nobody wants any more, one way or the other.
async fn see_off(mut read: ChannelReadHalf, write: Arc<Writer>, mut exited: bool, cut: bool) {
    // Errors mean that the connection is gone, and the channel with it.
    if !cut {
        let _ = write.eof().await;
        let mut until = Instant::now() + END_TIMEOUT;
        loop {
            if exited {
                until = until.min(Instant::now() + END_TIMEOUT_AFTER_EXIT);
            }
            match timeout_at(until, read.wait()).await {
                Ok(None) => return,
                Ok(Some(ChannelMsg::ExitStatus { .. } | ChannelMsg::ExitSignal { .. })) => exited = true,
                Ok(Some(_)) => {}
                Err(_) => break,
            }
        }
    }
    let _ = write.close().await;
    drop(write);
    if !exited {
        // Ends sooner only with the connection.
        let _ = timeout(STUCK_TIMEOUT, async { while read.wait().await.is_some() {} }).await;
    }
}
