//! How two descriptions differ, in sentences.

use super::{Description, Fact, Item, Role};
use core::fmt;
use core::iter::from_fn;

/// The side that has what the other lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// What the module was built against.
    Module,
    /// What the kernel was built with.
    Kernel,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Module => "module",
            Self::Kernel => "kernel",
        })
    }
}

/// One difference between the module's and the kernel's version of an item. Its `Display` is a clause for a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference<'d> {
    item: Item<'d>,
    /// The part of the item that it is about, unless that is the item as a whole.
    fact: Option<Fact<'d>>,
    change: Change<'d>,
}

/// What has changed, the module's version being the old one and the kernel's the new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'d> {
    /// One side alone has it.
    Only(Side),
    /// It has become something else, a struct an enum for instance.
    Kind {
        /// What the kernel has.
        kernel: &'d str,
    },
    /// It has another name.
    Renamed {
        /// The kernel's name.
        kernel: &'d str,
    },
    /// It stands in another place among its like, counted from 1.
    Moved {
        /// The place in the module's version.
        module: usize,
        /// The place in the kernel's version.
        kernel: usize,
    },
    /// A column of the fact has another value.
    Value {
        /// The number of the column.
        column: usize,
        /// The module's value.
        module: &'d str,
        /// The kernel's value.
        kernel: &'d str,
    },
    /// A function takes another number of arguments, `self` being one.
    ArgumentCount {
        /// The module's number.
        module: usize,
        /// The kernel's number.
        kernel: usize,
    },
    /// An argument of a function has another type.
    Argument {
        /// The argument's number, counted from 1.
        number: usize,
        /// The module's type.
        module: &'d str,
        /// The kernel's type.
        kernel: &'d str,
    },
    /// Only this side has code for a method.
    Provided(Side),
    /// The code is another.
    Code,
}

/// How much a difference tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rank {
    /// What a type, trait or function looks like.
    Definition,
    /// What a constant is.
    Value,
    /// An item that one side alone has.
    Presence,
    /// How a type of the same definition lies in memory.
    Layout,
    /// What is implemented.
    Implementation,
    /// Where names lead.
    Name,
    /// What functions and macros do.
    Code,
    /// In which order things stand.
    Order,
}

impl Rank {
    const ALL: [Self; 8] = [
        Self::Definition,
        Self::Value,
        Self::Presence,
        Self::Layout,
        Self::Implementation,
        Self::Name,
        Self::Code,
        Self::Order,
    ];
}

/// The differences, those that tell most first. Nothing is allocated: the descriptions are gone through once per rank.
pub(super) fn between<'d>(module: &'d Description, kernel: &'d Description) -> impl Iterator<Item = Difference<'d>> {
    Rank::ALL.into_iter().flat_map(move |rank| {
        pairs(module, kernel).flat_map(differences_of_items).filter(move |difference| difference.rank() == rank)
    })
}

/// The items of both sides, those with the same path together.
fn pairs<'d>(
    module: &'d Description,
    kernel: &'d Description,
) -> impl Iterator<Item = (Option<Item<'d>>, Option<Item<'d>>)> {
    let (mut module, mut kernel) = (module.items().peekable(), kernel.items().peekable());
    from_fn(move || match (module.peek(), kernel.peek()) {
        (None, None) => None,
        (Some(one), Some(other)) if one.key() == other.key() => Some((module.next(), kernel.next())),
        (Some(one), Some(other)) if one.key() > other.key() => Some((None, kernel.next())),
        (None, Some(_)) => Some((None, kernel.next())),
        (Some(_), _) => Some((module.next(), None)),
    })
}

fn differences_of_items<'d>(pair: (Option<Item<'d>>, Option<Item<'d>>)) -> impl Iterator<Item = Difference<'d>> {
    let (whole, facts) = match pair {
        (Some(module), Some(kernel)) if module.kind == kernel.kind => (None, Some((module, kernel))),
        (Some(module), Some(kernel)) => (Some((module, Change::Kind { kernel: kernel.kind })), None),
        (Some(module), None) => (Some((module, Change::Only(Side::Module))), None),
        (None, Some(kernel)) => (Some((kernel, Change::Only(Side::Kernel))), None),
        (None, None) => (None, None),
    };
    let whole = whole.into_iter().map(|(item, change)| Difference { item, fact: None, change });
    // The usual case, two equal items, is decided by comparing bytes.
    let facts = facts.into_iter().filter(|(module, kernel)| module.facts != kernel.facts);
    whole.chain(facts.flat_map(|(module, kernel)| differences_of_facts(module, kernel)))
}

