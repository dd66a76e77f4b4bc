//! The shell text around a command. Plain POSIX, for dash, bash and busybox.

use super::super::quote::{BOOT, line_word, word};
use super::{Fence, Request};

/// What the login shell is asked to run: constant, so that nothing shows in `ps`.
pub(super) fn command() -> String {
    format!("exec sh -c '{BOOT}'")
}

/// Seconds by which the node's own time limit is later than ours, so that it only matters when we are gone.
const SAFETY_SECONDS: u64 = 15;
/// Days for which markers are kept.
const MARKER_DAYS: u32 = 7;

/// Whether `timeout` makes a process group of its own, as that of GNU does and not that of busybox: an exit code for `$1`, the
/// process that starts it.
const HAS_GROUP: &str =
    r#"read -r _g </proc/$$/stat && set -- "$1" ${_g##*) } && [ "$3" = "$4" ] && [ "$4" != "$1" ] || exit 9"#;

/// Puts `setsid` before the command where there is one that waits.
const SETSID: &str = "if setsid -w true; then set -- setsid -w; _t=${_t}s; fi </dev/null >/dev/null 2>&1";

/// Line 1: the outer program. `nonce` starts what it says to us, `ask` is the prompt by which sudo asks us for the password.
///
/// It survives the loss of the connection (HUP, PIPE) to write the marker; as it handles these signals rather than ignoring them,
/// the script gets them as usual.
pub(super) fn outer(
    request: &Request,
    nonce: &str,
    ask: &str,
    tools: Option<&Tools>,
    sweep: Sweep,
) -> String {
    let seconds = (request.timeout + request.grace).as_secs().saturating_add(SAFETY_SECONDS);
    let grace = request.grace.as_secs().max(1);
    let claim = request.fence.as_ref().map_or_else(String::new, |fence| claim(fence, nonce, sweep));
    let user = tools.map_or_else(|| "$(id -u)".to_owned(), |tools| tools.user.to_string());
    let wrap = match tools {
        None => format!(
            r#"_t=-
timeout -k 5 5 sh -c {has_group} sh $$ </dev/null >/dev/null 2>&1
case $? in 0) _t=-tg;; 9) _t=-t;; esac
case $_t{sudo} in *g) ;; *) {SETSID}; esac
case $_t in *t*) set -- "$@" timeout -k {grace} {seconds};; esac
"#,
            has_group = word(HAS_GROUP),
            sudo = if request.sudo.is_some() { "-sudo" } else { "" },
        ),
        Some(Tools { setsid, timeout, has_group, .. }) => {
            let setsid = match (setsid, has_group, &request.sudo) {
                (_, true, None) | (false, false, _) => "",
                (true, ..) => "set -- setsid -w",
                // Under sudo, which may give it a terminal, it is to have none to read from.
                (false, true, Some(_)) => SETSID,
            };
            let timeout = if *timeout { format!("timeout -k {grace} {seconds}") } else { String::new() };
            format!("_t=-; set --\n{setsid}\nset -- \"$@\" {timeout}\n")
        }
    };
    let sudo = match &request.sudo {
        None => String::new(),
        Some(sudo) if sudo.password.is_some() => format!("set -- sudo -S -p {ask} -- \"$@\"\n"),
        Some(_) => "set -- sudo -n -- \"$@\"\n".to_owned(),
    };
    let inner = word(INNER);
    let program = format!(
        r#"trap : HUP PIPE
_f=
_u={user}
{claim}set --
{wrap}{sudo}"$@" sh -c {inner} sh {nonce} "$_f" "$_t $_u"
_c=$?
if [ -n "$_f" ]; then
  _s=
  while read -r _w _x; do _s=$_w; done <"$_f"
  if [ "$_s" = started ]; then printf 'finished %s\n' "$_c"; else printf 'aborted\n'; fi >>"$_f"
fi
exit $_c
"#
    );
    format!("eval {}\n", line_word(&program))
}

/// The inner program, run as the user the script runs as. `$1` is the nonce, `$2` the marker. It tells its process group,
/// which is the one to kill, and waits for line 2; a line cut short runs nothing. `$3` is what the outer program learned of the node
/// ([`Tools`]). `$n` is a newline, for the line.
const INNER: &str = r#"n=${IFS#??}
_t=$3
if read -r _g </proc/$$/stat; then _g=${_g##*) }; set -- "$1" "$2" $_g; _g=$5; else _g=$(ps -o pgid= -p $$ | tr -d ' '); fi 2>/dev/null
printf '%s ready %s %s\n' "$1" "$_g" "$_t"
IFS= read -r l || exit 125
if [ -n "$2" ]; then printf 'started %s\n' "$_g" >>"$2" || exit 125; fi
eval "$l""#;

/// Line 2: arguments, environment and script.
pub(super) fn payload(request: &Request) -> String {
    let mut line = String::with_capacity(request.script.len() + 256);
    line.push_str("set --");
    for arg in &request.args {
        line.push(' ');
        line.push_str(&line_word(arg));
    }
    for (name, value) in &request.env {
        line.push_str("; export ");
        line.push_str(name);
        line.push('=');
        line.push_str(&line_word(value));
    }
    line.push_str("; _s=");
    line.push_str(&line_word(&request.script));
    line.push_str("; unset n l _g _t; eval \" $_s\"\n");
    line
}

/// What the first command on a connection finds out about its node, so that the next ones need not: each look is a process or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Tools {
    /// Looked for only where it was needed.
    setsid: bool,
    timeout: bool,
    /// Whether what `timeout` runs is a process group of its own, so that `setsid` is not needed for that.
    has_group: bool,
    /// The number of the user who logs in.
    user: u32,
}

