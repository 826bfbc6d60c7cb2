//! The whole module on the host: a card that the tests hold the other end of, on the fake kernel.
//!
//! What goes in and comes out is written and read by the crate etherparse, and the DHCP server is by hand from RFC 2131.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use abi::dma::Dma;
use abi::event::Signal;
use abi::internet::{InterfaceAddress, Internet, Origin};
use abi::network::{Frame, MacAddress, NetworkDevice, Statistics};
use abi::{Class, Error, Interface};
use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Icmpv4Type, NetHeaders, PacketBuilder, PacketHeaders, TcpHeader,
    TransportHeader,
};
use fake_kernel::{FakeNode, Session, await_log, expect_sleep, machine, publish, wait_until, withdraw};
use net as _;
use std::collections::{HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CARD: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const PEER: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
const BROADCAST: [u8; 6] = [0xff; 6];
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const STATIC: &str = "10.0.2.15::10.0.2.2:255.255.255.0";

/// What a card's driver keeps in front of a frame.
const HEADER: usize = 12;

/// A card, and the wire that it is plugged into.
struct Card {
    address: [u8; 6],
    mtu: usize,
    memory: Dma,
    arrived: Mutex<VecDeque<Vec<u8>>>,
    sent: Mutex<VecDeque<Vec<u8>>>,
    signal: Mutex<Option<Signal>>,
    room: AtomicUsize,
    link_is_up: AtomicBool,
    breaks: AtomicBool,
    recycled: AtomicUsize,
}

impl NetworkDevice for Card {
    fn mac_address(&self) -> MacAddress {
        MacAddress(self.address)
    }
    fn mtu(&self) -> usize {
        self.mtu
    }
    fn link_is_up(&self) -> bool {
        self.link_is_up.load(Ordering::SeqCst)
    }
    fn receive(&self) -> abi::Result<Option<Frame>> {
        if self.breaks.load(Ordering::SeqCst) {
            return Err(Error::Device("it returned a frame that nobody lent to it".into()));
        }
        let Some(bytes) = self.arrived.lock().unwrap().pop_front() else { return Ok(None) };
        let mut frame = self.frame(bytes.len());
        frame.copy_from_slice(&bytes);
        Ok(Some(frame))
    }
    fn recycle(&self, _: Frame) {
        self.recycled.fetch_add(1, Ordering::SeqCst);
    }
    fn transmit_frame(&self) -> Option<Frame> {
        let room = self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |room| room.checked_sub(1));
        room.ok().map(|_| self.frame(1600))
    }
    fn transmit(&self, frame: Frame) -> abi::Result<()> {
        self.sent.lock().unwrap().push_back(frame.to_vec());
        Ok(())
    }
    fn subscribe(&self, signal: Signal) {
        *self.signal.lock().unwrap() = Some(signal);
        signal.raise();
    }
    fn statistics(&self) -> Statistics {
        Statistics { received: self.recycled.load(Ordering::SeqCst) as u64, transmitted: 2, dropped: 3 }
    }
}

impl Card {
    /// A card that is published as provider `number`.
    fn publish(number: u32) -> &'static Self {
        Self::publish_with_mtu(number, 1500)
    }

    fn publish_with_mtu(number: u32, mtu: usize) -> &'static Self {
        let mut address = CARD;
        address[5] += number as u8;
        let card: &'static Self = Box::leak(Box::new(Self {
            address,
            mtu,
            memory: FakeNode::new(&[]).resources().dma(),
            arrived: Mutex::default(),
            sent: Mutex::default(),
            signal: Mutex::default(),
            room: AtomicUsize::new(usize::MAX),
            link_is_up: AtomicBool::new(true),
            breaks: AtomicBool::new(false),
            recycled: AtomicUsize::new(0),
        }));
        publish(number, Class::NetworkDevice, || Interface::NetworkDevice(card));
        card
    }

    fn frame(&self, length: usize) -> Frame {
        let size = HEADER + length;
        Frame::new(self.memory.allocate(size, 1).unwrap(), HEADER..size)
    }

    fn wake(&self) {
        wait_until("subscription", || self.signal.lock().unwrap().is_some());
        self.signal.lock().unwrap().unwrap().raise();
    }

    /// Puts a frame on the wire towards the card.
    fn put(&self, frame: Vec<u8>) {
        self.arrived.lock().unwrap().push_back(frame);
        self.wake();
    }

    /// The next frame that the card has sent.
    fn get(&self) -> Vec<u8> {
        wait_until("frame", || !self.sent.lock().unwrap().is_empty());
        self.sent.lock().unwrap().pop_front().unwrap()
    }

    /// Nothing is sent any more: all that was done before is done, and led to nothing.
    fn expect_silence(&self) {
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(self.sent.lock().unwrap().pop_front(), None);
    }

    /// Tells the card who has the peer's address, as one does who is about to talk to it.
    fn introduce(&self) {
        let request = arp(ArpOperation::REQUEST, GATEWAY, OWN);
        self.put(PacketBuilder::ethernet2(PEER, BROADCAST).arp(request).bytes());
        self.get();
    }
}

