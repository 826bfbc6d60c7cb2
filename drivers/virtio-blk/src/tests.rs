//! A device played by the test, at first by hand and then by a thread that serves a medium in memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::call::Call;
use crate::disk::Disk;
use crate::requests::{QUEUE_SIZE, REQUESTS, Requests};
use fake_kernel::{FakeNode, FakeQueue, LentBuffer, device_read as read, device_write as write, dma_in_use};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use virtio::Access;

const MODERN: u64 = 1 << 32 | 1 << 9;
const LEGACY: u64 = 0;
const SIZE_MAX: u64 = 1 << 1;
const READ_ONLY: u64 = 1 << 5;
const BLOCK_SIZE: u64 = 1 << 6;

/// A node with the registers of a device of that many sectors, whose `size_max` is 4096 and whose `blk_size` is 4096.
fn node(sectors: u64) -> FakeNode {
    let node = FakeNode::new(&[0x200]);
    for (offset, value) in [(0x000, 0x7472_6976), (0x004, 2), (0x008, 2), (0x034, 256)] {
        node.set(0, offset, value);
    }
    let (low, high) = (sectors as u32, (sectors >> 32) as u32);
    for (offset, value) in [(0x100, low), (0x104, high), (0x108, 4096), (0x114, 4096)] {
        node.set(0, offset, value);
    }
    node
}

/// A device whose register shows the halves of the features at the same place: the same bits as both.
fn open(node: &FakeNode, features: u64) -> (Device<QUEUE_SIZE>, FakeQueue, Features) {
    node.set(0, 0x010, features as u32 | (features >> 32) as u32);
    let (mut device, offered) = Device::open(&mut node.resources(), DeviceType::Block, Features::all()).unwrap();
    device.add_queue().unwrap();
    let features = Features::from_bits_truncate(features) & (offered | Features::VERSION_1);
    (device, FakeQueue::of(node, QUEUE_SIZE as u16), features)
}

fn disk(node: &FakeNode, features: u64) -> Result<(Disk, FakeQueue)> {
    let (device, queue, features) = open(node, features);
    Ok((Disk::start(device, features, node.resources().dma())?, queue))
}

/// What the device finds in a request.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    token: u32,
    kind: u32,
    sector: u64,
    /// Where the data is that it reads or writes, and how much.
    data: u64,
    length: u64,
    /// Where the status goes.
    status: u64,
}

/// The oldest request that hasn't been answered, laid out as section 5.2.6 says.
fn next(queue: &FakeQueue) -> Found {
    let header = queue.next();
    let parts: Vec<_> = std::iter::successors(Some(header), |part| queue.after(*part)).collect();
    let (data, status) = match parts[1..] {
        [status] => (LentBuffer { length: 0, ..header }, status),
        [data, status] => (data, status),
        _ => panic!("a request has a header, data and a status: {parts:?}"),
    };
    let kind = read(header.address);
    let writes = |part: LentBuffer| part.flags & 2 != 0;
    assert_eq!((header.length, status.length, read::<u32>(header.address + 4)), (16, 1, 0));
    assert_eq!((writes(header), writes(data), writes(status)), (false, kind == 0 && data.length > 0, true));
    Found {
        token: header.token.into(),
        kind,
        sector: read(header.address + 8),
        data: data.address,
        length: data.length.into(),
        status: status.address,
    }
}

/// Serves requests from a medium while `action` runs, one after the other; `status` says what to answer.
fn serve<R>(
    disk: &Disk,
    queue: &mut FakeQueue,
    medium: &Mutex<Vec<u8>>,
    status: impl Fn(&Found) -> u8 + Sync,
    action: impl FnOnce() -> R,
) -> R {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let stop = AtomicBool::new(false);
    // Nothing is left of an earlier call.
    let mut served = queue.lent();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                if queue.lent() == served {
                    std::thread::yield_now();
                    continue;
                }
                served = served.wrapping_add(1);
                let found = next(queue);
                let status = status(&found);
                let start = found.sector as usize * 512;
                let mut medium = medium.lock().unwrap();
                let mut written = 1;
                if found.kind < 2 && status == 0 {
                    let sectors = medium[start..start + found.length as usize].as_chunks_mut::<512>().0;
                    for (sector, address) in sectors.iter_mut().zip((found.data..).step_by(512)) {
                        match found.kind {
                            0 => write(address, *sector),
                            _ => *sector = read(address),
                        }
                    }
                    written += if found.kind == 0 { found.length as u32 } else { 0 };
                }
                write(found.status, status);
                queue.give_back(found.token, written);
                disk.interrupt();
            }
        });
        let _stop = Stop(&stop);
        action()
    })
}

