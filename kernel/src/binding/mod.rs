//! Matching the device tree's nodes to modules, and binding them.
//!
//! A node is bound as soon as everything that it needs is there; the order follows from that alone. Whatever prevents
//! it is kept with the node and told by `lsdev`.

mod removal;
mod replacement;
mod restart;

use crate::machine::{self, Machine};
use crate::modules::{self, Loaded};
use crate::registry::{self, Kind, Object};
use crate::{interrupt, log as kernel_log, processor, resources, thread, time, trace};
use abi::bus::Bus;
use abi::console::Console;
use abi::handover::Handover;
use abi::registry::ProviderId;
use abi::screen::Screen;
use abi::sync::Lock;
use abi::system::{Assignment, DeviceState};
use abi::{Class, Entry, Error, Handle, Property, Resources, Result};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use devicetree::Node;

pub use removal::unload;
use removal::{undo, unload_unused};
pub use replacement::replace;
pub use restart::{Restarted, give_up, restart};

/// Nodes that describe what the kernel itself drives or what needs no driver.
const KERNEL_NODES: &[&str] = &["arm,armv8-timer", "arm,armv7-timer", "simple-bus"];

/// The thread that is binding or unbinding something.
static BUSY: Lock<Option<u32>> = Lock::new(None);

/// Runs `action` while nobody else binds or unbinds anything.
///
/// # Errors
/// [`Error::Stopping`] for a thread that is to end: whoever waits for that may be the one who binds. [`Error::Busy`] for
/// a module that is called by the one who binds.
fn exclusively<R>(action: impl FnOnce() -> Result<R>) -> Result<R> {
    struct Turn;
    impl Drop for Turn {
        fn drop(&mut self) {
            *BUSY.lock() = None;
        }
    }
    let own = thread::current();
    loop {
        match &mut *BUSY.lock() {
            free @ None => {
                *free = Some(own);
                break;
            }
            Some(thread) if *thread == own => {
                let sentence = "a module that is being bound or removed can't load or remove modules meanwhile";
                return Err(Error::Busy(sentence.to_owned()));
            }
            Some(_) => {}
        }
        thread::sleep_until(time::now() + Duration::from_millis(1))?;
    }
    let _turn = Turn;
    action()
}

/// Lists the tree's nodes, and binds all that can be bound; then starts the services.
pub fn settle(machine: &'static Machine) {
    let settled = exclusively(|| {
        list_nodes(machine);
        bind_pending(machine);
        processor::start::all(machine);
        if !kernel_log::has_console()
            && let Some(console) = abi::registry::first::<dyn Console>()
        {
            kernel_log::use_console(console);
        }
        for name in machine.index.services() {
            if modules::is_loaded(name) {
                log::error!("initramfs: service {name} is listed twice; it is started once");
                continue;
            }
            if let Err(error) = start_service(machine, name, modules::count()) {
                log::error!("{error}");
            }
        }
        start_awaiting_services(machine);
        for device in registry::devices() {
            if let DeviceState::Deferred(what) = device.state {
                log::warn!("{}: it waits for {what}, which nobody provides", device.path);
            }
        }
        if !time::has_interrupt() {
            log::error!("the tree has no timer whose interrupt can be had: waits poll the counter");
        }
        Ok(())
    });
    if let Err(error) = settled {
        log::error!("{error}");
    }
}