trait Bytes {
    fn bytes(self) -> Vec<u8>;
}

impl Bytes for etherparse::PacketBuilderStep<ArpPacket> {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).unwrap();
        bytes
    }
}

fn arp(operation: ArpOperation, sender: Ipv4Addr, target: Ipv4Addr) -> ArpPacket {
    let (ethernet, ipv4) = (ArpHardwareId::ETHERNET, EtherType::IPV4);
    ArpPacket::new(ethernet, ipv4, operation, &PEER, &sender.octets(), &[0; 6], &target.octets()).unwrap()
}

fn udp(source: (Ipv4Addr, u16), target: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(PEER, CARD).ipv4(source.0.octets(), target.0.octets(), 64);
    let mut bytes = Vec::new();
    builder.udp(source.1, target.1).write(&mut bytes, data).unwrap();
    bytes
}

fn tcp(port: u16, sequence: u32, acknowledged: u32, flags: &str, data: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(PEER, CARD).ipv4(GATEWAY.octets(), OWN.octets(), 64);
    let mut header = TcpHeader::new(port, 7, sequence, 8192);
    header.acknowledgment_number = acknowledged;
    header.syn = flags.contains('S');
    header.ack = flags.contains('A');
    header.fin = flags.contains('F');
    let mut bytes = Vec::new();
    builder.tcp_header(header).write(&mut bytes, data).unwrap();
    bytes
}

/// An IP packet that the card sent, after a check of its addresses and checksums.
fn parse(frame: &[u8]) -> (PacketHeaders<'_>, Vec<u8>) {
    let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
    let ethernet = headers.link.clone().unwrap().ethernet2().unwrap();
    assert_eq!((ethernet.source, ethernet.destination), (CARD, PEER));
    let Some(NetHeaders::Ipv4(ip, _)) = &headers.net else { panic!("{headers:?} is no IPv4") };
    assert_eq!((ip.source, ip.destination), (OWN.octets(), GATEWAY.octets()));
    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    let data = headers.payload.slice().to_vec();
    match headers.transport.as_ref().unwrap() {
        TransportHeader::Udp(udp) => assert_eq!(udp.checksum, udp.calc_checksum_ipv4(ip, &data).unwrap()),
        TransportHeader::Tcp(tcp) => assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(ip, &data).unwrap()),
        TransportHeader::Icmpv4(icmp) => assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(&data)),
        other => panic!("{other:?}"),
    }
    (headers, data)
}

fn parse_tcp(frame: &[u8]) -> (TcpHeader, Vec<u8>) {
    let (headers, data) = parse(frame);
    (headers.transport.unwrap().tcp().unwrap(), data)
}

fn boot_with(ip: &str) -> impl FnOnce() {
    let value = ip.to_owned();
    move || {
        machine().boot_arguments.insert("ip".into(), value);
    }
}

fn internet(session: &Session) -> &dyn Internet {
    let Interface::Internet(internet) = session.interface(Class::Internet) else { panic!("no internet") };
    internet
}

/// A machine with one card at a static address, which knows its peer.
fn static_machine() -> (Session, &'static Card) {
    let session = Session::start(boot_with(STATIC));
    let card = Card::publish(0);
    card.introduce();
    (session, card)
}

