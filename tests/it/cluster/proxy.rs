//! A connection that can be cut, between two nodes or between a node and its Redis: what is sent into a cut vanishes, and nobody is told.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Listens on loopback, and passes on to another address there. Ends with the process of the tests.
pub struct Proxy {
    pub address: SocketAddr,
    valves: Arc<Valves>,
}

#[derive(Default)]
struct Valves {
    /// Bytes towards the other address vanish.
    there: AtomicBool,
    /// Bytes back vanish.
    back: AtomicBool,
    /// What a Redis tells subscribers vanishes, and nothing else does.
    deaf: AtomicBool,
    /// Bytes that subscribers were not told.
    untold: AtomicUsize,
    /// Connections that have been made.
    made: AtomicUsize,
}

impl Proxy {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), valves: Arc::default() };
        let valves = proxy.valves.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let valves = valves.clone();
                valves.made.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    // With nobody there it closes, as the other side would refuse.
                    let Ok(server) = TcpStream::connect(target) else { return };
                    for socket in [&client, &server] {
                        socket.set_nodelay(true).unwrap();
                    }
                    let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    let subscribed = Arc::new(AtomicBool::new(false));
                    let (valves2, subscribed2) = (valves.clone(), subscribed.clone());
                    thread::spawn(move || {
                        pass(client, server, &valves2.there, |bytes| {
                            if bytes.windows(9).any(|w| w == b"SUBSCRIBE") {
                                subscribed2.store(true, Ordering::SeqCst);
                            }
                            true
                        });
                    });
                    pass(server2, client2, &valves.back, |bytes| {
                        let told = !(subscribed.load(Ordering::SeqCst) && valves.deaf.load(Ordering::SeqCst));
                        if !told {
                            valves.untold.fetch_add(bytes.len(), Ordering::SeqCst);
                        }
                        told
                    });
                });
            }
        });
        proxy
    }

    fn made(&self) -> usize {
        self.valves.made.load(Ordering::SeqCst)
    }

    /// Waits until each of them has been called so many times more.
    pub fn are_called(proxies: &[&Self], more: usize) {
        let enough: Vec<usize> = proxies.iter().map(|p| p.made() + more).collect();
        let began = Instant::now();
        while proxies.iter().zip(&enough).any(|(p, enough)| p.made() < *enough) {
            let made: Vec<usize> = proxies.iter().map(|p| p.made()).collect();
            assert!(began.elapsed() < Duration::from_secs(60), "called {made:?} times, not {enough:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn cut(&self, there: bool, back: bool) {
        self.cut_there(there);
        self.cut_back(back);
    }
    pub fn cut_there(&self, cut: bool) {
        self.valves.there.store(cut, Ordering::SeqCst);
    }
    pub fn cut_back(&self, cut: bool) {
        self.valves.back.store(cut, Ordering::SeqCst);
    }

    pub fn deafen(&self, deaf: bool) {
        self.valves.deaf.store(deaf, Ordering::SeqCst);
    }

    /// How much subscribers have missed.
    pub fn untold(&self) -> usize {
        self.valves.untold.load(Ordering::SeqCst)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool, wanted: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 16 * 1024];
    // A stream that lost bytes is of no use after the cut: it carries nothing more until its ends give it up.
    let mut lost = false;
    while let Ok(n) = from.read(&mut buffer)
        && n > 0
    {
        lost |= cut.load(Ordering::SeqCst);
        if !lost && wanted(&buffer[..n]) && to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    while cut.load(Ordering::SeqCst) {
        // Nor is it told that the other end has gone.
        thread::sleep(Duration::from_millis(20));
    }
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}
