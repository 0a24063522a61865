//! Three real servers on one Cassandra and one Redis, as nodes of one cluster over mutual TLS. All that one says to another, or to
//! Redis, goes through connections that can be cut.

use crate::{
    cluster::{node::COOKIE, proxy::Proxy},
    support::{
        app::{App, Builder},
        certs::Authority,
        client::Client,
        ports::free,
        stack::{Place, address},
    },
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// For what happens by itself, on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);
/// What all certificates are for.
pub const NAME: &str = "nodes.example";

/// Stores of their own, and the nodes on them.
pub struct Three {
    pub nodes: Vec<App>,
    pub authority: Authority,
    /// Where each listens for the others.
    pub at: Vec<SocketAddr>,
    /// From each node to its Redis.
    pub redis: Vec<Proxy>,
    /// From the first node to the second, by which the first one dials.
    links: HashMap<(usize, usize), Proxy>,
    dirs: Vec<PathBuf>,
    place: Place,
    temp: tempfile::TempDir,
}

impl Three {
    /// On a keyspace and a database of their own.
    pub async fn start() -> Self {
        Self::on(&address("QEETID_TEST_REDIS"), Place::distributed(), "qeetid=trace,info").await
    }

    /// On these stores. `redis` is where the Redis is that the stores' settings name.
    pub async fn on(redis: &str, place: Place, log: &str) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dirs: Vec<PathBuf> = (0..4).map(|n| temp.path().join(n.to_string())).collect();
        let at: Vec<SocketAddr> = (0..3).map(|_| free()).collect();
        let pairs = (0..3).flat_map(|from| (0..3).map(move |to| (from, to))).filter(|(from, to)| from != to);
        let links = pairs.map(|(from, to)| ((from, to), Proxy::to(at[to]))).collect();
        let (authority, to_redis) = (Authority::new(), redis.parse().unwrap());
        let proxies = (0..3).map(|_| Proxy::to(to_redis)).collect();
        let mut three = Self { nodes: Vec::new(), authority, at, redis: proxies, links, dirs, place, temp };
        for node in 0..3 {
            let mut place = three.place.clone();
            if let Some(url) = place.redis() {
                *url = url.replace(redis, &three.redis[node].address.to_string());
            }
            let certs = three.certs(&three.authority, node);
            let seeds = (0..3).filter(|to| *to != node).map(|to| three.links[&(node, to)].address);
            let builder = three.builder(node, three.at[node], seeds, COOKIE, &certs).on(&place);
            // The same after a restart, as behind a load balancer.
            let app = builder.env("QEETID_LISTEN", free()).env("QEETID_LOG", log).start().await;
            three.nodes.push(app);
        }
        for node in 0..3 {
            three.sees(node, 3).await;
        }
        three
    }

    /// Certificates of a node, by an authority.
    pub fn certs(&self, authority: &Authority, node: usize) -> PathBuf {
        let dir = self.temp.path().join(format!("certs-{node}"));
        authority.write(&dir, NAME);
        // Whoever made it, it believes in ours, so that it is not the one who refuses.
        self.authority.write(&self.temp.path().join("ours"), NAME);
        std::fs::copy(self.temp.path().join("ours/ca.pem"), dir.join("ca.pem")).unwrap();
        dir
    }

    fn builder(&self, node: usize, listen: SocketAddr, seeds: impl Iterator<Item = SocketAddr>, cookie: &str, certs: &Path) -> Builder {
        App::builder()
            .data_dir(&self.dirs[node])
            .env("QEETID_CLUSTER_LISTEN", listen)
            .env("QEETID_CLUSTER_NODE", format!("node-{node}"))
            .env("QEETID_CLUSTER_SEEDS", seeds.map(|s| s.to_string()).collect::<Vec<_>>().join(","))
            .env("QEETID_CLUSTER_COOKIE", cookie)
            .env("QEETID_CLUSTER_CERT", certs.join("cert.pem").display())
            .env("QEETID_CLUSTER_KEY", certs.join("key.pem").display())
            .env("QEETID_CLUSTER_CA", certs.join("ca.pem").display())
            .env("QEETID_CLUSTER_NAMES", NAME)
    }

    /// A fourth server on the same stores that wants to be one of them, and its ways to the others.
    pub async fn fourth(&self, cookie: &str, authority: &Authority) -> (App, Vec<Proxy>) {
        let certs = self.certs(authority, 3);
        let ways: Vec<Proxy> = self.at.iter().map(|at| Proxy::to(*at)).collect();
        let fourth = self.builder(3, free(), ways.iter().map(|way| way.address), cookie, &certs).on(&self.place).start().await;
        (fourth, ways)
    }

    /// What `from` sends to `to` vanishes, or doesn't any more.
    pub fn cut(&self, from: usize, to: usize, cut: bool) {
        self.links[&(from, to)].cut_there(cut);
        self.links[&(to, from)].cut_back(cut);
    }

    /// Waits until a node counts so many.
    pub async fn sees(&self, node: usize, members: usize) {
        let began = Instant::now();
        loop {
            let seen = metric(&self.nodes[node], "qeetid_cluster_members").await;
            if seen == members as f64 {
                return;
            }
            assert!(began.elapsed() < SOON, "node {node} sees {seen}, not {members}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A client of each node, with connections of its own.
    pub fn clients(&self) -> Vec<Client> {
        self.nodes.iter().map(|n| n.other_client()).collect()
    }

    pub fn signal(&self, node: usize, signal: libc::c_int) {
        // SAFETY: a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(i32::try_from(self.nodes[node].pid()).unwrap(), signal) }, 0);
    }
}

/// A counter or gauge; 0 if there is none yet.
pub async fn metric(app: &Client, name: &str) -> f64 {
    let text = app.http.get(format!("{}/metrics", app.base)).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')));
    line.map_or(0.0, |value| value.parse().unwrap())
}