#[test]
fn answers_arp_and_ping() {
    let session = Session::start(boot_with(STATIC));
    let card = Card::publish(0);
    await_log("eth0: 10.0.2.15/24 via 10.0.2.2");

    card.put(PacketBuilder::ethernet2(PEER, BROADCAST).arp(arp(ArpOperation::REQUEST, GATEWAY, OWN)).bytes());
    let frame = card.get();
    let headers = PacketHeaders::from_ethernet_slice(&frame).unwrap();
    let Some(NetHeaders::Arp(answer)) = headers.net else { panic!("{headers:?} is no ARP") };
    assert_eq!(answer.operation, ArpOperation::REPLY);
    assert_eq!((answer.sender_hw_addr(), answer.sender_protocol_addr()), (&CARD[..], &OWN.octets()[..]));
    assert_eq!((answer.target_hw_addr(), answer.target_protocol_addr()), (&PEER[..], &GATEWAY.octets()[..]));

    for length in [0, 56, 1472] {
        let data = vec![0xa5; length];
        let mut request = Vec::new();
        let builder = PacketBuilder::ethernet2(PEER, CARD).ipv4(GATEWAY.octets(), OWN.octets(), 64);
        builder.icmpv4_echo_request(77, 3).write(&mut request, &data).unwrap();
        card.put(request);
        let frame = card.get();
        let (headers, reply) = parse(&frame);
        let Icmpv4Type::EchoReply(echo) = headers.transport.unwrap().icmpv4().unwrap().icmp_type else {
            panic!("no reply")
        };
        assert_eq!((echo.id, echo.seq, reply), (77, 3, data));
    }
    assert_eq!(card.recycled.load(Ordering::SeqCst), 4);
    drop(session);
}

#[test]
fn echoes_udp_but_neither_broadcasts_nor_other_echo_services() {
    let (_session, card) = static_machine();
    for length in [0, 1, 1000, 1472] {
        let data: Vec<u8> = (0..length).map(|index| index as u8).collect();
        card.put(udp((GATEWAY, 4000), (OWN, 7), &data));
        let frame = card.get();
        let (headers, echoed) = parse(&frame);
        let header = headers.transport.unwrap().udp().unwrap();
        assert_eq!((header.source_port, header.destination_port, echoed), (7, 4000, data));
    }
    card.put(udp((GATEWAY, 7), (OWN, 7), b"for ever"));
    card.put(udp((GATEWAY, 4000), (Ipv4Addr::new(10, 0, 2, 255), 7), b"everybody"));
    card.put(udp((GATEWAY, 4000), (Ipv4Addr::BROADCAST, 7), b"everybody"));
    card.expect_silence();
}

#[test]
fn a_burst_of_datagrams_is_echoed_whole_and_in_order() {
    let (_session, card) = static_machine();
    let burst: Vec<Vec<u8>> = (0..200u8).map(|number| vec![number; 100 + usize::from(number)]).collect();
    card.arrived.lock().unwrap().extend(burst.iter().map(|data| udp((GATEWAY, 4000), (OWN, 7), data)));
    card.wake();
    for data in burst {
        assert_eq!(parse(&card.get()).1, data);
    }
}

#[test]
fn a_datagram_whose_sender_answers_no_arp_holds_up_the_others_for_seconds_only() {
    let (_session, card) = static_machine();
    card.put(udp((Ipv4Addr::new(10, 0, 2, 99), 4000), (OWN, 7), b"from nowhere"));
    card.put(udp((GATEWAY, 4000), (OWN, 7), b"lost"));
    let start = Instant::now();
    wait_until("echo", || {
        card.sent.lock().unwrap().clear();
        card.put(udp((GATEWAY, 4000), (OWN, 7), b"again"));
        std::thread::sleep(Duration::from_millis(200));
        card.sent.lock().unwrap().iter().any(|frame| frame.ends_with(b"again"))
    });
    assert!(start.elapsed() > Duration::from_secs(2));
}

/// Opens a connection from `port`; returns the sequence numbers of both sides after it.
fn connect(card: &Card, port: u16) -> (u32, u32) {
    card.put(tcp(port, 1000, 0, "S", b""));
    let (answer, _) = parse_tcp(&card.get());
    assert!(answer.syn && answer.ack && answer.acknowledgment_number == 1001, "{answer:?}");
    let theirs = answer.sequence_number.wrapping_add(1);
    card.put(tcp(port, 1001, theirs, "A", b""));
    (1001, theirs)
}

#[test]
fn echoes_tcp_on_four_connections_at_once_and_refuses_a_fifth() {
    let (_session, card) = static_machine();
    let connections: Vec<_> = (0..4).map(|index| (5000 + index, connect(card, 5000 + index))).collect();
    for (port, (ours, theirs)) in &connections {
        card.put(tcp(*port, *ours, *theirs, "A", b"hello"));
        let (answer, data) = parse_tcp(&card.get());
        assert_eq!((answer.destination_port, data.as_slice()), (*port, b"hello".as_slice()));
        assert_eq!(answer.acknowledgment_number, ours + 5);
        card.put(tcp(*port, ours + 5, theirs.wrapping_add(5), "A", b""));
    }
    card.put(tcp(6000, 1000, 0, "S", b""));
    assert!(parse_tcp(&card.get()).0.rst);

    // Once one is closed there is room for another.
    let (port, (ours, theirs)) = connections[2];
    card.put(tcp(port, ours + 5, theirs.wrapping_add(5), "FA", b""));
    let (answer, _) = parse_tcp(&card.get());
    assert!(answer.fin && answer.acknowledgment_number == ours + 6, "{answer:?}");
    card.put(tcp(port, ours + 6, theirs.wrapping_add(6), "A", b""));
    connect(card, 6000);
}

