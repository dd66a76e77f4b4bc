//! Scripts that are one plain command, such as `cat /proc/loadavg` or `df -P /data 2>/dev/null`.
//!
//! A shell runs such a command in a process of its own and waits for it. A check has a process of its own already, so `exec` in front of
//! it saves the second one: of a check with `cat /proc/loadavg` that is a sixth of the node's work. Shells do the same by themselves, but
//! not for what they are given as text at run time. Everything else about the command stays the same, so in doubt it is no plain command.

/// Names that a shell may answer itself: the words of its language and the commands that are built into some shell. `exec` would look for
/// a program of that name.
const SHELL_WORDS: &[&str] = &[
    "alias",
    "autoload",
    "bg",
    "bind",
    "bindkey",
    "break",
    "builtin",
    "bye",
    "caller",
    "case",
    "cd",
    "chdir",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "end",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "float",
    "for",
    "foreach",
    "function",
    "functions",
    "getopts",
    "global",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "integer",
    "jobs",
    "kill",
    "let",
    "limit",
    "local",
    "logout",
    "mapfile",
    "namespace",
    "newgrp",
    "nocorrect",
    "noglob",
    "popd",
    "print",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "rehash",
    "repeat",
    "return",
    "select",
    "set",
    "setopt",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "unsetopt",
    "until",
    "wait",
    "whence",
    "where",
    "which",
    "while",
];

/// Whether `script` is one command with literal arguments and perhaps redirections, which no shell answers itself.
pub(super) fn is_plain_command(script: &str) -> bool {
    let script = script.trim_matches([' ', '\t', '\n']);
    let name = script.split([' ', '\t']).next().unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-+./".contains(c);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        || !name.chars().all(is_name)
        || SHELL_WORDS.contains(&name)
    {
        return false;
    }
    let mut is_quoted = false;
    let mut before = ' ';
    for c in script.chars() {
        let is_fine = match c {
            '\'' => {
                is_quoted = !is_quoted;
                true
            }
            _ if is_quoted => true,
            // Not `<<`, `<&`, `<(`, `<>`: all but the plain ones and `>>`, `>&`.
            '<' => before != '<' && before != '>',
            '>' => before != '<',
            '&' => before == '>',
            ' ' | '\t' => before != '&',
            c => c.is_ascii_alphanumeric() || "_-+./,:=@%".contains(c),
        };
        if !is_fine {
            return false;
        }
        before = if is_quoted { '\'' } else { c };
    }
    !is_quoted && !"<>&".contains(before)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::process::{Command, Output};

    #[test]
    fn plain_commands_are_told_from_all_else() {
        for plain in [
            "cat /proc/loadavg",
            "  uptime\n",
            "/usr/bin/free -m",
            "cut -d' ' -f1 /proc/loadavg",
            "awk '/^MemFree:/ {print $2; exit}' /proc/meminfo",
            "df -P --output=pcent /data 2>/dev/null",
            "wc -l </etc/passwd",
            "ls /nowhere 2>&1",
            "ps -eo pid,comm",
        ] {
            assert!(is_plain_command(plain), "{plain}");
        }
        for other in [
            "",
            " ",
            "echo 1",
            "exit 3",
            "[ -e /x ]",
            ". /etc/profile",
            "X=1 env",
            "'cat' x",
            "cat x; cat y",
            "cat x\ncat y",
            "cat x | wc -l",
            "cat x && cat y",
            "cat x &",
            "cat x >&",
            "cat $HOME",
            "cat ~/x",
            "cat *",
            "cat \"x\"",
            "cat `x`",
            "cat x # y",
            "cat \\x",
            "cat <<E\nE",
            "cat 'x",
            "cat <(x)",
            "cat x>",
            "cat x & y",
            "-x",
            "{ cat x }",
            "!cat",
            "é",
            "kill -9 1",
        ] {
            assert!(!is_plain_command(other), "{other}");
        }
    }

    fn through(shell: &str, script: &str) -> Output {
        let program = "( exec </dev/null; eval \" $1\" ); exit $?";
        Command::new(shell).args(["-c", program, "sh", script]).current_dir("/proc/self").output().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_plain_command_does_the_same_after_exec(
            name in "(env|ls|/bin/cat|head|expr|no-such-program|date|tr)",
            rest in "( (-[a-z1-9]|'[ -~]{0,6}'|[a-z./=,:@%+-]{1,6}|/proc/self/limits|2>&1|</proc/self/stat|2>/dev/null|>/no/where)){0,4}",
        ) {
            let script = format!("{name}{rest}");
            prop_assume!(is_plain_command(&script));
            for shell in ["dash", "bash"] {
                let (plain, exec) = (through(shell, &script), through(shell, &format!("exec {script}")));
                // A shell names itself and the line where a program or a file is missing: only that may differ.
                if plain.status.code() == Some(127) || rest.contains("/no/where") {
                    prop_assert_eq!(plain.status.success(), exec.status.success(), "{}", script);
                    continue;
                }
                prop_assert_eq!(plain.status, exec.status, "{}", script);
                prop_assert_eq!(plain.stderr.is_empty(), exec.stderr.is_empty(), "{}", script);
            }
        }
    }
}