#[test]
fn reads_how_the_device_is_divided() {
    let geometry = |features, sectors| disk(&node(sectors), features).map(|(disk, _)| disk.geometry);
    let plain = Geometry { block_size: 512, blocks: 2001, read_only: false };
    assert_eq!(geometry(MODERN, 2001), Ok(plain));
    assert_eq!(geometry(LEGACY, 2001), Ok(plain));
    assert_eq!(geometry(MODERN | READ_ONLY, 0), Ok(Geometry { blocks: 0, read_only: true, ..plain }));
    // What is left over behind the last whole block is of no use.
    assert_eq!(geometry(MODERN | BLOCK_SIZE, 2001), Ok(Geometry { block_size: 4096, blocks: 250, ..plain }));
    assert_eq!(geometry(MODERN, 5 << 32).map(|geometry| geometry.blocks), Ok(5 << 32));
}

#[test]
fn refuses_devices_that_it_can_not_drive() {
    let refusal = |features, offset, value| {
        let node = node(100);
        node.set(0, offset, value);
        disk(&node, features).err()
    };
    assert!(matches!(refusal(MODERN, 0x104, 1 << 31), Some(Error::Device(_))), "more than 2^64 bytes");
    for size in [0, 1, 256, 513, 1 << 31 | 512] {
        assert!(matches!(refusal(MODERN | BLOCK_SIZE, 0x114, size), Some(Error::Device(_))), "blocks of {size}");
    }
    assert!(matches!(refusal(MODERN | BLOCK_SIZE, 0x114, 1 << 17), Some(Error::Unsupported(_))), "too long a block");
    assert!(matches!(refusal(MODERN | SIZE_MAX, 0x108, 511), Some(Error::Unsupported(_))), "too short a segment");
}

#[test]
fn what_is_written_is_where_it_belongs_and_is_what_is_read() {
    for (features, seed) in [(MODERN, 1), (LEGACY, 2), (MODERN | BLOCK_SIZE, 3), (MODERN | SIZE_MAX, 4)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let sectors = 4096;
        let mut expected: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(sectors * 512).collect();
        let medium = Mutex::new(expected.clone());
        let node = node(sectors as u64);
        let (disk, mut queue) = disk(&node, features).unwrap();
        let memory = dma_in_use(&node);
        let (size, blocks) = (disk.geometry.block_size, disk.geometry.blocks as usize);
        serve(
            &disk,
            &mut queue,
            &medium,
            |_| 0,
            || {
                for _ in 0..30 {
                    let first = random.usize(..=blocks);
                    let most = random.usize(1..2000);
                    let count = random.usize(..=most.min(blocks - first));
                    let range = first * size..(first + count) * size;
                    if random.bool() {
                        random.fill(&mut expected[range.clone()]);
                        disk.write(first as u64, &expected[range]).unwrap();
                    } else {
                        let mut buffer = vec![0; range.len()];
                        disk.read(first as u64, &mut buffer).unwrap();
                        assert!(buffer == expected[range]);
                    }
                }
            },
        );
        assert!(*medium.lock().unwrap() == expected);
        assert_eq!(dma_in_use(&node), memory);
        drop(disk);
        assert_eq!((dma_in_use(&node), node.get(0, 0x070)), (0, 0), "all is given back, and the device is reset");
    }
}

#[test]
fn several_threads_read_at_the_same_time() {
    let medium: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let node = node(medium.len() as u64 / 512);
    let (disk, mut queue) = disk(&node, MODERN).unwrap();
    let shared = Mutex::new(medium.clone());
    serve(
        &disk,
        &mut queue,
        &shared,
        |_| 0,
        || {
            std::thread::scope(|scope| {
                for thread in 0..3 * REQUESTS {
                    let (disk, medium) = (&disk, &medium);
                    scope.spawn(move || {
                        let mut buffer = vec![0; if thread % 2 == 0 { 512 } else { 1 << 19 }];
                        for round in 0..8 {
                            let first = (thread * 37 + round * 11) % 1000;
                            disk.read(first as u64, &mut buffer).unwrap();
                            assert!(buffer == medium[first * 512..][..buffer.len()]);
                        }
                    });
                }
            });
        },
    );
}