#[test]
fn after_a_half_close_everything_is_echoed_before_the_connection_closes() {
    let (_session, card) = static_machine();
    let (ours, theirs) = connect(card, 5000);
    // Data and FIN at once, so that the echo has to outlive the end of input.
    card.put(tcp(5000, ours, theirs, "FA", b"the last words"));
    let (mut echoed, mut finished, mut next) = (Vec::new(), false, theirs);
    while !finished {
        let (answer, data) = parse_tcp(&card.get());
        assert_eq!(answer.sequence_number, next);
        next = next.wrapping_add(data.len() as u32 + u32::from(answer.fin));
        echoed.extend(data);
        finished = answer.fin;
    }
    assert_eq!(echoed, b"the last words");
    card.put(tcp(5000, ours + 15, next, "A", b""));
    card.expect_silence();
}

/// What a DHCP server answers to the message in `frame` (RFC 2131, section 2, and RFC 2132).
fn dhcp_answer(frame: &[u8], expected: u8, answer: u8) -> Vec<u8> {
    let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
    let ports = headers.transport.unwrap().udp().unwrap();
    assert_eq!((ports.source_port, ports.destination_port), (68, 67));
    let asked = headers.payload.slice();
    assert_eq!(asked[28..34], CARD);
    let options = asked[240..].windows(3).any(|option| option == [53, 1, expected]);
    assert!(options, "message type {expected} is expected: {asked:?}");

    let mut message = vec![2, 1, 6, 0];
    message.extend(&asked[4..8]);
    message.extend([0; 8]);
    message.extend(OWN.octets());
    message.extend([0; 8]);
    message.extend(&asked[28..44]);
    message.extend([0; 192]);
    message.extend([99, 130, 83, 99]);
    message.extend([53, 1, answer]);
    message.extend([54, 4, 10, 0, 2, 2]);
    message.extend([1, 4, 255, 255, 255, 0]);
    message.extend([3, 4, 10, 0, 2, 2]);
    message.extend([51, 4, 0, 1, 0x51, 0x80]);
    message.push(255);
    let builder = PacketBuilder::ethernet2(PEER, CARD).ipv4(GATEWAY.octets(), OWN.octets(), 64);
    let mut bytes = Vec::new();
    builder.udp(67, 68).write(&mut bytes, &message).unwrap();
    bytes
}

fn grant_lease(card: &Card) {
    let discover = card.get();
    card.put(dhcp_answer(&discover, 1, 2));
    let request = card.get();
    card.put(dhcp_answer(&request, 3, 5));
}

#[test]
fn takes_a_lease_and_a_new_one_when_the_link_comes_back() {
    let session = Session::start(|| ());
    let card = Card::publish(0);
    let status = || internet(&session).interfaces().remove(0);
    wait_until("interface", || !internet(&session).interfaces().is_empty());
    assert_eq!((status().origin, status().address), (Origin::None, None));
    grant_lease(card);
    await_log("eth0: 10.0.2.15/24 via 10.0.2.2 (DHCP lease of 86400 s)");
    let expected = abi::internet::InterfaceStatus {
        name: "eth0".into(),
        device: "/device@0".into(),
        mac_address: MacAddress(CARD),
        mtu: 1500,
        link_is_up: true,
        origin: Origin::Lease,
        address: Some(InterfaceAddress { address: OWN, prefix: 24 }),
        gateway: Some(GATEWAY),
        statistics: Statistics { received: 2, transmitted: 2, dropped: 3 },
    };
    assert_eq!(status(), expected);

    card.link_is_up.store(false, Ordering::SeqCst);
    card.wake();
    await_log("eth0: link is down");
    card.link_is_up.store(true, Ordering::SeqCst);
    card.wake();
    await_log("eth0: lost 10.0.2.15/24 (DHCP lease)");
    grant_lease(card);
    wait_until("address", || status().address == Some(InterfaceAddress { address: OWN, prefix: 24 }));
}

