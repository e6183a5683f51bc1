//! Turns good input into bad input, the same way each time: a small fuzzer for ordinary tests.

/// What breaks parsers more often than random bytes do.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\0",
    b"\\",
    b"\\ud800",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"null",
    b"-",
    b"1e999",
    b"99999999999999999999",
    b"-0",
    b"&a ",
    b"*a ",
    b"<<: *a\n",
    b"!!binary ",
    b"%",
    b"|",
    b"---\n",
    b"<",
    b"<!ENTITY a \"b\">",
    b"<!DOCTYPE a [",
    b"]]>",
    b"&lt;",
    b"&#0;",
    b"==",
    b"_type",
    b"payload",
    b"sha256:",
    b"@",
    b"/../",
    b"\xe2\x80\xae",
    b"\r\n",
];

/// A sequence of mutations that depends on its seed alone.
#[derive(Debug, Clone)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Begins a sequence; the same seed begins the same one.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // xorshift stays at zero forever, so zero is never its state.
        Self { state: seed ^ 0x9e37_79b9_7f4a_7c15 | 1 }
    }

    /// One of these inputs, changed in one to six places; sometimes two of them grown together. Never longer than
    /// `max` bytes. No inputs give an empty one.
    pub fn next(&mut self, inputs: &[Vec<u8>], max: usize) -> Vec<u8> {
        let Some(mut bytes) = self.pick(inputs).cloned() else { return Vec::new() };
        for _ in 0..=self.below(5) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(max);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(bytes.len());
        let to = (at + 1 + self.below(32)).min(bytes.len());
        match self.below(8) {
            0 => {
                let bit = 1 << self.below(8);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bit;
                }
            }
            1 => {
                let value = self.word().to_le_bytes()[0];
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            2 | 3 => {
                let token = self.pick(TOKENS).copied().unwrap_or_default();
                bytes.splice(at..at, token.iter().copied());
            }
            4 => {
                bytes.drain(at..to.max(at));
            }
            5 => {
                let again = bytes.get(at..to).unwrap_or_default().repeat(1 + self.below(40));
                bytes.splice(at..at, again);
            }
            6 => bytes.truncate(at),
            _ => {
                let other = self.pick(inputs).cloned().unwrap_or_default();
                let from = self.below(other.len());
                bytes.truncate(at);
                bytes.extend(other.get(from..).unwrap_or_default());
            }
        }
    }

    fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        let n = self.below(among.len());
        among.get(n)
    }

    /// A number under `end`; 0 when there is none.
    fn below(&mut self, end: usize) -> usize {
        let word = usize::try_from(self.word() >> 1).unwrap_or_default();
        word.checked_rem(end).unwrap_or_default()
    }

    fn word(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}

/// Input that is nested as deep as it is long, for a parser that recurses.
#[must_use]
pub fn deep(open: &str, times: usize) -> Vec<u8> {
    open.repeat(times).into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_they_differ() {
        let inputs = vec![b"{\"a\": [1, 2]}".to_vec(), b"b: {c: d}".to_vec()];
        let run = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..200).map(|_| mutator.next(&inputs, 64)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(1).into_iter().collect::<BTreeSet<_>>().len() > 150);
        assert!(run(1).iter().all(|input| input.len() <= 64));
    }
}