#[test]
fn refuses_what_is_not_there_without_asking_the_device() {
    let node = node(100);
    let (disk, queue) = disk(&node, MODERN).unwrap();
    let mut buffer = vec![0; 1024];
    for (first, length) in [(0, 511), (0, 1), (99, 1024), (100, 512), (101, 0), (u64::MAX, 512), (1 << 55, 1024)] {
        assert!(matches!(disk.read(first, &mut buffer[..length]), Err(Error::Invalid(_))), "{length} at {first}");
        assert!(matches!(disk.write(first, &buffer[..length]), Err(Error::Invalid(_))), "{length} at {first}");
    }
    assert_eq!(disk.read(100, &mut []), Ok(()));
    assert_eq!(queue.lent(), 0);
}

#[test]
fn a_read_only_device_is_not_asked_to_write() {
    let node = node(100);
    let (disk, queue) = disk(&node, MODERN | READ_ONLY).unwrap();
    assert_eq!(disk.write(0, &[0; 512]), Err(Error::Invalid("the device is read-only".to_owned())));
    assert_eq!(queue.lent(), 0);
}

#[test]
fn flushes_where_the_device_needs_it() {
    let medium = Mutex::new(Vec::new());
    for (features, expected) in [(MODERN, 1), (LEGACY, 0)] {
        let node = node(0);
        let (disk, mut queue) = disk(&node, features).unwrap();
        let status = |found: &Found| {
            assert_eq!((found.kind, found.sector, found.length), (4, 0, 0));
            0
        };
        assert_eq!(serve(&disk, &mut queue, &medium, status, || disk.flush()), Ok(()));
        assert_eq!(queue.lent(), expected);
    }
    let node = node(0);
    let (disk, mut queue) = disk(&node, MODERN).unwrap();
    assert!(matches!(serve(&disk, &mut queue, &medium, |_| 1, || disk.flush()), Err(Error::Io(_))));
}

#[test]
fn an_error_names_the_blocks_and_the_next_call_succeeds() {
    let node = node(4096);
    let (disk, mut queue) = disk(&node, MODERN).unwrap();
    let medium = Mutex::new(vec![7; 4096 * 512]);
    let mut buffer = vec![0; 1 << 20];
    // Only the piece with sector 300 fails.
    let bad = |found: &Found| (found.sector..found.sector + found.length / 512).contains(&300);
    let results = serve(
        &disk,
        &mut queue,
        &medium,
        |found| bad(found).into(),
        || [disk.read(44, &mut buffer), disk.write(44, &buffer), disk.read(301, &mut buffer)],
    );
    let text = |verb: &str| format!("blocks 300 to 427 can't be {verb}: the device reports an I/O error");
    assert_eq!(results, [Err(Error::Io(text("read"))), Err(Error::Io(text("written"))), Ok(())]);
    assert!(buffer.iter().all(|byte| *byte == 7));

    let unsupported = serve(&disk, &mut queue, &medium, |_| 2, || disk.read(0, &mut buffer));
    assert!(matches!(unsupported, Err(Error::Io(text)) if text.contains("does not support")));
}

#[test]
fn a_lie_is_an_error() {
    // No status, one that there isn't, too little data, too much, a request that it hasn't got.
    for (token, status, written) in
        [(0, 0xff, 513), (0, 3, 513), (0, 0, 511), (0, 0, 514), (1, 0, 513), (64, 0, 513), (u32::MAX, 0, 513)]
    {
        let node = node(100);
        let (disk, mut queue) = disk(&node, MODERN).unwrap();
        let result = std::thread::scope(|scope| {
            let reader = scope.spawn(|| disk.read(0, &mut [0; 512]));
            while queue.lent() == 0 {
                std::thread::yield_now();
            }
            write(next(&queue).status, status as u8);
            queue.give_back(token, written);
            disk.interrupt();
            reader.join().unwrap()
        });
        assert!(matches!(result, Err(Error::Device(_))), "token {token}, status {status}, {written} bytes: {result:?}");
        drop(disk);
        assert_eq!(dma_in_use(&node), 0);
    }
}

#[test]
fn a_device_that_does_not_answer_is_not_waited_for_without_end() {
    let node = node(100);
    let (disk, _queue) = disk(&node, MODERN).unwrap();
    let result = disk.read(0, &mut [0; 512]);
    assert_eq!(result, Err(Error::Device("it has answered nothing for 5 s".to_owned())));
    drop(disk);
    assert_eq!(dma_in_use(&node), 0);
}

