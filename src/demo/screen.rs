//! What the demo prints: lines that stay, and on a terminal one line below them that moves.

use std::io::{self, IsTerminal, Write};

use jiff::tz::TimeZone;

/// What a line is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tag {
    /// The demo itself.
    Demo,
    /// A peer.
    Peer,
    /// A simulated host, or its node.
    Node,
    /// How much is collected.
    Samples,
    /// A trigger.
    Trigger,
    /// A trigger that fires.
    Firing,
    /// A run that is well.
    Run,
    /// Something that is not as it should be.
    Trouble,
}

impl Tag {
    fn word(self) -> &'static str {
        match self {
            Tag::Demo => "demo",
            Tag::Peer => "peer",
            Tag::Node => "node",
            Tag::Samples => "samples",
            Tag::Trigger | Tag::Firing => "trigger",
            Tag::Run => "run",
            Tag::Trouble => "trouble",
        }
    }

    /// The parameter of the terminal's colour.
    fn colour(self) -> &'static str {
        match self {
            Tag::Demo | Tag::Samples => "2",
            Tag::Peer => "36",
            Tag::Node => "34",
            Tag::Trigger => "33",
            Tag::Firing => "1;33",
            Tag::Run => "32",
            Tag::Trouble => "1;31",
        }
    }
}

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// When it happened.
    pub(super) at: jiff::Timestamp,
    /// What it is about.
    pub(super) tag: Tag,
    /// What happened; one line.
    pub(super) text: String,
}

impl Line {
    /// Something that happened just now.
    pub(super) fn now(tag: Tag, text: impl Into<String>) -> Line {
        Line { at: jiff::Timestamp::now(), tag, text: text.into() }
    }

    /// As it is printed, without its end.
    fn render(&self, zone: &TimeZone, colours: bool) -> String {
        let time = self.at.to_zoned(zone.clone()).strftime("%H:%M:%S");
        let (word, text) = (self.tag.word(), plain(&self.text));
        if colours {
            format!("\x1b[2m{time}\x1b[0m  \x1b[{}m{word:<8}\x1b[0m {text}", self.tag.colour())
        } else {
            format!("{time}  {word:<8} {text}")
        }
    }
}

/// Where it is printed: standard output.
pub(super) struct Screen {
    out: io::Stdout,
    zone: TimeZone,
    terminal: bool,
    colours: bool,
    /// The line that moves is shown.
    has_status: bool,
    /// The time of the newest line.
    newest: jiff::Timestamp,
}

impl Screen {
    /// Standard output as it is.
    pub(super) fn new() -> Screen {
        let out = io::stdout();
        let terminal = out.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let zone = TimeZone::system();
        let colours = terminal && !no_color;
        Screen { out, zone, terminal, colours, has_status: false, newest: jiff::Timestamp::MIN }
    }

    /// Whether there is a line that moves.
    pub(super) fn moves(&self) -> bool {
        self.terminal
    }

    /// Prints text as it is.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.clear_status()?;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Prints a line of the log.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(super) fn line(&mut self, line: &Line) -> io::Result<()> {
        // What is learnt of late is told late; a log whose time goes back would only confuse.
        self.newest = self.newest.max(line.at);
        let text = Line { at: self.newest, ..line.clone() }.render(&self.zone, self.colours);
        self.print(&format!("{text}\n"))
    }

    /// Shows what is now in the line that moves. Nothing where there is none.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(super) fn status(&mut self, text: &str) -> io::Result<()> {
        if !self.terminal {
            return Ok(());
        }
        // A line that is too long would wrap, and could not be taken back.
        let width = rustix::termios::tcgetwinsize(&self.out).map_or(80, |size| usize::from(size.ws_col));
        let text: String = plain(text).chars().take(width.saturating_sub(1)).collect();
        self.clear_status()?;
        if self.colours {
            write!(self.out, "\x1b[2m{text}\x1b[0m")?;
        } else {
            write!(self.out, "{text}")?;
        }
        self.has_status = true;
        self.out.flush()
    }

    /// Takes the line that moves away.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(super) fn clear_status(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.has_status) {
            write!(self.out, "\r\x1b[2K")?;
        }
        Ok(())
    }
}

/// Text of one line that can do no harm to a terminal: control characters are shown as spaces.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(tag: Tag, text: &str) -> Line {
        Line { at: "2026-02-03T04:05:06.789Z".parse().unwrap(), tag, text: text.into() }
    }

    #[test]
    fn a_line_says_when_and_what() {
        let shown = line(Tag::Firing, "web-busy fired").render(&TimeZone::UTC, false);
        assert_eq!(shown, "04:05:06  trigger  web-busy fired");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(line(Tag::Run, "x").render(&zone, false), "06:05:06  run      x");
    }

    #[test]
    fn colours_are_there_only_when_asked_for() {
        assert!(!line(Tag::Peer, "p1").render(&TimeZone::UTC, false).contains('\x1b'));
        assert!(line(Tag::Peer, "p1").render(&TimeZone::UTC, true).contains("\x1b[36mpeer"));
    }

    #[test]
    fn what_a_host_printed_can_not_move_the_cursor() {
        let shown = line(Tag::Run, "done\x1b[2J\r\nand\u{9b}more").render(&TimeZone::UTC, false);
        assert_eq!(shown, "04:05:06  run      done [2J  and more");
    }
}
