//! Users as their admins see them, and the tenant itself.

mod fences;
mod purge;
mod tenant;
mod users;

use crate::support::{
    app::{Account, App, fresh_email, fresh_password},
    client::{Client, Reply},
};
use reqwest::Method;
use serde_json::{Value, json};

const ROLE_OWNER: &str = "00000000-0000-7000-8000-000000000001";
const ROLE_ADMIN: &str = "00000000-0000-7000-8000-000000000002";

/// An organization, and the token of its owner that is scoped to it.
struct Org {
    id: String,
    owner: Account,
    token: String,
}

/// Managed, with an owner who has proved their address.
async fn org(app: &App) -> Org {
    let owner = app.signup().await;
    app.verify(&owner).await;
    let made = app.post_as(&owner.access, "/v1/tenants", json!({"name": "Acme"})).await.expect(201);
    app.manage(&made.str("id")).await;
    let switched = app.post_as(&owner.access, "/v1/auth/switch-tenant", json!({"tenant_id": made.str("id")})).await.expect(200);
    Org { id: made.str("id"), owner, token: switched.str("access_token") }
}

/// A key of the operator's in a tenant, with all permissions.
fn operators_key(app: &App, tenant: &str) -> String {
    let output = app.command().args(["api-key", "create", "--tenant", tenant, "--scope", "all"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A user that an admin made.
#[derive(Clone)]
struct Made {
    id: String,
    email: String,
    password: String,
}

impl Org {
    async fn make(&self, app: &Client) -> Made {
        self.make_with(app, json!({})).await
    }
    /// With more fields.
    async fn make_with(&self, app: &Client, more: Value) -> Made {
        let (email, password) = (fresh_email(), fresh_password());
        let mut body = json!({"email": email, "password": password});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let user = app.post_as(&self.token, "/v1/users", body).await.expect(201);
        Made { id: user.str("id"), email: user.str("email"), password }
    }
    async fn patch(&self, app: &Client, id: &str, body: Value) -> Reply {
        app.send(Method::PATCH, &format!("/v1/users/{id}"), Some(&self.token), Some(body)).await
    }
    async fn get(&self, app: &Client, path: &str) -> Reply {
        app.get_as(&self.token, path).await
    }
    async fn post(&self, app: &Client, path: &str, body: Value) -> Reply {
        app.post_as(&self.token, path, body).await
    }
    async fn delete(&self, app: &Client, path: &str) -> Reply {
        app.delete_as(&self.token, path).await
    }
    /// The ids of a list.
    async fn ids(&self, app: &Client, path: &str) -> Vec<String> {
        ids(&self.get(app, path).await.expect(200))
    }
    /// An API key with these scopes.
    async fn key(&self, app: &Client, scopes: &[&str]) -> String {
        self.post(app, "/v1/api-keys", json!({"name": "k", "scopes": scopes})).await.expect(201).str("secret")
    }
    async fn events(&self, app: &Client) -> Vec<String> {
        let list = self.get(app, &format!("/v1/tenants/{}/audit?limit=200", self.id)).await.expect(200);
        list.body["items"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap().to_owned()).collect()
    }
}

fn ids(list: &Reply) -> Vec<String> {
    list.body["items"].as_array().unwrap().iter().map(|u| u["id"].as_str().unwrap().to_owned()).collect()
}

/// Lets somebody from elsewhere into an organization.
async fn join(app: &Client, org: &Org, who: &Account, role: &str) {
    let invite = org.post(app, "/v1/invites", json!({"email": who.email, "role_id": role})).await.expect(201);
    app.post("/v1/invites/accept", json!({"token": invite.str("token"), "password": who.password})).await.expect(200);
}
