//! The API over HTTP: server loop, the one layer around all routes, DTOs and thin handlers, one error table, the document.
//! A handler parses, makes one service call and maps; nothing is decided here that the service room could decide.
//! `server`, `connection` and `peers` know sockets, `frame` every request, the area files (`auth`, `me`, …) one route each.

pub mod audit;
pub mod auth;
pub mod bearer;
pub mod bulk;
pub mod connected;
pub mod connection;
pub mod cors;
pub mod devmailbox;
pub mod domains;
mod dto;
pub mod envelope;
pub mod errors;
mod explain;
mod fields;
pub mod frame;
mod idempotency;
pub mod invites;
mod linger;
pub mod me;
pub mod openapi;
pub mod operations;
pub mod page;
pub mod pages;
pub mod payload;
pub mod peers;
pub mod policy;
mod recovery;
pub mod request;
pub mod roles;
pub mod routes;
pub mod server;
pub mod sessions;
mod socket;
pub mod tenant_admin;
pub mod tenants;
pub mod types;
pub mod upload;
pub mod users;
pub mod users_admin;
pub mod users_export;
pub mod verify;
pub mod wellknown;

use crate::{
    domain::{network::Network, rng::Rng, time::Clock},
    service::{Services, api::Decision},
};
use devmailbox::Mailbox;
use poem::{
    Endpoint, Response, Route,
    http::{HeaderValue, header},
};
use poem_openapi::Tags;
use routes::RouteEntry;
use std::sync::Arc;

/// Gives the metrics as Prometheus text.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// What the API is made of.
#[derive(Clone)]
pub struct HttpParts {
    /// What the routes call.
    pub services: Arc<Services>,
    /// Shown at `/dev/mailbox`, where there is one.
    pub mailbox: Option<Mailbox>,
    /// For request ids.
    pub clock: Arc<dyn Clock>,
    /// For request ids.
    pub rng: Arc<dyn Rng>,
    /// Who says for whom they ask.
    pub proxies: request::Proxies,
    /// The public URL is https.
    pub https: bool,
    /// Origins whose pages may call `/v1`.
    pub cors_origins: Vec<String>,
    /// Shown at `/metrics`, where that is on this port.
    pub metrics: Option<MetricsText>,
}

/// The chapters of the document.
#[derive(Tags)]
enum Tag {
    /// Sign-up, sign-in, refresh, forgotten passwords.
    Authentication,
    /// The signed-in person's sessions and password.
    Sessions,
    /// The signed-in person's account.
    Account,
    /// Proving an e-mail address or a phone number.
    Verification,
    /// The signed-in person's tenants.
    Tenants,
    /// Roles, permissions and API keys of the operator's tenant.
    Access,
    /// What happened in the operator's tenant.
    Audit,
    /// Inviting people to a tenant, and answering.
    Invites,
    /// Domains that the operator's tenant has proved.
    Domains,
    /// Users of the operator's tenant, for its admins.
    Users,
    /// Keys and probes.
    Operations,
}

type DocumentedApi = (
    auth::AuthApi,
    sessions::SessionsApi,
    me::MeApi,
    verify::VerifyApi,
    tenants::TenantsApi,
    roles::RolesApi,
    users::UsersApi,
    users_admin::UsersAdminApi,
    tenant_admin::TenantAdminApi,
    policy::PolicyApi,
    domains::DomainsApi,
    audit::AuditApi,
    recovery::RecoveryApi,
    invites::InvitesApi,
    bulk::BulkApi,
    wellknown::WellKnownApi,
);

fn documented(services: &Arc<Services>) -> DocumentedApi {
    (
        auth::AuthApi(services.clone()),
        sessions::SessionsApi(services.clone()),
        me::MeApi(services.clone()),
        verify::VerifyApi(services.clone()),
        tenants::TenantsApi(services.clone()),
        roles::RolesApi(services.clone()),
        users::UsersApi(services.clone()),
        users_admin::UsersAdminApi(services.clone()),
        tenant_admin::TenantAdminApi(services.clone()),
        policy::PolicyApi(services.clone()),
        domains::DomainsApi(services.clone()),
        audit::AuditApi(services.clone()),
        recovery::RecoveryApi(services.clone()),
        invites::InvitesApi(services.clone()),
        bulk::BulkApi(services.clone()),
        wellknown::WellKnownApi(services.clone()),
    )
}

/// The whole API as one endpoint, for [`server::serve`].
pub fn endpoint(parts: HttpParts) -> impl Endpoint<Output = Response> + 'static {
    let HttpParts { services, mailbox, clock, rng, proxies, https, cors_origins, metrics } = parts;
    let mut route = pages::add(routes::router(documented(&services)), openapi::text(), mailbox.is_some());
    if let Some(mailbox) = mailbox {
        route = devmailbox::add(route, mailbox);
    }
    if let Some(metrics) = metrics {
        route = add_metrics(route, metrics);
    }
    frame::Frame {
        inner: bearer::WithServices { inner: route, services: services.clone() },
        limit: services,
        proxies,
        https,
        cors: cors::Cors::new(cors_origins),
        clock,
        rng,
        unmatched: RouteEntry::new("unmatched"),
    }
}

/// `/metrics` alone, for a port of its own.
pub fn metrics_endpoint(metrics: MetricsText) -> impl Endpoint<Output = Response> + 'static {
    use poem::EndpointExt;
    add_metrics(Route::new(), metrics).map_to_response()
}

fn add_metrics(route: Route, metrics: MetricsText) -> Route {
    routes::single(route, "/metrics", move |_| {
        let mut response = Response::from(metrics());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
        response
    })
}

impl frame::NetworkLimit for Arc<Services> {
    async fn decide(&self, network: Network) -> Option<Decision> {
        self.network_limit(network).await.unwrap_or_else(|e| {
            // Nobody is refused because counters can't be read; what guards passwords and codes has counters of its own.
            tracing::warn!(error = %e, "the network limit could not be asked");
            None
        })
    }
}

#[cfg(test)]
mod frame_tests;
