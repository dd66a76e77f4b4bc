//! The shell text that makes a kept shell, runs a check in it, and kills it.
//!
//! Three kinds of isolation, the best one that the node's `sh` can give:
//!
//! - **group**: the shell has job control without a terminal (bash, some others). Each check is a background job in a process group of
//!   its own, so that what it leaves behind can be seen (`kill -s 0` on the group) and killed.
//! - **pipe**: it has not (dash, busybox: they want a terminal for it). The check is a plain subshell and shares the shell's
//!   group, which is killed with the shell itself. What it leaves behind is seen by a pipe that every process of a check inherits for
//!   writing as descriptor 9: the shell reads it, and gets end-of-file at once if nobody holds it any more. The pipe
//!   comes from an empty here-document, so that no file is needed; its writing end is opened by way of `/proc`.
//! - **none**: neither works. The shell serves one check and is closed.
//!
//! A forked subshell takes with it whatever a script does to its shell: `exit`, `exec`, `cd`, `trap`, `umask`, `set`, variables,
//! closed descriptors. `kill $$` reaches the kept shell; then it is gone and the next check gets a new one.
//!
//! `$_s` is the script, `$_c` its exit code, `$_p` its group, `$_l` whether it left processes; `_r` runs it, `_w` waits until nobody holds
//! the pipe, `_e` tells its end.

use std::borrow::Cow;

use super::super::quote;
use super::simple::is_plain_command;

/// Starts every line of ours in the output. A byte that text hardly holds, so that little of it has to be looked at twice.
pub(super) const MARK: u8 = 0x1e;

/// What the login shell is asked to run. The login shell gives its process away, so that `$$` is what sshd started: the leader of
/// a session and of a process group.
pub(super) const COMMAND: &str = "exec sh";

/// See the module's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ssh) enum Isolation {
    Group,
    Pipe,
    None,
}

impl Isolation {
    pub(super) fn from_letter(letter: &[u8]) -> Option<Self> {
        match letter {
            b"g" => Some(Self::Group),
            b"p" => Some(Self::Pipe),
            b"n" => Some(Self::None),
            _ => None,
        }
    }
}

/// Sets up a new shell, which then says `MARK nonce:ISOLATION:PID:START newline` on stdout, the last being the time at which the
/// process started, in the kernel's ticks (`-` if unknown): with it a process id means one process for ever. Descriptor 4 is the real stderr: what the shell
/// itself has to say about its jobs is not the check's. LVM's tools complain about descriptors they don't know unless told not to.
pub(super) fn hello(nonce: &str) -> String {
    format!(
        r#"exec 4>&2 2>/dev/null
LVM_SUPPRESS_FD_WARNINGS=1; export LVM_SUPPRESS_FD_WARNINGS
PS1=; PS2=; _m=n; _p=; _l=0; unset ENV MAIL MAILPATH
_w() {{ :; }}
if kill -s 0 -- -$$; then
  if ( set -m ); then set -m; fi
  case $- in
  *m*) _m=g
    _r() {{ ( exec </dev/null 2>&4 4>&-; eval " $_s" ) & _p=$!; wait $_p; _c=$?
      if kill -s 0 -- -$_p; then _l=1; else _l=0; _p=; fi; }}
    trap '[ -n "$_p" ] && kill -s KILL -- -$_p' EXIT
    trap 'exit 143' TERM;;
  *) exec 8<<_E
_E
    if ( exec 9>/proc/self/fd/8 ); then _m=p
      _r() {{ ( exec 9>/proc/self/fd/8 </dev/null 2>&4 4>&- 8<&-; eval " $_s" ); _c=$?; }}
      _w() {{ read _x <&8; }}
    fi;;
  esac
fi
[ $_m = n ] && _r() {{ ( exec </dev/null 2>&4 4>&-; eval " $_s" ); _c=$?; }}
_e() {{ _s=; printf '\036%s:%s\n' $1 $_c; _w; printf '\036%s:%s\n' $1 $_l >&4; }}
_t=-
if read -r _t </proc/$$/stat; then set -- ${{_t##*) }}; _t=${{20}}; set --; fi
printf '\036%s:%s:%s:%s\n' {nonce} $_m $$ "$_t"
"#
    )
}

/// Runs `script`. Its end is told on stdout by `MARK nonce:CODE newline`, and, when it is sure whether processes
/// were left behind, on stderr by `MARK nonce:LEFT newline`. While descriptor 9 is held the latter does not come.
///
/// The script runs before the shell has read the nonce's line, and in a subshell: it can't know the nonce. Short, since bash reads its
/// stdin byte by byte.
pub(super) fn check(script: &str, nonce: &str) -> String {
    let script = if is_plain_command(script) { Cow::from(format!("exec {script}")) } else { script.into() };
    format!("_s={}\n_r\n_e {nonce}\n", quote::word(&script))
}

/// One kept shell on a node, whatever connection it was started on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ssh) struct Identity {
    pub(super) isolation: Isolation,
    pub(super) pid: u32,
    /// `None` where the node can't tell.
    pub(super) start: Option<u64>,
}

impl Identity {
    /// Reads what stands behind the nonce of [`hello`].
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(value).ok()?.split(':');
        let isolation = Isolation::from_letter(parts.next()?.as_bytes())?;
        // `kill` means everybody by 1 and less.
        let pid = parts.next()?.parse().ok().filter(|pid| *pid > 1)?;
        let start = parts.next()?.parse().ok();
        Some(Self { isolation, pid, start })
    }

    /// Kills it, the check it runs and what that left behind. The shell of a group kills the group itself when it ends, since
    /// only it knows which (and forgets it when it is empty: the number may then be given to somebody else).
    pub(super) fn kill(&self) -> String {
        let pid = self.pid;
        match self.isolation {
            Isolation::Group => format!(
                "kill -s TERM {pid} && {{ i=0; while kill -s 0 {pid} && [ $i -lt 20 ]; do i=$((i+1)); \
                 sleep 0.05 || sleep 1; done; kill -s KILL -- -{pid}; }} 2>/dev/null"
            ),
            Isolation::Pipe => format!("kill -s KILL -- -{pid}"),
            Isolation::None => format!("kill -s KILL -- -{pid} || kill -s KILL {pid}"),
        }
    }

    /// As [`Identity::kill`], but only if the process is still the one that was meant; for use some time later.
    pub(in crate::ssh) fn kill_if_same(&self) -> String {
        let (pid, Some(start)) = (self.pid, self.start) else { return String::new() };
        let kill = self.kill();
        format!(
            "if read -r t </proc/{pid}/stat; then set -- ${{t##*) }}; [ \"${{20}}\" = {start} ] && {{ {kill}; }}; fi 2>/dev/null\n"
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn answers_of_a_new_shell_are_read() {
        let good = Identity { isolation: Isolation::Group, pid: 12, start: Some(345) };
        let table: Vec<(&str, &[u8], Option<Identity>)> = vec![
            ("all", b"g:12:345", Some(good)),
            ("no start", b"p:12:-", Some(Identity { isolation: Isolation::Pipe, start: None, ..good })),
            ("init", b"g:1:345", None),
            ("everybody", b"g:0:345", None),
            ("negative", b"g:-5:345", None),
            ("other letter", b"x:12:345", None),
            ("cut short", b"g:12", None),
            ("not text", b"g:\xff:345", None),
        ];
        for (name, value, expected) in table {
            assert_eq!(Identity::parse(value), expected, "{name}");
        }
    }
}
