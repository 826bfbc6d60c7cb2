//! Starting modules again that have failed.

use super::removal::{Ending, Step, perform, plan_module};
use super::{bind_pending, exclusively, start_service};
use crate::machine::Machine;
use crate::modules;
use crate::registry::{self, Kind};
use abi::Result;
use abi::registry::ProviderId;
use abi::system::DeviceState;
use alloc::string::String;
use alloc::vec::Vec;

/// Starts the module of a provider that has failed again, with fresh data, and with it what can't do without. Consumers'
/// handles lead to the new instances.
///
/// # Errors
/// When somebody doesn't leave it, or a service doesn't start; what became of devices is noted with them.
pub fn restart(machine: &'static Machine, failed: ProviderId, ending: Ending) -> Result<()> {
    let Some(module) = registry::module_of(failed) else { return Ok(()) };
    exclusively(|| {
        let (plan, ended) = plan(&module);
        let mut unbound = Vec::new();
        for step in plan {
            if let Step::Unbind(provider) = step {
                registry::expect(provider);
                unbound.push(provider);
            }
            let own = step == Step::Unbind(failed);
            perform(step, if own { ending } else { Ending::Orderly })?;
        }
        for provider in &unbound {
            if registry::kind(*provider) != Some(Kind::Service) {
                registry::set_state(*provider, None, DeviceState::Deferred(String::new()));
            }
        }
        bind_pending(machine);
        let mut result = Ok(());
        for module in ended.iter().rev() {
            let was_service = |provider: &ProviderId| {
                registry::kind(*provider) == Some(Kind::Service) && registry::name(*provider) == *module
            };
            if unbound.iter().any(was_service) {
                result = result.and(start_service(machine, module, modules::count()));
            }
        }
        // Those that aren't there now won't be.
        unbound.into_iter().for_each(registry::stop_expecting);
        result
    })
}

/// Leaves what a failed provider's module drives unbound, for this reason.
///
/// # Errors
/// When somebody doesn't leave it.
pub fn give_up(failed: ProviderId, ending: Ending, reason: &str) -> Result<()> {
    let Some(module) = registry::module_of(failed) else { return Ok(()) };
    exclusively(|| {
        for step in plan(&module).0 {
            let Step::Unbind(provider) = step else {
                perform(step, Ending::Orderly)?;
                continue;
            };
            perform(step, if provider == failed { ending } else { Ending::Orderly })?;
            let module = registry::module_of(provider);
            registry::set_state(provider, module.as_deref(), DeviceState::Failed(reason.into()));
            registry::stop_expecting(provider);
        }
        Ok(())
    })
}

/// What has to end with a module, and the modules among that.
fn plan(module: &str) -> (Vec<Step>, Vec<String>) {
    let mut plan = Vec::new();
    plan_module(module, &mut plan);
    let modules = plan.iter().filter_map(|step| match step {
        Step::Unload(module) => Some(module.clone()),
        Step::Unbind(_) => None,
    });
    let modules = modules.collect();
    (plan, modules)
}
