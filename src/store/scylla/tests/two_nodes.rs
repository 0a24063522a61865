//! Two nodes that share the store and don't know of each other.

use super::*;
use crate::{domain::user::User, store::commands::*};

async fn two() -> [S; 2] {
    [Arc::new(store().await), Arc::new(store().await)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_on_two_nodes() {
    let (nodes, email) = (two().await, address());
    let cmds: Vec<_> =
        (0..32).map(|_| newcomer(T)).map(|cmd| CreateUser { user: User { email: email.clone(), ..cmd.user.clone() }, ..cmd }).collect();
    let outcomes = at_once(32, |i| {
        let (store, cmd) = (nodes[i % 2].clone(), cmds[i].clone());
        async move { store.create_user(&ctx(T), cmd).await.unwrap() }
    })
    .await;
    assert_eq!(count(&outcomes, &CreateUserOutcome::Created), 1);
    let [one, other] = &nodes;
    let winner = one.user_by_email(&email.digest()).await.unwrap().unwrap();
    assert_eq!(count(&outcomes, &CreateUserOutcome::EmailTaken(winner.id)), 31);
    for cmd in &cmds {
        assert_eq!(other.tenant(cmd.tenant.id).await.unwrap().is_some(), cmd.user.id == winner.id, "no tenant without its user");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_turns_on_two_nodes() {
    let nodes = two().await;
    let p = person(&nodes[0]).await;
    for generation in 0..5 {
        let outcomes = at_once(16, |i| {
            let (store, cmd) = (nodes[i % 2].clone(), rotate(&p.session, generation, 1));
            async move { store.rotate_session(&ctx(T), cmd).await.unwrap() }
        })
        .await;
        assert_eq!(count(&outcomes, &Cas::Done(())), 1);
    }
    assert_eq!(nodes[1].session(p.user.id, p.session.id).await.unwrap().unwrap().session.generation, 5);
}

/// What one node has acknowledged, the other one reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reads_what_the_other_acknowledged() {
    let [one, other] = two().await;
    let p = person(&one).await;
    for epoch in 1..=10 {
        let (writer, reader) = if epoch % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let cmd = change_password(&p, epoch, &format!("p{epoch}"), None);
        assert_eq!(writer.change_password(&ctx(T), cmd).await.unwrap(), Cas::Done(()));
        let seen = user(reader, p.user.id).await;
        assert_eq!((seen.credential_epoch, seen.password_hash), (epoch + 1, Some(hash(&format!("p{epoch}")))));
    }
}
