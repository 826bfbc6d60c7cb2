//! Who publishes what: the nodes of the device tree, the devices behind buses, the services.
//!
//! A [`ProviderId`] is a place in this list, for good: the object that lives there may come, go and be replaced.

mod instance;

use crate::{processor, thread, time, trace};
use abi::event::Signal;
use abi::handover::Handover;
use abi::interrupt::Served;
use abi::registry::ProviderId;
use abi::running::Publication;
use abi::sync::Lock;
use abi::system::{DeviceState, DeviceStatus};
use abi::{Class, Driver, Error, Provides, Result, Service};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ptr;
use core::sync::atomic::Ordering;
use core::time::Duration;
use instance::Stage;

pub use instance::{
    abort, begin, expect, fail, has_failed, is_broken, is_expected, leave_down, publish, stop_expecting, withdraw,
};

/// How long a removal waits for those who are calling what is removed: their waits there are ended at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The live object behind a provider.
pub enum Object {
    /// A device's driver.
    Driver(Box<dyn Driver>),
    /// A running service.
    Service(Box<dyn Service>),
}

impl Object {
    /// What it publishes.
    pub fn provides(&self) -> &dyn Provides {
        match self {
            Self::Driver(driver) => &**driver,
            Self::Service(service) => &**service,
        }
    }

    /// Leaves it as it is, without a reference to it: it is garbage from now on.
    pub fn abandon(self) {
        match self {
            Self::Driver(driver) => core::mem::forget(driver),
            Self::Service(service) => core::mem::forget(service),
        }
    }
}

/// What a provider stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A node of the device tree, by its index there.
    Node(usize),
    /// A device behind a bus, which has its resources from the bus's node.
    Child {
        /// The bus.
        bus: ProviderId,
        /// The bus's node.
        node: usize,
    },
    /// A service.
    Service,
}

struct Provider {
    name: String,
    compatible: Vec<String>,
    kind: Kind,
    module: Option<String>,
    state: DeviceState,
    // Boxed, because it is called outside of the lock.
    object: Option<Box<Object>>,
    /// Where the object itself is published, for the kernel alone.
    root: &'static Publication,
    /// Where its interfaces are published.
    publications: Vec<(Class, &'static Publication)>,
    stage: Stage,
    /// Code of its instance was ended in the middle of something.
    is_broken: bool,
    /// Another instance will take the place of the one that it has or had.
    restarting: bool,
    /// A child whose bus has gone, and hasn't published it again.
    is_absent: bool,
}

struct Registry {
    providers: Vec<Provider>,
    watchers: Vec<(Class, Signal)>,
}

static REGISTRY: Lock<Registry> = Lock::new(Registry { providers: Vec::new(), watchers: Vec::new() });

impl Provider {
    /// Where the interface of `class` is published, from now on and for good.
    fn publication(&mut self, id: ProviderId, class: Class) -> &'static Publication {
        let known = self.publications.iter().find(|(other, _)| *other == class);
        if let Some((_, publication)) = known {
            return publication;
        }
        let publication: &'static Publication = Box::leak(Box::new(Publication::new(id, Some(class))));
        self.publications.push((class, publication));
        publication
    }
}

impl Registry {
    fn get(&mut self, id: ProviderId) -> Option<&mut Provider> {
        self.providers.get_mut(id.raw() as usize)
    }

    fn ids(&self) -> impl Iterator<Item = (ProviderId, &Provider)> {
        self.providers.iter().enumerate().map(|(index, provider)| (ProviderId::from_raw(index as u32), provider))
    }
}

/// Adds a provider. A child or a service that has been there before gets its place back.
pub fn add(name: String, compatible: Vec<String>, kind: Kind, state: DeviceState) -> ProviderId {
    let mut registry = REGISTRY.lock();
    let returns =
        |provider: &Provider| !matches!(kind, Kind::Node(_)) && provider.kind == kind && provider.name == name;
    let mut places = registry.providers.iter_mut().enumerate();
    if let Some((index, provider)) = places.find(|(_, provider)| returns(provider)) {
        provider.state = state;
        provider.compatible = compatible;
        provider.is_absent = false;
        return ProviderId::from_raw(index as u32);
    }
    let id = ProviderId::from_raw(registry.providers.len() as u32);
    registry.providers.push(Provider {
        name,
        compatible,
        kind,
        module: None,
        state,
        object: None,
        root: Box::leak(Box::new(Publication::new(id, None))),
        publications: Vec::new(),
        stage: Stage::Down,
        is_broken: false,
        restarting: false,
        is_absent: false,
    });
    id
}

/// All providers.
pub fn all() -> Vec<ProviderId> {
    REGISTRY.lock().ids().map(|(id, _)| id).collect()
}

/// The provider that stands for a node of the device tree.
pub fn by_node(node: usize) -> Option<ProviderId> {
    REGISTRY.lock().ids().find(|(_, provider)| provider.kind == Kind::Node(node)).map(|(id, _)| id)
}

