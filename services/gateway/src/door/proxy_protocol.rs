//! The PROXY protocol, versions 1 and 2: a load balancer says whose connection it passes on. It is spoken only by who is trusted, and then
//! by all connections of theirs.

use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What version 2 starts with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included.
const MAX_LINE: usize = 107;
/// The longest rest of a header of version 2: addresses and what else a balancer adds.
const MAX_REST: usize = 2048;

/// Reads the header, and nothing behind it. `None`: the proxy speaks for itself.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<IpAddr>> {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return version_2(stream).await;
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= MAX_LINE {
            return Err(wrong());
        }
        line.push(stream.read_u8().await?);
    }
    version_1(&line)
}

fn wrong() -> Error {
    Error::new(ErrorKind::InvalidData, "no header of the PROXY protocol")
}

fn version_1(line: &[u8]) -> Result<Option<IpAddr>> {
    let text = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_suffix("\r\n"));
    let words: Vec<&str> = text.ok_or_else(wrong)?.split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", "TCP4", source, _, _, _] => parsed::<Ipv4Addr>(source).map(IpAddr::V4).map(Some),
        ["PROXY", "TCP6", source, _, _, _] => parsed::<Ipv6Addr>(source).map(IpAddr::V6).map(Some),
        _ => Err(wrong()),
    }
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| wrong())
}

async fn version_2<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<IpAddr>> {
    let (version, family, length) = (
        stream.read_u8().await?,
        stream.read_u8().await?,
        stream.read_u16().await?,
    );
    let length = usize::from(length);
    if length > MAX_REST {
        return Err(wrong());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match (version, family >> 4) {
        (0x21, 0x1) if length >= 12 => Ok(rest.first_chunk::<4>().map(|source| IpAddr::from(*source))),
        (0x21, 0x2) if length >= 36 => Ok(rest.first_chunk::<16>().map(|source| IpAddr::from(*source))),
        // LOCAL is a health check of the proxy's own; other families have no address of the kind that we know.
        (0x20, _) | (0x21, 0x0 | 0x3) => Ok(None),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(header: &[u8]) -> Result<(Option<IpAddr>, usize)> {
        let mut stream = [header, b"rest"].concat();
        let mut left = stream.as_mut_slice() as &[u8];
        let address = read(&mut left).await?;
        Ok((address, left.len()))
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_source_and_nothing_behind_them_is_read() {
        let four = Some("192.0.2.1".parse().unwrap());
        let six = Some("2001:db8::1".parse().unwrap());
        let of_six = ["2001:db8::1", "2001:db8::2"]
            .map(|text| text.parse::<Ipv6Addr>().unwrap().octets())
            .concat();
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(), four),
            (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(), six),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (
                version_2(0x21, 0x11, &[192, 0, 2, 1, 10, 0, 0, 1, 0, 1, 0, 2, 9, 9]),
                four,
            ),
            (version_2(0x21, 0x21, &[&of_six[..], &[0; 4]].concat()), six),
            (version_2(0x20, 0x00, &[]), None),
        ] {
            assert_eq!(of(&header).await.unwrap(), (expected, 4));
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(200));
        for header in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1\r\n".to_vec(),
            long.into_bytes(),
            version_2(0x21, 0x11, &[1, 2, 3]),
            version_2(0x11, 0x11, &[0; 12]),
            version_2(0x21, 0x11, &[0; MAX_REST + 1]),
            SIGNATURE.to_vec(),
        ] {
            assert!(of(&header).await.is_err(), "{header:?}");
        }
    }
}
