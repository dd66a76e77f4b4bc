//! From layers of text to a [`Config`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Config, ENV_PREFIX, Flags, SETTINGS, Start, TlsFiles};
use crate::jvm::{JavaChoice, libjvm};
use crate::ssh::Secret;
use crate::telemetry::{self, LogFormat};

/// The largest settings file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that is wrong, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            many => {
                write!(f, "{} settings are wrong:", many.len())?;
                many.iter().try_for_each(|mistake| write!(f, "\n  - {mistake}"))
            }
        }
    }
}

impl std::error::Error for Mistakes {}

/// Settings as text, each with where it came from; later layers win.
#[derive(Default)]
pub struct Layers {
    values: BTreeMap<&'static str, (String, String)>,
    mistakes: Vec<String>,
}

impl Layers {
    /// Adds a settings file.
    pub fn add_file(&mut self, path: &Path) {
        match read_file(path) {
            Ok(text) => self.add_yaml(&text, &path.display().to_string()),
            Err(error) => self.mistakes.push(format!("{}: can't be read: {error}", path.display())),
        }
    }

    /// Adds a settings file's text; `file` is its name.
    pub fn add_yaml(&mut self, text: &str, file: &str) {
        let parsed: Result<Option<BTreeMap<String, serde_norway::Value>>, _> = serde_norway::from_str(text);
        let entries = match parsed {
            Ok(entries) => entries.unwrap_or_default(),
            Err(error) => {
                self.mistakes.push(format!("{file}: it has to be a mapping of settings: {error}"));
                return;
            }
        };
        for (name, value) in entries {
            let text = match value {
                serde_norway::Value::String(text) => text,
                serde_norway::Value::Bool(flag) => flag.to_string(),
                serde_norway::Value::Number(number) => number.to_string(),
                _ => {
                    self.mistakes.push(format!("{file}: `{name}` has to be one value"));
                    continue;
                }
            };
            self.add(&name, text, format!("`{name}` in {file}"), || format!("{file}: `{name}`"));
        }
    }

