//! Which certificates of peers are trusted.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Error;

/// Which certificates of peers are trusted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Trust {
    /// Those the system trusts.
    #[default]
    System,
    /// Those that these authorities signed, or these certificates themselves: PEM, one or more.
    Authority(Vec<u8>),
    /// A certificate with this SHA-256 fingerprint, whatever name it bears: a peer's self-signed one.
    Fingerprint([u8; 32]),
    /// Any: whoever sits between can read and change everything.
    Insecure,
}

/// A fingerprint as people compare it: hex in pairs with colons.
pub fn fingerprint_text(fingerprint: &[u8; 32]) -> String {
    let pairs: Vec<String> = fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// Reads a fingerprint: 64 hex digits, with or without colons.
pub fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let text = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("SHA256:")).unwrap_or(text);
    let digits: Vec<u32> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    if digits.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::try_from(pair[0] * 16 + pair[1]).ok()?;
    }
    Some(out)
}

impl Trust {
    pub(super) fn client_config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let failed = |error: &dyn fmt::Display| Error::Config(format!("TLS cannot be set up: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?;
        let verifier: Arc<dyn ServerCertVerifier> = match self {
            Trust::System => {
                Arc::new(SystemVerifier { provider: Arc::clone(&provider), inner: Default::default() })
            }
            Trust::Authority(pem) => {
                let mut roots = RootCertStore::empty();
                let mut listed = Vec::new();
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|error| failed(&error))?;
                    listed.push(certificate.clone().into_owned());
                    roots.add(certificate).map_err(|error| failed(&error))?;
                }
                if listed.is_empty() {
                    return Err(Error::Config("there is no certificate in the given PEM file".to_string()));
                }
                let inner =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                        .build()
                        .map_err(|error| failed(&error))?;
                Arc::new(AuthorityVerifier { inner, listed })
            }
            Trust::Fingerprint(wanted) => {
                Arc::new(PinVerifier { provider: Arc::clone(&provider), wanted: Some(*wanted) })
            }
            Trust::Insecure => Arc::new(PinVerifier { provider: Arc::clone(&provider), wanted: None }),
        };
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

/// Reads the system's certificates only when a certificate is to be verified: plain HTTP must work without any.
struct SystemVerifier {
    provider: Arc<CryptoProvider>,
    inner: std::sync::OnceLock<Result<rustls_platform_verifier::Verifier, rustls::Error>>,
}

impl fmt::Debug for SystemVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemVerifier")
    }
}

impl ServerCertVerifier for SystemVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let inner =
            self.inner.get_or_init(|| rustls_platform_verifier::Verifier::new(Arc::clone(&self.provider)));
        inner.as_ref().map_err(Clone::clone)?.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Trusts what the authorities signed, and the listed certificates themselves: a self-signed one is no authority.
#[derive(Debug)]
struct AuthorityVerifier {
    inner: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for AuthorityVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.listed.iter().any(|certificate| certificate.as_ref() == end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        self.inner.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Trusts one certificate, or any. The handshake still proves that the peer holds its key.
#[derive(Debug)]
struct PinVerifier {
    provider: Arc<CryptoProvider>,
    wanted: Option<[u8; 32]>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = ring::digest::digest(&ring::digest::SHA256, end_entity);
        match &self.wanted {
            Some(wanted) if found.as_ref() != wanted => {
                Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fingerprints_read_back_as_they_are_shown() {
        let fingerprint = std::array::from_fn(|at| u8::try_from(at * 7).unwrap());
        let text = fingerprint_text(&fingerprint);
        assert!(text.starts_with("00:07:0E:"), "{text}");
        assert_eq!(parse_fingerprint(&text), Some(fingerprint));
        assert_eq!(
            parse_fingerprint(&format!("sha256:{}", text.replace(':', "").to_lowercase())),
            Some(fingerprint)
        );
        for bad in ["", "00:11", "zz", &format!("{text}:00")] {
            assert_eq!(parse_fingerprint(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let error = Trust::Authority(b"hello".to_vec()).client_config().unwrap_err();
        assert!(error.to_string().contains("no certificate"), "{error}");
    }
}
