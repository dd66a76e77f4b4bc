//! A host's directory: what its scripts find there, and how its load is told.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Error;
use super::figures::Figures;

/// The load of a host that nobody has set.
const LOAD_DEFAULT: f64 = 0.15;

const LOAD_TARGET: &str = "load.target";

/// The programs in `bin/`; they need nothing but `/bin/sh`.
const PROGRAMS: [(&str, &str); 5] = [
    ("shed-load", include_str!("bin/shed-load")),
    ("check_load", include_str!("bin/check_load")),
    ("free", include_str!("bin/free")),
    ("uptime", include_str!("bin/uptime")),
    ("nproc", include_str!("bin/nproc")),
];

/// The directory of one host. What scripts of the user put there is left alone.
#[derive(Debug)]
pub(super) struct Sandbox {
    home: PathBuf,
}

impl Sandbox {
    /// Makes the directory of host `name` below `dir` with all that is in it, or brings an old one up to date.
    pub(super) fn create(dir: &Path, name: &str) -> Result<Self, Error> {
        let path = path_of(dir, name);
        let fail = |source| Error::Directory { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(fail)?;
        // Absolute, for it becomes the scripts' HOME.
        let sandbox = Self { home: fs::canonicalize(&path).map_err(fail)? };
        for part in ["bin", "proc", "www", "tmp"] {
            fs::create_dir_all(sandbox.home.join(part)).map_err(fail)?;
        }
        for (program, text) in PROGRAMS {
            let file = sandbox.replace(&format!("bin/{program}"), text)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).map_err(fail)?;
        }
        if !sandbox.home.join(LOAD_TARGET).exists() {
            sandbox.set_load_target(LOAD_DEFAULT)?;
        }
        Ok(sandbox)
    }

    /// The directory of a host that was made before.
    pub(super) fn open(dir: &Path, name: &str) -> Result<Self, Error> {
        let home = path_of(dir, name);
        if home.join(LOAD_TARGET).exists() { Ok(Self { home }) } else { Err(Error::NoHost(name.to_owned())) }
    }

    /// The absolute path of the directory.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// The load per core that the host is to move to, 0.0 to 1.0. `None` while the file holds no such number,
    /// as it does for a moment when a script writes it.
    pub(super) fn load_target(&self) -> Option<f64> {
        let text = fs::read_to_string(self.home.join(LOAD_TARGET)).ok()?;
        text.trim().parse::<f64>().ok().filter(|load| (0.0..=1.0).contains(load))
    }

    /// Sets what [`Self::load_target`] answers.
    pub(super) fn set_load_target(&self, load: f64) -> Result<(), Error> {
        self.replace(LOAD_TARGET, &format!("{load}\n")).map(drop)
    }

    /// Shows new figures to the host's scripts.
    pub(super) fn write(&self, figures: &Figures) -> Result<(), Error> {
        for (name, text) in figures.files() {
            self.replace(name, &text)?;
        }
        Ok(())
    }

    /// Replaces a file as a whole: a script that reads it meets the old or the new text, never a part.
    fn replace(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.home.join(name);
        let new = path.with_added_extension("new");
        let result: io::Result<()> = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        match result {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::Directory { path, source }),
        }
    }
}

fn path_of(dir: &Path, name: &str) -> PathBuf {
    dir.join("hosts").join(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_load_target_is_kept_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Sandbox::open(dir.path(), "web01"), Err(Error::NoHost(_))));
        let sandbox = Sandbox::create(dir.path(), "web01").unwrap();
        assert_eq!(sandbox.load_target(), Some(LOAD_DEFAULT));
        Sandbox::open(dir.path(), "web01").unwrap().set_load_target(0.75).unwrap();
        assert_eq!(Sandbox::create(dir.path(), "web01").unwrap().load_target(), Some(0.75));
        for text in ["", "\n", "much", "-0.1", "1.1", "NaN", "inf"] {
            fs::write(sandbox.home().join(LOAD_TARGET), text).unwrap();
            assert_eq!(sandbox.load_target(), None, "{text:?}");
        }
    }

    #[test]
    fn a_second_start_keeps_what_scripts_left() {
        let dir = tempfile::tempdir().unwrap();
        let home = Sandbox::create(dir.path(), "web01").unwrap().home().to_owned();
        fs::write(home.join("app.conf"), "x").unwrap();
        Sandbox::create(dir.path(), "web01").unwrap();
        assert_eq!(fs::read(home.join("app.conf")).unwrap(), b"x");
        assert!(home.is_absolute());
    }
}
