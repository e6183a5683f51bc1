//! What is in the cache, in memory: who may have it, when it was used, and what has to go to make room.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use contracts::Digest;

use super::{
    fetch::Fetch,
    folder::{FoundContent, Key, Kind, Place, Short, since},
};

/// Repositories that are known to have one thing; of more, each is asked anew.
const PLACES: usize = 256;
/// How exactly the folder knows when something was used.
const EXACT: Duration = Duration::from_secs(60);
/// What a file takes of a disk at least, and in steps.
const BLOCK: u64 = 4096;

/// Something in the cache, held: it is not taken away while this lives.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) length: u64,
    /// Whether its bytes were hashed since the start. Locked while they are.
    pub(super) intact: Arc<tokio::sync::Mutex<bool>>,
    pub(super) uses: Uses,
}

/// Counts who uses something.
#[derive(Clone, Default)]
pub(super) struct Uses(Arc<()>);

impl Uses {
    /// Whether nobody but the one who asks holds one.
    fn idle(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

struct Entry {
    held: Held,
    places: BTreeSet<Place>,
    /// Its turn: what has the lowest goes first.
    turn: u64,
    used: SystemTime,
    written_down: SystemTime,
}

/// What was looked for.
pub(super) enum Looked {
    /// There, and this repository has it.
    Here(Held),
    /// There, and another repository of the same upstream has it.
    Beside(Held),
    /// Not there for this upstream.
    Missing,
}

/// All of it.
pub(super) struct Index {
    entries: HashMap<Key, Entry>,
    turns: BTreeMap<u64, Key>,
    next_turn: u64,
    /// What is there takes of the disk.
    bytes: u64,
    /// What is on its way takes.
    growing: u64,
    limit: u64,
    /// What is asked of upstreams now.
    pub(super) fetches: HashMap<(Short, Digest), Arc<Fetch>>,
}

/// What was taken out of the index and is to be taken out of the folder.
pub(super) type Gone = Vec<(Key, BTreeSet<Place>)>;

impl Index {
    pub(super) fn new(limit: u64, found: Vec<FoundContent>) -> Self {
        let mut index = Self {
            entries: HashMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
            bytes: 0,
            growing: 0,
            limit,
            fetches: HashMap::new(),
        };
        for FoundContent { key, length, used, places } in found {
            index.put(key, length, Uses::default(), false, places, used);
        }
        index
    }

    /// Takes out a fetch that nobody is to join any more. One that took its place stays.
    pub(super) fn take_out(&mut self, fetch: &Fetch) {
        let key = (fetch.place.source, fetch.digest);
        if self.fetches.get(&key).is_some_and(|known| std::ptr::eq(Arc::as_ptr(known), fetch)) {
            self.fetches.remove(&key);
        }
    }

    /// Looks something up for a repository, and takes that as a use. `Some` beside it: that it was used is to be written
    /// down.
    pub(super) fn look(&mut self, key: Key, place: Place, now: SystemTime) -> (Looked, Option<SystemTime>) {
        let Some(entry) = self.entries.get_mut(&key) else { return (Looked::Missing, None) };
        let looked = if entry.places.contains(&place) {
            Looked::Here(entry.held.clone())
        } else if entry.places.iter().any(|known| known.source == place.source) {
            Looked::Beside(entry.held.clone())
        } else {
            return (Looked::Missing, None);
        };
        self.turns.remove(&entry.turn);
        entry.turn = self.next_turn;
        self.turns.insert(entry.turn, key);
        self.next_turn += 1;
        entry.used = now;
        let write = since(entry.written_down, now) >= EXACT;
        if write {
            entry.written_down = now;
        }
        (looked, write.then_some(now))
    }

    /// The length of something that this repository has.
    pub(super) fn length(&self, key: Key, place: Place) -> Option<u64> {
        self.entries.get(&key).filter(|entry| entry.places.contains(&place)).map(|entry| entry.held.length)
    }

    /// Notes that a repository has it. `false`: it is known, or is not to be noted.
    pub(super) fn mark(&mut self, key: Key, place: Place) -> bool {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.places.len() < PLACES);
        entry.is_some_and(|entry| entry.places.insert(place))
    }

    /// Adds what lies in the folder now; what lay there under the same name is replaced by the same bytes.
    pub(super) fn put(
        &mut self,
        key: Key,
        length: u64,
        uses: Uses,
        intact: bool,
        places: impl IntoIterator<Item = Place>,
        now: SystemTime,
    ) {
        let mut places: BTreeSet<_> = places.into_iter().collect();
        if let Some(old) = self.take(key) {
            places.extend(old);
        }
        let held = Held { length, intact: Arc::new(tokio::sync::Mutex::new(intact)), uses };
        self.bytes = self.bytes.saturating_add(room(length));
        self.turns.insert(self.next_turn, key);
        self.entries.insert(key, Entry { held, places, turn: self.next_turn, used: now, written_down: now });
        self.next_turn += 1;
    }

    /// Takes something out.
    pub(super) fn take(&mut self, key: Key) -> Option<BTreeSet<Place>> {
        let entry = self.entries.remove(&key)?;
        self.turns.remove(&entry.turn);
        self.bytes = self.bytes.saturating_sub(room(entry.held.length));
        Some(entry.places)
    }

    /// Counts so many more bytes as on their way, if there is room for them.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let fits = self.most_beside(bytes).is_some_and(|most| self.bytes <= most);
        if fits {
            self.growing += bytes;
        }
        fits
    }

