//! A server of files on loopback.

/// A server of files that answers whoever asks, for as long as the test runs.
pub fn serve(files: &'static [(&'static str, &'static str, &'static str)]) -> std::net::SocketAddr {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            let path = line.split(' ').nth(1).unwrap_or_default();
            let found = files.iter().find(|(known, ..)| *known == path);
            let (head, body) = found.map_or(("404 Not Found", ""), |(_, head, body)| (*head, *body));
            let answer =
                format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    address
}
