//! Who is at the other end of a connection: the host that is asked, or a proxy.
//!
//! The HTTP client finds its way by itself; errors have to name it. Both go by the same rules: loopback addresses are
//! asked directly, others through the proxy of the settings, else through the one of the environment.

use std::fmt;

use hyper_util::client::proxy::matcher::Matcher;
use url::{Host, Url};

/// Whom a request is sent to. Shown without user names, passwords, paths and queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The host that is asked, with scheme and port.
    pub host: String,
    /// The proxy that is asked for it, if there is one.
    pub proxy: Option<String>,
}

impl Peer {
    /// A proxy for plain HTTP sends the request itself: whoever is connected to, it is the proxy.
    pub(crate) fn is_proxy_alone(&self) -> bool {
        self.proxy.is_some() && self.host.starts_with("http:")
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.host)?;
        match &self.proxy {
            Some(proxy) => write!(f, " through the proxy `{proxy}`"),
            None => Ok(()),
        }
    }
}

/// The proxies that requests go through.
pub(crate) enum Proxies {
    Settings(Url),
    Environment(Box<Matcher>),
}

impl Proxies {
    /// As the settings say, else the variables that the HTTP client reads.
    pub(crate) fn new(settings: Option<&Url>) -> Self {
        match settings {
            Some(proxy) => Self::Settings(proxy.clone()),
            None => Self::Environment(Box::new(Matcher::from_system())),
        }
    }

    /// Whom a request for `url` is sent to.
    pub(crate) fn peer(&self, url: &Url) -> Peer {
        let proxy = match self {
            _ if is_loopback(url) => None,
            Self::Settings(proxy) => Some(origin(proxy)),
            Self::Environment(matcher) => {
                let uri = origin(url).parse().ok();
                let intercepted = uri.and_then(|uri| matcher.intercept(&uri));
                let proxy =
                    intercepted.and_then(|intercept| intercept.uri().to_string().parse().ok());
                proxy.as_ref().map(origin)
            }
        };
        Peer {
            host: origin(url),
            proxy,
        }
    }
}

/// Scheme, host and port.
fn origin(url: &Url) -> String {
    let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
    let port = url.port().map(|port| format!(":{port}"));
    format!("{scheme}://{host}{}", port.unwrap_or_default())
}

/// Whether an address is this machine's own, so that no proxy could reach it.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback()
                || address
                    .to_ipv4_mapped()
                    .is_some_and(|address| address.is_loopback())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_its_addresses() {
        let loopback = |url: &str| is_loopback(&url.parse().unwrap());
        for yes in [
            "http://localhost:1/",
            "http://a.localhost./",
            "http://127.9.9.9/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(loopback(yes), "{yes}");
        }
        for no in [
            "http://localhost.example.org/",
            "http://128.0.0.1/",
            "http://[::2]/",
        ] {
            assert!(!loopback(no), "{no}");
        }
    }

    #[test]
    fn a_peer_is_named_without_its_secrets() {
        let proxies = Proxies::new(Some(&"http://user:hush@proxy:3128/".parse().unwrap()));
        let peer = |url: &str| proxies.peer(&url.parse().unwrap()).to_string();
        assert_eq!(
            peer("https://host/file?s=hush"),
            "`https://host` through the proxy `http://proxy:3128`"
        );
        assert_eq!(
            peer("http://127.0.0.1:8780/a?s=hush"),
            "`http://127.0.0.1:8780`"
        );
        let matcher = Matcher::builder()
            .https("http://user:hush@proxy:3128")
            .no("inside.example.org")
            .build();
        let proxies = Proxies::Environment(Box::new(matcher));
        let peer = |url: &str| proxies.peer(&url.parse().unwrap()).to_string();
        assert_eq!(
            peer("https://host/"),
            "`https://host` through the proxy `http://proxy:3128`"
        );
        for direct in [
            "http://host",
            "https://inside.example.org",
            "https://[::1]:8780",
        ] {
            assert_eq!(peer(direct), format!("`{direct}`"));
        }
    }
}
