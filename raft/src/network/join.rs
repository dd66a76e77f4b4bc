//! How a new peer asks to be one.
//!
//! A join token pins the control plane's certificate authority and holds a secret that works once. The one who
//! joins connects without a certificate, verifies the peer that answers against the pinned authority, and only
//! then sends the secret with a request for a certificate. The key of that request is stored before it is
//! sent: the same key with the same token and name is the same peer, so a join whose answer was lost can simply
//! be repeated.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificate::{self, PeerCertificate};
use super::client::{Closed, exchange};
use super::frame;
use super::message::{FEATURE_LEVEL, Failure, FailureCode, Join, Joined, PROTOCOLS};
use super::tls;
use crate::codec;
use crate::model::RequestId;
use crate::secrets::{self, SecretBytes};

/// The longest life of a join token.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(3600);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longer than a peer takes to give up, so that its reason arrives.
const ANSWER_MAX: Duration = Duration::from_secs(40);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A single-use right to join: whom to trust, and a secret. As text, URL-safe base64 of both.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    authority: [u8; 32],
    secret: SecretBytes,
}

impl JoinToken {
    /// A new token of the control plane whose authority's certificate this is.
    ///
    /// # Errors
    /// [`secrets::Error::NoRandom`].
    pub fn generate(authority: &[u8]) -> Result<JoinToken, secrets::Error> {
        Ok(JoinToken::of(authority, secrets::random()?))
    }

    /// The token with this secret.
    pub fn of(authority: &[u8], secret: [u8; 32]) -> JoinToken {
        let secret = SecretBytes::new(secret.to_vec());
        JoinToken { authority: certificate::fingerprint(authority), secret }
    }

    /// What is replicated of it.
    pub fn hash(&self) -> [u8; 32] {
        hash_secret(&self.secret)
    }
}

/// What is replicated of a join token's secret.
pub fn hash_secret(secret: &[u8]) -> [u8; 32] {
    secrets::sha256(&[secret])
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.authority.to_vec();
        bytes.extend_from_slice(&self.secret);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(***)")
    }
}

/// Text that is no join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a join token: it should be the 86 characters that `rscaler peers token` printed")]
pub struct InvalidToken;

impl FromStr for JoinToken {
    type Err = InvalidToken;
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| InvalidToken)?;
        let (authority, secret) = bytes.split_at_checked(32).ok_or(InvalidToken)?;
        if secret.len() != 32 {
            return Err(InvalidToken);
        }
        let authority = authority.try_into().map_err(|_| InvalidToken)?;
        Ok(JoinToken { authority, secret: SecretBytes::new(secret.to_vec()) })
    }
}

/// Names the admission of one peer, so that repeating it answers the same. Made of all that must be the same.
///
/// # Errors
/// [`certificate::Error`] where the request for a certificate can't be read.
pub fn admission_id(join: &Join) -> Result<RequestId, certificate::Error> {
    let key = certificate::requested_key(&join.request)?;
    let hash = secrets::sha256(&[b"rscaler join", &join.secret, &key, join.name.as_bytes()]);
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    Ok(RequestId::named(u128::from_le_bytes(id)))
}

/// Why a peer could not join.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there, for now.
    #[error("could not connect to {addr}")]
    Connect {
        /// Where.
        addr: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else answers there.
    #[error(
        "{addr} is not a peer of the control plane that made this join token: check the address, or ask for a new token"
    )]
    OtherControlPlane {
        /// Where.
        addr: String,
    },
    /// The connection broke. The join may have happened: repeat it with the same data directory.
    #[error("the connection to {addr} broke; joining again with the same token and data directory is safe")]
    Broken {
        /// Where.
        addr: String,
        /// How.
        #[source]
        source: Option<frame::Error>,
    },
    /// The control plane says why not.
    #[error("{addr} does not admit this peer: {failure}")]
    Failed {
        /// Where.
        addr: String,
        /// Why not.
        failure: Failure,
    },
    /// The answer is not what it should be.
    #[error("{addr} answered something that is of no use")]
    Answer {
        /// Where.
        addr: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

impl Error {
    /// Whether trying again may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Connect { .. } | Error::Broken { .. } => true,
            Error::Failed { failure, .. } => {
                matches!(failure.code, FailureCode::Unavailable | FailureCode::Busy | FailureCode::Unknown)
            }
            _ => false,
        }
    }
}

/// What a new peer says of itself.
#[derive(Clone, Debug)]
pub struct Applicant {
    /// The name it wants.
    pub name: String,
    /// `host:port` where other peers will reach it.
    pub peer_addr: String,
    /// Where clients will reach its API.
    pub api_url: String,
    /// Its private key, stored already.
    pub key: SecretBytes,
}

