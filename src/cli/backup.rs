//! `backup` and `restore`.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use futures::StreamExt;
use rscaler_raft::peer::{self, PeerConfig};
use rscaler_raft::secrets::Keyring;

use super::connection::Connection;
use super::failure::{Done, Failure};

/// Options of `backup`.
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// Where to write it; must not exist
    file: PathBuf,
}

/// Options of `restore`.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// Where the new control plane's first peer keeps its data; must be empty
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The old control plane's keyring: `keyring` in the data directory of any of its peers
    #[arg(long, value_name = "FILE")]
    keyring: PathBuf,
    /// Where the peer will listen for others
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7701")]
    peer: String,
    /// Where its API will listen
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7700")]
    api: String,
    /// Its name
    #[arg(long, default_value = "p1")]
    name: String,
}

/// Runs `rscaler backup`.
pub(crate) async fn backup(connection: &Connection, args: BackupArgs) -> Done {
    let cannot = |path: &Path, error: std::io::Error| {
        Failure::Failed(format!("cannot write {}: {error}", path.display()))
    };
    if args.file.exists() {
        return Err(Failure::Failed(format!(
            "{} exists already: it is not overwritten",
            args.file.display()
        )));
    }
    // Whole or not there: what broke off must not be taken for a backup.
    let mut partial = args.file.clone().into_os_string();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = PathBuf::from(partial);
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .map_err(|error| cannot(&partial, error))?;
    let written = write_backup(connection, &mut out).await;
    let kept = match written {
        Ok(bytes) => {
            std::fs::rename(&partial, &args.file).map(|()| bytes).map_err(|error| cannot(&args.file, error))
        }
        Err(failure) => Err(failure),
    };
    if kept.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    eprintln!("{} bytes in {}", kept?, args.file.display());
    eprintln!(
        "to restore it, the keyring of one of the peers is needed too: keep a copy apart from this file"
    );
    Ok(())
}

async fn write_backup(connection: &Connection, out: &mut File) -> Result<u64, Failure> {
    let mut stream = Box::pin(connection.stream("backup").await?);
    let mut bytes = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        out.write_all(&piece)?;
        bytes += piece.len() as u64;
    }
    out.sync_all()?;
    Ok(bytes)
}

/// Runs `rscaler restore`.
pub(crate) async fn restore(args: RestoreArgs) -> Done {
    let cannot = |what: &PathBuf, error: std::io::Error| {
        Failure::Failed(format!("cannot read {}: {error}", what.display()))
    };
    let keyring = std::fs::read(&args.keyring).map_err(|error| cannot(&args.keyring, error))?;
    let keyring = Keyring::decode(&keyring)
        .map_err(|error| Failure::Failed(format!("{} is no keyring: {error}", args.keyring.display())))?;
    let file = File::open(&args.file).map_err(|error| cannot(&args.file, error))?;
    let api_url = format!("http://{}", args.api);
    let config = PeerConfig::new(&args.data_dir, &args.name, &args.peer, api_url);
    let identity = peer::restore(config, &keyring, BufReader::new(file))
        .await
        .map_err(|error| Failure::Failed(format!("{:#}", anyhow::Error::from(error))))?;
    eprintln!("restored as peer {} of a new control plane; start it with", identity.peer);
    println!(
        "rscaler server --data-dir {} --api {} --peer {} --name {}",
        args.data_dir.display(),
        args.api,
        args.peer,
        args.name
    );
    Ok(())
}
