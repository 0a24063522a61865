//! The turn at an address, on a real store: whatever becomes of who has it, the next one gets it.

use async_trait::async_trait;
use futures_util::FutureExt;
use qeetid::{
    actors::{
        contact::{Contact, ContactCommand, ContactReply, Turn},
        directory::{AskError, Bounds, Directory},
        placement::{Alone, NodeTurn, Placement},
        supervisor::Supervisor,
    },
    domain::{contact::Email, keyring::Keyring},
    ephemeral::embedded::Embedded,
    sqlite::File,
    store::sqlite::SqliteStore,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Has all turns among all nodes, and counts them.
#[derive(Default)]
struct Counted(AtomicUsize);

#[async_trait]
impl Placement for Counted {
    async fn turn(&self, _: &'static str, _: &[u8]) -> NodeTurn {
        self.0.fetch_add(1, Ordering::SeqCst);
        NodeTurn::held(())
    }
}

struct Contacts {
    directory: Arc<Directory<Contact>>,
    _dir: tempfile::TempDir,
    _supervisor: Supervisor,
}

impl Contacts {
    async fn new() -> Self {
        Self::placed(Arc::new(Alone)).await
    }

    async fn placed(placement: Arc<dyn Placement>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = File::open(&dir.path().join("t.db"), 2).unwrap();
        let store = Arc::new(SqliteStore::open(file.clone()).await.unwrap());
        let ephemeral = Arc::new(Embedded::open(file).await.unwrap());
        let keyring = Arc::new(Keyring::new([&[7; 32][..]]));
        let supervisor = Supervisor::start().await.unwrap();
        let directory = Directory::new(&supervisor, Bounds::default(), move |digest| {
            Contact::new(digest, store.clone(), ephemeral.clone(), keyring.clone(), placement.clone())
        });
        Self { directory, _dir: dir, _supervisor: supervisor }
    }

    async fn enter(&self) -> Result<ContactReply, AskError> {
        let digest = "somebody@example.com".parse::<Email>().unwrap().digest();
        self.directory.ask(digest, None, ContactCommand::Enter).await
    }

    async fn turn(&self) -> Turn {
        match self.enter().await {
            Ok(ContactReply::Turn(turn)) => turn,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_costs_no_time() {
    let contacts = Contacts::new().await;
    let began = Instant::now();
    for _ in 0..10 {
        // Its request is cut off after the actor has answered and before the answer is looked at.
        let mut leaving = Box::pin(contacts.enter());
        drop((&mut leaving).now_or_never());
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(leaving);
        drop(contacts.turn().await);
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_dropped_goes_to_who_waits() {
    let contacts = Contacts::new().await;
    let held = contacts.turn().await;
    let waiting = contacts.turn();
    let dropping = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(held);
    };
    let began = Instant::now();
    tokio::join!(waiting, dropping);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_kept_too_long_goes_on_by_itself() {
    let contacts = Contacts::new().await;
    let _kept = contacts.turn().await;
    // Both wait already when the time is over, and nobody else comes.
    let waiting = async { tokio::join!(async { drop(contacts.turn().await) }, async { drop(contacts.turn().await) }) };
    let began = Instant::now();
    waiting.await;
    let took = began.elapsed();
    assert!(Duration::from_secs(4) < took && took < Duration::from_secs(9), "{took:?}");
}

/// The turn among all nodes ends after eight seconds, and one here may last five: past three, the next one here gets a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_crowd_stands_in_the_row_of_all_nodes_again() {
    let nodes = Arc::new(Counted::default());
    let contacts = Contacts::placed(nodes.clone()).await;
    let mut held = contacts.turn().await;
    for (time, asked) in [(Duration::from_millis(20), 1), (Duration::from_millis(3100), 2), (Duration::from_millis(20), 2)] {
        let (next, ()) = tokio::join!(contacts.turn(), async {
            tokio::time::sleep(time).await;
            drop(held);
        });
        held = next;
        assert_eq!(nodes.0.load(Ordering::SeqCst), asked, "after {time:?}");
    }
}
