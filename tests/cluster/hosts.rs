//! Managed hosts: a real sshd each, on an address of its own, with a directory that its scripts see as `$RSCALER_DIR`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// A host.
pub(crate) struct Host {
    dir: tempfile::TempDir,
    address: String,
    port: u16,
    sshd: Child,
}

impl Host {
    /// Starts a host on loopback and waits until it answers. All hosts take the same key.
    pub(crate) fn start() -> Host {
        static NEXT: AtomicU8 = AtomicU8::new(10);
        Host::start_at(format!("127.0.1.{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Starts a host at an address of this machine.
    pub(crate) fn start_at(address: String) -> Host {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // sshd insists on it when it is started as root.
        let _ = fs::create_dir("/run/sshd");
        let port = TcpListener::bind((address.as_str(), 0)).unwrap().local_addr().unwrap().port();
        keygen(&dir.path().join("host_key"));
        fs::copy(client_key().with_extension("pub"), dir.path().join("authorized_keys")).unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "ListenAddress {address}:{port}\nHostKey {}\nPidFile {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUseDNS no\nPrintMotd no\n\
             SetEnv RSCALER_DIR={}\n",
            at("host_key"),
            at("pid"),
            at("authorized_keys"),
            dir.path().display(),
        );
        fs::write(dir.path().join("config"), config).unwrap();
        let sshd = Command::new("/usr/sbin/sshd")
            .args(["-D", "-f", &at("config"), "-E", &at("log")])
            .stdin(Stdio::null())
            .spawn()
            .expect("sshd is installed: scripts/test sees to it");
        let host = Host { dir, address, port, sshd };
        let began = Instant::now();
        while std::net::TcpStream::connect((host.address.as_str(), port)).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "sshd does not answer: {:?}",
                host.read("log")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        host
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Who logs in: whoever runs the tests.
    pub(crate) fn user(&self) -> String {
        String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_string()
    }

    pub(crate) fn private_key(&self) -> String {
        fs::read_to_string(client_key()).unwrap()
    }

    /// Writes a file in the host's directory, all at once.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let next = self.dir.path().join(format!(".{name}"));
        fs::write(&next, text).unwrap();
        fs::rename(next, self.dir.path().join(name)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join(name)).ok()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

fn keygen(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(path)
        .status()
        .expect("ssh-keygen is installed: scripts/test sees to it");
    assert!(made.success());
}

/// The key that every host takes, made once for the process.
fn client_key() -> PathBuf {
    static DIR: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        keygen(&dir.path().join("client"));
        dir
    });
    dir.path().join("client")
}
