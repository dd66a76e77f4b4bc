//! The JVM that the demo watches: this program with a JVM in it that has nothing to do with what speaks to others.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use jni::jni_str;

use super::embed;

/// Compiled from `java/demo`, the interface first.
const CLASSES: &[u8] = include_bytes!("java/demo.bin");

/// Runs it with its JMX agent on a port of the loopback address, until standard input ends.
pub fn run(libjvm: &Path, port: u16) -> ExitCode {
    match serve(libjvm, port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}

fn serve(libjvm: &Path, port: u16) -> Result<(), String> {
    let agent = |name: &str, value: &str| format!("-Dcom.sun.management.jmxremote.{name}={value}");
    let port = port.to_string();
    let options =
        ["-Xms8m", "-Xmx24m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xrs"];
    let options = options.into_iter().map(str::to_string).chain([
        agent("port", &port),
        agent("rmi.port", &port),
        agent("host", "127.0.0.1"),
        agent("authenticate", "false"),
        agent("ssl", "false"),
        "-Djava.rmi.server.hostname=127.0.0.1".to_string(),
    ]);
    let vm = embed::start(libjvm, options)?;
    thread::spawn(|| {
        // Whoever started it is gone.
        let _ = std::io::copy(&mut std::io::stdin().lock().take(u64::MAX), &mut std::io::sink());
        std::process::exit(0);
    });
    println!("READY");
    std::io::stdout().flush().map_err(|error| error.to_string())?;
    vm.attach_current_thread(|env| {
        let classes = embed::define(env, CLASSES)?;
        let shop = classes.last().ok_or(jni::errors::Error::NullPtr("there are no classes"))?;
        embed::call(env, shop, jni_str!("run"))
    })
    .map_err(|error| format!("the JVM ended: {error}"))
}
