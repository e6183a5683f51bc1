//! What can be said about one client and one registry.

use serde::Serialize;

/// What happens when the gateway denies an image of a registry. The order is from best to worst, for those who have to
/// act: what could not be told may be either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The image does not arrive.
    Final,
    /// It does not arrive under the registry's name as it is written here. Under another spelling, which leads to the
    /// same server, it does.
    AsWritten,
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
            Self::AsWritten => "final as written",
            Self::Unknown => "could not tell",
            Self::FallsBack => "falls back",
            Self::Unused => "gateway not used",
        }
    }

    /// Whether a denied image arrives for certain, for one who may choose how its name is written.
    pub fn bypassable(self) -> bool {
        matches!(self, Self::AsWritten | Self::FallsBack | Self::Unused)
    }
}

/// Clients compare names as they are written, and servers do not.
const SPELLING: &str =
    "but in capitals, or with `:443`, it is another name to the client, which then asks the registry itself";
/// What closes the other spellings where no file can.
pub const IN_THE_NETWORK: &str = "close the way to the registry in the network, or let admission judge the images' names, and \
                                  say --spellings-closed";

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

    /// The same, where it is final for this spelling of the registry's name alone.
    pub fn only_as_written(self, mend: impl Into<String>) -> Self {
        match self.answer {
            Answer::Final => Self {
                answer: Answer::AsWritten,
                reason: format!("{}; {SPELLING}", self.reason),
                mend: Some(mend.into()),
                ..self
            },
            _ => self,
        }
    }

    /// The same, when the other spellings are closed elsewhere.
    pub fn spellings_are_closed(&mut self) {
        if self.answer == Answer::AsWritten {
            self.answer = Answer::Final;
            self.mend = None;
            if let Some(reason) = self.reason.strip_suffix(&format!("; {SPELLING}")) {
                self.reason = reason.to_owned();
            }
            self.notes.push("other spellings of the name are closed elsewhere: so it was said".to_owned());
        }
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