impl Tools {
    /// From what stands behind the process group: `-`, with `s` for `setsid -w`, `t` for `timeout` and `g` for the group it makes, and the user.
    pub(super) fn read(found: &str, user: &str) -> Option<Tools> {
        let flags = found.strip_prefix('-')?;
        Some(Tools {
            setsid: flags.contains('s'),
            timeout: flags.contains('t'),
            has_group: flags.contains('g'),
            user: user.parse().ok()?,
        })
    }
}

/// Whether old markers are swept out on this occasion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sweep {
    Yes,
    No,
}

/// Takes the marker or says who has it. See [`Fence`]. A marker is a file `TOKEN@EPOCH` of lines, of which the last one counts:
/// `claimed PID STARTTIME BOOTID`, `started GROUP`, then one of `finished CODE`, `aborted` (never started), `refused`.
fn claim(fence: &Fence, nonce: &str, sweep: Sweep) -> String {
    let Fence { token, epoch, known } = fence;
    let place = fence.place();
    let known = known.map_or(-1, |known| i64::try_from(known).unwrap_or(i64::MAX));
    let sweep = match sweep {
        Sweep::No => String::new(),
        Sweep::Yes => format!(
            "( find \"$_d\" -mindepth 1 -maxdepth 1 -type d -mtime +{MARKER_DAYS} -exec rm -rf {{}} + & ) \
             </dev/null >/dev/null 2>&1\n"
        ),
    };
    format!(
        r#"_no() {{ printf '%s fenced %s %s\n' {nonce} "$1" "$2"; exit 125; }}
_d=
for _b in "${{HOME:+$HOME/.rscaler}}" "/var/tmp/rscaler-$_u"; do
  [ -n "$_b" ] || continue
  [ -d "$_b" ] || mkdir -m 700 "$_b" 2>/dev/null
  if [ -d "$_b" ] && [ ! -h "$_b" ] && [ -O "$_b" ] && [ -w "$_b" ] && [ -x "$_b" ]; then _d=$_b; break; fi
done
[ -n "$_d" ] || {{ printf '%s unmarked\n' {nonce}; exit 125; }}
{sweep}[ -d "$_d/{place}" ] || mkdir -m 700 "$_d/{place}" 2>/dev/null
_f=$_d/{token}@{epoch}
_st=-; _bt=-
{{ read -r _st </proc/$$/stat && _st=${{_st##*) }} && set -- $_st && _st=${{20}}
read -r _bt </proc/sys/kernel/random/boot_id; }} 2>/dev/null
set -C
{{ printf 'claimed %s %s %s\n' "$$" "$_st" "$_bt" >"$_f"; }} 2>/dev/null || _no {epoch} claimed
set +C
sync "$_f" 2>/dev/null
for _o in "$HOME/.rscaler/{token}"@* "/var/tmp/rscaler-$_u/{token}"@*; do
  _b=${{_o##*@}}
  case $_b in ''|*[!0-9]*) continue;; esac
  [ "$_o" != "$_f" ] && [ -O "$_o" ] || continue
  _s=unreadable
  while read -r _w _x; do _s=$_w; done <"$_o"
  if [ "$_b" -lt {epoch} ]; then
    [ "$_b" -le {known} ] && continue
    case $_s in refused|aborted) continue;; esac
  fi
  printf 'refused\n' >>"$_f"
  _no "$_b" "$_s"
done
"#
    )
}

/// Lists the markers of the token `$1`, one a line: `EPOCH STATE CODE ALIVE GROUP`, code and process group `-` where there is none. Ends with `end`,
/// or with `lost` where the place of the markers itself is gone.
pub(super) const PROBE: &str = r#"_u=$(id -u); _now=-
[ -z "$HOME" ] || [ -d "$HOME" ] || { echo lost; exit 0; }
{ read -r _now </proc/sys/kernel/random/boot_id; } 2>/dev/null
for _o in "$HOME/.rscaler/$1"@* "/var/tmp/rscaler-$_u/$1"@*; do
  _b=${_o##*@}
  case $_b in ''|*[!0-9]*) continue;; esac
  [ -O "$_o" ] || continue
  _s=unreadable; _c=-; _g=-; _pid=; _st=-; _bt=-; _alive=no
  while read -r _w _x _y _z; do
    _s=$_w
    case $_w in claimed) _pid=$_x; _st=$_y; _bt=$_z;; started) _g=$_x;; finished) _c=$_x;; esac
  done <"$_o"
  if [ -n "$_pid" ] && [ "$_bt" = "$_now" ] && kill -s 0 "$_pid" 2>/dev/null; then
    _is=-
    { read -r _is </proc/$_pid/stat && _is=${_is##*) } && set -- "$1" $_is && _is=${21}; } 2>/dev/null
    case $2 in Z|X) ;; *) [ "$_is" = "$_st" ] && _alive=yes;; esac
  fi
  printf '%s %s %s %s %s\n' "$_b" "$_s" "$_c" "$_alive" "$_g"
done
echo end
"#;

/// Sends signal `$1` to process group `$2`.
pub(super) const KILL: &str = r#"kill -s "$1" -- "-$2""#;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;

    #[test]
    fn a_time_limit_without_a_group_of_its_own_is_told_from_one_with_it() {
        // `--foreground` does as busybox's `timeout` does; and the shell leads a group, as sshd's does.
        for (timeout, expected) in [("timeout", 0), ("timeout --foreground", 9), ("env", 9), ("nowhere", 127)]
        {
            let limit = if timeout.starts_with("timeout") { "-k 5 5" } else { "" };
            let script = format!("{timeout} {limit} sh -c {} sh $$ 2>/dev/null", word(HAS_GROUP));
            let status = Command::new("setsid").args(["-w", "sh", "-c", &script]).status().unwrap();
            assert_eq!(status.code(), Some(expected), "{timeout}");
        }
    }
}