fn differences_of_facts<'d>(module: Item<'d>, kernel: Item<'d>) -> impl Iterator<Item = Difference<'d>> {
    let without_layout = |item: &Item<'d>| item.facts().filter(|fact| fact.role != Role::Layout);
    let same_definition = without_layout(&module).eq(without_layout(&kernel));

    let in_module = module.facts().filter_map(move |fact| {
        let change = match find(fact, &kernel) {
            // How a type lies in memory follows from its definition.
            Some(_) if fact.role == Role::Layout && !same_definition => None,
            Some(other) => change(fact, other),
            None if fact.name.is_empty() => change(fact, fact.empty()),
            None => Some(match new_name(fact, &module, &kernel) {
                Some(kernel) => Change::Renamed { kernel },
                None => Change::Only(Side::Module),
            }),
        };
        Some((fact, change?))
    });
    let in_kernel = kernel.facts().filter(move |fact| find(*fact, &module).is_none()).filter_map(move |fact| {
        let change = match new_name(fact, &kernel, &module) {
            _ if fact.name.is_empty() => change(fact.empty(), fact),
            Some(_) => None,
            None => Some(Change::Only(Side::Kernel)),
        };
        Some((fact, change?))
    });
    let all = in_module.chain(in_kernel).chain(first_moved(&module, &kernel));
    all.map(move |(fact, change)| Difference { item: module, fact: Some(fact), change })
}

/// The fact with the same role and name in the other version of the item.
fn find<'d>(fact: Fact<'d>, other: &Item<'d>) -> Option<Fact<'d>> {
    other.facts().find(|candidate| (candidate.role, candidate.name) == (fact.role, fact.name))
}

/// The facts of one role, in their order.
fn alike<'d>(role: Role, item: &Item<'d>) -> impl Iterator<Item = Fact<'d>> + use<'d> {
    item.facts().filter(move |fact| fact.role == role)
}

/// The name under which the other version of the item has this fact, which it lacks under its own: that of a fact in
/// the same place, with the same content, that this version lacks.
fn new_name<'d>(fact: Fact<'d>, own: &Item<'d>, other: &Item<'d>) -> Option<&'d str> {
    let place = alike(fact.role, own).position(|candidate| candidate == fact)?;
    let candidate = alike(fact.role, other).nth(place)?;
    (candidate.columns == fact.columns && find(candidate, own).is_none()).then_some(candidate.name)
}

/// The first fact that stands in another place, when both versions have the same ones.
fn first_moved<'d>(module: &Item<'d>, kernel: &Item<'d>) -> Option<(Fact<'d>, Change<'d>)> {
    let (module, kernel) = (*module, *kernel);
    module.facts().find_map(move |fact| {
        let place = |item| alike(fact.role, item).position(|candidate| candidate.name == fact.name);
        let complete = |one: &Item<'d>, other: &Item<'d>| alike(fact.role, one).all(|fact| find(fact, other).is_some());
        let (one, other) = (place(&module)?, place(&kernel)?);
        let moved = one != other && complete(&module, &kernel) && complete(&kernel, &module);
        moved.then_some((fact, Change::Moved { module: one + 1, kernel: other + 1 }))
    })
}

/// The first difference between two versions of a fact.
fn change<'d>(module: Fact<'d>, kernel: Fact<'d>) -> Option<Change<'d>> {
    let value = |column| {
        let (module, kernel) = (module.column(column), kernel.column(column));
        (module != kernel).then_some(Change::Value { column, module, kernel })
    };
    match module.role {
        Role::Function | Role::Method => {
            const CODE: usize = 2;
            const ARGUMENTS: usize = 4;
            let arguments = |fact: &Fact<'d>| fact.columns.split('\t').skip(ARGUMENTS);
            let count = |fact: &Fact<'d>| arguments(fact).count();
            let counts = || {
                let (module, kernel) = (count(&module), count(&kernel));
                (module != kernel).then_some(Change::ArgumentCount { module, kernel })
            };
            let argument = || {
                let mut pairs = arguments(&module).zip(arguments(&kernel)).zip(1..);
                pairs.find_map(|((module, kernel), number)| {
                    (module != kernel).then_some(Change::Argument { number, module, kernel })
                })
            };
            let code = || match (module.column(CODE), kernel.column(CODE)) {
                (module, kernel) if module == kernel => None,
                ("", _) => Some(Change::Provided(Side::Kernel)),
                (_, "") => Some(Change::Provided(Side::Module)),
                _ => Some(Change::Code),
            };
            value(0).or_else(|| value(1)).or_else(counts).or_else(argument).or_else(|| value(3)).or_else(code)
        }
        Role::Layout if module.columns.is_empty() || kernel.columns.is_empty() => None,
        Role::Derived => value(0).or_else(|| value(1).map(|_| Change::Code)),
        Role::Code => value(0).map(|_| Change::Code),
        _ => value(0).or_else(|| value(1)).or_else(|| value(2)),
    }
}

impl<'d> Difference<'d> {
    /// The path of the item, such as `abi::Node`.
    pub fn path(&self) -> &'d str {
        self.item.path
    }

    /// What has changed about it.
    pub fn change(&self) -> Change<'d> {
        self.change
    }

    fn rank(&self) -> Rank {
        match (self.item.kind, self.fact.map(|fact| fact.role), self.change) {
            (_, Some(Role::Order), _) => Rank::Order,
            ("implementation", ..) => Rank::Implementation,
            ("import" | "module" | "crate", ..) => Rank::Name,
            (_, _, Change::Code) => Rank::Code,
            (_, Some(Role::Derived), _) => Rank::Implementation,
            (_, Some(Role::Layout), _) => Rank::Layout,
            (_, None, Change::Only(_)) => Rank::Presence,
            ("constant" | "static", _, Change::Value { .. }) => Rank::Value,
            _ => Rank::Definition,
        }
    }
}

