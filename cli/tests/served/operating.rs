//! What operators do now and then: tokens that end, contracts that go, evidence that nothing names.

use serde_json::{Value, json};

use crate::scene::Scene;

/// Where nobody is asked, whoever typed the command meant it.
#[test]
fn a_contract_is_removed_after_it_was_told_what_that_changes() {
    let scene = Scene::new("", &testdata::contract("registry.shop.example/shop/**"));
    let _serving = scene.serve();
    scene.apply();
    let listed = scene.sluice(&["contract", "list", "-o", "json"], 0);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let name = listed[0]["name"].as_str().unwrap().to_owned();
    let told = scene.sluice(&["contract", "delete", &name, "--dry-run"], 0);
    assert!(told.contains("would be removed"), "{told}");
    assert!(
        told.contains("registry.shop.example/shop/**: images that no other contract answers for are denied"),
        "{told}"
    );
    assert!(told.contains("applied again it becomes revision 2"), "{told}");
    assert!(scene.sluice(&["contract", "list"], 0).contains(&name));
    assert!(scene.sluice(&["contract", "delete", &name], 0).contains("is removed"));
    assert_eq!(scene.sluice(&["contract", "list", "-o", "json"], 0).trim(), "[]");
    let gone = scene.sluice(&["contract", "delete", &name], 2);
    assert!(gone.contains("was removed: its revisions, up to 1, can be read"), "{gone}");
    scene.sluice(&["contract", "describe", &name, "--revision", "1"], 0);
    assert!(scene.sluice(&["evidence", "sweep", "--dry-run"], 0).contains("0 would be removed"));
}

#[test]
fn a_token_tells_until_when_it_is_good() {
    let scene = Scene::new("", &testdata::contract("registry.shop.example/shop/**"));
    let _serving = scene.serve();
    let create = ["token", "create", "--name", "ci", "--role", "push", "--expires-in", "90d", "-o", "json"];
    let made = scene.with_token(&create).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let end = made["token"]["expires_at"].as_str().unwrap();
    let listed = scene.sluice(&["token", "list"], 0);
    assert!(listed.contains("last used") && listed.contains(&end[..19]), "{listed}");
    assert!(
        scene
            .sluice(&["token", "create", "--name", "x", "--role", "push", "--expires-in", "soon"], 2)
            .contains("span of time")
    );
}

/// A gateway that tells its list in two pages, and notes what it was asked.
fn paging() -> (std::net::SocketAddr, std::sync::mpsc::Receiver<String>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = std::sync::mpsc::channel();
    let run = |id: &str| json!({"id": id, "project": "p", "workflow": "w", "state": "started", "started_at": "2026-01-01T00:00:00Z"});
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let (link, rows) = if path.contains("after=r2") {
                ("", json!([run("r3")]))
            } else {
                // Only what it says of the query counts: who is asked does not change on the way.
                (
                    "Link: <http://elsewhere.example/other?limit=1000&after=r2>; rel=\"next\"\r\n",
                    json!([run("r1"), run("r2")]),
                )
            };
            let rows = rows.to_string();
            let whole = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{link}Content-Length: {}\r\nConnection: close\r\n\r\n{rows}",
                rows.len()
            );
            let _gone = stream.write_all(whole.as_bytes());
            if tell.send(path).is_err() {
                return;
            }
        }
    });
    (address, asked)
}

#[test]
fn a_list_is_followed_to_its_last_page_and_no_further_than_was_asked() {
    let scene = Scene::new("", &testdata::contract("registry.shop.example/shop/**"));
    let (address, asked) = paging();
    let gateway = format!("http://{address}");
    for (limit, ids, paths) in [
        ("1500", &["r1", "r2", "r3"][..], &["/api/v1/runs?limit=1000", "/api/v1/runs?limit=1000&after=r2"][..]),
        ("2", &["r1", "r2"], &["/api/v1/runs?limit=2"]),
    ] {
        let listed =
            scene.sluice(&["run", "list", "--limit", limit, "-o", "json", "--gateway", &gateway, "--token", "t"], 0);
        let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed.iter().map(|run| run["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
        assert_eq!(asked.try_iter().collect::<Vec<_>>(), paths);
    }
}
