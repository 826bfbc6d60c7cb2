//! The driver over a model of the controller, with a card in its slot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod model;

use super::*;
use fake_kernel::{CardKind, FakeCard, FakeNode, FakeSlot, dma_in_use};
use model::*;
use sdmmc::{BLOCK, LONGEST};
use std::sync::{Arc, Mutex as StdMutex};

const MIB: usize = 1 << 20;

type Setup = FakeSlot<Machine, Disk<Controller>>;

fn try_start(machine: Machine) -> Result<Setup> {
    let base = machine.base;
    FakeSlot::new(machine, |resources| {
        let controller = Controller::new(resources.registers(0)?, resources.dma(), base)?;
        Disk::start(controller, "/slot")
    })
}

/// A controller that moves data by itself or not, with a card of 1 MiB of random bytes.
fn start(capabilities: u32) -> Setup {
    try_start(Machine::new(FakeCard::random(), 100_000_000, capabilities)).unwrap()
}

#[test]
fn cards_are_found_with_any_clock() {
    for base in [25_000_000, 50_000_000, 100_000_000, 250_000_000, 700_000_000] {
        for kind in [CardKind::First, CardKind::Standard, CardKind::High] {
            let setup = try_start(Machine::new(FakeCard::new(kind, MIB), base, 0)).unwrap();
            assert_eq!(setup.disk.geometry().size(), MIB as u64);
            let (machine, best) = (setup.machine(), if kind == CardKind::First { 25_000_000 } else { 50_000_000 });
            // The model refuses faster ones; slower ones by more than a step make no sense.
            assert!(2 * machine.rate() > best.min(base), "{base}: {}", machine.rate());
        }
    }
    for base in [0, 2 * 1023 * 400_000] {
        let refused = try_start(Machine::new(FakeCard::new(CardKind::High, MIB), base, 0));
        assert!(matches!(refused.err(), Some(Error::Unsupported(_))), "{base}");
    }
}

#[test]
fn what_is_written_is_where_it_belongs_and_is_what_is_read() {
    for capabilities in [0, BOTH] {
        let setup = start(capabilities);
        let mut random = fastrand::Rng::with_seed(1);
        let mut expected = setup.machine().card.bytes.clone();
        // One block, a few, all that one command moves, and more.
        for (first, count) in [(0, 1), (2047, 1), (3, 5), (64, 65), (100, LONGEST / BLOCK), (1, LONGEST / BLOCK + 1)] {
            let mut buffer = vec![0; count * BLOCK];
            setup.disk.read(first as u64, &mut buffer).unwrap();
            assert!(buffer == expected[first * BLOCK..][..buffer.len()]);
            random.fill(&mut buffer);
            setup.disk.write(first as u64, &buffer).unwrap();
            expected[first * BLOCK..][..buffer.len()].copy_from_slice(&buffer);
        }
        assert!(setup.machine().card.bytes == expected);
        assert_eq!(dma_in_use(&setup.node) > 0, capabilities == BOTH);
        let Setup { node, machine, disk } = setup;
        let resets = machine.lock().unwrap().resets[0];
        drop(disk);
        assert_eq!((dma_in_use(&node), machine.lock().unwrap().resets[0]), (0, resets + 1), "it is put to rest");
    }
}

#[test]
fn errors_are_told_by_what_they_are() {
    for (capabilities, error, text) in [
        (0, COMMAND_CRC, "blocks 4 to 7 can't be read: the card's answer arrives damaged (CMD18)"),
        (0, COMMAND_TIMEOUT, "blocks 4 to 7 can't be read: the card doesn't answer (CMD18)"),
        (0, DATA_CRC, "blocks 4 to 7 can't be read: data arrive damaged (CMD18)"),
        (0, DATA_TIMEOUT, "blocks 4 to 7 can't be read: the card neither sends nor takes data (CMD18)"),
        (BOTH, DATA_CRC, "blocks 4 to 7 can't be read: data arrive damaged (CMD18)"),
        (BOTH, DMA_ERROR, "the device misbehaved: it reports the errors 0x2000000"),
    ] {
        let setup = start(capabilities);
        let memory = dma_in_use(&setup.node);
        let mut buffer = [0; 4 * BLOCK];
        // Once is forgiven, but for what isn't the card's.
        if error != DMA_ERROR {
            setup.machine().faults.push(Fault::Reports(18, error));
            assert_eq!(setup.disk.read(4, &mut buffer), Ok(()), "{text}");
        }
        setup.machine().faults.extend([Fault::Reports(18, error); 2]);
        let failed = setup.disk.read(4, &mut buffer).unwrap_err();
        assert_eq!(failed.to_string(), text);
        setup.machine().faults.clear();
        assert_eq!(setup.disk.read(4, &mut buffer), Ok(()), "{text}");
        assert_eq!(buffer, setup.machine().card.bytes[4 * BLOCK..8 * BLOCK]);
        assert_eq!(dma_in_use(&setup.node), memory);
    }
}

