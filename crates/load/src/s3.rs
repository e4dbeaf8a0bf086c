//! Opens a bucket on S3, or on what speaks its language, by the usual `AWS_*` variables.
//!
//! What holds:
//! - an object is created if it is absent by `If-None-Match: *`; a conflict of two such requests (409) is asked again;
//! - copies are made by the store; every put carries a checksum;
//! - a request is repeated after 500, 503 and their like, and after a broken connection, [`RETRIES`] times, for
//!   [`RETRY_TIMEOUT`] at most; one request takes [`REQUEST_TIMEOUT`] at most. A put that is no longer known to have
//!   failed is not repeated in silence: who commits looks whose revision it is;
//! - what S3 says of a refusal is cut to its code before anything else sees it.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};
use url::{Host, Url};

use crate::address::{LakeAddress, StoreAccess};
use crate::error::LoadError;
use crate::s3_http::Brief;

/// How often a request is repeated, unless `AWS_MAX_ATTEMPTS` says how often it is made.
const RETRIES: usize = 10;

/// How long after its first try a request is still repeated.
const RETRY_TIMEOUT: Duration = Duration::from_secs(180);

/// How long one request may take: the copy of a file of 1 GiB, and the upload of 8 MiB over a slow line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Never through a proxy: this machine, and where clouds hand out credentials.
const DIRECT: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16";

