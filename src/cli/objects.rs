//! `apply`, `get`, `delete`: configuration objects.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::confirm;
use super::connection::{Connection, ITEMS_MAX};
use super::failure::{Done, Failure};
use super::kind::{Kind, document};
use super::output::{self, Format, field};

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
    /// Only those with these labels, such as `app=web,tier!=db,owner,!old`
    #[arg(short = 'l', long, value_name = "LABELS")]
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

/// Runs `rscaler get`. JSON and YAML are documents that `apply` takes.
pub(crate) async fn get(connection: &Connection, format: Format, args: GetArgs) -> Done {
    if let Some(name) = &args.name {
        let object = connection.get(&format!("{}/{name}", args.kind.path())).await?;
        return match format {
            Format::Json => output::object(format, &with_kind(args.kind, object)),
            Format::Table | Format::Yaml => output::documents(&[document(args.kind, &object)]),
        };
    }
    let labels = args.label.as_deref().map(|label| ("selector", label));
    let query: Vec<(&str, &str)> = labels.into_iter().collect();
    let mut items = connection.find(args.kind.path(), &query, ITEMS_MAX).await?;
    if format == Format::Table {
        return output::items(format, &items, args.kind.columns());
    }
    if args.kind == Kind::Files {
        // Lists leave out what files hold.
        for item in &mut items {
            *item = connection.get(&format!("files/{}", field(item, "name"))).await?;
        }
    }
    if format == Format::Json {
        let items: Vec<Value> = items.into_iter().map(|item| with_kind(args.kind, item)).collect();
        return output::items(format, &items, &[]);
    }
    let documents: Vec<_> = items.iter().map(|item| document(args.kind, item)).collect();
    output::documents(&documents)
}

fn with_kind(kind: Kind, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("kind".to_string(), kind.singular().into());
    }
    object
}

/// Runs `rscaler delete`.
pub(crate) async fn delete(connection: &Connection, args: DeleteArgs) -> Done {
    confirm(args.yes, &format!("delete {} `{}`", args.kind.singular(), args.name))?;
    connection.send(Method::DELETE, &format!("{}/{}", args.kind.path(), args.name), None).await?;
    eprintln!("{}/{} deleted", args.kind.singular(), args.name);
    Ok(())
}
