//! `probe`: asks a service's own `/readyz` and says what it said. The images have no shell and no curl.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TIME: Duration = Duration::from_secs(5);

/// Asks the service that listens there, prints its words, and gives what the program is to end with. `name` is what it is called in a sentence.
pub async fn run(listen: SocketAddr, name: &str) -> ExitCode {
    let (words, code) = match probe(listen, name).await {
        Ok(words) => (words, ExitCode::SUCCESS),
        Err(words) => (words, ExitCode::FAILURE),
    };
    println!("{words}");
    code
}

/// Asks the service that listens there. `Ok` when it is ready; the text is one sentence.
pub async fn probe(listen: SocketAddr, name: &str) -> Result<String, String> {
    let ip = if listen.ip().is_unspecified() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        listen.ip()
    };
    let address = SocketAddr::new(ip, listen.port());
    match tokio::time::timeout(TIME, ask(address)).await {
        Ok(Ok(answer)) => read(&answer),
        Ok(Err(error)) => Err(format!("{name} does not listen on its health port yet: {error}")),
        Err(_) => Err(format!("{name} did not answer on its health port within 5 s")),
    }
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn read(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let words = body.trim().to_owned();
    if head.starts_with("HTTP/1.1 200") {
        Ok(words)
    } else {
        Err(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_service_are_passed_on() {
        assert_eq!(read("HTTP/1.1 200 OK\r\na: b\r\n\r\nok\n"), Ok("ok".to_owned()));
        assert_eq!(
            read("HTTP/1.1 503 X\r\n\r\nno database\n"),
            Err("no database".to_owned())
        );
        assert_eq!(read(""), Err(String::new()));
    }
}
