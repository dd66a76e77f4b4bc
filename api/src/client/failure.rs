//! Why a request did not get to a peer, in words that say what to do about it.

use std::error::Error as StdError;

use jiff::Timestamp;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

/// Why a peer was not reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotReached {
    pub(super) why: String,
    /// Whether it comes to the same however often it is tried.
    pub(super) lasts: bool,
}

/// Looks for the cause that says most.
pub(super) fn not_reached(error: &reqwest::Error) -> NotReached {
    let mut causes: Vec<&(dyn StdError + 'static)> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause);
        next = cause.source();
    }
    if let Some(why) = causes.iter().find_map(|cause| tls_error(*cause)).and_then(of_tls) {
        return NotReached { why, lasts: true };
    }
    let why = if error.is_timeout() {
        "it does not answer in time".to_string()
    } else {
        causes.last().map_or_else(|| error.to_string(), ToString::to_string)
    };
    NotReached { why, lasts: error.is_builder() }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// The TLS error that an error is, or that a stream's error is made of, however often it was wrapped.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    if let Some(error) = error.downcast_ref() {
        return Some(error);
    }
    tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?)
}

/// What a TLS error means, where it is the certificate's or the port's and not the network's.
fn of_tls(error: &rustls::Error) -> Option<String> {
    match error {
        rustls::Error::InvalidCertificate(error) => Some(of_certificate(error)),
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            Some("it speaks no TLS: write http://".to_string())
        }
        _ => None,
    }
}

const UNTRUSTED: &str = "its certificate is neither trusted here nor signed by an authority that is";

fn of_certificate(error: &CertificateError) -> String {
    match error {
        // A bad signature is one of another authority with the name of ours.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => UNTRUSTED.to_string(),
        // So a self-signed certificate is judged that may sign others.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            UNTRUSTED.to_string()
        }
        CertificateError::Expired => "its certificate has expired".to_string(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired on {}", moment(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid before {}", moment(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            format!("its certificate is for {}, not for {}", listed(&names), expected.to_str())
        }
        CertificateError::ApplicationVerificationFailure => {
            "its certificate is not the one with the given fingerprint".to_string()
        }
        other => format!("its certificate is of no use: {other}"),
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "no name".to_string() } else { names.join(", ") }
}

/// `DnsName("a.example")` without what surrounds the name.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

fn moment(at: UnixTime) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "an unknown day".to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_in_words() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        for (error, words) in [
            (CertificateError::UnknownIssuer, UNTRUSTED),
            (CertificateError::BadSignature, UNTRUSTED),
            (
                CertificateError::ExpiredContext { time: at(1_800_000_000), not_after: at(1_767_139_200) },
                "its certificate expired on 2025-12-31T00:00:00Z",
            ),
            (
                CertificateError::NotValidYetContext { time: at(0), not_before: at(1_893_456_000) },
                "its certificate is not valid before 2030-01-01T00:00:00Z",
            ),
            (
                CertificateError::NotValidForNameContext {
                    expected: "10.0.0.1".try_into().unwrap(),
                    presented: vec![
                        "DnsName(\"p1.example.org\")".to_string(),
                        "IpAddress(10.0.0.2)".to_string(),
                    ],
                },
                "its certificate is for p1.example.org, 10.0.0.2, not for 10.0.0.1",
            ),
        ] {
            assert_eq!(of_certificate(&error), words);
        }
    }

    #[test]
    fn a_tls_error_is_found_inside_a_streams_error() {
        let tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let io = std::io::Error::other(std::io::Error::new(std::io::ErrorKind::InvalidData, tls));
        assert_eq!(tls_error(&io).and_then(of_tls).unwrap(), "it speaks no TLS: write http://");
    }
}
