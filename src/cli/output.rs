//! Data on standard output: tables for people, JSON and YAML for programs.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::failure::{Done, Failure};

/// How data is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// As documents that can be applied.
    Yaml,
}

/// A column of a table: its title, and the cell of an item.
pub(crate) type Column = (&'static str, fn(&Value) -> String);

/// Prints items as a table of `columns`, or whole.
pub(crate) fn items(format: Format, items: &[Value], columns: &[Column]) -> Done {
    match format {
        Format::Table if items.is_empty() => {
            eprintln!("none");
            Ok(())
        }
        Format::Table => say(&table(items, columns, width())),
        Format::Json => json(&Value::Array(items.to_vec())),
        Format::Yaml => documents(items),
    }
}

/// Prints YAML documents.
pub(crate) fn documents(documents: &[impl Serialize]) -> Done {
    let texts: Result<Vec<String>, Failure> = documents.iter().map(yaml).collect();
    match texts?.join("---\n").trim_end() {
        "" => Ok(()),
        text => say(text),
    }
}

/// A YAML document.
pub(crate) fn yaml(document: &impl Serialize) -> Result<String, Failure> {
    serde_norway::to_string(document).map_err(|error| Failure::Failed(error.to_string()))
}

/// Prints one object: its fields as rows, or whole.
pub(crate) fn object(format: Format, object: &Value) -> Done {
    match format {
        Format::Json => json(object),
        Format::Yaml => say(yaml(object)?.trim_end()),
        Format::Table => {
            let mut table = plain();
            for (field, value) in object.as_object().into_iter().flatten() {
                if !value.is_null() {
                    table.add_row([field.clone(), cell(value)]);
                }
            }
            say(&table.trim_fmt())
        }
    }
}

fn json(value: &Value) -> Done {
    say(&serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?)
}

/// Writes a line to standard output; a closed pipe ends the program quietly, as with other tools.
pub(crate) fn say(text: &str) -> Done {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::Status(0)),
        other => Ok(other?),
    }
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

/// The table of `items`, at most `width` columns wide where a width is given.
pub(crate) fn table(items: &[Value], columns: &[Column], width: Option<u16>) -> String {
    let mut table = plain();
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(columns.iter().map(|(title, _)| title.to_uppercase()));
    for item in items {
        table.add_row(columns.iter().map(|(_, of)| of(item)));
    }
    table.trim_fmt()
}

fn width() -> Option<u16> {
    let terminal = std::io::stdout().is_terminal();
    terminal.then(|| rustix::termios::tcgetwinsize(std::io::stdout()).map(|size| size.ws_col).ok()).flatten()
}

/// A value as a cell: text as it is, lists joined, objects as JSON.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_string(),
        Value::String(text) => printable(text),
        Value::Array(values) if values.iter().all(|v| !v.is_object() && !v.is_array()) => {
            values.iter().map(cell).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// A field of an item as a cell.
pub(crate) fn field(item: &Value, name: &str) -> String {
    cell(item.get(name).unwrap_or(&Value::Null))
}

/// Text that came from elsewhere, safe for a terminal: control characters are shown, not obeyed.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let shown: Vec<char> =
                if c.is_control() && c != '\n' && c != '\t' { c.escape_default().collect() } else { vec![c] };
            shown
        })
        .collect()
}

/// How long ago an RFC 3339 moment is, in the largest unit.
pub(crate) fn ago(value: &Value) -> String {
    let Some(at) = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) else {
        return "-".to_string();
    };
    let seconds = jiff::Timestamp::now().duration_since(at).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Colour codes around `text`, where standard error is a terminal and NO_COLOR is not set.
pub(crate) fn coloured(text: &str, code: u8) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain || !std::io::stdout().is_terminal() {
        text.to_string()
    } else {
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_item() {
        let items = [json!({"name": "web01", "port": 22}), json!({"name": "db", "port": null})];
        let columns: &[Column] = &[("name", |i| field(i, "name")), ("port", |i| field(i, "port"))];
        let lines: Vec<String> =
            table(&items, columns, None).lines().map(|line| line.trim_end().to_string()).collect();
        assert_eq!(lines, [" NAME   PORT", " web01  22", " db     -"]);
    }

    #[test]
    fn what_hosts_say_cannot_drive_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\tc"), "a\\u{1b}[31mb\tc");
    }
}