/// The subject of a clause: a part of the item, or the item that was named before.
struct Subject<'d>(Option<Fact<'d>>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Fact { role, name, .. }) if !name.is_empty() => write!(f, "{} `{name}`", role.word()),
            _ => f.write_str("it"),
        }
    }
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Item { path, kind, .. }, subject) = (self.item, Subject(self.fact));
        let role = self.fact.map(|fact| fact.role);
        if let (None, Change::Only(side)) = (role, self.change) {
            return write!(f, "{kind} `{path}` exists only in the {side}");
        }
        write!(f, "`{path}`: ")?;
        match self.change {
            Change::Only(side) => write!(f, "{subject} exists only in the {side}"),
            Change::Kind { kernel } => {
                let article = |kind: &str| if kind.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
                write!(f, "it was {} {kind}, is {} {kernel}", article(kind), article(kernel))
            }
            Change::Renamed { kernel } => write!(f, "{subject} is called `{kernel}` in the kernel"),
            Change::Moved { module, kernel } => {
                write!(f, "{subject} is number {module} in the module, number {kernel} in the kernel")
            }
            Change::Value { column, module, kernel } => match (role, column) {
                (Some(Role::Order), _) => f.write_str("its implementations are in another order"),
                (Some(Role::Layout), 0) => write!(f, "it has {module} bytes in the module, {kernel} in the kernel"),
                (Some(Role::Layout), 1) => {
                    write!(f, "it is aligned to {module} bytes in the module, {kernel} in the kernel")
                }
                (Some(Role::Layout), _) => {
                    write!(f, "its fields are at offsets {module} in the module, {kernel} in the kernel")
                }
                _ => {
                    let words = role.map_or(WAS, |role| words(role, column));
                    let or_nothing = |value| if str::is_empty(value) { words.nothing } else { value };
                    let (module, kernel) = (or_nothing(module), or_nothing(kernel));
                    write!(f, "{subject} {} {module}, {} {kernel}", words.past, words.present)
                }
            },
            Change::ArgumentCount { module, kernel } => {
                let noun = if module == 1 { "argument" } else { "arguments" };
                write!(f, "{subject} takes {module} {noun} in the module, {kernel} in the kernel")
            }
            Change::Argument { number, module, kernel } => match self.fact {
                Some(Fact { name: "", .. }) | None => write!(f, "argument {number} was {module}, is {kernel}"),
                Some(_) => write!(f, "argument {number} of {subject} was {module}, is {kernel}"),
            },
            Change::Provided(Side::Kernel) => write!(f, "{subject} is required in the module, provided in the kernel"),
            Change::Provided(Side::Module) => write!(f, "{subject} is provided in the module, required in the kernel"),
            Change::Code => match self.fact {
                Some(Fact { role: Role::Derived, .. }) => f.write_str("the code that it derives has changed"),
                Some(Fact { name: "", .. }) | None => f.write_str("its code has changed"),
                Some(_) => write!(f, "the code of {subject} has changed"),
            },
        }
    }
}

/// How the change of a value reads.
struct Words {
    /// Before the module's value.
    past: &'static str,
    /// Before the kernel's value.
    present: &'static str,
    /// In place of no value.
    nothing: &'static str,
}

const WAS: Words = Words { past: "was", present: "is", nothing: "nothing" };

/// The words for a column of a role, see [`Role`].
fn words(role: Role, column: usize) -> Words {
    let words = |past, present, nothing| Words { past, present, nothing };
    let declared = words("was declared", "is declared", "private");
    match (role, column) {
        (Role::Declared, _)
        | (Role::Field | Role::Import, 1)
        | (Role::Function | Role::Method, 0)
        | (Role::Variant | Role::Type | Role::Constant, 2) => declared,
        (Role::Generics, _) | (Role::Function | Role::Method, 1) => {
            words("was generic over", "is generic over", "nothing")
        }
        (Role::Within, _) => words("belonged to", "belongs to", "a type without parameters"),
        (Role::Supertraits, _) => words("was built upon", "is built upon", "nothing"),
        (Role::Variant, 0) => words("held", "holds", "nothing"),
        (Role::Variant, _) => words("had the value", "has the value", "of its place"),
        (Role::Constant, 1) => words("had the value", "has the value", "of each implementation"),
        (Role::Function | Role::Method, _) => words("returned", "returns", "nothing"),
        (Role::Type, 1) => words("was bound by", "is bound by", "nothing"),
        (Role::Constant, _) => words("was of type", "is of type", "none"),
        (Role::Derived, _) => words("derived", "derives", "nothing"),
        (Role::Import, _) => words("stood for", "stands for", "nothing"),
        (Role::Field | Role::Type | Role::Layout | Role::Code | Role::Order, _) => WAS,
    }
}
