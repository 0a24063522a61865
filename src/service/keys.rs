//! Signing and checking access tokens: the keys, the cache of verified tokens, and the revocations that overrule it.

use super::error::{Error, Result};
use crate::{
    domain::{
        ids::{ApiKeyId, SessionId, TenantId, UserId},
        jwt::{self, ACCESS_TTL, AccessClaims, PublicJwk, SigningKey, StoredKey, TrustedKey, VerifyingKey},
        keyring::{Keyring, Label},
        rng::{self, Rng},
        secret::SecretText,
        time::{Clock, Timestamp},
    },
    ephemeral::wake::Wake,
    store::{Store, commands::Revocation},
};
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Revocations matter as long as an access token can live, plus leeway; then they are forgotten.
const REMEMBER: Duration = Duration::from_secs(20 * 60);
/// Told of a revocation, a node reads no sooner than this, so that a thousand of them are not a thousand reads.
const BREATH: Duration = Duration::from_millis(20);
/// A revocation that was acknowledged so long ago is known here, or nobody is let in.
const KNOWN: Duration = Duration::from_secs(1);
/// Whoever finds that older waits for so long until revocations are read.
const PATIENCE: Duration = Duration::from_secs(2);
/// Verified tokens kept (about 400 bytes each).
const CACHE: u64 = 200_000;

/// The keys that are shown, newest first.
#[derive(Default)]
struct Active {
    trusted: Vec<TrustedKey>,
    signers: Vec<Signer>,
}

/// A private key. Which one signs is decided when it does: a key takes over on all nodes at the same moment, not when each reads the keys again.
struct Signer {
    signs_from: Timestamp,
    /// `None`: no secret of ours opens it.
    key: Option<Arc<SigningKey>>,
}

impl Active {
    fn signer(&self, now: Timestamp) -> Option<&Arc<SigningKey>> {
        jwt::signer(&self.signers, |signer| signer.signs_from, now)?.key.as_ref()
    }
    fn opened(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.signers.iter().filter_map(|signer| signer.key.as_ref()).find(|key| key.public().kid() == kid).cloned()
    }
}

#[derive(Default)]
struct Revoked {
    sessions: HashMap<SessionId, Timestamp>,
    epochs: HashMap<UserId, (u64, Option<SessionId>, Timestamp)>,
    api_keys: HashMap<ApiKeyId, Timestamp>,
}

/// A node that has not read revocations for so long is not ready.
const UNREAD: Duration = Duration::from_secs(5);

/// How far this node knows what was revoked.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Begin of the last read that came to its end; `None`: there was none yet.
    read_at: Option<Instant>,
    /// The one after it failed.
    failed: bool,
}

/// The keys of this node.
pub struct Keys {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    issuer: String,
    audience: String,
    active: RwLock<Option<Arc<Active>>>,
    verified: moka::sync::Cache<[u8; 32], Arc<AccessClaims>>,
    revoked: RwLock<Revoked>,
    progress: watch::Sender<Progress>,
    wake: Option<Arc<dyn Wake>>,
    began: Instant,
}

/// Makes a new key, sealed under the keyring, that begins to sign at `signs_from`.
///
/// # Errors
/// [`Error::Internal`] if the library can't make one.
pub fn make_key(ring: &Keyring, rng: &dyn Rng, now: Timestamp, signs_from: Timestamp) -> Result<StoredKey> {
    let bad = |e: jwt::BadKey| Error::Internal(e.to_string());
    let der = SigningKey::generate().map_err(bad)?;
    let public = SigningKey::from_pkcs8(&der).map_err(bad)?.public().clone();
    let sealed = ring.seal(Label::SigningKey, public.kid().as_bytes(), &der, rng);
    Ok(StoredKey { kid: public.kid().to_owned(), point: public.point().to_vec(), sealed, created_at: now, signs_from, revoked_at: None })
}

impl Keys {
    /// Reads the keys, and makes the first one if there is none.
    ///
    /// # Errors
    /// If the store does not answer, or no key can be opened with the secrets configured.
    pub async fn load(
        store: Arc<dyn Store>,
        keyring: Arc<Keyring>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        issuer: String,
        audience: String,
    ) -> Result<Self> {
        let keys = Self {
            store,
            keyring,
            clock,
            rng,
            issuer,
            audience,
            active: RwLock::default(),
            verified: moka::sync::Cache::builder().max_capacity(CACHE).time_to_live(ACCESS_TTL + jwt::LEEWAY).build(),
            revoked: RwLock::default(),
            progress: watch::Sender::default(),
            wake: None,
            began: Instant::now(),
        };
        if keys.store.signing_keys().await?.is_empty() {
            let now = keys.clock.now();
            keys.store.add_signing_key(make_key(&keys.keyring, &*keys.rng, now, now)?, true).await?;
        }
        keys.reload().await?;
        Ok(keys)
    }

