//! The processes of a host: started in a session of their own, signalled as a group, found again when lost.

use std::any::Any;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;

use process_wrap::tokio::{CommandWrap, ProcessSession};
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use super::USER;

/// What follows the host's own `bin` on the `PATH`.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts `/bin/sh -c COMMAND`, or a shell that reads its commands from its input, in the directory `home`
/// with an environment that holds nothing of ours. All three streams are pipes.
///
/// The process leads a session and a process group of its own, as under sshd: it has no controlling terminal,
/// though the demo runs in one. With it, a shell told `set -m` would find itself in the background of the
/// user's terminal and stop, and Ctrl-C would reach every script.
pub(super) fn spawn(host: &str, home: &Path, command: Option<&[u8]>) -> io::Result<Child> {
    let mut path = home.join("bin").into_os_string();
    path.push(":");
    path.push(SYSTEM_PATH);
    let mut shell = Command::new("/bin/sh");
    if let Some(command) = command {
        shell.arg("-c").arg(OsStr::from_bytes(command));
    }
    shell
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .env("PATH", path)
        .env("USER", USER)
        .env("LOGNAME", USER)
        .env("SHELL", "/bin/sh")
        .env("TMPDIR", home.join("tmp"))
        .env("RSCALER_DEMO_HOST", host)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let leader = CommandWrap::from(shell).wrap(ProcessSession).spawn()?;
    // Its wrapper would wait for the whole group. What outlives the leader is ours to see to: [`end_leftovers`].
    let leader: Box<dyn Any> = leader.into_inner();
    leader.downcast().map(|child| *child).map_err(|_| io::Error::other("a shell that is no process"))
}

/// Sends a signal to every process of the group that `leader` leads. That none is left is no error.
pub(super) fn signal_group(leader: Pid, signal: Signal) {
    // There is nothing to be done about a refusal: all of them are our own processes.
    let _ = rustix::process::kill_process_group(leader, signal);
}

/// Kills processes whose `HOME` is this host's directory: those that left their group with `setsid`, and those
/// of a demo that was killed. Finds them in `/proc`, so it does nothing where there is none.
pub(super) fn end_leftovers(home: &Path) {
    // A process that forks while it is looked for may be missed in one round, not in all of them.
    for _ in 0..3 {
        if leftovers::kill(home) == 0 {
            return;
        }
    }
}

#[cfg(target_os = "linux")]
mod leftovers {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    /// How many were found and sent a KILL.
    pub(super) fn kill(home: &Path) -> usize {
        let home = [b"HOME=", home.as_os_str().as_bytes()].concat();
        let Ok(entries) = fs::read_dir("/proc") else { return 0 };
        entries.flatten().filter(|entry| kill_one(&entry.path(), &home).is_some()).count()
    }

    /// Holds the process by a descriptor before looking at it, so that the one looked at is the one killed.
    fn kill_one(proc: &Path, home: &[u8]) -> Option<()> {
        let pid = Pid::from_raw(proc.file_name()?.to_str()?.parse().ok()?)?;
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let environ = fs::read(proc.join("environ")).ok()?;
        let is_ours = environ.split(|b| *b == 0).any(|variable| variable == home)
            && environ.split(|b| *b == 0).any(|variable| variable.starts_with(b"RSCALER_DEMO_HOST="));
        if is_ours { pidfd_send_signal(process, Signal::KILL).ok() } else { None }
    }
}

#[cfg(not(target_os = "linux"))]
mod leftovers {
    pub(super) fn kill(_home: &std::path::Path) -> usize {
        0
    }
}
