//! The range API of Pwned Passwords (k-anonymity): of a password's SHA-1 only the first 5 hex digits leave, with padding
//! asked for, so that not even the length of the answer tells which range it was.

use super::url::{BadUrl, bad, is_loopback};
use crate::domain::breaker::Breaker;
use async_trait::async_trait;
use aws_lc_rs::digest;
use reqwest::{StatusCode, redirect};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;

/// An honest answer has some 1,000 to 2,000 rows of 38 bytes and more.
const MAX_ANSWER: usize = 512 * 1024;
/// How long an answer is good for.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Memory for kept answers, in bytes: about a thousand ranges.
const KEPT_BYTES: u64 = 24 * 1024 * 1024;
/// All of a look-up, waiting for somebody else's included.
const WHOLE: Duration = Duration::from_secs(1);

/// What is known of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breached {
    /// It is in the corpus.
    Yes,
    /// It isn't.
    No,
    /// The corpus could not be asked: nobody is refused for that.
    Unknown,
}

/// Knows which passwords were in breaches.
#[async_trait]
pub trait BreachRange: Send + Sync + 'static {
    /// Looks one password up; bounded in time (1 s), never fails.
    async fn look_up(&self, password: &str) -> Breached;
}

/// A SHA-1 as the API cuts it: 20 bits that leave, and the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cut {
    prefix: u32,
    rest: Rest,
}

/// The last 140 bits, the first of them in the low half of the first byte.
type Rest = [u8; 18];

impl Cut {
    fn of(password: &str) -> Self {
        let sha = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let sha = sha.as_ref();
        let mut rest = [0; 18];
        rest.copy_from_slice(&sha[2..20]);
        rest[0] &= 0x0F;
        Self { prefix: u32::from(sha[0]) << 12 | u32::from(sha[1]) << 4 | u32::from(sha[2] >> 4), rest }
    }
}

/// The rest of each breached hash of one prefix, in order.
type Range = Arc<[Rest]>;

/// Asks the API, keeps answers for a day, and asks for one prefix once at a time.
pub struct RangeApi {
    http: reqwest::Client,
    base: reqwest::Url,
    breaker: Breaker,
    kept: moka::sync::Cache<u32, Range>,
    asking: Mutex<HashMap<u32, Arc<OnceCell<Option<Range>>>>>,
    whole: Duration,
}

impl RangeApi {
    /// `base` is that of the API, such as `https://api.pwnedpasswords.com`; without TLS only on this machine. Connects to nothing.
    ///
    /// # Errors
    /// [`BadUrl`].
    pub fn new(base: &str) -> Result<Self, BadUrl> {
        let base: reqwest::Url = format!("{}/range/", base.trim_end_matches('/')).parse().map_err(|_| bad("is not a URL"))?;
        let local = base.host_str().is_some_and(|h| is_loopback(h.trim_matches(['[', ']'])));
        if base.scheme() != "https" && !(base.scheme() == "http" && local) {
            return Err(bad("isn't https:// (http:// is for this machine only)"));
        }
        let mut http =
            reqwest::Client::builder().redirect(redirect::Policy::none()).user_agent(concat!("qeetid/", env!("CARGO_PKG_VERSION")));
        if local {
            http = http.no_proxy();
        }
        Ok(Self {
            http: http.build().map_err(|_| bad("can't be used: no TLS on this system"))?,
            base,
            breaker: Breaker::new(5, Duration::from_secs(30)),
            kept: moka::sync::Cache::builder()
                .weigher(|_, range: &Range| u32::try_from(range.len() * size_of::<Rest>() + 64).unwrap_or(u32::MAX))
                .max_capacity(KEPT_BYTES)
                .time_to_live(KEPT)
                .build(),
            asking: Mutex::default(),
            whole: WHOLE,
        })
    }

    /// Another time-out for all of a look-up (1 s).
    pub fn with_timeout(mut self, whole: Duration) -> Self {
        self.whole = whole;
        self
    }

    /// Another breaker (opens after 5 failures in a row, for 30 s).
    pub fn with_breaker(mut self, breaker: Breaker) -> Self {
        self.breaker = breaker;
        self
    }

    fn asking(&self) -> MutexGuard<'_, HashMap<u32, Arc<OnceCell<Option<Range>>>>> {
        // Nothing in here panics half-way through a change.
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The range of a prefix; `None` if it could not be had.
    async fn range(&self, prefix: u32) -> Option<Range> {
        if let Some(range) = self.kept.get(&prefix) {
            return Some(range);
        }
        let cell = self.asking().entry(prefix).or_default().clone();
        let _leaving = Leaving { api: self, prefix, cell: cell.clone() };
        // Who comes meanwhile gets this answer, a failure too. If the one that asks goes away, the next asks in its place.
        cell.get_or_init(|| self.ask(prefix)).await.clone()
    }

