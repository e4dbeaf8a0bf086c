//! What S3 said when it did not do what it was asked, in brief.
//!
//! S3 explains a refusal at length: it quotes the request, with the token of the session in it. Of all that, the code
//! and the one sentence beside it are kept, here, before anything else sees them.

use std::error::Error;
use std::fmt;

/// The most of S3's sentence that is kept, in characters.
const MESSAGE_CHARACTERS: usize = 300;

/// What to do when a store does not do what it can.
pub(crate) const OUT_OF_ORDER: &str =
    "the store is overloaded or out of order: run again later; what is committed stays so";

/// An answer of S3 that says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct S3Answer {
    pub(crate) status: u16,
    /// Such as `NoSuchBucket`; absent where the answer has no body, as those to HEAD.
    pub(crate) code: Option<String>,
    message: Option<String>,
    /// The region of the bucket, where the answer tells.
    region: Option<String>,
    /// The store's time, for who is in doubt of this machine's.
    date: Option<String>,
}

/// What is wrong, as far as it matters for what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    NoBucket,
    Region,
    Clock,
    Expired,
    Keys,
    Forbidden,
    Store,
    Other,
}

/// Why the store was not asked at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    /// None are set, and the machine has no role that gives them.
    #[error("no credentials for S3: none are set, and this machine has no role that gives them")]
    NoCredentials,
    /// There was no connection.
    #[error("no connection to `{host}`: {reason}")]
    NoConnection { host: String, reason: String },
}

impl S3Answer {
    /// Reads an answer; `header` looks up one of its headers.
    pub(crate) fn new(
        status: u16,
        header: impl Fn(&str) -> Option<String>,
        body: Option<&str>,
    ) -> Self {
        let element = |name| body.and_then(|body| element(body, name));
        Self {
            status,
            code: element("Code").map(str::to_owned),
            message: element("Message").map(|text| text.chars().take(MESSAGE_CHARACTERS).collect()),
            region: header("x-amz-bucket-region").or_else(|| element("Region").map(str::to_owned)),
            date: header("date"),
        }
    }

    /// The code and the sentence.
    pub(crate) fn explanation(&self) -> Option<String> {
        let code = self.code.as_deref()?;
        Some(match &self.message {
            Some(message) => format!("`{code}`: {}", message.trim_end_matches('.')),
            None => format!("`{code}`"),
        })
    }

    /// The answer that is among the causes of an error, if there is one.
    pub(crate) fn among<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        among(error)
    }

    /// Whether the same request may succeed later without anyone's doing.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self.cause(), Cause::Store)
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self.cause() {
            Cause::NoBucket => "make the bucket, or give another --lake; answerlake makes no buckets".to_owned(),
            Cause::Region => match &self.region {
                Some(region) => format!("the bucket is in another region: set AWS_REGION={region}"),
                None => "the bucket is in another region than AWS_REGION says: set that to the one of the bucket \
                         (`aws s3api get-bucket-location --bucket BUCKET`)"
                    .to_owned(),
            },
            Cause::Clock => {
                let date = self.date.as_deref().unwrap_or("not told");
                format!("the clock of this machine is wrong: set it; the time of the store is: {date}")
            }
            Cause::Expired => "the credentials have expired: get new ones, such as by \
                 `eval \"$(aws configure export-credentials --format env)\"`, and run again"
                .to_owned(),
            Cause::Keys => "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for a session's, AWS_SESSION_TOKEN: \
                 all of one account's key, and of the store that AWS_ENDPOINT_URL names"
                .to_owned(),
            Cause::Forbidden => "the credentials do not allow it: a lake takes s3:ListBucket on the bucket, s3:GetObject, \
                 s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload below its prefix, and with a KMS key \
                 kms:GenerateDataKey and kms:Decrypt"
                .to_owned(),
            Cause::Store => OUT_OF_ORDER.to_owned(),
            Cause::Other => return None,
        })
    }

    fn cause(&self) -> Cause {
        match (self.code.as_deref(), self.status) {
            (Some("NoSuchBucket"), _) => Cause::NoBucket,
            (
                Some(
                    "PermanentRedirect"
                    | "TemporaryRedirect"
                    | "AuthorizationHeaderMalformed"
                    | "IllegalLocationConstraintException",
                ),
                _,
            ) => Cause::Region,
            (_, 301 | 307 | 308) => Cause::Region,
            (Some("RequestTimeTooSkewed" | "RequestExpired"), _) => Cause::Clock,
            (Some("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired"), _) => {
                Cause::Expired
            }
            (
                Some(
                    "InvalidAccessKeyId"
                    | "SignatureDoesNotMatch"
                    | "InvalidToken"
                    | "InvalidClientTokenId"
                    | "UnrecognizedClientException",
                ),
                _,
            ) => Cause::Keys,
            // Said with status 400 of a connection that idled.
            (Some("RequestTimeout" | "ConditionalRequestConflict" | "OperationAborted"), _) => {
                Cause::Store
            }
            (_, 401 | 403) => Cause::Forbidden,
            (_, 501 | 505) => Cause::Other,
            (_, 408 | 429 | 500..) => Cause::Store,
            _ => Cause::Other,
        }
    }
}