fn list_nodes(machine: &Machine) {
    let processors: Vec<_> = machine.tree.processors().into_iter().flatten().collect();
    let cpus = machine.tree.find("/cpus").map(|node| node.index());
    for node in machine.tree.nodes() {
        let (compatible, mut state) = match (node.damage(), node.compatible()) {
            (Some(error), _) => (Vec::new(), DeviceState::Failed(error.to_string())),
            (None, Err(error)) => (Vec::new(), DeviceState::Failed(error.to_string())),
            (None, Ok(list)) => (list.map(ToOwned::to_owned).collect(), DeviceState::Deferred(String::new())),
        };
        // The root names the machine, and nodes without the property belong to their parent.
        let is_failed = matches!(state, DeviceState::Failed(_));
        if node.parent().is_none() || (compatible.is_empty() && !is_failed) {
            continue;
        }
        let is_kernels = compatible.iter().any(|name: &String| KERNEL_NODES.contains(&name.as_str()))
            || node.parent().map(|parent| parent.index()) == cpus;
        if let DeviceState::Failed(reason) = &state {
            log::error!("{}: {reason}", node.path());
        } else if !node.is_enabled() {
            let status = node.string("status").ok().flatten().unwrap_or("disabled");
            state = DeviceState::Disabled(status.to_owned());
        } else if processors.iter().any(|other| other.node == node && other.identifier != processor::identifier()) {
            state = DeviceState::NotStarted("nobody has tried".to_owned());
        } else if is_kernels {
            state = DeviceState::Kernel;
        }
        registry::add(node.path(), compatible, Kind::Node(node.index()), state);
    }
}

/// Tries all that wait for something, until nothing moves any more.
fn bind_pending(machine: &'static Machine) {
    loop {
        let mut progress = claim_timer(machine);
        for provider in registry::all() {
            if matches!(registry::state(provider), Some(DeviceState::Deferred(_))) {
                let state = bind(machine, provider);
                progress |= state == DeviceState::Bound;
            }
        }
        if !progress {
            return;
        }
    }
}

/// Gives the architected timer its interrupt, once; true when that has just happened.
fn claim_timer(machine: &Machine) -> bool {
    if time::has_interrupt() {
        return false;
    }
    let is_timer = |node: &Node<'_>| {
        let mut names = node.compatible().into_iter().flatten();
        names.any(|name| name == "arm,armv8-timer" || name == "arm,armv7-timer")
    };
    let Some(node) = machine.tree.nodes().find(is_timer) else { return false };
    match resources::interrupt_of(node, time::INTERRUPT)
        .and_then(|(controller, specifier)| interrupt::claim_for_timer(controller, &specifier))
    {
        Ok(()) => {
            time::set_has_interrupt();
            true
        }
        Err(_) => false,
    }
}

/// Tries to bind one node or child, and notes what came of it.
fn bind(machine: &'static Machine, provider: ProviderId) -> DeviceState {
    let compatible = registry::compatible(provider);
    let mut state = DeviceState::Unclaimed;
    let mut module = None;
    // Of those that claim it in the same words, the one that was asked for or had it last comes first.
    let preferred = registry::module_of(provider);
    let claims = |compatible| {
        let mut names: Vec<&str> = machine.index.modules_for(compatible).collect();
        names.sort_by_key(|name| preferred.as_deref() != Some(name));
        names.into_iter().map(move |name| (compatible, name))
    };
    for (compatible, name) in compatible.iter().map(String::as_str).flat_map(claims) {
        let attempt = try_module(machine, provider, compatible, name);
        if attempt == DeviceState::Bound {
            return attempt;
        }
        // A module that can't be loaded leaves the node to the next. What counts is what one says that can, or else the first
        // reason.
        let is_loaded = modules::is_loaded(name);
        if is_loaded || state == DeviceState::Unclaimed {
            (state, module) = (attempt, Some(name));
        }
        if is_loaded {
            break;
        }
    }
    if let DeviceState::Failed(reason) = &state {
        log::error!("{}: {reason}", registry::name(provider));
    }
    registry::set_state(provider, module, state.clone());
    state
}

