//! Starting modules again that have failed.

use super::removal::{Step, perform, plan_module};
use super::{bind_pending, exclusively, start_service};
use crate::machine::Machine;
use crate::modules;
use crate::registry::{self, Kind};
use abi::Result;
use abi::registry::ProviderId;
use abi::system::DeviceState;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What came of a restart.
pub enum Restarted {
    /// All that went down is there again, or won't be for reasons of its own.
    Done,
    /// There was nothing to do any more.
    Needless,
    /// `down` isn't there yet. Its first couldn't be started, for this reason.
    Refused { down: Vec<ProviderId>, reason: String },
}

/// Starts a module again, with fresh data, and with it what can't do without. Consumers' handles lead to the new instances.
///
/// `down` is the provider that has failed, or, once that couldn't be started again, what came of that.
///
/// # Errors
/// When somebody doesn't leave it. Then it stays as it is, and nobody waits for it.
pub fn restart(machine: &'static Machine, mut down: Vec<ProviderId>) -> Result<Restarted> {
    exclusively(|| {
        if !is_wanted(&down) {
            return Ok(Restarted::Needless);
        }
        end_all(&mut down, registry::expect)?;
        for provider in &down {
            let waits = match registry::kind(*provider) {
                Some(Kind::Node(_)) => true,
                // Otherwise its bus publishes it again.
                Some(Kind::Child { bus, .. }) => !down.contains(&bus),
                Some(Kind::Service) | None => false,
            };
            if waits {
                let module = registry::module_of(*provider);
                registry::set_state(*provider, module.as_deref(), DeviceState::Deferred(String::new()));
            }
        }
        bind_pending(machine);
        let (mut refused, mut absent, mut first_reason) = (Vec::new(), Vec::new(), None);
        for provider in down {
            let reason = match registry::state(provider) {
                Some(DeviceState::Bound) => continue,
                Some(DeviceState::Failed(reason)) => Some(reason),
                _ if registry::kind(provider) == Some(Kind::Service) => {
                    match start_service(machine, &registry::name(provider), modules::count()) {
                        Ok(()) => continue,
                        Err(error) => Some(error.to_string()),
                    }
                }
                _ => None,
            };
            match reason {
                Some(reason) => {
                    refused.push(provider);
                    first_reason.get_or_insert(reason);
                }
                None => absent.push(provider),
            }
        }
        match first_reason {
            Some(reason) => {
                refused.append(&mut absent);
                Ok(Restarted::Refused { down: refused, reason })
            }
            None => {
                // Those that aren't there now won't be.
                absent.into_iter().for_each(registry::stop_expecting);
                Ok(Restarted::Done)
            }
        }
    })
}

/// Leaves what [`restart`] would start again as it is, for this reason.
///
/// # Errors
/// When somebody doesn't leave it.
pub fn give_up(mut down: Vec<ProviderId>, reason: &str) -> Result<()> {
    exclusively(|| {
        if is_wanted(&down) {
            end_all(&mut down, |_| {})?;
            down.into_iter().for_each(|provider| registry::leave_down(provider, reason));
        }
        Ok(())
    })
}

/// Whether the first hasn't been removed, replaced or started again meanwhile.
fn is_wanted(down: &[ProviderId]) -> bool {
    down.first().is_some_and(|first| registry::is_expected(*first))
}

/// Ends what the first's module runs and what can't do without it, and adds all that to `down`; `prepare` is called with each
/// before that.
///
/// # Errors
/// When somebody doesn't leave it. Then it all stays down, as far as it was ended.
fn end_all(down: &mut Vec<ProviderId>, prepare: impl Fn(ProviderId)) -> Result<()> {
    let Some(module) = down.first().and_then(|first| registry::module_of(*first)) else { return Ok(()) };
    let mut plan = Vec::new();
    plan_module(&module, &mut plan);
    let ended = plan.into_iter().try_for_each(|step| {
        if let Step::Unbind(provider) = step {
            prepare(provider);
            if !down.contains(&provider) {
                down.push(provider);
            }
        }
        perform(&step)
    });
    ended.inspect_err(|error| {
        let reason = format!("it has failed and can't be ended: {error}");
        down.iter().for_each(|provider| registry::leave_down(*provider, &reason));
    })
}