    async fn ask(&self, prefix: u32) -> Option<Range> {
        // Somebody may have got it between our look and our turn.
        if let Some(range) = self.kept.get(&prefix) {
            return Some(range);
        }
        if self.breaker.allow(Instant::now()).is_err() {
            return None;
        }
        let failed = match tokio::time::timeout(self.whole, self.get(prefix)).await {
            Ok(Ok(range)) => {
                self.breaker.alive();
                self.kept.insert(prefix, range.clone());
                return Some(range);
            }
            Ok(Err(why)) => why,
            Err(_) => "no answer in time".to_owned(),
        };
        self.breaker.failed(Instant::now());
        tracing::warn!(why = failed, "the breach range API can't be asked; the password is not checked");
        None
    }

    async fn get(&self, prefix: u32) -> Result<Range, String> {
        let url = self.base.join(&format!("{prefix:05X}")).map_err(|_| "the URL can't be made")?;
        let request = self.http.get(url).header("Add-Padding", "true");
        // The error's own text would name the URL, and with it the prefix.
        let mut answer = request.send().await.map_err(|e| if e.is_connect() { "can't connect" } else { "the connection broke" })?;
        if answer.status() != StatusCode::OK {
            return Err(format!("http {}", answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|_| "the connection broke")? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err("the answer is too large".into());
            }
            body.extend_from_slice(&chunk);
        }
        parse(&body).ok_or_else(|| "the answer is no list of hashes".into())
    }
}

/// Whoever leaves a request last (answered, or given up) takes it off the list.
struct Leaving<'a> {
    api: &'a RangeApi,
    prefix: u32,
    cell: Arc<OnceCell<Option<Range>>>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut asking = self.api.asking();
        let ours = asking.get(&self.prefix).is_some_and(|c| Arc::ptr_eq(c, &self.cell));
        // Two hold it when nobody else waits: the list, and we.
        if ours && (self.cell.initialized() || Arc::strong_count(&self.cell) <= 2) {
            asking.remove(&self.prefix);
        }
    }
}

/// Rows `35 hex digits:count`; those of count 0 are padding. `None` if it is anything else: a proxy's page must not count as
/// an answer for a day.
fn parse(body: &[u8]) -> Option<Range> {
    let text = std::str::from_utf8(body).ok()?;
    let mut rows = Vec::new();
    let mut any = false;
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        any = true;
        let (hex, count) = line.split_once(':')?;
        let rest = rest(hex)?;
        if count.trim().parse::<u64>().ok()? > 0 {
            rows.push(rest);
        }
    }
    rows.sort_unstable();
    any.then(|| rows.into())
}

fn rest(hex: &str) -> Option<Rest> {
    let hex = hex.as_bytes();
    if hex.len() != 35 {
        return None;
    }
    let digit = |at: usize| char::from(hex[at]).to_digit(16).map(|d| d as u8);
    let mut out = [digit(0)?; 18];
    for (n, byte) in out.iter_mut().enumerate().skip(1) {
        *byte = digit(2 * n - 1)? << 4 | digit(2 * n)?;
    }
    Some(out)
}

#[async_trait]
impl BreachRange for RangeApi {
    async fn look_up(&self, password: &str) -> Breached {
        let cut = Cut::of(password);
        // A little longer than asking takes, so that who asks learns that it failed, and the breaker with him.
        match tokio::time::timeout(self.whole + self.whole / 10, self.range(cut.prefix)).await {
            Ok(Some(range)) if range.binary_search(&cut.rest).is_ok() => Breached::Yes,
            Ok(Some(_)) => Breached::No,
            Ok(None) | Err(_) => Breached::Unknown,
        }
    }
}

impl fmt::Debug for RangeApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RangeApi({})", self.base.host_str().unwrap_or("?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_cut_as_the_api_cuts_it() {
        // SHA-1 of "password": 5BAA6 1E4C9B93F3F0682250B6CF8331B7EE68FD8.
        let cut = Cut::of("password");
        assert_eq!(cut.prefix, 0x5BAA6);
        assert_eq!(Some(cut.rest), rest("1E4C9B93F3F0682250B6CF8331B7EE68FD8"));
    }

    #[test]
    fn only_lists_of_hashes_are_answers_and_padding_is_no_hit() {
        let row = "1E4C9B93F3F0682250B6CF8331B7EE68FD8";
        assert_eq!(parse(format!("{row}:3\r\n{}:0\r\n", row.replace('1', "A")).as_bytes()).map(|r| r.len()), Some(1));
        assert_eq!(parse(format!("{}:1", row.to_lowercase()).as_bytes()).map(|r| r.len()), Some(1));
        assert_eq!(parse(format!("{row}:0").as_bytes()).map(|r| r.len()), Some(0));
        for bad in ["", "<html>", row, &format!("{row}:x"), &format!("{row}0:1"), &format!("{row}:1\nsorry"), &format!("{row}:-1")] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse(b"\xFF"), None);
    }

    #[test]
    fn only_tls_or_this_machine() {
        for good in ["https://api.example", "https://api.example/base/", "http://127.0.0.1:9", "http://[::1]:9", "http://localhost"] {
            assert!(RangeApi::new(good).is_ok(), "{good}");
        }
        for bad in ["http://api.example", "ftp://127.0.0.1", "x"] {
            assert!(RangeApi::new(bad).is_err(), "{bad}");
        }
    }
}
