//! Taking modules out again: what has to go with them, and in which order.

use super::{exclusively, let_watchers_run};
use crate::{interrupt, modules, registry, resources, thread};
use abi::registry::ProviderId;
use abi::system::{Dependents, DeviceState};
use abi::{Class, Error, Result};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// One step of a removal.
#[derive(Clone, PartialEq, Eq)]
enum Step {
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
        plan.into_iter().try_for_each(|step| perform(step, dependents, &mut Vec::new()))
    })?;
    let_watchers_run();
    Ok(())
}

/// Plans the end of a module, behind that of all that can't do without it.
fn plan_module(name: &str, plan: &mut Vec<Step>) {
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
    let runs_the_caller = |provider: &ProviderId| thread::owner() == Some(*provider);
    if unbound.iter().any(runs_the_caller) {
        return Err(Error::Busy("the module that asks for it would have to be removed as well".to_owned()));
    }
    if let Some(controller) = unbound.iter().find(|provider| interrupt::serves_the_timer(**provider)) {
        return Err(Error::Busy(format!("{} serves the kernel's own timer", registry::name(*controller))));
    }
    let consoles = registry::providers(Class::Console);
    if !consoles.is_empty() && consoles.iter().all(|console| unbound.contains(console)) {
        return Err(Error::Busy("the only console would be gone".to_owned()));
    }
    Ok(())
}

/// Takes one step. `leaving` are the providers whose removal waits for it.
fn perform(step: Step, dependents: Dependents, leaving: &mut Vec<ProviderId>) -> Result<()> {
    match step {
        Step::Unbind(provider) => {
            let module = registry::module_of(provider);
            remove(provider, dependents, leaving)?;
            registry::set_state(provider, module.as_deref(), DeviceState::Released);
        }
        Step::Unload(name) => {
            thread::stop_module(&name);
            modules::unload(&name);
            // Only now are the module's variables gone.
            registry::last_of_module(&name).into_iter().for_each(resources::collect_garbage);
        }
    }
    Ok(())
}

/// Ends what runs behind a provider and takes back all that it holds.
///
/// # Errors
/// [`Error::Busy`] when somebody doesn't let go of it; then it goes on.
fn remove(provider: ProviderId, dependents: Dependents, leaving: &mut Vec<ProviderId>) -> Result<()> {
    // First nobody gets in any more, then those inside leave, then the object ends.
    interrupt::deactivate(provider);
    let mut withdrawn = registry::withdraw(provider);
    if withdrawn.is_err() && dependents == Dependents::Stop {
        leaving.push(provider);
        let stopped = stop_keepers(provider, leaving);
        leaving.pop();
        // Nobody is left who could let go of it when those who keep it can't go either.
        withdrawn = stopped.and_then(|()| registry::withdraw(provider));
    }
    let object = match withdrawn {
        Ok(object) => object,
        Err(error) => {
            interrupt::activate(provider)?;
            return Err(error);
        }
    };
    thread::stop_all(provider);
    if let Err(message) = thread::on_behalf_of(provider, || thread::guarded(|| drop(object))) {
        log::error!("{}: its module panicked while it was removed: {message}", registry::name(provider));
    }
    // Once more: the object's end may have started some.
    thread::stop_all(provider);
    resources::release_all(provider);
    Ok(())
}

/// Removes the modules that keep what runs behind a provider borrowed.
fn stop_keepers(provider: ProviderId, leaving: &mut Vec<ProviderId>) -> Result<()> {
    let mut plan = Vec::new();
    for module in registry::keepers(provider).into_iter().flatten() {
        plan_module(&module, &mut plan);
    }
    check("", &plan, Dependents::Stop)?;
    let waits = |step: &Step| matches!(step, Step::Unbind(other) if leaving.contains(other));
    if plan.is_empty() || plan.iter().any(waits) {
        return Err(Error::Busy(format!("{} is kept by what has to go with it", registry::name(provider))));
    }
    plan.into_iter().try_for_each(|step| perform(step, Dependents::Stop, leaving))
}
