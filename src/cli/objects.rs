//! `apply`, `get`, `delete`, `edit`: configuration objects.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::Value;

use super::confirm;
use super::connection::Connection;
use super::failure::{Done, Failure};
use super::output::{self, Column, Format, ago, field};

/// A kind, in the singular or the plural.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    #[value(alias = "cluster")]
    Clusters,
    #[value(alias = "node")]
    Nodes,
    #[value(alias = "ssh-profile")]
    SshProfiles,
    #[value(alias = "counter")]
    Counters,
    #[value(alias = "trigger")]
    Triggers,
    #[value(alias = "action")]
    Actions,
    #[value(alias = "file")]
    Files,
    #[value(alias = "secret")]
    Secrets,
    #[value(alias = "user")]
    Users,
    #[value(alias = "token")]
    Tokens,
    #[value(alias = "maintenance-window")]
    MaintenanceWindows,
}

impl Kind {
    /// As URLs have it.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Kind::Clusters => "clusters",
            Kind::Nodes => "nodes",
            Kind::SshProfiles => "ssh-profiles",
            Kind::Counters => "counters",
            Kind::Triggers => "triggers",
            Kind::Actions => "actions",
            Kind::Files => "files",
            Kind::Secrets => "secrets",
            Kind::Users => "users",
            Kind::Tokens => "tokens",
            Kind::MaintenanceWindows => "maintenance-windows",
        }
    }

    fn singular(self) -> &'static str {
        self.path().strip_suffix('s').unwrap_or(self.path())
    }

    fn columns(self) -> &'static [Column] {
        match self {
            Kind::Clusters => &[("name", name), ("description", |i| field(i, "description")), ("age", age)],
            Kind::Nodes => &[
                ("name", name),
                ("cluster", |i| field(i, "cluster")),
                ("hostname", |i| field(i, "hostname")),
                ("port", |i| field(i, "port")),
                ("ssh profile", |i| field(i, "ssh_profile")),
                ("age", age),
            ],
            Kind::SshProfiles => &[
                ("name", name),
                ("user", |i| field(i, "user")),
                ("port", |i| field(i, "port")),
                ("host key", |i| field(i, "host_key")),
                ("jump", |i| field(i, "jump")),
            ],
            Kind::Counters => &[
                ("name", name),
                ("type", |i| field(i, "type")),
                ("interval", |i| field(i, "interval")),
                ("unit", |i| field(i, "unit")),
                ("clusters", |i| field(i, "clusters")),
                ("parse", |i| field(i, "parse")),
            ],
            Kind::Triggers => &[
                ("name", name),
                ("cluster", |i| field(i, "cluster")),
                ("when", when),
                ("for", |i| field(i, "for")),
                ("enabled", |i| field(i, "enabled")),
            ],
            Kind::Actions => &[
                ("name", name),
                ("type", |i| field(i, "type")),
                ("timeout", |i| field(i, "timeout")),
                ("description", |i| field(i, "description")),
            ],
            Kind::Users => &[("name", name), ("role", |i| field(i, "role")), ("age", age)],
            Kind::Tokens => &[
                ("name", name),
                ("role", |i| field(i, "role")),
                ("expires", |i| field(i, "expires")),
                ("age", age),
            ],
            Kind::MaintenanceWindows => &[
                ("name", name),
                ("cluster", |i| field(i, "cluster")),
                ("node", |i| field(i, "node")),
                ("from", |i| field(i, "from")),
                ("to", |i| field(i, "to")),
                ("reason", |i| field(i, "reason")),
            ],
            Kind::Files | Kind::Secrets => {
                &[("name", name), ("version", |i| field(i, "version")), ("age", age)]
            }
        }
    }
}

fn name(item: &Value) -> String {
    field(item, "name")
}

fn age(item: &Value) -> String {
    ago(&item["created"])
}

fn when(item: &Value) -> String {
    let conditions = item["when"].as_array().into_iter().flatten();
    let shown: Vec<String> = conditions
        .map(|c| format!("{} {} {}", field(c, "counter"), field(c, "op"), field(c, "threshold")))
        .collect();
    let word = if item["match"] == "all" { " and " } else { " or " };
    shown.join(word)
}

/// Options of `apply`.
#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// Files with YAML or JSON documents, each with its `kind`; `-` is standard input
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Delete objects that are not in the documents
    #[arg(long)]
    prune: bool,
    /// Do not ask before pruning
    #[arg(long)]
    yes: bool,
}

/// Options of `get`.
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// What kind
    #[arg(value_enum)]
    kind: Kind,
    /// Which one; all where absent
    name: Option<String>,
    /// Only those with this label, as `key` or `key=value`
    #[arg(short = 'l', long, value_name = "LABEL")]
    label: Option<String>,
}

/// Options of `delete`.
#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// What kind
    #[arg(value_enum)]
    kind: Kind,
    /// Which one
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Options of `edit`.
#[derive(Args, Debug)]
pub(crate) struct EditArgs {
    /// What kind
    #[arg(value_enum)]
    kind: Kind,
    /// Which one
    name: String,
}

