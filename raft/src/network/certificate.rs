//! The control plane's certificate authority, and what a certificate says of its peer.
//!
//! Every peer holds the authority's key (in its keyring), so a join or a renewal needs no particular peer. The
//! subject name `peer-ID.CONTROL-PLANE.rscaler` binds a certificate to one peer of one control plane. Keys are
//! ECDSA P-256; a certificate lives for 90 days and is renewed at 60.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::ControlPlaneId;
use crate::model::PeerId;
use crate::secrets::{self, SecretBytes};

/// How long a peer's certificate is valid.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long before its end a certificate is renewed.
pub const RENEWED_BEFORE_END: Duration = Duration::from_secs(30 * 24 * 3600);
/// How far two peers' clocks may be apart.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// Why a certificate can't be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Keys or requests that are not what they should be.
    #[error("could not {action}")]
    Encoding {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate that is no peer's of this control plane.
    #[error("the certificate is not one of a peer: {0}")]
    NotAPeer(&'static str),
    /// No random bytes for a serial number.
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
}

fn encoding(action: &'static str) -> impl FnOnce(rcgen::Error) -> Error {
    move |source| Error::Encoding { action, source }
}

/// The name in a peer's certificate.
pub fn subject(control_plane: ControlPlaneId, peer: PeerId) -> String {
    format!("peer-{peer}.{control_plane}.rscaler")
}

/// SHA-256 of a certificate, by which a join token pins the authority.
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    secrets::sha256(&[certificate])
}

/// A new private key, PKCS #8.
///
/// # Errors
/// [`Error::Encoding`].
pub fn generate_key() -> Result<SecretBytes, Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(encoding("make a key"))?;
    Ok(SecretBytes::new(key.serialize_der()))
}

/// Asks for a certificate for `key`, and proves that the asker holds it. PKCS #10, DER.
///
/// # Errors
/// [`Error::Encoding`].
pub fn request(key: &SecretBytes) -> Result<Vec<u8>, Error> {
    let key = read_key(key)?;
    let request =
        CertificateParams::default().serialize_request(&key).map_err(encoding("ask for a certificate"))?;
    Ok(request.der().to_vec())
}

/// The public key that a request asks a certificate for, once its proof has been checked.
///
/// # Errors
/// [`Error::Encoding`].
pub fn requested_key(request: &[u8]) -> Result<Vec<u8>, Error> {
    let request = read_request(request)?;
    Ok(request.public_key.der_bytes().to_vec())
}

fn read_request(request: &[u8]) -> Result<CertificateSigningRequestParams, Error> {
    CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
        .map_err(encoding("read a request for a certificate"))
}

fn read_key(key: &[u8]) -> Result<KeyPair, Error> {
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key), &PKCS_ECDSA_P256_SHA256)
        .map_err(encoding("read a private key"))
}

