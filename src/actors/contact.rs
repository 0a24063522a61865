//! One actor per address: lets one sign-up through at a time and tells the others how it ended, so that a thousand
//! sign-ups of one address cost one hash and one write.

use super::{
    entity::{Entity, Me, Next, ReplyTo, next_after, settled},
    placement::{self, NodeTurn, Placement},
};
use crate::{
    domain::{
        contact::ContactDigest,
        context::Ctx,
        ids::{JobId, PendingSignupId, UserId},
        keyring::Keyring,
        outbox::{Job, Message},
        secret::SecretText,
        token::{CodePurpose, codes_equal, one_time_code},
    },
    ephemeral::{CodeKey, CodeRecord, Ephemeral, EphemeralError, NewCode, wrong_codes},
    store::{Certainty, Store, StoreError, commands::*},
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// Who has the turn must come back with a result in this time; then the next one gets it.
const TURN: Duration = Duration::from_secs(5);
/// How long the outcome of a sign-up is told without asking the store: long enough for the crowd that came with it.
const REMEMBER: Duration = Duration::from_secs(1);
/// Tries of the code of one sign-up token …
const TRIES_TOKEN: u32 = 5;
/// … and of the address's code under all tokens.
const TRIES_CODE: u32 = 25;

/// Which turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// The turn at an address. It goes on to the next one when the last clone is dropped, wherever that is: in a request that was
/// cut off, or in an answer that nobody took.
#[derive(Clone)]
pub struct Turn(Arc<Held>);

struct Held {
    ticket: Ticket,
    actor: Me<Contact>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.actor.tell(ContactCommand::GiveBack(self.ticket));
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.ticket.fmt(f)
    }
}

/// What it takes.
#[derive(Clone)]
pub enum ContactCommand {
    /// Waits for the turn to sign up (before hashing).
    Enter,
    /// Uses the turn.
    Create(Turn, Box<(Ctx, CreateUser)>),
    /// The address may be free again: what is remembered of it is forgotten.
    Forget,
    /// The turn was used, given back, or its time is over.
    GiveBack(Ticket),
    /// Writes a sign-up that waits for its code (`verify_first`).
    Begin(Box<BeginSignup>),
    /// Uses the code.
    Confirm(Box<ConfirmSignup>),
}

/// See [`ContactCommand::Begin`].
#[derive(Clone)]
pub struct BeginSignup {
    /// Context of the write.
    pub ctx: Ctx,
    /// The row.
    pub pending: PendingSignup,
    /// A new code, if one may be sent; `None` leaves the live one as it is.
    pub new_code: Option<NewCode>,
    /// Id of the job.
    pub job: JobId,
}

/// See [`ContactCommand::Confirm`].
#[derive(Clone)]
pub struct ConfirmSignup {
    /// Context of the write.
    pub ctx: Ctx,
    /// The sign-up that the (verified) token names.
    pub pending: PendingSignupId,
    /// As typed.
    pub code: SecretText,
    /// The account to be made.
    pub create: CreateUser,
}

/// What it answers.
#[derive(Debug, Clone)]
pub enum ContactReply {
    /// Yours; come back with `Create`, or drop it.
    Turn(Turn),
    /// The account is there.
    Created,
    /// Somebody has the address.
    Taken(UserId),
    /// The turn took too long and went to somebody else.
    TurnLost,
    /// `Forget`, `GiveBack` or `Begin` is done.
    Done,
    /// Wrong, dead or unknown code.
    CodeInvalid,
    /// The code's time is over.
    CodeExpired,
    /// The store could not do it.
    Store(StoreError),
    /// The ephemeral store could not do it.
    Ephemeral(EphemeralError),
}

/// Who has the turn.
#[derive(Debug, Clone, Copy)]
struct Holder {
    ticket: Ticket,
    until: Instant,
    /// Somebody waits, so the turn goes on at its end even if the holder does nothing.
    timed: bool,
}

/// The actor's state.
pub struct Contact {
    digest: ContactDigest,
    store: Arc<dyn Store>,
    ephemeral: Arc<dyn Ephemeral>,
    keyring: Arc<Keyring>,
    placement: Arc<dyn Placement>,
    /// Held while somebody here has the turn: the addresses' crowds on other nodes wait for this one. With the time of its asking.
    node_turn: Option<(NodeTurn, Instant)>,
    holder: Option<Holder>,
    tickets: u64,
    crowd: VecDeque<ReplyTo<ContactReply>>,
    taken: Option<(UserId, Instant)>,
}

impl Contact {
    /// The state of a new actor.
    pub fn new(
        digest: ContactDigest,
        store: Arc<dyn Store>,
        ephemeral: Arc<dyn Ephemeral>,
        keyring: Arc<Keyring>,
        placement: Arc<dyn Placement>,
    ) -> Self {
        let (node_turn, holder, taken) = (None, None, None);
        Self { digest, store, ephemeral, keyring, placement, node_turn, holder, tickets: 0, crowd: VecDeque::new(), taken }
    }

