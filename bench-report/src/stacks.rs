//! The same binary on shared stores: what an operation costs there and on several nodes, for how long a node that dies is missed, and what
//! a crowd of sign-ups of one address does to the store.
//!
//! `BENCH_CQL` and `BENCH_REDIS` say where a CQL server and a Redis are; `tests/servers` starts both. `BENCH_CQL_SEVERAL` names the nodes of
//! a second one that has several (with commas), for the crowd.

use crate::{USERS, client::Client, crowd, figures::number, load::Seen, logins, me, refreshes, server::Server, sign_up, sign_ups, turning};
use hyper::Method;
use scylla::{client::session_builder::SessionBuilder, errors::ExecutionError, statement::Statement};
use serde_json::json;
use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Where the stores are.
pub struct Stores {
    /// `host:port`, several with commas.
    pub cql: String,
    /// The same, for what is about several nodes of the store.
    pub several: String,
    /// `host:port`.
    pub redis: String,
}

/// Of a crowd.
const CROWD: usize = 1000;
/// A request that takes longer, beside the slowest of before, was held up by the node that died.
const HELD_UP: Duration = Duration::from_millis(100);

/// Nodes on a keyspace of their own.
struct Nodes(Vec<Server>);

impl Nodes {
    /// Starts so many, each with so many hash threads; one alone is no cluster.
    async fn start(binary: &Path, cql: &str, redis: &str, count: usize, threads: usize) -> Result<Self, String> {
        let unique = std::time::UNIX_EPOCH.elapsed().map_err(|e| e.to_string())?.as_micros();
        let copies = cql.split(',').count();
        let mut shared = vec![
            ("QEETID_STORE_URL", format!("scylla://{cql}/bench{unique}?rf={copies}")),
            ("QEETID_EPHEMERAL_URL", format!("redis://{redis}/{}", unique % 4000 + 1)),
            ("QEETID_SECRET", "5a".repeat(32)),
            ("QEETID_HASH_THREADS", threads.to_string()),
        ];
        crowd::run(binary, &shared, &["migrate"]).await?;
        let listen = (0..count).map(|_| free()).collect::<Result<Vec<_>, _>>()?;
        if count > 1 {
            shared.push(("QEETID_CLUSTER_COOKIE", "bench cookie of thirty-two letters and more".into()));
        }
        let mut nodes = Vec::new();
        for at in &listen {
            let mut own = shared.clone();
            if count > 1 {
                let seeds = listen.iter().filter(|other| *other != at).map(ToString::to_string).collect::<Vec<_>>().join(",");
                own.push(("QEETID_CLUSTER_LISTEN", at.to_string()));
                own.push(("QEETID_CLUSTER_NODE", format!("node-{}", at.port())));
                own.push(("QEETID_CLUSTER_SEEDS", seeds));
            }
            let own: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
            nodes.push(Server::start(binary, &own).await?);
        }
        // All of them have to know of each other.
        for node in &nodes {
            let began = Instant::now();
            while count > 1 && !metrics(node.address).await?.contains(&format!("qeetid_cluster_members {count}")) {
                if began.elapsed() > Duration::from_secs(30) {
                    return Err("the nodes don't find each other".into());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(Self(nodes))
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|s| s.address).collect()
    }

    fn cpu_seconds(&self) -> f64 {
        self.0.iter().map(Server::cpu_seconds).sum()
    }
}

fn free() -> Result<SocketAddr, String> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    socket.local_addr().map_err(|e| e.to_string())
}

async fn metrics(address: SocketAddr) -> Result<String, String> {
    let answer = Client::new(address).send(Method::GET, "/metrics", None, None).await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

/// CPU seconds that the whole machine has spent.
fn machine_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    // User, nice, system; then idle and waiting, which are no work; then interrupts.
    let ticks = first.split_whitespace().skip(1).map(|n| n.parse::<f64>().unwrap_or(0.0)).enumerate();
    ticks.filter(|(n, _)| matches!(n, 0..=2 | 5 | 6)).map(|(_, ticks)| ticks).sum::<f64>() / 100.0
}

/// What one kind of request did.
struct Cost {
    name: &'static str,
    rate: f64,
    p99: f64,
    /// Of our processes, in µs for each.
    cpu: f64,
    /// Of our processes, of all that the machine did meanwhile.
    share: f64,
    /// What was not answered as wished.
    others: String,
}

async fn cost(name: &'static str, nodes: &Nodes, status: u16, load: impl Future<Output = Seen>) -> Cost {
    let (ours, all) = (nodes.cpu_seconds(), machine_seconds());
    let seen = load.await;
    let (ours, all) = (nodes.cpu_seconds() - ours, machine_seconds() - all);
    let others = if seen.times.len() > 1 { seen.statuses() } else { String::new() };
    Cost {
        name,
        rate: seen.rate(status),
        p99: seen.ms(status, 0.99),
        cpu: ours / seen.count(status) as f64 * 1e6,
        share: ours / all,
        others,
    }
}

/// Every operation, at 64 connections that go to the nodes in turn.
async fn costs(nodes: &Nodes, time: Duration) -> Result<Vec<Cost>, String> {
    let at = nodes.addresses();
    let tokens = Arc::new(sign_up(at[0]).await?);
    let turning = turning(&tokens);
    // Revocations are read by every node, within a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    // What is first used is first made.
    refreshes(&at, turning.clone(), 64, Duration::from_secs(1)).await;
    let all = vec![
        cost("me", nodes, 200, me(&at, tokens.clone(), 64, time, Duration::ZERO)).await,
        cost("refresh", nodes, 200, refreshes(&at, turning, 64, time)).await,
        cost("sign-up", nodes, 201, sign_ups(&at, 64, time, 0)).await,
        cost("login", nodes, 200, logins(&at, 64, time, true)).await,
    ];
    Ok(all)
}

/// From the death of a node to the end of the last request at the others that failed or was held up.
async fn a_death(nodes: &mut Nodes) -> Result<(Duration, String), String> {
    let at = nodes.addresses();
    let tokens = sign_up(at[0]).await?;
    let began = Instant::now();
    let (before, time) = (Duration::from_secs(5), Duration::from_secs(15));
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let (address, mut refresh) = (at[number % 2], tokens[number].1.clone());
            tokio::spawn(async move {
                let mut client = Client::new(address);
                let mut seen = Vec::new();
                let mut round = 0;
                while began.elapsed() < time {
                    let sent = began.elapsed();
                    let answer = match round % 4 {
                        0 => {
                            let email = format!("death-{number}-{round}@example.com");
                            client.post("/v1/auth/signup", json!({"email": email, "password": "violet harbour lantern"})).await
                        }
                        _ => client.post("/v1/auth/refresh", json!({"refresh_token": refresh})).await,
                    };
                    let status = answer.as_ref().map_or(0, |a| a.status);
                    if let (Ok(a), 200) = (&answer, status) {
                        refresh = a.text("refresh_token");
                    }
                    seen.push((round % 4 == 0, sent, began.elapsed(), status));
                    round += 1;
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
                seen
            })
        })
        .collect();
    tokio::time::sleep(before).await;
    let killed = began.elapsed();
    nodes.0[2].kill().await?;
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.map_err(|e| e.to_string())?);
    }
    // Sign-ups hash, so they are compared with sign-ups.
    let slowest = |sign_up: bool| {
        let quiet = all.iter().filter(|(kind, sent, done, _)| *kind == sign_up && *sent > Duration::from_secs(1) && *done < killed);
        quiet.map(|(_, sent, done, _)| *done - *sent).max().unwrap_or_default()
    };
    let bounds = [slowest(false) + HELD_UP, slowest(true) + HELD_UP];
    let after = all.iter().filter(|(_, _, done, _)| *done >= killed);
    let hit: Vec<_> = after
        .clone()
        .filter(|(sign_up, sent, done, status)| !matches!(status, 200 | 201) || *done - *sent > bounds[usize::from(*sign_up)])
        .collect();
    let last = hit.iter().map(|(_, _, done, _)| *done - killed).max().unwrap_or_default();
    let failed = hit.iter().filter(|(.., status)| !matches!(status, 200 | 201)).count();
    let longest = hit.iter().map(|(_, sent, done, _)| *done - *sent).max().unwrap_or_default();
    let about = format!(
        "{} requests afterwards at the two others, {failed} failed, {} were held up, the longest took {longest:.0?}",
        after.count(),
        hit.len() - failed
    );
    Ok((last, about))
}

