//! Clients that cost little: the machine is shared with what is measured.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection of HTTP/1.1, used by one client at a time.
pub(crate) struct Http1 {
    stream: TcpStream,
    head: String,
    read: Vec<u8>,
    sent: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Http1 {
    pub(crate) async fn connect(addr: &str, token: &str) -> io::Result<Http1> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let head = format!("host: {addr}\r\nauthorization: Bearer {token}\r\n");
        Ok(Http1 { stream, head, read: Vec::with_capacity(64 << 10), sent: Vec::new() })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        media: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        self.sent.clear();
        self.sent.extend_from_slice(format!("{method} {path} HTTP/1.1\r\n").as_bytes());
        self.sent.extend_from_slice(self.head.as_bytes());
        if !media.is_empty() {
            self.sent.extend_from_slice(format!("content-type: {media}\r\n").as_bytes());
        }
        self.sent.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        self.sent.extend_from_slice(body);
        self.stream.write_all(&self.sent).await?;
        self.read.clear();
        let (end, status, length) = loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.read[..end]).to_ascii_lowercase();
                let status = head.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length:"))
                    .and_then(|text| text.trim().parse::<usize>().ok());
                break (end + 4, status, length.unwrap_or(0));
            }
        };
        while self.read.len() < end + length {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Answer { status, body: self.read[end..end + length].to_vec() })
    }
}

/// One connection of HTTP/2, shared by its clones.
#[derive(Clone)]
pub(crate) struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    origin: String,
    token: String,
}

impl Http2 {
    pub(crate) async fn connect(addr: &str, token: &str) -> io::Result<Http2> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // It ends with the last clone.
        tokio::spawn(connection);
        Ok(Http2 {
            sender,
            origin: format!("http://{addr}"),
            token: if token.is_empty() { String::new() } else { format!("Bearer {token}") },
        })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        media: &str,
        body: Vec<u8>,
    ) -> io::Result<Answer> {
        let mut request = hyper::Request::builder().method(method).uri(format!("{}{path}", self.origin));
        if !self.token.is_empty() {
            request = request.header("authorization", &self.token);
        }
        if !media.is_empty() {
            request = request.header("content-type", media);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(io::Error::other)?;
        self.sender.ready().await.map_err(io::Error::other)?;
        let response = self.sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes().to_vec();
        Ok(Answer { status, body })
    }
}
