//! The Git commit of the working folder, read with `git` itself.

use std::process::{Command, Stdio};

use contracts::crafting::{GitHead, Remote};
use jiff::Timestamp;
use reqwest::Url;

/// A commit object that is not someone's joke.
const COMMIT_BYTES: usize = 256 * 1024;

/// The commit that `HEAD` points at; `None` outside of a repository, without `git`, or in a repository that does not
/// name commits by SHA-1.
pub fn head() -> Option<GitHead> {
    let sha1 = git(&["rev-parse", "--verify", "HEAD^{commit}"])?.trim().to_owned();
    if sha1.len() != 40 || !sha1.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let head = parse(sha1, &git(&["cat-file", "commit", "HEAD"])?)?;
    let remotes = git(&["config", "--get-regexp", r"^remote\..*\.url$"]).unwrap_or_default();
    Some(GitHead { remotes: remotes.lines().filter_map(remote).collect(), ..head })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if !output.status.success() || output.stdout.len() > COMMIT_BYTES {
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads a commit object: headers, each continued by lines that begin with a space, an empty line, the message.
fn parse(sha1: String, object: &str) -> Option<GitHead> {
    let (headers, message) = object.split_once("\n\n").unwrap_or((object, ""));
    let mut author = None;
    let mut date = None;
    let mut signature: Option<String> = None;
    let mut in_signature = false;
    for line in headers.lines() {
        if let Some(more) = line.strip_prefix(' ') {
            if let Some(signature) = signature.as_mut().filter(|_| in_signature) {
                signature.push('\n');
                signature.push_str(more);
            }
            continue;
        }
        in_signature = false;
        match line.split_once(' ') {
            Some(("author", who)) => author = person(who).map(|(name, email, _)| (name, email)),
            Some(("committer", who)) => date = person(who).map(|(_, _, date)| date),
            Some(("gpgsig", first)) => {
                signature = Some(first.to_owned());
                in_signature = true;
            }
            _ => {}
        }
    }
    let (author_name, author_email) = author?;
    Some(GitHead {
        sha1,
        author_name,
        author_email,
        date: date?,
        message: message.trim_end().to_owned(),
        signature,
        remotes: Vec::new(),
    })
}

/// `Name <address> seconds zone`
fn person(text: &str) -> Option<(String, String, Timestamp)> {
    let (name, rest) = text.split_once('<')?;
    let (email, when) = rest.rsplit_once('>')?;
    let seconds = when.split_whitespace().next()?.parse().ok()?;
    Some((name.trim().to_owned(), email.to_owned(), Timestamp::from_second(seconds).ok()?))
}

/// `remote.NAME.url ADDRESS`, without what the address may hold of a user's.
fn remote(line: &str) -> Option<Remote> {
    let (key, address) = line.split_once(' ')?;
    let name = key.strip_prefix("remote.")?.strip_suffix(".url")?;
    let url = match address.parse::<Url>() {
        Ok(mut url) if url.has_host() => {
            let cleared =
                url.set_password(None).and_then(|()| if url.scheme() == "ssh" { Ok(()) } else { url.set_username("") });
            cleared.ok()?;
            url.to_string()
        }
        _ => address.to_owned(),
    };
    Some(Remote { name: name.to_owned(), url })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_signed_commit() {
        let object = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor Jo Doe <jo@acme.dev> 1700000000 +0100\n\
            committer CI <ci@acme.dev> 1700000060 +0000\ngpgsig -----BEGIN SSH SIGNATURE-----\n U1NI\n \n \
            -----END SSH SIGNATURE-----\nencoding UTF-8\n\nship it\n\nwith care\n";
        let head = parse("0".repeat(40), object).unwrap();
        assert_eq!((head.author_name.as_str(), head.author_email.as_str()), ("Jo Doe", "jo@acme.dev"));
        assert_eq!(head.date.as_second(), 1_700_000_060);
        assert_eq!(head.message, "ship it\n\nwith care");
        let signature = "-----BEGIN SSH SIGNATURE-----\nU1NI\n\n-----END SSH SIGNATURE-----";
        assert_eq!(head.signature.as_deref(), Some(signature));
        assert_eq!(parse(String::new(), "tree x\n\nno author"), None);
    }

    #[test]
    fn remotes_lose_their_credentials() {
        let shown = |line: &str| remote(line).map(|remote| format!("{} {}", remote.name, remote.url));
        assert_eq!(
            shown("remote.origin.url https://x-token:s3cret@git.acme.dev/a.git").as_deref(),
            Some("origin https://git.acme.dev/a.git")
        );
        assert_eq!(shown("remote.a.b.url git@git.acme.dev:a.git").as_deref(), Some("a.b git@git.acme.dev:a.git"));
        assert_eq!(shown("remote.s.url ssh://git:pw@git.dev/a").as_deref(), Some("s ssh://git@git.dev/a"));
    }
}
