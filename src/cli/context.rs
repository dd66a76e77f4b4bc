//! Where to and as whom: flags, environment, or the context file.
//!
//! `~/.config/rscaler/contexts.yaml` (or `$XDG_CONFIG_HOME/rscaler/contexts.yaml`), mode 0600, holds named contexts and
//! which of them is in use.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::failure::{Done, Failure};
use super::output;

/// What these options are listed under.
const HEADING: &str = "Where to and as whom";

/// Options that say where to and as whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct Where {
    /// URLs of peers, separated by commas; any of them serves [env: RSCALER_API]
    // The variable is read by hand: as an argument's it would also be where `server --api` listens.
    #[arg(long, global = true, value_name = "URLS", help_heading = HEADING)]
    pub(crate) api: Option<String>,
    /// The token to authenticate with
    #[arg(long, global = true, env = "RSCALER_TOKEN", hide_env_values = true, help_heading = HEADING)]
    pub(crate) token: Option<String>,
    /// Files of certificates (PEM), separated by commas, that the peers' API is verified with, where the system does
    /// not trust it
    #[arg(long, global = true, env = "RSCALER_CA", hide_env_values = true, value_name = "FILES", help_heading = HEADING)]
    pub(crate) ca: Option<String>,
    /// The context to use, from the context file
    #[arg(long, global = true, env = "RSCALER_CONTEXT", hide_env_values = true, value_name = "NAME", help_heading = HEADING)]
    pub(crate) context: Option<String>,
}

/// A place to talk to, as the context file keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// URLs of peers, separated by commas.
    pub(crate) api: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContextFile {
    #[serde(default)]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// Manage the context file
#[derive(Subcommand, Debug)]
pub(crate) enum ContextCommand {
    /// Show the contexts
    List,
    /// Use a context from now on
    Use {
        /// Its name
        name: String,
    },
    /// Keep the given --api, --token and --ca under a name, and use them from now on
    Set {
        /// Its name
        name: String,
    },
    /// Forget a context, and the token in it
    Remove {
        /// Its name
        name: String,
    },
}

fn path() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    Ok(home.context("neither XDG_CONFIG_HOME nor HOME is set")?.join("rscaler").join("contexts.yaml"))
}

fn read() -> anyhow::Result<ContextFile> {
    let Ok(path) = path() else { return Ok(ContextFile::default()) };
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_norway::from_str(&text).with_context(|| format!("{} is not right", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ContextFile::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write(file: &ContextFile) -> anyhow::Result<()> {
    let path = path()?;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let text = serde_norway::to_string(file)?;
    // It holds tokens: nobody else may read it, from its first byte on.
    let next = path.with_extension("next");
    let _ = std::fs::remove_file(&next);
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    std::io::Write::write_all(&mut out, text.as_bytes())?;
    std::fs::rename(&next, &path)?;
    Ok(())
}

impl Where {
    /// The place that flags, environment and context file name together.
    pub(crate) fn resolve(&self) -> Result<Context, Failure> {
        let file = read()?;
        // A context is for the place it names: its token goes nowhere else.
        let elsewhere = |name: &String| {
            let its = file.contexts.get(name).map(|context| context.api.as_str());
            self.api().is_some_and(|api| Some(api.as_str()) != its)
        };
        let in_use = file.current.clone().filter(|name| !elsewhere(name));
        let named = match given(&self.context).or(in_use) {
            Some(name) => Some(file.contexts.get(&name).cloned().ok_or_else(|| {
                Failure::Usage(format!("there is no context `{name}`: `rscaler context list` shows them"))
            })?),
            None => None,
        };
        self.over(named.unwrap_or_default())
    }

    /// The place to log in to: the context may be a new one, and there is no token yet.
    pub(crate) fn resolve_for_login(&self) -> Result<Context, Failure> {
        let file = read()?;
        let named = self.context.as_ref().or(file.current.as_ref()).and_then(|name| file.contexts.get(name));
        let place = self.over(named.cloned().unwrap_or_default())?;
        Ok(Context { token: None, ca: place.ca.map(absolute), ..place })
    }

    fn api(&self) -> Option<String> {
        given(&self.api).or_else(|| given(&std::env::var("RSCALER_API").ok()))
    }

    /// What flags and environment say, and else a context.
    fn over(&self, named: Context) -> Result<Context, Failure> {
        let api = self.api().or((!named.api.is_empty()).then_some(named.api)).ok_or_else(|| {
            Failure::Usage(
                "where to? give --api, set RSCALER_API (such as http://127.0.0.1:7700), or use a context"
                    .to_string(),
            )
        })?;
        Ok(Context { api, token: given(&self.token).or(named.token), ca: given(&self.ca).or(named.ca) })
    }
}

/// What was given: an empty variable of the environment is none.
fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.trim().is_empty())
}

/// Files that are found from everywhere.
fn absolute(paths: String) -> String {
    let whole = |path: &str| match std::path::absolute(path.trim()) {
        Ok(path) => path.display().to_string(),
        Err(_) => path.to_string(),
    };
    paths.split(',').map(whole).collect::<Vec<_>>().join(",")
}

/// Keeps a context under the name that is given or in use, or else `default`, and uses it from now on; gives the name.
pub(crate) fn keep(at: &Where, context: Context) -> Result<String, Failure> {
    let mut file = read()?;
    let name = given(&at.context).or(file.current.clone()).unwrap_or_else(|| "default".to_string());
    file.contexts.insert(name.clone(), context);
    file.current = Some(name.clone());
    write(&file)?;
    Ok(name)
}

/// Takes the token out of the context that is given or in use.
pub(crate) fn forget_token(at: &Where) -> Done {
    let mut file = read()?;
    let name = given(&at.context).or(file.current.clone());
    if let Some(context) = name.and_then(|name| file.contexts.get_mut(&name)) {
        context.token = None;
        write(&file)?;
    }
    Ok(())
}

/// Runs `rscaler context`.
pub(crate) fn run(at: &Where, command: &ContextCommand) -> Done {
    let mut file = read()?;
    match command {
        ContextCommand::List => {
            for (name, context) in &file.contexts {
                let mark = if file.current.as_ref() == Some(name) { "*" } else { " " };
                output::say(&format!("{mark} {name}  {}", context.api))?;
            }
            return Ok(());
        }
        ContextCommand::Use { name } => {
            if !file.contexts.contains_key(name) {
                return Err(Failure::Failed(format!("there is no context `{name}`")));
            }
            file.current = Some(name.clone());
        }
        ContextCommand::Set { name } => {
            let api = at
                .api()
                .ok_or_else(|| Failure::Usage("give --api as well, or set RSCALER_API".to_string()))?;
            let context = Context { api, token: at.token.clone(), ca: at.ca.clone().map(absolute) };
            file.contexts.insert(name.clone(), context);
            file.current = Some(name.clone());
        }
        ContextCommand::Remove { name } => {
            if file.contexts.remove(name).is_none() {
                return Err(Failure::Failed(format!("there is no context `{name}`")));
            }
            file.current = file.current.filter(|current| current != name);
        }
    }
    Ok(write(&file)?)
}
