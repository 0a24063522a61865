//! Tokens: an access token is signed and checked, a refresh token derived and checked. A refresh does each of the refresh token's two
//! and one signature; what `me` does is a check of the access token, or a look into a cache of those checked.

use criterion::{Criterion, criterion_group, criterion_main};
use qeetid::domain::{
    ids::{SessionId, TenantId, UserId},
    jwt::{ACCESS_TTL, AccessClaims, SigningKey, TrustedKey, verify},
    keyring::Keyring,
    time::Timestamp,
    token::RefreshToken,
};
use std::hint::black_box;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const ISSUER: &str = "http://localhost:4001";

fn access(c: &mut Criterion) {
    let key = SigningKey::from_pkcs8(&SigningKey::generate().expect("a key")).expect("the same key, parsed");
    let user = UserId::from_bytes([1; 16]);
    let claims = AccessClaims {
        iss: ISSUER.into(),
        aud: ISSUER.into(),
        sub: user,
        user_id: user,
        tenant_id: TenantId::from_bytes([2; 16]),
        sid: SessionId::from_bytes([3; 16]),
        iat: NOW.seconds(),
        nbf: NOW.seconds(),
        exp: NOW.plus(ACCESS_TTL).seconds(),
        jti: "0198c1f08a6c7aa1a4c56d7e8f901234".into(),
        epoch: 1,
    };
    let mut group = c.benchmark_group("access token");
    group.bench_function("sign", |b| b.iter(|| key.sign(black_box(&claims)).expect("a signature")));
    let (token, keys) = (key.sign(&claims).expect("a signature"), [TrustedKey { key: key.public().clone(), replaced_at: None }]);
    group.bench_function("verify", |b| {
        b.iter(|| {
            let seen = verify(black_box(token.reveal()), &keys, ISSUER, ISSUER, NOW);
            assert!(seen.is_some(), "a good token is refused");
        });
    });
    group.finish();
}

fn refresh(c: &mut Criterion) {
    let ring = Keyring::new([&[7; 32][..]]);
    let (user, session, nonce) = (UserId::from_bytes([1; 16]), SessionId::from_bytes([3; 16]), [5; 16]);
    let mut group = c.benchmark_group("refresh token");
    group.bench_function("derive", |b| b.iter(|| RefreshToken::issue(&ring, user, session, black_box(41), &nonce)));
    let token = RefreshToken::issue(&ring, user, session, 41, &nonce);
    group.bench_function("parse and check", |b| {
        b.iter(|| {
            let seen = RefreshToken::parse(black_box(token.reveal()));
            assert!(seen.is_some_and(|t| t.genuine(&ring, &nonce)), "a good token is refused");
        });
    });
    group.finish();
}

criterion_group!(benches, access, refresh);
criterion_main!(benches);
