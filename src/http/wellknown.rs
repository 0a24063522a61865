//! Keys for those who verify access tokens themselves, and probes for those who run the service.

use super::{
    Tag,
    errors::{ApiError, Code},
    payload::Out,
};
use crate::{domain::jwt::PublicJwk, service::Services};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A public key (RFC 7517).
#[derive(Debug, Serialize, Object)]
pub struct Jwk {
    /// `EC`.
    kty: String,
    /// `P-256`.
    crv: String,
    /// base64url, 32 bytes.
    x: String,
    /// base64url, 32 bytes.
    y: String,
    /// `sig`.
    #[oai(rename = "use")]
    #[serde(rename = "use")]
    usage: String,
    /// `ES256`.
    alg: String,
    /// The RFC 7638 thumbprint; `kid` of the tokens that it signed.
    kid: String,
}

impl From<PublicJwk> for Jwk {
    fn from(PublicJwk { kty, crv, x, y, usage, alg, kid }: PublicJwk) -> Self {
        Self { kty, crv, x, y, usage, alg, kid }
    }
}

/// The keys that access tokens are signed with.
#[derive(Debug, Serialize, Object)]
pub struct Jwks {
    /// The active key, the one that comes next, and retired ones whose tokens still live.
    keys: Vec<Jwk>,
}

#[derive(ApiResponse)]
enum JwksAnswer {
    /// The keys.
    #[oai(status = 200)]
    Keys(Out<Jwks>, #[oai(header = "Cache-Control")] String),
}

/// The process answers.
#[derive(Debug, Serialize, Object)]
pub struct Health {
    /// `ok`.
    status: String,
}

/// Every part answers.
#[derive(Debug, Serialize, Object)]
pub struct Readiness {
    /// `ready`.
    status: String,
    /// Part → `ok`.
    parts: BTreeMap<String, String>,
}

/// The routes.
pub struct WellKnownApi(pub Arc<Services>);

#[OpenApi(tag = "Tag::Operations")]
impl WellKnownApi {
    /// The keys that access tokens are signed with
    ///
    /// A new key is listed 10 minutes before it signs: caching for 5 minutes is safe.
    #[oai(path = "/.well-known/jwks.json", method = "get", operation_id = "getJwks")]
    async fn jwks(&self) -> JwksAnswer {
        let keys = self.0.jwks().into_iter().map(Jwk::from).collect();
        JwksAnswer::Keys(Out(Jwks { keys }), "public, max-age=300".to_owned())
    }

    /// Is the process alive
    ///
    /// Asks nothing but the process.
    #[oai(path = "/healthz", method = "get", operation_id = "getHealth")]
    async fn health(&self) -> Out<Health> {
        Out(Health { status: "ok".to_owned() })
    }

    /// Can it do its work
    ///
    /// 503 with the failing parts as `fields` until each answers, and while the process drains before it stops.
    #[oai(path = "/readyz", method = "get", operation_id = "getReadiness")]
    async fn ready(&self) -> Result<Out<Readiness>, ApiError> {
        let (good, bad): (Vec<_>, Vec<_>) = self.0.ready().await.into_iter().partition(|p| p.ok);
        let failing: BTreeMap<String, String> = bad.into_iter().map(|p| (p.name.to_owned(), "not ready".to_owned())).collect();
        if failing.is_empty() {
            let parts = good.into_iter().map(|p| (p.name.to_owned(), "ok".to_owned())).collect();
            return Ok(Out(Readiness { status: "ready".to_owned(), parts }));
        }
        let detail = format!("Not ready: {}.", failing.keys().cloned().collect::<Vec<_>>().join(", "));
        Err(ApiError { fields: failing, retry_after: Some(Duration::from_secs(1)), ..ApiError::detail(Code::Unavailable, detail) })
    }
}
