//! Whether a store creates an object only if it is absent: all that keeps two commits apart.

use object_store::Error;
use uuid::Uuid;

use crate::error::LoadError;
use crate::location;
use crate::s3_answer::S3Answer;
use crate::store::LakeStore;

impl LakeStore {
    /// Creates an object twice; the second time it must be refused.
    ///
    /// # Errors
    /// [`LoadError::NoConditionalCreate`] when it is not; else when the store fails.
    pub async fn probe_create(&self) -> Result<(), LoadError> {
        let path = location::probe(&Uuid::new_v4());
        let said = match self.create(&path, "first".into()).await {
            // A create that was repeated after its answer was lost meets its own success.
            Ok(()) | Err(Error::AlreadyExists { .. }) => {
                let again = self.create(&path, "second".into()).await;
                self.delete(&path).await?;
                again
            }
            failed => failed,
        };
        let source = match said {
            Err(Error::AlreadyExists { .. }) => return Ok(()),
            Ok(()) => None,
            Err(error) if is_unknown(&error) => Some(error),
            Err(error) => return Err(LoadError::store("create", &path)(error)),
        };
        Err(LoadError::NoConditionalCreate {
            url: self.url().to_owned(),
            source,
        })
    }
}

/// Whether the store does not know what it was asked.
fn is_unknown(error: &Error) -> bool {
    let is_answer = S3Answer::among(error).is_some_and(|answer| answer.status == 501);
    is_answer
        || matches!(
            error,
            Error::NotImplemented { .. } | Error::NotSupported { .. }
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_creates_once_is_taken_and_left_as_it_was() {
        let store = LakeStore::open("memory://").await.unwrap();
        store.probe_create().await.unwrap();
        assert_eq!(store.list(&"".into(), None).await.unwrap(), []);
    }
}
