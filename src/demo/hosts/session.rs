//! One process on one channel: its streams both ways, its signals, its end.

use std::mem::discriminant;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::BytesMut;
use russh::server::{Handle, Msg};
use russh::{ChannelWriteHalf, Sig};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::process::signal_group;
use super::stdin::{BUDGET_BYTES, Feed};

/// How much of a stream is read at once.
const READ_BYTES: usize = 32 << 10;
/// How long a process that was sent a HUP because its channel is gone may take to clean up.
const HANG_UP_GRACE: Duration = Duration::from_millis(500);
/// How long the end of a session waits for a client that takes no data.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);
/// SSH's number for the standard error.
const STDERR: u32 = 1;

/// What the connection holds of a session.
pub(super) struct Control {
    /// Signals of the client for the process group; full when the client sends them faster than they are
    /// delivered, and then they are dropped, as a kernel merges pending ones.
    pub(super) signals: mpsc::Sender<Sig>,
    /// Cancelled when the session overdrew its host's input budget.
    pub(super) overdrawn: CancellationToken,
    /// Cancelled when the channel is closed, the connection lost or the host stopped.
    pub(super) gone: CancellationToken,
}

/// What a session needs to run.
pub(super) struct Session {
    /// The process, leader of its own group, its three streams piped.
    pub(super) child: Child,
    /// The client's side: output goes here, no more of it than the client's window allows.
    pub(super) channel: ChannelWriteHalf<Msg>,
    /// The connection, for what a channel's half can't send.
    pub(super) handle: Handle,
    /// The process's input.
    pub(super) feed: Option<Feed>,
    /// The other end of [`Control::signals`].
    pub(super) signals: mpsc::Receiver<Sig>,
    /// [`Control::overdrawn`].
    pub(super) overdrawn: CancellationToken,
    /// [`Control::gone`].
    pub(super) gone: CancellationToken,
}

impl Session {
    /// Runs until the process has ended and all holders of its output have closed it, as sshd does: a job left
    /// in the background with the session's output keeps the channel open. When the channel goes first, the
    /// process group gets a HUP and, half a second later, a KILL (sshd would leave it running; a demo leaves
    /// nothing behind).
    pub(super) async fn run(mut self) {
        let Some(leader) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else {
            return;
        };
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take())
        else {
            return;
        };
        let mut group = Group { leader, is_ended: false };
        let mut outputs = Outputs { stdout, stderr };
        let (gone, overdrawn) = (self.gone.clone(), self.overdrawn.clone());
        tokio::select! {
            biased;
            () = gone.cancelled() => self.hang_up(leader, outputs).await,
            () = overdrawn.cancelled() => self.refuse_more(leader).await,
            () = self.converse(leader, stdin, &mut outputs) => group.is_ended = true,
        }
        debug!(pid = leader.as_raw_nonzero().get(), "session ended");
    }

    /// The life of a process that nothing interrupts.
    async fn converse(&mut self, leader: Pid, stdin: ChildStdin, outputs: &mut Outputs) {
        let Session { child, channel, handle, feed, signals, .. } = self;
        let fed = async {
            if let Some(feed) = feed.take() {
                feed.run(stdin).await;
            }
            std::future::pending::<()>().await
        };
        let obeyed = async {
            while let Some(signal) = signals.recv().await {
                match number(&signal) {
                    Some(signal) => signal_group(leader, signal),
                    None => debug!(?signal, "unknown signal"),
                }
            }
            std::future::pending::<()>().await
        };
        let ended = async {
            tokio::select! {
                status = child.wait() => report(channel, handle, status.ok()).await,
                // Only while the process is not collected: after that its number may be another's.
                () = obeyed => {}
            }
        };
        tokio::select! {
            _ = async { tokio::join!(ended, pump(outputs, channel)) } => close(channel).await,
            () = fed => {}
        }
    }

    /// The process group gets the time to clean up, then no more. Its output is read on and thrown away, for a
    /// shell whose output is closed dies of its first word.
    async fn hang_up(&mut self, leader: Pid, mut outputs: Outputs) {
        signal_group(leader, Signal::HUP);
        // A stopped process would not see it.
        signal_group(leader, Signal::CONT);
        let (mut no_stdout, mut no_stderr) = (tokio::io::sink(), tokio::io::sink());
        let cleaned_up = async {
            let _ = tokio::join!(
                tokio::io::copy(&mut outputs.stdout, &mut no_stdout),
                tokio::io::copy(&mut outputs.stderr, &mut no_stderr),
                self.child.wait(),
            );
        };
        if tokio::time::timeout(HANG_UP_GRACE, cleaned_up).await.is_err() {
            signal_group(leader, Signal::KILL);
            let _ = self.child.wait().await;
        }
    }

    async fn refuse_more(&mut self, leader: Pid) {
        signal_group(leader, Signal::KILL);
        let status = self.child.wait().await.ok();
        let goodbye = async {
            let why =
                format!("{BUDGET_BYTES} bytes of input wait unread on this host; the session is ended\n");
            let _ = self.channel.extended_data_bytes(STDERR, why).await;
            report(&self.channel, &self.handle, status).await;
            close(&self.channel).await;
        };
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await;
    }
}