/// A thousand at once: by the service, and by conditional inserts that nobody puts in a row.
async fn a_crowd(nodes: &Nodes, cql: &str) -> Result<String, String> {
    let at = nodes.addresses();
    let start = Arc::new(tokio::sync::Barrier::new(CROWD + 1));
    let tasks: Vec<_> = (0..CROWD)
        .map(|n| {
            let (start, address) = (start.clone(), at[n % at.len()]);
            tokio::spawn(async move {
                let mut client = Client::new(address);
                // The connection is there before: it is not what is measured.
                let _ = client.send(Method::GET, "/healthz", None, None).await;
                start.wait().await;
                let body = json!({"email": "the-one@example.com", "password": format!("violet harbour {n} lantern")});
                let sent = Instant::now();
                (client.post("/v1/auth/signup", body).await, sent.elapsed())
            })
        })
        .collect();
    start.wait().await;
    let began = Instant::now();
    let mut seen = Seen::default();
    for task in tasks {
        let (answer, took) = task.await.map_err(|e| e.to_string())?;
        seen.times.entry(answer.map_or(0, |a| a.status)).or_default().push(took);
    }
    let ours = format!("{}; all answered after {:.2?}", seen.statuses(), began.elapsed());

    let text = |e: &dyn std::fmt::Display| e.to_string();
    let session = SessionBuilder::new().known_nodes(cql.split(',')).build().await.map_err(|e| text(&e))?;
    let copies = cql.split(',').count();
    let keyspace = format!("straight{}", std::process::id());
    for statement in [
        format!("CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', 'replication_factor': {copies}}}"),
        format!("CREATE TABLE {keyspace}.claims (email text PRIMARY KEY, owner int)"),
    ] {
        session.query_unpaged(statement, ()).await.map_err(|e| text(&e))?;
    }
    let mut insert =
        Statement::new(format!("INSERT INTO {keyspace}.claims (email, owner) VALUES ('the-one@example.com', ?) IF NOT EXISTS"));
    insert.set_request_timeout(Some(Duration::from_millis(1500)));
    let insert = session.prepare(insert).await.map_err(|e| text(&e))?;
    let session = Arc::new(session);
    let began = Instant::now();
    let tasks: Vec<_> = (0..i32::try_from(CROWD).map_err(|e| text(&e))?)
        .map(|owner| {
            let (session, insert) = (session.clone(), insert.clone());
            tokio::spawn(async move { session.execute_unpaged(&insert, (owner,)).await })
        })
        .collect();
    let (mut answered, mut late, mut failed) = (0, 0, 0);
    for task in tasks {
        match task.await.map_err(|e| text(&e))? {
            Ok(_) => answered += 1,
            Err(ExecutionError::RequestTimeout(_)) => late += 1,
            Err(ExecutionError::LastAttemptError(e)) if e.to_string().contains("timeout") => late += 1,
            Err(_) => failed += 1,
        }
    }
    let straight = format!("{answered} answered, {late} timed out, {failed} failed otherwise; all over after {:.2?}", began.elapsed());
    session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await.map_err(|e| text(&e))?;
    Ok(format!("| the service, {} nodes | {ours} |\n| straight at the store | {straight} |", at.len()))
}