/// Reads documents from files; a directory's YAML and JSON files in name order.
fn read_documents(files: &[PathBuf]) -> Result<String, Failure> {
    let mut all = String::new();
    for file in files {
        let mut paths = vec![file.clone()];
        if file.is_dir() {
            let entries = std::fs::read_dir(file).map_err(|error| cannot_read(file, &error))?;
            paths = entries
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|path| {
                    path.extension()
                        .and_then(|e| e.to_str())
                        .is_some_and(|e| ["yaml", "yml", "json"].contains(&e))
                })
                .collect();
            paths.sort();
        }
        for path in paths {
            let text = if path.as_os_str() == "-" {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                text
            } else {
                std::fs::read_to_string(&path).map_err(|error| cannot_read(&path, &error))?
            };
            if !all.is_empty() && !text.trim_start().starts_with("---") {
                all += "---\n";
            }
            all += &text;
            if !all.ends_with('\n') {
                all.push('\n');
            }
        }
    }
    Ok(all)
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("cannot read {}: {error}", path.display()))
}

/// Runs `rscaler apply`.
pub(crate) async fn apply(connection: &Connection, format: Format, args: ApplyArgs) -> Done {
    let documents = read_documents(&args.files)?;
    if args.prune && !args.dry_run {
        let plan = connection.apply(&documents, true, true).await?;
        let gone = changes(&plan).iter().filter(|change| change["effect"] == "deleted").count();
        if gone > 0 {
            confirm(args.yes, &format!("delete {gone} objects that the documents do not have"))?;
        }
    }
    let answer = connection.apply(&documents, args.dry_run, args.prune).await?;
    if format != Format::Table {
        return output::object(format, &answer);
    }
    for change in changes(&answer) {
        let effect = field(&change, "effect");
        let shown = match effect.as_str() {
            "created" => output::coloured(&effect, 32),
            "updated" => output::coloured(&effect, 33),
            "deleted" => output::coloured(&effect, 31),
            _ => effect,
        };
        output::say(&format!("{}/{} {shown}", field(&change, "kind"), field(&change, "name")))?;
        if let Some(token) = change["token"].as_str() {
            output::say(&format!("  token: {token}"))?;
        }
    }
    if args.dry_run {
        eprintln!("nothing was changed: this was a dry run");
    }
    Ok(())
}

fn changes(answer: &Value) -> Vec<Value> {
    ["changes", "items"].iter().find_map(|field| answer[field].as_array().cloned()).unwrap_or_default()
}

/// Runs `rscaler get`.
pub(crate) async fn get(connection: &Connection, format: Format, args: GetArgs) -> Done {
    if let Some(name) = &args.name {
        let object = connection.get(&format!("{}/{name}", args.kind.path())).await?;
        return output::object(if format == Format::Table { Format::Yaml } else { format }, &object);
    }
    let filter = args.label.as_ref().map(|label| format!("?label={}", label));
    let items = connection.list(&format!("{}{}", args.kind.path(), filter.unwrap_or_default())).await?;
    output::items(format, &items, args.kind.columns())
}

/// Runs `rscaler delete`.
pub(crate) async fn delete(connection: &Connection, args: DeleteArgs) -> Done {
    confirm(args.yes, &format!("delete {} `{}`", args.kind.singular(), args.name))?;
    connection.send(Method::DELETE, &format!("{}/{}", args.kind.path(), args.name), None).await?;
    eprintln!("{}/{} deleted", args.kind.singular(), args.name);
    Ok(())
}

/// Runs `rscaler edit`: the object goes through $EDITOR, and back under the version it had.
pub(crate) async fn edit(connection: &Connection, args: EditArgs) -> Done {
    let path = format!("{}/{}", args.kind.path(), args.name);
    let mut object = connection.get(&path).await?;
    let version = object["version"].as_u64();
    if let Some(fields) = object.as_object_mut() {
        for made in ["version", "created", "updated"] {
            fields.remove(made);
        }
    }
    let before = serde_norway::to_string(&object).map_err(|error| Failure::Failed(error.to_string()))?;
    let mut text = before.clone();
    loop {
        text = edit_text(&text, &args.name)?;
        if text == before || text.trim().is_empty() {
            eprintln!("nothing was changed");
            return Ok(());
        }
        let put = match serde_norway::from_str::<Value>(&text) {
            Ok(body) => connection.put(&path, body, version).await.map(|_| ()),
            Err(error) => Err(Failure::Failed(format!("not YAML: {error}"))),
        };
        match put {
            Ok(()) => {
                eprintln!("{}/{} changed", args.kind.singular(), args.name);
                return Ok(());
            }
            Err(failure) => {
                eprintln!("rscaler: {}", failure.message().unwrap_or_default());
                // What was written must not be lost: back to the editor, or kept in the terminal.
                confirm(false, "edit it again").map_err(|_| failure)?;
            }
        }
    }
}

fn edit_text(text: &str, name: &str) -> Result<String, Failure> {
    let file = tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .suffix(".yaml")
        .tempfile()
        .map_err(|error| Failure::Failed(format!("cannot make a file to edit: {error}")))?;
    std::fs::write(file.path(), text)?;
    let editor = ["VISUAL", "EDITOR"].iter().find_map(std::env::var_os).unwrap_or_else(|| "vi".into());
    // An editor may come with arguments, such as `code --wait`.
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg("exec $0 \"$1\"")
        .arg(&editor)
        .arg(file.path())
        .status()
        .map_err(|error| Failure::Failed(format!("cannot start the editor: {error}")))?;
    if !status.success() {
        return Err(Failure::Failed("the editor failed: nothing was changed".to_string()));
    }
    Ok(std::fs::read_to_string(file.path())?)
}
