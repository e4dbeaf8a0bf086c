//! Where a lake is, and what it takes to get there.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

/// A lake's address: a path or a URL, as it was given, and how a store behind the network is reached.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LakeAddress {
    url: Arc<str>,
    access: Arc<StoreAccess>,
}

/// How a store behind the network is reached. Local lakes need nothing of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreAccess {
    /// The variables of the environment that begin with `AWS_`, and are not empty: credentials, region, endpoint.
    /// Absent: nobody looked, and S3 cannot be opened.
    pub variables: Option<BTreeMap<String, String>>,
    /// The proxy for all requests; may hold credentials. Absent: what `HTTPS_PROXY` and its like say. Loopback
    /// addresses never go through a proxy.
    pub proxy: Option<Url>,
    /// A PEM file of certificates to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long making a connection may take. Zero means no limit.
    pub connect_timeout: Duration,
}

impl LakeAddress {
    /// The same place, reached that way.
    #[must_use]
    pub fn with_access(self, access: StoreAccess) -> Self {
        Self {
            access: Arc::new(access),
            ..self
        }
    }

    /// Another place, reached the same way.
    #[must_use]
    pub fn beside(&self, url: &str) -> Self {
        Self {
            url: url.into(),
            access: Arc::clone(&self.access),
        }
    }

    /// How it is reached.
    pub fn access(&self) -> &StoreAccess {
        &self.access
    }
}

/// The path or URL, which holds no secret.
impl Deref for LakeAddress {
    type Target = str;

    fn deref(&self) -> &str {
        &self.url
    }
}

impl fmt::Display for LakeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Debug for LakeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.url)
    }
}

/// Of the variables, the names alone: their values are secrets, and so may be the proxy.
impl fmt::Debug for StoreAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = self.variables.iter().flat_map(BTreeMap::keys);
        f.debug_struct("StoreAccess")
            .field("variables", &variables.collect::<Vec<_>>())
            .field("proxy", &self.proxy.as_ref().map(Url::scheme))
            .field("ca_file", &self.ca_file)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

impl From<&str> for LakeAddress {
    fn from(url: &str) -> Self {
        Self {
            url: url.into(),
            access: Arc::default(),
        }
    }
}

impl From<&String> for LakeAddress {
    fn from(url: &String) -> Self {
        url.as_str().into()
    }
}

impl From<&LakeAddress> for LakeAddress {
    fn from(address: &LakeAddress) -> Self {
        address.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_shown() {
        let access = StoreAccess {
            variables: Some([("AWS_SECRET_ACCESS_KEY".to_owned(), "hush".to_owned())].into()),
            proxy: Some("http://user:hush@proxy:3128".parse().unwrap()),
            ..StoreAccess::default()
        };
        let shown = format!("{access:?}");
        assert!(
            shown.contains("AWS_SECRET_ACCESS_KEY") && !shown.contains("hush"),
            "{shown}"
        );
        let address = LakeAddress::from("s3://bucket/lake").with_access(access);
        assert_eq!(
            format!("{address} {address:?}"),
            "s3://bucket/lake \"s3://bucket/lake\""
        );
    }
}