/// Ends the process group should the session be dropped in the middle, as when the runtime is shut down.
struct Group {
    leader: Pid,
    is_ended: bool,
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_ended {
            signal_group(self.leader, Signal::KILL);
        }
    }
}

/// What the process writes to.
struct Outputs {
    stdout: ChildStdout,
    stderr: ChildStderr,
}

/// Copies both outputs to the client until both are closed. One writer for both, for they share the client's
/// window.
async fn pump(outputs: &mut Outputs, channel: &ChannelWriteHalf<Msg>) {
    let (mut out, mut err) = (BytesMut::new(), BytesMut::new());
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        tokio::select! {
            open = read(&mut outputs.stdout, &mut out), if out_open => out_open = open,
            open = read(&mut outputs.stderr, &mut err), if err_open => err_open = open,
        }
        let sent = async {
            channel.data_bytes(out.split().freeze()).await?;
            channel.extended_data_bytes(STDERR, err.split().freeze()).await
        };
        if sent.await.is_err() {
            // The connection is gone, and the session is told so.
            return;
        }
    }
}

/// Whether there may be more.
async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> bool {
    buffer.reserve(READ_BYTES);
    stream.read_buf(buffer).await.is_ok_and(|bytes| bytes > 0)
}

/// Tells the client how the process ended. A failure to do so means that the connection is gone.
async fn report(channel: &ChannelWriteHalf<Msg>, handle: &Handle, status: Option<ExitStatus>) {
    let Some(status) = status else { return };
    if let Some(code) = status.code() {
        let _ = channel.exit_status(code.cast_unsigned()).await;
    } else if let Some(signal) = status.signal() {
        let core_dumped = status.core_dumped();
        let _ = handle
            .exit_signal_request(channel.id(), name(signal), core_dumped, String::new(), String::new())
            .await;
    }
}

async fn close(channel: &ChannelWriteHalf<Msg>) {
    let _ = channel.eof().await;
    let _ = channel.close().await;
}

/// SSH's names for signals (RFC 4254 §6.10), and the two more that job control needs.
const SIGNALS: [(&str, Signal, Option<Sig>); 16] = [
    ("ABRT", Signal::ABORT, Some(Sig::ABRT)),
    ("ALRM", Signal::ALARM, Some(Sig::ALRM)),
    ("FPE", Signal::FPE, Some(Sig::FPE)),
    ("HUP", Signal::HUP, Some(Sig::HUP)),
    ("ILL", Signal::ILL, Some(Sig::ILL)),
    ("INT", Signal::INT, Some(Sig::INT)),
    ("KILL", Signal::KILL, Some(Sig::KILL)),
    ("PIPE", Signal::PIPE, Some(Sig::PIPE)),
    ("QUIT", Signal::QUIT, Some(Sig::QUIT)),
    ("SEGV", Signal::SEGV, Some(Sig::SEGV)),
    ("TERM", Signal::TERM, Some(Sig::TERM)),
    ("USR1", Signal::USR1, Some(Sig::USR1)),
    ("USR2", Signal::USR2, None),
    ("CONT", Signal::CONT, None),
    ("STOP", Signal::STOP, None),
    ("BUS", Signal::BUS, None),
];

fn number(signal: &Sig) -> Option<Signal> {
    SIGNALS.iter().find_map(|(name, number, known)| match (signal, known) {
        (Sig::Custom(custom), _) => (custom == name).then_some(*number),
        (signal, Some(known)) => (discriminant(signal) == discriminant(known)).then_some(*number),
        (_, None) => None,
    })
}

fn name(signal: i32) -> Sig {
    let known = SIGNALS.iter().find(|(_, number, _)| number.as_raw() == signal);
    match known {
        Some((_, _, Some(known))) => known.clone(),
        Some((name, _, None)) => Sig::Custom((*name).to_owned()),
        // RFC 4254 §6.10: names of one's own carry a domain.
        None => Sig::Custom(format!("{signal}@rscaler")),
    }
}
