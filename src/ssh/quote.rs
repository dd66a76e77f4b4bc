//! Text as shell words, and words that can't be guessed.

use rand::RngCore;

/// `text` as one word of POSIX shell, whatever it holds but NUL. A newline stays a newline.
pub(super) fn word(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    out.push_str(&text.replace('\'', "'\\''"));
    out.push('\'');
    out
}

/// `text` as one word on **one line**, for what reads lines: each newline becomes `"$n"`, which [`BOOT`] has set.
pub(super) fn line_word(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8 + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("'\\''"),
            '\n' => out.push_str("'\"$n\"'"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// Reads one line of shell from stdin, and not a byte more, and runs it. Whatever is data travels in that line and not on a
/// command line, where everybody on the host can see it and where 128 KiB is the limit. `$n` is a newline (the end of the
/// default IFS). A line that was cut short is not run. It holds no single quote, so that it fits between two.
pub(super) const BOOT: &str = "n=${IFS#??}; IFS= read -r l || exit 125; eval \"$l\"";

/// Random text of 32 hexadecimal digits, that output can't forge since nothing on the host sees it before the output ends.
pub(super) fn nonce() -> String {
    let mut bytes = [0_u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `name` can be the name of an environment variable.
pub(super) fn is_variable_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn shells() -> Vec<&'static str> {
        ["dash", "bash", "sh"]
            .into_iter()
            .filter(|shell| {
                Command::new(shell).args(["-c", ":"]).status().is_ok_and(|status| status.success())
            })
            .collect()
    }

    fn through_words(shell: &str, text: &str) -> Vec<u8> {
        let line = format!("printf %s {}", word(text));
        Command::new(shell).args(["-c", &line]).output().unwrap().stdout
    }

    fn through_line(shell: &str, text: &str) -> Vec<u8> {
        let mut child = Command::new(shell)
            .args(["-c", BOOT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let line = format!("t={}; printf %s \"$t\"; cat\n", line_word(text));
        assert_eq!(line.matches('\n').count(), 1);
        stdin.write_all(line.as_bytes()).unwrap();
        stdin.write_all(b"|rest").unwrap();
        drop(stdin);
        child.wait_with_output().unwrap().stdout
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_text_survives_the_shell(text in "([ -~]|[\n\t'\"\\\\$`!*]|[À-ž€-ⅿ]|[\u{1}-\u{1f}]){0,60}") {
            for shell in shells() {
                prop_assert_eq!(through_words(shell, &text), text.as_bytes());
                let expected = format!("{text}|rest");
                prop_assert_eq!(through_line(shell, &text), expected.as_bytes());
            }
        }
    }

    #[test]
    fn line_that_was_cut_short_is_not_run() {
        let mut child = Command::new("sh")
            .args(["-c", BOOT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"echo ran").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(output.stdout.is_empty());
    }

    #[test]
    fn nonces_differ() {
        assert_ne!(nonce(), nonce());
        assert_eq!(nonce().len(), 32);
    }

    #[test]
    fn variable_names_are_checked() {
        for good in ["A", "_a1", "PATH"] {
            assert!(is_variable_name(good), "{good}");
        }
        for bad in ["", "1A", "A-B", "A B", "A=B", "É", "A;rm"] {
            assert!(!is_variable_name(bad), "{bad}");
        }
    }
}
