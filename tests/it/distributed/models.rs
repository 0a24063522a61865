//! The rules, one thing after the other; each is shown to refuse a history that breaks it.

use super::linear::Model;

/// Whoever signs up first has the address; only his password opens it.
pub struct SignUp;
#[derive(Debug)]
pub enum SignUpCall {
    /// By the person of this number: it was 201.
    Made(usize),
    /// It was 422: somebody has it.
    Taken,
    /// Of this person; no answer, or 503.
    Unknown(usize),
    /// Signing in with this person's password.
    SignsIn(usize, bool),
}
impl Model for SignUp {
    type State = Option<usize>;
    type Call = SignUpCall;
    fn step(has: &Self::State, call: &SignUpCall) -> Vec<Self::State> {
        match (call, has) {
            (SignUpCall::Made(who) | SignUpCall::Unknown(who), None) => vec![Some(*who)],
            (SignUpCall::Taken, Some(_)) => vec![*has],
            (SignUpCall::SignsIn(who, opened), _) if (*has == Some(*who)) == *opened => vec![*has],
            _ => vec![],
        }
    }
}

/// A refresh token turns once; the one before it answers with the same new one; an older one ends the session.
pub struct Refresh;
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Session {
    /// `newest` is `None` while nobody has seen it; `before` is the one that it replaced.
    Alive {
        newest: Option<String>,
        before: Option<String>,
    },
    Ended,
}
impl Default for Session {
    fn default() -> Self {
        Self::Alive { newest: Some("0".into()), before: None }
    }
}
#[derive(Debug)]
pub enum RefreshCall {
    Turned { with: String, got: String },
    Refused { with: String },
    Unknown { with: String },
}
impl Model for Refresh {
    type State = Session;
    type Call = RefreshCall;
    fn step(state: &Session, call: &RefreshCall) -> Vec<Session> {
        let Session::Alive { newest, before } = state else {
            return if matches!(call, RefreshCall::Turned { .. }) { vec![] } else { vec![Session::Ended] };
        };
        let known = |with: &String| (newest.as_ref() == Some(with), before.as_ref() == Some(with));
        let turned = |with: &String, got: Option<&String>| Session::Alive { newest: got.cloned(), before: Some(with.clone()) };
        match call {
            RefreshCall::Turned { with, got } => match known(with) {
                (true, _) => vec![turned(with, Some(got))],
                // Who has not been answered, or came second, gets the same again.
                (_, true) if newest.as_ref().is_none_or(|n| n == got) => vec![turned(with, Some(got))],
                // One that nobody has seen was turned; by what it got, it was this one's.
                _ if newest.is_none() => vec![turned(with, Some(got))],
                _ => vec![],
            },
            RefreshCall::Unknown { with } => match known(with) {
                (true, _) => vec![turned(with, None)],
                (_, true) => vec![state.clone()],
                _ => vec![Session::Ended],
            },
            RefreshCall::Refused { with } => match known(with) {
                (false, false) => vec![Session::Ended],
                _ => vec![],
            },
        }
    }
}

/// A code is good once, and for five tries.
pub struct Confirm;
#[derive(Debug)]
pub enum ConfirmCall {
    Right(bool),
    Wrong,
    /// The right code; no answer, or 503.
    Unknown,
}
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Code {
    tries: u8,
    used: bool,
}
impl Model for Confirm {
    type State = Code;
    type Call = ConfirmCall;
    fn step(state: &Code, call: &ConfirmCall) -> Vec<Code> {
        let good = !state.used && state.tries < 5;
        let tried = Code { tries: (state.tries + 1).min(5), ..*state };
        match call {
            ConfirmCall::Right(true) if good => vec![Code { used: true, ..*state }],
            ConfirmCall::Right(false) if !good => vec![state.clone()],
            ConfirmCall::Right(_) => vec![],
            ConfirmCall::Wrong => vec![tried],
            ConfirmCall::Unknown if good => vec![Code { used: true, ..*state }, tried],
            ConfirmCall::Unknown => vec![state.clone()],
        }
    }
}

