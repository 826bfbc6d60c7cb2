//! ICMP echo requests of our own (RFC 792), on behalf of threads that wait for the reply.

use abi::prelude::*;
use alloc::sync::Arc;
use core::net::Ipv4Addr;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::icmp;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, IpAddress};

/// The headers before an echo request's data: IP without options, and ICMP's own.
pub const HEADERS: usize = 20 + ICMP_HEADER;

const ICMP_HEADER: usize = 8;

/// Each request has an identifier of its own, so that all can have the same sequence number.
const SEQUENCE: u16 = 1;

/// An echo request to be sent.
pub struct Request {
    /// Who is to answer.
    pub target: Ipv4Addr,
    /// How many bytes of data.
    pub payload: usize,
    /// What tells its reply from others'.
    pub identifier: u16,
    /// When nobody waits for the reply any more.
    pub deadline: Instant,
    /// Where the reply is waited for.
    pub outcome: Arc<Outcome>,
}

/// Where one thread waits for what another finds out.
pub struct Outcome {
    signal: Signal,
    value: Lock<Option<Result<Duration>>>,
}

impl Outcome {
    /// Nothing yet; `signal` belongs to the thread that is going to [`wait`](Self::wait).
    pub fn new(signal: Signal) -> Self {
        Self { signal, value: Lock::new(None) }
    }

    /// Waits on `event`, the one whose signal this outcome has.
    ///
    /// # Errors
    /// [`Error::TimedOut`] at the deadline, [`Error::Stopping`] when the calling thread has to end, or the outcome's own.
    pub fn wait(&self, event: &Event, deadline: Instant) -> Result<Duration> {
        loop {
            let wake = event.wait(Some(deadline))?;
            if let Some(value) = self.value.lock().take() {
                return value;
            }
            if wake == Wake::TimedOut {
                return Err(Error::TimedOut);
            }
        }
    }

    /// Ends the wait with `value`.
    pub fn set(&self, value: Result<Duration>) {
        *self.value.lock() = Some(value);
        self.signal.raise();
    }
}

/// The requests that one interface has sent.
#[derive(Default)]
pub struct Pings {
    under_way: Vec<Ping>,
}

struct Ping {
    request: Request,
    /// A socket of its own, so that a target that doesn't answer ARP holds up no other.
    socket: SocketHandle,
    sent: Instant,
}

impl Pings {
    /// Queues a request for transmission.
    pub fn send(&mut self, request: Request, sockets: &mut SocketSet<'_>) {
        // Without a link nothing else gives up on those that came before.
        self.serve(sockets);
        let size = ICMP_HEADER + request.payload;
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY], vec![0; size]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        let bound = socket.bind(icmp::Endpoint::Ident(request.identifier));
        debug_assert!(bound.is_ok(), "a new socket can be bound");
        if let Ok(packet) = socket.send(size, IpAddress::Ipv4(request.target)) {
            let data: Vec<u8> = (0..=u8::MAX).cycle().take(request.payload).collect();
            let echo = Icmpv4Repr::EchoRequest { ident: request.identifier, seq_no: SEQUENCE, data: &data };
            // The checksum is filled in at transmission.
            echo.emit(&mut Icmpv4Packet::new_unchecked(packet), &ChecksumCapabilities::ignored());
        }
        self.under_way.push(Ping { request, socket: sockets.add(socket), sent: Instant::now() });
    }

    /// Hands over the replies that have arrived, and gives up on those that come too late.
    pub fn serve(&mut self, sockets: &mut SocketSet<'_>) {
        if self.under_way.is_empty() {
            return;
        }
        let now = Instant::now();
        self.under_way.retain(|ping| {
            let answered = ping.is_answered(sockets.get_mut(ping.socket));
            if answered {
                ping.request.outcome.set(Ok(now - ping.sent));
            }
            let done = answered || now >= ping.request.deadline;
            if done {
                sockets.remove(ping.socket);
            }
            !done
        });
    }

    /// Gives up on all.
    pub fn end(self) {
        for ping in self.under_way {
            ping.request.outcome.set(Err(Error::Gone));
        }
    }
}

impl Ping {
    fn is_answered(&self, socket: &mut icmp::Socket<'_>) -> bool {
        while let Ok((packet, sender)) = socket.recv() {
            let packet = Icmpv4Packet::new_checked(packet);
            // smoltcp has verified the checksum already.
            let echo = packet.and_then(|packet| Icmpv4Repr::parse(&packet, &ChecksumCapabilities::ignored()));
            if let Ok(Icmpv4Repr::EchoReply { seq_no: SEQUENCE, data, .. }) = echo
                && sender == IpAddress::Ipv4(self.request.target)
                && data.len() == self.request.payload
            {
                return true;
            }
        }
        false
    }
}
