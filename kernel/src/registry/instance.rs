//! The instance behind a provider, from its beginning to its end.

use super::{Kind, Object, PATIENCE, Provider, REGISTRY, notify};
use crate::thread::ending;
use crate::{time, trace};
use abi::registry::ProviderId;
use abi::running::Publication;
use abi::system::DeviceState;
use abi::{Class, Error, Result};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ptr;
use core::sync::atomic::Ordering;
use core::time::Duration;

/// How far a provider's instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is none.
    Down,
    /// Its module has been asked for one.
    Starting,
    /// It is there to be called.
    Up,
    /// It has failed, perhaps before it was published. Nobody calls it any more, and it will be ended.
    Failed,
}

impl Provider {
    fn hide(&self) {
        hide(self.root);
        self.publications.iter().for_each(|(_, publication)| hide(publication));
    }

    fn classes(&self) -> Vec<Class> {
        self.publications.iter().map(|(class, _)| *class).collect()
    }
}

/// Notes which module is about to start an instance.
pub fn begin(id: ProviderId, module: &str) {
    if let Some(provider) = REGISTRY.lock().get(id) {
        provider.module = Some(module.into());
        provider.stage = Stage::Starting;
        provider.is_broken = false;
    }
}

/// Notes that what was begun came to nothing.
pub fn abort(id: ProviderId) {
    if let Some(provider) = REGISTRY.lock().get(id) {
        provider.stage = Stage::Down;
    }
}

/// Publishes what `object` offers, unless its instance has failed already: then it is there to be ended.
pub fn publish(id: ProviderId, module: &str, object: Object) {
    let object = Box::new(object);
    let classes: Vec<Class> = object.provides().classes().to_vec();
    let parts = |class| object.provides().interface(class).map_or([0; 2], |interface| interface.parts());
    let parts: Vec<(Class, [usize; 2])> = classes.iter().map(|class| (*class, parts(*class))).collect();
    let mut registry = REGISTRY.lock();
    if let Some(provider) = registry.get(id) {
        let has_failed = provider.stage == Stage::Failed;
        if !has_failed {
            show(provider.root, [ptr::from_ref(&*object).addr(), 0]);
            provider.stage = Stage::Up;
        }
        for (class, parts) in parts {
            let publication = provider.publication(id, class);
            if !has_failed {
                show(publication, parts);
            }
        }
        provider.object = Some(object);
        provider.restarting = has_failed;
        provider.module = Some(module.into());
        provider.state = DeviceState::Bound;
    }
    drop(registry);
    notify(&classes);
}

/// Notes that an instance has failed, with `is_broken` in the middle of something. Nobody calls it any more, and consumers
/// wait for the next. False if it isn't there, or is known to have failed.
pub fn fail(id: ProviderId, is_broken: bool) -> bool {
    let mut registry = REGISTRY.lock();
    let Some(provider) = registry.get(id) else { return false };
    provider.is_broken |= is_broken;
    match provider.stage {
        Stage::Down | Stage::Failed => return false,
        // Whether there will be a next depends on how its start ends.
        Stage::Starting => {}
        Stage::Up => provider.restarting = true,
    }
    provider.hide();
    provider.stage = Stage::Failed;
    true
}

/// Whether an instance has failed and hasn't been ended.
pub fn has_failed(id: ProviderId) -> bool {
    REGISTRY.lock().get(id).is_some_and(|provider| provider.stage == Stage::Failed)
}

/// Whether code of an instance, which may have been withdrawn, was ended in the middle of something: what that was changing
/// is not to be touched.
pub fn is_broken(id: ProviderId) -> bool {
    REGISTRY.lock().get(id).is_some_and(|provider| provider.is_broken)
}

/// Notes that a provider that is about to be unbound will be bound again.
pub fn expect(id: ProviderId) {
    if let Some(provider) = REGISTRY.lock().get(id) {
        provider.restarting = true;
    }
}

/// Whether consumers wait for another instance.
pub fn is_expected(id: ProviderId) -> bool {
    REGISTRY.lock().get(id).is_some_and(|provider| provider.restarting)
}

/// Has nobody wait any more for another instance, unless the one that is there has failed: then it will be back.
pub fn stop_expecting(id: ProviderId) {
    let mut classes = Vec::new();
    if let Some(provider) = REGISTRY.lock().get(id).filter(|provider| provider.stage != Stage::Failed) {
        provider.restarting = false;
        classes = provider.classes();
    }
    notify(&classes);
}

/// Notes why a provider is left without an instance that can be called.
pub fn leave_down(id: ProviderId, reason: &str) {
    let mut classes = Vec::new();
    if let Some(provider) = REGISTRY.lock().get(id) {
        provider.restarting = false;
        // Who was to go with another, and hasn't, goes on.
        if provider.stage != Stage::Up {
            provider.state = DeviceState::Failed(reason.into());
            classes = provider.classes();
        }
    }
    notify(&classes);
}

/// Has calls lead to an object from now on. The first half tells whether there is one, so it goes last.
fn show(publication: &Publication, [object, vtable]: [usize; 2]) {
    publication.object[1].store(vtable, Ordering::Relaxed);
    publication.hidden.store(object, Ordering::Release);
    // The kernel's own calls, of which there is no vtable, are traced where they are made.
    let is_found_out = vtable != 0 && trace::traces_calls();
    publication.object[0].store(if is_found_out { 0 } else { object }, Ordering::Release);
}

/// Has calls lead nowhere from now on.
fn hide(publication: &Publication) {
    publication.object[0].store(0, Ordering::Relaxed);
    publication.hidden.store(0, Ordering::Relaxed);
}

/// Takes away what a provider publishes, once nobody calls it any more: who waits there is sent away at once, and what runs
/// there is ended after `patience`.
///
/// # Errors
/// [`Error::Busy`] when somebody doesn't leave it in time; then it stays, and can be called again unless it has failed.
pub fn withdraw(id: ProviderId, patience: Duration) -> Result<Option<Box<Object>>> {
    let (force, deadline) = (time::now() + patience, time::now() + PATIENCE);
    {
        let mut registry = REGISTRY.lock();
        let Some(provider) = registry.get(id).filter(|provider| provider.object.is_some()) else { return Ok(None) };
        provider.hide();
    }
    while ending::is_called(id) {
        ending::expel(id, time::now() > force);
        if time::now() > deadline {
            ending::readmit(id);
            let mut registry = REGISTRY.lock();
            if let Some(provider) = registry.get(id)
                && let Some(object) = &provider.object
            {
                if provider.stage == Stage::Up {
                    show(provider.root, [ptr::from_ref(&**object).addr(), 0]);
                    for (class, publication) in &provider.publications {
                        if let Some(interface) = object.provides().interface(*class) {
                            show(publication, interface.parts());
                        }
                    }
                }
                return Err(Error::Busy(format!("{} is being called, and the call doesn't end", provider.name)));
            }
        }
        ending::pause();
    }
    ending::readmit(id);
    let mut registry = REGISTRY.lock();
    let object = registry.get(id).and_then(|provider| {
        provider.stage = Stage::Down;
        provider.object.take()
    });
    let is_child = |provider: &Provider| matches!(provider.kind, Kind::Child { bus, .. } if bus == id);
    registry.providers.iter_mut().filter(|provider| is_child(provider)).for_each(|child| child.is_absent = true);
    drop(registry);
    if let Some(object) = &object {
        notify(object.provides().classes());
    }
    Ok(object)
}
