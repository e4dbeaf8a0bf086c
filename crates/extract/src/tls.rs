//! Why a connection came to no TLS, and what to do about it: what the TLS library says is true and of little help.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// What to do about an error, if it is one of TLS that will not pass by itself.
pub(crate) fn advice(error: &reqwest::Error) -> Option<&'static str> {
    Some(match find(error)? {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired, or this machine's clock is wrong"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is another host's: is the address right?"
            }
            _ => {
                "its certificate is not trusted: where it comes from an authority of your own, or from a proxy that \
                 reads what it passes on, name the PEM file of that authority as `http.ca_file` or `--ca-file`"
            }
        },
        rustls::Error::InvalidMessage(_) => {
            "what answers there speaks no TLS: is it an `http://` address, or another port?"
        }
        _ => return None,
    })
}

/// The TLS library's error among the causes, however it is wrapped.
fn find(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error has what it wraps not as its cause: it shows itself as that.
        cause = match error.downcast_ref::<io::Error>().map(io::Error::get_ref) {
            Some(Some(wrapped)) => Some(wrapped),
            _ => error.source(),
        };
    }
    None
}
