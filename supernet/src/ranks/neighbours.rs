//! Connections to the ranks before and after one, two to each: who comes says who it is, and strangers are sent away.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Begins what a rank says of itself; then come its number and that of the ring, least significant byte first.
const GREETING: &[u8; 8] = b"ofa-ring";
const WHOLE: usize = GREETING.len() + 8;
/// How long somebody who has connected may take to say who it is.
const AT_ONCE: Duration = Duration::from_secs(5);

/// For each of two rings the connection to the next rank, whose address is given, and the one from the previous, which
/// comes to `listener`.
///
/// # Errors
/// The next cannot be reached, or the previous does not come within `patience`.
pub(super) fn neighbours(
    rank: usize,
    count: usize,
    next: SocketAddr,
    listener: &TcpListener,
    patience: Duration,
) -> io::Result<[[TcpStream; 2]; 2]> {
    let connect = |ring: u32| {
        let mut stream = TcpStream::connect_timeout(&next, patience)?;
        let greeting = [GREETING.as_slice(), &(rank as u32).to_le_bytes(), &ring.to_le_bytes()].concat();
        stream.write_all(&greeting)?;
        Ok::<_, io::Error>(stream)
    };
    let after = [connect(0)?, connect(1)?];
    let before = previous((rank + count - 1) % count, listener, patience)?;
    let [first, second] = after;
    let [first_before, second_before] = before;
    Ok([[first, first_before], [second, second_before]])
}

/// Both connections of rank `expected`, within `patience`.
fn previous(expected: usize, listener: &TcpListener, patience: Duration) -> io::Result<[TcpStream; 2]> {
    let began = Instant::now();
    let mut found: [Option<TcpStream>; 2] = [None, None];
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((mut stream, from)) => match ring_of(&mut stream, expected) {
                Ok(ring) => found[ring] = Some(stream),
                Err(error) => tracing::warn!("{from} is not rank {expected}: {error}"),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && began.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let problem = format!("rank {expected} did not come in time");
                return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
            }
            Err(error) => return Err(error),
        }
        found = match found {
            [Some(first), Some(second)] => return Ok([first, second]),
            some => some,
        };
    }
}

/// The ring that a connection of rank `expected` is for.
fn ring_of(stream: &mut TcpStream, expected: usize) -> io::Result<usize> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(AT_ONCE))?;
    let mut said = [0; WHOLE];
    stream.read_exact(&mut said)?;
    let number = |at: usize| u32::from_le_bytes(said[at..at + 4].try_into().expect("four bytes")) as usize;
    if &said[..GREETING.len()] != GREETING {
        return Err(wrong("it does not greet as a rank does"));
    }
    match (number(GREETING.len()), number(GREETING.len() + 4)) {
        (rank, ring @ 0..=1) if rank == expected => Ok(ring),
        _ => Err(wrong("it is another rank")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_sent_away() {
        let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let mut stranger = TcpStream::connect(addresses[0]).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut other_rank = TcpStream::connect(addresses[0]).unwrap();
        other_rank.write_all(&[GREETING.as_slice(), &[7, 0, 0, 0, 0, 0, 0, 0]].concat()).unwrap();
        let patience = Duration::from_secs(60);
        let [listener, other] = listeners;
        let second = std::thread::spawn(move || neighbours(1, 2, addresses[0], &other, patience).unwrap());
        let first = neighbours(0, 2, addresses[1], &listener, patience).unwrap();
        let second = second.join().unwrap();
        for (ring, ([next, _], [_, previous])) in first.into_iter().zip(second).enumerate() {
            let (mut next, mut previous) = (next, previous);
            next.write_all(&[ring as u8]).unwrap();
            let mut said = [9];
            previous.read_exact(&mut said).unwrap();
            assert_eq!(usize::from(said[0]), ring);
        }
    }

    #[test]
    fn nobody_is_waited_for_longer_than_patience() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = neighbours(0, 3, address, &listener, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.to_string(), "rank 2 did not come in time");
    }
}