    fn code_key(&self) -> CodeKey {
        CodeKey { purpose: CodePurpose::Signup, subject: self.digest.as_bytes().to_vec() }
    }

    /// For a command of `verify_first`, unless somebody here has the turn anyway.
    async fn for_one_command(&self) -> Option<NodeTurn> {
        if self.node_turn.is_some() { None } else { Some(self.placement.turn(Self::KIND, self.digest.as_bytes()).await) }
    }

    async fn pass_turn_on(&mut self, me: &Me<Self>) {
        self.holder = None;
        while let Some(next) = self.crowd.pop_front() {
            if !next.is_abandoned() {
                self.take_node_turn().await;
                self.tickets += 1;
                let ticket = Ticket(self.tickets);
                self.holder = Some(Holder { ticket, until: Instant::now() + TURN, timed: false });
                self.time_holder(me);
                next.send(ContactReply::Turn(Turn(Arc::new(Held { ticket, actor: me.clone() }))));
                return;
            }
        }
        // Nobody here wants it any more.
        self.node_turn = None;
    }

    /// Who waits must not wait for longer than a turn may last, even if the holder does.
    fn time_holder(&mut self, me: &Me<Self>) {
        if let Some(holder) = self.holder.as_mut().filter(|h| !h.timed && !self.crowd.is_empty()) {
            holder.timed = true;
            me.tell_after(holder.until.saturating_duration_since(Instant::now()), ContactCommand::GiveBack(holder.ticket));
        }
    }

    /// The turn among all nodes, for as long as one here may have his. A long crowd would outlast it: then it goes back, and this
    /// node stands in the row again, behind the crowds of the others.
    async fn take_node_turn(&mut self) {
        if self.node_turn.as_ref().is_some_and(|(_, asked)| asked.elapsed() + TURN > placement::LEASE) {
            self.node_turn = None;
        }
        if self.node_turn.is_none() {
            let asked = Instant::now();
            self.node_turn = Some((self.placement.turn(Self::KIND, self.digest.as_bytes()).await, asked));
        }
    }

    async fn enter(&mut self, reply: ReplyTo<ContactReply>, me: &Me<Self>) {
        if let Some((user, at)) = self.taken
            && at.elapsed() < REMEMBER
        {
            return reply.send(ContactReply::Taken(user));
        }
        if self.holder.is_some_and(|h| Instant::now() < h.until) {
            reply.not_begun();
            self.crowd.push_back(reply);
            return self.time_holder(me);
        }
        // The first of a crowd: the other nodes' crowds are let through before, or after.
        self.take_node_turn().await;
        // One read now saves a hash if the address is taken.
        match self.store.user_by_email(&self.digest).await {
            Ok(Some(user)) => {
                self.tell_crowd(user.id);
                reply.send(ContactReply::Taken(user.id));
            }
            Ok(None) => {
                reply.not_begun();
                self.crowd.push_back(reply);
                self.pass_turn_on(me).await;
            }
            Err(e) => {
                self.node_turn = None;
                reply.send(ContactReply::Store(e));
            }
        }
    }

    /// Everybody who waits learns that the address has an account.
    fn tell_crowd(&mut self, user: UserId) {
        self.taken = Some((user, Instant::now()));
        (self.holder, self.node_turn) = (None, None);
        for waiting in self.crowd.drain(..) {
            waiting.send(ContactReply::Taken(user));
        }
    }

    async fn create(&mut self, turn: &Turn, ctx: &Ctx, cmd: CreateUser, me: &Me<Self>) -> (ContactReply, Next) {
        if self.holder.is_none_or(|h| h.ticket != turn.0.ticket) {
            return (ContactReply::TurnLost, Next::Continue);
        }
        let user = cmd.user.id;
        let outcome = settled(|| self.store.create_user(ctx, cmd.clone())).await;
        let next = next_after(&outcome);
        let reply = match outcome {
            Ok(CreateUserOutcome::Created) => {
                self.tell_crowd(user);
                ContactReply::Created
            }
            Ok(CreateUserOutcome::EmailTaken(by)) => {
                self.tell_crowd(by);
                ContactReply::Taken(by)
            }
            Ok(CreateUserOutcome::PendingGone) => {
                self.pass_turn_on(me).await;
                ContactReply::CodeInvalid
            }
            Err(e) => {
                // Each of the crowd would hash, only to learn the same. With an unknown outcome the actor goes, and they ask its successor.
                if e.certainty == Certainty::CertainlyNot {
                    for waiting in self.crowd.drain(..) {
                        waiting.send(ContactReply::Store(e.clone()));
                    }
                    self.pass_turn_on(me).await;
                }
                ContactReply::Store(e)
            }
        };
        (reply, next)
    }