/// Signs peers' certificates.
pub struct Authority {
    control_plane: ControlPlaneId,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was just made.
#[derive(Clone, Debug)]
pub struct Issued {
    /// DER.
    pub certificate: Vec<u8>,
    /// Its serial number, by which it can be revoked.
    pub serial: Vec<u8>,
}

impl Authority {
    /// A new authority's key and certificate, for the beginning of a control plane.
    ///
    /// # Errors
    /// [`Error::Encoding`], [`Error::Secrets`].
    pub fn generate(control_plane: ControlPlaneId) -> Result<(SecretBytes, Vec<u8>), Error> {
        let key = generate_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("rscaler control plane {control_plane}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        lives(&mut params, AUTHORITY_LIFE);
        params.serial_number = Some(SerialNumber::from_slice(&new_serial()?));
        let certificate =
            params.self_signed(&read_key(&key)?).map_err(encoding("make the certificate authority"))?;
        Ok((key, certificate.der().to_vec()))
    }

    /// The authority with this key and certificate.
    ///
    /// # Errors
    /// [`Error::Encoding`] where they are not what they should be.
    pub fn load(control_plane: ControlPlaneId, key: &[u8], certificate: &[u8]) -> Result<Authority, Error> {
        let certificate = CertificateDer::from(certificate.to_vec());
        let issuer = Issuer::from_ca_cert_der(&certificate, read_key(key)?)
            .map_err(encoding("read the certificate authority"))?;
        Ok(Authority { control_plane, certificate, issuer })
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate for `peer`, for the key that signed `request`. What else the request says is ignored.
    ///
    /// # Errors
    /// [`Error::Encoding`] where the request does not prove that its sender holds the key.
    pub fn issue(&self, request: &[u8], peer: PeerId) -> Result<Issued, Error> {
        let request = read_request(request)?;
        let name = subject(self.control_plane, peer);
        let mut params =
            CertificateParams::new(vec![name.clone()]).map_err(encoding("name a certificate"))?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        lives(&mut params, CERTIFICATE_LIFE);
        let serial = new_serial()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let certificate =
            params.signed_by(&request.public_key, &self.issuer).map_err(encoding("sign a certificate"))?;
        Ok(Issued { certificate: certificate.der().to_vec(), serial: serial.to_vec() })
    }
}

fn lives(params: &mut CertificateParams, life: Duration) {
    let now = wall_clock();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + life).into();
}

/// What certificates live by; nothing that is replicated does.
#[expect(clippy::disallowed_methods, reason = "a certificate's life is counted in wall time, by everybody")]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Positive and without leading zeros, so that every encoding of it has the same bytes.
fn new_serial() -> Result<[u8; 16], secrets::Error> {
    let mut serial = secrets::random::<16>()?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

/// What a peer's certificate says. Only worth something once the chain has been verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerCertificate {
    /// Of which control plane.
    pub control_plane: ControlPlaneId,
    /// Which peer.
    pub peer: PeerId,
    /// By which it can be revoked.
    pub serial: Vec<u8>,
    /// Its last moment.
    pub expires: SystemTime,
}

impl PeerCertificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// [`Error::NotAPeer`].
    pub fn read(certificate: &[u8]) -> Result<PeerCertificate, Error> {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| Error::NotAPeer("it is not X.509"))?;
        let names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .ok_or(Error::NotAPeer("it has no subject alternative name"))?;
        let [GeneralName::DNSName(name)] = &names.value.general_names[..] else {
            return Err(Error::NotAPeer("it has not exactly one name"));
        };
        let (control_plane, peer) =
            read_subject(name).ok_or(Error::NotAPeer("its name is of another form"))?;
        let expires = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        Ok(PeerCertificate {
            control_plane,
            peer,
            serial: certificate.raw_serial().to_vec(),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(expires),
        })
    }
}

fn read_subject(name: &str) -> Option<(ControlPlaneId, PeerId)> {
    let (peer, control_plane) = name.strip_prefix("peer-")?.strip_suffix(".rscaler")?.split_once('.')?;
    let read = (control_plane.parse().ok()?, peer.parse().ok()?);
    // Only the one spelling: `peer-01` is not `peer-1`.
    (subject(read.0, read.1) == name).then_some(read)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use proptest::prelude::*;

    use super::*;

    const CONTROL_PLANE: ControlPlaneId = ControlPlaneId(0xabc);

    #[test]
    fn a_certificate_says_which_peer_it_is_of() {
        let (key, certificate) = Authority::generate(CONTROL_PLANE).unwrap();
        let authority = Authority::load(CONTROL_PLANE, &key, &certificate).unwrap();
        let issued = authority.issue(&request(&generate_key().unwrap()).unwrap(), PeerId(12)).unwrap();
        let read = PeerCertificate::read(&issued.certificate).unwrap();
        assert_eq!((read.control_plane, read.peer), (CONTROL_PLANE, PeerId(12)));
        assert_eq!(read.serial, issued.serial);
        let life = read.expires.duration_since(wall_clock()).unwrap();
        assert!(life <= CERTIFICATE_LIFE && life > CERTIFICATE_LIFE - Duration::from_secs(60), "{life:?}");
        assert!(matches!(PeerCertificate::read(&certificate), Err(Error::NotAPeer(_))));
    }

    #[test]
    fn a_request_that_was_tampered_with_is_refused() {
        let (key, certificate) = Authority::generate(CONTROL_PLANE).unwrap();
        let authority = Authority::load(CONTROL_PLANE, &key, &certificate).unwrap();
        let mut bytes = request(&generate_key().unwrap()).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(authority.issue(&bytes, PeerId(1)).is_err());
        assert!(authority.issue(b"", PeerId(1)).is_err());
    }

    proptest! {
        #[test]
        fn a_subject_has_one_spelling(control_plane: u128, peer: u64) {
            let name = subject(ControlPlaneId(control_plane), PeerId(peer));
            prop_assert_eq!(read_subject(&name), Some((ControlPlaneId(control_plane), PeerId(peer))));
            prop_assert_eq!(read_subject(&name.replace("peer-", "peer-0")), None);
            prop_assert_eq!(read_subject(&name[1..]), None);
        }

        #[test]
        fn garbage_is_no_certificate(bytes: Vec<u8>) {
            prop_assert!(PeerCertificate::read(&bytes).is_err());
        }
    }
}
