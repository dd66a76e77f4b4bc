//! Certificates of the API: a configured one, or one that a peer made for itself.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate or the key is not PEM, or there is none in it.
    #[error("the {what} cannot be read: {why}")]
    Pem {
        /// `certificate` or `private key`.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Certificate and key do not belong together.
    #[error("the private key is not that of the certificate")]
    OtherKey,
    /// The certificate cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Unusable(rustls::Error),
    /// No certificate could be made.
    #[error("a certificate could not be made")]
    Making(#[from] rcgen::Error),
    /// The certificate is for a name that cannot be.
    #[error("`{0}` cannot stand in a certificate: give a host name or an IP address")]
    Name(String),
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Error {
        match error {
            rustls::Error::InconsistentKeys(_) => Error::OtherKey,
            other => Error::Unusable(other),
        }
    }
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct Certificate {
    /// The chain, the peer's own certificate first.
    pub certificate_pem: String,
    /// PKCS #8, PKCS #1 or SEC 1.
    pub key_pem: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(***)")
    }
}

impl Certificate {
    /// A new self-signed one for these host names and addresses; clients compare its fingerprint.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Making`].
    pub fn self_signed(names: &[String]) -> Result<Certificate, Error> {
        let mut params = CertificateParams::default();
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(|_| Error::Name(name.clone()))?),
            });
        }
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, "rscaler API");
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Certificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// When it ends.
    ///
    /// # Errors
    /// [`Error::Pem`].
    pub fn ends(&self) -> Result<jiff::Timestamp, Error> {
        let unreadable = |why: String| Error::Pem { what: "certificate", why };
        let chain = read_chain(&self.certificate_pem)?;
        let (_, own) =
            x509_parser::parse_x509_certificate(&chain[0]).map_err(|error| unreadable(error.to_string()))?;
        jiff::Timestamp::from_second(own.validity().not_after.timestamp())
            .map_err(|error| unreadable(error.to_string()))
    }

    /// SHA-256 of the peer's own certificate, for `Trust::Fingerprint` of the client.
    ///
    /// # Errors
    /// [`Error::Pem`].
    pub fn fingerprint(&self) -> Result<[u8; 32], Error> {
        let chain = read_chain(&self.certificate_pem)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, &chain[0]);
        let mut out = [0; 32];
        out.copy_from_slice(digest.as_ref());
        Ok(out)
    }
}

fn read_chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unreadable = |why: String| Error::Pem { what: "certificate", why };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(error.to_string()))?;
    if chain.is_empty() { Err(unreadable("there is none in the file".to_string())) } else { Ok(chain) }
}

/// What a server of the API needs: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, with ring whatever else is linked.
///
/// # Errors
/// [`Error::Pem`], [`Error::Unusable`].
pub fn server_config(certificate: &Certificate) -> Result<Arc<ServerConfig>, Error> {
    let chain = read_chain(&certificate.certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())
        .map_err(|error| Error::Pem { what: "private key", why: error.to_string() })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_peers_own_certificate_serves() {
        let names = ["localhost".to_string(), "127.0.0.1".to_string(), "::1".to_string()];
        let certificate = Certificate::self_signed(&names).unwrap();
        assert!(server_config(&certificate).is_ok());
        assert_ne!(certificate.fingerprint().unwrap(), [0; 32]);
        assert!(certificate.ends().unwrap() > jiff::Timestamp::now());
        assert_eq!(format!("{certificate:?}"), "Certificate(***)");
    }

    #[test]
    fn what_does_not_serve_is_told() {
        let good = Certificate::self_signed(&["localhost".to_string()]).unwrap();
        let other = Certificate::self_signed(&["localhost".to_string()]).unwrap();
        for (certificate, says) in [
            (Certificate { certificate_pem: String::new(), ..good.clone() }, "certificate cannot be read"),
            (Certificate { key_pem: "x".to_string(), ..good.clone() }, "private key cannot be read"),
            (Certificate { key_pem: other.key_pem, ..good }, "key is not that of the certificate"),
        ] {
            let error = server_config(&certificate).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(matches!(Certificate::self_signed(&["é b".to_string()]), Err(Error::Name(_))));
    }
}
