//! A connection between two nodes that can be cut: what is sent into a cut vanishes, and nobody is told.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Listens on loopback, and passes on to another address there. Ends with the process of the tests.
pub struct Proxy {
    pub address: SocketAddr,
    /// Bytes towards the other address vanish.
    pub there: Arc<AtomicBool>,
    /// Bytes back vanish.
    pub back: Arc<AtomicBool>,
}

impl Proxy {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), there: Arc::default(), back: Arc::default() };
        let (there, back) = (proxy.there.clone(), proxy.back.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (there, back) = (there.clone(), back.clone());
                thread::spawn(move || {
                    // With nobody there it closes, as the other side would refuse.
                    let Ok(server) = TcpStream::connect(target) else { return };
                    for socket in [&client, &server] {
                        socket.set_nodelay(true).unwrap();
                    }
                    let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    thread::spawn(move || pass(client, server, &there));
                    pass(server2, client2, &back);
                });
            }
        });
        proxy
    }

    pub fn cut(&self, there: bool, back: bool) {
        self.there.store(there, Ordering::SeqCst);
        self.back.store(back, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut buffer = [0; 16 * 1024];
    // A stream that lost bytes is of no use after the cut: it carries nothing more until its ends give it up.
    let mut lost = false;
    while let Ok(n) = from.read(&mut buffer)
        && n > 0
    {
        lost |= cut.load(Ordering::SeqCst);
        if !lost && to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    while cut.load(Ordering::SeqCst) {
        // Nor is it told that the other end has gone.
        thread::sleep(Duration::from_millis(20));
    }
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}
