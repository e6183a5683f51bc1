//! `sluice token …`

use anyhow::Context;
use contracts::api::{NewToken, Role, TokenInfo};
use serde_json::json;

use super::connect;
use crate::{
    args, clock,
    exit::Exit,
    report::{Report, plain, table},
};

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Token) -> anyhow::Result<Report> {
    let client = connect(connection)?;
    match args {
        args::Token::Create { name, role, workflow, operator, expires_in } => {
            let (name, workflow) = (name.clone(), workflow.clone());
            let until = expires_in.map(|span| clock::now().checked_add(span));
            let expires_at = until.transpose().context("`--expires-in` is too far away")?;
            let token = NewToken { name, role: (*role).into(), workflow, operator: *operator, expires_at };
            let created = client.create_token(&token).await?;
            // The secret alone is the result, so that it can go straight into a file or a secret store.
            Ok(Report::new(Exit::Yes, &created, plain(&created.secret))?.note(plain(&format!(
                "token `{}` ({}){}; its secret is not shown again",
                created.token.name,
                created.token.id,
                created.token.expires_at.map(|at| format!(", good until {}", table::moment(at))).unwrap_or_default()
            ))))
        }
        args::Token::List => {
            let list = client.tokens().await?;
            let rows = list.iter().map(|token| {
                [
                    token.id.clone(),
                    token.name.clone(),
                    format!("{}{}", role_name(token.role), if token.operator { ", operator" } else { "" }),
                    token.workflow.clone().unwrap_or_default(),
                    table::moment(token.created_at),
                    token.last_used_at.map(table::moment).unwrap_or_default(),
                    ends(token),
                ]
            });
            let text = table::table(["id", "name", "role", "workflow", "created", "last used", "ends"], rows);
            Report::new(Exit::Yes, &list, text)
        }
        args::Token::Revoke { id } => {
            client.revoke_token(id).await?;
            Report::new(Exit::Yes, &json!({"revoked": id}), plain(&format!("token {id} is revoked")))
        }
    }
}

/// Since when it is not taken any more and why, or until when it is.
fn ends(token: &TokenInfo) -> String {
    match (token.revoked_at, token.expires_at) {
        (Some(at), _) => format!("revoked {}", table::moment(at)),
        (None, Some(at)) if token.expired => format!("expired {}", table::moment(at)),
        (None, Some(at)) => table::moment(at),
        (None, None) => String::new(),
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Push => "push",
        Role::Pull => "pull",
        Role::Read => "read",
    }
}
