//! `sluice token …`

use contracts::api::{NewToken, Role};
use serde_json::json;

use super::connect;
use crate::{
    args,
    exit::Exit,
    report::{Report, plain, table},
};

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Token) -> anyhow::Result<Report> {
    let client = connect(connection)?;
    match args {
        args::Token::Create { name, role, workflow, operator } => {
            let (name, workflow) = (name.clone(), workflow.clone());
            let token = NewToken { name, role: (*role).into(), workflow, operator: *operator };
            let created = client.create_token(&token).await?;
            // The secret alone is the result, so that it can go straight into a file or a secret store.
            Ok(Report::new(Exit::Yes, &created, plain(&created.secret))?.note(plain(&format!(
                "token `{}` ({}); its secret is not shown again",
                created.token.name, created.token.id
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
                    token.created_at.to_string(),
                    token.revoked_at.map(|at| at.to_string()).unwrap_or_default(),
                ]
            });
            let text = table::table(["id", "name", "role", "workflow", "created", "revoked"], rows);
            Report::new(Exit::Yes, &list, text)
        }
        args::Token::Revoke { id } => {
            client.revoke_token(id).await?;
            Report::new(Exit::Yes, &json!({"revoked": id}), plain(&format!("token {id} is revoked")))
        }
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
