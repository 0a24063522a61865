//! Time is passed by changing the SQLite file.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_invite_is_over_until_it_is_sent_again() {
    let mut app = App::own().await;
    let org = org(&app).await;
    let (email, password) = (fresh_email(), fresh_password());
    let sent = org.invite(&app, &email).await.expect(201);
    let mail = app.message(&email, 1).await;
    app.kill9();
    let database = app.database();
    assert_eq!(database.execute("UPDATE invites SET expires_at = 1000, sweep_at = 1000", []).unwrap(), 1);
    drop(database);
    app.start().await;
    for token in [sent.str("token"), mail.token()] {
        accept(&app, &token, Some(&password)).await.refused(400, "invite_invalid");
        accept(&app, &token, None).await.refused(400, "invite_invalid");
    }
    assert_eq!(org.list(&app, "?status=expired").await["items"][0]["id"], id(&sent));
    assert_eq!(org.list(&app, "?status=pending").await["items"], json!([]));
    let again = app.post_as(&org.access, &format!("/v1/invites/{}/resend", id(&sent)), json!({})).await.expect(200);
    assert_eq!(again.body["invite"]["status"], "pending");
    accept(&app, &again.str("token"), Some(&password)).await.expect(200);
}