/// Requests that are made by hand, and the device's side of them.
fn requests(node: &FakeNode) -> (Lock<Requests>, FakeQueue) {
    let (device, queue, _) = open(node, MODERN);
    (Lock::new(Requests::new(device, node.resources().dma(), 64).unwrap()), queue)
}

/// Begins a request if there is a buffer for it.
fn begin(call: &mut Call<'_>) -> bool {
    let Some(buffer) = call.buffer().unwrap() else { return false };
    call.send(buffer, Access::Parts { read: [16, 0], write: [0, 1] }, 0..0).unwrap();
    true
}

fn answer(requests: &Lock<Requests>, queue: &mut FakeQueue) {
    queue.give_back(next(queue).token, 1);
    requests.lock().interrupt();
}

#[test]
fn what_a_call_that_ended_early_has_asked_for_stays_with_the_device_until_it_is_answered() {
    let node = node(0);
    let (requests, mut queue) = requests(&node);
    let memory = dma_in_use(&node);
    let mut early = Call::new(&requests).unwrap();
    while begin(&mut early) {}
    assert_eq!(queue.lent(), REQUESTS as u16);
    // One answered, and not looked at.
    answer(&requests, &mut queue);
    early.end();
    assert_eq!(dma_in_use(&node), memory);

    let mut late = Call::new(&requests).unwrap();
    assert!(begin(&mut late));
    assert!(!begin(&mut late), "the device has the others");
    for _ in 1..REQUESTS {
        answer(&requests, &mut queue);
    }
    assert!(late.answered().unwrap().is_none(), "these were not its own");
    answer(&requests, &mut queue);
    assert_eq!(late.answered().unwrap().map(|answered| answered.written), Some(1));
    for _ in 0..REQUESTS {
        assert!(begin(&mut late));
    }
    late.end();
    drop(requests);
    assert_eq!(dma_in_use(&node), 0);
}

#[test]
fn answers_may_come_in_another_order() {
    let node = node(0);
    let (requests, mut queue) = requests(&node);
    let mut call = Call::new(&requests).unwrap();
    for piece in [0..10, 10..20] {
        let buffer = call.buffer().unwrap().unwrap();
        call.send(buffer, Access::Parts { read: [16, 0], write: [31, 1] }, piece).unwrap();
    }
    // The ring's second entry.
    let second: u16 = read(queue.available + 6);
    let first = next(&queue).token;
    for (token, written) in [(second.into(), 20), (first, 10)] {
        assert!(call.answered().unwrap().is_none());
        queue.give_back(token, written);
        requests.lock().interrupt();
        assert_eq!(call.wait(), Ok(()));
    }
    for expected in [(0..10, 10), (10..20, 20)] {
        let answered = call.answered().unwrap().unwrap();
        assert_eq!((answered.piece, answered.written), expected);
    }
    assert!(call.is_idle());
}

#[test]
fn a_call_without_a_request_comes_before_one_that_wants_more() {
    let node = node(0);
    let (requests, mut queue) = requests(&node);
    let (mut greedy, mut modest) = (Call::new(&requests).unwrap(), Call::new(&requests).unwrap());
    while begin(&mut greedy) {}
    assert!(!begin(&mut modest));
    answer(&requests, &mut queue);
    drop(greedy.answered().unwrap().unwrap());
    assert!(!begin(&mut greedy));
    assert_eq!(modest.wait(), Ok(()));
    assert!(begin(&mut modest));

    // One that is gone is not waited for.
    let gone = Call::new(&requests).unwrap();
    assert!(gone.buffer().unwrap().is_none());
    gone.end();
    answer(&requests, &mut queue);
    drop(greedy.answered().unwrap().unwrap());
    assert!(begin(&mut greedy));
}

#[test]
fn all_who_wait_hear_that_the_device_has_broken_its_protocol() {
    let node = node(0);
    let (requests, mut queue) = requests(&node);
    let (mut first, waiting) = (Call::new(&requests).unwrap(), Call::new(&requests).unwrap());
    while begin(&mut first) {}
    assert!(waiting.buffer().unwrap().is_none());
    queue.give_back(99, 0);
    requests.lock().interrupt();
    assert_eq!((first.wait(), waiting.wait()), (Ok(()), Ok(())));
    assert!(matches!(first.answered().err(), Some(Error::Device(_))));
    assert!(matches!(waiting.buffer().err(), Some(Error::Device(_))));
}
