//! What can be said about one client and one registry.

use serde::Serialize;

/// What happens when the gateway denies an image of a registry. The order is from best to worst, for those who have to
/// act: what could not be told may be either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The image does not arrive.
    Final,
    /// The files say something that is not understood here, or that versions of the client understand differently.
    Unknown,
    /// The client asks somebody else, and the image arrives.
    FallsBack,
    /// The client never asks the gateway.
    Unused,
}

impl Answer {
    /// In a table for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Unknown => "could not tell",
            Self::FallsBack => "falls back",
            Self::Unused => "gateway not used",
        }
    }

    /// Whether a denied image arrives for certain.
    pub fn bypassable(self) -> bool {
        matches!(self, Self::FallsBack | Self::Unused)
    }
}

/// Clients compare names as they are written, and servers do not.
pub const SPELLING: &str = "for this spelling: in capitals, or with `:443`, it is another name to the client, which then asks \
                            the registry itself (docs/doctor.md)";

/// An answer with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// The answer.
    pub answer: Answer,
    /// Why, in a sentence.
    pub reason: String,
    /// What to do about it; nothing when it is final.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// The file that decides, as the machine itself names it.
    pub file: String,
    /// The line in it, from 1; nothing when the whole file, or that there is none, decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What is not wrong, and should be known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Judgement {
    /// Denials are final.
    pub fn closed(file: &str, line: Option<usize>, reason: impl Into<String>) -> Self {
        Self::new(Answer::Final, file, line, reason, None)
    }

    /// They are not, or that could not be told.
    pub fn open(
        answer: Answer,
        file: &str,
        line: Option<usize>,
        reason: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self::new(answer, file, line, reason, Some(mend.into()))
    }

    fn new(answer: Answer, file: &str, line: Option<usize>, reason: impl Into<String>, mend: Option<String>) -> Self {
        Self { answer, reason: reason.into(), mend, file: file.to_owned(), line, notes: Vec::new() }
    }

    /// The worse of two; of two that are as bad, this one.
    pub fn worst(self, other: Self) -> Self {
        if other.answer > self.answer { other } else { self }
    }

    /// With something said beside it, once.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        self
    }
}

/// What is said of one client's configuration and one registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The client, as people call it.
    pub client: String,
    /// The registry, as images name it.
    pub registry: String,
    /// What was found.
    #[serde(flatten)]
    pub judgement: Judgement,
}
