//! What the framework alone can do here: a poem server that answers the bytes of the service's own answers, and nothing else.
//! It runs as a process of its own, as the service does.

use poem::{EndpointExt, Route, Server, get, handler, http::StatusCode, listener::TcpListener, post, web::Data};
use std::{net::SocketAddr, process::Stdio, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};

/// Answers to give.
struct Bytes {
    me: Vec<u8>,
    refresh: Vec<u8>,
    sign_up: Vec<u8>,
}

fn json(status: StatusCode, body: &[u8]) -> poem::Response {
    poem::Response::builder().status(status).content_type("application/json; charset=utf-8").body(body.to_vec())
}

#[handler]
fn me(bytes: Data<&Arc<Bytes>>) -> poem::Response {
    json(StatusCode::OK, &bytes.me)
}

#[handler]
async fn refresh(bytes: Data<&Arc<Bytes>>, body: poem::Body) -> poem::Result<poem::Response> {
    body.into_bytes().await?;
    Ok(json(StatusCode::OK, &bytes.refresh))
}

#[handler]
async fn sign_up(bytes: Data<&Arc<Bytes>>, body: poem::Body) -> poem::Result<poem::Response> {
    body.into_bytes().await?;
    Ok(json(StatusCode::CREATED, &bytes.sign_up))
}

/// The other process: reads the three bodies from its standard input, one a line, says where it listens, and serves.
pub async fn serve() -> Result<(), String> {
    let mut said = Vec::new();
    tokio::io::stdin().read_to_end(&mut said).await.map_err(|e| e.to_string())?;
    let mut lines = said.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    let mut next = || lines.next().ok_or("three lines are wanted");
    let bytes = Arc::new(Bytes { me: next()?, refresh: next()?, sign_up: next()? });
    let socket = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let address = socket.local_addr().map_err(|e| e.to_string())?;
    drop(socket);
    let app =
        Route::new().at("/v1/auth/me", get(me)).at("/v1/auth/refresh", post(refresh)).at("/v1/auth/signup", post(sign_up)).data(bytes);
    println!("{address}");
    Server::new(TcpListener::bind(address)).run(app).await.map_err(|e| e.to_string())
}

/// A running bare server; killed when dropped.
pub struct Bare {
    pub address: SocketAddr,
    _child: Child,
}

impl Bare {
    /// Starts one that answers these bodies, which have no line ends.
    pub async fn start(me_body: &[u8], refresh_body: &[u8], sign_up_body: &[u8]) -> Result<Self, String> {
        let exe = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new(exe);
        command.arg("bare").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| e.to_string())?;
        let mut stdin = child.stdin.take().ok_or("no stdin")?;
        tokio::io::AsyncWriteExt::write_all(&mut stdin, &[me_body, refresh_body, sign_up_body].join(&b'\n'))
            .await
            .map_err(|e| e.to_string())?;
        drop(stdin);
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let line = lines.next_line().await.map_err(|e| e.to_string())?.ok_or("the bare server ended")?;
        let address = line.parse().map_err(|_| format!("no address: {line}"))?;
        // It listens a moment after it said so.
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(Self { address, _child: child });
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Err("the bare server does not listen".into())
    }
}
