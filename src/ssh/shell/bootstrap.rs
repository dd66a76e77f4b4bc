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
//! `$_s` is the script, `$_c` its exit code, `$_p` its group, `$_l` whether it left processes.

use super::super::quote;

/// Starts every line of ours in the output. A byte that text hardly holds, so that little of it has to be looked at twice.
pub(super) const MARK: u8 = 0x1e;

/// What the login shell is asked to run. The login shell gives its process away, so that `$$` is what sshd started: the leader of
/// a session and of a process group.
pub(super) const COMMAND: &str = "exec sh";

/// See the module's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
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

/// Sets up a new shell, which then says `MARK nonce:ISOLATION:PID newline` on stdout. Descriptor 4 is the real stderr: what the shell
/// itself has to say about its jobs is not the check's. LVM's tools complain about descriptors they don't know unless told not to.
pub(super) fn hello(nonce: &str) -> String {
    format!(
        r#"exec 4>&2 2>/dev/null
LVM_SUPPRESS_FD_WARNINGS=1; export LVM_SUPPRESS_FD_WARNINGS
PS1=; PS2=; _m=n; _p=; _l=0; unset ENV MAIL MAILPATH
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
    fi;;
  esac
fi
[ $_m = n ] && _r() {{ ( exec </dev/null 2>&4 4>&-; eval " $_s" ); _c=$?; }}
printf '\036%s:%s:%s\n' {nonce} $_m $$
"#
    )
}

/// Runs `script`. Its end is told on stdout by `MARK nonce:CODE newline`, and, when it is sure whether processes
/// were left behind, on stderr by `MARK nonce:LEFT newline`. While descriptor 9 is held the latter does not come.
///
/// The script runs before the shell has read the nonce's line, and in a subshell: it can't know the nonce.
pub(super) fn check(isolation: Isolation, script: &str, nonce: &str) -> String {
    let settle = match isolation {
        Isolation::Pipe => "read _x <&8; ",
        Isolation::Group | Isolation::None => "",
    };
    format!(
        "_s={}\n_r; _s=\nprintf '\\036%s:%s\\n' {nonce} $_c; {settle}printf '\\036%s:%s\\n' {nonce} $_l >&4\n",
        quote::word(script)
    )
}

/// Kills the shell `pid`, the check it runs and what that left behind. The shell of a group kills the group itself when it ends,
/// since only it knows which (and forgets it when it is empty: the number may then be given to somebody else).
pub(super) fn kill(isolation: Isolation, pid: u32) -> String {
    match isolation {
        Isolation::Group => format!(
            "kill -s TERM {pid} || exit 0; i=0; while kill -s 0 {pid} && [ $i -lt 20 ]; do i=$((i+1)); \
             sleep 0.05 || sleep 1; done 2>/dev/null; kill -s KILL -- -{pid} 2>/dev/null; :"
        ),
        Isolation::Pipe => format!("kill -s KILL -- -{pid}"),
        Isolation::None => format!("kill -s KILL -- -{pid} || kill -s KILL {pid}"),
    }
}