/// A link sets the password once; from then on only the new one opens. Number 0 is the password of before.
pub struct Reset;
#[derive(Debug)]
pub enum ResetCall {
    /// To the password of this number: 200.
    Set(usize),
    /// 400: the link is used up.
    Invalid,
    Unknown(usize),
    SignsIn(usize, bool),
}
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Account {
    password: usize,
    used: bool,
}
impl Model for Reset {
    type State = Account;
    type Call = ResetCall;
    fn step(state: &Account, call: &ResetCall) -> Vec<Account> {
        match call {
            ResetCall::Set(to) | ResetCall::Unknown(to) if !state.used => vec![Account { password: *to, used: true }],
            ResetCall::Invalid if state.used => vec![state.clone()],
            ResetCall::SignsIn(with, opened) if (*with == state.password) == *opened => vec![state.clone()],
            _ => vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::linear::*, *};

    fn good<M: Model>(events: Vec<(M::Call, u64, Option<u64>)>) {
        assert!(is_linearizable::<M>(&told(events)));
    }
    fn bad<M: Model>(events: Vec<(M::Call, u64, Option<u64>)>) {
        assert!(!is_linearizable::<M>(&told(events)));
    }

    #[test]
    fn sign_ups() {
        use SignUpCall::*;
        good::<SignUp>(vec![(Made(1), 0, Some(9)), (Taken, 1, Some(5)), (SignsIn(1, true), 2, Some(8)), (SignsIn(2, false), 10, Some(11))]);
        good::<SignUp>(vec![(Unknown(1), 0, None), (Taken, 5, Some(6)), (SignsIn(1, true), 7, Some(8))]);
        good::<SignUp>(vec![(Unknown(1), 0, None), (Made(2), 5, Some(6))]);
        bad::<SignUp>(vec![(Made(1), 0, Some(9)), (Made(2), 1, Some(8))]);
        bad::<SignUp>(vec![(Taken, 0, Some(1)), (Made(1), 2, Some(3))]);
        bad::<SignUp>(vec![(Made(1), 0, Some(1)), (SignsIn(1, false), 2, Some(3))]);
        bad::<SignUp>(vec![(Unknown(1), 0, None), (Made(2), 5, Some(6)), (SignsIn(1, true), 7, Some(8))]);
    }

    #[test]
    fn refreshes() {
        let turned = |with: &str, got: &str| RefreshCall::Turned { with: with.into(), got: got.into() };
        let refused = |with: &str| RefreshCall::Refused { with: with.into() };
        let unknown = |with: &str| RefreshCall::Unknown { with: with.into() };
        good::<Refresh>(vec![(turned("0", "a"), 0, Some(9)), (turned("0", "a"), 1, Some(8)), (turned("a", "b"), 9, Some(10))]);
        good::<Refresh>(vec![(unknown("0"), 0, None), (turned("0", "a"), 5, Some(6)), (turned("a", "b"), 7, Some(8))]);
        good::<Refresh>(vec![
            (turned("0", "a"), 0, Some(1)),
            (turned("a", "b"), 2, Some(3)),
            (refused("0"), 4, Some(5)),
            (refused("b"), 6, Some(7)),
        ]);
        // Two that came out of one.
        bad::<Refresh>(vec![(turned("0", "a"), 0, Some(9)), (turned("0", "b"), 1, Some(8))]);
        bad::<Refresh>(vec![(turned("0", "a"), 0, Some(1)), (turned("a", "b"), 2, Some(3)), (turned("0", "a"), 4, Some(5))]);
        bad::<Refresh>(vec![(turned("0", "a"), 0, Some(1)), (refused("a"), 2, Some(3))]);
    }

    #[test]
    fn codes() {
        use ConfirmCall::*;
        good::<Confirm>(vec![(Wrong, 0, Some(1)), (Right(true), 2, Some(3)), (Right(false), 2, Some(4))]);
        good::<Confirm>((0..5).map(|n| (Wrong, n, Some(n + 1))).chain([(Right(false), 9, Some(10))]).collect());
        bad::<Confirm>(vec![(Right(true), 0, Some(9)), (Right(true), 1, Some(8))]);
        bad::<Confirm>((0..5).map(|n| (Wrong, n, Some(n + 1))).chain([(Right(true), 9, Some(10))]).collect());
        bad::<Confirm>(vec![(Right(false), 0, Some(1)), (Right(true), 2, Some(3))]);
    }

    #[test]
    fn resets() {
        use ResetCall::*;
        good::<Reset>(vec![(SignsIn(0, true), 0, Some(5)), (Set(1), 1, Some(9)), (Invalid, 2, Some(8)), (SignsIn(1, true), 3, Some(7))]);
        good::<Reset>(vec![(Unknown(1), 0, None), (SignsIn(0, true), 5, Some(6)), (SignsIn(1, true), 7, Some(8))]);
        bad::<Reset>(vec![(Set(1), 0, Some(9)), (Set(2), 1, Some(8))]);
        bad::<Reset>(vec![(Set(1), 0, Some(1)), (SignsIn(0, true), 2, Some(3))]);
        bad::<Reset>(vec![(Set(1), 0, Some(1)), (SignsIn(1, false), 2, Some(3))]);
    }
}
