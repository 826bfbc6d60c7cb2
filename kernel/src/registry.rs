//! Who publishes what: the nodes of the device tree, the devices behind buses, the services.
//!
//! A [`ProviderId`] is a place in this list, for good: the object that lives there may come, go and be replaced.

use crate::{thread, time};
use abi::event::Signal;
use abi::registry::ProviderId;
use abi::sync::Lock;
use abi::system::{DeviceState, DeviceStatus};
use abi::{Class, Driver, Error, Interface, Provides, Result, Service};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::time::Duration;

/// How long a removal waits for those who borrow what is removed. A ping without an answer takes some seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The live object behind a provider.
pub enum Object {
    /// A device's driver.
    Driver(Box<dyn Driver>),
    /// A running service.
    Service(Box<dyn Service>),
}

impl Object {
    fn provides(&self) -> &dyn Provides {
        match self {
            Self::Driver(driver) => &**driver,
            Self::Service(service) => &**service,
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
    // Boxed, because it is borrowed outside of the lock.
    object: Option<Box<Object>>,
    /// How many have borrowed the object.
    users: usize,
    /// Those of them who keep it, each as often as they do: on whose behalf, or none for the kernel.
    keepers: Vec<Option<ProviderId>>,
    /// Nobody may borrow it any more.
    leaving: bool,
}

struct Registry {
    providers: Vec<Provider>,
    watchers: Vec<(Class, Signal)>,
}

static REGISTRY: Lock<Registry> = Lock::new(Registry { providers: Vec::new(), watchers: Vec::new() });

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
        users: 0,
        keepers: Vec::new(),
        leaving: false,
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

/// What became of a provider.
pub fn state(id: ProviderId) -> Option<DeviceState> {
    REGISTRY.lock().get(id).map(|provider| provider.state.clone())
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

/// The modules that keep a provider's object borrowed; none for the kernel.
pub fn keepers(id: ProviderId) -> Vec<Option<String>> {
    let keepers = REGISTRY.lock().get(id).map_or_else(Vec::new, |provider| provider.keepers.clone());
    let mut modules: Vec<_> = keepers.into_iter().map(|owner| module_of(owner?)).collect();
    modules.sort_unstable();
    modules.dedup();
    modules
}

/// The children of a bus that are bound.
pub fn bound_children(bus: ProviderId) -> Vec<ProviderId> {
    let registry = REGISTRY.lock();
    let is_child = |provider: &Provider| matches!(provider.kind, Kind::Child { bus: parent, .. } if parent == bus);
    registry.ids().filter(|(_, provider)| provider.object.is_some() && is_child(provider)).map(|(id, _)| id).collect()
}

/// Publishes what `object` offers.
pub fn publish(id: ProviderId, module: &str, object: Object) {
    let classes: Vec<Class> = object.provides().classes().to_vec();
    let mut registry = REGISTRY.lock();
    let mut former = None;
    if let Some(provider) = registry.get(id) {
        former = provider.object.replace(Box::new(object));
        provider.leaving = false;
        provider.module = Some(module.into());
        provider.state = DeviceState::Bound;
    }
    drop(registry);
    // Its end may call the registry.
    drop(former);
    notify(&classes);
}

/// Takes away what a provider publishes, once nobody borrows it any more.
///
/// # Errors
/// [`Error::Busy`] when somebody doesn't let go of it in time; then it stays.
pub fn withdraw(id: ProviderId) -> Result<Option<Box<Object>>> {
    let deadline = time::now() + PATIENCE;
    loop {
        let mut registry = REGISTRY.lock();
        let Some(provider) = registry.get(id) else { return Ok(None) };
        provider.leaving = true;
        if provider.users == 0 {
            let object = provider.object.take();
            drop(registry);
            if let Some(object) = &object {
                notify(object.provides().classes());
            }
            return Ok(object);
        }
        if time::now() > deadline {
            provider.leaving = false;
            let name = provider.name.clone();
            drop(registry);
            let words = |module: Option<String>| module.map_or("the kernel".into(), |name| format!("module {name}"));
            let keepers: Vec<_> = keepers(id).into_iter().map(words).collect();
            return Err(Error::Busy(format!("{name} is still borrowed by {}", keepers.join(", "))));
        }
        drop(registry);
        // A caller that is to end itself still has to wait for the others.
        if thread::sleep_until(time::now() + Duration::from_millis(1)).is_err() {
            thread::yield_now();
        }
    }
}

/// Raises `signal` whenever what is published under `class` changes.
pub fn watch(class: Class, signal: Signal) {
    REGISTRY.lock().watchers.push((class, signal));
}

fn notify(classes: &[Class]) {
    let mut registry = REGISTRY.lock();
    registry.watchers.retain(|(_, signal)| thread::event_is_live(*signal));
    let signals: Vec<Signal> =
        registry.watchers.iter().filter(|(class, _)| classes.contains(class)).map(|(_, signal)| *signal).collect();
    drop(registry);
    signals.into_iter().for_each(Signal::raise);
}

/// All that publish under `class` now.
pub fn providers(class: Class) -> Vec<ProviderId> {
    let registry = REGISTRY.lock();
    let publishes = |provider: &Provider| match &provider.object {
        Some(object) if !provider.leaving => object.provides().classes().contains(&class),
        _ => false,
    };
    registry.ids().filter(|(_, provider)| publishes(provider)).map(|(id, _)| id).collect()
}

/// How things stand, for people. Services are no devices.
pub fn devices() -> Vec<DeviceStatus> {
    let registry = REGISTRY.lock();
    let is_device = |provider: &&Provider| provider.kind != Kind::Service;
    let status = |provider: &Provider| DeviceStatus {
        path: provider.name.clone(),
        compatible: provider.compatible.clone(),
        module: provider.module.clone(),
        state: provider.state.clone(),
    };
    registry.providers.iter().filter(is_device).map(status).collect()
}

/// A provider's object, borrowed: it can't be removed as long as this lives.
pub struct Borrowed {
    id: ProviderId,
    object: NonNull<Object>,
}

impl Borrowed {
    /// Borrows the object behind `id`.
    ///
    /// # Errors
    /// [`Error::Gone`] when there is none.
    pub fn new(id: ProviderId) -> Result<Self> {
        let mut registry = REGISTRY.lock();
        let provider = registry.get(id).filter(|provider| !provider.leaving).ok_or(Error::Gone)?;
        let object = NonNull::from(provider.object.as_deref().ok_or(Error::Gone)?);
        provider.users += 1;
        Ok(Self { id, object })
    }

    fn object(&self) -> &Object {
        // SAFETY: the object is boxed and shared only; `withdraw` takes it when nobody borrows it, and `self` counts.
        unsafe { self.object.as_ref() }
    }

    /// Its interface of `class`.
    pub fn interface(&self, class: Class) -> Option<Interface<'_>> {
        self.object().provides().interface(class)
    }

    /// Passes interrupt number `index` on to it.
    pub fn interrupt(&self, index: usize) {
        if let Object::Driver(driver) = self.object() {
            driver.interrupt(index);
        }
    }

    /// Keeps it borrowed until [`release`], and returns its interface of `class`.
    ///
    /// # Safety
    /// The reference must not be used after the release.
    ///
    /// # Errors
    /// [`Error::Gone`] when it has no such interface.
    pub unsafe fn keep(self, class: Class) -> Result<Interface<'static>> {
        // SAFETY: the object lives while it is borrowed, and this borrow is only taken back by `release`.
        let object: &'static Object = unsafe { self.object.as_ref() };
        let interface = object.provides().interface(class).ok_or(Error::Gone)?;
        if let Some(provider) = REGISTRY.lock().get(self.id) {
            provider.keepers.push(thread::owner());
        }
        core::mem::forget(self);
        Ok(interface)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(provider) = REGISTRY.lock().get(self.id) {
            provider.users = provider.users.saturating_sub(1);
        }
    }
}

/// Ends one [`Borrowed::keep`].
///
/// # Safety
/// To be called once for each.
pub unsafe fn release(id: ProviderId) {
    if let Some(provider) = REGISTRY.lock().get(id) {
        provider.users = provider.users.saturating_sub(1);
        // Another module than the one that borrowed it may give it back.
        let current = thread::owner();
        let own = provider.keepers.iter().rposition(|keeper| *keeper == current);
        let last = provider.keepers.len().checked_sub(1);
        if let Some(index) = own.or(last) {
            provider.keepers.swap_remove(index);
        }
    }
}
