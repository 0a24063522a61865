//! Connections that are kept. Not lettre's pool: that one keeps a connection whose send was given up half-way, and the
//! next mail then reads the answer that was meant for the one before. Here a connection goes back only after a whole
//! conversation; whatever was cut off takes its connection with it.

use super::failure::{self, Failure};
use crate::gateway::DeliveryError;
use lettre::{
    address::Envelope,
    transport::smtp::{
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, TlsParameters},
        extension::ClientId,
    },
};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How the connection is encrypted.
pub(super) enum Tls {
    None,
    Opportunistic(TlsParameters),
    Required(TlsParameters),
    Implicit(TlsParameters),
}

/// As many are kept as the outbox has in flight at most.
const KEEP: usize = 16;
/// Servers hang up on the idle after minutes; a minute of waiting is worth a new connection.
const IDLE: Duration = Duration::from_secs(60);
/// Relays limit the mails of one connection, mostly to 100.
const MAILS: u32 = 50;

/// An open connection, and what it has done.
pub(super) struct Kept {
    connection: AsyncSmtpConnection,
    since: Instant,
    mails: u32,
}

pub(super) struct Pool {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
    local: bool,
    pub connect_timeout: Duration,
    kept: Mutex<Vec<Kept>>,
}

impl Pool {
    pub fn new(host: String, port: u16, tls: Tls, credentials: Option<Credentials>, local: bool, connect_timeout: Duration) -> Self {
        Self { host, port, tls, credentials, local, connect_timeout, kept: Mutex::default() }
    }

    pub fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A kept connection that still answers, or a new one.
    pub async fn connection(&self) -> Result<Kept, DeliveryError> {
        match self.take().await {
            Some(kept) => Ok(kept),
            None => Ok(Kept { connection: self.open().await?, since: Instant::now(), mails: 0 }),
        }
    }

    /// One mail. The connection is kept if all went well.
    pub async fn send(&self, kept: Kept, envelope: &Envelope, message: &[u8]) -> Result<(), Failure> {
        let Kept { mut connection, mails, .. } = kept;
        // On failure lettre says QUIT where there is somebody to say it to.
        connection.send(envelope, message).await.map_err(|e| failure::sending(&e))?;
        self.give_back(connection, mails + 1);
        Ok(())
    }

    /// Opens a connection and closes it; whether it was encrypted.
    pub async fn check(&self) -> Result<bool, DeliveryError> {
        let mut connection = self.open().await?;
        let encrypted = connection.is_encrypted();
        connection.abort().await;
        Ok(encrypted)
    }

    async fn take(&self) -> Option<Kept> {
        loop {
            let mut kept = self.lock().pop()?;
            // NOOP: a server that went away in the meantime costs no mail an attempt.
            if kept.since.elapsed() < IDLE && kept.connection.test_connected().await {
                return Some(kept);
            }
        }
    }

    fn give_back(&self, mut connection: AsyncSmtpConnection, mails: u32) {
        if mails < MAILS && !connection.has_broken() {
            let mut kept = self.lock();
            kept.retain(|k| k.since.elapsed() < IDLE);
            if kept.len() < KEEP {
                kept.push(Kept { connection, since: Instant::now(), mails });
                return;
            }
        }
        // The mail is delivered; a server slow to say goodbye must not make it look otherwise.
        tokio::spawn(async move { tokio::time::timeout(Duration::from_secs(5), connection.abort()).await });
    }

    async fn open(&self) -> Result<AsyncSmtpConnection, DeliveryError> {
        let hello = ClientId::default();
        let implicit = match &self.tls {
            Tls::Implicit(parameters) => Some(parameters.clone()),
            _ => None,
        };
        let server = (self.host.as_str(), self.port);
        let opened = AsyncSmtpConnection::connect_tokio1(server, Some(self.connect_timeout), &hello, implicit, None).await;
        let mut connection = opened.map_err(|e| failure::opening(&e))?;
        match &self.tls {
            Tls::Required(parameters) => connection.starttls(parameters.clone(), &hello).await.map_err(|e| failure::opening(&e))?,
            Tls::Opportunistic(parameters) if connection.can_starttls() => {
                connection.starttls(parameters.clone(), &hello).await.map_err(|e| failure::opening(&e))?;
            }
            _ => {}
        }
        if let Some(credentials) = &self.credentials {
            // Somebody on the way may have struck STARTTLS from the greeting.
            if matches!(self.tls, Tls::Opportunistic(_)) && !connection.is_encrypted() && !self.local {
                return Err(failure::no_encryption());
            }
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(|e| failure::opening(&e))?;
        }
        Ok(connection)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