/// Measures all of it, and writes docs/performance-stores.md.
pub async fn measure(binary: &Path, docs: &Path, stores: &Stores, time: Duration) -> Result<(), String> {
    let embedded = Nodes(vec![Server::start(binary, &[("QEETID_HASH_THREADS", "2")]).await?]);
    let mut all = vec![("SQLite".to_owned(), costs(&embedded, time).await?)];
    drop(embedded);
    for count in [1, 2, 3] {
        let nodes = Nodes::start(binary, &stores.cql, &stores.redis, count, if count == 1 { 2 } else { 1 }).await?;
        all.push((format!("shared stores, {count} node{}", if count == 1 { "" } else { "s" }), costs(&nodes, time).await?));
    }
    let mut nodes = Nodes::start(binary, &stores.cql, &stores.redis, 3, 1).await?;
    let (last, about) = a_death(&mut nodes).await?;
    drop(nodes);
    let nodes = Nodes::start(binary, &stores.several, &stores.redis, 3, 1).await?;
    let crowd = a_crowd(&nodes, &stores.several).await?;
    let mut page = "# On shared stores, and on several nodes\n\n\
        Written by `BENCH_CQL=… BENCH_REDIS=… BENCH_CQL_SEVERAL=… cargo run --release -p bench-report`. All of it in one run on one machine: the stores, the \
        nodes and the load share its cores, so more nodes can't do more here, and the store is most of the work. What it does show is what \
        an operation costs in the service itself. 64 connections; one node has two hash threads, of several each has one.\n\n\
        | | | per second | p99, ms | CPU of the service, µs each | of all CPU used meanwhile | not answered so |\n\
        | --- | --- | ---: | ---: | ---: | ---: | --- |\n"
        .to_owned();
    for (place, costs) in &all {
        for c in costs {
            let cells = [number(c.rate), number(c.p99), number(c.cpu), format!("{:.0} %", c.share * 100.0), c.others.clone()];
            let _ = writeln!(page, "| {place} | {} | {} |", c.name, cells.join(" | "));
        }
    }
    page += "\n| three nodes ÷ one, on shared stores | CPU of an operation |\n| --- | ---: |\n";
    let (one, three) = (&all[1].1, &all[3].1);
    for (one, three) in one.iter().zip(three) {
        let _ = writeln!(page, "| {} | {} |", one.name, number(three.cpu / one.cpu));
    }
    let _ = writeln!(
        page,
        "\n## A node is killed\n\nThree nodes, {USERS} users, refreshes and sign-ups; `kill -9` of one. The last request at the others that \
        failed, or took {HELD_UP:?} longer than the slowest of its kind before, ended **{last:.0?}** after it: {about}."
    );
    let _ = writeln!(
        page,
        "\n## {CROWD} sign-ups of one address at once\n\nAt a store of {} node{}.\n\n| | |\n| --- | --- |\n{}",
        stores.several.split(',').count(),
        if stores.several.contains(',') { "s" } else { "" },
        crowd
    );
    println!("{page}");
    fs::write(docs.join("performance-stores.md"), page).map_err(|e| e.to_string())
}