#[test]
fn a_command_that_the_card_refuses_leaves_nothing_under_way() {
    for capabilities in [0, BOTH] {
        let setup = start(capabilities);
        setup.machine().card.errors = 1 << 26;
        let begin = Instant::now();
        let failed = setup.disk.write(9, &[0; 3 * BLOCK]).unwrap_err().to_string();
        let reason = "the card refuses CMD25: it is protected from being written";
        assert_eq!(failed, format!("blocks 9 to 11 can't be written: {reason}"));
        assert!(Instant::now() - begin < Duration::from_secs(3), "no data are waited for");
        setup.machine().card.errors = 0;
        assert_eq!(setup.disk.write(9, &[0; 3 * BLOCK]), Ok(()));
    }
}

#[test]
fn a_controller_that_hangs_is_given_up_and_reset() {
    let setup = start(0);
    setup.machine().faults.extend([Fault::Hangs(17); 2]);
    let failed = setup.disk.read(0, &mut [0; BLOCK]).unwrap_err();
    assert_eq!(failed.to_string(), "block 0 can't be read: the card doesn't answer (CMD17)");
    assert_eq!(setup.disk.read(0, &mut [0; BLOCK]), Ok(()));
    // One that can't even be reset keeps the memory that it might still write to.
    let setup = start(BOTH);
    let memory = dma_in_use(&setup.node);
    let mut machine = setup.machine();
    machine.faults.push(Fault::Hangs(17));
    machine.resets_forever = true;
    drop(machine);
    let failed = setup.disk.read(0, &mut [0; BLOCK]).unwrap_err();
    assert_eq!(failed.to_string(), "the device misbehaved: its reset has been going on for 100 ms");
    setup.machine().resets_forever = false;
    assert_eq!(setup.disk.read(0, &mut [0; BLOCK]), Ok(()));
    assert_eq!(dma_in_use(&setup.node), 2 * memory);
}

#[test]
fn a_card_that_is_pulled_while_it_is_read_is_an_error_until_it_is_back() {
    for capabilities in [0, BOTH] {
        let setup = start(capabilities);
        setup.machine().faults.push(Fault::Pulled(9));
        let mut buffer = [0; 16 * BLOCK];
        let failed = setup.disk.read(0, &mut buffer).unwrap_err();
        assert_eq!(failed.to_string(), "blocks 0 to 15 can't be read: no SD memory card answers");
        let failed = setup.disk.write(0, &buffer).unwrap_err();
        assert_eq!(failed.to_string(), "blocks 0 to 15 can't be written: no SD memory card answers");
        let mut machine = setup.machine();
        machine.faults.clear();
        machine.card.is_there = true;
        drop(machine);
        assert_eq!(setup.disk.read(0, &mut buffer), Ok(()));
        assert_eq!(buffer, setup.machine().card.bytes[..16 * BLOCK]);
    }
}

#[test]
fn an_empty_slot_is_empty_and_silent() {
    let mut card = FakeCard::new(CardKind::High, MIB);
    card.is_there = false;
    let machine = Arc::new(StdMutex::new(Machine::new(card, 100_000_000, 0)));
    let node = FakeNode::with_model(0x100, machine.clone());
    let controller =
        Controller::new(node.resources().registers(0).unwrap(), node.resources().dma(), 100_000_000).unwrap();
    assert_eq!(Disk::start(controller, "/slot").err(), Some(Error::Absent));
    let machine = machine.lock().unwrap();
    assert_eq!((machine.signal_enable, machine.clock), (0, 0));
}

#[test]
fn interrupts_are_for_who_asks_and_outlast_a_reset() {
    let setup = start(0);
    assert_eq!(setup.machine().signal_enable, 0, "there are none before probe has returned");
    setup.disk.host().use_interrupts();
    let enabled = COMMAND_COMPLETE | TRANSFER_COMPLETE | WRITE_READY | READ_READY | ERRORS;
    assert_eq!(setup.machine().signal_enable, enabled);
    // One for nothing is silent then.
    setup.machine().status = COMMAND_COMPLETE;
    assert_eq!(setup.disk.host().interrupt_now(), Served::Done);
    assert_eq!(setup.machine().status, 0);

    let setup = start(BOTH);
    setup.disk.host().use_interrupts();
    let resets = setup.machine().resets[0];
    setup.machine().faults.push(Fault::Reports(17, DATA_CRC));
    assert_eq!(setup.disk.read(0, &mut [0; BLOCK]), Ok(()));
    let machine = setup.machine();
    assert_eq!((machine.resets[0], machine.signal_enable), (resets + 1, enabled));
}

#[test]
fn data_are_moved_on_the_interrupts_thread() {
    let setup = start(0);
    setup.disk.host().use_interrupts();
    let mut buffer = [0; 2 * BLOCK];
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| setup.disk.read(8, &mut buffer));
        // Only one thread at a time may use the registers: this one when the other sleeps.
        while setup.machine().status & READ_READY == 0 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(setup.disk.host().interrupt_now(), Served::OnThread);
        assert!(setup.machine().status & READ_READY != 0, "it is left to the thread");
        // Two blocks, and the end. From then on the registers are the other's again.
        for _ in 0..3 {
            assert!(setup.disk.host().advance());
        }
        assert_eq!(reader.join().unwrap(), Ok(()));
    });
    assert_eq!(buffer, setup.machine().card.bytes[8 * BLOCK..10 * BLOCK]);
}
