//! Clients of `POST /api/v1/puts` that share a connection. Each waits for its answer before it writes again.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::writes::{Source, Written};

/// A put that is under way.
struct Sent {
    client: usize,
    began: Instant,
    counts: bool,
    key: String,
    value: Vec<u8>,
}

/// Writes until `stop`; gives how long each write took in ms from `warm` on, and what was written last.
pub(crate) async fn write(
    addr: String,
    token: String,
    mut clients: Vec<Source>,
    warm: &AtomicBool,
    stop: &AtomicBool,
) -> io::Result<(Vec<f64>, Written)> {
    let mut stream = TcpStream::connect(&addr).await?;
    stream.set_nodelay(true)?;
    let head = format!(
        "POST /api/v1/puts HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut idle: Vec<usize> = (0..clients.len()).collect();
    let mut under_way: VecDeque<Sent> = VecDeque::new();
    let mut answers = Answers::default();
    let (mut times, mut written) = (Vec::new(), Written::new());
    let (mut puts, mut sent) = (Vec::new(), Vec::new());
    loop {
        let goes_on = !stop.load(Ordering::Relaxed);
        if goes_on && !idle.is_empty() {
            puts.clear();
            for client in idle.drain(..) {
                let (key, value) = clients[client].next();
                puts.push(key.len() as u8);
                puts.extend_from_slice(key.as_bytes());
                puts.extend_from_slice(&(value.len() as u32).to_be_bytes());
                puts.extend_from_slice(&value);
                let counts = warm.load(Ordering::Relaxed);
                under_way.push_back(Sent { client, began: Instant::now(), counts, key, value });
            }
            sent.clear();
            sent.extend_from_slice(format!("{:x}\r\n", puts.len()).as_bytes());
            sent.extend_from_slice(&puts);
            sent.extend_from_slice(b"\r\n");
            stream.write_all(&sent).await?;
        }
        if under_way.is_empty() {
            stream.write_all(b"0\r\n\r\n").await?;
            return Ok((times, written));
        }
        answers.read(&mut stream).await?;
        while let Some(line) = answers.line() {
            assert!(line.starts_with("{\"version\":"), "{line}");
            let put = under_way.pop_front().expect("an answer for each put, and no more");
            if put.counts && !stop.load(Ordering::Relaxed) {
                times.push(put.began.elapsed().as_secs_f64() * 1e3);
            }
            written.insert(put.key, put.value);
            idle.push(put.client);
        }
    }
}

/// What was read of an answer in chunks.
#[derive(Default)]
struct Answers {
    raw: Vec<u8>,
    text: Vec<u8>,
    head_read: bool,
}

impl Answers {
    async fn read(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        if stream.read_buf(&mut self.raw).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !self.head_read {
            let Some(end) = self.raw.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(()) };
            let head = String::from_utf8_lossy(&self.raw[..end]).into_owned();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            self.raw.drain(..end + 4);
            self.head_read = true;
        }
        // Whole chunks: `length in hex CRLF bytes CRLF`.
        loop {
            let Some(end) = self.raw.windows(2).position(|two| two == b"\r\n") else { return Ok(()) };
            let digits = std::str::from_utf8(&self.raw[..end]).unwrap_or_default();
            let length = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
            if self.raw.len() < end + 2 + length + 2 {
                return Ok(());
            }
            self.text.extend_from_slice(&self.raw[end + 2..end + 2 + length]);
            self.raw.drain(..end + 2 + length + 2);
        }
    }

    fn line(&mut self) -> Option<String> {
        let end = self.text.iter().position(|byte| *byte == b'\n')?;
        let line = self.text.drain(..=end).collect();
        String::from_utf8(line).ok()
    }
}