    /// Tells the other nodes of revocations, and is told of theirs.
    pub fn with_wake(self, wake: Option<Arc<dyn Wake>>) -> Self {
        Self { wake, ..self }
    }

    /// Reads the keys again: a rotation elsewhere, or a new key whose time has come.
    ///
    /// # Errors
    /// As [`Keys::load`]; the keys of before stay in use.
    pub async fn reload(&self) -> Result<()> {
        let (stored, now) = (self.store.signing_keys().await?, self.clock.now());
        let before = self.active().unwrap_or_default();
        let mut active = Active::default();
        for term in jwt::terms(&stored, now) {
            let key = &stored[term.index];
            let public = VerifyingKey::from_point(&key.point).map_err(|e| Error::Internal(e.to_string()))?;
            active.trusted.push(TrustedKey { key: public, replaced_at: term.replaced_at });
            let over = term.replaced_at.is_some_and(|at| at <= now);
            let opened = if over { None } else { before.opened(&key.kid).map_or_else(|| self.open(key), |key| Ok(Some(key)))? };
            active.signers.push(Signer { signs_from: term.signs_from, key: opened });
        }
        let (changed, signs) = (before.trusted != active.trusted, active.signer(now).is_some());
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(active));
        // A token verified earlier may say that it was made after its key was replaced. Emptied only now, when checks no longer use the keys
        // of before; see [`Keys::check`].
        if changed {
            self.verified.invalidate_all();
        }
        // Tokens are checked by what is known all the same.
        if signs { Ok(()) } else { Err(Error::Internal("no signing key whose time has come, and that a configured secret opens".into())) }
    }

    /// A private key; `None`, and a line in the log, if no secret opens it.
    fn open(&self, key: &StoredKey) -> Result<Option<Arc<SigningKey>>> {
        let der = match self.keyring.open(Label::SigningKey, key.kid.as_bytes(), &key.sealed) {
            Ok(der) => der,
            Err(e) => {
                tracing::error!(kid = key.kid, error = %e, "a signing key can't be opened with the secrets configured");
                return Ok(None);
            }
        };
        SigningKey::from_pkcs8(&der).map(|key| Some(Arc::new(key))).map_err(|e| Error::Internal(e.to_string()))
    }

    fn active(&self) -> Result<Arc<Active>> {
        self.active.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| Error::Unavailable("no signing key".into()))
    }

    /// Whether there is a key to sign with.
    pub fn can_sign(&self) -> bool {
        self.active().is_ok_and(|active| active.signer(self.clock.now()).is_some())
    }

    /// The keys to show.
    pub fn jwks(&self) -> Vec<PublicJwk> {
        self.active().map(|a| a.trusted.iter().map(|trusted| trusted.key.jwk()).collect()).unwrap_or_default()
    }

    /// Signs an access token; gives its end too.
    pub fn sign(&self, user: UserId, tenant: TenantId, session: SessionId, epoch: u64) -> Result<(SecretText, Timestamp)> {
        let now = self.clock.now();
        let claims = AccessClaims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user,
            user_id: user,
            tenant_id: tenant,
            sid: session,
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: now.seconds() + ACCESS_TTL.as_secs() as i64,
            jti: URL_SAFE_NO_PAD.encode(rng::bytes::<16>(&*self.rng)),
            epoch,
        };
        let active = self.active()?;
        let signer = active.signer(now).ok_or_else(|| Error::Unavailable("no secret opens the signing key".into()))?;
        let token = signer.sign(&claims).map_err(|e| Error::Internal(e.to_string()))?;
        Ok((token, Timestamp::from_millis(claims.exp * 1000)))
    }

    /// Checks an access token; a signature is checked once a token, its time and its revocation each time.
    pub fn check(&self, token: &str) -> Option<Arc<AccessClaims>> {
        let now = self.clock.now();
        let mut name = [0; 32];
        name.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let claims = match self.verified.get(&name) {
            Some(claims) => claims,
            None => {
                let active = self.active().ok()?;
                let claims = Arc::new(jwt::verify(token, &active.trusted, &self.issuer, &self.audience, now)?);
                self.verified.insert(name, claims.clone());
                // The keys were read again meanwhile: what is in the cache by now may be too good.
                let later = self.active().ok()?;
                if !Arc::ptr_eq(&active, &later) {
                    self.verified.invalidate(&name);
                    jwt::verify(token, &later.trusted, &self.issuer, &self.audience, now)?;
                }
                claims
            }
        };
        (jwt::current(&claims, now) && !self.is_revoked(&claims)).then_some(claims)
    }

    fn is_revoked(&self, claims: &AccessClaims) -> bool {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        revoked.sessions.contains_key(&claims.sid)
            || revoked.epochs.get(&claims.user_id).is_some_and(|(below, keep, _)| claims.epoch < *below && *keep != Some(claims.sid))
    }

    /// Has an API key been revoked lately? (Longer ago, no cache holds it.)
    pub fn is_key_revoked(&self, key: ApiKeyId) -> bool {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).api_keys.contains_key(&key)
    }

    /// Takes in what this node has revoked, at once; the others are told that there is something to read.
    pub fn revoke(&self, revocations: impl IntoIterator<Item = Revocation>) {
        self.take_in(revocations);
        if let Some(wake) = &self.wake {
            wake.tell();
        }
    }

    fn take_in(&self, revocations: impl IntoIterator<Item = Revocation>) {
        let now = self.clock.now();
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        for revocation in revocations {
            match revocation {
                Revocation::Session(session) => {
                    revoked.sessions.insert(session, now);
                }
                Revocation::ApiKey(key) => {
                    revoked.api_keys.insert(key, now);
                }
                // The keys are read again.
                Revocation::SigningKey(_) => {}
                Revocation::Epoch { user_id, below, keep } => {
                    let known = revoked.epochs.get(&user_id).map_or(0, |(known, ..)| *known);
                    if below >= known {
                        revoked.epochs.insert(user_id, (below, keep, now));
                    }
                }
            }
        }
    }

    /// Forgets revocations of tokens that have expired by themselves.
    pub fn forget_old_revocations(&self) {
        let now = self.clock.now();
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        revoked.sessions.retain(|_, at| now.since(*at) < REMEMBER);
        revoked.epochs.retain(|_, (.., at)| now.since(*at) < REMEMBER);
        revoked.api_keys.retain(|_, at| now.since(*at) < REMEMBER);
    }

    /// Until it is time to read revocations again: at most `interval`, less if this node is told that there are some.
    pub async fn until_revoked(&self, interval: Duration) {
        let told = async {
            match &self.wake {
                Some(wake) => wake.told().await,
                None => std::future::pending().await,
            }
            // Many at once are one read.
            tokio::time::sleep(BREATH).await;
        };
        let _ = tokio::time::timeout(interval, told).await;
    }

    /// Reads revocations of the store after `cursor`; gives the cursor to go on from.
    ///
    /// # Errors
    /// If the store does not answer; ask again with the same cursor.
    pub async fn read_revocations(&self, cursor: u64) -> Result<u64> {
        // By the clock that goes on while a process is frozen.
        let began = Instant::now();
        let outcome = self.read_all_revocations(cursor).await;
        self.progress.send_modify(|p| match &outcome {
            Ok(_) => *p = Progress { read_at: Some(began), failed: false },
            Err(_) => p.failed = true,
        });
        outcome
    }

    /// Whether what was revoked has been read lately: within [`UNREAD`].
    pub fn reads_revocations(&self) -> bool {
        self.progress.borrow().read_at.unwrap_or(self.began).elapsed() < UNREAD
    }

    /// Makes sure that this node knows all revocations of more than a second ago: a process that was frozen, or whose store is
    /// slow, has its requests wait for the next read.
    ///
    /// # Errors
    /// `Unavailable`: they can't be read, so nobody is let in.
    pub async fn up_to_date(&self) -> Result<()> {
        let asked = Instant::now();
        let known = |p: &Progress| p.read_at.is_some_and(|at| at + KNOWN >= asked);
        if known(&self.progress.borrow()) {
            return Ok(());
        }
        let mut progress = self.progress.subscribe();
        let waiting = tokio::time::timeout(PATIENCE, progress.wait_for(|p| known(p) || p.failed));
        match waiting.await {
            Ok(Ok(p)) if !p.failed => Ok(()),
            _ => Err(Error::Unavailable("revocations can't be read".into())),
        }
    }

    async fn read_all_revocations(&self, mut cursor: u64) -> Result<u64> {
        loop {
            let (revocations, next) = self.store.revocations_since(cursor).await?;
            let done = revocations.is_empty();
            if revocations.iter().any(|revocation| matches!(revocation, Revocation::SigningKey(_))) {
                self.reload().await?;
            }
            self.take_in(revocations);
            if done || next == cursor {
                return Ok(next);
            }
            cursor = next;
        }
    }
}
