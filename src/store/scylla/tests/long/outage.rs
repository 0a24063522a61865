//! A store that can't be reached, or answers nothing: calls end soon, and it goes on by itself.

use super::super::*;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Beyond the time-out of a call. Two statements with nothing but their own time-outs, one after the other, take more.
const LATE: Duration = Duration::from_secs(1);
/// Of a whole call: two seconds are promised.
const WHOLE: Duration = Duration::from_millis(1900);
/// The driver alone may wait for so long before it tries to connect again.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// What stands between us and the store does.
const PASSES: u8 = 0;
const SWALLOWS: u8 = 1;
const CUTS: u8 = 2;

/// A way to the store that can be blocked; the address of its near end.
async fn way(mood: Arc<AtomicU8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = listener.local_addr().unwrap().to_string();
    let far = place().nodes.remove(0);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            if mood.load(Ordering::SeqCst) == CUTS {
                continue;
            }
            let server = TcpStream::connect(&far).await.unwrap();
            let ((cr, cw), (sr, sw)) = (client.into_split(), server.into_split());
            tokio::spawn(carry(cr, sw, mood.clone()));
            tokio::spawn(carry(sr, cw, mood.clone()));
        }
    });
    near
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mood: Arc<AtomicU8>) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok(Ok(n)) = tokio::time::timeout(Duration::from_millis(50), from.read(&mut buffer)).await.or_else(|_| {
            // Nothing to carry: is the way still open?
            if mood.load(Ordering::SeqCst) == CUTS { Err(()) } else { Ok::<_, ()>(Ok(usize::MAX)) }
        }) else {
            return;
        };
        match (n, mood.load(Ordering::SeqCst)) {
            (0, _) | (_, CUTS) => return,
            (usize::MAX, _) | (_, SWALLOWS) => {}
            _ if to.write_all(&buffer[..n]).await.is_err() => return,
            _ => {}
        }
    }
}

async fn an_outage(how: u8) {
    drop(store().await);
    let mood = Arc::new(AtomicU8::new(PASSES));
    let place = Place { nodes: vec![way(mood.clone()).await], timeout: WHOLE, ..place() };
    let store: S = Arc::new(ScyllaStore::open(&place, Arc::new(SystemClock), Arc::new(SystemRng)).await.unwrap());
    let p = person(&store).await;
    mood.store(how, Ordering::SeqCst);
    // Reads and commands, many at once, for some seconds: each ends within two, and says that nothing is known to be done.
    for _ in 0..3 {
        let mut ends = at_once(65, |i| {
            let (store, p) = (store.clone(), p.clone());
            async move {
                let begun = Instant::now();
                let failed = match i % 3 {
                    // The last one is a clock that ends with them: where the machine is late, it is late too.
                    _ if i == 64 => {
                        tokio::time::sleep(WHOLE).await;
                        true
                    }
                    0 => store.user(p.user.id).await.is_err(),
                    1 => store.create_session(&ctx(T), sign_in(&p, 1, T)).await.is_err(),
                    _ => store.create_user(&ctx(T), newcomer(T)).await.is_err(),
                };
                (failed, begun.elapsed())
            }
        })
        .await;
        let (_, clock) = ends.pop().unwrap();
        for (failed, took) in ends {
            assert!(failed, "the store is out of reach");
            assert!(took < clock + LATE, "{took:?}, where {WHOLE:?} took {clock:?}");
        }
    }
    // Until the driver tries seldom: an outage that lasts.
    tokio::time::sleep(Duration::from_secs(4)).await;
    mood.store(PASSES, Ordering::SeqCst);
    let back = Instant::now();
    while store.ping().await.is_err() {
        assert!(back.elapsed() < BACK_WITHIN, "it doesn't come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(user(&store, p.user.id).await.id, p.user.id, "what was acknowledged is there");
    println!("outage {how}: back after {:?}", back.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_connections() {
    an_outage(CUTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_answers_nothing() {
    an_outage(SWALLOWS).await;
}
