use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_becomes_a_store_and_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SqliteStore::open(File::open(&dir.path().join("t.db"), 1).unwrap());
    open().await.unwrap();
    let store = open().await.unwrap();
    crate::store::Store::ping(&store).await.unwrap();
    assert_eq!(crate::store::Store::outbox_counts(&store).await.unwrap(), Default::default());
}
