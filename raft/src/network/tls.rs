//! TLS 1.3 between peers, and towards those who want to join.
//!
//! The client's first message says by its protocol (ALPN) what it wants: `rscaler-peer/1` needs a certificate of
//! this control plane, `rscaler-join/1` can do nothing but join. Sessions are never resumed, so that each
//! connection is verified anew and a revoked certificate gets nowhere.

mod verify;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use tokio::sync::watch;

use self::verify::{PeersOnly, Pinned};
use super::certificate::{self, PeerCertificate};
use crate::identity::{ControlPlaneId, TlsFiles};
use crate::model::PeerId;

/// The protocol of peers.
pub const PEER_PROTOCOL: &[u8] = b"rscaler-peer/1";
/// The protocol of those who join.
pub const JOIN_PROTOCOL: &[u8] = b"rscaler-join/1";

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Keys or certificates that don't fit.
    #[error("could not set up TLS")]
    Config(#[from] rustls::Error),
    /// A certificate that can't be read.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// The authority's certificate is of no use.
    #[error("the certificate authority is of no use: {0}")]
    Authority(String),
    /// The certificate is another peer's.
    #[error("the certificate is of peer {found}, not of peer {wanted}")]
    OtherPeer {
        /// Whose it is.
        found: PeerId,
        /// Whose it should be.
        wanted: PeerId,
    },
}

/// Whose certificates are refused. Follows the replicated state; see [`Refused::set`].
///
/// Shared by all connections: each watches `Refused::changed` and closes when its own peer is refused.
pub struct Refused {
    list: watch::Sender<RefusedList>,
}

/// What [`Refused`] holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RefusedList {
    /// Serial numbers.
    pub serials: BTreeSet<Vec<u8>>,
    /// Peers that were removed, whatever certificate they show.
    pub peers: BTreeSet<PeerId>,
    /// Peers that still belong to Raft's membership, as known here. They are not refused yet: the change of
    /// membership that lets a removed peer go may need its vote.
    pub members: BTreeSet<PeerId>,
}

impl RefusedList {
    /// Whether a certificate is refused.
    pub fn contains(&self, certificate: &PeerCertificate) -> bool {
        let listed = self.peers.contains(&certificate.peer) || self.serials.contains(&certificate.serial);
        listed && !self.members.contains(&certificate.peer)
    }
}

impl Default for Refused {
    fn default() -> Self {
        Refused { list: watch::Sender::new(RefusedList::default()) }
    }
}

impl Refused {
    /// Replaces the list.
    pub fn set(&self, list: RefusedList) {
        self.list.send_if_modified(|now| {
            let changed = *now != list;
            *now = list;
            changed
        });
    }

    /// Whether a certificate is refused.
    pub fn contains(&self, certificate: &PeerCertificate) -> bool {
        self.list.borrow().contains(certificate)
    }

    /// Returns once a certificate is refused.
    pub async fn refused(&self, certificate: &PeerCertificate) {
        let mut list = self.list.subscribe();
        // The sender lives as long as `self`, so waiting ends only by the list.
        let _ = list.wait_for(|list| list.contains(certificate)).await;
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.list.borrow(), f)
    }
}

/// This peer's certificate, which may be replaced while connections live.
#[derive(Debug)]
struct Own(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// TLS as this peer speaks it.
pub struct Tls {
    control_plane: ControlPlaneId,
    peer: PeerId,
    authority: CertificateDer<'static>,
    own: Arc<Own>,
    refused: Arc<Refused>,
    peers: Arc<ServerConfig>,
    joiners: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Sets up TLS for a peer with these files.
    ///
    /// # Errors
    /// [`Error`] where key and certificates don't fit each other or the peer.
    pub fn new(
        control_plane: ControlPlaneId,
        peer: PeerId,
        files: &TlsFiles,
        refused: Arc<Refused>,
    ) -> Result<Tls, Error> {
        let authority = CertificateDer::from(files.authority.clone());
        let own = Arc::new(Own(RwLock::new(certified_key(control_plane, peer, &authority, files)?)));
        let roots = roots(&authority)?;

        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(|error| Error::Authority(error.to_string()))?;
        let clients = Arc::new(PeersOnly { inner: clients, refused: Arc::clone(&refused) });
        let mut peers = server_builder()?.with_client_cert_verifier(clients).with_cert_resolver(own.clone());
        finish_server(&mut peers, PEER_PROTOCOL);

        let mut joiners = server_builder()?.with_no_client_auth().with_cert_resolver(own.clone());
        finish_server(&mut joiners, JOIN_PROTOCOL);

        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| Error::Authority(error.to_string()))?;
        let servers = Arc::new(PeersOnly { inner: servers, refused: Arc::clone(&refused) });
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(servers)
            .with_client_cert_resolver(own.clone());
        finish_client(&mut client, PEER_PROTOCOL);

        Ok(Tls {
            control_plane,
            peer,
            authority,
            own,
            refused,
            peers: Arc::new(peers),
            joiners: Arc::new(joiners),
            client: Arc::new(client),
        })
    }

    /// For connections of peers.
    pub fn peers(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.peers)
    }

    /// For connections of those who join.
    pub fn joiners(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.joiners)
    }

    /// For connections to peers; dial them by [`Tls::name_of`].
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// The name that the certificate of `peer` must have.
    pub fn name_of(&self, peer: PeerId) -> ServerName<'static> {
        ServerName::try_from(certificate::subject(self.control_plane, peer))
            .expect("letters, digits, dots and dashes, in labels of at most 32, are a DNS name")
    }

    /// Of which control plane.
    pub fn control_plane(&self) -> ControlPlaneId {
        self.control_plane
    }

    /// Which peer.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The authority's certificate.
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// Whose certificates are refused.
    pub fn refused(&self) -> &Arc<Refused> {
        &self.refused
    }

    /// Shows another certificate from now on; connections that stand keep theirs.
    ///
    /// # Errors
    /// [`Error`] as for [`Tls::new`].
    pub fn replace(&self, files: &TlsFiles) -> Result<(), Error> {
        let key = certified_key(self.control_plane, self.peer, &self.authority, files)?;
        *self.own.0.write() = key;
        Ok(())
    }
}

/// For a connection that joins a control plane whose authority's certificate has this fingerprint.
///
/// # Errors
/// [`Error::Config`].
pub fn join_config(authority_fingerprint: [u8; 32]) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { authority_fingerprint }))
        .with_no_client_auth();
    finish_client(&mut config, JOIN_PROTOCOL);
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server_builder() -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, Error> {
    Ok(ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13])?)
}

fn finish_server(config: &mut ServerConfig, protocol: &[u8]) {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
}

fn finish_client(config: &mut ClientConfig, protocol: &[u8]) {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(Arc::new(roots))
}

fn certified_key(
    control_plane: ControlPlaneId,
    peer: PeerId,
    authority: &CertificateDer<'static>,
    files: &TlsFiles,
) -> Result<Arc<CertifiedKey>, Error> {
    let read = PeerCertificate::read(&files.certificate)?;
    if (read.control_plane, read.peer) != (control_plane, peer) {
        return Err(Error::OtherPeer { found: read.peer, wanted: peer });
    }
    // The authority goes with it: who joins knows only its fingerprint.
    let chain = vec![CertificateDer::from(files.certificate.clone()), authority.clone()];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(files.key.to_vec()));
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider())?))
}
