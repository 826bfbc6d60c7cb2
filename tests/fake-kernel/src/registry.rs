//! What tests publish for services to find.

use crate::{lock, session};
use abi::event::Signal;
use abi::registry::ProviderId;
use abi::running::Publication;
use abi::{Class, Interface};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{Ordering, fence};

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { published: BTreeMap::new(), watchers: Vec::new() });

struct Registry {
    /// By number and class: what was published once, and its place, which stays.
    published: BTreeMap<(u32, &'static str), (Class, &'static Publication)>,
    watchers: Vec<(Class, Signal)>,
}

/// Publishes a device under `class`, as provider `number`.
pub fn publish(number: u32, class: Class, device: impl Fn() -> Interface<'static> + Send + 'static) {
    let new = || (class, &*Box::leak(Box::new(Publication::new(ProviderId::from_raw(number), Some(class)))));
    let (_, publication) = *lock(&REGISTRY).published.entry((number, class.label())).or_insert_with(new);
    let [object, vtable] = device().parts();
    publication.object[1].store(vtable, Ordering::Relaxed);
    publication.object[0].store(object, Ordering::Release);
    notify(class);
}

/// Removes a device, once nobody calls it.
///
/// # Panics
/// When there is none of that number.
pub fn withdraw(number: u32) {
    let registry = lock(&REGISTRY);
    let mut published = registry.published.values();
    let (class, publication) = *published.find(|(_, publication)| publication.provider.raw() == number).unwrap();
    drop(registry);
    publication.object[0].store(0, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    while session::is_called(publication) {
        std::thread::yield_now();
    }
    notify(class);
}

/// Forgets everything.
pub fn clear() {
    let mut registry = lock(&REGISTRY);
    registry.published.values().for_each(|(_, publication)| publication.object[0].store(0, Ordering::Relaxed));
    registry.watchers.clear();
}

pub fn publications(class: Class) -> Vec<&'static Publication> {
    let registry = lock(&REGISTRY);
    let is_there = |publication: &Publication| publication.object[0].load(Ordering::Relaxed) != 0;
    let published = registry.published.values().filter(|(other, publication)| *other == class && is_there(publication));
    published.map(|(_, publication)| *publication).collect()
}

pub fn watch(class: Class, signal: Signal) {
    lock(&REGISTRY).watchers.push((class, signal));
}

fn notify(class: Class) {
    let watchers = lock(&REGISTRY).watchers.clone();
    watchers.iter().filter(|(watched, _)| *watched == class).for_each(|(_, signal)| signal.raise());
}
