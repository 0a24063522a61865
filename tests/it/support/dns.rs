//! A DNS server on loopback, over UDP and TCP, for TXT records that come and go; and the ways in which such servers fail.

use hickory_resolver::proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{CNAME, NS, TXT},
    },
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

/// How it answers for a name.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These records, each as strings of at most 255 bytes. More than fits goes over TCP.
    Records(Vec<String>),
    /// The name exists, and has no TXT record.
    Empty,
    /// Records after a while.
    Slow(Duration, Vec<String>),
    /// An alias (CNAME) of another name, whose records come with it.
    Alias(String, Vec<String>),
    /// No answer, but who else could be asked.
    Referral,
    /// SERVFAIL.
    Fails,
    /// Nothing at all.
    Silent,
    /// Bytes that are no message.
    Garbage,
}

#[derive(Default)]
struct Shared {
    /// By name, in small letters, without the dot at its end; others don't exist (NXDOMAIN).
    names: Mutex<HashMap<String, Answer>>,
    asked: AtomicUsize,
    over_tcp: AtomicUsize,
}

/// The running server.
pub struct DnsServer {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

impl DnsServer {
    pub async fn start() -> Self {
        let shared = Arc::<Shared>::default();
        // The same port for both: perhaps not the first one that TCP gets.
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let addr = tcp.local_addr().unwrap();
        tokio::spawn(serve_tcp(tcp, shared.clone()));
        tokio::spawn(serve_udp(Arc::new(udp), shared.clone()));
        Self { addr, shared }
    }

    pub fn set(&self, name: &str, answer: Answer) {
        self.shared.names.lock().unwrap().insert(name.to_owned(), answer);
    }
    pub fn publish(&self, name: &str, values: &[&str]) {
        self.set(name, Answer::Records(values.iter().map(ToString::to_string).collect()));
    }
    /// The name is gone.
    pub fn withdraw(&self, name: &str) {
        self.shared.names.lock().unwrap().remove(name);
    }
    /// Questions so far, and those of them that came over TCP.
    pub fn asked(&self) -> (usize, usize) {
        (self.shared.asked.load(Ordering::SeqCst), self.shared.over_tcp.load(Ordering::SeqCst))
    }
}

/// The answer to a question; `None`: there is none.
async fn answer(shared: &Shared, question: &[u8], longest: usize) -> Option<Vec<u8>> {
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let asked = Message::from_vec(question).unwrap();
    let query = asked.queries[0].clone();
    let name = query.name().to_utf8().trim_end_matches('.').to_lowercase();
    let found = shared.names.lock().unwrap().get(&name).cloned();
    let mut reply = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_desired = true;
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    let records = match found {
        None => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            Vec::new()
        }
        Some(Answer::Fails) => {
            reply.metadata.response_code = ResponseCode::ServFail;
            Vec::new()
        }
        Some(Answer::Alias(to, records)) => {
            let to = Name::from_ascii(format!("{to}.")).unwrap();
            reply.add_answer(Record::from_rdata(query.name().clone(), 60, RData::CNAME(CNAME(to.clone()))));
            for text in &records {
                reply.add_answer(Record::from_rdata(to.clone(), 60, RData::TXT(TXT::from_bytes(vec![text.as_bytes()]))));
            }
            Vec::new()
        }
        Some(Answer::Referral) => {
            let server = Name::from_ascii("ns.example.net.").unwrap();
            reply.add_authority(Record::from_rdata(Name::from_ascii("org.").unwrap(), 60, RData::NS(NS(server))));
            Vec::new()
        }
        Some(Answer::Silent) => return None,
        Some(Answer::Garbage) => return Some(b"nothing of the kind".to_vec()),
        Some(Answer::Empty) => Vec::new(),
        Some(Answer::Slow(time, records)) => {
            tokio::time::sleep(time).await;
            records
        }
        Some(Answer::Records(records)) => records,
    };
    for text in records {
        let strings: Vec<&[u8]> = text.as_bytes().chunks(255).collect();
        reply.add_answer(Record::from_rdata(query.name().clone(), 60, RData::TXT(TXT::from_bytes(strings))));
    }
    let whole = reply.to_vec().unwrap();
    if whole.len() <= longest {
        return Some(whole);
    }
    reply.answers.clear();
    reply.metadata.truncation = true;
    Some(reply.to_vec().unwrap())
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let (question, socket, shared) = (buffer[..length].to_vec(), socket.clone(), shared.clone());
        tokio::spawn(async move {
            if let Some(reply) = answer(&shared, &question, 512).await {
                socket.send_to(&reply, from).await.unwrap();
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_stream(stream, shared.clone()));
    }
}

async fn serve_stream(stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let (mut questions, replies) = stream.into_split();
    let replies = Arc::new(tokio::sync::Mutex::new(replies));
    loop {
        let mut question = vec![0; usize::from(questions.read_u16().await?)];
        questions.read_exact(&mut question).await?;
        shared.over_tcp.fetch_add(1, Ordering::SeqCst);
        // One that is slow doesn't hold up the others (RFC 7766, 6.2.1.1).
        let (shared, replies) = (shared.clone(), replies.clone());
        tokio::spawn(async move {
            if let Some(reply) = answer(&shared, &question, usize::from(u16::MAX)).await {
                let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                // Whoever asked may be gone.
                let _ = replies.lock().await.write_all(&[&length, &*reply].concat()).await;
            }
        });
    }
}