/// A node's path, a child's, or a service's name.
pub fn name(id: ProviderId) -> String {
    REGISTRY.lock().get(id).map_or_else(String::new, |provider| provider.name.clone())
}

/// As [`name`], for those who may hold the registry's lock; none then.
pub fn try_name(id: ProviderId) -> Option<String> {
    Some(REGISTRY.try_lock()?.get(id)?.name.clone())
}

/// What a provider stands for.
pub fn kind(id: ProviderId) -> Option<Kind> {
    REGISTRY.lock().get(id).map(|provider| provider.kind.clone())
}

/// What became of a provider; nothing to tell of a child whose bus has gone.
pub fn state(id: ProviderId) -> Option<DeviceState> {
    REGISTRY.lock().get(id).filter(|provider| !provider.is_absent).map(|provider| provider.state.clone())
}

/// What a provider may be claimed by.
pub fn compatible(id: ProviderId) -> Vec<String> {
    REGISTRY.lock().get(id).map_or_else(Vec::new, |provider| provider.compatible.clone())
}

/// Notes what became of a provider.
pub fn set_state(id: ProviderId, module: Option<&str>, state: DeviceState) {
    let mut registry = REGISTRY.lock();
    if let Some(provider) = registry.get(id) {
        provider.module = module.map(Into::into);
        provider.state = state;
    }
}

/// All providers that a module has its objects behind.
pub fn of_module(module: &str) -> Vec<ProviderId> {
    let registry = REGISTRY.lock();
    registry
        .ids()
        .filter(|(_, provider)| provider.object.is_some() && provider.module.as_deref() == Some(module))
        .map(|(id, _)| id)
        .collect()
}

/// All providers that a module drives or was the last to.
pub fn last_of_module(module: &str) -> Vec<ProviderId> {
    let registry = REGISTRY.lock();
    registry.ids().filter(|(_, provider)| provider.module.as_deref() == Some(module)).map(|(id, _)| id).collect()
}

/// The module that drives a provider, or last tried to.
pub fn module_of(id: ProviderId) -> Option<String> {
    REGISTRY.lock().get(id)?.module.clone()
}

/// The children of a bus that are bound.
pub fn bound_children(bus: ProviderId) -> Vec<ProviderId> {
    let registry = REGISTRY.lock();
    let is_child = |provider: &Provider| matches!(provider.kind, Kind::Child { bus: parent, .. } if parent == bus);
    registry.ids().filter(|(_, provider)| provider.object.is_some() && is_child(provider)).map(|(id, _)| id).collect()
}

/// How many children the buses have that a module drives.
pub fn children_of_module(module: &str) -> usize {
    let registry = REGISTRY.lock();
    let is_theirs = |provider: &Provider| match provider.kind {
        Kind::Child { bus, .. } if !provider.is_absent => {
            registry.providers.get(bus.raw() as usize).is_some_and(|bus| bus.module.as_deref() == Some(module))
        }
        _ => false,
    };
    registry.providers.iter().filter(|provider| is_theirs(provider)).count()
}

/// How many buses a provider is behind.
pub fn depth(id: ProviderId) -> usize {
    let above = |id: &ProviderId| match kind(*id) {
        Some(Kind::Child { bus, .. }) => Some(bus),
        _ => None,
    };
    core::iter::successors(above(&id), above).count()
}

/// Raises `signal` whenever what is published under `class` changes.
pub fn watch(class: Class, signal: Signal) {
    let mut registry = REGISTRY.lock();
    let is_live = |(_, signal): &(Class, Signal)| thread::event::is_live(*signal);
    // Each once: there are no more than there are events and classes.
    registry.watchers.retain(|watcher| is_live(watcher) && *watcher != (class, signal));
    registry.watchers.push((class, signal));
}

fn notify(classes: &[Class]) {
    let mut registry = REGISTRY.lock();
    registry.watchers.retain(|(_, signal)| thread::event::is_live(*signal));
    let used = registry.watchers.len();
    registry.watchers.shrink_to(2 * used);
    let signals: Vec<Signal> =
        registry.watchers.iter().filter(|(class, _)| classes.contains(class)).map(|(_, signal)| *signal).collect();
    drop(registry);
    signals.into_iter().for_each(Signal::raise);
}

/// All that publish under `class` now, or will again once their module has been started anew. The console that the log is
/// shown on comes before others: people look at that one.
pub fn publications(class: Class) -> Vec<&'static Publication> {
    let mut publications = publications_in_order(class);
    if class == Class::Console
        && let Some(console) = crate::log::console()
    {
        publications.sort_by_key(|publication| publication.provider != console);
    }
    publications
}