/// Asks the peer at `addr` to be admitted; one attempt.
///
/// # Errors
/// [`Error`]; where [`Error::is_passing`], try again with the same key.
pub async fn join(addr: &str, token: &JoinToken, applicant: &Applicant) -> Result<Joined, Error> {
    let answer_error =
        |source: Box<dyn std::error::Error + Send + Sync>| Error::Answer { addr: addr.to_string(), source };
    let request = certificate::request(&applicant.key).map_err(tls::Error::from)?;
    let stream = tokio::time::timeout(CONNECT_MAX, connect(addr, token));
    let mut stream = stream.await.map_err(|_| Error::Connect {
        addr: addr.to_string(),
        source: std::io::ErrorKind::TimedOut.into(),
    })??;
    let join = Join {
        protocols: PROTOCOLS,
        feature_level: FEATURE_LEVEL,
        secret: token.secret.clone(),
        request,
        name: applicant.name.clone(),
        peer_addr: applicant.peer_addr.clone(),
        api_url: applicant.api_url.clone(),
    };
    let joined: Result<Joined, ExchangeError> =
        exchange(&mut stream, &join, ANSWER_BYTES_MAX, ANSWER_MAX).await;
    let joined = joined.map_err(|error| match error {
        ExchangeError::Frame(source) => Error::Broken { addr: addr.to_string(), source: Some(source) },
        ExchangeError::Closed => Error::Broken { addr: addr.to_string(), source: None },
        ExchangeError::Format(source) => answer_error(Box::new(source)),
        ExchangeError::Failed(failure) => Error::Failed { addr: addr.to_string(), failure },
    })?;
    check(&joined, token).map_err(answer_error)?;
    Ok(joined)
}

/// The answer comes from a verified peer; a mistake is still better found before it is stored.
fn check(joined: &Joined, token: &JoinToken) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if certificate::fingerprint(&joined.authority) != token.authority {
        return Err("its certificate authority is not the token's".into());
    }
    let certificate = PeerCertificate::read(&joined.certificate)?;
    if (certificate.control_plane, certificate.peer) != (joined.control_plane, joined.peer) {
        return Err("the certificate is of another peer".into());
    }
    secrets::Keyring::decode(&joined.keyring)?;
    Ok(())
}

async fn connect(addr: &str, token: &JoinToken) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
    let connect_error = |source| Error::Connect { addr: addr.to_string(), source };
    let config = tls::join_config(token.authority)?;
    let tcp = TcpStream::connect(addr).await.map_err(connect_error)?;
    tcp.set_nodelay(true).map_err(connect_error)?;
    // Which peer answers is not known yet; its chain is verified against the pinned authority.
    let name = ServerName::try_from("peer.rscaler").expect("it is a DNS name");
    TlsConnector::from(config).connect(name, tcp).await.map_err(|source| {
        let is_tls = source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        if is_tls { Error::OtherControlPlane { addr: addr.to_string() } } else { connect_error(source) }
    })
}

#[derive(Debug)]
enum ExchangeError {
    Frame(frame::Error),
    Closed,
    Format(codec::Error),
    Failed(Failure),
}

impl From<frame::Error> for ExchangeError {
    fn from(error: frame::Error) -> Self {
        ExchangeError::Frame(error)
    }
}

impl From<Closed> for ExchangeError {
    fn from(_: Closed) -> Self {
        ExchangeError::Closed
    }
}

impl From<codec::Error> for ExchangeError {
    fn from(error: codec::Error) -> Self {
        ExchangeError::Format(error)
    }
}

impl From<Failure> for ExchangeError {
    fn from(error: Failure) -> Self {
        ExchangeError::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_reads_back_from_its_text_and_is_not_printed() {
        let token = JoinToken::generate(b"authority").unwrap();
        let text = token.to_string();
        assert_eq!(text.len(), 86);
        assert_eq!(format!(" {text}\n").parse::<JoinToken>().unwrap(), token);
        assert_eq!(format!("{token:?}"), "JoinToken(***)");
        for bad in ["", "rsc_abc", &text[..85], &format!("{text}AA")] {
            assert_eq!(bad.parse::<JoinToken>(), Err(InvalidToken), "{bad}");
        }
    }

    #[test]
    fn an_admission_is_named_by_secret_key_and_name() {
        let key = certificate::generate_key().unwrap();
        let join = |secret: &[u8], key: &SecretBytes, name: &str| {
            admission_id(&Join {
                protocols: PROTOCOLS,
                feature_level: 1,
                secret: SecretBytes::new(secret.to_vec()),
                request: certificate::request(key).unwrap(),
                name: name.to_string(),
                peer_addr: String::new(),
                api_url: String::new(),
            })
            .unwrap()
        };
        let first = join(b"s", &key, "a");
        assert_eq!(first, join(b"s", &key, "a"));
        assert_ne!(first, join(b"t", &key, "a"));
        assert_ne!(first, join(b"s", &key, "b"));
        assert_ne!(first, join(b"s", &certificate::generate_key().unwrap(), "a"));
    }
}
