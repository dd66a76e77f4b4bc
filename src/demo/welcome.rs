//! What the demo says when all of it runs: where things are, and what to try. Pure, but for one look at the `PATH`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::control::Status;
use super::jvm::PROFILE;
use super::seed::{CLUSTER, LOAD, TRIGGER};

/// The width of a command, up to its explanation.
const WIDTH: usize = 42;

/// The text. `program` is how this program is called where the `PATH` does not find it.
pub(super) fn text(
    status: &Status,
    program: Option<&Path>,
    temporary: bool,
    needs_dir: bool,
    has_jvm: bool,
) -> String {
    let mut text = String::from("\n");
    let urls: Vec<_> = status.peers.iter().map(|peer| peer.api.as_str()).collect();
    for peer in &status.peers {
        let (Some(pid), leads) = (peer.pid, if peer.leads { ", leads" } else { "" }) else { continue };
        say(&mut text, &format!("  {}   {}   process {pid}{leads}", peer.name, peer.api));
    }
    let kept = if temporary { "removed at the end" } else { "kept" };
    say(&mut text, &format!("  data {} ({kept})", status.dir.display()));
    say(&mut text, &format!("  token {}", status.token_file.display()));

    say(&mut text, "\nIn another terminal:\n");
    if let Some(program) = program {
        say(&mut text, &format!("  alias rscaler={}", quoted(&program.display().to_string())));
    }
    say(&mut text, &format!("  export RSCALER_API={}", urls.join(",")));
    let token_file = quoted(&status.token_file.display().to_string());
    say(&mut text, &format!("  export RSCALER_TOKEN=$(cat {token_file})"));
    text.push('\n');

    let host = status.hosts.first().map_or("web01", |host| host.name.as_str());
    let dir = if needs_dir {
        format!("--dir {} ", quoted(&status.dir.display().to_string()))
    } else {
        String::new()
    };
    let mut hint = |command: String, why: &str| {
        let _ = writeln!(text, "  {command:<WIDTH$} # {why}");
    };
    hint("rscaler status".to_owned(), "peers, nodes, triggers");
    hint(format!("rscaler query {LOAD} --cluster {CLUSTER}"), "samples of the hosts, kept by every peer");
    hint(format!("rscaler demo {dir}load {host} 0.9"), &format!("half a minute later {TRIGGER} fires"));
    hint(format!("rscaler trigger show {TRIGGER}"), "ok, pending, firing, and why");
    hint("rscaler runs list".to_owned(), "what followed, from any peer");
    if has_jvm {
        hint(format!("rscaler jmx browse {host}/{PROFILE} 'demo:*'"), "what a JVM offers, over JMX");
        hint(
            format!("rscaler run --node {host} --action rush"),
            "an operation of it; `rscaler query orders` shows",
        );
    }
    if status.peers.len() >= 3
        && let Some(leader) = status.peers.iter().find(|peer| peer.leads)
        && let Some(pid) = leader.pid
    {
        hint(format!("kill -9 {pid}"), &format!("{} leads; nothing stops without it", leader.name));
        hint(format!("rscaler demo {dir}restart {}", leader.name), "it catches up and takes work again");
    }
    if !has_jvm {
        say(
            &mut text,
            "\nNo Java is installed here: with `apt install default-jre-headless` the demo watches a JVM, too.",
        );
    }
    if let Some(url) = urls.first() {
        say(&mut text, &format!("\nOr in a browser, with that token: {url}"));
    }
    say(&mut text, "\nCtrl-C ends everything. What happens:\n");
    text
}

fn say(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// How this program is to be called by name: `None` where `rscaler` on the `PATH` is it.
pub(super) fn program_to_name(program: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&path).map(|dir| dir.join("rscaler")).find(|file| file.is_file());
    let same = |file: PathBuf| std::fs::canonicalize(file).ok() == std::fs::canonicalize(program).ok();
    if first.is_some_and(same) { None } else { Some(program.to_owned()) }
}

/// Text as one word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::control::{HostStatus, PeerStatus};

    fn status(peers: u16) -> Status {
        let peer = |n: u16| PeerStatus {
            name: format!("p{n}"),
            api: format!("http://127.0.0.1:740{n}"),
            pid: Some(100 + u32::from(n)),
            ended: None,
            leads: n == 2,
            log: format!("/tmp/demo/peers/p{n}.log").into(),
            log_from: 0,
        };
        let addr = std::net::SocketAddr::from(([127, 0, 0, 1], 4022));
        Status {
            dir: "/tmp/my demo".into(),
            pid: 5,
            token_file: "/tmp/my demo/admin.token".into(),
            peers: (1..=peers).map(peer).collect(),
            hosts: vec![HostStatus { name: "web01".into(), addr, load1: None }],
        }
    }

    #[test]
    fn the_commands_can_be_pasted() {
        let text = text(&status(3), Some("/opt/r s/rscaler".as_ref()), true, false, true);
        for line in [
            "  p2   http://127.0.0.1:7402   process 102, leads",
            "  alias rscaler='/opt/r s/rscaler'",
            "  export RSCALER_API=http://127.0.0.1:7401,http://127.0.0.1:7402,http://127.0.0.1:7403",
            "  export RSCALER_TOKEN=$(cat '/tmp/my demo/admin.token')",
            "  rscaler demo load web01 0.9                # half a minute later web-busy fires",
            "  rscaler jmx browse web01/shop 'demo:*'     # what a JVM offers, over JMX",
            "  kill -9 102                                # p2 leads; nothing stops without it",
            "  rscaler demo restart p2                    # it catches up and takes work again",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_can_not_be_done_is_not_said() {
        let alone = text(&status(1), None, false, false, false);
        assert!(alone.contains("apt install") && !alone.contains("jmx browse"), "{alone}");
        assert!(!alone.contains("kill -9") && !alone.contains("alias"), "{alone}");
        assert!(alone.contains("(kept)"));
        let several = text(&status(3), None, false, true, false);
        assert!(several.contains("rscaler demo --dir '/tmp/my demo' load web01 0.9"), "{several}");
    }
}