#[test]
fn a_wrong_boot_argument_is_named_and_dhcp_used() {
    let _session = Session::start(boot_with("10.0.2.15::10.0.2.2:255.0.255.0"));
    await_log("the boot argument `ip` has the netmask 255.0.255.0, which isn't ones followed by zeros; using DHCP");
    grant_lease(Card::publish(0));
    await_log("eth0: 10.0.2.15/24 via 10.0.2.2 (DHCP lease of 86400 s)");
}

/// Answers the echo request in `frame`; returns the identifier and the data.
fn answer_ping(card: &Card, frame: &[u8], target: Ipv4Addr) -> (u16, Vec<u8>) {
    let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
    let data = headers.payload.slice().to_vec();
    let Icmpv4Type::EchoRequest(echo) = headers.transport.unwrap().icmpv4().unwrap().icmp_type else {
        panic!("no request")
    };
    let mut reply = Vec::new();
    let builder = PacketBuilder::ethernet2(PEER, CARD).ipv4(target.octets(), OWN.octets(), 64);
    builder.icmpv4_echo_reply(echo.id, echo.seq).write(&mut reply, &data).unwrap();
    card.put(reply);
    (echo.id, data)
}

#[test]
fn pings_hosts_on_the_network_and_behind_the_gateway() {
    let (session, card) = static_machine();
    let internet = internet(&session);
    let far = Ipv4Addr::new(9, 9, 9, 9);
    std::thread::scope(|scope| {
        for target in [GATEWAY, far] {
            let ping = scope.spawn(move || internet.ping(target, 56, Duration::from_secs(5)));
            let frame = card.get();
            // Both go to the same card: the gateway's.
            assert_eq!(frame[..6], PEER);
            let (_, data) = answer_ping(card, &frame, target);
            assert_eq!(data, (0..56).collect::<Vec<u8>>());
            assert!(ping.join().unwrap().unwrap() < Duration::from_secs(5));
        }
    });
}

#[test]
fn pings_at_once_are_told_apart() {
    let (session, card) = static_machine();
    let internet = internet(&session);
    std::thread::scope(|scope| {
        let ping = |length| scope.spawn(move || internet.ping(GATEWAY, length, Duration::from_millis(500)));
        let pings: Vec<_> = (0..8).map(ping).collect();
        let requests: Vec<_> = (0..8).map(|_| card.get()).collect();
        let length = |frame: &Vec<u8>| PacketHeaders::from_ethernet_slice(frame).unwrap().payload.slice().len();
        let mut identifiers = HashSet::new();
        for request in requests.iter().rev().filter(|request| length(request) % 2 == 1) {
            identifiers.insert(answer_ping(card, request, GATEWAY).0);
        }
        assert_eq!(identifiers.len(), 4);
        for (length, ping) in pings.into_iter().enumerate() {
            assert_eq!(ping.join().unwrap().is_ok(), length % 2 == 1, "{length}");
        }
    });
}

#[test]
fn pings_that_cannot_succeed_say_why() {
    let (session, card) = static_machine();
    let ping = |target: [u8; 4], payload| {
        internet(&session).ping(target.into(), payload, Duration::from_millis(100)).unwrap_err()
    };
    assert_eq!(ping([10, 0, 2, 2], 56), Error::TimedOut);
    let long = "1473 bytes of data don't fit into a packet, the most is 1472";
    assert_eq!(ping([10, 0, 2, 2], 1473), Error::Invalid(long.into()));
    for address in [[0, 0, 0, 0], [224, 0, 0, 1], [255, 255, 255, 255]] {
        let expected = format!("{} is no single host's address", Ipv4Addr::from(address));
        assert_eq!(ping(address, 56), Error::Invalid(expected));
    }
    // Own addresses answer without a wire.
    card.sent.lock().unwrap().clear();
    for address in [OWN, Ipv4Addr::LOCALHOST] {
        assert!(internet(&session).ping(address, 56, Duration::from_secs(1)).is_ok());
    }
    card.expect_silence();
}

#[test]
fn without_a_route_there_is_no_ping() {
    let session = Session::start(boot_with("10.0.2.15:::255.255.255.0"));
    let far = Ipv4Addr::new(9, 9, 9, 9);
    let ping = || internet(&session).ping(far, 56, Duration::from_secs(1));
    let expected = Err(Error::Invalid("no interface has a route to 9.9.9.9".into()));
    assert_eq!(ping(), expected);
    Card::publish(0);
    await_log("eth0: 10.0.2.15/24");
    assert_eq!(ping(), expected);
}

