//! A lake on S3.

use std::sync::LazyLock;

use answerlake_load::{LakeAddress, LakeStore, StoreAccess};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use super::{Lake, Place, Program, S3Server, python};

/// The S3 server of all tests of this binary.
static SERVER: LazyLock<S3Server> = LazyLock::new(|| S3Server::start(&python()));

/// A lake in a bucket of its own.
pub(crate) struct Bucket {
    name: String,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        Self {
            name: SERVER.new_bucket(),
        }
    }

    /// The lake's address.
    pub(crate) fn url(&self) -> String {
        format!("s3://{}/a lake/b", self.name)
    }

    /// Where the server listens.
    pub(crate) fn endpoint(&self) -> String {
        SERVER.url()
    }

    /// The program, working on this lake.
    pub(crate) fn of(&self, program: Program) -> Program {
        let program = program.with("--lake", &self.url());
        let variables = SERVER.variables().into_iter();
        variables.fold(program, |program, (name, value)| {
            program.environment(&name, &value)
        })
    }

    /// All that is in the lake now, as a lake on disk.
    pub(crate) fn copy(&self, place: &Place, name: &str) -> Lake {
        let lake = place.lake_named(name);
        let address = LakeAddress::from(&self.url()).with_access(StoreAccess {
            variables: Some(SERVER.variables().into()),
            ..StoreAccess::default()
        });
        let copied = async {
            let store = LakeStore::open(address).await.unwrap().object_store();
            let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
            for object in objects {
                let bytes = store.get(&object.location).await.unwrap();
                let bytes = bytes.bytes().await.unwrap();
                place.write(&format!("{name}/{}", object.location), bytes);
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(copied);
        lake
    }
}
