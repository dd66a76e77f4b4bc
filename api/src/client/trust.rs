//! Which certificates of peers are trusted.

use std::fmt;
use std::sync::{Arc, OnceLock};

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
    /// Settings of a TLS client that trusts so.
    ///
    /// # Errors
    /// [`Error::Config`] for certificates that are none.
    pub fn client_config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?;
        let judge = match self {
            Trust::System => Judge::System(OnceLock::new()),
            Trust::Authority(pem) => authority(pem, &provider)?,
            Trust::Fingerprint(wanted) => Judge::Fingerprint(*wanted),
            Trust::Insecure => Judge::Nobody,
        };
        let verifier = Arc::new(Verifier { provider, judge });
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

fn failed(error: &dyn fmt::Display) -> Error {
    Error::Config(format!("TLS cannot be set up: {error}"))
}

fn authority(pem: &[u8], provider: &Arc<CryptoProvider>) -> Result<Judge, Error> {
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
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| failed(&error))?;
    Ok(Judge::Authority { inner, listed })
}

/// Judges a peer's certificate as [`Trust`] says; the handshake proves that the peer holds its key, whatever is
/// trusted.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    judge: Judge,
}

enum Judge {
    /// The system's certificates are read only when a certificate is to be judged: plain HTTP must work without any.
    System(OnceLock<Result<rustls_platform_verifier::Verifier, rustls::Error>>),
    /// What authorities signed, and the listed certificates themselves: a self-signed one is no authority.
    Authority {
        inner: Arc<WebPkiServerVerifier>,
        listed: Vec<CertificateDer<'static>>,
    },
    Fingerprint([u8; 32]),
    Nobody,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge")
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.judge {
            Judge::System(inner) => {
                let made = || rustls_platform_verifier::Verifier::new(Arc::clone(&self.provider));
                let inner = inner.get_or_init(made).as_ref().map_err(Clone::clone)?;
                inner.verify_server_cert(end_entity, intermediates, name, ocsp, now)
            }
            Judge::Authority { inner, listed } => {
                let is_listed = || listed.iter().any(|one| one.as_ref() == end_entity.as_ref());
                match inner.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
                    // Who is listed is trusted whatever its name or its issuer, and not for ever.
                    Err(rustls::Error::InvalidCertificate(why)) if !is_out_of_date(&why) && is_listed() => {
                        Ok(ServerCertVerified::assertion())
                    }
                    judged => judged,
                }
            }
            Judge::Fingerprint(wanted) => {
                let found = ring::digest::digest(&ring::digest::SHA256, end_entity);
                if found.as_ref() == wanted {
                    Ok(ServerCertVerified::assertion())
                } else {
                    Err(CertificateError::ApplicationVerificationFailure.into())
                }
            }
            Judge::Nobody => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn is_out_of_date(why: &CertificateError) -> bool {
    matches!(
        why,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
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
