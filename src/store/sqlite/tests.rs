use super::*;
use crate::store::{Store, conformance::store_conformance_suite};
use std::sync::Arc;

async fn store() -> (SqliteStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = File::open(&dir.path().join("t.db"), 2).unwrap();
    (SqliteStore::open(file).await.unwrap(), dir)
}

async fn make() -> (Arc<dyn Store>, tempfile::TempDir) {
    let (store, dir) = store().await;
    (Arc::new(store), dir)
}

mod conformance {
    use super::*;
    store_conformance_suite!(make().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_becomes_a_store_and_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SqliteStore::open(File::open(&dir.path().join("t.db"), 1).unwrap());
    open().await.unwrap();
    let store = open().await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.outbox_counts().await.unwrap(), Default::default());
}
