//! Who may call what: every route of the document, by everybody that there is, as `routes.txt` says. A route without a row fails.

/// With rows that are made older by SQL.
mod embedded {
    use crate::{
        api::tenants_apart::{By, Route, call, routes},
        support::app::{Account, App, fresh_email, fresh_password},
    };
    use reqwest::Method;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    /// Lines are `operation status…`, in the order of [`CALLERS`]; what begins with `#` is for readers.
    const TABLE: &str = include_str!("routes.txt");

    const ADMIN: &str = "00000000-0000-7000-8000-000000000002";
    const MEMBER: &str = "00000000-0000-7000-8000-000000000003";
    const SOME_ID: &str = "01890000-0000-7000-8000-000000000000";
    const MINUTES_16: i64 = 16 * 60 * 1000;

    /// What a caller may act in.
    #[derive(Clone, Copy, PartialEq)]
    enum Place {
        /// Their own.
        Personal,
        /// An organization without power over credentials.
        Plain,
        /// One with it.
        Managed,
    }
    use Place::{Managed, Personal, Plain};

    #[derive(Clone, Copy, PartialEq)]
    enum Who {
        Nobody,
        Person(Place, &'static str),
        /// An owner who signed in 16 minutes ago.
        Stale,
        Key(Place, &'static str),
        /// A key whose maker, or whose parent, is not what they were.
        Left(&'static str),
    }

    const CALLERS: [(&str, Who); 19] = [
        ("nobody", Who::Nobody),
        ("person", Who::Person(Personal, "owner")),
        ("member", Who::Person(Plain, "member")),
        ("admin", Who::Person(Plain, "admin")),
        ("owner", Who::Person(Plain, "owner")),
        ("admin+", Who::Person(Managed, "admin")),
        ("owner+", Who::Person(Managed, "owner")),
        ("stale+", Who::Stale),
        ("k-pers", Who::Key(Personal, "owner")),
        ("k-adm", Who::Key(Plain, "admin")),
        ("k-own", Who::Key(Plain, "owner")),
        ("k-adm+", Who::Key(Managed, "admin")),
        ("k-own+", Who::Key(Managed, "owner")),
        ("demoted", Who::Left("demoted")),
        ("suspend", Who::Left("suspended")),
        ("removed", Who::Left("removed")),
        ("deleted", Who::Left("deleted")),
        ("purged", Who::Left("purged")),
        ("orphan", Who::Left("child")),
    ];

    /// A caller with what is around them.
    struct Scene {
        place: Place,
        tenant: String,
        owner: Account,
        /// The owner's, scoped to the tenant.
        owners: String,
        /// Of whom the caller is, or who made their key.
        user: String,
        token: Option<String>,
        key: Option<String>,
    }

    async fn in_tenant(app: &App, access: &str, tenant: &str) -> String {
        app.post_as(access, "/v1/auth/switch-tenant", json!({"tenant_id": tenant})).await.expect(200).str("access_token")
    }
    /// All that an owner may do, or (`owner` false) an admin.
    async fn scopes(app: &App, token: &str, owner: bool) -> Vec<Value> {
        let all = app.get_as(token, "/v1/permissions").await.expect(200).body["items"].clone();
        let keys = all.as_array().unwrap().iter().map(|p| p["key"].clone());
        keys.filter(|k| owner || (k != "tenant.write" && k != "policy.write")).collect()
    }
    async fn key(app: &App, token: &str, owner: bool) -> (String, String) {
        let body = json!({"name": "k", "scopes": scopes(app, token, owner).await});
        let made = app.post_as(token, "/v1/api-keys", body).await.expect(201);
        (made.body["api_key"]["id"].as_str().unwrap().to_owned(), made.str("secret"))
    }

    impl Scene {
        async fn new(app: &App, who: Who) -> Self {
            let (place, role) = match who {
                Who::Nobody => (Personal, "owner"),
                Who::Person(place, role) | Who::Key(place, role) => (place, role),
                Who::Stale => (Managed, "owner"),
                Who::Left("removed") => (Plain, "admin"),
                Who::Left("child") => (Managed, "owner"),
                Who::Left(_) => (Managed, "admin"),
            };
            let owner = app.signup().await;
            app.verify(&owner).await;
            let (mut tenant, mut owners) = (owner.tenant_id.clone(), owner.access.clone());
            if place != Personal {
                tenant = app.post_as(&owner.access, "/v1/tenants", json!({"name": "Acme"})).await.expect(201).str("id");
                owners = in_tenant(app, &owner.access, &tenant).await;
            }
            if place == Managed {
                app.manage(&tenant).await;
            }
            let (user, token) = match role {
                "owner" => (owner.user_id.clone(), owners.clone()),
                role => Self::joined(app, place, &owners, &tenant, if role == "admin" { ADMIN } else { MEMBER }).await,
            };
            let mut scene = Self { place, tenant, owner, owners, user, token: Some(token.clone()), key: None };
            match who {
                Who::Nobody => scene.token = None,
                Who::Person(..) => {}
                Who::Stale => {
                    let sql = "UPDATE sessions SET created_at = created_at - ?1 WHERE lower(hex(user_id)) = ?2";
                    app.database().execute(sql, (MINUTES_16, scene.user.replace('-', ""))).unwrap();
                    // What is to be acted upon is made in another session.
                    let again = app.login(&scene.owner.email, &scene.owner.password).await.expect(200).str("access_token");
                    scene.owners = in_tenant(app, &again, &scene.tenant).await;
                }
                Who::Key(..) => (scene.token, scene.key) = (None, Some(key(app, &token, role == "owner").await.1)),
                Who::Left(how) => {
                    let (id, secret) = key(app, &token, role == "owner").await;
                    (scene.token, scene.key) = (None, Some(secret));
                    scene.leave(app, how, &id).await;
                }
            }
            scene
        }

        /// Somebody with a role.
        async fn joined(app: &App, place: Place, owners: &str, tenant: &str, role: &str) -> (String, String) {
            if place == Managed {
                let (email, password) = (fresh_email(), fresh_password());
                let body = json!({"email": email, "password": password, "email_verified": true, "role_id": role});
                let user = app.post_as(owners, "/v1/users", body).await.expect(201).str("id");
                return (user, app.login(&email, &password).await.expect(200).str("access_token"));
            }
            let who = app.signup().await;
            app.verify(&who).await;
            let invite = app.post_as(owners, "/v1/invites", json!({"email": who.email, "role_id": role})).await.expect(201);
            app.post("/v1/invites/accept", json!({"token": invite.str("token"), "password": who.password})).await.expect(200);
            let token = in_tenant(app, &who.access, tenant).await;
            (who.user_id, token)
        }

        /// What becomes of the maker of a key.
        async fn leave(&mut self, app: &App, how: &str, id: &str) {
            let user = format!("/v1/users/{}", self.user);
            let role = |role: &str| format!("{user}/tenants/{}/roles/{role}", self.tenant);
            let send = async |method: Method, path: &str, body: Option<Value>| {
                let reply = app.send(method, path, Some(&self.owners), body).await;
                assert!(reply.status < 300, "{path}: {}", reply.text);
            };
            match how {
                "demoted" => {
                    send(Method::POST, &role(MEMBER), None).await;
                    send(Method::DELETE, &role(ADMIN), None).await;
                }
                "suspended" => send(Method::PATCH, &user, Some(json!({"status": "suspended"}))).await,
                "removed" => send(Method::DELETE, &role(ADMIN), None).await,
                "deleted" => send(Method::DELETE, &user, None).await,
                "purged" => {
                    send(Method::DELETE, &user, None).await;
                    send(Method::DELETE, &format!("{user}/purge"), None).await;
                }
                _ => {
                    // The key that is left was made with the one that ends.
                    let body = json!({"name": "child", "scopes": scopes(app, &self.owners, true).await});
                    let child = app.send_key(Method::POST, "/v1/api-keys", self.key.as_ref().unwrap(), Some(body)).await;
                    self.key = Some(child.expect(201).str("secret"));
                    send(Method::DELETE, &format!("/v1/api-keys/{id}"), None).await;
                }
            }
            let key = self.key.clone().unwrap();
            let expected = if ["demoted", "suspended"].contains(&how) { 200 } else { 401 };
            let status = async || app.send_key(Method::GET, "/v1/auth/me", &key, None).await.status;
            crate::api::until("the key is as it was", status, |s| *s == expected).await;
        }

        fn by(&self) -> By<'_> {
            match (&self.token, &self.key) {
                (Some(token), _) => By::Token(token),
                (_, Some(key)) => By::Key(key),
                _ => By::Nobody,
            }
        }

        /// The path with things of the tenant that nobody has used yet.
        async fn path(&self, app: &App, route: &Route) -> String {
            let mut path = route.path.clone();
            for parameter in &route.parameters {
                let id = match parameter.as_str() {
                    "tenantID" | "tenant_id" => self.tenant.clone(),
                    "roleID" | "role_id" if self.place == Personal => MEMBER.to_owned(),
                    "roleID" | "role_id" => {
                        let body = json!({"name": fresh_email(), "permissions": []});
                        let made = app.post_as(&self.owners, &format!("/v1/tenants/{}/roles", self.tenant), body).await;
                        made.expect(201).str("id")
                    }
                    // Codes are for oneself.
                    _ if route.path.contains("/verify/") => self.user.clone(),
                    "id" | "userID" | "user_id" if route.path.starts_with("/v1/users/") => self.target(app, route).await,
                    "id" if route.path.starts_with("/v1/api-keys/") => key(app, &self.owners, true).await.0,
                    "id" if route.path.starts_with("/v1/invites/") && self.place != Personal => {
                        let invite = app.post_as(&self.owners, "/v1/invites", json!({"email": fresh_email()})).await.expect(201);
                        invite.body["invite"]["id"].as_str().unwrap().to_owned()
                    }
                    "id" => SOME_ID.to_owned(),
                    other => panic!("{other} in {}: teach this test what it names", route.path),
                };
                path = path.replace(&format!("{{{parameter}}}"), &id);
            }
            path
        }

        /// Somebody to act upon: in a personal tenant its person.
        async fn target(&self, app: &App, route: &Route) -> String {
            if self.place == Personal {
                return self.user.clone();
            }
            let id = app.post_as(&self.owners, "/v1/users", json!({"email": fresh_email()})).await.expect(201).str("id");
            if self.place == Managed && ["/restore", "/purge"].iter().any(|end| route.path.ends_with(end)) {
                app.delete_as(&self.owners, &format!("/v1/users/{id}")).await.expect(204);
            }
            id
        }

        /// The caller is what they were.
        async fn stands(&self, app: &App) -> bool {
            let owner = app.get_as(&self.owners, &format!("/v1/tenants/{}", self.tenant)).await.status == 200;
            let caller = match self.by() {
                By::Nobody => 200,
                By::Token(token) => app.get_as(token, "/v1/auth/me").await.status,
                By::Key(key) => app.send_key(Method::GET, "/v1/auth/me", key, None).await.status,
            };
            owner && caller == 200 && app.me(&self.owner.access).await.status == 200
        }
    }

    /// The statuses that a caller gets.
    async fn column(app: &App, routes: &[Route], who: Who) -> Vec<u16> {
        let (mut scene, mut statuses) = (Scene::new(app, who).await, Vec::new());
        for route in routes {
            let path = scene.path(app, route).await;
            let mut body = route.body.as_ref().map(|b| b.sample.clone());
            for field in ["email", "new_email"] {
                if let Some(email) = body.as_mut().and_then(|b| b.get_mut(field)) {
                    *email = fresh_email().into();
                }
            }
            statuses.push(call(app, route, scene.by(), &path, body.as_ref()).await.status);
            if !matches!(who, Who::Left(_)) && !scene.stands(app).await {
                scene = Scene::new(app, who).await;
            }
        }
        statuses
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn everybody_on_every_route() {
        let app = App::own().await;
        let routes = routes(&app.get("/openapi.json").await.expect(200).body);
        let mut found: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
        let columns = CALLERS.map(|(_, who)| column(&app, &routes, who));
        for column in futures_util::future::join_all(columns).await {
            for (route, status) in routes.iter().zip(column) {
                found.entry(&route.id).or_default().push(status);
            }
        }
        let line = |id: &str, statuses: &[u16]| {
            let statuses: Vec<_> = statuses.iter().map(|s| format!("{s:<8}")).collect();
            format!("{id:<26} {}", statuses.concat()).trim_end().to_owned()
        };
        let found: Vec<String> = found.iter().map(|(id, statuses)| line(id, statuses)).collect();
        let expected: Vec<&str> = TABLE.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).collect();
        if found != expected {
            let names: Vec<_> = CALLERS.iter().map(|(name, _)| format!("{name:<8}")).collect();
            let new: Vec<_> = found.iter().filter(|l| !expected.contains(&l.as_str())).cloned().collect();
            let gone: Vec<_> = expected.iter().filter(|l| !found.iter().any(|f| f == *l)).copied().collect();
            panic!("{:<26} {}\nfound:\n{}\nexpected:\n{}", "#", names.concat(), new.join("\n"), gone.join("\n"));
        }
    }
}
