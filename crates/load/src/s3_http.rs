//! The HTTP below S3: refusals are cut to what they say, and what may be asked again is.

use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

use crate::s3_answer::{S3Answer, Unreached};

/// How often a create that conflicts with another is asked again, and the wait before the first time; it doubles.
const CONFLICT_RETRIES: u32 = 5;
const CONFLICT_BACKOFF: Duration = Duration::from_millis(50);

/// Headers of requests to the machine, for the credentials of its role.
const METADATA_HEADERS: [&str; 2] = [
    "x-aws-ec2-metadata-token-ttl-seconds",
    "x-aws-ec2-metadata-token",
];

/// Makes connections over which refusals come in brief.
#[derive(Debug)]
pub(crate) struct Brief;

impl HttpConnector for Brief {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(BriefService(client)))
    }
}

#[derive(Debug)]
struct BriefService(HttpClient);

#[async_trait]
impl HttpService for BriefService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let headers = request.headers();
        if METADATA_HEADERS
            .iter()
            .any(|name| headers.contains_key(*name))
        {
            return self.ask_machine(request).await;
        }
        if headers.contains_key("if-none-match") {
            let mut backoff = CONFLICT_BACKOFF;
            for _ in 0..CONFLICT_RETRIES {
                let response = self.ask(request.clone()).await?;
                if response.status().as_u16() != 409 {
                    return in_brief(response).await;
                }
                tokio::time::sleep(backoff).await;
                backoff *= 2;
            }
        }
        in_brief(self.ask(request).await?).await
    }
}

impl BriefService {
    /// Asks the store once, or who gives credentials for it.
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let is_delete = request.method().as_str() == "DELETE";
        let error = match self.0.execute(request).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        match error.kind() {
            // Deleting is the same however often it is done.
            HttpErrorKind::Interrupted | HttpErrorKind::Timeout if is_delete => {
                Err(HttpError::new(HttpErrorKind::Request, error))
            }
            HttpErrorKind::Connect => {
                let unreached = Unreached::no_connection(host, &error);
                Err(HttpError::new(HttpErrorKind::Connect, unreached))
            }
            _ => Err(error),
        }
    }

    /// Asks the machine for the credentials of its role. Outside of the clouds nobody is there, and elsewhere somebody
    /// else: asking again is of no use.
    async fn ask_machine(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let none = || HttpError::new(HttpErrorKind::Unknown, Unreached::NoCredentials);
        match self.0.execute(request).await {
            // Where it is forbidden, the older protocol may be tried.
            Ok(response) if matches!(response.status().as_u16(), 403 | 429) => Ok(response),
            Ok(response) if response.status().is_client_error() => Err(none()),
            Err(error)
                if matches!(
                    error.kind(),
                    HttpErrorKind::Connect | HttpErrorKind::Timeout
                ) =>
            {
                Err(none())
            }
            answer => answer,
        }
    }
}

/// Cuts a refusal to what it says. One that may be asked again, or that a store has a word for (it is not there, it is
/// there already), stays a response; the others are errors, not to be repeated.
async fn in_brief(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let status = response.status();
    if status.is_success() || status.as_u16() == 304 {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = body.bytes().await?;
    let header = |name: &str| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
    let answer = S3Answer::new(status.as_u16(), header, std::str::from_utf8(&body).ok());
    let has_word = match status.as_u16() {
        404 => answer.code.as_deref() != Some("NoSuchBucket"),
        412 | 408 | 429 => true,
        501 | 505 => false,
        other => other >= 500,
    };
    if has_word {
        let said = answer.explanation();
        let said = said.unwrap_or_else(|| "without a word".to_owned());
        return Ok(HttpResponse::from_parts(parts, said.into()));
    }
    Err(HttpError::new(HttpErrorKind::Unknown, answer))
}