fn publications_in_order(class: Class) -> Vec<&'static Publication> {
    let registry = REGISTRY.lock();
    let is_there = |provider: &&Provider| provider.stage == Stage::Up || provider.restarting;
    let there = registry.providers.iter().filter(is_there);
    let of_class = there.flat_map(|provider| &provider.publications).filter(|(other, _)| *other == class);
    of_class.map(|(_, publication)| *publication).collect()
}

/// All that publish under `class` now.
pub fn providers(class: Class) -> Vec<ProviderId> {
    publications(class).into_iter().map(|publication| publication.provider).collect()
}

/// Shows or hides all objects, after the tracing of calls has been switched on or off.
pub fn show_again() {
    for provider in &REGISTRY.lock().providers {
        for (_, publication) in &provider.publications {
            let object = publication.hidden.load(Ordering::Relaxed);
            publication.object[0].store(if trace::traces_calls() { 0 } else { object }, Ordering::Release);
        }
    }
}

/// The object that a call leads to where its place is empty.
///
/// # Errors
/// When there is none.
pub fn call_begins(publication: &Publication) -> Result<usize> {
    match publication.hidden.load(Ordering::Acquire) {
        0 => Err(absent(publication)),
        object => {
            trace::begin_call(publication.provider);
            Ok(object)
        }
    }
}

/// Why nothing was published there a moment ago.
fn absent(publication: &Publication) -> Error {
    let mut registry = REGISTRY.lock();
    // Meanwhile it may have been started again.
    let is_back = publication.hidden.load(Ordering::Relaxed) != 0;
    match registry.get(publication.provider) {
        Some(provider) if provider.restarting || is_back => Error::Restarting,
        _ => Error::Gone,
    }
}

/// Waits until a provider publishes something again.
///
/// # Errors
/// [`Error::Gone`] when it won't, [`Error::Stopping`].
pub fn await_provider(publication: &'static Publication) -> Result<()> {
    loop {
        // First, so that a caller that is to end itself does.
        thread::sleep_until(time::now() + Duration::from_micros(100))?;
        if publication.hidden.load(Ordering::Relaxed) != 0 {
            return Ok(());
        }
        if absent(publication) == Error::Gone {
            return Err(Error::Gone);
        }
    }
}

/// Where a provider's interface of `class` is published, if it has one.
pub fn publication(id: ProviderId, class: Class) -> Option<&'static Publication> {
    let mut registry = REGISTRY.lock();
    let provider = registry.get(id).filter(|provider| provider.object.is_some())?;
    provider.publications.iter().find(|(other, _)| *other == class).map(|(_, publication)| *publication)
}

/// How things stand, for people. Services are no devices.
pub fn devices() -> Vec<DeviceStatus> {
    let registry = REGISTRY.lock();
    let is_device = |provider: &&Provider| provider.kind != Kind::Service && !provider.is_absent;
    let status = |provider: &Provider| DeviceStatus {
        path: provider.name.clone(),
        compatible: provider.compatible.clone(),
        module: provider.module.clone(),
        state: provider.state.clone(),
    };
    registry.providers.iter().filter(is_device).map(status).collect()
}

/// Where a provider's object itself is published.
pub fn root(id: ProviderId) -> Option<&'static Publication> {
    REGISTRY.lock().get(id).map(|provider| provider.root)
}

/// Runs a module's code on behalf of a provider, and wipes what that has left on the stack.
///
/// # Errors
/// [`Error::Failed`] with what happened there.
pub fn enter<R>(id: ProviderId, action: impl FnOnce() -> R) -> Result<R> {
    let root = root(id).ok_or(Error::Gone)?;
    let _traced = trace::call(id);
    let result = abi::enter(root, action);
    processor::clear_unused_stack();
    result
}

/// Calls the object that a provider has.
///
/// # Errors
/// [`Error::Gone`] when there is none, [`Error::Failed`] with what happened there.
pub fn call<R>(root: &'static Publication, action: impl FnOnce(&Object) -> R) -> Result<R> {
    let _traced = trace::call(root.provider);
    let result = abi::enter(root, || {
        let object: *const Object = ptr::with_exposed_provenance(root.object[0].load(Ordering::Relaxed));
        // SAFETY: `publish` puts the address of a boxed object there, which `withdraw` takes away when nobody calls it,
        // and this call is noted.
        unsafe { object.as_ref() }.map(action)
    });
    result?.ok_or(Error::Gone)
}

impl Object {
    /// See [`Driver::interrupt`].
    pub fn interrupt(&self, index: usize) {
        if let Self::Driver(driver) = self {
            driver.interrupt(index);
        }
    }

    /// See [`Driver::hand_over`].
    pub fn hand_over(&self) -> Option<Handover> {
        match self {
            Self::Driver(driver) => driver.hand_over(),
            Self::Service(service) => service.hand_over(),
        }
    }

    /// See [`Driver::interrupt_now`].
    pub fn interrupt_now(&self, index: usize) -> Served {
        match self {
            Self::Driver(driver) => driver.interrupt_now(index),
            Self::Service(_) => Served::Done,
        }
    }
}
