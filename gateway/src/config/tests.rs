use super::{reading::LISTEN, *};

fn mistakes(text: &str) -> Vec<String> {
    match Settings::parse("sluice.toml", text, Path::new("/etc/sluice")) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Mistakes { mistakes, .. }) => mistakes.iter().map(ToString::to_string).collect(),
        Err(other) => vec![other.to_string()],
    }
}

#[test]
fn an_empty_file_is_the_defaults() {
    let folder = Path::new("/etc/sluice");
    let read = Settings::parse("sluice.toml", "", folder).unwrap();
    assert_eq!(read, Settings::defaults(folder));
    assert_eq!(read.state, Path::new("/etc/sluice/state/sluice.redb"));
    assert_eq!(read.admin_token_file, Path::new("/etc/sluice/state/admin-token"));
    assert_eq!((read.listen, read.plain_http, read.metrics_anonymous), (LISTEN, false, false));
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let text = "listen = \"localhost\"\n\ndiscovery_interval = \"0s\"\nexternal_url = \"gw.acme.dev\"\nmax_connections = 0\norganization = \"Acme\"\n";
    insta::assert_snapshot!(mistakes(text).join("\n"), @r#"
    line 1: `localhost` is not an address: write an IP address and a port, such as `127.0.0.1:8080` or `[::]:443`
    line 3: `0s` is not a duration from 1s to 24h: write it as `60s` or `5m`
    line 4: `gw.acme.dev` is not the address of a gateway: write `https://` and its host
    line 5: `0` is not a number of connections from 1 to 65536
    line 6: `Acme` is not a name: use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends
    "#);
}

#[test]
fn what_is_not_a_setting_is_not_ignored() {
    let unknown = mistakes("state = \"x\"\nplain-http = true\n[log]\ncolour = 1\n");
    assert_eq!(unknown.len(), 2, "{unknown:?}");
    assert!(unknown[0].starts_with("line 2: `plain-http` is not a setting here; there are `listen`"), "{unknown:?}");
    assert_eq!(unknown[1], "line 4: `colour` is not a setting here; there are `format`, `level`");
    insta::assert_snapshot!(mistakes("[log]\nformat = \"xml\"\n").join("\n"), @"line 2: unknown variant `xml`, expected `human` or `json`");
    insta::assert_snapshot!(mistakes("listen = \"0.0.0.0:80\n").join("\n"), @r#"line 1: invalid basic string, expected `"`"#);
}

#[test]
fn upstreams_are_read_with_their_paths_beside_the_file() {
    let text = "[[upstreams]]\nhost = \"registry.acme.dev\"\nlayout = \"images\"\n";
    let read = Settings::parse("sluice.toml", text, Path::new("/etc/sluice")).unwrap();
    assert_eq!(read.upstreams[0].layout.as_deref(), Some(Path::new("/etc/sluice/images")));
    let secret = "[[upstreams]]\nhost = \"registry.acme.dev\"\npassword = \"x\"\n";
    assert!(mistakes(secret).concat().starts_with("line 3: `password` is not a setting"));
}

#[test]
fn upstreams_that_cannot_be_used_are_named_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    std::fs::write(&file, "[[upstreams]]\nhost = \"a.dev\"\nlayout = \"images\"\n\n[[upstreams]]\nhost = \"b.dev\"\nurl = \"https://b.dev\"\nlayout = \"x\"\n").unwrap();
    let told = Settings::load(&file).unwrap_err().to_string();
    assert!(told.contains("line 3: upstream `a.dev`") && told.contains("under `layout`"), "{told}");
    assert!(told.contains("line 6: upstream `b.dev`: name `url` or `layout`, not both"), "{told}");
    std::fs::create_dir(folder.path().join("images")).unwrap();
    std::fs::write(folder.path().join("images/oci-layout"), "{}").unwrap();
    std::fs::write(&file, "[[upstreams]]\nhost = \"a.dev\"\nlayout = \"images\"\n").unwrap();
    assert!(Settings::load(&file).is_ok());
}

#[test]
fn the_signing_key_lies_beside_the_state_unless_another_is_named() {
    let folder = Path::new("/etc/sluice");
    let read = |text: &str| Settings::parse("sluice.toml", text, folder).unwrap().signing;
    let default = read("state = \"/var/lib/sluice/s.redb\"");
    assert_eq!((default.key.as_path(), default.make), (Path::new("/var/lib/sluice/signing.key"), true));
    let text = "[signing]\nkey = \"a.key\"\nverifier = \"https://sluice.acme.dev/\"\n[[signing.previous]]\nkey = \"b.pub\"\nfrom = \"2026-01-01\"\nuntil = \"2027-01-01T12:00:00Z\"\n";
    let named = read(text);
    assert_eq!((named.key.as_path(), named.make), (Path::new("/etc/sluice/a.key"), false));
    assert_eq!(named.verifier.as_deref(), Some("https://sluice.acme.dev"));
    assert_eq!(named.previous[0].from, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    let wrong = "[signing]\nverifier = \"sluice\"\n[[signing.previous]]\nkey = \"b.pub\"\nfrom = \"2027-01-01\"\nuntil = \"soon\"\n[[signing.previous]]\nkey = \"c.pub\"\nfrom = \"2027-01-01\"\nuntil = \"2026-01-01\"\n";
    insta::assert_snapshot!(mistakes(wrong).join("\n"), @r#"
    line 2: `sluice` is not a URI: write the gateway's address, or a name such as `urn:acme:sluice`
    line 6: `soon` is not an instant: write `2027-01-31`, or `2027-01-31T12:00:00Z`
    line 10: `until` is 2026-01-01T00:00:00Z, which is not after `from`, 2027-01-01T00:00:00Z
    "#);
    insta::assert_snapshot!(mistakes("[[signing.previous]]\nkey = \"a\"\nto = \"b\"\n").join("\n"), @"line 3: `to` is not a setting here; there are `key`, `from`, `until`");
}

#[test]
fn hosts_name_upstreams_that_are_there_and_whose_images_are_open() {
    let upstream = "[[upstreams]]\nhost = \"docker.io\"\naliases = [\"hub.acme.dev\"]\n";
    let read = |text: &str| mistakes(&format!("{upstream}{text}")).join("\n");
    let good = "[[hosts]]\nname = \"Docker.acme.dev\"\nupstream = \"hub.acme.dev\"\norganization = \"acme\"\nanonymous_pull = true\n";
    assert_eq!(read(good), "");
    let settings = Settings::parse("sluice.toml", &format!("{upstream}{good}"), Path::new("/")).unwrap();
    assert_eq!(settings.hosts[0].name, "docker.acme.dev");
    insta::assert_snapshot!(read("[[hosts]]\nname = \"https://a.dev\"\n[[hosts]]\nname = \"b.dev\"\nupstream = \"quay.io\"\nanonymous_pull = true\n[[hosts]]\nname = \"B.dev\"\norganization = \"A\"\nport = 1\n"), @"line 13: `port` is not a setting here; there are `name`, `upstream`, `organization`, `anonymous_pull`");
    insta::assert_snapshot!(read("[[hosts]]\nname = \"https://a.dev\"\n[[hosts]]\nname = \"b.dev\"\nupstream = \"quay.io\"\nanonymous_pull = true\n[[hosts]]\nname = \"B.dev\"\norganization = \"A\"\n"), @r"
    line 5: `https://a.dev` is not the name of a host: write it without scheme, port and path
    line 7: `anonymous_pull` needs `organization`: whose images may be pulled without a token
    line 8: there is no upstream `quay.io` under `[[upstreams]]`
    line 11: there is `b.dev` already
    line 12: `A` is not a name: use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends
    ");
    insta::assert_snapshot!(mistakes("trusted_proxies = [\"10.0.0.0/8\", \"proxy.acme.dev\"]").join("\n"), @"line 1: `proxy.acme.dev` is no network: write `10.0.0.0/8` or one address");
}

#[test]
fn a_cache_lies_beside_the_state_and_is_told_its_size() {
    let folder = Path::new("/etc/sluice");
    let read = |text: &str| Settings::parse("sluice.toml", text, folder).unwrap().cache;
    assert_eq!(read(""), None);
    let cache = read("state = \"/var/lib/sluice/s.redb\"\n[cache]\nsize = \"50GiB\"").unwrap();
    assert_eq!((cache.folder.as_path(), cache.size), (Path::new("/var/lib/sluice/cache"), 50 << 30));
    let named = read("[cache]\nfolder = \"c\"\nsize = \"1TB\"").unwrap();
    assert_eq!(named.folder, Path::new("/etc/sluice/c"));
    insta::assert_snapshot!(mistakes("[cache]\nsize = \"50\"\n").join("\n"), @"line 2: `50` is not a size: write a whole number and a unit, such as `50GiB` or `500MB`");
    insta::assert_snapshot!(mistakes("[cache]\nsize = \"1MiB\"\n").join("\n"), @"line 2: `1MiB` is too little: give the cache at least `64MiB`");
    insta::assert_snapshot!(mistakes("[cache]\npath = \"c\"\n").join("\n"), @"line 2: `path` is not a setting here; there are `folder`, `size`");
}

#[test]
fn plain_http_off_loopback_is_refused_unless_it_is_asked_for() {
    insta::assert_snapshot!(mistakes("\nlisten = \"0.0.0.0:80\"").join("\n"), @r#"line 2: `listen = "0.0.0.0:80"` would send tokens over plain HTTP: give `[tls]` a certificate and key, listen on 127.0.0.1, or set `plain_http = true` when something in front speaks TLS"#);
    for fine in [
        "listen = \"0.0.0.0:80\"\nplain_http = true",
        "listen = \"[::1]:80\"",
        "listen = \"0.0.0.0:443\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"",
    ] {
        assert_eq!(mistakes(fine), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn a_trust_root_comes_from_a_file_or_from_a_repository() {
    let folder = Path::new("/etc/sluice");
    let text = "[tuf]\nmirror = \"https://tuf.acme.dev/\"\nroot = \"tuf-root.json\"\n";
    let read = Settings::parse("sluice.toml", text, folder).unwrap().tuf.unwrap();
    assert_eq!((read.mirror.as_str(), read.target.as_str()), ("https://tuf.acme.dev", "trusted_root.json"));
    assert_eq!(
        (read.root.as_path(), read.kept.as_path()),
        (&*folder.join("tuf-root.json"), &*folder.join("state/tuf.json"))
    );
    assert_eq!((read.refresh, read.grace), (Duration::from_secs(6 * 3600), Duration::from_secs(72 * 3600)));
    let none = format!("{text}grace = \"0s\"\n");
    assert_eq!(Settings::parse("sluice.toml", &none, folder).unwrap().tuf.unwrap().grace, Duration::ZERO);
    let wrong = "trusted_root = \"r.json\"\n[tuf]\nmirror = \"http://tuf.acme.dev\"\nroot = \"\"\ntarget = \"../../etc/x\"\nrefresh = \"48h\"\ngrace = \"-1h\"\n";
    insta::assert_snapshot!(mistakes(wrong).join("\n"), @r"
    line 3: `trusted_root` and `[tuf]` both say who vouches for certificates: leave one of them out
    line 3: `http://tuf.acme.dev` is not https (`plain_http = true` lets it be http, and whoever is on the way be anybody)
    line 4: a path cannot be empty
    line 5: `../../etc/x` is no name of a target: write a path without `..`, such as `trusted_root.json`
    line 6: `48h` is not a duration from 1s to 24h: write it as `60s` or `5m`
    line 7: `-1h` is not a duration from 0s to 720h: write it as `72h` or `30m`
    ");
    insta::assert_snapshot!(mistakes("[tuf]\nmirror = \"https://169.254.169.254\"\nroot = \"r\"\n").join("\n"), @"line 2: `https://169.254.169.254` is one that is never asked");
    insta::assert_snapshot!(mistakes("[tuf]\nurl = \"x\"\n").join("\n"), @"line 2: `url` is not a setting here; there are `mirror`, `root`, `target`, `refresh`, `grace`, `ca_file`, `plain_http`");
}
