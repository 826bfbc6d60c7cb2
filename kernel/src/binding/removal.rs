//! Taking modules out again: what has to go with them, and in which order.

use super::{exclusively, let_watchers_run};
use crate::thread::ending;
use crate::{interrupt, modules, registry, resources, thread};
use abi::registry::ProviderId;
use abi::system::{Dependents, DeviceState};
use abi::{Class, Error, Result};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// One step of a removal.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Ends what runs behind a provider.
    Unbind(ProviderId),
    /// Takes a module out of memory.
    Unload(String),
}

/// Unbinds all that a module drives, and takes it out of memory.
///
/// # Errors
/// See [`abi::system::unload_module`].
pub fn unload(name: &str, dependents: Dependents) -> Result<()> {
    exclusively(|| {
        if !modules::is_loaded(name) {
            return Err(Error::Invalid(format!("module {name} isn't loaded")));
        }
        let mut plan = Vec::new();
        plan_module(name, &mut plan);
        check(name, &plan, dependents)?;
        plan.into_iter().try_for_each(|step| {
            perform(&step)?;
            match step {
                Step::Unbind(provider) => registry::stop_expecting(provider),
                Step::Unload(name) => modules::set_parameters(&name, &[]),
            }
            Ok(())
        })
    })?;
    let_watchers_run();
    Ok(())
}

/// Takes out of memory what has been loaded behind the first `before` modules and is of no use: nobody is linked against it, and
/// it drives nothing.
pub fn unload_unused(before: usize) {
    for name in modules::names().into_iter().skip(before).rev() {
        if modules::users_of(&name).is_empty() && registry::of_module(&name).is_empty() {
            // Nothing is unbound, so nothing keeps it.
            let _ = perform(&Step::Unload(name.clone()));
            modules::set_parameters(&name, &[]);
        }
    }
}

/// Plans the end of a module, behind that of all that can't do without it.
pub fn plan_module(name: &str, plan: &mut Vec<Step>) {
    let step = Step::Unload(name.to_owned());
    if plan.contains(&step) {
        return;
    }
    for user in modules::users_of(name) {
        plan_module(&user, plan);
    }
    for provider in registry::of_module(name) {
        plan_provider(provider, plan);
    }
    plan.push(step);
}

/// Plans the end of what runs behind a provider, behind that of the devices that need it.
fn plan_provider(provider: ProviderId, plan: &mut Vec<Step>) {
    let step = Step::Unbind(provider);
    if plan.contains(&step) {
        return;
    }
    let interrupted = interrupt::users_of(provider).into_iter().filter(|user| *user != provider);
    for user in registry::bound_children(provider).into_iter().chain(interrupted) {
        plan_provider(user, plan);
    }
    plan.push(step);
}

/// Fails when a plan for the module `name` takes away what must stay.
fn check(name: &str, plan: &[Step], dependents: Dependents) -> Result<()> {
    let unbound: Vec<ProviderId> =
        plan.iter().filter_map(|step| if let Step::Unbind(provider) = step { Some(*provider) } else { None }).collect();
    if dependents == Dependents::Keep {
        let is_unloaded = |module: &String| plan.contains(&Step::Unload(module.clone()));
        let others = plan.iter().filter_map(|step| match step {
            Step::Unload(module) => (module != name).then(|| format!("module {module}")),
            Step::Unbind(provider) => {
                let module = registry::module_of(*provider).filter(|module| !is_unloaded(module))?;
                Some(format!("{} (module {module})", registry::name(*provider)))
            }
        });
        let others: Vec<String> = others.collect();
        if !others.is_empty() {
            return Err(Error::Busy(format!("module {name} is needed by {}", others.join(", "))));
        }
    }
    let runs_the_caller = |provider: &ProviderId| thread::owner() == Some(*provider) || ending::calls(*provider);
    if unbound.iter().any(runs_the_caller) {
        return Err(Error::Busy("the module that asks for it would have to be removed as well".to_owned()));
    }
    if let Some(controller) = unbound.iter().find(|provider| interrupt::serves_the_kernel(**provider)) {
        return Err(Error::Busy(format!("{} serves the kernel itself", registry::name(*controller))));
    }
    let consoles = registry::providers(Class::Console);
    if !consoles.is_empty() && consoles.iter().all(|console| unbound.contains(console)) {
        return Err(Error::Busy("the only console would be gone".to_owned()));
    }
    Ok(())
}

/// Takes one step.
pub fn perform(step: &Step) -> Result<()> {
    match step {
        Step::Unbind(provider) => {
            let module = registry::module_of(*provider);
            end(*provider)?;
            registry::set_state(*provider, module.as_deref(), DeviceState::Released);
        }
        Step::Unload(name) => {
            ending::stop_module(name);
            modules::unload(name);
            // Only now are the module's variables gone.
            registry::last_of_module(name).into_iter().for_each(resources::collect_garbage);
        }
    }
    Ok(())
}

/// How long a failed instance's threads and callers have to leave it: what they do there is lost in any case.
const PATIENCE_WITH_FAILED: Duration = Duration::from_millis(20);

/// Ends what runs behind a provider and takes back all that it holds. An object that was not ended in the middle of something
/// is dropped; the other is left as it is.
///
/// # Errors
/// [`Error::Busy`] when a call of it doesn't end; then it goes on, unless it has failed.
pub fn end(provider: ProviderId) -> Result<()> {
    let patience = if registry::has_failed(provider) { PATIENCE_WITH_FAILED } else { ending::POLITENESS };
    // First nobody gets in any more, then those inside leave, then the object ends.
    interrupt::deactivate(provider);
    let object = match registry::withdraw(provider, patience) {
        Ok(object) => object,
        Err(error) => {
            if !registry::has_failed(provider) {
                interrupt::activate(provider)?;
            }
            return Err(error);
        }
    };
    ending::stop_all(provider, patience);
    if registry::is_broken(provider) {
        if let Some(object) = object {
            object.abandon();
        }
    } else if let Err(error) = registry::enter(provider, || drop(object)) {
        log::error!("{}: while it was removed, {error}", registry::name(provider));
    }
    // Once more: the object's end may have started some.
    ending::stop_all(provider, patience);
    resources::release_all(provider);
    Ok(())
}

/// Takes back what a provider's module holds that was to start there and didn't.
pub fn undo(provider: ProviderId) {
    registry::abort(provider);
    ending::stop_all(provider, ending::POLITENESS);
    resources::release_all(provider);
}
