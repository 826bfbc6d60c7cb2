//! What tests publish for services to find.

use crate::lock;
use abi::event::Signal;
use abi::registry::ProviderId;
use abi::{Class, Error, Interface, Result};
use std::collections::BTreeMap;
use std::sync::Mutex;

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { published: BTreeMap::new(), watchers: Vec::new() });

struct Registry {
    published: BTreeMap<u32, Published>,
    watchers: Vec<(Class, Signal)>,
}

struct Published {
    class: Class,
    device: Box<dyn Fn() -> Interface<'static> + Send>,
    users: usize,
}

/// Publishes a device under `class`, as provider `number`.
pub fn publish(number: u32, class: Class, device: impl Fn() -> Interface<'static> + Send + 'static) {
    lock(&REGISTRY).published.insert(number, Published { class, device: Box::new(device), users: 0 });
    notify(class);
}

/// Removes a device, once nobody borrows it.
///
/// # Panics
/// When there is none of that number.
pub fn withdraw(number: u32) {
    loop {
        let mut registry = lock(&REGISTRY);
        if registry.published[&number].users == 0 {
            let class = registry.published.remove(&number).unwrap().class;
            drop(registry);
            return notify(class);
        }
        drop(registry);
        std::thread::yield_now();
    }
}

/// Forgets everything.
pub fn clear() {
    let mut registry = lock(&REGISTRY);
    registry.published.clear();
    registry.watchers.clear();
}

pub fn acquire(provider: ProviderId, class: Class) -> Result<Interface<'static>> {
    let mut registry = lock(&REGISTRY);
    let published = registry.published.get_mut(&provider.raw()).filter(|published| published.class == class);
    let published = published.ok_or(Error::Gone)?;
    published.users += 1;
    Ok((published.device)())
}

pub fn release(provider: ProviderId) {
    lock(&REGISTRY).published.get_mut(&provider.raw()).unwrap().users -= 1;
}

pub fn providers(class: Class) -> Vec<ProviderId> {
    let registry = lock(&REGISTRY);
    let published = registry.published.iter().filter(|(_, published)| published.class == class);
    published.map(|(number, _)| ProviderId::from_raw(*number)).collect()
}

pub fn watch(class: Class, signal: Signal) {
    lock(&REGISTRY).watchers.push((class, signal));
}

fn notify(class: Class) {
    let watchers = lock(&REGISTRY).watchers.clone();
    watchers.iter().filter(|(watched, _)| *watched == class).for_each(|(_, signal)| signal.raise());
}
