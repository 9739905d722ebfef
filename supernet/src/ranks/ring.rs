//! Sums over all ranks by a ring (Patarasuk & Yuan 2009, *Bandwidth optimal all-reduce algorithms*): every rank sends to the
//! next, in 2·(N − 1) rounds a share of the values each, so that whatever N is, each sends less than twice the values.
//!
//! Each share is summed in one order, by one rank, and goes round from there: all ranks get the same bits.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::AddAssign;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Bytes that surely fit into a socket's buffers, so that they can be sent before anything is received.
const AT_ONCE: usize = 16 << 10;
/// After so much silence the machine at the other end is asked whether it is there, so often, so many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 6);

/// What is summed.
pub(crate) trait Number: Copy + AddAssign + Default {
    /// Bytes of one.
    const BYTES: usize;
    /// As bytes, least significant first.
    fn put(self, bytes: &mut Vec<u8>);
    /// From as many bytes.
    fn take(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($type:ty) => {
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();
            fn put(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
            fn take(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("as many bytes as it has"))
            }
        }
    };
}

number!(f32);
number!(f64);

/// Connections to the ranks before and after this one.
#[derive(Debug)]
pub(super) struct Ring {
    rank: usize,
    count: usize,
    next: TcpStream,
    previous: TcpStream,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Ring {
    /// `silence`: how long the others may take for what they do between two sums.
    pub(super) fn new(
        rank: usize,
        count: usize,
        next: TcpStream,
        previous: TcpStream,
        silence: Duration,
    ) -> io::Result<Ring> {
        let (after, every, times) = KEEPALIVE;
        let keepalive = TcpKeepalive::new().with_time(after).with_interval(every).with_retries(times);
        for stream in [&next, &previous] {
            // Most sums are small, and everybody waits for them.
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(silence))?;
            stream.set_write_timeout(Some(silence))?;
            SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
        }
        Ok(Ring { rank, count, next, previous, sent: Vec::new(), received: Vec::new() })
    }

    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Replaces `values` by their sums.
    ///
    /// # Errors
    /// Which rank is gone.
    pub(super) fn sum<T: Number>(&mut self, values: &mut [T]) -> Result<(), String> {
        let (rank, count, length) = (self.rank, self.count, values.len());
        let share = |part: usize| {
            let part = part % count;
            length * part / count..length * (part + 1) / count
        };
        for round in 0..count - 1 {
            // After these rounds the rank has the whole sum of the share after its own number.
            let (sent, received) = (share(rank + count - round), share(rank + 2 * count - round - 1));
            self.exchange(&values[sent], received.len())?;
            for (value, bytes) in values[received].iter_mut().zip(self.received.chunks_exact(T::BYTES)) {
                *value += T::take(bytes);
            }
        }
        for round in 0..count - 1 {
            let (sent, received) = (share(rank + 1 + count - round), share(rank + count - round));
            self.exchange(&values[sent], received.len())?;
            for (value, bytes) in values[received].iter_mut().zip(self.received.chunks_exact(T::BYTES)) {
                *value = T::take(bytes);
            }
        }
        Ok(())
    }

    /// Sends `values` to the next rank while it receives `count` from the previous one.
    fn exchange<T: Number>(&mut self, values: &[T], count: usize) -> Result<(), String> {
        self.sent.clear();
        values.iter().for_each(|value| value.put(&mut self.sent));
        self.received.resize(count * T::BYTES, 0);
        let Ring { rank, count, next, previous, sent, received } = self;
        let [after, before] = [(*rank + 1) % *count, (*rank + *count - 1) % *count];
        let rank = *rank;
        if sent.len() <= AT_ONCE {
            next.write_all(sent).map_err(|error| gone(rank, after, &error))?;
            return previous.read_exact(received).map_err(|error| gone(rank, before, &error));
        }
        let handle = next.try_clone().map_err(|error| gone(rank, after, &error))?;
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| next.write_all(sent));
            let read = previous.read_exact(received).map_err(|error| gone(rank, before, &error));
            if read.is_err() {
                // Nobody may be there to receive what is still to be sent.
                let _ = handle.shutdown(std::net::Shutdown::Both);
            }
            let written = sending.join().expect("sending does not panic").map_err(|error| gone(rank, after, &error));
            read.and(written)
        })
    }
}

fn gone(rank: usize, other: usize, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it did not answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            "its connection is closed".to_owned()
        }
        _ => error.to_string(),
    };
    format!("rank {other} is gone, says rank {rank}: {why}")
}
