//! `edit`: an object goes through $EDITOR, and back under the version it had. What was written is never lost: where it
//! can't be taken it is edited again, or stays in a file that is named.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::connection::Connection;
use super::failure::{Done, Failure};
use super::kind::{Kind, document};
use super::output;

/// Options of `edit`.
#[derive(Args, Debug)]
pub(crate) struct EditArgs {
    /// What kind
    #[arg(value_enum)]
    kind: Kind,
    /// Which one
    name: String,
}

/// What begins the lines that are no part of the document.
const NOTE: &str = "# ";
const INTRODUCTION: &str = "Save and leave to change it; leave it as it is to change nothing.";

/// Runs `rscaler edit`.
pub(crate) async fn edit(connection: &Connection, args: EditArgs) -> Done {
    let path = format!("{}/{}", args.kind.path(), args.name);
    let (mut present, mut version) = read(connection, args.kind, &path).await?;
    let before = parsed(&present)?;
    let file = Draft::new(args.kind, &args.name)?;
    let mut notes = vec![INTRODUCTION.to_string()];
    let mut text = present.clone();
    loop {
        std::fs::write(&file.path, with_notes(&notes, &text))?;
        let edited = match run_editor(&file.path) {
            Ok(()) => without_notes(&std::fs::read_to_string(&file.path)?),
            Err(failure) => return Err(file.kept_where(text != present, failure)),
        };
        let again = notes.len() > 1;
        if edited.trim().is_empty() || edited == text {
            if !again {
                eprintln!("nothing was changed");
                return Ok(());
            }
            return Err(
                file.kept_where(true, Failure::Failed("it was left as it was: nothing was changed".into()))
            );
        }
        text = edited;
        let put = match parsed(&text) {
            Ok(body) if body == before => {
                eprintln!("nothing was changed");
                return Ok(());
            }
            Ok(body) => connection.put(&path, body, version).await.map(|_| ()),
            Err(failure) => Err(failure),
        };
        let Err(failure) = put else {
            eprintln!("{}/{} changed", args.kind.singular(), args.name);
            return Ok(());
        };
        let why = failure.message().unwrap_or_default().to_string();
        notes = vec![INTRODUCTION.to_string(), "It could not be taken:".to_string()];
        notes.extend(why.lines().map(|line| format!("  {line}")));
        if matches!(failure, Failure::Moved(_)) {
            (present, version) = match read(connection, args.kind, &path).await {
                Ok(read) => read,
                Err(failure) => return Err(file.kept_where(true, failure)),
            };
            notes
                .push("Saving this puts it in place of what somebody else made of it meanwhile:".to_string());
            notes.extend(present.lines().map(|line| format!("  {line}")));
        }
        eprintln!("rscaler: {why}");
        if !ask_again()? {
            return Err(file.kept_where(true, Failure::Failed("nothing was changed".to_string())));
        }
    }
}

/// The object as a document, and its version.
async fn read(connection: &Connection, kind: Kind, path: &str) -> Result<(String, Option<u64>), Failure> {
    let mut object = connection.get(path).await?;
    let version = object["version"].as_u64();
    if let Some(fields) = object.as_object_mut() {
        for made in ["version", "created", "updated", "bytes", "sha256"] {
            fields.remove(made);
        }
    }
    Ok((output::yaml(&document(kind, &object))?, version))
}

fn parsed(text: &str) -> Result<Value, Failure> {
    serde_norway::from_str(text).map_err(|error| Failure::Failed(format!("this is not YAML: {error}")))
}

fn with_notes(notes: &[String], text: &str) -> String {
    let mut whole = String::new();
    for note in notes {
        let _ = writeln!(whole, "{}", format!("{NOTE}{note}").trim_end());
    }
    whole + text
}

/// Without the comments that a document begins with: they are ours.
fn without_notes(text: &str) -> String {
    text.split_inclusive('\n').skip_while(|line| line.starts_with(NOTE.trim_end())).collect()
}

/// Asks whether to go on, where there is somebody to ask.
fn ask_again() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("edit it again? [Y/n] ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer)?;
    Ok(read > 0 && !answer.trim().to_lowercase().starts_with('n'))
}

/// The file that is edited, in a directory of its own that only the user can enter. Goes away with this, unless it is
/// kept.
struct Draft {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Draft {
    fn new(kind: Kind, name: &str) -> Result<Draft, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("rscaler-edit-")
            .tempdir()
            .map_err(|error| Failure::Failed(format!("cannot make a file to edit: {error}")))?;
        let path = dir.path().join(format!("{}-{name}.yaml", kind.singular()));
        Ok(Draft { dir, path })
    }

    /// A failure that says where the file stays, where it does.
    fn kept_where(self, keep: bool, failure: Failure) -> Failure {
        if !keep {
            return failure;
        }
        let path = self.path;
        let _ = self.dir.keep();
        let hint = format!("\n  what you wrote is in {}; `rscaler apply -f` takes it", path.display());
        match failure {
            Failure::NoAnswer(text) => Failure::NoAnswer(text + &hint),
            other => Failure::Failed(other.message().unwrap_or_default().to_string() + &hint),
        }
    }
}

fn run_editor(path: &Path) -> Done {
    let set = |name: &&str| std::env::var_os(name).filter(|value| !value.is_empty());
    let editor = ["VISUAL", "EDITOR"].iter().find_map(set).unwrap_or_else(|| "vi".into());
    // An editor may come with arguments, such as `code --wait`: the shell takes them apart.
    let mut script = OsString::from(&editor);
    script.push(" \"$1\"");
    let shown = editor.to_string_lossy();
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg("sh")
        .arg(path)
        .status()
        .map_err(|error| Failure::Failed(format!("cannot start the editor `{shown}`: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "the editor `{shown}` failed ({status}): nothing was changed; $EDITOR says which one is used"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_and_go_and_leave_the_document_alone() {
        let text = "kind: cluster\nname: a\n# mine\ndescription: x\n";
        let whole = with_notes(&["one".to_string(), String::new()], text);
        assert!(whole.starts_with("# one\n#\nkind"), "{whole}");
        assert_eq!(without_notes(&whole), text);
        assert_eq!(without_notes(text), text);
    }
}