    /// The same, after taking out what was not used for longest where there is no room. `false`: all that is left is in
    /// use.
    pub(super) fn make_room(&mut self, bytes: u64, gone: &mut Gone) -> bool {
        self.most_beside(bytes).is_some_and(|most| self.shrink(most, gone)) && self.grow(bytes)
    }

    /// How much may be there beside what is on its way and so many bytes more.
    fn most_beside(&self, bytes: u64) -> Option<u64> {
        self.limit.checked_sub(bytes)?.checked_sub(self.growing)
    }

    /// These bytes are no longer on their way.
    pub(super) fn grown(&mut self, bytes: u64) {
        self.growing = self.growing.saturating_sub(bytes);
    }

    /// Takes out what was not used for longest until no more than so many bytes are there, or what is left is in use.
    pub(super) fn shrink(&mut self, most: u64, gone: &mut Gone) -> bool {
        while self.bytes > most {
            let idle = |key: &&Key| self.entries.get(key).is_some_and(|entry| entry.held.uses.idle());
            let Some(key) = self.turns.values().find(idle).copied() else { return false };
            gone.extend(self.take(key).map(|places| (key, places)));
        }
        true
    }

    /// Takes out what was last used before then and is not in use.
    pub(super) fn unused(&mut self, before: SystemTime, gone: &mut Gone) {
        let unused = |(_, entry): &(&Key, &Entry)| entry.used < before && entry.held.uses.idle();
        let keys: Vec<Key> = self.entries.iter().filter(unused).map(|(key, _)| *key).collect();
        for key in keys {
            gone.extend(self.take(key).map(|places| (key, places)));
        }
    }

    /// Blobs, manifests, and the bytes that they take.
    pub(super) fn count(&self) -> (usize, usize, u64) {
        let blobs = self.entries.keys().filter(|key| key.kind == Kind::Blob).count();
        (blobs, self.entries.len() - blobs, self.bytes)
    }

    /// The bytes that are there.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much there may be.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }
}

/// What a file of this length takes of a disk.
fn room(length: u64) -> u64 {
    length.max(1).checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::folder::short, *};

    fn key(name: &str) -> Key {
        Key::blob(Digest::of(name.as_bytes()))
    }

    fn place(source: &str, path: &str) -> Place {
        Place { source: short([source]), path: short([path]) }
    }

    fn filled(limit: u64, names: &[&str]) -> Index {
        let mut index = Index::new(limit, Vec::new());
        for name in names {
            index.put(key(name), BLOCK, Uses::default(), true, [place("s", "p")], SystemTime::UNIX_EPOCH);
        }
        index
    }

    fn there(index: &Index, names: &[&str]) -> Vec<bool> {
        names.iter().map(|name| index.length(key(name), place("s", "p")).is_some()).collect()
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_what_is_in_use_never() {
        let mut index = filled(3 * BLOCK, &["a", "b", "c"]);
        let now = SystemTime::UNIX_EPOCH;
        let (Looked::Here(held), _) = index.look(key("a"), place("s", "p"), now) else { panic!("`a` is there") };
        let mut gone = Gone::new();
        assert!(index.make_room(BLOCK, &mut gone));
        assert_eq!(there(&index, &["a", "b", "c"]), [true, false, true], "`a` was used after `b`");
        assert!(index.make_room(BLOCK, &mut gone));
        assert!(!index.make_room(BLOCK, &mut gone), "`a` is in use");
        assert_eq!(there(&index, &["a", "b", "c"]), [true, false, false]);
        drop(held);
        assert!(index.make_room(BLOCK, &mut gone));
        assert!(!index.make_room(1, &mut gone), "all of it is on its way");
        index.grown(3 * BLOCK);
        assert!(index.grow(1) && !index.grow(3 * BLOCK));
        assert!(!index.make_room(3 * BLOCK + 1, &mut gone));
        assert_eq!((gone.len(), index.count()), (3, (0, 0, 0)));
    }

    #[test]
    fn only_a_repository_that_has_something_is_told_of_it() {
        let mut index = filled(BLOCK, &["a"]);
        let now = SystemTime::UNIX_EPOCH;
        let mut look = |at| index.look(key("a"), at, now).0;
        assert!(matches!(look(place("s", "p")), Looked::Here(_)));
        assert!(matches!(look(place("s", "other")), Looked::Beside(_)));
        assert!(matches!(look(place("other", "p")), Looked::Missing));
        assert!(index.mark(key("a"), place("s", "other")) && !index.mark(key("a"), place("s", "other")));
        assert!(matches!(index.look(key("a"), place("s", "other"), now).0, Looked::Here(_)));
        assert!(!index.mark(key("b"), place("s", "p")));
    }

    #[test]
    fn files_count_as_what_they_take_of_a_disk() {
        assert_eq!([0, 1, BLOCK, BLOCK + 1].map(room), [BLOCK, BLOCK, BLOCK, 2 * BLOCK]);
        assert_eq!(room(u64::MAX), u64::MAX);
    }
}
