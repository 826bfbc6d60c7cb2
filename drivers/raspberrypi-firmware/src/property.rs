//! Messages of properties: what is asked for and what is answered stand in the same memory.

use abi::dma::LentBuffer;
use abi::prelude::*;

pub const FIRMWARE_REVISION: u32 = 0x0000_0001;
pub const BOARD_REVISION: u32 = 0x0001_0002;
pub const MAC_ADDRESS: u32 = 0x0001_0003;
pub const BOARD_SERIAL: u32 = 0x0001_0004;
pub const CLOCK_RATE: u32 = 0x0003_0002;
pub const TEMPERATURE: u32 = 0x0003_0006;
pub const POWER_DOMAIN: u32 = 0x0003_0030;
pub const SET_CLOCK_RATE: u32 = 0x0003_8002;
pub const SET_POWER_DOMAIN: u32 = 0x0003_8030;
pub const ALLOCATE_BUFFER: u32 = 0x0004_0001;
pub const SCREEN_SIZE: u32 = 0x0004_0003;
pub const PITCH: u32 = 0x0004_0008;
pub const SET_SCREEN_SIZE: u32 = 0x0004_8003;
pub const SET_BUFFER_SIZE: u32 = 0x0004_8004;
pub const SET_DEPTH: u32 = 0x0004_8005;
pub const SET_PIXEL_ORDER: u32 = 0x0004_8006;
pub const SET_BUFFER_OFFSET: u32 = 0x0004_8009;

/// The mailbox's channel for properties.
const CHANNEL: u32 = 8;

/// The code of a message that has been dealt with, and of one that wasn't understood.
const DONE: u32 = 0x8000_0000;
const MALFORMED: u32 = 0x8000_0001;

/// The bit of a property's code that says that it has been answered; below it stands how many bytes the answer has.
const ANSWERED: u32 = 1 << 31;

/// How long the firmware may take. Most takes microseconds; to start a screen can take a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most words of a property here.
const WORDS: usize = 3;

/// One property: a question, and then the answer.
#[derive(Clone, Copy)]
pub struct Property {
    tag: u32,
    pub values: [u32; WORDS],
    /// How many words are meant.
    count: usize,
    /// How many bytes the answer has at least.
    answer: u32,
}

impl Property {
    /// A property whose answer is as long as the question.
    pub fn new<const N: usize>(tag: u32, words: [u32; N]) -> Self {
        const { assert!(N <= WORDS) }
        let mut values = [0; WORDS];
        values[..N].copy_from_slice(&words);
        Self { tag, values, count: N, answer: 4 * N as u32 }
    }

    /// The same with an answer of this many bytes.
    pub fn answering(self, answer: u32) -> Self {
        Self { answer, ..self }
    }
}

/// The way to the firmware.
pub struct Channel {
    mailbox: Handle<dyn Mailbox>,
    dma: Dma,
}

impl Channel {
    /// Opens the channel in the mailbox that the node's `mboxes` points to.
    pub fn open(node: &Node, resources: &mut Resources) -> Result<Self> {
        let mailboxes = resources.references(node, "mboxes", "#mbox-cells")?;
        let mailbox = mailboxes.first().ok_or(Error::Missing { resource: "mailbox".to_owned(), index: 0 })?;
        Ok(Self { mailbox: mailbox.find()?, dma: resources.dma() })
    }

    /// Asks for one property; returns the answer.
    pub fn get<const N: usize>(&self, property: Property) -> Result<[u32; N]> {
        const { assert!(N <= WORDS) }
        let mut properties = [property];
        self.call(&mut properties)?;
        let [property] = properties;
        Ok(core::array::from_fn(|index| property.values[index]))
    }

    /// Asks for properties in one message; they have the answers then.
    pub fn call(&self, properties: &mut [Property]) -> Result<()> {
        let message = message(properties);
        let mut buffer = self.dma.allocate(4 * message.len(), 16)?;
        for (bytes, word) in buffer.as_chunks_mut().0.iter_mut().zip(&message) {
            *bytes = word.to_le_bytes();
        }
        let buffer = self.exchange(buffer.lend())?;
        let words: Vec<u32> = buffer.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        read_answers(&words, properties)
    }

    /// Has the firmware work on a message. One that it doesn't give back stays lost.
    fn exchange(&self, message: LentBuffer) -> Result<DmaBuffer> {
        let address = u32::try_from(message.device_address())
            .map_err(|_| Error::Invalid("the firmware has addresses of 32 bits".to_owned()))?;
        self.mailbox.call(|mailbox| mailbox.exchange(address | CHANNEL, PATIENCE))??;
        Ok(message.take_back())
    }

    /// Where the processor sees memory that the firmware speaks of.
    pub fn processor_address(&self, address: u32, size: u32) -> Result<u64> {
        // The upper two bits say which caches of the VideoCore are asked, and the tree speaks of those addresses that ask
        // none (BCM2835 ARM Peripherals, section 1.2.3).
        const UNCACHED: u32 = 3 << 30;
        self.dma.processor_address((address | UNCACHED).into(), size.into())
    }
}

/// The words of a message: its size and a code, the properties, an end.
fn message(properties: &[Property]) -> Vec<u32> {
    let mut words = vec![0, 0];
    for property in properties {
        words.extend([property.tag, 4 * property.count as u32, 0]);
        words.extend(&property.values[..property.count]);
    }
    words.push(0);
    words[0] = 4 * words.len() as u32;
    words
}

/// Takes the answers from a message that came back.
fn read_answers(words: &[u32], properties: &mut [Property]) -> Result<()> {
    match words.get(1) {
        Some(&DONE) => {}
        Some(&MALFORMED) => return Err(Error::Device("the firmware doesn't understand the message".to_owned())),
        code => return Err(Error::Device(format!("the firmware answers with the code {code:#x?}"))),
    }
    let mut rest = words.get(2..).unwrap_or_default();
    for property in properties {
        let Some(([_, _, code], values)) = rest.split_first_chunk() else { break };
        if code & ANSWERED == 0 || code & !ANSWERED < property.answer {
            return Err(Error::Unsupported(format!("the firmware doesn't know property {:#010x}", property.tag)));
        }
        let (answer, others) = values.split_at_checked(property.count).unwrap_or_default();
        for (value, word) in property.values.iter_mut().zip(answer) {
            *value = *word;
        }
        rest = others;
    }
    Ok(())
}
