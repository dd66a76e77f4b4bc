//! Files that are whole after any crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces a file: after a crash it is the old one or the new one. When this returns it is the new one, also after a power
/// cut.
///
/// # Errors
/// Of the file system; the file is then the old one or the new one.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}
