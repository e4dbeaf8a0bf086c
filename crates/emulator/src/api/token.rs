//! Tokens of the public API: HS256, signed with the client's secret.
//!
//! A token without a `jti` may be sent again and live long; one with a `jti` must be new each time and end within an
//! hour. What is refused is always 401, with the bodies that the vendor's pages and test suites show.

use std::collections::HashSet;
use std::sync::Mutex;

use chrono::Utc;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::Answer;

const HOUR_SECONDS: i64 = 60 * 60;

/// The check of tokens, which remembers those that may come once only.
pub(super) struct Tokens {
    client_id: String,
    secret: String,
    used: Mutex<HashSet<String>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "appId")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<Value>,
    exp: Option<i64>,
    #[serde(alias = "kore_jti", skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

impl Tokens {
    pub(super) fn new(client_id: String, secret: String) -> Self {
        Self {
            client_id,
            secret,
            used: Mutex::default(),
        }
    }

    /// A token that is accepted for ten years, again and again.
    pub(super) fn long_lived(&self) -> String {
        let claims = Claims {
            client_id: Some(self.client_id.clone()),
            sub: Some(Value::from("emulator")),
            exp: Some(Utc::now().timestamp() + 10 * 365 * 24 * HOUR_SECONDS),
            jti: None,
        };
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
            .expect("HS256 signs any claims with any secret")
    }

    /// The refusal of a token that was seen before.
    pub(super) fn replayed() -> Answer {
        let message = "error verifying the jwt: jti was seen before, possibly a replay";
        Answer::refusal(401, message, 401)
    }

    /// Checks the token of a request, as found in its `auth` header, by a clock that is ahead by `skew` seconds.
    pub(super) fn check(&self, token: Option<&str>, skew: i64) -> Result<(), Answer> {
        let token = token.ok_or_else(|| Answer::refusal(401, "Invalid SDK credentials", 4002))?;
        let mut validation = Validation::new(Algorithm::HS256);
        // Times are looked at below, where each refusal has its own words.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let key = DecodingKey::from_secret(self.secret.as_bytes());
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation)
            .map_err(|_| Answer::refusal(401, "Invalid JWT token", 4002))?
            .claims;

        if claims.client_id.as_deref() != Some(&self.client_id) {
            return Err(Answer::refusal(401, "Invalid SDK credentials", 4002));
        }
        let now = Utc::now().timestamp() + skew;
        let exp = claims
            .exp
            .ok_or_else(|| Answer::refusal(401, "Invalid JWT token", 4002))?;
        if exp <= now {
            let message = "error verifying the jwt: jwt expired";
            return Err(Answer::refusal(401, message, 401));
        }
        let Some(jti) = claims.jti else {
            return Ok(());
        };
        if exp > now + HOUR_SECONDS {
            let message = "error verifying the jwt: exp must be <= 1 hour(s)";
            return Err(Answer::refusal(401, message, 401));
        }
        let mut used = self.used.lock().expect("no holder of this lock panics");
        if !used.insert(jti) {
            return Err(Self::replayed());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens() -> Tokens {
        Tokens::new("cs-1".to_owned(), "secret".to_owned())
    }

    fn sign(claims: &Value, secret: &str, algorithm: Algorithm) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    fn refusal(tokens: &Tokens, token: &str) -> String {
        tokens.check(Some(token), 0).unwrap_err().body_text()
    }

    #[test]
    fn its_own_token_is_accepted_again_and_again() {
        let tokens = tokens();
        let token = tokens.long_lived();
        assert!(tokens.check(Some(&token), 0).is_ok());
        assert!(tokens.check(Some(&token), 0).is_ok());
    }

    #[test]
    fn a_token_with_a_jti_is_accepted_once_and_for_an_hour_at_most() {
        let tokens = tokens();
        let now = Utc::now().timestamp();
        let short = json!({"appId": "cs-1", "sub": 7, "iat": now, "exp": now + 300, "jti": "a", "aud": "x"});
        let token = sign(&short, "secret", Algorithm::HS256);
        assert!(tokens.check(Some(&token), 0).is_ok());
        assert_eq!(
            refusal(&tokens, &token),
            r#"{"errors":[{"msg":"error verifying the jwt: jti was seen before, possibly a replay","code":401}]}"#
        );
        let long = json!({"appId": "cs-1", "exp": now + 3_700, "jti": "b"});
        assert_eq!(
            refusal(&tokens, &sign(&long, "secret", Algorithm::HS256)),
            r#"{"errors":[{"msg":"error verifying the jwt: exp must be <= 1 hour(s)","code":401}]}"#
        );
    }

    #[test]
    fn refusals_have_the_bodies_of_the_vendor() {
        let tokens = tokens();
        let now = Utc::now().timestamp();
        let good = json!({"appId": "cs-1", "exp": now + 300});
        let invalid = r#"{"errors":[{"msg":"Invalid JWT token","code":4002}]}"#;
        let credentials = r#"{"errors":[{"msg":"Invalid SDK credentials","code":4002}]}"#;
        let missing = tokens.check(None, 0).unwrap_err();
        assert_eq!(missing.status(), 401);
        assert_eq!(missing.body_text(), credentials);
        assert_eq!(refusal(&tokens, "no token"), invalid);
        for token in [
            sign(&good, "other", Algorithm::HS256),
            sign(&good, "secret", Algorithm::HS512),
            sign(&json!({"appId": "cs-1"}), "secret", Algorithm::HS256),
        ] {
            assert_eq!(refusal(&tokens, &token), invalid);
        }
        let other = json!({"appId": "cs-2", "exp": now + 300});
        assert_eq!(
            refusal(&tokens, &sign(&other, "secret", Algorithm::HS256)),
            credentials
        );
        let old = json!({"appId": "cs-1", "exp": now - 1});
        assert_eq!(
            refusal(&tokens, &sign(&old, "secret", Algorithm::HS256)),
            r#"{"errors":[{"msg":"error verifying the jwt: jwt expired","code":401}]}"#
        );
    }
}