    /// Adds the settings among `variables`.
    pub fn add_environment(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) {
        for (name, value) in variables {
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(ENV_PREFIX)) else { continue };
            // Which file to read is no setting of the file.
            if name == "CONFIG" {
                continue;
            }
            let source = format!("{ENV_PREFIX}{name}");
            match value.into_string() {
                Ok(text) => self.add(&name.to_lowercase(), text, source.clone(), || source.clone()),
                Err(_) => self.mistakes.push(format!("{source} is not text (UTF-8)")),
            }
        }
    }

    /// Adds flags.
    pub fn add_flags(&mut self, flags: &Flags) {
        for (name, text) in flags.settings() {
            let flag = format!("--{}", name.replace('_', "-"));
            self.values.insert(name, (text, flag));
        }
    }

    fn add(&mut self, name: &str, text: String, source: String, unknown: impl Fn() -> String) {
        match SETTINGS.iter().find(|(known, _)| *known == name) {
            Some((known, _)) => {
                self.values.insert(known, (text, source));
            }
            None => {
                let hint = nearest(name).map_or(String::new(), |near| format!("; do you mean `{near}`?"));
                self.mistakes.push(format!("{} is no setting{hint}", unknown()));
            }
        }
    }

    /// Makes sense of all settings.
    ///
    /// # Errors
    /// [`Mistakes`].
    pub fn read(mut self) -> Result<Config, Mistakes> {
        let data_dir = match self.take("data_dir") {
            Some((dir, _)) if !dir.is_empty() => PathBuf::from(dir),
            _ => {
                self.mistakes
                    .push("data_dir is missing: say where this peer keeps its data (--data-dir)".into());
                PathBuf::new()
            }
        };
        let name = self.parse("name", peer_name).unwrap_or_else(machine_name);
        let api = self.parse("api", socket_addr).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7700)));
        let api_url = self.parse("api_url", url);
        let api_tls = self.tls();
        let peer = self.parse("peer", host_port).unwrap_or_else(|| "127.0.0.1:7701".to_string());
        let peer_advertise = self.parse("peer_advertise", host_port);
        let start = self.start();
        let log_format = self.parse("log_format", str::parse::<LogFormat>).unwrap_or_default();
        let log = self
            .parse("log", |text| telemetry::check_filter(text).map(|()| text.to_string()))
            .unwrap_or_else(|| telemetry::DEFAULT_FILTER.to_string());
        let ms = Duration::from_millis;
        let second = Duration::from_secs(1);
        let renew_every = self.within("renew_every", ms(50), second).unwrap_or(ms(400));
        let tasks_max = self.parse("tasks_max", |text| match text.parse() {
            Ok(tasks @ 1..=10_000) => Ok(tasks),
            _ => Err(format!("`{text}` is not a number from 1 to 10000")),
        });
        let grace = self.within("grace", second, second * 3600).unwrap_or(second * 30);
        let requests_per_second = self.parse("requests_per_second", |text| match text.parse() {
            Ok(requests @ 1..=10_000_000) => Ok(requests),
            _ => Err(format!("`{text}` is not a number from 1 to 10000000")),
        });
        let mut ssh = crate::ssh::Options::default();
        let times = [
            ("ssh_connect_timeout", &mut ssh.connect_timeout, ms(100), second * 300),
            ("ssh_login_timeout", &mut ssh.login_timeout, ms(100), second * 300),
            ("ssh_keepalive", &mut ssh.keepalive_interval, second, second * 3600),
            ("ssh_idle_close", &mut ssh.idle_close, second * 10, second * 86_400),
        ];
        for (name, time, min, max) in times {
            if let Some(given) = self.within(name, min, max) {
                *time = given;
            }
        }
        let java = self.parse("java_home", java).unwrap_or_default();
        if !self.mistakes.is_empty() {
            return Err(Mistakes(self.mistakes));
        }
        Ok(Config {
            data_dir,
            name,
            api,
            api_url,
            api_tls,
            peer,
            peer_advertise,
            start,
            log_format,
            log,
            renew_every,
            tasks_max: tasks_max.unwrap_or(64),
            grace,
            requests_per_second: requests_per_second.unwrap_or(500),
            ssh,
            java,
        })
    }

    fn take(&mut self, name: &'static str) -> Option<(String, String)> {
        self.values.remove(name)
    }

    fn parse<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let (text, source) = self.take(name)?;
        match parse(text.trim()) {
            Ok(value) => Some(value),
            Err(why) => {
                self.mistakes.push(format!("{source}: {why}"));
                None
            }
        }
    }

    fn within(&mut self, name: &'static str, min: Duration, max: Duration) -> Option<Duration> {
        self.parse(name, |text| match duration(text) {
            Some(time) if (min..=max).contains(&time) => Ok(time),
            Some(_) => Err(format!("`{text}` is not between {min:?} and {max:?}")),
            None => Err(format!("`{text}` is no duration: a number with ms, s, m or h, such as 90s")),
        })
    }

    fn tls(&mut self) -> Option<TlsFiles> {
        match (self.take("api_cert"), self.take("api_key")) {
            (Some((cert, _)), Some((key, _))) => Some(TlsFiles { cert: cert.into(), key: key.into() }),
            (None, None) => None,
            (Some((_, source)), None) => {
                self.mistakes.push(format!("{source}: a certificate needs its key (--api-key)"));
                None
            }
            (None, Some((_, source))) => {
                self.mistakes.push(format!("{source}: a key needs its certificate (--api-cert)"));
                None
            }
        }
    }

    fn start(&mut self) -> Start {
        let bootstrap = self.parse("bootstrap", |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("`{other}` is neither true nor false")),
        });
        let is_first = bootstrap.unwrap_or(false);
        let join = self.parse("join", host_port);
        let token = self.take("join_token").map(|(text, _)| Secret::new(text.trim()));
        match (is_first, join, token) {
            (false, None, None) => Start::Open,
            (true, None, None) => Start::Bootstrap,
            (false, Some(addr), Some(token)) => Start::Join { addr, token },
            (true, _, _) => self.cannot("either bootstrap, or join with join_token: not both"),
            (false, Some(_), None) => {
                self.cannot("join needs join_token: `rscaler peers token` on the control plane prints one")
            }
            (false, None, Some(_)) => {
                self.cannot("join_token needs join: the address of a peer to join through")
            }
        }
    }

    fn cannot(&mut self, why: &str) -> Start {
        self.mistakes.push(why.to_string());
        Start::Open
    }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "it has {bytes} bytes, at most {FILE_BYTES_MAX} are read"
        )));
    }
    std::fs::read_to_string(path)
}

/// The setting that is spelled most like `name`, if one is near.
fn nearest(name: &str) -> Option<&'static str> {
    let same = |known: &str| {
        let common = known.chars().filter(|c| name.contains(*c)).count();
        known.starts_with(name)
            || name.starts_with(known)
            || known.replace('_', "") == name.replace(['-', '_'], "")
            || (common * 10 >= known.len() * 9 && known.len().abs_diff(name.len()) <= 2)
    };
    SETTINGS.iter().map(|(known, _)| *known).find(|known| same(known))
}

/// `none`, or a directory with a Java runtime.
fn java(text: &str) -> Result<JavaChoice, String> {
    if text == "none" {
        return Ok(JavaChoice::None);
    }
    let choice = JavaChoice::Home(PathBuf::from(text));
    match libjvm(&choice) {
        Some(_) => Ok(choice),
        None => Err(format!("there is no Java runtime in `{text}`: no lib/server/libjvm.so")),
    }
}

fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    host_port(text)?;
    let mut found = text.to_socket_addrs().map_err(|error| format!("`{text}`: {error}"))?;
    found.next().ok_or_else(|| format!("`{text}` has no address"))
}

fn host_port(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not host:port, such as 10.0.0.1:7700");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || is_bare_v6 || host.contains(char::is_whitespace) || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    Ok(text.to_string())
}

fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(char::is_whitespace) => {
            Ok(text.trim_end_matches('/').to_string())
        }
        _ => Err(format!("`{text}` is no URL that begins with http:// or https://")),
    }
}

fn peer_name(text: &str) -> Result<String, String> {
    rscaler_raft::model::Name::new(text).map(|name| name.to_string()).map_err(|error| error.to_string())
}

/// This machine's name as far as it can be a peer's.
fn machine_name() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String =
        text.trim().to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    peer_name(&name[..name.len().min(63)]).unwrap_or_else(|_| "peer".to_string())
}

/// `90s`, `5m`, `250ms`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms: u64 = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}
