//! JVMs to be watched: real ones, of the fixture beside this file, each on a port of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::plane::free_address;

/// A JVM. Ends with its handle.
pub(crate) struct Jvm {
    process: Child,
    pub(crate) port: u16,
    _dir: tempfile::TempDir,
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    free_address().rsplit_once(':').unwrap().1.parse().unwrap()
}

/// How a JVM lets others in.
#[derive(Clone, Default)]
pub(crate) struct Door {
    /// Where it listens; any where 0.
    pub(crate) port: u16,
    /// What it says its host is, where that is not where it listens.
    pub(crate) hostname: Option<String>,
    /// User and password.
    pub(crate) credentials: Option<(String, String)>,
    /// Which Java it is; that of the path where absent.
    pub(crate) java_home: Option<PathBuf>,
    /// A key store with its certificate (PKCS #12, password `changeit`), and whether its registry speaks TLS, too.
    pub(crate) tls: Option<(PathBuf, bool)>,
}

/// The fixture, compiled once a run.
fn classes() -> &'static Path {
    static CLASSES: OnceLock<tempfile::TempDir> = OnceLock::new();
    CLASSES
        .get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jmx/Fixture.java");
            compile(&[source], dir.path(), "");
            dir
        })
        .path()
}

/// Compiles classes into a directory.
pub(crate) fn compile(sources: &[PathBuf], into: &Path, class_path: &str) {
    let mut javac = Command::new("javac");
    // The oldest that is watched; Java 25 would say that it is old.
    javac.args(["--release", "8", "-nowarn", "-Xlint:-options", "-cp"]).arg(class_path);
    javac.arg("-d").arg(into).args(sources);
    assert!(javac.status().expect("the tests need a JDK: openjdk-17-jdk-headless").success());
}

impl Jvm {
    /// Starts one that anybody may ask, and waits until it is ready.
    pub(crate) fn start() -> Jvm {
        Jvm::start_as(&Door::default())
    }

    /// Starts one and waits until it is ready.
    pub(crate) fn start_as(door: &Door) -> Jvm {
        Jvm::start_with(door, &[])
    }

