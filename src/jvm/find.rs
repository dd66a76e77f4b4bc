//! Where a Java runtime is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Which Java runtime is used.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum JavaChoice {
    /// The first that is found: `JAVA_HOME`, what `java` on the path is, what is in `/usr/lib/jvm`.
    #[default]
    Any,
    /// The one in this directory.
    Home(PathBuf),
    /// None, even where there is one.
    None,
}

/// Java's library, if there is one. Looks at files only: no program is started.
pub fn libjvm(choice: &JavaChoice) -> Option<PathBuf> {
    match choice {
        JavaChoice::None => None,
        JavaChoice::Home(home) => in_home(home),
        JavaChoice::Any => {
            let home = std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
            let path = std::env::var_os("PATH").unwrap_or_default();
            home.and_then(|home| in_home(&home))
                .or_else(|| on_path(&path))
                .or_else(|| installed(Path::new("/usr/lib/jvm")))
        }
    }
}

/// A runtime's library, in the places that it has had since Java 8, which has it by the kind of machine, and once more in a JDK.
fn in_home(home: &Path) -> Option<PathBuf> {
    let places = ["lib/server", "lib/amd64/server", "lib/aarch64/server"];
    let homes = [home.to_path_buf(), home.join("jre")];
    let mut all = homes.iter().flat_map(|home| places.iter().map(|place| home.join(place).join("libjvm.so")));
    all.find(|library| library.is_file())
}

fn on_path(path: &OsString) -> Option<PathBuf> {
    std::env::split_paths(path).filter_map(|dir| dir.join("java").canonicalize().ok()).find_map(|java| {
        in_home(java.parent()?.parent()?).or_else(|| in_home(java.parent()?.parent()?.parent()?))
    })
}

/// The newest by name of those installed.
fn installed(dir: &Path) -> Option<PathBuf> {
    let mut homes: Vec<PathBuf> = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).collect();
    homes.sort();
    homes.iter().rev().find_map(|home| in_home(home))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_runtime_is_found_by_its_library() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("jvm/java-17");
        std::fs::create_dir_all(home.join("lib/server")).unwrap();
        std::fs::create_dir_all(home.join("bin")).unwrap();
        assert_eq!(libjvm(&JavaChoice::Home(home.clone())), None);
        let library = home.join("lib/server/libjvm.so");
        for file in [&library, &home.join("bin/java")] {
            std::fs::write(file, "").unwrap();
        }
        assert_eq!(libjvm(&JavaChoice::Home(home.clone())), Some(library.clone()));
        assert_eq!(libjvm(&JavaChoice::None), None);
        assert_eq!(installed(&dir.path().join("jvm")), Some(library.clone()));
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(home.join("bin/java"), bin.join("java")).unwrap();
        let found = on_path(&bin.into_os_string()).unwrap();
        assert_eq!(found, library.canonicalize().unwrap());
    }
}
