//! Looks up the TXT records by which tenants prove their domains.

use async_trait::async_trait;
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData},
    },
};
use std::{net::SocketAddr, time::Duration};

/// All of a look-up, its retries included.
const WHOLE: Duration = Duration::from_secs(5);
/// One question to one server; there are two tries.
const ONE: Duration = Duration::from_secs(2);
/// Look-ups that were asked for, under way at once; more wait for no one and get no answer.
const AT_ONCE: usize = 32;
/// Those beside them of the daily look, which wait for each other: nobody can take their places.
const DAILY_AT_ONCE: usize = 8;

/// No DNS server said what records there are; the text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// Who waits for a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody who has asked for it: it is refused if too many others have.
    Asked,
    /// The daily look: it waits for its turn.
    Daily,
}

/// Looks TXT records up.
#[async_trait]
pub trait TxtRecords: Send + Sync + 'static {
    /// The TXT records of a name itself, each with its strings joined (as in RFC 7208, 3.3); none if the name or the record doesn't exist. Those of a
    /// name that it is an alias of (CNAME) don't count: a wildcard may lead to somebody who has no part in the domain. Bounded in time (5 s), and
    /// in size by what fits into a DNS message (64 KiB).
    async fn txt(&self, name: &str, urgency: Urgency) -> Result<Vec<String>, NoAnswer>;
}

/// Asks a recursive resolver.
pub struct Dns {
    resolver: Result<TokioResolver, NoAnswer>,
    asked: tokio::sync::Semaphore,
    daily: tokio::sync::Semaphore,
}

impl Dns {
    /// Asks these servers; none: those of the system. A system without any is no reason not to start: nothing can be looked up then, and the log
    /// says so.
    pub fn new(servers: &[SocketAddr]) -> Self {
        let built = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = servers.iter().map(|at| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = at.port();
                    connection
                });
                NameServerConfig::new(at.ip(), true, connections.into())
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            Ok(Resolver::builder_with_config(config, TokioRuntimeProvider::default()))
        };
        let resolver = built.and_then(|mut builder| {
            let options = builder.options_mut();
            (options.timeout, options.attempts) = (ONE, 2);
            // Whoever has just published a record asks again; and what is proved is what the servers say now.
            options.cache_size = 0;
            options.use_hosts_file = ResolveHosts::Never;
            options.try_tcp_on_error = true;
            builder.build()
        });
        let resolver = resolver.map_err(|e| NoAnswer(e.to_string()));
        if let Err(e) = &resolver {
            tracing::warn!(error = %e, "the system names no DNS server: domains can't be proved (QEETID_DNS names one)");
        }
        Self { resolver, asked: tokio::sync::Semaphore::new(AT_ONCE), daily: tokio::sync::Semaphore::new(DAILY_AT_ONCE) }
    }

    async fn ask(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        // With a dot at its end it is the whole name: the system's search list has no part in it.
        let whole = Name::from_ascii(format!("{name}.")).map_err(|e| NoAnswer(e.to_string()))?;
        let asked = self.resolver.as_ref().map_err(Clone::clone)?.txt_lookup(whole.clone()).await;
        match asked {
            Ok(found) => Ok(found
                .answers()
                .iter()
                .filter(|record| record.name == whole)
                .filter_map(|record| match &record.data {
                    RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
                    _ => None,
                })
                .collect()),
            // A referral to other servers is no answer: this one doesn't look further for us.
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) if none.ns.is_some() && none.soa.is_none() => {
                Err(NoAnswer("the server refers to others: it does not resolve names for us".into()))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
            {
                Ok(Vec::new())
            }
            Err(e) => Err(NoAnswer(e.to_string())),
        }
    }
}

#[async_trait]
impl TxtRecords for Dns {
    async fn txt(&self, name: &str, urgency: Urgency) -> Result<Vec<String>, NoAnswer> {
        let place = match urgency {
            Urgency::Asked => self.asked.try_acquire().ok(),
            Urgency::Daily => self.daily.acquire().await.ok(),
        };
        let Some(_place) = place else { return Err(NoAnswer("too many look-ups are under way".into())) };
        tokio::time::timeout(WHOLE, self.ask(name)).await.unwrap_or_else(|_| Err(NoAnswer("no answer within 5 s".into())))
    }
}
