//! A small disk of its own for a peer: a file system in a file.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mounted file system. Unmounted when dropped.
pub(crate) struct Disk {
    at: PathBuf,
    image: PathBuf,
}

impl Disk {
    /// Mounts a fresh one of so many MiB.
    pub(crate) fn mount(at: &Path, size_mib: u64) -> Result<Disk, String> {
        let image = at.with_extension("disk");
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(size_mib << 20).map_err(|error| error.to_string())?;
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", &image.display().to_string()])?;
        run("mount", &["-o", "loop", &image.display().to_string(), &at.display().to_string()])?;
        Ok(Disk { at: at.to_path_buf(), image })
    }

    /// Fills it until so many MiB are left.
    pub(crate) fn fill(&self, leave_mib: u64) {
        let stat = rustix::fs::statvfs(&self.at).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let take = free.saturating_sub(leave_mib << 20);
        let ballast = OpenOptions::new().create(true).append(true).open(self.ballast()).unwrap();
        let size = ballast.metadata().unwrap().len();
        // What is not had at once is had in smaller pieces: nothing is to be left.
        let mut step = take;
        let mut at = size;
        while step >= 4096 {
            match rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), at, step) {
                Ok(()) => {
                    at += step;
                    if at >= size + take {
                        break;
                    }
                }
                Err(_) => step /= 2,
            }
        }
    }

    /// Gives the room back.
    pub(crate) fn clear(&self) {
        let _ = std::fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Its peer was killed, and may not be quite gone.
        let _ = run("umount", &["-l", &self.at.display().to_string()]);
        let _ = std::fs::remove_file(&self.image);
    }
}

/// Whether file systems may be mounted here; why not.
pub(crate) fn permitted() -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    Disk::mount(&dir.path().join("disk"), 8).map(drop)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