#[test]
fn cards_come_and_go_and_names_are_used_again() {
    let session = Session::start(|| ());
    let names = || internet(&session).interfaces().into_iter().map(|status| status.name).collect::<Vec<_>>();
    Card::publish(1);
    wait_until("interface", || names() == ["eth0"]);
    Card::publish(0);
    wait_until("second interface", || names() == ["eth0", "eth1"]);
    withdraw(1);
    wait_until("removal", || names() == ["eth1"]);
    await_log("eth0: removed");
    Card::publish(2);
    wait_until("new interface", || names() == ["eth1", "eth0"]);
}

#[test]
fn a_card_that_is_replaced_in_its_place_goes_on_as_the_same_interface() {
    let (session, card) = static_machine();
    withdraw(0);
    wait_until("removal", || internet(&session).interfaces().is_empty());
    let other = Card::publish(0);
    other.introduce();
    other.put(udp((GATEWAY, 4000), (OWN, 7), b"hello"));
    assert_eq!(parse(&other.get()).1, b"hello");
    assert_eq!(internet(&session).interfaces()[0].name, "eth0");
    card.expect_silence();
}

#[test]
fn a_card_that_breaks_its_protocol_is_left_alone() {
    let (session, card) = static_machine();
    card.breaks.store(true, Ordering::SeqCst);
    card.wake();
    let complaint = "eth0: the device misbehaved: it returned a frame that nobody lent to it; it is not used any more";
    await_log(complaint);
    for _ in 0..10 {
        card.put(udp((GATEWAY, 4000), (OWN, 7), b"hello"));
    }
    card.expect_silence();
    assert_eq!(fake_kernel::log().iter().filter(|line| *line == complaint).count(), 1);
    assert!(!internet(&session).interfaces()[0].link_is_up);
}

#[test]
fn a_card_whose_mtu_cannot_be_is_left_out() {
    let session = Session::start(boot_with(STATIC));
    Card::publish_with_mtu(0, usize::MAX);
    await_log(&format!(
        "/device@0 can't be used: the device misbehaved: its driver says that frames carry {} bytes, at most 65535 are expected",
        usize::MAX
    ));
    Card::publish(1);
    wait_until("the other card", || internet(&session).interfaces().iter().any(|found| found.device == "/device@1"));
    assert_eq!(internet(&session).interfaces().len(), 1);
}

#[test]
fn what_a_full_card_cannot_take_waits_until_there_is_room() {
    let (session, card) = static_machine();
    card.room.store(0, Ordering::SeqCst);
    let internet = internet(&session);
    std::thread::scope(|scope| {
        let ping = scope.spawn(move || internet.ping(GATEWAY, 56, Duration::from_secs(5)));
        card.expect_silence();
        expect_sleep(Duration::from_millis(100));
        card.room.store(1, Ordering::SeqCst);
        card.wake();
        answer_ping(card, &card.get(), GATEWAY);
        assert!(ping.join().unwrap().is_ok());
    });
}

#[test]
fn an_idle_interface_sleeps() {
    let (_session, card) = static_machine();
    card.put(udp((GATEWAY, 4000), (OWN, 7), b"hello"));
    card.get();
    expect_sleep(Duration::from_millis(1500));
}

#[test]
fn damaged_packets_do_no_harm() {
    let (_session, card) = static_machine();
    let mut echo = Vec::new();
    let builder = PacketBuilder::ethernet2(PEER, CARD).ipv4(GATEWAY.octets(), OWN.octets(), 64);
    builder.icmpv4_echo_request(1, 1).write(&mut echo, &[0; 56]).unwrap();
    let good = [echo, udp((GATEWAY, 4000), (OWN, 7), b"hello"), tcp(5000, 1000, 0, "S", b"")];
    // The same damage in every run.
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..5000 {
        let mut frame = good[round % good.len()].clone();
        for _ in 0..=random.usize(..3) {
            let position = random.usize(..frame.len());
            frame[position] = random.u8(..);
        }
        frame.truncate(1 + random.usize(..frame.len() * 2));
        card.arrived.lock().unwrap().push_back(frame);
    }
    card.wake();
    wait_until("end of the frames", || card.arrived.lock().unwrap().is_empty());
    std::thread::sleep(Duration::from_millis(50));
    card.sent.lock().unwrap().clear();
    card.put(udp((GATEWAY, 4000), (OWN, 7), b"still there"));
    assert_eq!(parse(&card.get()).1, b"still there");
}
