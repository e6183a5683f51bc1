//! What is kept in memory beside the file: all tokens, and the numbers that tell caches that something changed.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use contracts::Digest;
use jiff::Timestamp;
use redb::{Database, ReadableDatabase, ReadableTable};

use super::tables::{TOKENS, decode, unread};
use crate::{
    names::Name,
    store::{StoreError, TokenRecord},
};

/// Numbers that subjects share.
const EVIDENCE_NUMBERS: usize = 8192;
/// Numbers that organizations share.
const RULES_NUMBERS: usize = 1024;

/// A change that is told once it is durable.
pub(super) enum Effect {
    /// A token as it is now.
    Token(TokenRecord),
    /// Contracts, workflows or settings.
    Rules(Name),
    /// Attestations about a subject.
    Evidence(Name, Digest),
    /// Grants were forgotten.
    Grants,
}

pub(super) struct Memory {
    tokens: RwLock<HashMap<Digest, Token>>,
    rules: Vec<AtomicU64>,
    evidence: Vec<AtomicU64>,
    grants: AtomicU64,
}

struct Token {
    record: TokenRecord,
    /// The second under which its last use was noted, or is about to be.
    used: AtomicI64,
}

impl Token {
    fn new(record: TokenRecord) -> Self {
        let used = record.last_used_at.map_or(i64::MIN, Timestamp::as_second);
        Self { record, used: AtomicI64::new(used) }
    }
}

impl Memory {
    pub(super) fn new() -> Self {
        let numbers = |n| std::iter::repeat_with(AtomicU64::default).take(n).collect();
        Self {
            tokens: RwLock::default(),
            rules: numbers(RULES_NUMBERS),
            evidence: numbers(EVIDENCE_NUMBERS),
            grants: AtomicU64::default(),
        }
    }

    /// Reads the tokens from the file and raises every number.
    pub(super) fn load(&self, database: &Database) -> Result<(), StoreError> {
        let tx = database.begin_read().map_err(unread)?;
        let mut tokens = HashMap::new();
        for row in tx.open_table(TOKENS).map_err(unread)?.iter().map_err(unread)? {
            let token: TokenRecord = decode("tokens", row.map_err(unread)?.1.value())?;
            tokens.insert(token.secret, Token::new(token));
        }
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
        for number in self.rules.iter().chain(&self.evidence).chain([&self.grants]) {
            number.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    pub(super) fn raise(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Token(token) => {
                    let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
                    tokens.insert(token.secret, Token::new(token));
                }
                Effect::Rules(organization) => raise(&self.rules, &organization),
                Effect::Evidence(organization, subject) => raise(&self.evidence, &(organization, subject)),
                Effect::Grants => {
                    self.grants.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }

    pub(super) fn token(&self, secret: &Digest) -> Option<TokenRecord> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).get(secret).map(|token| token.record.clone())
    }

    /// Whether a use of this instant is still to be noted. It is for the one who is told so to note it.
    pub(super) fn first_use(&self, secret: &Digest, used: Timestamp) -> bool {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let noted = |token: &Token| token.used.fetch_max(used.as_second(), Ordering::SeqCst);
        tokens.get(secret).is_some_and(|token| noted(token) < used.as_second())
    }

    /// The use could not be noted: the next one is.
    pub(super) fn not_noted(&self, secret: &Digest) {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = tokens.get(secret) {
            token.used.store(i64::MIN, Ordering::SeqCst);
        }
    }

    pub(super) fn no_tokens(&self) -> bool {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn grants(&self) -> u64 {
        self.grants.load(Ordering::SeqCst)
    }

    pub(super) fn rules(&self, organization: &Name) -> u64 {
        read(&self.rules, organization)
    }

    pub(super) fn evidence(&self, organization: &Name, subject: &Digest) -> u64 {
        read(&self.evidence, &(organization, subject))
    }
}

fn slot<'a>(numbers: &'a [AtomicU64], key: &impl Hash) -> Option<&'a AtomicU64> {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let count = u64::try_from(numbers.len()).ok()?;
    let at = usize::try_from(hasher.finish().checked_rem(count)?).ok()?;
    numbers.get(at)
}

fn raise(numbers: &[AtomicU64], key: &impl Hash) {
    if let Some(number) = slot(numbers, key) {
        number.fetch_add(1, Ordering::SeqCst);
    }
}

fn read(numbers: &[AtomicU64], key: &impl Hash) -> u64 {
    slot(numbers, key).map_or(0, |n| n.load(Ordering::SeqCst))
}