fn try_module(machine: &'static Machine, provider: ProviderId, compatible: &str, name: &str) -> DeviceState {
    let Some(node) = resources::node(machine, provider) else { return DeviceState::Unclaimed };
    match resources::check_controllers(node).and_then(|()| resources::select_pins(node)) {
        Ok(()) => {}
        Err(Error::Deferred(what)) => return DeviceState::Deferred(what),
        Err(error) => return DeviceState::Failed(error.to_string()),
    }
    let loaded = match modules::get(machine, name) {
        Ok(loaded) => loaded,
        Err(refused) => return DeviceState::Failed(refused.to_string()),
    };
    trace::probing(provider);
    let probed = probe(&loaded, provider, node, compatible, None);
    trace::probed(provider, &probed);
    match probed {
        Ok(object) => {
            registry::publish(provider, name, object);
            if let Err(error) = interrupt::activate(provider) {
                log::error!("{}: {error}", registry::name(provider));
            }
            resources::collect_dma(provider);
            bound(machine, provider, node);
            DeviceState::Bound
        }
        Err(error) => {
            undo(provider);
            match error {
                Error::Absent => DeviceState::Empty,
                Error::Deferred(what) => DeviceState::Deferred(what),
                error => DeviceState::Failed(format!("module {name}: {error}")),
            }
        }
    }
}

/// Asks a module whether it drives a node.
fn probe(
    loaded: &Loaded,
    provider: ProviderId,
    node: Node<'_>,
    compatible: &str,
    handover: Option<Handover>,
) -> Result<Object> {
    let Entry::Driver(probe) = loaded.entry() else {
        return Err(Error::Invalid("it claims a device, and is no driver".to_owned()));
    };
    log::debug!("{}: probing for {compatible}", registry::name(provider));
    registry::begin(provider, loaded.name());
    let property = |(name, value): (&str, &[u8])| Property { name: name.to_owned(), value: value.to_vec() };
    let properties = node.properties().map(property).collect();
    let node = abi::Node::new(registry::name(provider), compatible.to_owned(), properties);
    let mut resources = Resources::new(provider, handover);
    registry::enter(provider, || probe(&node, &mut resources))?.map(Object::Driver).map_err(Error::shortened)
}

/// What the kernel itself does with something new.
fn bound(machine: &Machine, provider: ProviderId, node: Node<'_>) {
    let of_this = |handle: &Handle<dyn Bus>| handle.provider() == provider;
    if let Some(bus) = abi::registry::all::<dyn Bus>().into_iter().find(of_this) {
        add_children(provider, node, bus);
    }
    let screens = abi::registry::all::<dyn Screen>();
    if let Some(screen) = screens.into_iter().find(|screen| screen.provider() == provider) {
        kernel_log::use_screen(screen);
    }
    let standard_output = machine.tree.standard_output().ok().flatten().map(|output| output.node.index());
    if standard_output == Some(node.index()) && !kernel_log::has_console() {
        let consoles = abi::registry::all::<dyn Console>();
        if let Some(console) = consoles.into_iter().find(|console| console.provider() == provider) {
            kernel_log::use_console(console);
        }
    }
}

/// How many buses may be behind one another, and how many devices a module may have behind its buses: more than any machine's,
/// and few enough for a bus driver that makes them up.
const DEEPEST: usize = 8;
const MOST_CHILDREN: usize = 256;

/// Lists what is behind a bus, as far as that makes sense.
fn add_children(provider: ProviderId, node: Node<'_>, bus: Handle<dyn Bus>) {
    let name = registry::name(provider);
    let children = bus.call(|bus| bus.children()).unwrap_or_default();
    if !children.is_empty() && registry::depth(provider) + 1 >= DEEPEST {
        log::error!(
            "{name}: its driver says that there are devices behind it, {DEEPEST} buses deep; they are left out"
        );
        return;
    }
    let module = registry::module_of(provider).unwrap_or_default();
    for child in children {
        if let Err(error) = child.check() {
            log::error!("{name}: a device behind it is left out: {error}");
        } else if registry::children_of_module(&module) >= MOST_CHILDREN {
            log::error!(
                "{name}: module {module} has {MOST_CHILDREN} devices behind its buses; the others are left out"
            );
            return;
        } else {
            let kind = Kind::Child { bus: provider, node: node.index() };
            let state = DeviceState::Deferred(String::new());
            registry::add(format!("{name}/{}", child.name), child.compatible, kind, state);
        }
    }
}

