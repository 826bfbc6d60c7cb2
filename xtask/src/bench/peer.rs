//! The other host in the guest's network: it answers ARP and ping, and sends ARP, ping and UDP.
//!
//! QEMU hands over each Ethernet frame in a datagram, so nothing but this program is between the guest and its peer.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};

/// Our addresses and the guest's.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const HOST_ETHERNET: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const GUEST_ETHERNET: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
const BROADCAST: [u8; 6] = [0xff; 6];

/// EtherTypes (IEEE 802) and protocols (IANA).
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const ICMP: u8 = 1;
const UDP: u8 = 17;

/// Operations of ARP (RFC 826) and types of ICMP (RFC 792).
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// The UDP port that echoes (RFC 862), and the one that it is asked from.
const ECHO_PORT: u16 = 7;
const OWN_PORT: u16 = 4000;

/// How many bytes a ping and a UDP datagram carry: what ping(8) sends by default, and what Linux was measured with.
const PING_LENGTH: usize = 56;
const UDP_LENGTH: usize = 32;

/// Ethernet frames are at least this long, without the checksum.
const SHORTEST_FRAME: usize = 60;

/// How long the guest may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Us in the guest's network.
pub struct Peer {
    socket: UnixDatagram,
    guest: PathBuf,
    host: PathBuf,
    /// The frames from the guest that were not requests to us.
    answers: Receiver<Vec<u8>>,
}

impl Peer {
    /// A network whose sockets are in this folder.
    pub fn new(folder: &Path) -> Result<Self> {
        let (host, guest) = (folder.join("host"), folder.join("guest"));
        let socket = UnixDatagram::bind(&host)?;
        let (sender, answers) = channel();
        let (receiving, sending_to) = (socket.try_clone()?, guest.clone());
        std::thread::spawn(move || answer(&receiving, &sending_to, &sender));
        Ok(Self { socket, guest, host, answers })
    }