    async fn begin(&self, begin: BeginSignup) -> (ContactReply, Next) {
        let key = self.code_key();
        let now = begin.ctx.now;
        let started = match begin.new_code {
            Some(new) => self.ephemeral.start_code(&key, new, now).await.map(|r| Some(r.serial)),
            // Too soon for another mail: a job of the same kind is written all the same, and the worker finds it dead.
            None => Ok(None),
        };
        let serial = match started {
            Ok(serial) => serial,
            Err(e) => return (ContactReply::Ephemeral(e), Next::Continue),
        };
        let message = Message::SignupRequested { pending_id: begin.pending.id, serial: serial.unwrap_or(0) };
        let job = Job { id: begin.job, message, created_at: now, attempts: 0 };
        let outcome = settled(|| self.store.begin_signup(&begin.ctx, begin.pending.clone(), job.clone())).await;
        let next = next_after(&outcome);
        match outcome {
            Ok(()) => (ContactReply::Done, next),
            Err(e) => {
                if let Some(serial) = serial {
                    // Best effort: the mail will not come, so the address must not wait out the cool-down for it.
                    let _ = self.ephemeral.drop_code(&key, serial).await;
                }
                (ContactReply::Store(e), next)
            }
        }
    }

    async fn confirm(&mut self, confirm: ConfirmSignup) -> (ContactReply, Next) {
        let key = self.code_key();
        // An outage costs the token no try.
        if let Err(e) = self.ephemeral.peek_code(&key, confirm.ctx.now).await {
            return (ContactReply::Ephemeral(e), Next::Continue);
        }
        match self.store.count_signup_try(confirm.pending).await {
            Ok(Some(tries)) if tries <= TRIES_TOKEN => {}
            Ok(_) => return (ContactReply::CodeInvalid, Next::Continue),
            Err(e) => return (ContactReply::Store(e), Next::Continue),
        }
        let record = match self.ephemeral.try_code(&key, TRIES_CODE, confirm.ctx.now).await {
            Ok(Some(record)) => record,
            Ok(None) => return (ContactReply::CodeInvalid, Next::Continue),
            Err(e) => return (ContactReply::Ephemeral(e), Next::Continue),
        };
        if confirm.ctx.now >= record.expires_at {
            return (ContactReply::CodeExpired, Next::Continue);
        }
        let CodeRecord { key: secret, target, serial, nonce, length, .. } = &record;
        let right = one_time_code(&self.keyring, *secret, key.purpose, &key.subject, target, *serial, nonce, *length);
        if record.tries > TRIES_CODE || !right.is_some_and(|right| codes_equal(&right, &confirm.code)) {
            // Best effort: what this try costs is counted with the code.
            let _ = wrong_codes::count(&*self.ephemeral, &key.subject, confirm.ctx.now).await;
            return (ContactReply::CodeInvalid, Next::Continue);
        }
        let user = confirm.create.user.id;
        let outcome = settled(|| self.store.create_user(&confirm.ctx, confirm.create.clone())).await;
        let next = next_after(&outcome);
        let reply = match outcome {
            Ok(CreateUserOutcome::Created) => {
                let _ = self.ephemeral.drop_code(&key, record.serial).await;
                self.tell_crowd(user);
                ContactReply::Created
            }
            // The code proved the mailbox, and yet the address is taken: it was taken after the mail went out.
            Ok(CreateUserOutcome::EmailTaken(by)) => ContactReply::Taken(by),
            Ok(CreateUserOutcome::PendingGone) => ContactReply::CodeInvalid,
            Err(e) => ContactReply::Store(e),
        };
        (reply, next)
    }
}

impl Entity for Contact {
    const KIND: &'static str = "contact";
    type Key = ContactDigest;
    type Command = ContactCommand;
    type Reply = ContactReply;

    async fn handle(&mut self, command: ContactCommand, reply: ReplyTo<ContactReply>, me: &Me<Self>) -> Next {
        let (answer, next) = match command {
            ContactCommand::Enter => {
                self.enter(reply, me).await;
                return Next::Continue;
            }
            ContactCommand::Forget => {
                self.taken = None;
                (ContactReply::Done, Next::Continue)
            }
            ContactCommand::GiveBack(ticket) => {
                if self.holder.is_some_and(|h| h.ticket == ticket) {
                    self.pass_turn_on(me).await;
                }
                (ContactReply::Done, Next::Continue)
            }
            ContactCommand::Create(turn, work) => self.create(&turn, &work.0, work.1, me).await,
            ContactCommand::Begin(begin) => {
                let _turn = self.for_one_command().await;
                self.begin(*begin).await
            }
            ContactCommand::Confirm(confirm) => {
                let _turn = self.for_one_command().await;
                self.confirm(*confirm).await
            }
        };
        reply.send(answer);
        next
    }
}
