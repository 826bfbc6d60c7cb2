//! Putting a newer module in place of a running one.

use super::removal::{Step, end, plan_module, undo};
use super::{exclusively, let_watchers_run, probe, start_instance};
use crate::machine::{self, Machine};
use crate::modules::{self, Loaded};
use crate::registry::{self, Kind, Object};
use crate::thread::ending;
use crate::{interrupt, resources, thread, time};
use abi::handover::Handover;
use abi::registry::ProviderId;
use abi::system::{Assignment, DeviceState};
use abi::{Error, Result};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// Puts the module `name` in place of the running one that calls itself the same.
///
/// # Errors
/// See [`abi::system::replace_module`].
pub fn replace(name: &str, parameters: &[Assignment]) -> Result<()> {
    let machine = machine::get().ok_or(Error::Gone)?;
    exclusively(|| {
        let new =
            modules::get_beside(machine, name, parameters).map_err(|refused| Error::Invalid(refused.to_string()))?;
        let replaced = Replacement::plan(machine, &new).and_then(|replacement| replacement.perform());
        match replaced {
            Ok((old, time)) => {
                modules::set_parameters(old.name(), &[]);
                modules::set_parameters(name, parameters);
                modules::unload_instance(&old);
                drop(old);
                log::info!("{name}: replaced, with {} us without service", time.as_micros());
                Ok(())
            }
            Err(error) => {
                modules::unload_instance(&new);
                Err(error)
            }
        }
    })?;
    let_watchers_run();
    Ok(())
}

struct Replacement {
    machine: &'static Machine,
    old: Arc<Loaded>,
    new: Arc<Loaded>,
    providers: Vec<ProviderId>,
}

impl Replacement {
    /// Finds out what is to be replaced, and whether it can be.
    fn plan(machine: &'static Machine, new: &Arc<Loaded>) -> Result<Self> {
        let old = modules::predecessor(new)
            .ok_or_else(|| Error::Invalid(format!("no module that calls itself {} is loaded", new.own_name())))?;
        let mut plan = Vec::new();
        plan_module(old.name(), &mut plan);
        let providers = registry::of_module(old.name());
        let depends = |step: &Step| match step {
            Step::Unbind(provider) => (!providers.contains(provider)).then(|| registry::name(*provider)),
            Step::Unload(module) => (module != old.name()).then(|| format!("module {module}")),
        };
        let dependents: Vec<String> = plan.iter().filter_map(depends).collect();
        if !dependents.is_empty() {
            return Err(Error::Busy(format!("module {} is needed by {}", old.name(), dependents.join(", "))));
        }
        if providers.iter().any(|provider| thread::owner() == Some(*provider) || ending::calls(*provider)) {
            return Err(Error::Busy("the module that asks for it would have to be replaced itself".into()));
        }
        if let Some(vital) = providers.iter().find(|provider| interrupt::serves_the_kernel(**provider)) {
            return Err(Error::Busy(format!("{} serves the kernel itself", registry::name(*vital))));
        }
        Ok(Self { machine, old, new: new.clone(), providers })
    }

    /// Returns the module that has been replaced, and the longest time for which something wasn't there.
    fn perform(&self) -> Result<(Arc<Loaded>, Duration)> {
        let mut longest = Duration::ZERO;
        for (index, provider) in self.providers.iter().enumerate() {
            match self.swap(*provider, &self.new) {
                Ok(time) => longest = longest.max(time),
                Err(error) => {
                    for provider in self.providers.iter().take(index) {
                        if let Err(error) = self.swap(*provider, &self.old) {
                            log::error!("{}: the old module can't be put back: {error}", registry::name(*provider));
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok((self.old.clone(), longest))
    }

    /// Puts an instance of `next` behind a provider, in place of one of the other module; that is put back if `next`
    /// refuses.
    fn swap(&self, provider: ProviderId, next: &Arc<Loaded>) -> Result<Duration> {
        let root = registry::root(provider).ok_or(Error::Gone)?;
        let handover = registry::call(root, Object::hand_over)?;
        let start = time::now();
        registry::expect(provider);
        let ended = end(provider);
        let former = if Arc::ptr_eq(next, &self.new) { &self.old } else { &self.new };
        let result = ended.and_then(|()| {
            let refusal = match self.start(provider, next, handover.clone()) {
                Ok(()) => return Ok(time::now().since(start)),
                Err(error) => error,
            };
            let kept = format!("{}: {refusal}; the former one goes on", next.name());
            match self.start(provider, former, handover) {
                Ok(()) => Err(Error::Unsupported(kept)),
                Err(error) => {
                    let reason = format!("{}: {refusal}; the former one couldn't go on: {error}", next.name());
                    registry::set_state(provider, Some(former.name()), DeviceState::Failed(reason.clone()));
                    Err(Error::Device(reason))
                }
            }
        });
        registry::stop_expecting(provider);
        result
    }

    /// Starts an instance of a module behind a provider.
    fn start(&self, provider: ProviderId, module: &Arc<Loaded>, handover: Option<Handover>) -> Result<()> {
        let object = match registry::kind(provider) {
            Some(Kind::Service) => start_instance(module, provider, handover),
            _ => {
                let node = resources::node(self.machine, provider).ok_or(Error::Gone)?;
                let compatible = registry::compatible(provider);
                let claimed =
                    |name: &&String| self.machine.index.modules_for(name).any(|module| module == self.old.own_name());
                let compatible = compatible.iter().find(claimed).or(compatible.first()).cloned().unwrap_or_default();
                probe(module, provider, node, &compatible, handover)
            }
        };
        match object {
            Ok(object) => {
                registry::publish(provider, module.name(), object);
                interrupt::activate(provider)
            }
            Err(error) => {
                undo(provider);
                Err(error)
            }
        }
    }
}
