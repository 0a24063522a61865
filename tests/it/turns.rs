//! The turn at an address, on a real store: whatever becomes of who has it, the next one gets it.

use async_trait::async_trait;
use futures_util::{FutureExt, future::LocalBoxFuture};
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
use tokio::time::timeout;

/// So long somebody may have the turn.
const TURN: Duration = Duration::from_secs(5);

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

    async fn ask(&self, command: ContactCommand) -> Result<ContactReply, AskError> {
        let digest = "somebody@example.com".parse::<Email>().unwrap().digest();
        self.directory.ask(digest, None, command).await
    }

    async fn enter(&self) -> Result<ContactReply, AskError> {
        self.ask(ContactCommand::Enter).await
    }

    /// Waits until the actor has done with all that it was told before: it takes one command at a time.
    async fn has_done_all(&self) {
        let done = self.ask(ContactCommand::Forget).await;
        assert!(matches!(done, Ok(ContactReply::Done)), "{done:?}");
    }

    async fn turn(&self) -> Turn {
        match self.enter().await {
            Ok(ContactReply::Turn(turn)) => turn,
            other => panic!("{other:?}"),
        }
    }

    /// A turn that does not come by its time being over: that would take [`TURN`].
    async fn turn_at_once(&self) -> Turn {
        timeout(TURN - Duration::from_secs(1), self.turn()).await.expect("the turn is lost")
    }

    /// Who stands in the row, where somebody has the turn.
    async fn waiting(&self) -> LocalBoxFuture<'_, Turn> {
        let mut waiting = self.turn().boxed_local();
        assert!((&mut waiting).now_or_never().is_none(), "somebody has the turn");
        self.has_done_all().await;
        waiting
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_costs_no_time() {
    let contacts = Contacts::new().await;
    for _ in 0..10 {
        // Its request is cut off after the actor has answered and before the answer is looked at.
        let mut leaving = Box::pin(contacts.enter());
        drop((&mut leaving).now_or_never());
        contacts.has_done_all().await;
        drop(leaving);
        drop(contacts.turn_at_once().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_dropped_goes_to_who_waits() {
    let contacts = Contacts::new().await;
    let held = contacts.turn().await;
    let waiting = contacts.waiting().await;
    drop(held);
    timeout(TURN - Duration::from_secs(1), waiting).await.expect("the turn is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_kept_too_long_goes_on_by_itself() {
    let contacts = Contacts::new().await;
    let began = Instant::now();
    let _kept = contacts.turn().await;
    // Both wait already when the time is over, and nobody else comes.
    tokio::join!(async { drop(contacts.turn().await) }, async { drop(contacts.turn().await) });
    let took = began.elapsed();
    // Below the ten seconds of two turns in a row.
    assert!(TURN <= took && took < Duration::from_secs(9), "{took:?}");
}

/// The turn among all nodes ends after eight seconds, and one here may last five: past three, the next one here gets a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_crowd_stands_in_the_row_of_all_nodes_again() {
    let nodes = Arc::new(Counted::default());
    let contacts = Contacts::placed(nodes.clone()).await;
    let mut held = contacts.turn().await;
    for (time, asked) in [(Duration::ZERO, 1), (Duration::from_millis(3100), 2), (Duration::ZERO, 2)] {
        let next = contacts.waiting().await;
        tokio::time::sleep(time).await;
        drop(held);
        held = next.await;
        assert_eq!(nodes.0.load(Ordering::SeqCst), asked, "after {time:?}");
    }
}