    fn start_with(door: &Door, more: &[String]) -> Jvm {
        let port = match door.port {
            0 => free_port(),
            port => port,
        };
        let hostname = door.hostname.clone().unwrap_or_else(|| "127.0.0.1".to_string());
        let dir = tempfile::tempdir().unwrap();
        let property = |name: &str, value: &dyn std::fmt::Display| {
            format!("-Dcom.sun.management.jmxremote.{name}={value}")
        };
        let java =
            door.java_home.as_ref().map_or_else(|| PathBuf::from("java"), |home| home.join("bin/java"));
        let mut command = Command::new(java);
        command
            .args(["-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(property("port", &port))
            // Two kinds of sockets can't share a port.
            .arg(property("rmi.port", &if matches!(door.tls, Some((_, false))) { free_port() } else { port }))
            .arg(property("host", &"127.0.0.1"))
            .arg(property("authenticate", &door.credentials.is_some()))
            .arg(property("ssl", &door.tls.is_some()))
            .arg(format!("-Djava.rmi.server.hostname={hostname}"));
        if let Some((user, password)) = &door.credentials {
            let (passwords, access) = (dir.path().join("passwords"), dir.path().join("access"));
            std::fs::write(&passwords, format!("{user} {password}\n")).unwrap();
            std::fs::write(&access, format!("{user} readwrite\n")).unwrap();
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&passwords, private).unwrap();
            command.arg(property("password.file", &passwords.display()));
            command.arg(property("access.file", &access.display()));
        }
        if let Some((store, registry)) = &door.tls {
            command.arg(format!("-Djavax.net.ssl.keyStore={}", store.display()));
            command.arg("-Djavax.net.ssl.keyStorePassword=changeit");
            command.arg(property("registry.ssl", registry));
        }
        command.arg("-cp").arg(classes()).arg("Fixture").args(more);
        Jvm::begin(command, port, dir)
    }

    /// One with so many agents more; gives their ports.
    #[allow(dead_code, reason = "the benchmarks ask for it")]
    pub(crate) fn start_many(door: &Door, count: usize) -> (Jvm, Vec<u16>) {
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let more: Vec<String> = ports.iter().map(u16::to_string).collect();
        (Jvm::start_with(door, &more), ports)
    }

    /// Its process.
    #[allow(dead_code, reason = "the benchmarks ask for it")]
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The fixture's MBeans behind Jolokia, on a Jetty.
    pub(crate) fn jolokia() -> Jvm {
        Jvm::jolokia_as(&Door::default())
    }

    /// The same with user and password, and with TLS where the door has it.
    pub(crate) fn jolokia_as(door: &Door) -> Jvm {
        let jars =
            ["http", "io", "security", "server", "servlet", "util"].map(|part| format!("jetty9-{part}"));
        let jars = jars.iter().map(String::as_str).chain(["jolokia-core", "json-simple", "servlet-api"]);
        let jars: Vec<String> = jars.map(|jar| format!("/usr/share/java/{jar}.jar")).collect();
        for jar in &jars {
            assert!(Path::new(jar).exists(), "{jar}: the tests need libjolokia-core-java and libjetty9-java");
        }
        let dir = tempfile::tempdir().unwrap();
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jmx");
        let class_path = format!("{}:{}", jars.join(":"), dir.path().display());
        compile(&[tests.join("Fixture.java"), tests.join("JolokiaFixture.java")], dir.path(), &class_path);
        let port = free_port();
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-cp", &class_path, "JolokiaFixture", &port.to_string()]);
        if let Some((user, password)) = &door.credentials {
            command.args([user, password]);
        }
        if let Some((store, _)) = &door.tls {
            command.arg(store);
        }
        Jvm::begin(command, port, dir)
    }

    /// A Tomcat with one application; gives also the port of its HTTP.
    pub(crate) fn tomcat() -> (Jvm, u16) {
        let home = Path::new("/usr/share/tomcat10");
        assert!(
            home.join("bin/bootstrap.jar").exists(),
            "the tests need tomcat10-common and libtomcat10-java"
        );
        let dir = tempfile::tempdir().unwrap();
        for part in ["conf", "logs", "temp", "webapps/ROOT", "work"] {
            std::fs::create_dir_all(dir.path().join(part)).unwrap();
        }
        let (port, http) = (free_port(), free_port());
        let server = format!(
            "<Server port='-1'><Service name='Catalina'><Connector port='{http}' address='127.0.0.1'/><Engine name='Catalina' \
             defaultHost='localhost'><Host name='localhost' appBase='webapps'/></Engine></Service></Server>"
        );
        std::fs::write(dir.path().join("conf/server.xml"), server).unwrap();
        std::fs::write(dir.path().join("webapps/ROOT/index.html"), "here").unwrap();
        let web = "<web-app xmlns='https://jakarta.ee/xml/ns/jakartaee' version='5.0'><servlet><servlet-name>default</servlet-name><servlet-class>\
                   org.apache.catalina.servlets.DefaultServlet</servlet-class></servlet><servlet-mapping><servlet-name>default</servlet-name>\
                   <url-pattern>/</url-pattern></servlet-mapping></web-app>";
        std::fs::write(dir.path().join("conf/web.xml"), web).unwrap();
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-cp"])
            .arg(format!("{0}/bin/bootstrap.jar:{0}/bin/tomcat-juli.jar", home.display()))
            .arg(format!("-Dcatalina.home={}", home.display()))
            .arg(format!("-Dcatalina.base={}", dir.path().display()))
            .arg(format!("-Djava.io.tmpdir={}", dir.path().join("temp").display()))
            .args(["authenticate", "ssl"].map(|what| format!("-Dcom.sun.management.jmxremote.{what}=false")))
            .args(["port", "rmi.port"].map(|what| format!("-Dcom.sun.management.jmxremote.{what}={port}")))
            .args(["-Dcom.sun.management.jmxremote.host=127.0.0.1", "-Djava.rmi.server.hostname=127.0.0.1"])
            .args(["org.apache.catalina.startup.Bootstrap", "start"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().expect("the tests need Java");
        (Jvm { process, port, _dir: dir }, http)
    }

    /// Starts a programme that says when it is ready.
    fn begin(mut command: Command, port: u16, dir: tempfile::TempDir) -> Jvm {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tests need Java: openjdk-17-jdk-headless");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "READY", "port {port}");
        Jvm { process, port, _dir: dir }
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Stops or continues it.
    pub(crate) fn freeze(&self, freeze: bool) {
        let signal = if freeze { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Jvm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A key store with a new certificate for `127.0.0.1`, and the certificate as PEM.
pub(crate) fn key_store(dir: &Path, name: &str) -> (PathBuf, String) {
    let store = dir.join(format!("{name}.p12"));
    let path = store.to_str().unwrap();
    // Encrypted so that Java 8 reads it, too.
    let with = [
        "-J-Dkeystore.pkcs12.legacy",
        "-keystore",
        path,
        "-storetype",
        "PKCS12",
        "-storepass",
        "changeit",
        "-alias",
        "jvm",
    ];
    let make = [
        "-genkeypair",
        "-keyalg",
        "EC",
        "-dname",
        "CN=127.0.0.1",
        "-ext",
        "san=ip:127.0.0.1",
        "-validity",
        "30",
    ];
    keytool(&[&make[..], &with[..]].concat());
    let pem = keytool(&[&["-exportcert", "-rfc"][..], &with[..]].concat());
    (store, pem)
}

/// The same key store, as Java wrote them before PKCS #12.
pub(crate) fn jks(store: &Path) -> PathBuf {
    let made = store.with_extension("jks");
    keytool(&[
        "-importkeystore",
        "-srckeystore",
        store.to_str().unwrap(),
        "-srcstorepass",
        "changeit",
        "-destkeystore",
        made.to_str().unwrap(),
        "-deststoretype",
        "JKS",
        "-deststorepass",
        "changeit",
    ]);
    made
}

fn keytool(arguments: &[&str]) -> String {
    let said = Command::new("keytool").args(arguments).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    String::from_utf8_lossy(&said.stdout).into_owned()
}
