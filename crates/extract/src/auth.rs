//! A token for each request.
//!
//! A signed token is made anew for each request: where the vendor enforces `jti`, a token sent twice is refused as
//! a replay. Its `iat` is back-dated a little, for clocks that differ.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::config::AuthConfig;
use crate::error::ExtractError;

const BACK_DATED: Duration = Duration::from_secs(30);

/// Hands out tokens.
pub(crate) enum Signer {
    Fixed(SecretString),
    File(PathBuf),
    Signed(Key),
}

/// What a token is signed with.
pub(crate) struct Key {
    client_id: String,
    key: EncodingKey,
    audience: Option<String>,
    subject: String,
    lifetime: Duration,
}

#[derive(Serialize)]
struct Claims<'a> {
    /// The client id; the vendor's spelling of the claim is exact.
    #[serde(rename = "appId")]
    app_id: &'a str,
    sub: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

impl Signer {
    pub(crate) fn new(config: &AuthConfig) -> Self {
        match config {
            AuthConfig::Token(token) => Self::Fixed(token.clone()),
            AuthConfig::TokenFile(path) => Self::File(path.clone()),
            AuthConfig::Signed {
                client_id,
                client_secret,
                audience,
                subject,
                lifetime,
            } => {
                // Chosen here, because the choice by crate features panics when another crate adds a second one.
                // It fails only when one is chosen already, which is as good.
                let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
                Self::Signed(Key {
                    client_id: client_id.clone(),
                    key: EncodingKey::from_secret(client_secret.expose_secret().as_bytes()),
                    audience: audience.clone(),
                    subject: subject.clone(),
                    lifetime: *lifetime,
                })
            }
        }
    }

    /// The token of the next request.
    pub(crate) async fn token(&self) -> Result<SecretString, ExtractError> {
        match self {
            Self::Fixed(token) => Ok(token.expose_secret().trim().into()),
            Self::File(path) => {
                let text = tokio::fs::read_to_string(path).await.map_err(|source| {
                    ExtractError::TokenFile {
                        path: path.clone(),
                        source,
                    }
                })?;
                Ok(text.trim().into())
            }
            Self::Signed(key) => key.sign(),
        }
    }

    /// Whether the next token can differ from the last.
    pub(crate) fn renews(&self) -> bool {
        !matches!(self, Self::Fixed(_))
    }
}

/// When a token ends, by its claim `exp`; `None` where it cannot be told, as of a token that is encrypted.
pub(crate) fn end_of(token: &SecretString) -> Option<DateTime<Utc>> {
    #[derive(Deserialize)]
    struct Ends {
        exp: i64,
    }
    let claims = token.expose_secret().split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let ends: Ends = serde_json::from_slice(&claims).ok()?;
    DateTime::from_timestamp(ends.exp, 0)
}

impl Key {
    fn sign(&self) -> Result<SecretString, ExtractError> {
        let now = Utc::now();
        let claims = Claims {
            app_id: &self.client_id,
            sub: &self.subject,
            iat: (now - BACK_DATED).timestamp(),
            exp: (now + self.lifetime).timestamp(),
            jti: uuid::Uuid::new_v4().to_string(),
            aud: self.audience.as_deref(),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .map_err(|source| ExtractError::Sign { source })?;
        Ok(token.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::Value;

    fn signer(audience: Option<&str>, subject: &str) -> Signer {
        Signer::new(&AuthConfig::Signed {
            client_id: "cs-1".into(),
            client_secret: "very secret".into(),
            audience: audience.map(Into::into),
            subject: subject.to_owned(),
            lifetime: AuthConfig::LIFETIME,
        })
    }

    async fn claims(signer: &Signer) -> Value {
        let token = signer.token().await.unwrap();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_aud = false;
        let key = DecodingKey::from_secret(b"very secret");
        jsonwebtoken::decode::<Value>(token.expose_secret(), &key, &validation)
            .unwrap()
            .claims
    }

    #[tokio::test]
    async fn a_signed_token_holds_what_the_vendor_asks_for() {
        let now = Utc::now().timestamp();
        let claims = claims(&signer(None, AuthConfig::SUBJECT)).await;
        assert_eq!(claims["appId"], "cs-1");
        assert_eq!(claims["sub"], "answerlake");
        assert!(claims.get("aud").is_none());
        let (issued, expires) = (
            claims["iat"].as_i64().unwrap(),
            claims["exp"].as_i64().unwrap(),
        );
        assert_eq!(expires - issued, 330);
        assert!((now - 30..=now - 28).contains(&issued), "{issued} at {now}");
    }

    #[tokio::test]
    async fn each_token_has_its_own_id() {
        let signer = signer(Some("https://idproxy.kore.com/authorize"), "me@example.org");
        let (first, second) = (claims(&signer).await, claims(&signer).await);
        assert_ne!(first["jti"], second["jti"]);
        assert_eq!(first["aud"], "https://idproxy.kore.com/authorize");
        assert_eq!(first["sub"], "me@example.org");
    }

    #[tokio::test]
    async fn a_token_file_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let signer = Signer::new(&AuthConfig::TokenFile(path.clone()));
        for token in ["first", "second"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            assert_eq!(signer.token().await.unwrap().expose_secret(), token);
        }
        std::fs::remove_file(&path).unwrap();
        let error = signer.token().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the token file `{}` cannot be read", path.display())
        );
    }
}
