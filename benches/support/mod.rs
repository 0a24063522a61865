//! People and commands for the store, each with ids and an address of its own.

use qeetid::{
    domain::{
        context::{Actor, Ctx},
        hash::PasswordHash,
        ids::{CommandId, RoleId, SessionId, TenantId, UserId},
        network::Network,
        policy::AuthPolicy,
        rng::{self, SystemRng},
        session::Session,
        tenant::{Tenant, TenantKind},
        time::{SystemClock, Timestamp},
        user::{CodeSerials, Membership, User, UserStatus},
    },
    store::commands::{CreateSession, CreateUser},
};
use std::time::Duration;

pub const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
pub const HOME: Network = Network::V4([192, 0, 2, 1]);
pub const AWAY: Network = Network::V4([198, 51, 100, 9]);

/// A command of its own.
pub fn ctx() -> Ctx {
    let command = CommandId::new(&SystemClock, &SystemRng);
    Ctx { command, now: NOW, actor: Actor::Anonymous, network: Some(HOME), seed: None, request_id: Some("bench".into()) }
}

fn session(user_id: UserId, tenant_id: TenantId) -> Session {
    Session {
        id: SessionId::new(&SystemClock, &SystemRng),
        user_id,
        tenant_id,
        nonce: rng::bytes(&SystemRng),
        generation: 0,
        credential_epoch: 1,
        ip: "192.0.2.1".into(),
        user_agent: Some("bench".into()),
        created_at: NOW,
        last_seen_at: NOW,
        turned_at: NOW,
        turned_by: HOME,
        signed_in_at: None,
        expires_at: NOW.plus(Duration::from_secs(90 * 86_400)),
        idle_days: 30,
        revoked_at: None,
    }
}

/// A sign-up, not yet written.
pub fn newcomer() -> CreateUser {
    let (user_id, tenant_id) = (UserId::new(&SystemClock, &SystemRng), TenantId::new(&SystemClock, &SystemRng));
    let user = User {
        id: user_id,
        home_tenant: tenant_id,
        last_tenant: None,
        email: format!("{user_id}@example.com").parse().expect("an address"),
        email_verified_at: None,
        email_asserted_at: None,
        phone: None,
        phone_verified_at: None,
        display_name: None,
        locale: None,
        status: UserStatus::Active,
        metadata: Default::default(),
        password_hash: Some(PasswordHash::new(
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2Fs$dGFndGFndGFndGFndGFndGFndGFndGFndGFndGFndGE",
        )),
        credential_epoch: 1,
        version: 1,
        code_serials: CodeSerials::default(),
        independent: false,
        must_change: false,
        not_me_at: None,
        last_login_at: Some(NOW),
        created_at: NOW,
        updated_at: NOW,
        deleted_at: None,
        purge_after: None,
    };
    let tenant = Tenant {
        id: tenant_id,
        slug: format!("t-{tenant_id}"),
        name: "Bench".into(),
        kind: TenantKind::Personal,
        managed: false,
        domains: Vec::new(),
        metadata: Default::default(),
        policy: AuthPolicy::default(),
        version: 1,
        created_at: NOW,
        updated_at: NOW,
        deleted_at: None,
    };
    let membership = Membership { user_id, tenant_id, roles: vec![RoleId::OWNER], joined_at: NOW };
    CreateUser { user, tenant, membership, session: session(user_id, tenant_id), network: HOME, consumes: None, audit: vec![] }
}

/// A sign-in of somebody who has signed up.
pub fn sign_in(person: &CreateUser) -> CreateSession {
    CreateSession { session: session(person.user.id, person.tenant.id), network: HOME, is_login: true, audit: vec![] }
}