/// Opens the bucket and the prefix that an address names. Nothing is asked of the store yet.
pub(crate) fn open(address: &LakeAddress) -> Result<Arc<PrefixStore<AmazonS3>>, LoadError> {
    let invalid = |reason: String| LoadError::InvalidUrl {
        url: address.to_string(),
        reason,
    };
    let access = address.access();
    let variables = access.variables.as_ref().ok_or_else(|| {
        invalid("S3 needs the `AWS_*` variables of the environment, and got none".to_owned())
    })?;
    let url = Url::parse(address).map_err(|error| invalid(error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        // It would stand in every message, this one among them.
        return Err(LoadError::InvalidUrl {
            url: format!("s3://…@{}", url.host_str().unwrap_or_default()),
            reason: "expected no credentials in it: they are read from the environment".to_owned(),
        });
    }
    let bucket = url
        .host_str()
        .filter(|bucket| !bucket.is_empty())
        .ok_or_else(|| invalid("expected a bucket after `s3://`".to_owned()))?;
    let prefix = Path::from_url_path(url.path()).map_err(|error| invalid(error.to_string()))?;
    check(variables)?;
    let endpoint = Endpoint::of(bucket, variables)?;
    let mut builder = AmazonS3Builder::new();
    for (name, value) in variables {
        match name.to_ascii_lowercase().parse() {
            Ok(AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint) => {}
            Ok(AmazonS3ConfigKey::Checksum) if value.eq_ignore_ascii_case("none") => {}
            Ok(key) => builder = builder.with_config(key, value),
            // It is for other programs.
            Err(_) => {}
        }
    }
    if !variables.contains_key("AWS_CHECKSUM_ALGORITHM") {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    let store = builder
        .with_bucket_name(bucket)
        .with_endpoint(endpoint.url.as_str().trim_end_matches('/'))
        .with_virtual_hosted_style_request(endpoint.has_bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Objects are deleted one by one, which every store knows and which may be repeated.
        .with_disable_bulk_delete(true)
        .with_retry(retry(variables)?)
        .with_client_options(client_options(access, variables, &endpoint.url)?)
        .with_http_connector(Brief)
        .build()
        .map_err(|source| LoadError::Open {
            url: address.to_string(),
            source: source.into(),
        })?;
    Ok(Arc::new(PrefixStore::new(store, prefix)))
}

fn refuse(setting: &'static str, expected: &str, got: impl Into<String>) -> LoadError {
    LoadError::InvalidConfig {
        setting,
        expected: expected.to_owned(),
        got: got.into(),
    }
}

/// Finds what cannot work, or would be overlooked, before the store is asked.
fn check(variables: &BTreeMap<String, String>) -> Result<(), LoadError> {
    let has = |name: &str| variables.contains_key(name);
    let (id, secret) = (has("AWS_ACCESS_KEY_ID"), has("AWS_SECRET_ACCESS_KEY"));
    if id != secret {
        let missing = if id {
            "AWS_SECRET_ACCESS_KEY"
        } else {
            "AWS_ACCESS_KEY_ID"
        };
        return Err(refuse(missing, "the other half of the key", "nothing"));
    }
    let has_others = id
        || has("AWS_WEB_IDENTITY_TOKEN_FILE")
        || has("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        || has("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        || is_true(variables, "AWS_SKIP_SIGNATURE");
    if has("AWS_PROFILE") && !has_others {
        return Err(refuse(
            "AWS_PROFILE",
            "credentials beside it, since profiles are not read: export them with `eval \"$(aws configure \
             export-credentials --format env)\"`",
            "the profile alone",
        ));
    }
    if has("AWS_WEB_IDENTITY_TOKEN_FILE") && !has("AWS_ROLE_ARN") && !id {
        return Err(refuse(
            "AWS_ROLE_ARN",
            "the role to take on with AWS_WEB_IDENTITY_TOKEN_FILE",
            "nothing",
        ));
    }
    if has("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        && !has("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        && !id
    {
        return Err(refuse(
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "the token for AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "nothing",
        ));
    }
    if !has_others && is_true(variables, "AWS_EC2_METADATA_DISABLED") {
        return Err(refuse(
            "AWS_ACCESS_KEY_ID",
            "a key, since AWS_EC2_METADATA_DISABLED leaves no other place for credentials",
            "nothing",
        ));
    }
    check_encryption(variables)
}

fn check_encryption(variables: &BTreeMap<String, String>) -> Result<(), LoadError> {
    let encryption = variables
        .get("AWS_SERVER_SIDE_ENCRYPTION")
        .map(String::as_str);
    let needs = |setting: &'static str, kinds: &[&str]| {
        let is_used = encryption.is_some_and(|kind| kinds.contains(&kind));
        if is_used || !variables.contains_key(setting) {
            return Ok(());
        }
        let expected = format!(
            "AWS_SERVER_SIDE_ENCRYPTION of `{}` beside it",
            kinds.join("` or `")
        );
        Err(refuse(setting, &expected, encryption.unwrap_or("nothing")))
    };
    needs("AWS_SSE_KMS_KEY_ID", &["aws:kms", "aws:kms:dsse"])?;
    needs("AWS_SSE_BUCKET_KEY_ENABLED", &["aws:kms"])?;
    needs("AWS_SSE_CUSTOMER_KEY_BASE64", &["sse-c"])?;
    match encryption {
        None | Some("AES256" | "aws:kms" | "aws:kms:dsse") => Ok(()),
        Some("sse-c") if variables.contains_key("AWS_SSE_CUSTOMER_KEY_BASE64") => Ok(()),
        Some("sse-c") => Err(refuse(
            "AWS_SSE_CUSTOMER_KEY_BASE64",
            "a key, for `sse-c`",
            "nothing",
        )),
        Some(other) => Err(refuse(
            "AWS_SERVER_SIDE_ENCRYPTION",
            "`AES256`, `aws:kms`, `aws:kms:dsse` or `sse-c`",
            format!("`{other}`"),
        )),
    }
}

fn is_true(variables: &BTreeMap<String, String>, name: &str) -> bool {
    let value = variables.get(name).map(|value| value.to_ascii_lowercase());
    matches!(value.as_deref(), Some("true" | "1" | "yes" | "on" | "y"))
}

/// Where the requests go.
struct Endpoint {
    url: Url,
    /// Whether its host names the bucket; else the path does.
    has_bucket: bool,
}

impl Endpoint {
    fn of(bucket: &str, variables: &BTreeMap<String, String>) -> Result<Self, LoadError> {
        let given = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
            .into_iter()
            .find_map(|name| Some((name, variables.get(name)?)));
        let by_host = variables
            .contains_key("AWS_VIRTUAL_HOSTED_STYLE_REQUEST")
            .then(|| is_true(variables, "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"));
        let Some((name, url)) = given else {
            return Ok(Self::of_amazon(bucket, by_host, variables));
        };
        let expected = "`http://` or `https://` and a host, without a user";
        let mut url = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            // A password in it would stand in every message.
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .ok_or_else(|| refuse(name, expected, "something else"))?;
        if url.scheme() == "http" && !is_loopback(&url) && !is_true(variables, "AWS_ALLOW_HTTP") {
            return Err(refuse(
                name,
                "`https://`, or AWS_ALLOW_HTTP=true where nobody else can listen",
                format!("`{url}`"),
            ));
        }
        let has_bucket = by_host.unwrap_or(false);
        let host = url.host_str().unwrap_or_default();
        if has_bucket && !host.starts_with(&format!("{bucket}.")) {
            let host = format!("{bucket}.{host}");
            if url.set_host(Some(&host)).is_err() {
                return Err(refuse(
                    name,
                    "a host that the bucket can stand before",
                    format!("`{url}`"),
                ));
            }
        }
        Ok(Self { url, has_bucket })
    }

    /// Amazon's own, by region; the bucket goes to the host's name unless its certificate does not hold for that.
    fn of_amazon(
        bucket: &str,
        by_host: Option<bool>,
        variables: &BTreeMap<String, String>,
    ) -> Self {
        let region = ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .into_iter()
            .find_map(|name| variables.get(name))
            .map_or("us-east-1", String::as_str);
        let domain = match region.starts_with("cn-") {
            true => "amazonaws.com.cn",
            false => "amazonaws.com",
        };
        let has_bucket = by_host.unwrap_or(!bucket.contains('.'));
        let host = match has_bucket {
            true => format!("https://{bucket}.s3.{region}.{domain}"),
            false => format!("https://s3.{region}.{domain}"),
        };
        match Url::parse(&host) {
            Ok(url) => Self { url, has_bucket },
            // A region or a bucket of odd characters: the store says what it thinks of them.
            Err(_) => Self {
                url: Url::parse("https://s3.amazonaws.com").expect("it is one"),
                has_bucket: false,
            },
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn retry(variables: &BTreeMap<String, String>) -> Result<RetryConfig, LoadError> {
    let attempts = variables.get("AWS_MAX_ATTEMPTS").map(|text| {
        let attempts = text.parse().ok().filter(|attempts| *attempts > 0);
        attempts.ok_or_else(|| refuse("AWS_MAX_ATTEMPTS", "a number from 1", format!("`{text}`")))
    });
    Ok(RetryConfig {
        // With base 3 a wait is half as long again as the one before, on average: ten of them take 10 to 30 seconds.
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 3.0,
        },
        max_retries: attempts
            .transpose()?
            .map_or(RETRIES, |attempts: usize| attempts - 1),
        retry_timeout: RETRY_TIMEOUT,
    })
}

fn client_options(
    access: &StoreAccess,
    variables: &BTreeMap<String, String>,
    endpoint: &Url,
) -> Result<ClientOptions, LoadError> {
    let mut options = ClientOptions::new()
        .with_allow_http(endpoint.scheme() == "http")
        .with_timeout(REQUEST_TIMEOUT);
    options = match access.connect_timeout.is_zero() {
        true => options.with_connect_timeout_disabled(),
        false => options.with_connect_timeout(access.connect_timeout),
    };
    if is_loopback(endpoint) {
        // A proxy that is set, and excluded everywhere, is none; else the environment's would be asked.
        options = options
            .with_proxy_url("http://127.0.0.1")
            .with_proxy_excludes("*,0.0.0.0/0,::/0");
    } else if let Some(proxy) = &access.proxy {
        options = options
            .with_proxy_url(proxy.as_str())
            .with_proxy_excludes(DIRECT);
    }
    let bundle = variables.get("AWS_CA_BUNDLE").map(FilePath::new);
    if let Some(file) = access.ca_file.as_deref().or(bundle) {
        for certificate in certificates(file)? {
            options = options.with_root_certificate(certificate);
        }
    } else if endpoint.scheme() == "http" && variables.contains_key("AWS_ACCESS_KEY_ID") {
        // Nothing is encrypted, so that a machine without certificates will do.
        options = options.with_no_system_certificates(true);
    }
    Ok(options)
}

fn certificates(file: &FilePath) -> Result<Vec<Certificate>, LoadError> {
    let failed = |got: String| {
        refuse(
            "ca_file",
            "a PEM file of certificates",
            format!("`{}`: {got}", file.display()),
        )
    };
    let pem = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    let certificates =
        Certificate::from_pem_bundle(&pem).map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("no certificate".to_owned()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(bucket: &str, variables: &[(&str, &str)]) -> String {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        match Endpoint::of(bucket, &variables) {
            Ok(endpoint) => format!("{} {}", endpoint.url, endpoint.has_bucket),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        let access = StoreAccess {
            variables: Some(BTreeMap::new()),
            ..StoreAccess::default()
        };
        let address = LakeAddress::from("s3://AKIA1:secret@bucket/lake").with_access(access);
        let error = open(&address).unwrap_err();
        assert_eq!(
            error.to_string(),
            "lake `s3://…@bucket`: expected no credentials in it: they are read from the environment"
        );
    }

    #[test]
    fn requests_go_where_bucket_region_and_endpoint_say() {
        let by_host = ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true");
        let by_path = ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "false");
        let region = ("AWS_REGION", "eu-central-1");
        let minio = ("AWS_ENDPOINT_URL", "https://minio.example:9000");
        for (bucket, variables, expected) in [
            ("b", &[][..], "https://b.s3.us-east-1.amazonaws.com/ true"),
            (
                "b",
                &[region],
                "https://b.s3.eu-central-1.amazonaws.com/ true",
            ),
            (
                "b",
                &[region, by_path],
                "https://s3.eu-central-1.amazonaws.com/ false",
            ),
            (
                "b.c",
                &[region],
                "https://s3.eu-central-1.amazonaws.com/ false",
            ),
            (
                "b",
                &[("AWS_DEFAULT_REGION", "cn-north-1")],
                "https://b.s3.cn-north-1.amazonaws.com.cn/ true",
            ),
            ("b", &[region, minio], "https://minio.example:9000/ false"),
            ("b", &[minio, by_host], "https://b.minio.example:9000/ true"),
            (
                "b",
                &[("AWS_ENDPOINT_URL", "https://b.minio.example"), by_host],
                "https://b.minio.example/ true",
            ),
            (
                "b",
                &[minio, ("AWS_ENDPOINT_URL_S3", "http://[::1]:9000")],
                "http://[::1]:9000/ false",
            ),
            (
                "b",
                &[
                    ("AWS_ENDPOINT_URL", "http://minio.example"),
                    ("AWS_ALLOW_HTTP", "1"),
                ],
                "http://minio.example/ false",
            ),
        ] {
            assert_eq!(endpoint(bucket, variables), expected, "{variables:?}");
        }
    }

    #[test]
    fn every_way_to_credentials_opens_a_store() {
        let key = [
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ];
        for variables in [
            &[][..],
            &key,
            &[key[0], key[1], ("AWS_PROFILE", "beside")],
            &[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
                ("AWS_ROLE_ARN", "arn"),
            ],
            &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials")],
            &[
                (
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    "http://169.254.170.23/v1/credentials",
                ),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token"),
            ],
            &[key[0], key[1], ("AWS_CHECKSUM_ALGORITHM", "none")],
            &[
                key[0],
                key[1],
                ("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms"),
                ("AWS_SSE_KMS_KEY_ID", "arn"),
            ],
        ] {
            let variables = variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let address = LakeAddress::from("s3://bucket/a/b").with_access(StoreAccess {
                variables: Some(variables.collect()),
                ..StoreAccess::default()
            });
            open(&address).unwrap();
        }
        let error = open(&"s3://bucket/a".into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "lake `s3://bucket/a`: S3 needs the `AWS_*` variables of the environment, and got none"
        );
    }
}
