//! The echo service (RFC 862), over UDP and TCP.

use abi::prelude::*;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::{Duration, Instant};

/// The echo service's port.
const PORT: u16 = 7;

/// How many UDP datagrams, and bytes of them, may wait each way.
const DATAGRAMS: usize = 4;
const DATAGRAM_BYTES: usize = 4096;

/// How long a datagram may wait for its receiver to answer ARP: until then it holds up those behind it.
const NEIGHBOR_TIMEOUT: Duration = Duration::from_secs(3);

/// How many TCP connections there may be at once.
const CONNECTIONS: usize = 4;

/// How many bytes of a TCP connection may wait each way.
const CONNECTION_BYTES: usize = 4096;

/// A connection whose peer is silent for so long is asked for a sign of life, and then given up.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(180);

/// The echo service of one interface.
pub struct Echo {
    udp: SocketHandle,
    /// Since when a datagram has been waiting to leave.
    udp_waiting: Option<Instant>,
    /// The connections, and the socket that listens for the next, so that an idle interface has just one.
    tcp: Vec<SocketHandle>,
    buffer: Vec<u8>,
}

impl Echo {
    /// Opens the service's sockets among `sockets`.
    pub fn new(sockets: &mut SocketSet<'_>, mtu: usize) -> Self {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; DATAGRAMS], vec![0; DATAGRAM_BYTES.max(mtu)]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        bind(&mut socket);
        let mut echo = Self { udp: sockets.add(socket), udp_waiting: None, tcp: Vec::new(), buffer: vec![0; mtu] };
        echo.listen(sockets);
        echo
    }

    /// Sends back what has arrived; returns whether there is something to transmit now.
    pub fn serve(&mut self, sockets: &mut SocketSet<'_>, interface: &Interface, now: Instant) -> bool {
        let datagrams = self.serve_udp(sockets.get_mut(self.udp), interface, now);
        let stream = self.serve_tcp(sockets);
        datagrams || stream
    }

    fn serve_udp(&mut self, socket: &mut udp::Socket<'_>, interface: &Interface, now: Instant) -> bool {
        if socket.send_queue() == 0 {
            self.udp_waiting = None;
        } else if now > *self.udp_waiting.get_or_insert(now) + NEIGHBOR_TIMEOUT {
            socket.close();
            bind(socket);
        }
        let mut answered = false;
        while let Ok((length, sender)) = socket.recv_slice(&mut self.buffer) {
            // Two echo services would keep each other busy for ever, and a broadcast would call up every host.
            let own = sender.local_address.is_some_and(|address| interface.has_ip_addr(address));
            if sender.endpoint.port == PORT || !own {
                continue;
            }
            let answer = udp::UdpMetadata { meta: Default::default(), ..sender };
            // A datagram that finds the queue full is lost, as UDP allows.
            answered |= self.buffer.get(..length).is_some_and(|data| socket.send_slice(data, answer).is_ok());
        }
        answered
    }

    fn serve_tcp(&mut self, sockets: &mut SocketSet<'_>) -> bool {
        let Self { tcp: handles, buffer, .. } = self;
        let mut answered = false;
        let mut listening = false;
        handles.retain(|&handle| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            match socket.state() {
                tcp::State::Listen => listening = true,
                // An aborted connection has its RST to send before it forgets its peer.
                tcp::State::Closed if socket.remote_endpoint().is_none() => {
                    sockets.remove(handle);
                    return false;
                }
                _ => answered |= send_back(socket, buffer),
            }
            true
        });
        if !listening && self.tcp.len() < CONNECTIONS {
            self.listen(sockets);
        }
        answered
    }

    fn listen(&mut self, sockets: &mut SocketSet<'_>) {
        let buffer = || tcp::SocketBuffer::new(vec![0; CONNECTION_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_timeout(Some(CONNECTION_TIMEOUT));
        if socket.listen(PORT).is_ok() {
            self.tcp.push(sockets.add(socket));
        }
    }
}

/// Binds the closed `socket` to the service's port.
fn bind(socket: &mut udp::Socket<'_>) {
    let bound = socket.bind(PORT);
    debug_assert!(bound.is_ok(), "a closed socket can be bound to any port but 0");
}

/// Moves what has arrived to what is to be sent, as far as there is room; closes the connection after its peer when all
/// has been moved. Returns whether that gives the socket something to transmit.
fn send_back(socket: &mut tcp::Socket<'_>, buffer: &mut [u8]) -> bool {
    let mut answered = false;
    while socket.can_recv() && socket.can_send() {
        let room = buffer.len().min(socket.send_capacity() - socket.send_queue());
        let moved = buffer.get_mut(..room).and_then(|piece| socket.recv_slice(piece).ok()).unwrap_or(0);
        answered |= buffer.get(..moved).is_some_and(|piece| socket.send_slice(piece).is_ok());
    }
    if socket.state() == tcp::State::CloseWait && !socket.can_recv() {
        socket.close();
        answered = true;
    }
    answered
}
