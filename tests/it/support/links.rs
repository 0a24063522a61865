//! The lines between the nodes of a cluster, which can be cut one way or both. What is sent into a cut is held back and comes late, as TCP does
//! where packets are lost: nobody is told.

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

/// Nodes that can be told apart.
const NODES: usize = 8;

/// One listener for each node, on the address that the others know it by: 127.0.1.N, which passes on to 127.0.0.N.
#[derive(Clone, Default)]
pub struct Links(Arc<[[AtomicBool; NODES]; NODES]>);

impl Links {
    /// Listens for nodes 1 to `nodes`. Ends with the process of the tests.
    pub fn between(nodes: usize, port: u16) -> std::io::Result<Self> {
        let links = Self::default();
        for to in 1..=nodes {
            let listener = TcpListener::bind(format!("127.0.1.{to}:{port}"))?;
            let links = links.clone();
            thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    let (links, target) = (links.clone(), SocketAddr::from(([127, 0, 0, to as u8], port)));
                    thread::spawn(move || links.carry(client, target, to));
                }
            });
        }
        Ok(links)
    }

    fn cut(&self, from: usize, to: usize) -> &AtomicBool {
        &self.0[from][to]
    }

    /// Cuts (or mends) what a node hears, and what is heard of it.
    pub fn set(&self, node: usize, deaf: bool, mute: bool) {
        for other in (1..NODES).filter(|other| *other != node) {
            self.cut(other, node).store(deaf, Ordering::SeqCst);
            self.cut(node, other).store(mute, Ordering::SeqCst);
        }
    }

    fn carry(&self, mut client: TcpStream, target: SocketAddr, to: usize) {
        // Where nobody is it closes, as the other side would refuse.
        let Ok(mut server) = TcpStream::connect(target) else { return };
        for socket in [&client, &server] {
            socket.set_nodelay(true).unwrap();
        }
        // Who calls says so at first: its address is in the first bytes.
        let mut first = [0; 64];
        let Ok(n) = client.read(&mut first) else { return };
        let from = first[..n].windows(3).zip(3..n).find(|(three, _)| *three == [127, 0, 1]).map_or(0, |(_, at)| usize::from(first[at]));
        assert!((1..NODES).contains(&from), "who calls node {to}? {:?}", &first[..n]);
        self.wait(from, to);
        if server.write_all(&first[..n]).is_err() {
            return;
        }
        let (client_back, server_back, links) = (client.try_clone().unwrap(), server.try_clone().unwrap(), self.clone());
        thread::spawn(move || links.pass(server_back, client_back, to, from));
        self.pass(client, server, from, to);
    }

    fn wait(&self, from: usize, to: usize) {
        while self.cut(from, to).load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn pass(&self, mut source: TcpStream, mut sink: TcpStream, from: usize, to: usize) {
        let mut buffer = [0; 64 * 1024];
        while let Ok(n) = source.read(&mut buffer)
            && n > 0
        {
            self.wait(from, to);
            if sink.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        // Nor is it told that the other end has gone.
        self.wait(from, to);
        let _ = (sink.shutdown(Shutdown::Both), source.shutdown(Shutdown::Both));
    }
}