/// Starts the services that wait for something which is there by now, each once.
fn start_awaiting_services(machine: &'static Machine) {
    static TRIED: Lock<Vec<&str>> = Lock::new(Vec::new());
    let is_there = |class: &&Class| !registry::publications(**class).is_empty();
    for name in Class::ALL.iter().filter(is_there).flat_map(|class| machine.index.services_on(&format!("{class:?}"))) {
        if TRIED.lock().contains(&name) {
            continue;
        }
        TRIED.lock().push(name);
        if !modules::is_loaded(name)
            && let Err(error) = start_service(machine, name, modules::count())
        {
            log::error!("{error}");
        }
    }
}

/// Starts a service. When that fails, only the first `before` modules stay loaded.
fn start_service(machine: &'static Machine, name: &str, before: usize) -> Result<()> {
    let loaded = modules::get(machine, name).map_err(|refused| Error::Invalid(refused.to_string()))?;
    if !matches!(loaded.entry(), Entry::Service(_)) {
        return Err(Error::Invalid(format!("module {name} is listed as a service, and is none")));
    }
    let provider = registry::add(name.to_owned(), Vec::new(), Kind::Service, DeviceState::Unclaimed);
    match start_instance(&loaded, provider, None) {
        Ok(object) => {
            registry::publish(provider, name, object);
            Ok(())
        }
        Err(error) => {
            undo(provider);
            drop(loaded);
            modules::unload_latest(before);
            resources::collect_garbage(provider);
            Err(Error::Invalid(format!("service {name}: {error}")))
        }
    }
}

/// Asks a module to start its service.
fn start_instance(loaded: &Loaded, provider: ProviderId, handover: Option<Handover>) -> Result<Object> {
    let Entry::Service(start) = loaded.entry() else {
        return Err(Error::Invalid("it is no service".to_owned()));
    };
    registry::begin(provider, loaded.name());
    let mut resources = Resources::new(provider, handover);
    registry::enter(provider, || start(&mut resources))?.map(Object::Service).map_err(Error::shortened)
}

/// Loads a module and puts it to work.
///
/// # Errors
/// See [`abi::system::load_module`].
pub fn load(name: &str, parameters: &[Assignment]) -> Result<()> {
    let machine = machine::get().ok_or(Error::Gone)?;
    let result = exclusively(|| {
        if modules::is_loaded(name) {
            return Err(Error::Busy(format!("module {name} is loaded already")));
        }
        let before = modules::count();
        modules::set_parameters(name, parameters);
        let loaded = modules::get(machine, name).map_err(|refused| {
            modules::set_parameters(name, &[]);
            Error::Invalid(refused.to_string())
        })?;
        if matches!(loaded.entry(), Entry::Service(_)) {
            return start_service(machine, name, before);
        }
        let mut asked = Vec::new();
        for provider in registry::all() {
            let claims = |compatible: &String| machine.index.modules_for(compatible).any(|module| module == name);
            let state = registry::state(provider);
            let waits = matches!(
                state,
                Some(
                    DeviceState::Failed(_)
                        | DeviceState::Unclaimed
                        | DeviceState::Deferred(_)
                        | DeviceState::Released
                        // Something may have been plugged in.
                        | DeviceState::Empty
                )
            );
            if waits && registry::compatible(provider).iter().any(claims) {
                registry::set_state(provider, Some(name), DeviceState::Deferred(String::new()));
                asked.push(provider);
            }
        }
        drop(loaded);
        bind_pending(machine);
        start_awaiting_services(machine);
        let result = asked.into_iter().try_for_each(|provider| expect_no_failure(name, provider));
        if result.is_err() {
            unload_unused(before);
        }
        result
    });
    let_watchers_run();
    result
}

/// Fails when that module was to drive that provider and doesn't, with the reason.
fn expect_no_failure(module: &str, provider: ProviderId) -> Result<()> {
    match registry::state(provider) {
        Some(DeviceState::Failed(reason)) if registry::module_of(provider).as_deref() == Some(module) => {
            Err(Error::Invalid(format!("{}: {reason}", registry::name(provider))))
        }
        _ => Ok(()),
    }
}

/// Those who watch the registry see what has changed before the caller goes on.
fn let_watchers_run() {
    thread::yield_now();
}
