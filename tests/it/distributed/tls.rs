//! TLS to a real node: whose certificate is good, and what is said of one that isn't.

use crate::support::{
    app::{App, command},
    cassandra::Cassandra,
    certs::Authority,
    stack::Place,
};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The node at an address that its certificate doesn't name; at the same port, which is called there as well.
async fn elsewhere(node: String) -> String {
    let address = node.replace("127.0.0.1", "127.0.0.9");
    let listener = TcpListener::bind(&address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let node = node.clone();
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(node).await {
                    // Whichever end closes.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    address
}

/// What `migrate` says of a URL that it can't work with.
async fn refused(url: &str) -> String {
    let mut command = command(&[]);
    command.arg("migrate").envs(Place::at(url).env).env("QEETID_DATA_DIR", "/nowhere");
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = tokio::time::timeout(Duration::from_secs(180), run).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{url}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_prove_who_they_are_and_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    Authority::new().write(dir.path(), "127.0.0.1");
    Authority::new().write(&dir.path().join("stranger"), "127.0.0.1");
    let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).unwrap();
    let (pem, ca, stranger) = (dir.path().join("node.pem"), dir.path().join("ca.pem"), dir.path().join("stranger/ca.pem"));
    std::fs::write(&pem, read("key.pem") + &read("cert.pem")).unwrap();
    let cassandra = Cassandra::with(1, &[("CASSANDRA_PEM", pem.to_str().unwrap())]).await;
    let url = |host: &str, tls: &str| format!("scylla://{host}/tls?rf=1{tls}").replace("CA", ca.to_str().unwrap());
    let (node, moved) = (cassandra.hosts(), elsewhere(cassandra.hosts()).await);

    let app = App::builder().on(&Place::at(&url(&node, "&tls=on&ca=CA"))).start().await;
    let who = app.signup().await;
    drop(app);
    let app = App::builder().on(&Place::at(&url(&moved, "&tls=any-name&ca=CA"))).start().await;
    app.login(&who.email, &who.password).await.expect(200);
    drop(app);

    let of_stranger = format!("&ca={}", stranger.display());
    for (what, url, words) in [
        ("another authority", url(&node, &format!("&tls=on{of_stranger}")), "invalid peer certificate"),
        ("another authority, whatever the name", url(&node, &format!("&tls=any-name{of_stranger}")), "invalid peer certificate"),
        ("another name", url(&moved, "&tls=on&ca=CA"), "not valid for name"),
        ("no TLS", url(&node, ""), "no connection"),
    ] {
        let said = refused(&url).await;
        println!("{what}: {said}");
        assert!(said.contains("no connection to") && said.contains(words), "{what}: {said}");
    }
}