    /// The card that puts QEMU's guest into the network.
    pub fn qemu_arguments(&self) -> [String; 4] {
        let [a, b, c, d, e, f] = GUEST_ETHERNET;
        [
            "-netdev".into(),
            format!(
                "dgram,id=n0,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                self.guest.display(),
                self.host.display()
            ),
            "-device".into(),
            format!("virtio-net-device,netdev=n0,mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
        ]
    }

    /// Asks for the guest's Ethernet address, as any host does first.
    pub fn resolve(&self) -> Result<()> {
        let request = arp(BROADCAST, ARP_REQUEST, [0; 6], GUEST);
        self.exchange(&request, |frame| is_arp(frame, ARP_REPLY)).context("the guest doesn't answer ARP")
    }

    /// Sends an echo request and waits for the reply.
    pub fn ping(&self, sequence: u16) -> Result<()> {
        let request = echo_request(sequence);
        let mut reply = request.clone();
        reply[0] = ECHO_REPLY;
        set_checksum(&mut reply, 2);
        self.exchange(&ipv4(ICMP, &request), |frame| payload(frame, ICMP).is_some_and(|data| data.starts_with(&reply)))
            .context("the guest doesn't answer ping")
    }

    /// Sends a datagram to the UDP echo port and waits for it to come back.
    pub fn udp_echo(&self, sequence: u16) -> Result<()> {
        let mut data: Vec<u8> = (0..UDP_LENGTH as u8).collect();
        data[..2].copy_from_slice(&sequence.to_be_bytes());
        let header = |from: u16, to: u16| [from, to, 8 + UDP_LENGTH as u16].map(u16::to_be_bytes).concat();
        let mut request = [header(OWN_PORT, ECHO_PORT), vec![0; 2], data.clone()].concat();
        // The checksum is over addresses, protocol and length as well (RFC 768).
        let pseudo_header = [0, UDP, 0, 8 + UDP_LENGTH as u8].into_iter().chain(HOST.octets()).chain(GUEST.octets());
        let mut summed: Vec<u8> = pseudo_header.chain(request.iter().copied()).collect();
        set_checksum(&mut summed, 12 + 6);
        request[6..8].copy_from_slice(&summed[12 + 6..12 + 8]);
        let reply = header(ECHO_PORT, OWN_PORT);
        let is_reply = |datagram: &[u8]| {
            datagram.starts_with(&reply) && datagram.get(8..).is_some_and(|echo| echo.starts_with(&data))
        };
        self.exchange(&ipv4(UDP, &request), |frame| payload(frame, UDP).is_some_and(is_reply))
            .context("the guest doesn't answer on UDP port 7")
    }

    /// Sends a frame and waits for its answer.
    fn exchange(&self, frame: &[u8], is_answer: impl Fn(&[u8]) -> bool) -> Result<()> {
        self.socket.send_to(frame, &self.guest)?;
        while !is_answer(&self.answers.recv_timeout(PATIENCE)?) {}
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Ends the thread that receives.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// Answers the guest's requests, and passes on all else that it sends.
fn answer(socket: &UnixDatagram, guest: &Path, others: &Sender<Vec<u8>>) {
    let mut frame = [0; 2048];
    while let Ok(length @ 1..) = socket.recv(&mut frame) {
        let frame = &frame[..length];
        let reply = if is_arp(frame, ARP_REQUEST) {
            if frame.get(38..42) != Some(&HOST.octets()) {
                continue;
            }
            arp(GUEST_ETHERNET, ARP_REPLY, GUEST_ETHERNET, GUEST)
        } else if let Some([ECHO_REQUEST, rest @ ..]) = payload(frame, ICMP) {
            let mut reply = [&[ECHO_REPLY], rest].concat();
            set_checksum(&mut reply, 2);
            ipv4(ICMP, &reply)
        } else if others.send(frame.to_vec()).is_ok() {
            continue;
        } else {
            return;
        };
        if socket.send_to(&reply, guest).is_err() {
            return;
        }
    }
}

fn ethernet(to: [u8; 6], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut frame = [&to, &HOST_ETHERNET, kind.to_be_bytes().as_slice(), data].concat();
    frame.resize(frame.len().max(SHORTEST_FRAME), 0);
    frame
}

fn arp(to: [u8; 6], operation: u16, target_ethernet: [u8; 6], target: Ipv4Addr) -> Vec<u8> {
    let ethernet_and_ipv4 = [0, 1, 8, 0, 6, 4];
    let parts: [&[u8]; 6] = [
        &ethernet_and_ipv4,
        &operation.to_be_bytes(),
        &HOST_ETHERNET,
        &HOST.octets(),
        &target_ethernet,
        &target.octets(),
    ];
    ethernet(to, ARP, &parts.concat())
}

fn is_arp(frame: &[u8], operation: u16) -> bool {
    frame.get(12..14) == Some(&ARP.to_be_bytes()) && frame.get(20..22) == Some(&operation.to_be_bytes())
}

/// An IPv4 packet (RFC 791) to the guest, in a frame.
fn ipv4(protocol: u8, data: &[u8]) -> Vec<u8> {
    let length = (20 + data.len()) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend(HOST.octets());
    packet.extend(GUEST.octets());
    set_checksum(&mut packet, 10);
    packet.extend(data);
    ethernet(GUEST_ETHERNET, IPV4, &packet)
}

/// What an IPv4 packet to us carries in this protocol.
fn payload(frame: &[u8], protocol: u8) -> Option<&[u8]> {
    let packet = frame.strip_prefix(&HOST_ETHERNET)?.get(6..)?.strip_prefix(&IPV4.to_be_bytes())?;
    let header = 4 * usize::from(packet.first()? & 0xf);
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    if *packet.get(9)? != protocol || packet.get(16..20)? != HOST.octets() {
        return None;
    }
    packet.get(header..length)
}

fn echo_request(sequence: u16) -> Vec<u8> {
    let mut message = vec![ECHO_REQUEST, 0, 0, 0, 0, 77];
    message.extend(sequence.to_be_bytes());
    message.extend(0..PING_LENGTH as u8);
    set_checksum(&mut message, 2);
    message
}

/// Computes the internet checksum (RFC 1071) of some bytes into the two at `place`.
fn set_checksum(bytes: &mut [u8], place: usize) {
    bytes[place..place + 2].fill(0);
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    bytes[place..place + 2].copy_from_slice(&(!sum as u16).to_be_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_example_in_rfc_1071() {
        let mut bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0xff, 0xff];
        set_checksum(&mut bytes, 8);
        // The sum is ddf2.
        assert_eq!(bytes[8..], [0x22, 0x0d]);
    }

    #[test]
    fn a_guest_gets_its_own_pings_back_and_answers_ours() {
        let folder = std::env::temp_dir().join(format!("lockstep-peer-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let peer = Peer::new(&folder).unwrap();
        let guest = UnixDatagram::bind(&peer.guest).unwrap();
        let mut frame = [0; 2048];

        // What it sends to us differs from what we send to it in the addresses alone.
        let to_us = |mut frame: Vec<u8>| {
            frame[..6].copy_from_slice(&HOST_ETHERNET);
            frame[6..12].copy_from_slice(&GUEST_ETHERNET);
            frame[26..30].copy_from_slice(&GUEST.octets());
            frame[30..34].copy_from_slice(&HOST.octets());
            frame
        };
        guest.send_to(&to_us(ipv4(ICMP, &echo_request(7))), &peer.host).unwrap();
        let length = guest.recv(&mut frame).unwrap();
        let mut reply = echo_request(7);
        reply[0] = ECHO_REPLY;
        set_checksum(&mut reply, 2);
        assert_eq!(frame[..length], ipv4(ICMP, &reply));

        let mut reply = echo_request(8);
        reply[0] = ECHO_REPLY;
        set_checksum(&mut reply, 2);
        guest.send_to(&to_us(ipv4(ICMP, &reply)), &peer.host).unwrap();
        peer.ping(8).unwrap();
        assert_eq!(guest.recv(&mut frame).unwrap(), ipv4(ICMP, &reply).len());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
