use std::sync::Arc;

use rscaler_api::Context;
use rscaler_api::client::{Client, Error, Trust};
use rscaler_api::context::Limits;
use rscaler_api::server::{Certificate, Server, server_config};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::{ADMIN, Fixture, hooks, start};

/// Serves the fixture's control plane over TLS too.
async fn secure(fixture: &Fixture, certificate: &Certificate) -> (std::net::SocketAddr, CancellationToken) {
    let context = Context::new(fixture.handle.clone(), hooks(), Limits::default());
    let tls = server_config(certificate).unwrap();
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Some(tls), context).await.unwrap();
    let (address, shutdown) = (server.address().unwrap(), CancellationToken::new());
    tokio::spawn(server.run(shutdown.clone()));
    (address, shutdown)
}

fn own() -> Certificate {
    Certificate::self_signed(&["localhost".to_string(), "127.0.0.1".to_string()]).unwrap()
}

fn client(address: std::net::SocketAddr, trust: Trust) -> Client {
    let patience = std::time::Duration::from_millis(300);
    let builder = Client::builder().endpoint(format!("https://{address}")).token(ADMIN);
    builder.trust(trust).patience(patience).build().unwrap()
}

#[tokio::test]
async fn a_peers_own_certificate_is_trusted_by_its_file_or_fingerprint() {
    let fixture = start().await;
    let certificate = own();
    let (address, _shutdown) = secure(&fixture, &certificate).await;
    for trust in [
        Trust::Authority(certificate.certificate_pem.clone().into_bytes()),
        Trust::Fingerprint(certificate.fingerprint().unwrap()),
        Trust::Insecure,
    ] {
        assert_eq!(client(address, trust).whoami().await.unwrap().actor, "token/admin");
    }
}

#[tokio::test]
async fn another_certificate_is_not_trusted() {
    let fixture = start().await;
    let (address, _shutdown) = secure(&fixture, &own()).await;
    let other = own();
    for trust in [
        Trust::System,
        Trust::Authority(other.certificate_pem.clone().into_bytes()),
        Trust::Fingerprint(other.fingerprint().unwrap()),
    ] {
        let error = client(address, trust.clone()).whoami().await.unwrap_err();
        assert!(matches!(error, Error::Untrusted(_)), "{trust:?}: {error}");
    }
}

#[tokio::test]
async fn both_versions_of_http_are_offered() {
    let fixture = start().await;
    let certificate = own();
    let (address, _shutdown) = secure(&fixture, &certificate).await;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject;
    let pem =
        rustls::pki_types::CertificateDer::from_pem_slice(certificate.certificate_pem.as_bytes()).unwrap();
    roots.add(pem).unwrap();
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await.unwrap();
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    }
}

/// An authority, and a certificate that it signs for a name and a time.
fn signed(name: &str, years: std::ops::Range<i32>) -> (Vec<u8>, Certificate) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
    params.not_before = date_time_ymd(years.start, 1, 1);
    params.not_after = date_time_ymd(years.end, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate_pem = params.signed_by(&key, &authority).unwrap().pem();
    (authority.pem().into_bytes(), Certificate { certificate_pem, key_pem: key.serialize_pem() })
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told_at_once() {
    let fixture = start().await;
    let (other, _) = signed("127.0.0.1", 2020..4000);
    for (name, years, wrong_authority, says) in [
        ("127.0.0.1", 2020..2021, false, "expired on 2021-01-01"),
        ("127.0.0.1", 3000..3001, false, "not valid before 3000-01-01"),
        ("p1.example.org", 2020..4000, false, "is for p1.example.org, not for 127.0.0.1"),
        ("127.0.0.1", 2020..4000, true, "nor signed by an authority"),
    ] {
        let (authority, certificate) = signed(name, years);
        let (address, _shutdown) = secure(&fixture, &certificate).await;
        let authority = if wrong_authority { other.clone() } else { authority };
        let endpoint = format!("https://{address}");
        // Nothing gets better with time: who is patient is told at once too.
        let builder = Client::builder().endpoint(endpoint).token(ADMIN).trust(Trust::Authority(authority));
        let client = builder.patience(std::time::Duration::from_secs(600)).build().unwrap();
        let error = tokio::time::timeout(crate::support::PATIENCE, client.whoami()).await.expect("at once");
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Untrusted(_)) && error.to_string().contains(says), "{error}");
    }
    let (authority, certificate) = signed("127.0.0.1", 2020..4000);
    let (address, _shutdown) = secure(&fixture, &certificate).await;
    assert_eq!(client(address, Trust::Authority(authority)).whoami().await.unwrap().actor, "token/admin");
}

#[tokio::test]
async fn http_and_https_taken_for_each_other_are_told() {
    let fixture = start().await;
    let (address, _shutdown) = secure(&fixture, &own()).await;
    let plain = Client::builder().endpoint(format!("http://{address}")).token(ADMIN).build().unwrap();
    let error = plain.whoami().await.unwrap_err();
    assert_eq!(error.status(), Some(400));
    assert!(error.to_string().contains(&format!("this port speaks TLS: write https://{address}")), "{error}");
    let error = client(fixture.address, Trust::Insecure).whoami().await.unwrap_err();
    assert!(error.to_string().contains("it speaks no TLS: write http://"), "{error}");
}