impl Unreached {
    /// There was no connection, for the last of the causes of `error`: those before it say that in other words.
    pub(crate) fn no_connection(host: String, error: &(dyn Error + 'static)) -> Self {
        let reason = last_cause(error).to_string();
        Self::NoConnection { host, reason }
    }

    /// The one that is among the causes of an error, if there is one.
    pub(crate) fn among<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        among(error)
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::NoCredentials => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, as `eval \"$(aws configure export-credentials \
                 --format env)\"` does for a profile; or run where a role gives credentials (EC2, ECS, EKS)"
            }
            Self::NoConnection { .. } => {
                "check AWS_ENDPOINT_URL, AWS_REGION, the network and the proxy; where a certificate is not trusted, name \
                 its authority with --ca-file or AWS_CA_BUNDLE"
            }
        }
    }
}

/// The status, the code and the sentence: ``S3 answered 403 `AccessDenied`: Access Denied``.
impl fmt::Display for S3Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store answered {}", self.status)?;
        match self.explanation() {
            Some(explanation) => write!(f, " {explanation}"),
            None => Ok(()),
        }
    }
}

impl Error for S3Answer {}

fn among<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// The cause that has none itself.
pub(crate) fn last_cause<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last
}

/// The text of an XML element that holds nothing but text.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once('<')?;
    Some(text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>The request \
         signature does not match.</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId><CanonicalRequest>PUT\n\
         x-amz-security-token:hush</CanonicalRequest></Error>";

    fn answer(status: u16, body: &str) -> S3Answer {
        let header = |name: &str| (name == "date").then(|| "Tue, 24 Nov 2026".to_owned());
        S3Answer::new(status, header, Some(body))
    }

    #[test]
    fn of_a_refusal_code_and_sentence_are_kept() {
        let answer = answer(403, SIGNATURE);
        assert_eq!(
            answer.to_string(),
            "the store answered 403 `SignatureDoesNotMatch`: The request signature does not match"
        );
        assert!(!format!("{answer:?}").contains("hush"));
        let bare = S3Answer::new(403, |_| None, None);
        assert_eq!(bare.to_string(), "the store answered 403");
        let long = format!("<Code>A</Code><Message>{}</Message>", "ä".repeat(1000));
        let long = S3Answer::new(500, |_| None, Some(&long));
        let explanation = long.explanation().unwrap();
        assert_eq!(
            explanation.chars().count(),
            "`A`: ".len() + MESSAGE_CHARACTERS
        );
    }

    #[test]
    fn each_refusal_says_what_to_do_and_whether_to_try_again() {
        for (status, body, hint, retryable) in [
            (404, "<Code>NoSuchBucket</Code>", "make the bucket", false),
            (301, "", "AWS_REGION", false),
            (
                400,
                "<Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region>",
                "AWS_REGION=eu-central-1",
                false,
            ),
            (
                403,
                "<Code>RequestTimeTooSkewed</Code>",
                "the time of the store is: Tue, 24 Nov 2026",
                false,
            ),
            (400, "<Code>ExpiredToken</Code>", "have expired", false),
            (403, SIGNATURE, "AWS_SECRET_ACCESS_KEY", false),
            (403, "<Code>AccessDenied</Code>", "s3:PutObject", false),
            (403, "", "s3:PutObject", false),
            (503, "<Code>SlowDown</Code>", "run again later", true),
            (500, "", "run again later", true),
            (409, "<Code>ConditionalRequestConflict</Code>", "", true),
            (501, "<Code>NotImplemented</Code>", "", false),
            (400, "<Code>InvalidRequest</Code>", "", false),
        ] {
            let answer = answer(status, body);
            let said = answer.hint().unwrap_or_default();
            assert!(said.contains(hint), "{answer}: {said}");
            assert_eq!(answer.is_retryable(), retryable, "{answer}");
        }
    }
}
