//! Load. Closed loop: so many connections, each sends its next request when the last one is answered. Open loop: requests come at a
//! rate, whether the service keeps up or not, as people do.

use crate::client::{Answer, Client};
use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// What a load run saw.
#[derive(Default)]
pub struct Seen {
    /// Times by status; 0: the connection failed.
    pub times: BTreeMap<u16, Vec<Duration>>,
    pub seconds: f64,
    /// What `Retry-After` asked for, in seconds, and how often.
    pub asked_to_wait: BTreeMap<u64, usize>,
}

impl Seen {
    pub fn count(&self, status: u16) -> usize {
        self.times.get(&status).map_or(0, Vec::len)
    }
    pub fn rate(&self, status: u16) -> f64 {
        self.count(status) as f64 / self.seconds
    }
    /// A quantile of the times of one status, in milliseconds.
    pub fn ms(&self, status: u16, quantile: f64) -> f64 {
        let Some(times) = self.times.get(&status).filter(|t| !t.is_empty()) else { return f64::NAN };
        let mut times = times.clone();
        times.sort_unstable();
        let at = ((times.len() - 1) as f64 * quantile).round() as usize;
        times[at].as_secs_f64() * 1000.0
    }
    /// Every status with its count.
    pub fn statuses(&self) -> String {
        let each = self.times.iter().map(|(status, t)| format!("{status}: {}", t.len()));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Runs `one` on each of `connections` connections, which go to the addresses in turn, for `time`; `one` gets the connection's number and
/// the round.
pub async fn run<F, Fut>(addresses: &[SocketAddr], connections: usize, time: Duration, one: F) -> Seen
where
    F: Fn(usize, usize, Client) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = (Client, Result<Answer, String>)> + Send,
{
    let one = Arc::new(one);
    let began = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|number| {
            let (one, address) = (one.clone(), addresses[number % addresses.len()]);
            tokio::spawn(async move {
                let mut client = Client::new(address);
                let mut mine: Vec<(u16, Duration)> = Vec::new();
                let mut round = 0;
                while began.elapsed() < time {
                    let sent = Instant::now();
                    let answer;
                    (client, answer) = one(number, round, client).await;
                    match answer {
                        Ok(a) => mine.push((a.status, a.took)),
                        Err(_) => {
                            mine.push((0, sent.elapsed()));
                            client = Client::new(address);
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                    round += 1;
                }
                mine
            })
        })
        .collect();
    let mut seen = Seen::default();
    for task in tasks {
        for (status, took) in task.await.unwrap_or_default() {
            seen.times.entry(status).or_default().push(took);
        }
    }
    seen.seconds = began.elapsed().as_secs_f64();
    seen
}

/// Sends `rate` requests a second for `time`, over `connections` in turn. A time counts from when the request was due: one that had to
/// wait for its connection was late all the same. `one` gets the number of the request.
pub async fn open<F, Fut>(address: SocketAddr, connections: usize, rate: f64, time: Duration, one: F) -> Seen
where
    F: Fn(usize, Client) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = (Client, Result<Answer, String>)> + Send,
{
    let one = Arc::new(one);
    let began = Instant::now() + Duration::from_millis(100);
    let tasks: Vec<_> = (0..connections)
        .map(|number| {
            let one = one.clone();
            tokio::spawn(async move {
                let mut client = Client::new(address);
                let mut mine: Vec<(u16, Duration, Option<u64>)> = Vec::new();
                for request in (number..).step_by(connections) {
                    let due = Duration::from_secs_f64(request as f64 / rate);
                    if due >= time {
                        break;
                    }
                    tokio::time::sleep_until((began + due).into()).await;
                    let answer;
                    (client, answer) = one(request, client).await;
                    let took = began.elapsed().saturating_sub(due);
                    match answer {
                        Ok(a) => mine.push((a.status, took, a.retry_after.map(|w| w.as_secs()))),
                        Err(_) => {
                            mine.push((0, took, None));
                            client = Client::new(address);
                        }
                    }
                }
                mine
            })
        })
        .collect();
    let mut seen = Seen { seconds: time.as_secs_f64(), ..Seen::default() };
    for task in tasks {
        for (status, took, wait) in task.await.unwrap_or_default() {
            seen.times.entry(status).or_default().push(took);
            if let Some(wait) = wait {
                *seen.asked_to_wait.entry(wait).or_default() += 1;
            }
        }
    }
    seen
}
